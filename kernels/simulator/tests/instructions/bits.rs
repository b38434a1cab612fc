use crate::{longs, words};

#[test]
fn counts_and_places_of_bits() {
    let cases = [[0, 0, 0], [1, 0, 0], [0x00f0_0000, 0, 0], [u32::MAX, 0, 0]];
    assert_eq!(words("popc.b32 d, a;", &cases), [0, 1, 4, 32]);
    assert_eq!(words("clz.b32 d, a;", &cases), [32, 31, 8, 0]);
    assert_eq!(words("bfind.u32 d, a;", &cases), [u32::MAX, 0, 23, 31]);
    // Of a negative number, the highest zero counts.
    assert_eq!(words("bfind.s32 d, a;", &cases), [u32::MAX, 0, 23, u32::MAX]);
    assert_eq!(words("bfind.shiftamt.u32 d, a;", &cases), [u32::MAX, 31, 8, 0]);
    assert_eq!(words("brev.b32 d, a;", &cases), [0, 0x8000_0000, 0x0000_0f00, u32::MAX]);
    assert_eq!(words("clz.b64 d, la;", &[[1, 0, 0]]), [63]);
    assert_eq!(longs("brev.b64 ld, la;", &[[2, 0, 0]]), [1 << 62]);
}

#[test]
fn fields_are_extracted_with_their_sign() {
    // value, position, length
    let cases = [
        [0x0000_0f50, 4, 8],
        [0x0000_0f50, 4, 0],
        [0xf000_0000, 28, 8],
        [0xf000_0000, 40, 8],
        [0x1234_5678, 0, 32],
        [0x0000_0080, 0x104, 4],
    ];
    assert_eq!(words("bfe.u32 d, a, b, c;", &cases), [0xf5, 0, 0xf, 0, 0x1234_5678, 8]);
    let signed = [0xffff_fff5, 0, u32::MAX, u32::MAX, 0x1234_5678, 0xffff_fff8];
    assert_eq!(words("bfe.s32 d, a, b, c;", &cases), signed);
    assert_eq!(longs("bfe.s64 ld, la, 60, 4;", &[[0xa << 60, 0, 0]]), [-6i64 as u64]);
    assert_eq!(longs("bfe.u64 ld, la, 0, 64;", &[[u64::MAX, 0, 0]]), [u64::MAX]);
}

#[test]
fn fields_are_inserted() {
    let cases = [[0xab, 0xffff_ffff, 8], [0xab, 0, 28], [0xab, 7, 32]];
    assert_eq!(words("bfi.b32 d, a, b, c, 8;", &cases), [0xffff_abff, 0xb000_0000, 7]);
    assert_eq!(words("bfi.b32 d, a, b, 4, c;", &[[0xab, 0xffff_ffff, 0]]), [0xffff_ffff]);
    assert_eq!(longs("bfi.b64 ld, la, lb, 60, 8;", &[[0xab, 1, 0]]), [0xb000_0000_0000_0001]);
}

#[test]
fn bytes_are_permuted() {
    let cases = [[0x3322_1100, 0x7766_55f4, 0x0000_5410]];
    assert_eq!(words("prmt.b32 d, a, b, c;", &cases), [0x55f4_1100]);
    assert_eq!(words("prmt.b32 d, a, b, 0x7640;", &cases), [0x7766_f400]);
    // The top bit of a nibble spreads the byte's sign.
    assert_eq!(words("prmt.b32 d, a, b, 0x8c0c;", &cases), [0x00ff_00ff]);
    assert_eq!(words("prmt.b32.f4e d, a, b, 1;", &cases), [0xf433_2211]);
    assert_eq!(words("prmt.b32.b4e d, a, b, 1;", &cases), [0x6677_0011]);
    assert_eq!(words("prmt.b32.rc8 d, a, b, 2;", &cases), [0x2222_2222]);
    assert_eq!(words("prmt.b32.ecl d, a, b, 2;", &cases), [0x3322_2222]);
    assert_eq!(words("prmt.b32.ecr d, a, b, 1;", &cases), [0x1111_1100]);
    assert_eq!(words("prmt.b32.rc16 d, a, b, 1;", &cases), [0x3322_3322]);
}

#[test]
fn logic_of_three() {
    let cases = [[0b1111_0000, 0b1100_1100, 0b1010_1010]];
    assert_eq!(words("lop3.b32 d, a, b, c, 0x80;", &cases), [0b1000_0000]);
    assert_eq!(words("lop3.b32 d, a, b, c, 0x96;", &cases)[0] & 0xff, 0x96);
    assert_eq!(words("lop3.b32 d, a, b, c, 0x1a;", &cases)[0] & 0xff, 0x1a);
}

#[test]
fn funnel_shifts() {
    let cases = [[0x8000_0001, 0x0000_000f, 4], [0x8000_0001, 0x0000_000f, 32], [0x8000_0001, 0x0000_000f, 36]];
    assert_eq!(words("shf.l.wrap.b32 d, a, b, c;", &cases), [0xf8, 0xf, 0xf8]);
    assert_eq!(words("shf.l.clamp.b32 d, a, b, c;", &cases), [0xf8, 0x8000_0001, 0x8000_0001]);
    assert_eq!(words("shf.r.wrap.b32 d, a, b, c;", &cases), [0xf800_0000, 0x8000_0001, 0xf800_0000]);
    assert_eq!(words("shf.r.clamp.b32 d, a, b, c;", &cases), [0xf800_0000, 0xf, 0xf]);
}
