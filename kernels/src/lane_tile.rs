//! Small matrix products of sixteen nodes side by side: every element of a matrix is a row of [`LANES`] numbers, one a node.
//!
//! `c[m, n] = a[m, k] b[k, n]` or `c += a b`, lane by lane, with any strides, so a transpose costs nothing. Where
//! [`gemm_tile`](crate::gemm_tile) broadcasts one matrix over all nodes, here each node has its own: an attention's context,
//! or a weight's gradient before its lanes are summed. Plan: a block of `c` (4 x 4 rows of lanes with 32 registers, 4 x 2
//! with 16) stays in registers while k runs. The order of a sum is that of k on every instruction set.
//! Bound by FMA throughput from the first-level cache, half a load an FMA.

use crate::simd::ARCH;
use pulp::{Simd, WithSimd};

/// Numbers of an element: a whole register of AVX-512, two of AVX2.
pub(crate) const LANES: usize = 16;

/// One product of matrices of lanes; strides between rows and between columns count elements.
pub(crate) struct LaneTile<'a> {
    /// Rows and columns of `c`, terms of each sum.
    pub(crate) sizes: (usize, usize, usize),
    /// Left factor.
    pub(crate) a: (&'a [f32], usize, usize),
    /// Right factor.
    pub(crate) b: (&'a [f32], usize, usize),
    /// Result.
    pub(crate) c: (&'a mut [f32], usize, usize),
    /// Whether the product is added to what `c` holds.
    pub(crate) add: bool,
}

/// c = a b with (m, n, k) = `sizes`, operands as in [`LaneTile`].
pub(crate) fn lane_product(
    sizes: (usize, usize, usize),
    a: (&[f32], usize, usize),
    b: (&[f32], usize, usize),
    c: (&mut [f32], usize, usize),
) {
    run(LaneTile { sizes, a, b, c, add: false });
}

/// c += a b, otherwise as [`lane_product`].
pub(crate) fn add_lane_product(
    sizes: (usize, usize, usize),
    a: (&[f32], usize, usize),
    b: (&[f32], usize, usize),
    c: (&mut [f32], usize, usize),
) {
    run(LaneTile { sizes, a, b, c, add: true });
}

/// Not inlined: its code is large and a call costs nothing beside it.
#[inline(never)]
fn run(tile: LaneTile<'_>) {
    let (m, n, k) = tile.sizes;
    let inside = |len: usize, (rows, row): (usize, usize), (columns, column): (usize, usize)| {
        rows == 0 || columns == 0 || ((rows - 1) * row + (columns - 1) * column + 1) * LANES <= len
    };
    assert!(inside(tile.a.0.len(), (m, tile.a.1), (k, tile.a.2)), "lane_tile: a is too short");
    assert!(inside(tile.b.0.len(), (k, tile.b.1), (n, tile.b.2)), "lane_tile: b is too short");
    assert!(inside(tile.c.0.len(), (m, tile.c.1), (n, tile.c.2)), "lane_tile: c is too short");
    ARCH.dispatch(tile);
}

impl WithSimd for LaneTile<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (m, n, k) = self.sizes;
        let columns = if S::REGISTER_COUNT >= 32 { 4 } else { 2 };
        for (i, j) in (0..m).step_by(4).flat_map(|i| (0..n).step_by(columns).map(move |j| (i, j))) {
            for lane in (0..LANES).step_by(S::F32_LANES) {
                let scaled = |(row, column): (usize, usize)| (row * LANES, column * LANES);
                let (a, b, c) =
                    (scaled((self.a.1, self.a.2)), scaled((self.b.1, self.b.2)), scaled((self.c.1, self.c.2)));
                let block = Block {
                    k,
                    a: self.a.0.as_ptr().wrapping_add(i * a.0 + lane),
                    a_strides: a,
                    b: self.b.0.as_ptr().wrapping_add(j * b.1 + lane),
                    b_strides: b,
                    c: self.c.0.as_mut_ptr().wrapping_add(i * c.0 + j * c.1 + lane),
                    c_strides: c,
                    add: self.add,
                };
                // SAFETY: rows i.. and columns j.. up to the ends of the matrices, which `run` found inside their slices.
                unsafe {
                    match (m - i).min(4) {
                        1 => choose::<S, 1>(simd, &block, (n - j).min(columns)),
                        2 => choose::<S, 2>(simd, &block, (n - j).min(columns)),
                        3 => choose::<S, 3>(simd, &block, (n - j).min(columns)),
                        _ => choose::<S, 4>(simd, &block, (n - j).min(columns)),
                    }
                }
            }
        }
    }
}

/// A block of `c` that stays in registers; strides count numbers.
struct Block {
    k: usize,
    a: *const f32,
    a_strides: (usize, usize),
    b: *const f32,
    b_strides: (usize, usize),
    c: *mut f32,
    c_strides: (usize, usize),
    add: bool,
}

/// # Safety
/// `block` must cover `R` rows and `columns` columns of valid memory.
#[inline(always)]
unsafe fn choose<S: Simd, const R: usize>(simd: S, block: &Block, columns: usize) {
    // SAFETY: passed on from the caller.
    unsafe {
        match columns {
            1 => multiply::<S, R, 1>(simd, block),
            2 => multiply::<S, R, 2>(simd, block),
            3 => multiply::<S, R, 3>(simd, block),
            _ => multiply::<S, R, 4>(simd, block),
        }
    }
}

/// # Safety
/// As [`choose`], with `C` columns.
#[inline(always)]
unsafe fn multiply<S: Simd, const R: usize, const C: usize>(simd: S, block: &Block) {
    // SAFETY: `at` is one register of an element that the block covers.
    let load = |at: *const f32| unsafe { at.cast::<S::f32s>().read_unaligned() };
    let mut sums = [[simd.splat_f32s(0.0); C]; R];
    let (mut a, mut b) = (block.a, block.b);
    for _ in 0..block.k {
        let mut right = [simd.splat_f32s(0.0); C];
        for (j, r) in right.iter_mut().enumerate() {
            *r = load(b.wrapping_add(j * block.b_strides.1));
        }
        for (i, row) in sums.iter_mut().enumerate() {
            let left = load(a.wrapping_add(i * block.a_strides.0));
            for (sum, r) in row.iter_mut().zip(right) {
                *sum = simd.mul_add_f32s(left, r, *sum);
            }
        }
        a = a.wrapping_add(block.a_strides.1);
        b = b.wrapping_add(block.b_strides.0);
    }
    for (i, row) in sums.iter().enumerate() {
        for (j, sum) in row.iter().enumerate() {
            let at = block.c.wrapping_add(i * block.c_strides.0 + j * block.c_strides.1);
            let sum = if block.add { simd.add_f32s(load(at), *sum) } else { *sum };
            // SAFETY: as for `load`, in `c`.
            unsafe { at.cast::<S::f32s>().write_unaligned(sum) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_shape_and_stride_equals_the_plain_loops() {
        let value = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
        for (m, n, k) in [(1, 1, 1), (8, 8, 46), (5, 7, 3), (3, 46, 8), (9, 6, 0)] {
            for (transposed, add) in [(false, false), (false, true), (true, false), (true, true)] {
                let (a_strides, b_strides) = if transposed { ((1, m), (1, k)) } else { ((k, 1), (n, 1)) };
                let a: Vec<f32> = (0..m * k * LANES).map(value).collect();
                let b: Vec<f32> = (0..k * n * LANES).map(|i| value(i + 7)).collect();
                let mut got: Vec<f32> = (0..m * (n + 1) * LANES).map(|i| value(i + 11)).collect();
                let mut want = got.clone();
                for (i, j, lane) in (0..m * n * LANES).map(|at| (at / LANES / n, at / LANES % n, at % LANES)) {
                    let c = &mut want[(i * (n + 1) + j) * LANES + lane];
                    let term = |p: usize| {
                        a[(i * a_strides.0 + p * a_strides.1) * LANES + lane]
                            * b[(p * b_strides.0 + j * b_strides.1) * LANES + lane]
                    };
                    *c = (0..k).map(term).sum::<f32>() + if add { *c } else { 0.0 };
                }
                let (a, b) = ((&a[..], a_strides.0, a_strides.1), (&b[..], b_strides.0, b_strides.1));
                run(LaneTile { sizes: (m, n, k), a, b, c: (&mut got, n + 1, 1), add });
                for (g, w) in got.iter().zip(&want) {
                    assert!((g - w).abs() < 1e-4, "{m} {n} {k}: {g} {w}");
                }
            }
        }
    }
}
