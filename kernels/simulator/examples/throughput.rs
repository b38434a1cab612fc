//! How fast the simulator is: thread-instructions a second of a register-blocked gemm, in each way of counting.
//!
//! `cargo run --release -p isobath-ptx-simulator --example throughput`
//!
//! `benches/simulator.rs` does the same with kernels as they are.

use std::fmt::Write;
use std::time::Instant;

use isobath_ptx_simulator::{Argument, Class, Counting, Launch, Memory, Module, Options};

/// C = A B of multiples of 64: blocks of 64 threads, 8 x 8 outputs each, tiles 8 deep in shared memory.
fn gemm() -> String {
    let mut text = String::from(
        ".version 6.0\n.target sm_61\n.address_size 64\n\
         .visible .entry gemm(.param .u64 a, .param .u64 b, .param .u64 c, .param .u32 n, .param .u32 k)\n{\n\
         .reg .u64 pa, pb, pc, offset;\n.reg .u32 columns, depth, thread, x, y, block, at, ra, rb, put, step, width;\n\
         .reg .f32 u<8>, v<8>, s<8>, acc<64>;\n.reg .pred more;\n\
         .shared .align 16 .f32 tile_a[512];\n.shared .align 16 .f32 tile_b[512];\n\
         ld.param.u64 pa, [a];\nld.param.u64 pb, [b];\nld.param.u64 pc, [c];\nld.param.u32 columns, [n];\n\
         ld.param.u32 depth, [k];\nmov.u32 thread, %tid.x;\nand.b32 x, thread, 7;\nshr.u32 y, thread, 3;\n\
         mov.u32 ra, tile_a;\nmad.lo.u32 ra, y, 32, ra;\nmov.u32 rb, tile_b;\nmad.lo.u32 rb, x, 32, rb;\n\
         mov.u32 block, %ctaid.y;\nmad.lo.u32 at, block, 64, thread;\nmul.lo.u32 at, at, depth;\n\
         mad.wide.u32 pa, at, 4, pa;\nmov.u32 block, %ctaid.x;\nmad.lo.u32 at, block, 64, thread;\n\
         mad.wide.u32 pb, at, 4, pb;\nshl.b32 put, thread, 2;\nmul.lo.u32 width, columns, 4;\n",
    );
    for i in 0..64 {
        let _ = writeln!(text, "mov.f32 acc{i}, 0f00000000;");
    }
    // Each thread brings a row of A, transposed, and a column of B.
    text += "TILE:\nld.global.v4.f32 {u0, u1, u2, u3}, [pa];\nld.global.v4.f32 {u4, u5, u6, u7}, [pa+16];\n";
    for i in 0..8 {
        let _ = writeln!(text, "ld.global.f32 v{i}, [pb];\ncvt.u64.u32 offset, width;\nadd.u64 pb, pb, offset;");
    }
    for i in 0..8 {
        let row = 256 * i;
        let _ = writeln!(text, "st.shared.f32 [put+{row}], u{i};\nst.shared.f32 [put+{}], v{i};", 2048 + row);
    }
    text += "bar.sync 0;\n";
    for k in 0..8 {
        for (part, offset) in [(0, 256 * k), (4, 256 * k + 16)] {
            let four = |name| format!("{{{name}{part}, {name}{}, {name}{}, {name}{}}}", part + 1, part + 2, part + 3);
            let _ = writeln!(text, "ld.shared.v4.f32 {}, [ra+{offset}];", four("s"));
            let _ = writeln!(text, "ld.shared.v4.f32 {}, [rb+{offset}];", four("v"));
        }
        for i in 0..64 {
            let _ = writeln!(text, "fma.rn.f32 acc{i}, s{}, v{}, acc{i};", i / 8, i % 8);
        }
    }
    text += "bar.sync 0;\nadd.u64 pa, pa, 32;\nsub.u32 depth, depth, 8;\nsetp.ne.u32 more, depth, 0;\n@more bra TILE;\n\
             mov.u32 block, %ctaid.y;\nshl.b32 at, block, 6;\nmad.lo.u32 at, y, 8, at;\nmul.lo.u32 at, at, columns;\n\
             mov.u32 block, %ctaid.x;\nmad.lo.u32 at, block, 64, at;\nmad.lo.u32 at, x, 8, at;\n\
             mad.wide.u32 pc, at, 4, pc;\ncvt.u64.u32 offset, width;\n";
    for i in 0..8 {
        for j in 0..8 {
            let _ = writeln!(text, "st.global.f32 [pc+{}], acc{};", 4 * j, 8 * i + j);
        }
        text += "add.u64 pc, pc, offset;\n";
    }
    text + "ret;\n}\n"
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const SIZE: usize = 384;
    let module = Module::parse("gemm", &gemm())?;
    let kernel = module.kernel("gemm")?;
    let mut memory = Memory::new();
    let values: Vec<f32> = (0..SIZE * SIZE).map(|i| (i % 17) as f32 - 8.0).collect();
    let (a, b) = (memory.add_f32("a", &values), memory.add_f32("b", &values));
    let c = memory.reserve("c", 4 * SIZE * SIZE);
    let [n, k] = [(); 2].map(|()| Argument::U32(SIZE as u32));
    let arguments = [Argument::Buffer(a), Argument::Buffer(b), Argument::Buffer(c), n, k];
    let blocks = (SIZE / 64) as u32;
    let launch = Launch { grid: [blocks, blocks, 1], block: [64, 1, 1], shared_bytes: 0 };
    let all = kernel.launch(&launch, &arguments, &mut memory, &Options::counting())?;
    let instructions = all.total().threads as f64;
    let share = 100.0 * all.thread_instructions(Class::Fma) as f64 / instructions;
    let (millions, registers) = (instructions / 1e6, kernel.registers());
    println!(
        "gemm of {SIZE}: {millions:.1} million thread-instructions, {share:.0} % FMA, about {registers} registers"
    );
    for (counting, check_races) in
        [(Counting::Off, true), (Counting::Instructions, true), (Counting::Traffic, true), (Counting::Traffic, false)]
    {
        let options = Options { counting, check_races, ..Options::default() };
        let mut best = f64::INFINITY;
        for _ in 0..7 {
            let start = Instant::now();
            kernel.launch(&launch, &arguments, &mut memory, &options)?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        let rate = instructions / best / 1e6;
        println!("counting {counting:?}, races checked {check_races}: {rate:.0} million a second, best of 7");
    }
    Ok(())
}
