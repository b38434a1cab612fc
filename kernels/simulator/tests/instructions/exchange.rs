use crate::words;

/// A whole warp whose lanes hold `10 + lane`; the result of the body in `d`.
fn warp(body: &str) -> Vec<u32> {
    words(body, &std::array::from_fn::<_, 32, _>(|lane| [10 + lane as u32, 0, 0]))
}

fn expected(f: impl Fn(u32) -> u32) -> Vec<u32> {
    (0..32).map(f).collect()
}

#[test]
fn shuffles_in_every_mode_keep_their_own_value_out_of_range() {
    let value = |lane: u32| 10 + lane;
    let up = warp("shfl.sync.up.b32 d|p, a, 3, 0, 0xffffffff;");
    assert_eq!(up, expected(|lane| value(if lane >= 3 { lane - 3 } else { lane })));
    let down = warp("shfl.sync.down.b32 d, a, 5, 31, -1;");
    assert_eq!(down, expected(|lane| value(if lane < 27 { lane + 5 } else { lane })));
    let butterfly = warp("shfl.sync.bfly.b32 d, a, 16, 0x1f, 0xffffffff;");
    assert_eq!(butterfly, expected(|lane| value(lane ^ 16)));
    let index = warp("shfl.sync.idx.b32 d, a, 7, 31, 0xffffffff;");
    assert_eq!(index, expected(|_| 17));
    // Only the low five bits of the lane count.
    assert_eq!(warp("shfl.sync.idx.b32 d, a, 39, 31, 0xffffffff;"), expected(|_| 17));
}

#[test]
fn shuffles_stay_in_their_segment() {
    // Segments of eight: the mask 0x18 in bits 8 to 12, the clamp 7.
    let down = warp("shfl.sync.down.b32 d, a, 1, 0x1807, 0xffffffff;");
    assert_eq!(down, expected(|lane| 10 + if lane % 8 < 7 { lane + 1 } else { lane }));
    let up = warp("shfl.sync.up.b32 d, a, 1, 0x1800, 0xffffffff;");
    assert_eq!(up, expected(|lane| 10 + if lane % 8 > 0 { lane - 1 } else { lane }));
    let index = warp("shfl.sync.idx.b32 d, a, 2, 0x1807, 0xffffffff;");
    assert_eq!(index, expected(|lane| 10 + lane / 8 * 8 + 2));
}

#[test]
fn the_predicate_of_a_shuffle_says_who_was_in_range() {
    let body = "shfl.sync.down.b32 d|p, a, 30, 31, 0xffffffff;\nselp.b32 d, 1, 0, p;";
    assert_eq!(warp(body), expected(|lane| u32::from(lane < 2)));
}

#[test]
fn votes() {
    let set = "setp.lt.u32 p, a, 14;\n";
    assert_eq!(warp(&format!("{set}vote.sync.ballot.b32 d, p, 0xffffffff;")), expected(|_| 0xf));
    assert_eq!(warp(&format!("{set}vote.sync.ballot.b32 d, !p, 0xffffffff;")), expected(|_| !0xf));
    for (mode, result) in [("any", 1), ("all", 0), ("uni", 0)] {
        let body = format!("{set}vote.sync.{mode}.pred q, p, 0xffffffff;\nselp.b32 d, 1, 0, q;");
        assert_eq!(warp(&body), expected(|_| result), "{mode}");
    }
    let body = "setp.lt.u32 p, a, 99;\nvote.sync.all.pred q, p, 0xffffffff;\nvote.sync.uni.pred r, !p, 0xffffffff;\n\
                and.pred q, q, r;\nselp.b32 d, 1, 0, q;";
    assert_eq!(warp(body), expected(|_| 1));
}

#[test]
fn reductions_of_a_warp() {
    assert_eq!(warp("redux.sync.add.u32 d, a, 0xffffffff;"), expected(|_| 816));
    assert_eq!(warp("sub.u32 a, a, 20; redux.sync.min.s32 d, a, 0xffffffff;"), expected(|_| -10i32 as u32));
    assert_eq!(warp("redux.sync.max.u32 d, a, 0xffffffff;"), expected(|_| 41));
    assert_eq!(warp("redux.sync.or.b32 d, a, 0xffffffff;"), expected(|_| 63));
}

#[test]
fn special_registers() {
    assert_eq!(warp("mov.u32 d, %laneid;"), expected(|lane| lane));
    assert_eq!(warp("mov.u32 d, %lanemask_lt;"), expected(|lane| (1 << lane) - 1));
    assert_eq!(warp("mov.u32 d, %lanemask_ge;"), expected(|lane| u32::MAX << lane));
    assert_eq!(warp("mov.u32 d, %lanemask_le; mov.u32 e, %lanemask_gt; add.u32 d, d, e;"), expected(|_| u32::MAX));
    assert_eq!(
        warp("mov.u32 d, %ntid.x; mov.u32 e, %nctaid.y; add.u32 d, d, e; add.u32 d, d, WARP_SZ;"),
        expected(|_| 65)
    );
}

#[test]
fn active_lanes_of_a_branch() {
    let body = "setp.lt.u32 p, a, 13;\nactivemask.b32 d;\n@p bra LOW;\nactivemask.b32 d;\nbra MEET;\n\
                LOW:\nactivemask.b32 d;\n\
                MEET:\nactivemask.b32 e;\nxor.b32 d, d, e;";
    assert_eq!(warp(body), expected(|lane| if lane < 3 { !7 } else { 7 }));
    // Members of a branch can exchange among themselves.
    let body = "setp.lt.u32 p, a, 12;\nmov.u32 d, 0;\n@!p bra MEET;\nshfl.sync.bfly.b32 d, a, 1, 31, 3;\n\
                MEET:\nbar.warp.sync -1;";
    assert_eq!(warp(body), expected(|lane| if lane < 2 { 11 - lane } else { 0 }));
}
