//! Planted faults: each kind is found, at the right line, in the right thread of the right block.

use isobath_ptx_simulator::{
    Argument, Buffer, Fault, FaultKind, Launch, Memory, Module, Options, Permission, Report, Space,
};

/// The kernels' only parameters are two addresses; both are loaded, and `i` is the thread.
fn module(body: &str) -> Module {
    let text = format!(
        ".version 7.8\n.target sm_90\n.address_size 64\n.extern .shared .align 16 .b8 dynamic[];\n\
         .const .u32 table[2] = {{1, 2}};\n.entry k(.param .u64 x, .param .u64 y)\n{{\n\
         .reg .b64 from, to, l;\n.reg .u32 i, warp, a, b, c, at;\n.reg .f32 u;\n.reg .b16 h;\n.reg .pred p, q;\n\
         .shared .align 16 .b8 tile[512];\n.local .align 8 .b8 own[16];\n\
         ld.param.u64 from, [x];\nld.param.u64 to, [y];\nmov.u32 i, %tid.x;\nmov.u32 warp, %warpid;\n\
         shl.b32 at, i, 2;\n{body}\nret;\n}}\n"
    );
    Module::parse("k.ptx", &text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn launch(body: &str, threads: u32, set: impl Fn(&mut Memory) -> [Argument; 2]) -> Result<Report, Box<Fault>> {
    let mut memory = Memory::new();
    let arguments = set(&mut memory);
    let launch = Launch { grid: [2, 1, 1], block: [threads, 1, 1], shared_bytes: 64 };
    let options = Options { budget: 10_000, ..Options::default() };
    module(body).kernel("k").unwrap().launch(&launch, &arguments, &mut memory, &options)
}

/// Sixteen words to read and as many that nothing has written.
fn buffers(memory: &mut Memory) -> [Argument; 2] {
    [Argument::Buffer(memory.add_u32("x", &[7; 16])), Argument::Buffer(memory.reserve("y", 64))]
}

/// The fault of a body whose faulty line ends in `// here`.
fn fault(body: &str, threads: u32) -> Fault {
    fault_with(body, threads, buffers)
}

fn fault_with(body: &str, threads: u32, set: impl Fn(&mut Memory) -> [Argument; 2]) -> Fault {
    let fault = *launch(body, threads, set).expect_err(body);
    assert!(fault.text.ends_with("// here"), "{fault}");
    fault
}

#[test]
fn accesses_out_of_bounds() {
    let body = "mad.wide.u32 l, i, 4, from;\nld.global.u32 a, [l]; // here";
    let found = fault(body, 32);
    let place = found.place.unwrap();
    assert_eq!((place.block, place.thread), ([0, 0, 0], [16, 0, 0]));
    let (space, target) = (Space::Global, "x".to_owned());
    assert_eq!(found.kind, FaultKind::OutOfBounds { space, target, size: 64, offset: 64, bytes: 4 });
    let message = "k.ptx:21: kernel k, block [0, 0, 0], thread [16, 0, 0]: 4 bytes at offset 64 of x, which \
                   has 64, in global memory: `ld.global.u32 a, [l]; // here`";
    assert_eq!(found.to_string(), message);
    for body in [
        "st.global.u32 [to+-4], 1; // here",
        "mov.u64 l, 0;\nld.global.u32 a, [l]; // here",
        "ld.global.v4.u32 {a, b, c, i}, [from+64]; // here",
        "mov.u32 a, 576;\nld.shared.u32 a, [a]; // here",
        "mov.u64 l, tile;\ncvta.shared.u64 l, l;\nst.u32 [l+1024], 1; // here",
        "st.local.u32 [own+16], 1; // here",
        "ld.const.u32 a, [table+8]; // here",
        "ld.param.u64 l, [y+8]; // here",
        "atom.global.add.u32 a, [from+64], 1; // here",
        "cp.async.ca.shared.global [tile], [from+64], 4; // here",
    ] {
        assert!(matches!(fault(body, 1).kind, FaultKind::OutOfBounds { .. }), "{body}");
    }
    // The dynamic array ends where the launch says.
    assert!(launch("st.shared.u32 [dynamic+60], 1;", 1, buffers).is_ok());
}

#[test]
fn misaligned_accesses() {
    for body in [
        "ld.global.u32 a, [from+2]; // here",
        "ld.global.v2.u32 {a, b}, [from+4]; // here",
        "st.shared.v4.u32 [tile+8], {i, i, i, i}; // here",
        "st.local.u64 [own+4], 1; // here",
        "red.global.add.u32 [from+2], 1; // here",
        "cp.async.ca.shared.global [tile], [from+4], 8; // here",
    ] {
        assert!(matches!(fault(body, 1).kind, FaultKind::Misaligned { .. }), "{body}");
    }
}

/// A whole warp is checked at once where all is well: one odd lane among 32 is found all the same.
#[test]
fn one_lane_that_differs_from_its_warp() {
    let lane = |number: u32, what: &str| {
        format!("mad.wide.u32 l, i, 4, from;\nsetp.eq.u32 p, i, {number};\n@p add.u64 l, l, {what};\n")
    };
    let words = |memory: &mut Memory| {
        let x = memory.add_u32("x", &[7; 32]);
        memory.forget(x, 80, 4);
        [Argument::Buffer(x), Argument::Buffer(memory.add_u32("y", &[9; 32]))]
    };
    let found = |body: &str| {
        let fault = fault_with(body, 32, words);
        (fault.place.unwrap().thread[0], fault.kind)
    };
    assert!(matches!(found(&(lane(17, "2") + "ld.global.u32 a, [l]; // here")), (17, FaultKind::Misaligned { .. })));
    assert!(matches!(found(&(lane(31, "4") + "st.global.u32 [l], i; // here")), (31, FaultKind::OutOfBounds { .. })));
    let unwritten = found("mad.wide.u32 l, i, 4, from;\nld.global.u32 a, [l]; // here");
    assert!(matches!(unwritten, (20, FaultKind::UninitialisedMemory { offset: 80, .. })), "{unwritten:?}");
    let shared = "mov.u32 a, tile;\nmad.lo.u32 a, i, 4, a;\nst.shared.u32 [a], i;\nsetp.eq.u32 p, i, 5;\n\
                  @p add.u32 a, a, 256;\nld.shared.u32 b, [a]; // here";
    assert!(matches!(found(shared), (5, FaultKind::UninitialisedMemory { .. })));

    // Lanes that leave no word out may read from two buffers at once, and lanes that are not active from nowhere.
    let body = "mad.wide.u32 l, i, 4, to;\nsetp.ge.u32 p, i, 16;\n@!p mad.wide.u32 l, i, 4, from;\n\
                ld.global.u32 a, [l];\n@!p mov.u64 l, 3;\n@p st.global.u32 [l], a;";
    assert!(launch(body, 32, words).is_ok());
}

#[test]
fn tensors_of_one_slab_are_apart() {
    let set = |memory: &mut Memory| {
        let slab = memory.add_u32("slab", &[7; 32]);
        let view = |range, permission| Argument::View { buffer: slab, range, permission };
        [view(16..32, Permission::Read), view(32..64, Permission::Write)]
    };
    assert!(launch("ld.global.v4.u32 {a, b, c, i}, [from];\nst.global.u32 [to+28], a;", 1, set).is_ok());
    let over = fault_with("ld.global.u32 a, [from+16]; // here", 1, set);
    assert!(matches!(over.kind, FaultKind::OutOfBounds { size: 16, offset: 16, .. }));
    let write = fault_with("st.global.u32 [from], 1; // here", 1, set);
    assert!(matches!(write.kind, FaultKind::Forbidden { write: true, .. }));
    let read = fault_with("ld.global.u32 a, [to]; // here", 1, set);
    assert!(matches!(read.kind, FaultKind::Forbidden { write: false, .. }));
    // A part that starts off a multiple of 16 bytes is no place for vectors of four.
    let odd = |memory: &mut Memory| {
        let slab = memory.add_u32("slab", &[7; 32]);
        [4..68, 0..64].map(|range| Argument::View { buffer: slab, range, permission: Permission::ReadWrite })
    };
    let found = fault_with("ld.global.v4.u32 {a, b, c, i}, [from]; // here", 1, odd);
    assert!(matches!(found.kind, FaultKind::Misaligned { offset: 0, bytes: 16, .. }));
}

#[test]
fn reads_of_what_nothing_has_written() {
    for body in [
        "ld.global.u32 a, [to]; // here",
        "st.global.u8 [to], 1;\nld.global.u16 h, [to]; // here",
        "ld.shared.u32 a, [tile]; // here",
        "ld.local.u32 a, [own]; // here",
        "atom.shared.add.u32 a, [tile], 1; // here",
        "cp.async.ca.shared.global [tile], [to], 4; // here",
    ] {
        assert!(matches!(fault(body, 1).kind, FaultKind::UninitialisedMemory { .. }), "{body}");
    }
    let forgotten = |memory: &mut Memory| {
        let x: Buffer = memory.add_u32("x", &[7; 16]);
        memory.forget(x, 8, 4);
        [Argument::Buffer(x), Argument::Buffer(x)]
    };
    let found = fault_with("ld.global.u32 a, [from+4];\nld.global.u32 a, [from+8]; // here", 1, forgotten);
    let kind = FaultKind::UninitialisedMemory { space: Space::Global, target: "x".to_owned(), offset: 8 };
    assert_eq!(found.kind, kind);
}

#[test]
fn reads_of_registers_that_nothing_has_written() {
    // Only the even lanes write it.
    let body =
        "and.b32 b, i, 1;\nsetp.eq.u32 p, b, 0;\n@p mov.u32 c, 1;\n@p add.u32 c, c, 1;\nadd.u32 a, c, 1; // here";
    let found = fault(body, 32);
    assert_eq!(found.place.unwrap().thread, [1, 0, 0]);
    assert_eq!(found.kind, FaultKind::UninitialisedRegister { register: "c".to_owned() });
    for body in ["@q mov.u32 a, 1; // here", "st.global.f32 [to], u; // here", "ld.global.u32 a, [l]; // here"] {
        assert!(matches!(fault(body, 1).kind, FaultKind::UninitialisedRegister { .. }), "{body}");
    }
}

#[test]
fn races_in_shared_memory() {
    // Every thread writes its own word; warp 1 reads those of warp 0.
    let exchange = |barrier: &str| {
        format!(
            "setp.eq.u32 p, warp, 0;\nst.shared.u32 [at], i;\n{barrier}\n@p ret;\nld.shared.u32 a, [at+-128]; // here"
        )
    };
    let found = fault(&exchange(""), 64);
    assert_eq!(found.place.unwrap().thread, [32, 0, 0]);
    assert_eq!(found.kind, FaultKind::Race { offset: 0, write: false, other_warp: 0, other_write: true });
    assert!(launch(&exchange("bar.sync 0;"), 64, buffers).is_ok());
    // A barrier before warp 0 reads the words of warp 1, none before that writes them again.
    let again = |barrier: &str| {
        format!(
            "setp.eq.u32 p, warp, 0;\nst.shared.u32 [at], i;\nbar.sync 0;\n@p ld.shared.u32 a, [at+128];\n{barrier}\n\
             st.shared.u32 [at], i; // here"
        )
    };
    let found = fault(&again(""), 64);
    assert_eq!(found.kind, FaultKind::Race { offset: 128, write: true, other_warp: 0, other_write: false });
    assert!(launch(&again("bar.sync 0;"), 64, buffers).is_ok());
    // Both write.
    let found = fault("st.shared.u32 [tile], warp; // here", 64);
    assert_eq!(found.kind, FaultKind::Race { offset: 0, write: true, other_warp: 0, other_write: true });
    // Halves of one word are apart, and atomics do not race with each other.
    let halves = "mov.u32 a, tile;\nmad.lo.u32 a, warp, 2, a;\nst.shared.u16 [a], 1;";
    assert!(launch(halves, 64, buffers).is_ok());
    let atomics = "st.shared.u32 [tile], 0;\nbar.sync 0;\nred.shared.add.u32 [tile], 1;";
    assert!(
        launch(
            &format!("setp.ne.u32 p, warp, 0;\n@p bra SKIP;\n{}", atomics.replace("bar.sync 0;", "SKIP: bar.sync 0;")),
            64,
            buffers
        )
        .is_ok()
    );
    let body = "setp.ne.u32 p, warp, 0;\n@!p st.shared.u32 [tile], 0;\nbar.warp.sync -1;\n\
                red.shared.add.u32 [tile], 1; // here";
    assert!(matches!(fault(body, 64).kind, FaultKind::Race { .. }));
    // Without the check, the race goes unseen.
    let mut memory = Memory::new();
    let arguments = buffers(&mut memory);
    let module = module(&exchange(""));
    let (kernel, both) = (module.kernel("k").unwrap(), Launch::linear(1, 64));
    let unchecked = Options { check_races: false, ..Options::default() };
    assert!(kernel.launch(&both, &arguments, &mut memory, &unchecked).is_ok());
}

#[test]
fn races_within_a_warp() {
    // A lane reads what its neighbour wrote, or writes what the neighbour has read, or both write.
    let neighbour = "xor.b32 b, at, 4;\n";
    let write_read =
        |barrier: &str| format!("{neighbour}st.shared.u32 [at], i;\n{barrier}\nld.shared.u32 a, [b]; // here");
    let found = fault(&write_read(""), 32);
    assert_eq!(found.place.unwrap().thread, [0, 0, 0]);
    assert_eq!(found.kind, FaultKind::WarpRace { offset: 4, write: false, other_write: true });
    // A shuffle orders no memory.
    assert_eq!(fault(&write_read("shfl.sync.idx.b32 a, i, 0, 31, -1;"), 32).kind, found.kind);
    let read_write = |barrier: &str| {
        let read = "st.shared.u32 [at], i;\nbar.sync 0;\nld.shared.u32 a, [b];";
        format!("{neighbour}{read}\n{barrier}\nst.shared.u32 [at], a; // here")
    };
    let found = fault(&read_write(""), 32);
    assert_eq!(found.kind, FaultKind::WarpRace { offset: 0, write: true, other_write: false });
    let write_write =
        |barrier: &str| format!("{neighbour}st.shared.u32 [at], i;\n{barrier}\nst.shared.u32 [b], i; // here");
    let found = fault(&write_write(""), 32);
    assert_eq!(found.kind, FaultKind::WarpRace { offset: 4, write: true, other_write: true });
    for barrier in ["bar.warp.sync -1;", "bar.sync 0;"] {
        for body in [write_read(barrier), read_write(barrier), write_write(barrier)] {
            assert!(launch(&body, 32, buffers).is_ok(), "{body}");
        }
    }
    // What all lanes read belongs to none of them.
    let all = "st.shared.u32 [at], i;\nbar.warp.sync -1;\nld.shared.u32 a, [tile];\nst.shared.u32 [at], a; // here";
    assert!(matches!(fault(all, 32).kind, FaultKind::WarpRace { offset: 0, write: true, other_write: false }));
    let atomic = "red.shared.add.u32 [tile], 1;\nld.shared.u32 a, [tile]; // here";
    let zero = "st.shared.u32 [tile], 0;\nbar.warp.sync -1;";
    let found = fault(&format!("{zero}\n{atomic}"), 32);
    assert_eq!(found.kind, FaultKind::WarpRace { offset: 0, write: false, other_write: true });
    // A lane keeps its own words; one instruction of many lanes writes once.
    let own = "st.shared.u32 [at], i;\nld.shared.u32 a, [at];\nst.shared.u32 [at], a;\nld.shared.u32 a, [at];";
    assert!(launch(own, 32, buffers).is_ok());
    assert!(launch("st.shared.u32 [tile], 7;\nbar.warp.sync -1;\nld.shared.u32 a, [tile];", 32, buffers).is_ok());
}

#[test]
fn copies_that_are_still_under_way() {
    let copy = "cp.async.ca.shared.global [tile], [from], 4;\ncp.async.commit_group;\n";
    for use_early in ["ld.shared.u32 a, [tile]; // here", "st.shared.u32 [tile], 1; // here"] {
        assert!(matches!(fault(&format!("{copy}{use_early}"), 1).kind, FaultKind::CopyInFlight { offset: 0 }));
    }
    let body = format!("{copy}cp.async.wait_group 1;\nld.shared.u32 a, [tile]; // here");
    assert!(matches!(fault(&body, 1).kind, FaultKind::CopyInFlight { .. }));
    // The wait is for the thread's own copies: the others need a barrier.
    let body = "setp.ne.u32 p, warp, 0;\n@!p cp.async.ca.shared.global [at], [from], 4;\ncp.async.wait_all;\n\
                and.b32 at, at, 127;\nld.shared.u32 a, [at]; // here";
    assert!(matches!(fault(body, 64).kind, FaultKind::Race { other_warp: 0, .. }));
}

#[test]
fn divergent_barriers() {
    let body = "setp.lt.u32 p, i, 5;\n@p bra MEET;\nbar.sync 0; // here\nMEET: mov.u32 a, 1;";
    let found = fault(body, 32);
    assert_eq!(found.place.unwrap().thread, [5, 0, 0]);
    assert!(matches!(found.kind, FaultKind::DivergentBarrier { .. }));
    // Guarded by a predicate that differs within the warp.
    assert!(matches!(
        fault("setp.lt.u32 p, i, 5;\n@p bar.sync 0; // here", 32).kind,
        FaultKind::DivergentBarrier { .. }
    ));
    // Each warp at a barrier of its own.
    let body = "setp.eq.u32 p, warp, 0;\n@p bra FIRST;\nbar.sync 0; // here\n\
                bra MEET;\nFIRST: bar.sync 0;\nMEET: mov.u32 a, 1;";
    let found = fault(body, 64);
    assert_eq!(found.kind, FaultKind::DivergentBarrier { others: "warp 0 waits at line 24".to_owned() });
    // A warp that has left is not waited for.
    assert!(launch("setp.eq.u32 p, warp, 0;\n@p ret;\nbar.sync 0;", 64, buffers).is_ok());
}

#[test]
fn barriers_by_name() {
    // Warps 0 and 1 meet twice; warp 2 takes no part.
    let body = "setp.gt.u32 p, warp, 1;\n@p ret;\nst.shared.u32 [at], i;\nbar.sync 3, 64;\n\
                xor.b32 at, at, 128;\nld.shared.u32 a, [at];";
    assert!(launch(body, 96, buffers).is_ok());
    // The producer arrives without waiting.
    let body = "setp.eq.u32 p, warp, 1;\n@p bra CONSUMER;\nst.shared.u32 [at], i;\nbar.arrive 1, 64;\nret;\n\
                CONSUMER: bar.sync 1, 64;\nld.shared.u32 a, [at+-128];";
    assert!(launch(body, 64, buffers).is_ok());
    let kind = FaultKind::InvalidBarrier { name: 1, threads: Some(48) };
    assert_eq!(fault("bar.sync 1, 48; // here", 64).kind, kind);
    assert_eq!(fault("bar.sync 16; // here", 64).kind, FaultKind::InvalidBarrier { name: 16, threads: None });
    let never = "setp.eq.u32 p, warp, 1;\n@p ret;\nbar.sync 1, 64; // here";
    let found = fault(never, 64);
    assert_eq!(found.kind, FaultKind::Deadlock { waiting: "warp 0 at line 22 (barrier 1)".to_owned() });
}

#[test]
fn exchanges_with_lanes_that_are_not_there() {
    let body = "setp.lt.u32 p, i, 16;\n@!p bra MEET;\nshfl.sync.bfly.b32 a, i, 1, 31, 0xffffffff; // here\n\
                MEET: mov.u32 b, 1;";
    assert_eq!(fault(body, 32).kind, FaultKind::AbsentLanes { members: u32::MAX, active: 0xffff });
    let body =
        "setp.lt.u32 p, i, 16;\n@!p bra MEET;\nshfl.sync.bfly.b32 a, i, 16, 31, 0xffff; // here\nMEET: mov.u32 b, 1;";
    assert_eq!(fault(body, 32).kind, FaultKind::InactiveSource { lane: 16 });
    let body = "setp.ne.u32 p, i, 3;\nvote.sync.any.pred q, p, 0xfffffff7; // here";
    assert!(matches!(fault(body, 32).kind, FaultKind::AbsentLanes { .. }));
    let body = "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {u,u,u,u}, {i, i}, {i}, {u, u, u, u}; // here";
    assert!(matches!(fault(body, 16).kind, FaultKind::AbsentLanes { .. }));
}

#[test]
fn loops_that_do_not_end() {
    let found = fault("LOOP: bra LOOP; // here", 1);
    assert_eq!(found.kind, FaultKind::Budget { instructions: 10_000 });
}

#[test]
fn launches_that_do_not_fit() {
    let kind = |arguments: &[Argument], launch: &Launch| {
        let mut memory = Memory::new();
        memory.reserve("x", 64);
        let module = module("");
        let fault =
            module.kernel("k").unwrap().launch(launch, arguments, &mut memory, &Options::default()).unwrap_err();
        assert_eq!((fault.line, fault.place), (6, None));
        fault.kind.to_string()
    };
    let one = Launch::linear(1, 32);
    assert_eq!(kind(&[], &one), "expected 2 arguments, found 0");
    let narrow = [Argument::U64(0), Argument::U32(0)];
    assert_eq!(kind(&narrow, &one), "expected 8 bytes for `y`, found 4 bytes");
    let both = [Argument::U64(0), Argument::U64(0)];
    let found = "expected at least one block of 1 to 1024 threads, found a grid of [1, 1, 1] blocks of [2048, 1, 1]";
    assert_eq!(kind(&both, &Launch::linear(1, 2048)), found);
    let greedy = Launch { shared_bytes: 1 << 20, ..one };
    assert!(kind(&both, &greedy).starts_with("expected at most 232448 bytes of shared memory"));
    assert!(kind(&both, &Launch::linear(0, 32)).starts_with("expected at least one block"));
}

#[test]
fn the_first_faulty_block_is_named_whatever_the_order() {
    let body = "mov.u32 a, %ctaid.x;\nsetp.lt.u32 p, a, 700;\n@p ret;\nld.global.u32 a, [to+4096]; // here";
    let mut memory = Memory::new();
    let arguments = buffers(&mut memory);
    let module = module(body);
    let launch = Launch::linear(5000, 32);
    let kernel = module.kernel("k").unwrap();
    for _ in 0..5 {
        let fault = kernel.launch(&launch, &arguments, &mut memory, &Options::default()).unwrap_err();
        assert_eq!(fault.place.unwrap().block, [700, 0, 0]);
    }
}
