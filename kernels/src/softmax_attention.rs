//! `softmax_attention`: scaled dot-product attention over the frames of a sequence.
//!
//! For each head: P = softmax over frames of q k^T / sqrt(d), o = P v (Vaswani et al. 2017, eq. 1). Shapes: q, k, v,
//! o `[s, t, heads d]`, the features of a head side by side. A task is one sequence: its k is transposed once, the
//! `[t, t]` scores of one head at a time live in its scratch and never reach memory. Meant for windows of up to a
//! few hundred frames, whose scores fit the second-level cache. Bound by the products and by `exp`.

use crate::gemm_tile::product;
use crate::linear_attention::{Params, inverse_sqrt, scale};
use crate::ptx::Ptx;
use crate::softmax::softmax_rows;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real};
use rayon::prelude::*;

/// o = softmax(q k^T / sqrt(d)) v.
pub static SOFTMAX_ATTENTION: Kernel<Params> = Kernel {
    name: "softmax_attention",
    buffers: &[("q", Access::Read), ("k", Access::Read), ("v", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("softmax_attention.wgsl", include_str!("../../shaders/softmax_attention.wgsl")),
            ("softmax_attention.rows.wgsl", include_str!("../../shaders/softmax_attention.rows.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("softmax_attention.ptx", include_str!("../ptx/softmax_attention.ptx")),
            ("softmax_attention.any.ptx", include_str!("../ptx/softmax_attention.any.ptx")),
        ],
        dispatches: |p, _| match fits_block(p) {
            true => Dispatches::one("softmax_attention", p.sequences * p.heads.div_ceil(4)),
            false => Dispatches::one("softmax_attention_any", wide_groups(p)),
        },
    },
    cost: |p, _| {
        let [s, t, heads, d] = [p.sequences, p.frames, p.heads, p.dim].map(u64::from);
        Cost { flops: s * heads * t * t * (4 * d + 5), bytes: 16 * s * t * heads * d }
    },
};

/// Frames of k and v that a GPU's workgroup holds.
pub(crate) const WINDOW: u32 = 48;

/// Whether a block of the PTX holds the windows of four heads.
pub(crate) fn fits_block(p: &Params) -> bool {
    p.dim == 8 && (1..=WINDOW).contains(&p.frames)
}

/// Up to four heads in 32 columns a workgroup, or 32 columns of a wider head.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let fours = p.dim.is_multiple_of(4);
    match (p.dim <= 32, fours) {
        (true, true) => Dispatches::one("softmax_attention", groups(p)),
        (true, false) => Dispatches::one("softmax_attention_each", groups(p)),
        (false, true) => Dispatches::one("softmax_attention_wide", wide_groups(p)),
        (false, false) => Dispatches::one("softmax_attention_wide_each", wide_groups(p)),
    }
}

/// Workgroups for heads of at most 32 features: all rows of four heads, or 64 of them where the window is too long.
pub(crate) fn groups(p: &Params) -> u32 {
    let together = (8 / p.dim.div_ceil(4).next_power_of_two()).min(4);
    let runs = if p.frames <= WINDOW { 1 } else { (together * p.frames).div_ceil(64) };
    p.sequences * p.heads.div_ceil(together) * runs
}

/// Workgroups for wider heads: 64 rows and 32 columns each.
pub(crate) fn wide_groups(p: &Params) -> u32 {
    p.sequences * p.heads * p.frames.div_ceil(64) * p.dim.div_ceil(32)
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [q, k, v] = std::array::from_fn(|_| buffers.read::<T>());
    let y = buffers.write::<T>();
    let (t, _, _, width) = p.sizes();
    let len = t * width;
    if y.is_empty() {
        return;
    }
    let scratch = || vec![T::ZERO; len + t * t];
    y.par_chunks_mut(len).enumerate().for_each_init(scratch, |scratch, (s, y)| {
        let at = s * len..(s + 1) * len;
        T::vectorized(
            #[inline(always)]
            || sequence(p, &q[at.clone()], &k[at.clone()], &v[at], y, scratch),
        );
    });
}

#[inline(always)]
fn sequence<T: Real>(p: &Params, q: &[T], k: &[T], v: &[T], y: &mut [T], scratch: &mut [T]) {
    let (t, heads, dim, width) = p.sizes();
    let (kt, weights) = scratch.split_at_mut(k.len());
    transpose(k, width, kt);
    for h in (0..heads).map(|h| h * dim) {
        attention_weights(&q[h..], &kt[h * t..], (t, dim, width), weights);
        product((t, dim, t), (weights, t, 1), (&v[h..], width), (&mut y[h..], width));
    }
}

/// The weights P `[t, t]` of one head, from its columns of q `[t, width]` and its rows of k^T `[width, t]`.
#[inline(always)]
pub(crate) fn attention_weights<T: Real>(q: &[T], kt: &[T], (t, dim, width): (usize, usize, usize), weights: &mut [T]) {
    product((t, t, dim), (q, width, 1), (kt, t), (weights, t));
    scale(weights, inverse_sqrt(dim));
    softmax_rows(weights, t);
}

/// y = x^T for x of rows of `width` elements.
#[inline(always)]
pub(crate) fn transpose<T: Real>(x: &[T], width: usize, y: &mut [T]) {
    let rows = x.len() / width;
    for (column, y) in y.chunks_exact_mut(rows).enumerate() {
        for (y, row) in y.iter_mut().zip(x.chunks_exact(width)) {
            *y = row[column];
        }
    }
}
