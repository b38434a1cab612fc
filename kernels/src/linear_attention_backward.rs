//! `linear_attention_backward`: the gradients of [`linear_attention`](crate::linear_attention).
//!
//! q', k' and C are computed anew from q, k, v. With r = 1 / sqrt(d), for each head: dC = r q'^T dy, dv = k' dC,
//! dk' = v dC^T, dq' = dy C^T, and the softmaxes' own gradients lead on to dq and dk. Shapes: all
//! `[s, t, heads d]`. A task is one sequence in its scratch; C^T and dC^T are products of their own, so that the
//! right factor of every product has contiguous rows. Bound by the products from d = 32 or so on.

use crate::gemm_tile::product;
use crate::linear_attention::{Params, Reach, inverse_sqrt, scale, softmax_columns, softmax_columns_backward};
use crate::ptx::Ptx;
use crate::softmax::{softmax_rows, softmax_rows_backward};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real};
use rayon::prelude::*;

/// dq, dk and dv.
pub static LINEAR_ATTENTION_BACKWARD: Kernel<Params> = Kernel {
    name: "linear_attention_backward",
    buffers: &[
        ("q", Access::Read),
        ("k", Access::Read),
        ("v", Access::Read),
        ("dy", Access::Read),
        ("dq", Access::Write),
        ("dk", Access::Write),
        ("dv", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("linear_attention_backward.wgsl", include_str!("../../shaders/linear_attention_backward.wgsl")),
            (
                "linear_attention_backward.gradients.wgsl",
                include_str!("../../shaders/linear_attention_backward.gradients.wgsl"),
            ),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("linear_attention_backward.ptx", include_str!("../ptx/linear_attention_backward.ptx")),
            ("linear_attention_backward.window.ptx", include_str!("../ptx/linear_attention_backward.window.ptx")),
            ("linear_attention_backward.contexts.ptx", include_str!("../ptx/linear_attention_backward.contexts.ptx")),
            ("linear_attention_backward.wide.ptx", include_str!("../ptx/linear_attention_backward.wide.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, _| {
        let [s, t, heads, d] = [p.sequences, p.frames, p.heads, p.dim].map(u64::from);
        Cost { flops: s * t * heads * d * (12 * d + 16), bytes: 28 * s * t * heads * d }
    },
};

/// As the forward: whole heads in 32 columns a workgroup, or blocks of a wider head.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let fours = p.dim.is_multiple_of(4);
    if p.dim <= 32 {
        let entry = if fours { "linear_attention_backward" } else { "linear_attention_backward_each" };
        return Dispatches::one(entry, p.sequences * p.heads.div_ceil(p.heads_together()));
    }
    let (heads, blocks) = (p.sequences * p.heads, p.dim.div_ceil(32));
    let part = 2048 * blocks * blocks + 64 * blocks + 2 * p.frames.next_multiple_of(2);
    let wide = if fours { "linear_attention_backward_wide" } else { "linear_attention_backward_wide_each" };
    Dispatches::with_scratch(heads, part as usize)
        .then("linear_attention_backward_rows", (heads * p.frames).div_ceil(8))
        .then("linear_attention_backward_contexts", heads * blocks * blocks)
        .then(wide, heads * blocks * p.frames.div_ceil(32))
        .then("linear_attention_backward_last", (heads * p.frames).div_ceil(8))
}

/// The launches on an NVIDIA GPU. The scratch memory holds, for each head, blocks of C and dC, 32 by 32, the maxima and
/// inverse sums of k's columns in 32s, and those of q's rows in pairs.
fn launches(p: &Params) -> Dispatches {
    let (heads, blocks) = (p.sequences * p.heads, p.dim.div_ceil(32));
    match p.reach() {
        Reach::Head => Dispatches::one("linear_attention_backward", heads.div_ceil(4)),
        Reach::Window => {
            Dispatches::one("linear_attention_backward_window", p.sequences * p.heads.div_ceil(p.heads_together()))
        }
        Reach::Block => {
            let part = 2048 * blocks * blocks + 64 * blocks + 2 * p.frames.next_multiple_of(2);
            let rows = (heads * p.frames).div_ceil(8);
            Dispatches::with_scratch(heads, part as usize)
                .then("linear_attention_backward_rows", rows)
                .then("linear_attention_backward_contexts", heads * 2 * blocks * blocks)
                .then("linear_attention_backward_wide", heads * 3 * blocks * p.frames.div_ceil(32))
                .then("linear_attention_backward_last", rows)
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let operands: [&[T]; 4] = std::array::from_fn(|_| buffers.read::<T>());
    let [dq, dk, dv] = std::array::from_fn(|_| buffers.write::<T>());
    let (t, _, dim, width) = p.sizes();
    let len = t * width;
    if dq.is_empty() {
        return;
    }
    let scratch = || vec![T::ZERO; 2 * len + 2 * width + 2 * dim * dim];
    let tasks = dq.par_chunks_mut(len).zip(dk.par_chunks_mut(len)).zip(dv.par_chunks_mut(len)).enumerate();
    tasks.for_each_init(scratch, |scratch, (s, ((dq, dk), dv))| {
        let operands = operands.map(|x| &x[s * len..(s + 1) * len]);
        T::vectorized(
            #[inline(always)]
            || sequence(p, operands, [dq, dk, dv], scratch),
        );
    });
}

#[inline(always)]
fn sequence<T: Real>(p: &Params, [q, k, v, dy]: [&[T]; 4], [dq, dk, dv]: [&mut [T]; 3], scratch: &mut [T]) {
    let (t, heads, dim, width) = p.sizes();
    let (qs, rest) = scratch.split_at_mut(q.len());
    let (ks, rest) = rest.split_at_mut(k.len());
    let (sums, rest) = rest.split_at_mut(2 * width);
    let (dc, transposed) = rest.split_at_mut(dim * dim);
    qs.copy_from_slice(q);
    softmax_rows(qs, dim);
    ks.copy_from_slice(k);
    softmax_columns(ks, sums);
    let r = inverse_sqrt(dim);
    for h in (0..heads).map(|h| h * dim) {
        // C^T, for dq'
        product((dim, dim, t), (&v[h..], 1, width), (&ks[h..], width), (transposed, dim));
        scale(transposed, r);
        product((t, dim, dim), (&dy[h..], width, 1), (transposed, dim), (&mut dq[h..], width));
        // dC, for dv
        product((dim, dim, t), (&qs[h..], 1, width), (&dy[h..], width), (dc, dim));
        scale(dc, r);
        product((t, dim, dim), (&ks[h..], width, 1), (dc, dim), (&mut dv[h..], width));
        // dC^T, for dk'
        product((dim, dim, t), (&dy[h..], 1, width), (&qs[h..], width), (transposed, dim));
        scale(transposed, r);
        product((t, dim, dim), (&v[h..], width, 1), (transposed, dim), (&mut dk[h..], width));
    }
    softmax_rows_backward(qs, dq, dim);
    softmax_columns_backward(ks, dk, &mut sums[..width]);
}
