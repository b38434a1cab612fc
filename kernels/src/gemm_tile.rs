//! Small matrix products inside a fused kernel: operands in the first-level cache, one thread.
//!
//! `c[m, n] = start + a[m, k] * b[k, n]`. `a` may have any strides (a transpose costs nothing), `b` and `c` have
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
    /// What the product is added to.
    pub start: Start<'a, T>,
}

/// What a product is added to before it is stored: saves a pass over `c`.
#[derive(Clone, Copy)]
pub enum Start<'a, T> {
    /// Nothing.
    Zero,
    /// What `c` holds.
    Result,
    /// The same row `[n]` for every row of `c`.
    Bias(&'a [T]),
    /// Rows `[m, n]` with the stride of `c`.
    Rows(&'a [T]),
    /// Rows `[m, n]` with the stride of `c`, and one more row `[n]` for each.
    RowsAndBias(&'a [T], &'a [T]),
}

impl<'a, T> Start<'a, T> {
    /// The rows to add, and the bias, where there are any.
    #[inline(always)]
    fn parts(&self) -> (Option<&'a [T]>, Option<&'a [T]>) {
        match *self {
            Start::Zero | Start::Result => (None, None),
            Start::Bias(bias) => (None, Some(bias)),
            Start::Rows(rows) => (Some(rows), None),
            Start::RowsAndBias(rows, bias) => (Some(rows), Some(bias)),
        }
    }
}

impl<T> GemmTile<'_, T> {
    /// Panics unless every element that the product touches lies inside its slice.
    #[inline(always)]
    fn assert_inside(&self) {
        let (m, n, k) = (self.m, self.n, self.k);
        if m == 0 || n == 0 {
            return;
        }
        let last = (m - 1) * self.c.1 + n;
        assert!(last <= self.c.0.len(), "gemm_tile: c is too short");
        let (rows, bias) = self.start.parts();
        assert!(rows.is_none_or(|rows| last <= rows.len()), "gemm_tile: the rows to start from are too short");
        assert!(bias.is_none_or(|bias| n <= bias.len()), "gemm_tile: the bias is too short");
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
    T::gemm_tile(GemmTile { m, n, k, a, b, c, start: Start::Zero });
}

/// c += a b, otherwise as [`product`].
#[inline(always)]
pub(crate) fn add_product<T: Real>(
    (m, n, k): (usize, usize, usize),
    a: (&[T], usize, usize),
    b: (&[T], usize),
    c: (&mut [T], usize),
) {
    T::gemm_tile(GemmTile { m, n, k, a, b, c, start: Start::Result });
}

/// The product by three plain loops, in any precision.
pub(crate) fn run_plain<T: Real>(g: GemmTile<'_, T>) {
    g.assert_inside();
    let (rows, bias) = g.start.parts();
    for i in 0..g.m {
        let at = i * g.c.1..i * g.c.1 + g.n;
        let row = &mut g.c.0[at.clone()];
        if !matches!(g.start, Start::Result) {
            row.fill(T::ZERO);
        }
        for start in [rows.map(|rows| &rows[at]), bias.map(|bias| &bias[..g.n])].into_iter().flatten() {
            for (c, start) in row.iter_mut().zip(start) {
                *c += *start;
            }
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
        let own = matches!(g.start, Start::Result).then_some(g.c.0.as_ptr());
        let (base, bias) = g.start.parts();
        let base = own.or(base.map(<[f32]>::as_ptr));
        let rows = if S::REGISTER_COUNT >= 32 { 12 } else { 6 };
        let mut column = 0;
        while column < g.n {
            let left = g.n - column;
            let width = if left >= 2 * S::F32_LANES { 2 * S::F32_LANES } else { left.min(S::F32_LANES) };
            let mask = simd.mask_between_m32s(0, width.min(S::F32_LANES) as u32);
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
                    base: base.map_or(std::ptr::null(), |p| p.wrapping_add(row * g.c.1 + column)),
                    bias: bias.map_or(std::ptr::null(), |bias| bias.as_ptr().wrapping_add(column)),
                };
                // SAFETY: the tile covers rows row..next and columns column..column + width, all inside.
                unsafe {
                    if width == 2 * S::F32_LANES {
                        choose::<S, 2, false>(simd, &tile, next - row, mask);
                    } else if width == S::F32_LANES {
                        choose::<S, 1, false>(simd, &tile, next - row, mask);
                    } else {
                        choose::<S, 1, true>(simd, &tile, next - row, mask);
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
    /// Rows with the stride of `c` to start from, or null.
    base: *const f32,
    /// A row to start every row from, or null.
    bias: *const f32,
}

/// # Safety
/// `tile` must cover `rows` rows and `V` vectors, or with `M` the part of one vector under `mask`, of valid memory.
#[inline(always)]
unsafe fn choose<S: Simd, const V: usize, const M: bool>(simd: S, tile: &Block, rows: usize, mask: MemMask<S::m32s>) {
    // SAFETY: passed on from the caller.
    unsafe {
        match rows {
            1 => block::<S, 1, V, M>(simd, tile, mask),
            2 => block::<S, 2, V, M>(simd, tile, mask),
            3 => block::<S, 3, V, M>(simd, tile, mask),
            4 => block::<S, 4, V, M>(simd, tile, mask),
            5 => block::<S, 5, V, M>(simd, tile, mask),
            6 => block::<S, 6, V, M>(simd, tile, mask),
            7 => block::<S, 7, V, M>(simd, tile, mask),
            8 => block::<S, 8, V, M>(simd, tile, mask),
            9 => block::<S, 9, V, M>(simd, tile, mask),
            10 => block::<S, 10, V, M>(simd, tile, mask),
            11 => block::<S, 11, V, M>(simd, tile, mask),
            12 => block::<S, 12, V, M>(simd, tile, mask),
            _ => unreachable!("a block has 1 to 12 rows"),
        }
    }
}

/// # Safety
/// As [`choose`], with `R` rows.
#[inline(always)]
unsafe fn block<S: Simd, const R: usize, const V: usize, const M: bool>(simd: S, tile: &Block, mask: MemMask<S::m32s>) {
    let lanes = S::F32_LANES;
    // SAFETY: `at` is one of the V vectors of a row that the tile covers.
    let load = |at: *const f32| unsafe {
        if M { simd.mask_load_ptr_f32s(mask, at) } else { at.cast::<S::f32s>().read_unaligned() }
    };
    let mut sums = [[simd.splat_f32s(0.0); V]; R];
    let (mut a, mut b) = (tile.a, tile.b);
    for _ in 0..tile.k {
        let mut right = [simd.splat_f32s(0.0); V];
        for (v, r) in right.iter_mut().enumerate() {
            *r = load(b.wrapping_add(v * lanes));
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
    // Short loops of a known length, or the sums would leave the registers.
    if !tile.bias.is_null() {
        for v in 0..V {
            let bias = load(tile.bias.wrapping_add(v * lanes));
            for row in &mut sums {
                row[v] = simd.add_f32s(row[v], bias);
            }
        }
    }
    if !tile.base.is_null() {
        for (i, row) in sums.iter_mut().enumerate() {
            for (v, sum) in row.iter_mut().enumerate() {
                *sum = simd.add_f32s(load(tile.base.wrapping_add(i * tile.c_stride + v * lanes)), *sum);
            }
        }
    }
    for (i, row) in sums.iter().enumerate() {
        for (v, sum) in row.iter().enumerate() {
            let at = tile.c.wrapping_add(i * tile.c_stride + v * lanes);
            // SAFETY: as for `load`, in `c`.
            unsafe {
                if M {
                    simd.mask_store_ptr_f32s(mask, at, *sum);
                } else {
                    at.cast::<S::f32s>().write_unaligned(*sum);
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
                for start in 0..5 {
                    let a: Vec<f32> = (0..m * k).map(value).collect();
                    let b: Vec<f32> = (0..k * (n + 3)).map(|i| value(i + 7)).collect();
                    let strides = if transposed { (1, m) } else { (k, 1) };
                    let mut got: Vec<f32> = (0..m * (n + 1)).map(|i| value(i + 11)).collect();
                    let mut want = got.clone();
                    let (rows, bias) = (want.clone(), &want.clone()[..n]);
                    let start = [
                        Start::Zero,
                        Start::Result,
                        Start::Bias(bias),
                        Start::Rows(&rows),
                        Start::RowsAndBias(&rows, bias),
                    ][start];
                    let tile =
                        |c| GemmTile { m, n, k, a: (&a, strides.0, strides.1), b: (&b, n + 3), c: (c, n + 1), start };
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
