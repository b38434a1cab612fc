//! The two number types that kernels compute in, and their elementary functions.
//!
//! The f32 functions are short polynomials without branches, so that a loop over a slice becomes SIMD code
//! inside [`Real::vectorized`]; the f64 ones are the standard library's, as the oracle.
//! The polynomials are minimax fits of this project: `exp` and `ln` within 2 ulp, `tanh`, sine and cosine within 2e-7
//! absolute, the normal distribution within 1.5e-7.

use crate::buffers::Element;
use crate::gemm_tile::{self, GemmTile};
use crate::row_reduce::{self, RowReduce};
use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64.
pub trait Real:
    Element
    + PartialOrd
    + Default
    + Debug
    + Display
    + Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Rounds an f64.
    fn of(x: f64) -> Self;
    /// Widens to f64.
    fn f64(self) -> f64;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// e to the power of `self`.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
    /// Sine and cosine of 2 pi `self`, for up to a thousand turns.
    fn sin_cos_turns(self) -> (Self, Self);
    /// Distribution function and density of the standard normal distribution at `self`.
    fn normal(self) -> (Self, Self);
    /// `self` to the power of `y`.
    fn powf(self, y: Self) -> Self;
    /// `c = start + a * b` for matrices that fit in the first-level cache, on this thread.
    fn gemm_tile(g: GemmTile<'_, Self>);
    /// Reduces every row of a matrix that fits in the first-level cache, on this thread.
    fn row_reduce(r: RowReduce<'_, Self>);

    /// Runs `f` as SIMD code: loops over slices in `f`, and in the `#[inline(always)]` functions it calls, use the vector
    /// instructions of this processor. `f` itself must be written `#[inline(always)] || ..`, or it stays plain code (15
    /// times slower in the temporal block). A closure handed to another thread leaves the region, so every task of a
    /// parallel loop enters it anew. The arithmetic is the same on every instruction set: no reassociation, fused
    /// multiply-adds where written. The oracle, f64, stays plain code.
    fn vectorized<R>(f: impl FnOnce() -> R) -> R;

    /// The smaller of two numbers; NaN when `self` is NaN.
    #[inline(always)]
    fn min(self, other: Self) -> Self {
        if self > other { other } else { self }
    }
    /// The larger of two numbers; NaN when `self` is NaN.
    #[inline(always)]
    fn max(self, other: Self) -> Self {
        if self < other { other } else { self }
    }
    /// The logistic function 1 / (1 + exp(-self)).
    #[inline(always)]
    fn sigmoid(self) -> Self {
        Self::ONE / (Self::ONE + (-self).exp())
    }
}

impl Real for f32 {
    const ZERO: f32 = 0.0;
    const ONE: f32 = 1.0;
    #[inline(always)]
    fn of(x: f64) -> f32 {
        x as f32
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        f64::from(self)
    }
    #[inline(always)]
    fn mul_add(self, a: f32, b: f32) -> f32 {
        f32::mul_add(self, a, b)
    }
    #[inline(always)]
    fn exp(self) -> f32 {
        exp_f32(self)
    }
    #[inline(always)]
    fn ln(self) -> f32 {
        ln_f32(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f32 {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f32 {
        f32::abs(self)
    }
    #[inline(always)]
    fn tanh(self) -> f32 {
        tanh_f32(self)
    }
    #[inline(always)]
    fn sin_cos_turns(self) -> (f32, f32) {
        sin_cos_turns_f32(self)
    }
    #[inline(always)]
    fn normal(self) -> (f32, f32) {
        normal_f32(self)
    }
    #[inline(always)]
    fn sigmoid(self) -> f32 {
        1.0 / (1.0 + exp_within_range(Real::min(Real::max(-self, LOWEST), HIGHEST)))
    }
    #[inline(always)]
    fn powf(self, y: f32) -> f32 {
        f32::powf(self, y)
    }
    #[inline(always)]
    fn gemm_tile(g: GemmTile<'_, f32>) {
        gemm_tile::run_f32(g);
    }
    #[inline(always)]
    fn row_reduce(r: RowReduce<'_, f32>) {
        row_reduce::run_f32(r);
    }
    #[inline(always)]
    fn vectorized<R>(f: impl FnOnce() -> R) -> R {
        crate::simd::vectorized(f)
    }
}

impl Real for f64 {
    const ZERO: f64 = 0.0;
    const ONE: f64 = 1.0;
    #[inline(always)]
    fn of(x: f64) -> f64 {
        x
    }
    #[inline(always)]
    fn f64(self) -> f64 {
        self
    }
    #[inline(always)]
    fn mul_add(self, a: f64, b: f64) -> f64 {
        self * a + b
    }
    #[inline(always)]
    fn exp(self) -> f64 {
        f64::exp(self)
    }
    #[inline(always)]
    fn ln(self) -> f64 {
        f64::ln(self)
    }
    #[inline(always)]
    fn sqrt(self) -> f64 {
        f64::sqrt(self)
    }
    #[inline(always)]
    fn abs(self) -> f64 {
        f64::abs(self)
    }
    #[inline(always)]
    fn tanh(self) -> f64 {
        f64::tanh(self)
    }
    #[inline(always)]
    fn sin_cos_turns(self) -> (f64, f64) {
        (self * std::f64::consts::TAU).sin_cos()
    }
    #[inline(always)]
    fn normal(self) -> (f64, f64) {
        let share = 0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2);
        (share, 0.398_942_280_401_432_7 * f64::exp(-0.5 * self * self))
    }
    #[inline(always)]
    fn powf(self, y: f64) -> f64 {
        f64::powf(self, y)
    }
    #[inline(always)]
    fn gemm_tile(g: GemmTile<'_, f64>) {
        gemm_tile::run_plain(g);
    }
    #[inline(always)]
    fn row_reduce(r: RowReduce<'_, f64>) {
        row_reduce::run_plain(r);
    }
    #[inline(always)]
    fn vectorized<R>(f: impl FnOnce() -> R) -> R {
        f()
    }
}

/// Horner's scheme, lowest coefficient first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut y = coefficients[N - 1];
    for c in coefficients.iter().rev().skip(1) {
        y = f32::mul_add(y, x, *c);
    }
    y
}

/// Adding 1.5 * 2^23 leaves the nearest integer in the low bits.
const ROUND: f32 = 12_582_912.0;

/// Where exp(x) is a normal number.
const LOWEST: f32 = -87.33;
const HIGHEST: f32 = 88.37;

/// exp(x) for x from [`LOWEST`] to [`HIGHEST`].
#[inline(always)]
fn exp_within_range(x: f32) -> f32 {
    const TAIL: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_39, 0.008_368_738, 0.001_381_456_8];
    let shifted = f32::mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    // ln 2 in two parts keeps the remainder exact.
    let r = f32::mul_add(n, 2.121_944_4e-4, f32::mul_add(n, -0.693_359_4, x));
    let y = f32::mul_add(r * r, polynomial(r, TAIL), r) + 1.0;
    y * f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000))
}

#[inline(always)]
fn exp_f32(x: f32) -> f32 {
    let y = exp_within_range(Real::min(Real::max(x, LOWEST), HIGHEST));
    let y = if x > HIGHEST { f32::INFINITY } else { y };
    if x < LOWEST { 0.0 } else { y }
}

#[inline(always)]
fn ln_f32(x: f32) -> f32 {
    // (ln(1 + f) - f + f^2 / 2) / f^3 for 1 + f between the roots of 1/2 and 2
    const TAIL: [f32; 8] = [
        0.333_333_3,
        -0.250_008_23,
        0.200_012_27,
        -0.166_233_47,
        0.142_017_44,
        -0.131_602_9,
        0.127_617_58,
        -0.076_344_37,
    ];
    let tiny = x < f32::MIN_POSITIVE;
    let bits = if tiny { x * 8_388_608.0 } else { x }.to_bits();
    let exponent = (bits.wrapping_sub(std::f32::consts::FRAC_1_SQRT_2.to_bits()) as i32) >> 23;
    let f = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23)) - 1.0;
    let n = exponent as f32 - if tiny { 23.0 } else { 0.0 };
    let small = f32::mul_add(n, -2.121_944_4e-4, f * f * f32::mul_add(f, polynomial(f, TAIL), -0.5));
    let y = f32::mul_add(n, 0.693_359_4, f + small);
    let y = if x == f32::INFINITY { x } else { y };
    let y = if x == 0.0 { f32::NEG_INFINITY } else { y };
    // NaN fails the comparison too.
    if x >= 0.0 { y } else { f32::NAN }
}

#[inline(always)]
fn sin_cos_turns_f32(x: f32) -> (f32, f32) {
    const SINE: [f32; 4] = [std::f32::consts::TAU, -41.341_66, 81.592_354, -75.393_5];
    const COSINE: [f32; 4] = [-19.739_208, 64.939_32, -85.443_74, 59.245_89];
    // The nearest quarter of a turn, and the rest of at most an eighth.
    let shifted = f32::mul_add(x, 4.0, ROUND);
    let quarter = shifted.to_bits();
    let r = f32::mul_add(shifted - ROUND, -0.25, x);
    let square = r * r;
    let sine = r * polynomial(square, SINE);
    let cosine = f32::mul_add(square, polynomial(square, COSINE), 1.0);
    let (s, c) = if quarter & 1 == 0 { (sine, cosine) } else { (cosine, sine) };
    let s = f32::from_bits(s.to_bits() ^ ((quarter & 2) << 30));
    let c = f32::from_bits(c.to_bits() ^ ((quarter.wrapping_add(1) & 2) << 30));
    (s, c)
}

#[inline(always)]
fn tanh_f32(x: f32) -> f32 {
    const SMALL: [f32; 5] = [-0.333_332_8, 0.133_314_42, -0.053_739_7, 0.020_639_041, -0.005_704_934];
    let magnitude = x.abs();
    let square = x * x;
    let small = f32::mul_add(magnitude * square, polynomial(square, SMALL), magnitude);
    // tanh is 1 to the last bit beyond 10.
    let large = 1.0 - 2.0 / (exp_within_range(2.0 * Real::min(magnitude, 10.0)) + 1.0);
    let y = if magnitude < 0.625 { small } else { large };
    y.copysign(x)
}

#[inline(always)]
fn normal_f32(x: f32) -> (f32, f32) {
    // Mills' ratio (1 - Phi(m)) / phi(m) on [0, 6] about 1.5, fitted with weight phi; beyond 6 phi alone is small enough.
    const MILLS: [f32; 12] = [
        0.515_815_5,
        -0.226_276_64,
        0.088_203_795,
        -0.031_321_8,
        0.010_291_503,
        -0.003_185_207_3,
        0.000_937_019_77,
        -0.000_245_165_02,
        6.025_910_3e-5,
        -2.052_358_5e-5,
        6.272_485_3e-6,
        -7.909_735_6e-7,
    ];
    let density = 0.398_942_3 * exp_within_range(-0.5 * Real::min(x * x, 150.0));
    let tail = density * polynomial(Real::min(x.abs(), 6.0) - 1.5, MILLS);
    (if x > 0.0 { 1.0 - tail } else { tail }, density)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worst(f: fn(f32) -> f32, oracle: fn(f64) -> f64, low: f64, high: f64, relative: bool) -> f64 {
        let steps = 200_000;
        (0..=steps)
            .map(|i| {
                let x = (low + (high - low) * f64::from(i) / f64::from(steps)) as f32;
                let want = oracle(f64::from(x));
                let error = (f64::from(f(x)) - want).abs();
                if relative { error / want.abs() } else { error }
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn single_precision_functions_are_accurate() {
        assert!(worst(exp_f32, f64::exp, -87.0, 88.3, true) < 2.5e-7);
        assert!(worst(tanh_f32, f64::tanh, -12.0, 12.0, false) < 2e-7);
        assert!(worst(tanh_f32, f64::tanh, 1e-6, 0.7, true) < 3e-7);
        assert!(worst(|x| normal_f32(x).0, |x| x.normal().0, -9.0, 9.0, false) < 1.5e-7);
        assert!(worst(|x| normal_f32(x).1, |x| x.normal().1, -9.0, 9.0, false) < 1e-7);
        assert!(worst(Real::sigmoid, |x| 1.0 / (1.0 + (-x).exp()), -80.0, 80.0, true) < 3e-7);
        assert!(worst(ln_f32, f64::ln, 1e-6, 4.0, true) < 2.5e-7);
        assert!(worst(ln_f32, f64::ln, 1e-39, 1e-37, true) < 2.5e-7);
        assert!(worst(|x| sin_cos_turns_f32(x).0, |x| x.sin_cos_turns().0, -3.0, 3.0, false) < 2e-7);
        assert!(worst(|x| sin_cos_turns_f32(x).1, |x| x.sin_cos_turns().1, -3.0, 3.0, false) < 2e-7);
    }

    #[test]
    fn special_values() {
        for f in [exp_f32, ln_f32, tanh_f32, Real::sigmoid, |x| normal_f32(x).0, |x| normal_f32(x).1] {
            assert!(f(f32::NAN).is_nan());
        }
        assert_eq!(ln_f32(0.0), f32::NEG_INFINITY);
        assert_eq!(ln_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(ln_f32(1.0), 0.0);
        assert!(ln_f32(-1.0).is_nan());
        assert_eq!(exp_f32(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp_f32(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp_f32(0.0), 1.0);
        assert_eq!(tanh_f32(f32::INFINITY), 1.0);
        assert_eq!(tanh_f32(-100.0), -1.0);
        assert_eq!(normal_f32(f32::INFINITY).0, 1.0);
        assert!(normal_f32(-100.0).0 < 1e-30);
        assert!(Real::sigmoid(-200.0f32) < 1e-38);
    }
}
