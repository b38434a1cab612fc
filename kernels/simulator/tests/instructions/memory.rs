use crate::{longs, words};

const TILE: &str = "mov.u32 e, tile; mad.lo.u32 e, lane, 16, e;\n";

#[test]
fn loads_extend_and_stores_truncate() {
    let byte =
        |load: &str| words(&format!("{TILE}st.shared.b32 [e], a;\nld.shared.{load} d, [e+1];"), &[[0x1280_ff34, 0, 0]]);
    assert_eq!(byte("u8"), [0xff]);
    assert_eq!(byte("s8"), [u32::MAX]);
    let half =
        |load: &str| words(&format!("{TILE}st.shared.b32 [e], a;\nld.shared.{load} d, [e+2];"), &[[0x8234_ff34, 0, 0]]);
    assert_eq!(half("u16"), [0x8234]);
    assert_eq!(half("s16"), [0xffff_8234]);
    let body = format!("{TILE}st.shared.u32 [e], a;\nst.shared.u8 [e+1], b;\nld.shared.u32 d, [e];");
    assert_eq!(words(&body, &[[0x1111_1111, 0xabcd, 0]]), [0x1111_cd11]);
    let body = format!("{TILE}st.shared.u32 [e], a;\nst.shared.u16 [e+2], hb;\nld.shared.u32 d, [e];");
    assert_eq!(words(&body, &[[0x1111_1111, 0xabcd, 0]]), [0xabcd_1111]);
    // A 64-bit register may hold what a 32-bit load brings.
    assert_eq!(longs(&format!("{TILE}st.shared.b32 [e], a;\nld.shared.s32 ld, [e];"), &[[1 << 31, 0, 0]]), [!0 << 31]);
}

#[test]
fn vectors_move_at_once() {
    let body = format!(
        "{TILE}st.shared.v4.b32 [e], {{a, b, c, lane}};\nld.shared.v2.b64 {{la, lb}}, [e];\n\
         xor.b64 ld, la, lb;"
    );
    assert_eq!(longs(&body, &[[1, 2, 3], [0; 3]]), [(2 << 32 | 1) ^ 3, 1 << 32]);
    let body = format!("{TILE}st.shared.v2.u16 [e], {{ha, hb}};\nld.shared.b32 d, [e];");
    assert_eq!(words(&body, &[[0x1111, 0x2222, 0]]), [0x2222_1111]);
}

#[test]
fn every_thread_has_its_own_local_memory() {
    let body = "mov.u64 la, own;\nst.local.u32 [own+4], lane;\nst.local.f32 [la+8], 0f3F800000;\n\
                ld.local.u32 d, [la+4];\nld.local.u32 e, [own+8];\nshr.u32 e, e, 23;\nadd.u32 d, d, e;";
    assert_eq!(words(body, &[[0; 3]; 3]), [127, 128, 129]);
}

#[test]
fn generic_addresses_reach_every_space() {
    let body = "mov.u64 la, tile;\ncvta.shared.u64 la, la;\nst.u32 [la], 7;\nld.shared.u32 d, [tile];\n\
                mov.u64 lb, own;\ncvta.local.u64 lb, lb;\nst.u32 [lb], 30;\nld.local.u32 e, [own];\n\
                cvta.to.shared.u64 la, la;\nld.shared.u32 f, [la];\nadd.u32 d, d, e;\nadd.u32 d, d, f;\n\
                cvta.to.global.u64 lc, from;\nld.u32 e, [lc];\nadd.u32 d, d, e;";
    assert_eq!(words(body, &[[100, 0, 0]]), [144]);
}

#[test]
fn atomics_return_what_was_there() {
    // One lane: the old value in the upper half, the new one in the lower.
    let atomic = |op: &str, ty: &str, old: u32, operands: &str| {
        let body = format!(
            "st.shared.b32 [tile], {old};\natom.shared.{op}.{ty} a, [tile], {operands};\nld.shared.u32 b, [tile];\n\
             mov.b64 ld, {{b, a}};"
        );
        let value = longs(&body, &[[0; 3]])[0];
        assert_eq!((value >> 32) as u32, old, "{op}.{ty}");
        value as u32
    };
    assert_eq!(atomic("add", "u32", u32::MAX, "2"), 1);
    assert_eq!(atomic("add", "f32", 1.5f32.to_bits(), "0f40000000"), 3.5f32.to_bits());
    assert_eq!(atomic("min", "s32", 3, "-1"), u32::MAX);
    assert_eq!(atomic("min", "u32", 3, "-1"), 3);
    assert_eq!(atomic("max", "s32", 3, "-1"), 3);
    assert_eq!(atomic("exch", "b32", 3, "9"), 9);
    assert_eq!(atomic("cas", "b32", 3, "3, 9"), 9);
    assert_eq!(atomic("cas", "b32", 3, "4, 9"), 3);
    assert_eq!(atomic("and", "b32", 6, "3"), 2);
    assert_eq!(atomic("or", "b32", 6, "3"), 7);
    assert_eq!(atomic("xor", "b32", 6, "3"), 5);
    assert_eq!(atomic("inc", "u32", 6, "6"), 0);
    assert_eq!(atomic("inc", "u32", 5, "6"), 6);
    assert_eq!(atomic("dec", "u32", 0, "6"), 6);
    assert_eq!(atomic("dec", "u32", 9, "6"), 6);
    assert_eq!(atomic("dec", "u32", 5, "6"), 4);
}

#[test]
fn lanes_reduce_into_one_place() {
    let body = "st.shared.u64 [tile], 0;\nbar.warp.sync -1;\nred.shared.add.u64 [tile], la;\nbar.warp.sync -1;\n\
                ld.shared.u64 ld, [tile];";
    assert_eq!(longs(body, &[[1 << 40, 0, 0], [2, 0, 0], [3, 0, 0]]), [(1 << 40) + 5; 3]);
    let body =
        "red.global.max.u32 [from], 8;\natom.global.add.u32 d, [from], 1;\nld.global.u32 e, [from];\nadd.u32 d, d, e;";
    assert_eq!(words(body, &[[5, 0, 0], [10, 0, 0]]), [17, 21]);
}

#[test]
fn asynchronous_copies_arrive_with_their_group() {
    let copy = "mov.u32 e, tile; mad.lo.u32 e, lane, 32, e;\n\
                cp.async.ca.shared.global [e], [from], 8;\ncp.async.commit_group;\n\
                cp.async.ca.shared.global [e+8], [from+8], 8;\ncp.async.commit_group;\n";
    let body = format!("{copy}cp.async.wait_group 1;\nld.shared.u64 ld, [e];");
    assert_eq!(longs(&body, &[[5, 6, 7], [8, 9, 10]]), [5, 8]);
    let body = format!("{copy}cp.async.wait_all;\nld.shared.u64 ld, [e+8];");
    assert_eq!(longs(&body, &[[5, 6, 7], [8, 9, 10]]), [6, 9]);
    // Fewer bytes from the source: the rest is zero. The copied ones may lie past the end, if none is read.
    let body = "mov.u32 e, tile; mad.lo.u32 e, lane, 32, e;\nsetp.eq.u32 p, lane, 1;\n\
                cp.async.ca.shared.global [e], [from], 8, 4;\ncp.async.ca.shared.global [e+8], [from], 4, p;\n\
                cp.async.wait_all;\nld.shared.u64 la, [e];\nld.shared.u32 a, [e+8];\n\
                mov.b64 lb, {a, a};\nadd.u64 ld, la, lb;";
    let value = 0x2222_2222_1111_1111;
    let expected = [0x1111_1111 + 0x1111_1111_1111_1111, 0x1111_1111];
    assert_eq!(longs(body, &[[value, 0, 0], [value, 0, 0]]), expected);
    let body = "cp.async.cg.shared.global.L2::128B [tile], [from+1048576], 16, 0;\n\
                cp.async.wait_all;\nld.shared.u64 ld, [tile+8];";
    assert_eq!(longs(body, &[[1, 2, 3]]), [0]);
}
