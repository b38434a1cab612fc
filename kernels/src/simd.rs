//! Run-time choice of the instruction set.

use crate::Real;
use std::sync::LazyLock;

/// The best instruction set of this processor, found once: AVX-512, AVX2 with FMA, NEON or plain code.
pub(crate) static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Runs `f` compiled for the best instruction set of this processor on x86-64; the portable instructions suffice elsewhere
/// (NEON) or must do.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(avx512) = *AVX512 {
            return pulp::Simd::vectorize(avx512, f);
        }
        if let Some(avx2) = *AVX2 {
            return pulp::Simd::vectorize(avx2, f);
        }
    }
    f()
}

#[cfg(target_arch = "x86_64")]
static AVX512: LazyLock<Option<pulp::x86::V4>> = LazyLock::new(pulp::x86::V4::try_new);
#[cfg(target_arch = "x86_64")]
static AVX2: LazyLock<Option<pulp::x86::V3>> = LazyLock::new(pulp::x86::V3::try_new);

/// The name of the instruction set in use, for reports.
pub fn instruction_set() -> &'static str {
    let name = format!("{:?}", *ARCH);
    if name.contains("V4") {
        "AVX-512"
    } else if name.contains("V3") {
        "AVX2 + FMA"
    } else if name.contains("Neon") {
        "NEON"
    } else {
        "baseline"
    }
}

/// Sixteen partial sums keep a long reduction in SIMD registers and its order fixed; rows of a few channels are walked in
/// pieces of sixteen too, since the compiler's own vector loops take up to 64 at a time and leave short rows to plain code.
const LANES: usize = 16;

/// y[i] = f(y[i]).
#[inline(always)]
pub(crate) fn each<T: Real>(y: &mut [T], f: impl Fn(T) -> T) {
    let (ys, rest) = y.as_chunks_mut::<LANES>();
    for y in ys {
        let mut block = *y;
        for y in &mut block {
            *y = f(*y);
        }
        *y = block;
    }
    for y in rest {
        *y = f(*y);
    }
}

/// y[i] = f(y[i], x[i]).
#[inline(always)]
pub(crate) fn update<T: Real>(y: &mut [T], x: &[T], f: impl Fn(T, T) -> T) {
    let ((ys, y_rest), (xs, x_rest)) = (y.as_chunks_mut::<LANES>(), x.as_chunks::<LANES>());
    for (y, x) in ys.iter_mut().zip(xs) {
        let mut block = *y;
        for (y, x) in block.iter_mut().zip(x) {
            *y = f(*y, *x);
        }
        *y = block;
    }
    for (y, x) in y_rest.iter_mut().zip(x_rest) {
        *y = f(*y, *x);
    }
}

/// z[i] = f(z[i], x[i], y[i]).
#[inline(always)]
pub(crate) fn update_with<T: Real>(z: &mut [T], x: &[T], y: &[T], f: impl Fn(T, T, T) -> T) {
    let (zs, z_rest) = z.as_chunks_mut::<LANES>();
    let ((xs, x_rest), (ys, y_rest)) = (x.as_chunks::<LANES>(), y.as_chunks::<LANES>());
    for ((z, x), y) in zs.iter_mut().zip(xs).zip(ys) {
        let mut block = *z;
        for ((z, x), y) in block.iter_mut().zip(x).zip(y) {
            *z = f(*z, *x, *y);
        }
        *z = block;
    }
    for ((z, x), y) in z_rest.iter_mut().zip(x_rest).zip(y_rest) {
        *z = f(*z, *x, *y);
    }
}

/// Sum of `f(i)` over `0..n` in a fixed order that vectorises.
#[inline(always)]
pub fn sum<T: Real>(n: usize, f: impl Fn(usize) -> T) -> T {
    let mut lanes = [T::ZERO; LANES];
    let whole = n - n % LANES;
    let mut start = 0;
    while start < whole {
        for (l, lane) in lanes.iter_mut().enumerate() {
            *lane += f(start + l);
        }
        start += LANES;
    }
    for (l, i) in (whole..n).enumerate() {
        lanes[l] += f(i);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            lanes[l] += lanes[l + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// sums[i] = f(sums[i], row[i]) over the rows `x[r * stride..]`, one after the other.
#[inline(always)]
pub(crate) fn fold_rows<T: Real>(sums: &mut [T], (x, stride): (&[T], usize), f: impl Fn(T, T) -> T + Copy) {
    let at = fold_columns::<T, 32>(sums, (x, stride), f, 0);
    let at = fold_columns::<T, 8>(sums, (x, stride), f, at);
    fold_columns::<T, 1>(sums, (x, stride), f, at);
}

/// The whole blocks of `W` columns from column `at` on, which stay in registers; returns where they end.
#[inline(always)]
fn fold_columns<T: Real, const W: usize>(
    sums: &mut [T],
    (x, stride): (&[T], usize),
    f: impl Fn(T, T) -> T,
    mut at: usize,
) -> usize {
    while at + W <= sums.len() {
        let mut block = [T::ZERO; W];
        block.copy_from_slice(&sums[at..at + W]);
        for row in x.chunks(stride) {
            for (sum, x) in block.iter_mut().zip(&row[at..at + W]) {
                *sum = f(*sum, *x);
            }
        }
        sums[at..at + W].copy_from_slice(&block);
        at += W;
    }
    at
}

/// Adds every row of `rows [.., n]` to `sums [n]`.
#[inline(always)]
pub(crate) fn add_rows<T: Real>(sums: &mut [T], rows: &[T]) {
    let stride = sums.len();
    fold_rows(sums, (rows, stride), |sum, x| sum + x);
}
