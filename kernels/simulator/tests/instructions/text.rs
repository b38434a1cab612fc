//! What the parser and the decoder refuse, by name and line.

use isobath_ptx_simulator::{Error, Module};

fn refused(body: &str) -> String {
    let text = format!(
        ".version 6.0\n.target sm_61\n.entry k(.param .u64 x)\n{{\n\
         .reg .f32 u, v;\n.reg .b32 w;\n.reg .b64 l;\n.reg .pred p;\n{body}\nret;\n}}\n"
    );
    Module::parse("k.ptx", &text).expect_err(body).to_string()
}

#[test]
fn unknown_instructions_are_named() {
    let error = refused("nanosleep.u32 20;");
    assert_eq!(error, "k.ptx:9: unknown instruction `nanosleep.u32`: `nanosleep` is not known");
    assert!(refused("add.rz.f32 u, v, v;").ends_with("modifier `.rz` of `add` is not known"));
    assert!(refused("wgmma.fence.sync.aligned;").contains("unknown instruction `wgmma.fence.sync.aligned`"));
    assert!(refused("fma.f32 u, v, v, v;").contains("it needs one of `.rn`"));
    assert!(refused("cvt.s32.f32 w, u;").contains("it needs one of `.rni`"));
    assert!(refused("atom.global.add.s64 l, [l], l;").contains("type S64 does not go with it"));
}

#[test]
fn operands_are_checked() {
    assert_eq!(refused("add.u32 w, u, w;"), "k.ptx:9: expected a register of type U32, found `u` of type F32");
    assert_eq!(refused("mov.b64 w, l;"), "k.ptx:9: expected a register of type B64, found `w` of type B32");
    assert_eq!(refused("add.u32 w, w;"), "k.ptx:9: expected 3 operands, found 2");
    assert_eq!(refused("bra NOWHERE;"), "k.ptx:9: expected a label of this kernel, found `NOWHERE`");
    assert_eq!(refused("ld.global.v2.f32 {u, v, u}, [l];"), "k.ptx:9: expected a vector of 2, found one of 3");
    assert_eq!(
        refused("ld.global.f32 u, [w];"),
        "k.ptx:9: expected an address in global memory, found `w` of type B32"
    );
    assert!(refused("mov.u32 w, %clock;").contains("found `%clock`"));
    assert!(refused("add.u32 w, w, %tid.x;").contains("need a `mov`"));
    // As ptxas does.
    assert_eq!(refused("ld.global.f32 u, [l-4];"), "k.ptx:9: expected `]`, found `-`");
    assert_eq!(refused("cvt.rna.tf32.f32 u, v;"), "k.ptx:9: expected a register of type B32, found `u` of type F32");
    assert!(refused("cvt.rn.bf16x2.f32 u, v, v;").contains("expected a register of type B32"));
    assert!(refused("ld.shared.f32 u, [64];").contains("constant addresses are for local memory"));
}

#[test]
fn kernels_are_found_by_name() {
    let text = ".version 6.4\n.target sm_75\n.entry one() { ret; }\n.entry two() { ret; }";
    let module = Module::parse("k.ptx", text).unwrap();
    assert_eq!((module.version(), module.target(), module.kernels().len()), ((6, 4), "sm_75", 2));
    assert_eq!(module.kernel("two").unwrap().name(), "two");
    let error = module.kernel("three").unwrap_err();
    assert!(matches!(error, Error::UnknownKernel { ref known, .. } if known == "one, two"));
}
