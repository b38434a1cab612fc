//! Reductions of matrix rows inside a fused kernel: operands in the first-level cache, one thread.
//!
//! Written in explicit SIMD, since the compiler turns the tree at a row's end into shuffles all along the row. Sixteen
//! partial results a row, folded by halves, whatever the width of the registers: the same bits on every instruction set.
//! Bound by the latency of the tree, about 20 cycles a row, which neighbouring rows hide.

use crate::real::Real;
use crate::simd::ARCH;
use pulp::{Simd, WithSimd};

/// What becomes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// sum of `x[i]`.
    Sum,
    /// sum of `x[i] y[i]`.
    Dot,
    /// largest of `x[i]`.
    Max,
}

/// Rows to reduce: row r is `x[r * stride..][..width]`.
pub struct RowReduce<'a, T> {
    /// Reduction of every row.
    pub reduction: Reduction,
    /// Elements of a row.
    pub width: usize,
    /// Rows and their stride.
    pub x: (&'a [T], usize),
    /// Second factors and their stride (0: the same row for all); only a [`Reduction::Dot`] reads them.
    pub y: (&'a [T], usize),
    /// One result a row.
    pub out: &'a mut [T],
}

/// out[r] = sum of row r.
#[inline(always)]
pub(crate) fn sums<T: Real>(width: usize, x: (&[T], usize), out: &mut [T]) {
    T::row_reduce(RowReduce { reduction: Reduction::Sum, width, x, y: x, out });
}

/// out[r] = product of row r of x and row r of y.
#[inline(always)]
pub(crate) fn dots<T: Real>(width: usize, x: (&[T], usize), y: (&[T], usize), out: &mut [T]) {
    T::row_reduce(RowReduce { reduction: Reduction::Dot, width, x, y, out });
}

/// out[r] = largest element of row r.
#[inline(always)]
pub(crate) fn maxima<T: Real>(width: usize, x: (&[T], usize), out: &mut [T]) {
    T::row_reduce(RowReduce { reduction: Reduction::Max, width, x, y: x, out });
}

/// The reduction by plain loops, in any precision.
pub(crate) fn run_plain<T: Real>(r: RowReduce<'_, T>) {
    for (row, out) in r.out.iter_mut().enumerate() {
        let x = &r.x.0[row * r.x.1..][..r.width];
        *out = match r.reduction {
            Reduction::Sum => x.iter().copied().sum(),
            Reduction::Dot => x.iter().zip(&r.y.0[row * r.y.1..][..r.width]).map(|(x, y)| *x * *y).sum(),
            Reduction::Max => x.iter().fold(T::of(f64::NEG_INFINITY), |top, x| x.max(top)),
        };
    }
}

/// The reduction in SIMD code for the best instruction set.
#[inline(never)]
pub(crate) fn run_f32(r: RowReduce<'_, f32>) {
    // Less than one register: filling the rest of it costs more than the sum.
    if r.width < PARTS { run_plain(r) } else { ARCH.dispatch(SimdRows(r)) }
}

struct SimdRows<'a>(RowReduce<'a, f32>);

impl WithSimd for SimdRows<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let r = self.0;
        match r.reduction {
            Reduction::Sum => rows(
                simd,
                r,
                0.0,
                |sum, x, _| simd.add_f32s(sum, x),
                |a, b| simd.add_f32s(a, b),
                |a| simd.reduce_sum_f32s(a),
            ),
            Reduction::Dot => rows(
                simd,
                r,
                0.0,
                |sum, x, y| simd.mul_add_f32s(x, y, sum),
                |a, b| simd.add_f32s(a, b),
                |a| simd.reduce_sum_f32s(a),
            ),
            Reduction::Max => rows(
                simd,
                r,
                f32::NEG_INFINITY,
                |top, x, _| simd.max_f32s(x, top),
                |a, b| simd.max_f32s(a, b),
                |a| simd.reduce_max_f32s(a),
            ),
        }
    }
}

/// Partial results of a row.
const PARTS: usize = 16;

#[inline(always)]
fn rows<S: Simd>(
    simd: S,
    r: RowReduce<'_, f32>,
    start: f32,
    step: impl Fn(S::f32s, S::f32s, S::f32s) -> S::f32s,
    merge: impl Fn(S::f32s, S::f32s) -> S::f32s,
    last: impl Fn(S::f32s) -> f32,
) {
    let lanes = S::F32_LANES;
    let registers = (PARTS / lanes).max(1);
    let whole = r.width - r.width % PARTS;
    for (row, out) in r.out.iter_mut().enumerate() {
        let (x, y) = (&r.x.0[row * r.x.1..][..r.width], &r.y.0[row * r.y.1..][..r.width]);
        let mut parts = [simd.splat_f32s(start); PARTS];
        let mut take = |x: &[f32], y: &[f32]| {
            for (part, (x, y)) in parts[..registers].iter_mut().zip(x.chunks_exact(lanes).zip(y.chunks_exact(lanes))) {
                // SAFETY: both slices hold one register's lanes; any bits are numbers.
                let (x, y) = unsafe {
                    (x.as_ptr().cast::<S::f32s>().read_unaligned(), y.as_ptr().cast::<S::f32s>().read_unaligned())
                };
                *part = step(*part, x, y);
            }
        };
        for at in (0..whole).step_by(PARTS) {
            take(&x[at..at + PARTS], &y[at..at + PARTS]);
        }
        if whole < r.width {
            // What lies beyond the row must not count.
            let (mut tail_x, mut tail_y) = ([start; PARTS], [0.0; PARTS]);
            tail_x[..r.width - whole].copy_from_slice(&x[whole..]);
            tail_y[..r.width - whole].copy_from_slice(&y[whole..]);
            take(&tail_x, &tail_y);
        }
        let mut half = registers / 2;
        while half > 0 {
            for i in 0..half {
                parts[i] = merge(parts[i], parts[i + half]);
            }
            half /= 2;
        }
        *out = last(parts[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_width_and_stride_equals_the_plain_loops() {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        for width in [1, 5, 8, 15, 16, 17, 32, 47, 130] {
            for reduction in [Reduction::Sum, Reduction::Dot, Reduction::Max] {
                let (x, y): (Vec<f32>, Vec<f32>) =
                    ((0..7 * (width + 3)).map(value).collect(), (0..7 * width).map(|i| value(i + 5)).collect());
                let reduce = |out| RowReduce { reduction, width, x: (&x, width + 3), y: (&y, width), out };
                let (mut got, mut want) = ([0.0; 7], [0.0; 7]);
                run_f32(reduce(&mut got));
                run_plain(reduce(&mut want));
                for (got, want) in got.iter().zip(want) {
                    assert!((got - want).abs() < 1e-5, "{reduction:?} of {width}: {got} {want}");
                }
            }
        }
    }
}
