//! `linear_attention`: attention over the frames of a sequence at a cost linear in their number.
//!
//! For each head: q' = softmax of q over its d features, k' = softmax of k over the t frames, C = k'^T v / sqrt(d),
//! o = q' C (Shen et al. 2021, efficient attention). Shapes: q, k, v, o `[s, t, heads d]`, the features of a head
//! side by side. A task is one sequence: q', k' and C live in its scratch, two small products a head do the rest.
//! Bound by memory while d is small (16 bytes an element), by the products from d = 32 or so on.

use crate::gemm_tile::product;
use crate::ptx::Ptx;
use crate::softmax::softmax_rows;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, partials};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Parameters of the attention kernels and of their gradients.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Sequences.
    pub sequences: u32,
    /// Frames of a sequence.
    pub frames: u32,
    /// Heads.
    pub heads: u32,
    /// Features of a head.
    pub dim: u32,
}

impl Params {
    /// Frames, heads, features of a head, and features of all heads together.
    pub(crate) fn sizes(&self) -> (usize, usize, usize, usize) {
        let [t, heads, dim] = [self.frames, self.heads, self.dim].map(|v| v as usize);
        (t, heads, dim, heads * dim)
    }

    /// Heads of at most 32 features whose columns fill 8 vec4s of a GPU's workgroup.
    pub(crate) fn heads_together(&self) -> u32 {
        8 / self.dim.div_ceil(4).max(1)
    }

    /// How much of a sequence an NVIDIA GPU's block takes in at once.
    pub(crate) fn reach(&self) -> Reach {
        match self.dim {
            8 if (2..=WINDOW).contains(&self.frames) => Reach::Head,
            1..=32 if self.dim.is_multiple_of(4) && self.frames <= WINDOW => Reach::Window,
            _ => Reach::Block,
        }
    }
}

/// Frames of which an NVIDIA GPU's block holds all.
const WINDOW: u32 = 48;

/// What an NVIDIA GPU's block takes in at once.
pub(crate) enum Reach {
    /// A head of 8 features or two of them for each warp, all of their frames in registers.
    Head,
    /// Whole heads in 32 columns, all of their frames in shared memory.
    Window,
    /// 32 of a head's features and some of its frames, the rest by way of the scratch memory.
    Block,
}

/// o = softmax(q) (softmax(k)^T v) / sqrt(d).
pub static LINEAR_ATTENTION: Kernel<Params> = Kernel {
    name: "linear_attention",
    buffers: &[("q", Access::Read), ("k", Access::Read), ("v", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl { files: &[("linear_attention.wgsl", include_str!("../../shaders/linear_attention.wgsl"))], dispatches },
    ptx: Ptx {
        files: &[
            ("linear_attention.ptx", include_str!("../ptx/linear_attention.ptx")),
            ("linear_attention.window.ptx", include_str!("../ptx/linear_attention.window.ptx")),
            ("linear_attention.wide.ptx", include_str!("../ptx/linear_attention.wide.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, _| {
        let [s, t, heads, d] = [p.sequences, p.frames, p.heads, p.dim].map(u64::from);
        Cost { flops: s * t * heads * d * (4 * d + 8), bytes: 16 * s * t * heads * d }
    },
};

/// Whole heads in 32 columns a workgroup, or blocks of 32 of a wider head by way of the scratch memory.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let fours = p.dim.is_multiple_of(4);
    if p.dim <= 32 {
        let entry = if fours { "linear_attention" } else { "linear_attention_each" };
        return Dispatches::one(entry, p.sequences * p.heads.div_ceil(p.heads_together()));
    }
    let (heads, blocks) = (p.sequences * p.heads, p.dim.div_ceil(32));
    Dispatches::with_scratch(heads, 1024 * (blocks * blocks) as usize)
        .then("linear_attention_context", heads * blocks * blocks)
        .then(
            if fours { "linear_attention_wide" } else { "linear_attention_wide_each" },
            heads * blocks * p.frames.div_ceil(48),
        )
}

/// The launches on an NVIDIA GPU; the scratch memory holds blocks of C, 32 by 32.
fn launches(p: &Params) -> Dispatches {
    let (heads, blocks) = (p.sequences * p.heads, p.dim.div_ceil(32));
    match p.reach() {
        Reach::Head => Dispatches::one("linear_attention", (p.sequences * p.heads.div_ceil(2)).div_ceil(4)),
        Reach::Window => Dispatches::one("linear_attention_window", p.sequences * p.heads.div_ceil(p.heads_together())),
        Reach::Block => Dispatches::with_scratch(heads, 1024 * (blocks * blocks) as usize)
            .then("linear_attention_context", heads * blocks * blocks)
            .then("linear_attention_wide", heads * blocks * p.frames.div_ceil(32)),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [q, k, v] = std::array::from_fn(|_| buffers.read::<T>());
    let y = buffers.write::<T>();
    let (t, _, dim, width) = p.sizes();
    let len = t * width;
    if y.is_empty() {
        return;
    }
    let scratch = || vec![T::ZERO; 2 * len + 2 * width + dim * dim];
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
    let (qs, rest) = scratch.split_at_mut(q.len());
    let (ks, rest) = rest.split_at_mut(k.len());
    let (sums, c) = rest.split_at_mut(2 * width);
    qs.copy_from_slice(q);
    softmax_rows(qs, dim);
    ks.copy_from_slice(k);
    softmax_columns(ks, sums);
    for h in (0..heads).map(|h| h * dim) {
        product((dim, dim, t), (&ks[h..], 1, width), (&v[h..], width), (c, dim));
        scale(c, inverse_sqrt(dim));
        product((t, dim, dim), (&qs[h..], width, 1), (c, dim), (&mut y[h..], width));
    }
}

/// 1 / sqrt(dim).
#[inline(always)]
pub(crate) fn inverse_sqrt<T: Real>(dim: usize) -> T {
    T::of(1.0 / (dim as f64).sqrt())
}

/// x *= factor.
#[inline(always)]
pub(crate) fn scale<T: Real>(x: &mut [T], factor: T) {
    for x in x {
        *x *= factor;
    }
}

/// Replaces every column by its softmax; `scratch` holds two rows.
#[inline(always)]
pub(crate) fn softmax_columns<T: Real>(x: &mut [T], scratch: &mut [T]) {
    let width = scratch.len() / 2;
    let (max, sum) = scratch.split_at_mut(width);
    max.copy_from_slice(&x[..width]);
    for row in x.chunks_exact(width) {
        for (max, x) in max.iter_mut().zip(row) {
            *max = x.max(*max);
        }
    }
    sum.fill(T::ZERO);
    for row in x.chunks_exact_mut(width) {
        for ((x, max), sum) in row.iter_mut().zip(&*max).zip(&mut *sum) {
            *x = (*x - *max).exp();
            *sum += *x;
        }
    }
    for sum in &mut *sum {
        *sum = T::ONE / *sum;
    }
    for row in x.chunks_exact_mut(width) {
        for (x, factor) in row.iter_mut().zip(&*sum) {
            *x *= *factor;
        }
    }
}

/// Replaces the gradient of a softmax `y` of columns by that of its argument; `sums` holds one row.
#[inline(always)]
pub(crate) fn softmax_columns_backward<T: Real>(y: &[T], dy: &mut [T], sums: &mut [T]) {
    let width = sums.len();
    sums.fill(T::ZERO);
    for (y, dy) in y.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        for (y, dy) in y.iter().zip(dy.iter_mut()) {
            *dy *= *y;
        }
        partials::add(sums, dy);
    }
    for (y, dy) in y.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        for ((y, dy), sum) in y.iter().zip(dy).zip(&*sums) {
            *dy -= *y * *sum;
        }
    }
}
