//! Whole kernels against references.

use isobath_ptx_simulator::{
    Argument, Class, Counting, Kernel, Launch, Limit, Memory, Module, Multiprocessor, Options, Permission, Report,
};

fn kernel(name: &str, text: &str) -> Kernel {
    let module = Module::parse(name, text).unwrap_or_else(|error| panic!("{error}"));
    module.kernels()[0].clone()
}

/// Numbers in [-1, 1) that look random.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 7919 + 13) % 1009) as f32 / 504.5 - 1.0).collect()
}

fn gemm(m: usize, n: usize, k: usize) -> (Vec<f32>, Report) {
    let kernel = kernel("gemm.ptx", include_str!("gemm.ptx"));
    let mut memory = Memory::new();
    let [a, b] = [("a", m * k), ("b", k * n)].map(|(name, count)| memory.add_f32(name, &numbers(count)));
    let c = memory.reserve("c", 4 * m * n);
    let sizes = [m, n, k].iter().flat_map(|size| (*size as u32).to_le_bytes()).collect();
    let view = |buffer, bytes, permission| Argument::View { buffer, range: 0..bytes, permission };
    let arguments = [
        view(a, 4 * m * k, Permission::Read),
        view(b, 4 * k * n, Permission::Read),
        view(c, 4 * m * n, Permission::Write),
        Argument::Bytes(sizes),
    ];
    let grid = [n.div_ceil(32) as u32, m.div_ceil(32) as u32, 1];
    let launch = Launch { grid, block: [64, 1, 1], shared_bytes: 0 };
    let report =
        kernel.launch(&launch, &arguments, &mut memory, &Options::counting()).unwrap_or_else(|f| panic!("{f}"));
    (memory.read_f32(c), report)
}

#[test]
fn a_tiled_gemm_of_any_size() {
    for (m, n, k) in [(32, 32, 8), (1, 1, 1), (37, 65, 19), (64, 33, 40)] {
        let (c, _) = gemm(m, n, k);
        let (a, b) = (numbers(m * k), numbers(k * n));
        for (i, value) in c.iter().enumerate() {
            let products = (0..k).map(|p| f64::from(a[i / n * k + p]) * f64::from(b[p * n + i % n]));
            let exact: f64 = products.sum();
            assert!((f64::from(*value) - exact).abs() < 1e-6 * k as f64, "{m} {n} {k}: {i}: {value} for {exact}");
        }
    }
}

#[test]
fn what_a_gemm_counts() {
    let (_, report) = gemm(64, 64, 16);
    assert_eq!(report.flops(), 2 * 64 * 64 * 16);
    assert_eq!(report.thread_instructions(Class::Fma), 64 * 64 * 16);
    // A and B once for each of the two blocks along the other side, C once.
    assert_eq!(report.global_bytes_read(), 2 * 2 * 4 * 64 * 16);
    assert_eq!(report.global_bytes_written(), 4 * 4 * 64 * 64);
    assert_eq!((report.distinct_sectors_read, report.distinct_sectors_written), (2 * 64 * 16 / 8, 64 * 64 / 8));
    let line = |text: &str| report.rows.iter().find(|row| row.text.starts_with(text)).unwrap();
    // Four blocks, two warps, two tiles, eight deep.
    let fragment = line("ld.shared.v4.f32 {u0");
    assert_eq!((fragment.counts.warps, fragment.counts.threads), (128, 4096));
    // All eight lanes of a quarter of a warp read the same sixteen bytes, or eight neighbours do.
    assert_eq!((fragment.counts.wavefronts, fragment.counts.bank_conflicts), (4 * 128, 0));
    assert_eq!(line("ld.shared.v4.f32 {v0").counts.bank_conflicts, 0);
    // Columns of A go to rows of 36 words: lanes 4 apart meet in a bank.
    assert_eq!(line("st.shared.f32 [at], value").counts.wavefronts, 4 * 2 * 2 * 4);
    assert_eq!(report.total().divergent, 0);
    // ptxas 12.8 takes 40 registers for sm_61.
    assert!((36..=48).contains(&report.registers), "{}", report.registers);
    assert_eq!((report.shared_bytes, report.occupancy(&Multiprocessor::SM_61).limit), (2176, Limit::Registers));
    assert!(report.to_string().contains("flops                131072"), "{report}");
}

#[test]
fn a_reduction_with_shuffles() {
    let kernel = kernel("row_sum.ptx", include_str!("row_sum.ptx"));
    for n in [1, 31, 128, 1000] {
        let mut memory = Memory::new();
        let (x, y) = (memory.add_f32("x", &numbers(5 * n)), memory.reserve("y", 20));
        let arguments = [Argument::Buffer(x), Argument::Buffer(y), Argument::U32(n as u32)];
        kernel
            .launch(&Launch::linear(5, 128), &arguments, &mut memory, &Options::default())
            .unwrap_or_else(|f| panic!("{f}"));
        let x = numbers(5 * n);
        for (row, sum) in memory.read_f32(y).into_iter().enumerate() {
            let exact: f64 = x[row * n..(row + 1) * n].iter().map(|x| f64::from(*x)).sum();
            assert!((f64::from(sum) - exact).abs() < 1e-5 * (n as f64).sqrt(), "{n}: {sum} for {exact}");
        }
    }
}

#[test]
fn nested_branches_in_a_loop() {
    let kernel = kernel("collatz.ptx", include_str!("collatz.ptx"));
    let mut memory = Memory::new();
    let steps = memory.reserve("steps", 4 * 1000);
    let arguments = [Argument::Buffer(steps), Argument::U32(1000)];
    let report = kernel
        .launch(&Launch::linear(8, 128), &arguments, &mut memory, &Options::counting())
        .unwrap_or_else(|f| panic!("{f}"));
    let expected = |n: u32| {
        let (mut n, mut total) = (n, 0);
        while n != 1 {
            (n, total) = if n % 2 == 1 { (3 * n + 1, total + 1000) } else { (n / 2, total + 1) };
        }
        total
    };
    assert_eq!(memory.read_u32(steps), (1..=1000).map(expected).collect::<Vec<_>>());
    let row = |text: &str| report.rows.iter().find(|row| row.text.starts_with(text)).unwrap().counts;
    assert!(row("@odd bra TRIPLE").divergent > 0);
    // All lanes of a warp meet again: each warp stores once.
    assert_eq!((row("st.global.u32").warps, row("st.global.u32").threads), (32, 1000));
    // A warp goes round as often as its longest lane, not as often as all of them together.
    let rounds =
        |warp: u32| (32 * warp + 1..=(32 * warp + 32).min(1000)).map(|n| expected(n) / 1000 + expected(n) % 1000).max();
    let longest: u32 = (0..32).filter_map(rounds).sum();
    assert_eq!(row("bra LOOP").warps, u64::from(longest));
}

#[test]
fn atomics_come_in_the_order_of_blocks() {
    let kernel = kernel("histogram.ptx", include_str!("histogram.ptx"));
    let values: Vec<u32> = (0..1000).map(|i| i * i % 23).collect();
    let mut memory = Memory::new();
    let (x, bins) = (memory.add_u32("x", &values), memory.add_u32("bins", &[0; 16]));
    let order = memory.reserve("order", 4 * 9);
    memory.write_bytes(order, 0, &[0; 4]);
    let arguments = [Argument::Buffer(x), Argument::Buffer(bins), Argument::Buffer(order), Argument::U32(1000)];
    kernel
        .launch(&Launch::linear(8, 128), &arguments, &mut memory, &Options::default())
        .unwrap_or_else(|f| panic!("{f}"));
    let mut expected = [0; 16];
    values.iter().for_each(|value| expected[*value as usize % 16] += 1);
    assert_eq!(memory.read_u32(bins), expected);
    assert_eq!(memory.read_u32(order), [8, 0, 1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn a_double_buffer_of_asynchronous_copies() {
    let text = include_str!("pipeline.ptx");
    let run = |text: &str, tiles: u32| {
        let mut memory = Memory::new();
        let (x, y) = (memory.add_f32("x", &numbers(256 * tiles as usize)), memory.reserve("y", 1024));
        let arguments = [Argument::Buffer(x), Argument::Buffer(y), Argument::U32(tiles)];
        let launch = Launch { shared_bytes: 2048, ..Launch::linear(1, 64) };
        let options = Options::counting();
        kernel("pipeline.ptx", text).launch(&launch, &arguments, &mut memory, &options).map(|r| (memory.read_f32(y), r))
    };
    let (y, report) = run(text, 5).unwrap_or_else(|f| panic!("{f}"));
    let x = numbers(256 * 5);
    for (i, value) in y.into_iter().enumerate() {
        let weight = if i % 2 == 0 { 0.5 } else { 2.0 };
        let expected = (0..5).fold(0f32, |sum, tile| x[256 * tile + i].mul_add(weight, sum));
        assert_eq!(value, expected);
    }
    assert_eq!(report.global_bytes_read(), 5 * 1024);
    // One group too many left under way.
    let fault = run(&text.replace("wait_group 1", "wait_group 2"), 5).unwrap_err();
    assert_eq!(fault.text, "ld.shared.v4.f32 {v0, v1, v2, v3}, [at];");
}

#[test]
fn the_same_bits_and_counts_on_any_number_of_threads() {
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let [one, three] = [1, 3].map(|threads| pool(threads).install(|| gemm(100, 70, 33)));
    assert_eq!(
        one.0.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        three.0.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
    );
    assert_eq!(one.1, three.1);
}

#[test]
fn nothing_is_counted_unless_asked() {
    let kernel = kernel("collatz.ptx", include_str!("collatz.ptx"));
    let mut memory = Memory::new();
    let steps = memory.reserve("steps", 128);
    let mut total = |counting| {
        let arguments = [Argument::Buffer(steps), Argument::U32(32)];
        let options = Options { counting, ..Options::default() };
        kernel.launch(&Launch::linear(1, 32), &arguments, &mut memory, &options).unwrap().total()
    };
    assert_eq!((total(Counting::Off).warps, total(Counting::Instructions).sectors), (0, 0));
    assert!(total(Counting::Instructions).warps > 0);
    assert_eq!(total(Counting::Traffic).sectors, 4);
}
