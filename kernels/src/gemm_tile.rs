//! Small matrix products inside a fused kernel: operands in the first-level cache, one thread.
//!
//! `c[m, n] (+)= a[m, k] * b[k, n]`. `a` may have any strides (a transpose costs nothing), `b` and `c` have
//! contiguous rows. The plan: a block of `c` (12 x 2 vectors with 32 registers, 6 x 2 with 16) stays in
//! registers while k runs; each step loads two vectors of `b` and broadcasts one element of `a` a row. The
//! last vector of a row is masked, so any n works. Bound by FMA throughput.
//! Measured: see `benches/RESULTS.md`.

use crate::real::Real;
use crate::simd::ARCH;
use pulp::{MemMask, Simd, WithSimd};

/// One small product.
pub struct GemmTile<'a, T> {
    /// Rows of `c`.
    pub m: usize,
    /// Columns of `c`.
    pub n: usize,
    /// Terms of each sum.
    pub k: usize,
    /// Left factor and its strides between rows and between columns.
    pub a: (&'a [T], usize, usize),
    /// Right factor and its stride between rows.
    pub b: (&'a [T], usize),
    /// Result and its stride between rows.
    pub c: (&'a mut [T], usize),
    /// Whether the product is added to `c` or replaces it.
    pub accumulate: bool,
}

impl<T> GemmTile<'_, T> {
    /// Panics unless every element that the product touches lies inside its slice.
    #[inline(always)]
    fn assert_inside(&self) {
        let (m, n, k) = (self.m, self.n, self.k);
        if m == 0 || n == 0 {
            return;
        }
        assert!((m - 1) * self.c.1 + n <= self.c.0.len(), "gemm_tile: c is too short");
        if k > 0 {
            assert!((m - 1) * self.a.1 + (k - 1) * self.a.2 < self.a.0.len(), "gemm_tile: a is too short");
            assert!((k - 1) * self.b.1 + n <= self.b.0.len(), "gemm_tile: b is too short");
        }
    }
}

/// c = a b with (m, n, k) = `sizes`, operands as in [`GemmTile`].
#[inline(always)]
pub(crate) fn product<T: Real>(
    (m, n, k): (usize, usize, usize),
    a: (&[T], usize, usize),
    b: (&[T], usize),
    c: (&mut [T], usize),
) {
    T::gemm_tile(GemmTile { m, n, k, a, b, c, accumulate: false });
}

/// c += a b, otherwise as [`product`].
#[inline(always)]
pub(crate) fn add_product<T: Real>(
    (m, n, k): (usize, usize, usize),
    a: (&[T], usize, usize),
    b: (&[T], usize),
    c: (&mut [T], usize),
) {
    T::gemm_tile(GemmTile { m, n, k, a, b, c, accumulate: true });
}

/// The product by three plain loops, in any precision.
pub(crate) fn run_plain<T: Real>(g: GemmTile<'_, T>) {
    g.assert_inside();
    for i in 0..g.m {
        let row = &mut g.c.0[i * g.c.1..i * g.c.1 + g.n];
        if !g.accumulate {
            row.fill(T::ZERO);
        }
        for p in 0..g.k {
            let a = g.a.0[i * g.a.1 + p * g.a.2];
            let b = &g.b.0[p * g.b.1..p * g.b.1 + g.n];
            for (c, b) in row.iter_mut().zip(b) {
                *c += a * *b;
            }
        }
    }
}

/// The product in SIMD code for the best instruction set. Not inlined: its code is large and a call costs nothing beside it.
#[inline(never)]
pub(crate) fn run_f32(g: GemmTile<'_, f32>) {
    g.assert_inside();
    ARCH.dispatch(SimdTile(g));
}

struct SimdTile<'a>(GemmTile<'a, f32>);

impl WithSimd for SimdTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let g = self.0;
        let rows = if S::REGISTER_COUNT >= 32 { 12 } else { 6 };
        let mut column = 0;
        while column < g.n {
            let left = g.n - column;
            let vectors = if left > S::F32_LANES { 2 } else { 1 };
            let width = left.min(vectors * S::F32_LANES);
            let mask = simd.mask_between_m32s(0, (width - (vectors - 1) * S::F32_LANES) as u32);
            // Rows are shared out evenly: 46 rows become 12, 12, 11, 11 rather than 12, 12, 12, 10.
            let blocks = g.m.div_ceil(rows);
            let mut row = 0;
            for block in 0..blocks {
                let next = (block + 1) * g.m / blocks;
                let tile = Block {
                    k: g.k,
                    // SAFETY: row < m and column < n, and `assert_inside` checked the last row and column.
                    a: unsafe { g.a.0.as_ptr().add(row * g.a.1) },
                    strides: (g.a.1, g.a.2),
                    // SAFETY: as above.
                    b: unsafe { g.b.0.as_ptr().add(column) },
                    b_stride: g.b.1,
                    // SAFETY: as above.
                    c: unsafe { g.c.0.as_mut_ptr().add(row * g.c.1 + column) },
                    c_stride: g.c.1,
                    accumulate: g.accumulate,
                };
                // SAFETY: the tile covers rows row..next and columns column..column + width, all inside.
                unsafe {
                    if vectors == 2 {
                        choose::<S, 2>(simd, &tile, next - row, mask);
                    } else {
                        choose::<S, 1>(simd, &tile, next - row, mask);
                    }
                }
                row = next;
            }
            column += width;
        }
    }
}

/// A block of `c` that stays in registers.
struct Block {
    k: usize,
    a: *const f32,
    strides: (usize, usize),
    b: *const f32,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    accumulate: bool,
}

/// # Safety
/// `tile` must cover `rows` rows and `V` vectors, the last one under `mask`, of valid memory.
#[inline(always)]
unsafe fn choose<S: Simd, const V: usize>(simd: S, tile: &Block, rows: usize, mask: MemMask<S::m32s>) {
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => block::<S, 1, V>(simd, tile, mask),
            2 => block::<S, 2, V>(simd, tile, mask),
            3 => block::<S, 3, V>(simd, tile, mask),
            4 => block::<S, 4, V>(simd, tile, mask),
            5 => block::<S, 5, V>(simd, tile, mask),
            6 => block::<S, 6, V>(simd, tile, mask),
            7 => block::<S, 7, V>(simd, tile, mask),
            8 => block::<S, 8, V>(simd, tile, mask),
            9 => block::<S, 9, V>(simd, tile, mask),
            10 => block::<S, 10, V>(simd, tile, mask),
            11 => block::<S, 11, V>(simd, tile, mask),
            12 => block::<S, 12, V>(simd, tile, mask),
            _ => unreachable!("a block has 1 to 12 rows"),
        }
    }
}

/// # Safety
/// As [`choose`], with `R` rows.
#[inline(always)]
unsafe fn block<S: Simd, const R: usize, const V: usize>(simd: S, tile: &Block, mask: MemMask<S::m32s>) {
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let mut a = tile.a;
    let mut b = tile.b;
    for _ in 0..tile.k {
        let mut right = [simd.splat_f32s(0.0); V];
        for (v, r) in right.iter_mut().enumerate() {
            // SAFETY: all but the last vector are whole, the last one is masked to the row's end.
            *r = unsafe {
                if v + 1 < V {
                    b.add(v * lanes).cast::<S::f32s>().read_unaligned()
                } else {
                    simd.mask_load_ptr_f32s(mask, b.add(v * lanes))
                }
            };
        }
        for (i, row) in sums.iter_mut().enumerate() {
            // SAFETY: row i < R of column p < k.
            let left = simd.splat_f32s(unsafe { *a.add(i * tile.strides.0) });
            for (sum, r) in row.iter_mut().zip(right) {
                *sum = simd.mul_add_f32s(left, r, *sum);
            }
        }
        a = a.wrapping_add(tile.strides.1);
        b = b.wrapping_add(tile.b_stride);
    }
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            // SAFETY: row i < R of `c`; the last vector is masked to the row's end.
            unsafe {
                let at = tile.c.add(i * tile.c_stride + v * lanes);
                let whole = v + 1 < V;
                let mut value = *sum;
                if tile.accumulate {
                    let old =
                        if whole { at.cast::<S::f32s>().read_unaligned() } else { simd.mask_load_ptr_f32s(mask, at) };
                    value = simd.add_f32s(old, value);
                }
                if whole {
                    at.cast::<S::f32s>().write_unaligned(value);
                } else {
                    simd.mask_store_ptr_f32s(mask, at, value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_shape_and_stride_equals_the_plain_loops() {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        for (m, n, k) in [
            (1, 1, 1),
            (46, 32, 32),
            (46, 96, 32),
            (13, 17, 5),
            (12, 33, 7),
            (5, 8, 46),
            (32, 128, 46),
            (3, 2, 0),
            (25, 31, 3),
        ] {
            for transposed in [false, true] {
                for accumulate in [false, true] {
                    let a: Vec<f32> = (0..m * k).map(value).collect();
                    let b: Vec<f32> = (0..k * (n + 3)).map(|i| value(i + 7)).collect();
                    let strides = if transposed { (1, m) } else { (k, 1) };
                    let mut got: Vec<f32> = (0..m * (n + 1)).map(|i| value(i + 11)).collect();
                    let mut want = got.clone();
                    let tile = |c| GemmTile {
                        m,
                        n,
                        k,
                        a: (&a, strides.0, strides.1),
                        b: (&b, n + 3),
                        c: (c, n + 1),
                        accumulate,
                    };
                    run_f32(tile(&mut got));
                    run_plain(tile(&mut want));
                    for (g, w) in got.iter().zip(&want) {
                        assert!((g - w).abs() < 1e-4, "{m} {n} {k}: {g} {w}");
                    }
                }
            }
        }
    }
}
