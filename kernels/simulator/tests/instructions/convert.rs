use crate::{longs, words};

fn from_f32(body: &str, values: &[f32]) -> Vec<u32> {
    words(body, &values.iter().map(|x| [x.to_bits(), 0, 0]).collect::<Vec<_>>())
}

#[test]
fn floats_to_integers_round_clamp_and_make_nan_zero() {
    let values = [2.5, -2.5, 3.5, 2.7, -2.7];
    let signed = |body| from_f32(body, &values).into_iter().map(|v| v as i32).collect::<Vec<_>>();
    assert_eq!(signed("cvt.rni.s32.f32 d, a;"), [2, -2, 4, 3, -3]);
    assert_eq!(signed("cvt.rzi.s32.f32 d, a;"), [2, -2, 3, 2, -2]);
    assert_eq!(signed("cvt.rmi.s32.f32 d, a;"), [2, -3, 3, 2, -3]);
    assert_eq!(signed("cvt.rpi.s32.f32 d, a;"), [3, -2, 4, 3, -2]);
    let extremes = [1e20, -1e20, f32::NAN, f32::INFINITY];
    let (least, most) = (i32::MIN as u32, i32::MAX as u32);
    assert_eq!(from_f32("cvt.rzi.s32.f32 d, a;", &extremes), [most, least, 0, most]);
    assert_eq!(from_f32("cvt.rzi.u32.f32 d, a;", &extremes), [u32::MAX, 0, 0, u32::MAX]);
    assert_eq!(from_f32("cvt.rzi.s8.f32 d, a;", &[200.0, -200.0]), [127, -128i32 as u32]);
    let double = [[3e9f64.to_bits(), 0, 0], [(-1.5f64).to_bits(), 0, 0]];
    assert_eq!(longs("cvt.rzi.s32.f64 d, la; cvt.s64.s32 ld, d;", &double), [i32::MAX as u64, -1i64 as u64]);
    assert_eq!(longs("cvt.rni.s64.f64 ld, la;", &double), [3_000_000_000, -2i64 as u64]);
}

#[test]
fn floats_to_integral_floats() {
    let values = [2.5, -2.5, 3.5];
    let floats = |body| from_f32(body, &values).into_iter().map(f32::from_bits).collect::<Vec<_>>();
    assert_eq!(floats("cvt.rni.f32.f32 d, a;"), [2.0, -2.0, 4.0]);
    assert_eq!(floats("cvt.rmi.f32.f32 d, a;"), [2.0, -3.0, 3.0]);
    assert_eq!(floats("cvt.sat.f32.f32 d, a;"), [1.0, 0.0, 1.0]);
    assert_eq!(from_f32("cvt.rzi.f32.f32 d, a;", &[-0.5]), [0x8000_0000]);
}

#[test]
fn integers_to_integers_extend_truncate_or_saturate() {
    assert_eq!(words("cvt.s32.s8 d, a;", &[[0x1ff, 0, 0]]), [u32::MAX]);
    assert_eq!(words("cvt.u32.u8 d, a;", &[[0x1ff, 0, 0]]), [0xff]);
    assert_eq!(words("cvt.u32.u16 d, ha;", &[[0x1_8000, 0, 0]]), [0x8000]);
    assert_eq!(words("cvt.s32.s16 d, ha;", &[[0x8000, 0, 0]]), [0xffff_8000]);
    assert_eq!(words("cvt.u16.u32 hd, a; cvt.u32.u16 d, hd;", &[[0x1_2345, 0, 0]]), [0x2345]);
    assert_eq!(words("cvt.sat.u16.u32 hd, a; cvt.u32.u16 d, hd;", &[[0x1_2345, 0, 0]]), [0xffff]);
    assert_eq!(words("cvt.sat.u32.s32 d, a;", &[[-5i32 as u32, 0, 0]]), [0]);
    assert_eq!(words("cvt.sat.s32.u32 d, a;", &[[u32::MAX, 0, 0]]), [i32::MAX as u32]);
    assert_eq!(longs("cvt.s64.s32 ld, a;", &[[u64::from(u32::MAX), 0, 0]]), [u64::MAX]);
    assert_eq!(longs("cvt.u64.u32 ld, a;", &[[u64::from(u32::MAX), 0, 0]]), [u64::from(u32::MAX)]);
    assert_eq!(words("cvt.u32.u64 d, la;", &[[7, 0, 0]]), [7]);
}

#[test]
fn integers_to_floats_round_in_every_direction() {
    // 2^24 + 1 lies halfway between two floats.
    let float = |body: &str, value: u32| f32::from_bits(words(body, &[[value, 0, 0]])[0]);
    let value = (1 << 24) + 1;
    assert_eq!(float("cvt.rn.f32.u32 d, a;", value), 16_777_216.0);
    assert_eq!(float("cvt.rz.f32.u32 d, a;", value), 16_777_216.0);
    assert_eq!(float("cvt.rm.f32.u32 d, a;", value), 16_777_216.0);
    assert_eq!(float("cvt.rp.f32.u32 d, a;", value), 16_777_218.0);
    let negative = -(value as i32) as u32;
    assert_eq!(float("cvt.rz.f32.s32 d, a;", negative), -16_777_216.0);
    assert_eq!(float("cvt.rm.f32.s32 d, a;", negative), -16_777_218.0);
    assert_eq!(float("cvt.rp.f32.s32 d, a;", negative), -16_777_216.0);
    assert_eq!(longs("cvt.rn.f64.s32 ld, a;", &[[u64::from(u32::MAX), 0, 0]]), [(-1f64).to_bits()]);
    assert_eq!(longs("cvt.rp.f64.u64 ld, la;", &[[(1 << 53) + 1, 0, 0]]), [9_007_199_254_740_994f64.to_bits()]);
}

#[test]
fn doubles_to_floats_and_back() {
    let third = (1.0f64 / 3.0).to_bits();
    let near = (1.0f64 / 3.0) as f32;
    let float = |body: &str| f32::from_bits(longs(&format!("{body} cvt.u64.u32 ld, d;"), &[[third, 0, 0]])[0] as u32);
    // The nearest f32 to 1/3 lies above it.
    assert_eq!(float("cvt.rn.f32.f64 d, la;"), near);
    assert_eq!(float("cvt.rp.f32.f64 d, la;"), near);
    assert_eq!(float("cvt.rz.f32.f64 d, la;"), near.next_down());
    assert_eq!(float("cvt.rm.f32.f64 d, la;"), near.next_down());
    assert_eq!(longs("cvt.f64.f32 ld, a;", &[[u64::from(1.5f32.to_bits()), 0, 0]]), [1.5f64.to_bits()]);
}

#[test]
fn halves_and_tf32() {
    let from = |body: &str, values: &[f32]| from_f32(&format!("{body} cvt.u32.u16 d, hd;"), values);
    // 65520 is the least that rounds past the largest f16; 2^-25 is half of its least subnormal: a tie, to even.
    assert_eq!(from("cvt.rn.f16.f32 hd, a;", &[1.0, 65_519.0, 65_520.0, 2f32.powi(-25)]), [0x3c00, 0x7bff, 0x7c00, 0]);
    assert_eq!(from("cvt.rn.bf16.f32 hd, a;", &[1.0, 1.0 + 3.0 / 256.0]), [0x3f80, 0x3f82]);
    assert_eq!(words("cvt.f32.f16 d, ha;", &[[0xc000, 0, 0]]), [(-2f32).to_bits()]);
    assert_eq!(words("cvt.f32.bf16 d, ha;", &[[0xc000, 0, 0]]), [(-2f32).to_bits()]);
    let pair = [[1f32.to_bits(), (-2f32).to_bits(), 0]];
    assert_eq!(words("cvt.rn.f16x2.f32 d, a, b;", &pair), [0x3c00_c000]);
    assert_eq!(words("cvt.rn.bf16x2.f32 d, a, b;", &pair), [0x3f80_c000]);
    assert_eq!(words("cvt.rn.relu.bf16x2.f32 d, a, b;", &pair), [0x3f80_0000]);
    let above = [[(1.0f32 + 0.9 / 1024.0).to_bits(), 0, 0]];
    assert_eq!(words("cvt.rz.f16x2.f32 d, a, b;", &above), [0x3c00_0000]);
    // 10 bits of fraction, ties away from zero.
    assert_eq!(from_f32("cvt.rna.tf32.f32 d, a;", &[1.0 + 2f32.powi(-11)]), [(1.0 + 2f32.powi(-10)).to_bits()]);
    assert_eq!(from_f32("cvt.rna.tf32.f32 d, a;", &[1.0 + 2f32.powi(-12)]), [1f32.to_bits()]);
}

#[test]
fn vectors_split_and_join() {
    assert_eq!(words("mov.b32 {ha, hb}, a; mov.b32 d, {hb, ha};", &[[0x1234_5678, 0, 0]]), [0x5678_1234]);
    let body = "mov.b64 {a, b}, la; mov.b64 ld, {b, a};";
    assert_eq!(longs(body, &[[0x1111_1111_2222_2222, 0, 0]]), [0x2222_2222_1111_1111]);
    let body = "mov.b64 {ha, hb, hc, hd}, la; mov.b64 ld, {hd, hc, hb, ha};";
    assert_eq!(longs(body, &[[0x4444_3333_2222_1111, 0, 0]]), [0x1111_2222_3333_4444]);
}
