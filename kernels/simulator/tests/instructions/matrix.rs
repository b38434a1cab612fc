use half::{bf16, f16};
use isobath_ptx_simulator::{Argument, Launch, Memory, Module, Options};

/// Small whole numbers, exact in every format.
fn entry(row: usize, column: usize) -> f32 {
    ((3 * row + 5 * column) % 11) as f32 - 5.0
}

/// Runs one `mma.sync`: the lanes' registers of A, B and C, given by the PTX ISA's layouts, and the matrix they make.
fn multiply(shape: &str, ty: &str, k: usize, pack: impl Fn(f32, f32) -> u32) {
    let halves = ty != "tf32";
    let registers = k / if halves { 8 } else { 4 };
    let (a_count, b_count) = (2 * registers, registers);
    let names = |prefix: &str, count: usize| (0..count).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>().join(", ");
    let mut loads = String::new();
    for (i, name) in names("a", a_count).split(", ").chain(names("b", b_count).split(", ")).enumerate() {
        loads += &format!("ld.global.b32 {name}, [from+{}];\n", 4 * i);
    }
    let stride = 4 * (a_count + b_count);
    let text = format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n.entry k(.param .u64 x, .param .u64 y)\n{{\n\
         .reg .b32 a<4>, b<2>;\n.reg .f32 c<4>, d<4>;\n.reg .b64 from, to;\n.reg .u32 lane;\n\
         ld.param.u64 from, [x];\nld.param.u64 to, [y];\nmov.u32 lane, %tid.x;\n\
         mad.wide.u32 from, lane, {stride}, from;\nmad.wide.u32 to, lane, 16, to;\n{loads}\
         mov.f32 c0, 0f3F800000; mov.f32 c1, c0; mov.f32 c2, c0; mov.f32 c3, c0;\n\
         mma.sync.aligned.{shape}.row.col.f32.{ty}.{ty}.f32 {{d0, d1, d2, d3}}, {{{}}}, {{{}}}, {{c0, c1, c2, c3}};\n\
         st.global.v4.f32 [to], {{d0, d1, d2, d3}};\nret;\n}}\n",
        names("a", a_count),
        names("b", b_count)
    );
    let mut input = Vec::new();
    for lane in 0..32 {
        let (group, thread) = (lane / 4, lane % 4);
        // The figures of the PTX ISA: rows of A by group, eight further down in odd registers; columns by thread.
        let place = |register: usize| match halves {
            true => 2 * thread + 8 * register,
            false => thread + 4 * register,
        };
        for register in 0..a_count {
            let (row, column) = (group + 8 * (register % 2), place(register / 2));
            input.push(pack(entry(row, column), entry(row, column + 1)));
        }
        for register in 0..b_count {
            let row = place(register);
            input.push(pack(entry(row + 1, group), entry(row + 2, group)));
        }
    }
    let module = Module::parse("mma.ptx", &text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    let mut memory = Memory::new();
    let (x, y) = (memory.add_u32("x", &input), memory.reserve("y", 512));
    let arguments = [Argument::Buffer(x), Argument::Buffer(y)];
    let kernel = module.kernel("k").unwrap();
    let report = kernel.launch(&Launch::linear(1, 32), &arguments, &mut memory, &Options::counting()).unwrap();
    assert_eq!(report.flops(), 2 * 16 * 8 * k as u64);
    for (i, value) in memory.read_f32(y).into_iter().enumerate() {
        let (lane, register) = (i / 4, i % 4);
        let (row, column) = (lane / 4 + 8 * (register / 2), 2 * (lane % 4) + register % 2);
        let exact: f32 = (0..k).map(|k| entry(row, k) * entry(k + 1, column)).sum();
        assert_eq!(value, 1.0 + exact, "{shape} {ty}: row {row}, column {column}");
    }
}

#[test]
fn products_of_every_shape() {
    let pair = |a: u16, b: u16| u32::from(b) << 16 | u32::from(a);
    // The low bits of a tf32 are ignored.
    multiply("m16n8k4", "tf32", 4, |a, _| a.to_bits() | 0x1fff);
    multiply("m16n8k8", "tf32", 8, |a, _| a.to_bits());
    multiply("m16n8k8", "f16", 8, |a, b| pair(f16::from_f32(a).to_bits(), f16::from_f32(b).to_bits()));
    multiply("m16n8k16", "f16", 16, |a, b| pair(f16::from_f32(a).to_bits(), f16::from_f32(b).to_bits()));
    multiply("m16n8k8", "bf16", 8, |a, b| pair(bf16::from_f32(a).to_bits(), bf16::from_f32(b).to_bits()));
    multiply("m16n8k16", "bf16", 16, |a, b| pair(bf16::from_f32(a).to_bits(), bf16::from_f32(b).to_bits()));
}

/// Two matrices of eight rows of 16 bytes, half `h` holding `h`; the first and the second word of every lane.
fn load_matrix(suffix: &str) -> Vec<u32> {
    let body = format!(
        "mov.u32 e, tile;\nmad.lo.u32 f, lane, 8, e;\nmul.lo.u32 a, lane, 4;\nadd.u32 b, a, 1;\nshl.b32 b, b, 16;\n\
         or.b32 b, b, a;\nadd.u32 c, b, 0x20002;\nst.shared.v2.b32 [f], {{b, c}};\nbar.sync 0;\n\
         and.b32 a, lane, 15;\nmad.lo.u32 f, a, 16, e;\n\
         ldmatrix.sync.aligned.m8n8.x2{suffix}.shared.b16 {{a, b}}, [f];\nmov.b64 ld, {{a, b}};"
    );
    let values = crate::longs(&body, &[[0; 3]; 32]);
    values.into_iter().flat_map(|value| [value as u32, (value >> 32) as u32]).collect()
}

#[test]
fn fragments_as_they_are_and_transposed() {
    let half = |matrix: usize, row: usize, column: usize| (64 * matrix + 8 * row + column) as u32;
    let expected = |transposed: bool| -> Vec<u32> {
        (0..32)
            .flat_map(|lane| {
                [0, 1].map(|matrix| {
                    let (first, second) = (lane / 4, 2 * (lane % 4));
                    match transposed {
                        true => half(matrix, second + 1, first) << 16 | half(matrix, second, first),
                        false => half(matrix, first, second + 1) << 16 | half(matrix, first, second),
                    }
                })
            })
            .collect()
    };
    assert_eq!(load_matrix(""), expected(false));
    assert_eq!(load_matrix(".trans"), expected(true));
}
