use crate::{halves, longs, words};

const MIN: u32 = i32::MIN as u32;

#[test]
fn sums_wrap_unless_saturated() {
    let cases = [[i32::MAX as u32, 1, 0], [5, u32::MAX, 0]];
    assert_eq!(words("add.s32 d, a, b;", &cases), [MIN, 4]);
    assert_eq!(words("add.sat.s32 d, a, b;", &cases), [i32::MAX as u32, 4]);
    assert_eq!(words("sub.sat.s32 d, a, b;", &[[MIN, 1, 0], [3, 5, 0]]), [MIN, -2i32 as u32]);
    assert_eq!(words("sub.u32 d, a, b;", &[[3, 5, 0]]), [-2i32 as u32]);
    assert_eq!(longs("add.u64 ld, la, lb;", &[[u64::MAX, 2, 0]]), [1]);
    assert_eq!(halves("add.u16 hd, ha, hb;", &[[65_535, 2, 0]]), [1]);
}

#[test]
fn products_low_high_and_wide() {
    let cases = [[0xffff_ffff, 0xffff_ffff, 7], [0x8000_0000, 2, 7], [3, 5, 7]];
    assert_eq!(words("mul.lo.u32 d, a, b;", &cases), [1, 0, 15]);
    assert_eq!(words("mul.hi.u32 d, a, b;", &cases), [0xffff_fffe, 1, 0]);
    // -1 * -1 and i32::MIN * 2: the upper word of a signed product is its sign.
    assert_eq!(words("mul.hi.s32 d, a, b;", &cases), [0, 0xffff_ffff, 0]);
    assert_eq!(words("mad.lo.s32 d, a, b, c;", &cases), [8, 7, 22]);
    assert_eq!(words("mad.hi.u32 d, a, b, c;", &cases), [5, 8, 7]);
    let long = cases.map(|case| case.map(u64::from));
    assert_eq!(longs("mul.wide.u32 ld, a, b;", &long), [0xffff_fffe_0000_0001, 1 << 32, 15]);
    assert_eq!(longs("mul.wide.s32 ld, a, b;", &long), [1, -(1i64 << 32) as u64, 15]);
    assert_eq!(longs("mad.wide.s32 ld, a, b, lc;", &long), [8, (7 - (1i64 << 32)) as u64, 22]);
    assert_eq!(words("mul.wide.s16 d, ha, hb;", &[[0xffff, 300, 0]]), [-300i32 as u32]);
    assert_eq!(longs("mul.hi.u64 ld, la, lb;", &[[u64::MAX, u64::MAX, 0]]), [u64::MAX - 1]);
    assert_eq!(longs("mul.hi.s64 ld, la, lb;", &[[u64::MAX, u64::MAX, 0]]), [0]);
}

#[test]
fn division_truncates() {
    let cases = [[-7i32 as u32, 2, 0], [7, -2i32 as u32, 0]];
    assert_eq!(words("div.s32 d, a, b;", &cases), [-3i32 as u32, -3i32 as u32]);
    assert_eq!(words("rem.s32 d, a, b;", &cases), [-1i32 as u32, 1]);
    assert_eq!(words("div.u32 d, a, b;", &cases), [0x7fff_fffc, 0]);
    // Overflow and division by zero do not stop the kernel.
    assert_eq!(words("div.s32 d, a, b;", &[[MIN, u32::MAX, 0], [5, 0, 0]]), [MIN, u32::MAX]);
    assert_eq!(longs("rem.u64 ld, la, lb;", &[[(1 << 40) + 3, 1 << 20, 0]]), [3]);
}

#[test]
fn order_and_sign() {
    let cases = [[-3i32 as u32, 2, 10]];
    assert_eq!(words("min.s32 d, a, b;", &cases), [-3i32 as u32]);
    assert_eq!(words("min.u32 d, a, b;", &cases), [2]);
    assert_eq!(words("max.s32 d, a, b;", &cases), [2]);
    assert_eq!(words("max.u32 d, a, b;", &cases), [-3i32 as u32]);
    assert_eq!(words("abs.s32 d, a;", &[[-3i32 as u32, 0, 0], [MIN, 0, 0], [4, 0, 0]]), [3, MIN, 4]);
    assert_eq!(words("neg.s32 d, a;", &cases), [3]);
    assert_eq!(words("sad.s32 d, a, b, c;", &cases), [15]);
    assert_eq!(longs("min.s64 ld, la, lb;", &[[-3i64 as u64, 2, 0]]), [-3i64 as u64]);
    assert_eq!(halves("max.s16 hd, ha, hb;", &[[0xffff, 2, 0]]), [2]);
}

#[test]
fn logic() {
    let cases = [[0b1100, 0b1010, 0]];
    assert_eq!(words("and.b32 d, a, b;", &cases), [0b1000]);
    assert_eq!(words("or.b32 d, a, b;", &cases), [0b1110]);
    assert_eq!(words("xor.b32 d, a, b;", &cases), [0b0110]);
    assert_eq!(words("not.b32 d, a;", &cases), [!0b1100]);
    assert_eq!(words("cnot.b32 d, a;", &[[0, 0, 0], [9, 0, 0]]), [1, 0]);
    assert_eq!(longs("xor.b64 ld, la, lb;", &[[u64::MAX, 1, 0]]), [u64::MAX - 1]);
}

#[test]
fn shifts_past_the_width_are_clamped() {
    let cases = [[0x8000_0001, 1, 0], [0x8000_0001, 31, 0], [0x8000_0001, 32, 0], [0x8000_0001, u32::MAX, 0]];
    assert_eq!(words("shl.b32 d, a, b;", &cases), [2, 0x8000_0000, 0, 0]);
    assert_eq!(words("shr.u32 d, a, b;", &cases), [0x4000_0000, 1, 0, 0]);
    assert_eq!(words("shr.s32 d, a, b;", &cases), [0xc000_0000, u32::MAX, u32::MAX, u32::MAX]);
    let cases = [[1, 63, 0], [1, 64, 0]];
    assert_eq!(longs("shl.b64 ld, la, b;", &cases), [1 << 63, 0]);
    assert_eq!(longs("shr.s64 ld, la, b;", &[[1 << 63, 200, 0]]), [u64::MAX]);
    assert_eq!(halves("shr.s16 hd, ha, b;", &[[0x8000, 3, 0], [0x8000, 16, 0]]), [0xf000, 0xffff]);
    assert_eq!(halves("shl.b16 hd, ha, b;", &[[0xffff, 8, 0]]), [0xff00]);
}
