//! `softmax_attention_backward`: the gradients of [`softmax_attention`](crate::softmax_attention).
//!
//! The weights P are computed anew from q and k. With r = 1 / sqrt(d), for each head: dv = P^T dy, dP = dy v^T,
//! dS = r P (dP - sum P dP), dq = dS k, dk = dS^T q. Shapes: all `[s, t, heads d]`. A task is one sequence in its
//! scratch: k^T, v^T, and P and dS of one head at a time. Bound by the products.

use crate::gemm_tile::product;
use crate::linear_attention::{Params, inverse_sqrt, scale};
use crate::ptx::Ptx;
use crate::softmax::softmax_rows_backward;
use crate::softmax_attention::{WINDOW, attention_weights, fits_block, groups, transpose, wide_groups};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real};
use rayon::prelude::*;

/// dq, dk and dv.
pub static SOFTMAX_ATTENTION_BACKWARD: Kernel<Params> = Kernel {
    name: "softmax_attention_backward",
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
            ("softmax_attention_backward.wgsl", include_str!("../../shaders/softmax_attention_backward.wgsl")),
            (
                "softmax_attention_backward.sums.wgsl",
                include_str!("../../shaders/softmax_attention_backward.sums.wgsl"),
            ),
            ("softmax_attention.rows.wgsl", include_str!("../../shaders/softmax_attention.rows.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("softmax_attention_backward.ptx", include_str!("../ptx/softmax_attention_backward.ptx")),
            ("softmax_attention_backward.rows.ptx", include_str!("../ptx/softmax_attention_backward.rows.ptx")),
            ("softmax_attention_backward.columns.ptx", include_str!("../ptx/softmax_attention_backward.columns.ptx")),
        ],
        dispatches: |p, _| match fits_block(p) {
            true => Dispatches::one("softmax_attention_backward", p.sequences * p.heads.div_ceil(4)),
            false => Dispatches::with_scratch(p.sequences * p.heads, 4 * p.frames as usize)
                .then("softmax_attention_backward_rows", wide_groups(p))
                .then("softmax_attention_backward_columns", wide_groups(p)),
        },
    },
    cost: |p, _| {
        let [s, t, heads, d] = [p.sequences, p.frames, p.heads, p.dim].map(u64::from);
        Cost { flops: s * heads * t * t * (10 * d + 10), bytes: 28 * s * t * heads * d }
    },
};

/// One dispatch where the window fits in a workgroup, else rows of q, then rows of k.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let fours = p.dim.is_multiple_of(4);
    if p.dim <= 32 && p.frames <= WINDOW {
        let entry = if fours { "softmax_attention_backward" } else { "softmax_attention_backward_each" };
        return Dispatches::one(entry, groups(p));
    }
    let (rows, columns, groups) = match (p.dim <= 32, fours) {
        (true, true) => ("softmax_attention_backward_rows", "softmax_attention_backward_columns", groups(p)),
        (true, false) => ("softmax_attention_backward_rows_each", "softmax_attention_backward_columns_each", groups(p)),
        (false, true) => {
            ("softmax_attention_backward_wide_rows", "softmax_attention_backward_wide_columns", wide_groups(p))
        }
        (false, false) => (
            "softmax_attention_backward_wide_rows_each",
            "softmax_attention_backward_wide_columns_each",
            wide_groups(p),
        ),
    };
    Dispatches::with_scratch(p.sequences * p.heads, 4 * p.frames as usize).then(rows, groups).then(columns, groups)
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let operands: [&[T]; 4] = std::array::from_fn(|_| buffers.read::<T>());
    let [dq, dk, dv] = std::array::from_fn(|_| buffers.write::<T>());
    let (t, _, _, width) = p.sizes();
    let len = t * width;
    if dq.is_empty() {
        return;
    }
    let scratch = || vec![T::ZERO; 2 * len + 2 * t * t];
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
    let (kt, rest) = scratch.split_at_mut(k.len());
    let (vt, rest) = rest.split_at_mut(v.len());
    let (weights, ds) = rest.split_at_mut(t * t);
    transpose(k, width, kt);
    transpose(v, width, vt);
    for h in (0..heads).map(|h| h * dim) {
        attention_weights(&q[h..], &kt[h * t..], (t, dim, width), weights);
        product((t, dim, t), (weights, 1, t), (&dy[h..], width), (&mut dv[h..], width));
        product((t, t, dim), (&dy[h..], width, 1), (&vt[h * t..], t), (ds, t));
        softmax_rows_backward(weights, ds, t);
        scale(ds, inverse_sqrt(dim));
        product((t, dim, t), (ds, t, 1), (&k[h..], width), (&mut dq[h..], width));
        product((t, dim, t), (ds, 1, t), (&q[h..], width), (&mut dk[h..], width));
    }
}
