//! Run-time choice of the instruction set.

use std::sync::LazyLock;

/// The best instruction set of this processor, found once: AVX-512, AVX2 with FMA, NEON or plain code.
pub(crate) static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// Runs `f` compiled for AVX2 with FMA where this processor has them; the portable instructions suffice elsewhere (NEON)
/// or must do. AVX-512 would double the code and gain nothing in loops that are bound by memory or by the polynomial of
/// `exp`; the matrix products of [`gemm_tile`](crate::gemm_tile) have it.
#[inline(always)]
pub(crate) fn vectorized<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = *AVX2 {
        return pulp::Simd::vectorize(avx2, f);
    }
    f()
}

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

/// Sixteen partial sums keep a long reduction in SIMD registers and its order fixed.
const LANES: usize = 16;

/// Sum of `f(i)` over `0..n` in a fixed order that vectorises.
#[inline(always)]
pub fn sum<T: crate::Real>(n: usize, f: impl Fn(usize) -> T) -> T {
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
            let other = lanes[l + width];
            lanes[l] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest element.
#[inline(always)]
pub fn max<T: crate::Real>(x: &[T]) -> T {
    let mut lanes = [T::of(f64::NEG_INFINITY); LANES];
    let (whole, rest) = x.split_at(x.len() - x.len() % LANES);
    for x in whole.chunks_exact(LANES) {
        for (lane, x) in lanes.iter_mut().zip(x) {
            *lane = x.max(*lane);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = x.max(*lane);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            let other = lanes[l + width];
            lanes[l] = other.max(lanes[l]);
        }
        width /= 2;
    }
    lanes[0]
}
