use crate::{floats, holds, longs, words};

const NAN: u32 = 0x7fc0_0000;
const ONE: u32 = 0x3f80_0000;

#[test]
fn integers_compare_by_their_type() {
    let cases = [[u32::MAX, 1, 0], [1, 1, 0], [0, 1, 0]];
    assert_eq!(holds("setp.lt.s32 p, a, b;", &cases), [true, false, true]);
    assert_eq!(holds("setp.lt.u32 p, a, b;", &cases), [false, false, true]);
    assert_eq!(holds("setp.ge.s32 p, a, b;", &cases), [false, true, false]);
    assert_eq!(holds("setp.hi.u32 p, a, b;", &cases), [true, false, false]);
    assert_eq!(holds("setp.ls.u32 p, a, b;", &cases), [false, true, true]);
    assert_eq!(holds("setp.ne.b32 p, a, b;", &cases), [true, false, true]);
    assert_eq!(holds("setp.gt.s16 p, ha, hb;", &cases), [false, false, false]);
    assert_eq!(holds("setp.gt.s64 p, la, 4294967294;", &cases), [true, false, false]);
}

#[test]
fn floats_compare_with_and_without_nan() {
    let cases = [[0, ONE, 0], [NAN, ONE, 0], [NAN, NAN, 0], [0x8000_0000, 0, 0]];
    assert_eq!(holds("setp.lt.f32 p, a, b;", &cases), [true, false, false, false]);
    assert_eq!(holds("setp.ltu.f32 p, a, b;", &cases), [true, true, true, false]);
    assert_eq!(holds("setp.eq.f32 p, a, b;", &cases), [false, false, false, true]);
    assert_eq!(holds("setp.ne.f32 p, a, b;", &cases), [true, false, false, false]);
    assert_eq!(holds("setp.neu.f32 p, a, b;", &cases), [true, true, true, false]);
    assert_eq!(holds("setp.num.f32 p, a, b;", &cases), [true, false, false, true]);
    assert_eq!(holds("setp.nan.f32 p, a, b;", &cases), [false, true, true, false]);
    // A subnormal is a zero with .ftz.
    assert_eq!(holds("setp.eq.ftz.f32 p, a, b;", &[[1, 0, 0]]), [true]);
    assert_eq!(holds("setp.eq.f32 p, a, b;", &[[1, 0, 0]]), [false]);
    let double = [[2.0f64.to_bits(), 3.0f64.to_bits(), 0]];
    assert_eq!(longs("setp.gt.f64 p, lb, la; selp.b64 ld, 7, 8, p;", &double), [7]);
}

#[test]
fn a_comparison_joins_a_predicate_and_gives_its_opposite() {
    // p = (a < b) op c, q = !(a < b) op c
    for (op, expected) in
        [("and", [0b10, 0, 0b01, 0]), ("or", [0b11, 0b10, 0b11, 0b01]), ("xor", [0b01, 0b10, 0b10, 0b01])]
    {
        let body = format!(
            "setp.ne.u32 r, c, 0;\nsetp.lt.{op}.s32 p|q, a, b, r;\n\
             selp.b32 d, 2, 0, p;\nselp.b32 e, 1, 0, q;\nor.b32 d, d, e;"
        );
        assert_eq!(words(&body, &[[0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0]]), expected, "{op}");
    }
    let body = "setp.ne.u32 r, c, 0;\nsetp.lt.and.s32 p, a, b, !r;";
    assert_eq!(holds(body, &[[0, 1, 1], [0, 1, 0]]), [false, true]);
}

#[test]
fn predicates_combine() {
    let set = "setp.ne.u32 q, a, 0;\nsetp.ne.u32 r, b, 0;\n";
    let cases = [[0, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]];
    assert_eq!(holds(&format!("{set}and.pred p, q, r;"), &cases), [false, false, false, true]);
    assert_eq!(holds(&format!("{set}or.pred p, q, !r;"), &cases), [true, false, true, true]);
    assert_eq!(holds(&format!("{set}xor.pred p, q, r;"), &cases), [false, true, true, false]);
    assert_eq!(holds(&format!("{set}not.pred p, q;"), &cases), [true, true, false, false]);
    assert_eq!(holds(&format!("{set}mov.pred p, r;"), &cases), [false, true, false, true]);
}

#[test]
fn selection_by_sign() {
    let zero = 0x8000_0000;
    assert_eq!(words("slct.b32.s32 d, a, b, c;", &[[1, 2, 0], [1, 2, u32::MAX]]), [1, 2]);
    // -0 is not negative, NaN picks the second.
    assert_eq!(words("slct.u32.f32 d, a, b, c;", &[[1, 2, zero], [1, 2, NAN], [1, 2, zero | ONE]]), [1, 2, 2]);
    // A subnormal negative number is a zero with .ftz.
    assert_eq!(words("slct.ftz.u32.f32 d, a, b, c;", &[[1, 2, zero | 1]]), [1]);
    assert_eq!(floats("slct.f32.f32 d, a, b, c;", &[[1.0, 2.0, 3.0]]), [1.0]);
}

#[test]
fn a_guard_leaves_the_other_lanes_alone() {
    let body = "setp.lt.u32 p, a, 2;\nmov.u32 d, 5;\n@p mov.u32 d, 6;\n@!p add.u32 d, d, a;";
    assert_eq!(words(body, &[[0, 0, 0], [1, 0, 0], [2, 0, 0], [3, 0, 0]]), [6, 6, 7, 8]);
}
