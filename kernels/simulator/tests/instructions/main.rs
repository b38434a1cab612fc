//! Every instruction family against what the PTX ISA says of it.

mod bits;
mod convert;
mod exchange;
mod float;
mod integer;
mod matrix;
mod memory;
mod select;
mod text;

use isobath_ptx_simulator::{Argument, Fault, Launch, Memory, Module, Options, Report};

/// Registers of the cases: halves, words and longs `a` to `d`, and predicates.
const REGISTERS: &str = "
    .reg .b64 from, to, la, lb, lc, ld;
    .reg .b32 lane, a, b, c, d, e, f, high;
    .reg .b16 ha, hb, hc, hd;
    .reg .pred p, q, r;";

/// Loads the three 64-bit inputs of each lane; words and halves are their low bits.
const PROLOGUE: &str = "
    ld.param.u64 from, [x];
    ld.param.u64 to, [y];
    mov.u32 lane, %tid.x;
    mad.wide.u32 from, lane, 24, from;
    mad.wide.u32 to, lane, 8, to;
    ld.global.b64 la, [from];
    ld.global.b64 lb, [from+8];
    ld.global.b64 lc, [from+16];
    mov.b64 {a, high}, la;
    mov.b64 {b, high}, lb;
    mov.b64 {c, high}, lc;
    mov.b32 {ha, hd}, a;
    mov.b32 {hb, hd}, b;
    mov.b32 {hc, hd}, c;";

/// Runs a body in as many lanes as there are cases; it leaves its result in `ld`.
fn run(body: &str, cases: &[[u64; 3]]) -> Result<(Vec<u64>, Report), Box<Fault>> {
    let text = format!(
        ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 x, .param .u64 y)\n\
         {{{REGISTERS}\n.shared .align 16 .b8 tile[1024];\n.local .align 16 .b8 own[64];\n{PROLOGUE}\n{body}\n\
         st.global.b64 [to], ld;\nret;\n}}\n"
    );
    let module = Module::parse("case.ptx", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new();
    let bytes: Vec<u8> = cases.as_flattened().iter().flat_map(|value| value.to_le_bytes()).collect();
    let x = memory.add_bytes("x", &bytes);
    let y = memory.reserve("y", 8 * cases.len());
    let arguments = [Argument::Buffer(x), Argument::Buffer(y)];
    let launch = Launch::linear(1, cases.len() as u32);
    let report = module.kernel("k").unwrap().launch(&launch, &arguments, &mut memory, &Options::counting())?;
    let bytes = memory.read_bytes(y, 0, 8 * cases.len());
    Ok((bytes.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(), report))
}

/// A body from `la`, `lb`, `lc` to `ld`.
fn longs(body: &str, cases: &[[u64; 3]]) -> Vec<u64> {
    run(body, cases).unwrap_or_else(|fault| panic!("{fault}")).0
}

/// A body from `a`, `b`, `c` to `d`.
fn words(body: &str, cases: &[[u32; 3]]) -> Vec<u32> {
    let cases: Vec<[u64; 3]> = cases.iter().map(|case| case.map(u64::from)).collect();
    longs(&format!("{body}\ncvt.u64.u32 ld, d;"), &cases).into_iter().map(|value| value as u32).collect()
}

/// A body from `ha`, `hb`, `hc` to `hd`.
fn halves(body: &str, cases: &[[u16; 3]]) -> Vec<u16> {
    let cases: Vec<[u64; 3]> = cases.iter().map(|case| case.map(u64::from)).collect();
    longs(&format!("{body}\ncvt.u64.u16 ld, hd;"), &cases).into_iter().map(|value| value as u16).collect()
}

/// A body from `a`, `b`, `c` to `d`, all f32.
fn floats(body: &str, cases: &[[f32; 3]]) -> Vec<f32> {
    let cases: Vec<[u32; 3]> = cases.iter().map(|case| case.map(f32::to_bits)).collect();
    words(body, &cases).into_iter().map(f32::from_bits).collect()
}

/// A body from `a`, `b`, `c` to the predicate `p`.
fn holds(body: &str, cases: &[[u32; 3]]) -> Vec<bool> {
    words(&format!("{body}\nselp.b32 d, 1, 0, p;"), cases).into_iter().map(|value| value == 1).collect()
}
