//! `temporal_block`: input projection, step embedding and one pre-norm transformer layer with linear attention over
//! the frames of every node, in one pass (STIMP eqs. 3-5 in the published code's form; Shen et al. 2021 for the
//! attention).
//!
//! ```text
//! x0 = shift[b, t] + W_in planes[:, b, t, n]                    planes [f, b, t, n], shift [b, t, c]
//! x1 = x0 + W_o (q' (k'^T v)) + b_o     q, k, v = W_q,k,v LN(x0), q' = softmax over features / sqrt(dim),
//!                                       k' = softmax over frames
//! h  = x1 + W_2 gelu(W_1 LN(x1) + b_1) + b_2                    h [b, t, n, c]
//! ```
//! Plan: a node's window `[t, c]` lives in the second-level cache through the whole block, and only the `f` planes are
//! read and `h` is written: 4 f + 4 c bytes a token. The affine part of each layer norm is folded into the weights
//! behind it. Products are [`gemm_tile`](crate::gemm_tile)s. A task is 64 nodes of one sample.
//! Bound by FMA throughput (28.7 kFLOP a token at c = 32). Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::GemmTile;
use crate::rows::Rows;
use crate::unary::gelu;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Nodes of one task.
pub(crate) const CHUNK: usize = 64;

/// Parameters of [`TEMPORAL_BLOCK`] and its backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples b.
    pub batch: u32,
    /// Frames t.
    pub frames: u32,
    /// Nodes n.
    pub nodes: u32,
    /// Input planes f.
    pub inputs: u32,
    /// Channels c.
    pub channels: u32,
    /// Width of the feed-forward layer.
    pub hidden: u32,
    /// Attention heads; c is a multiple of them.
    pub heads: u32,
    /// Added to the variance in both layer norms.
    pub eps: f32,
}

/// The weights, in the order in which both kernels take them after `planes` and `shift`.
pub(crate) const WEIGHTS: usize = 14;

/// h = temporal block of planes.
pub static TEMPORAL_BLOCK: Kernel<Params> = Kernel {
    name: "temporal_block",
    buffers: &[
        ("planes", Access::Read),
        ("shift", Access::Read),
        ("w_in", Access::Read),
        ("norm1_gamma", Access::Read),
        ("norm1_beta", Access::Read),
        ("w_q", Access::Read),
        ("w_k", Access::Read),
        ("w_v", Access::Read),
        ("w_o", Access::Read),
        ("b_o", Access::Read),
        ("norm2_gamma", Access::Read),
        ("norm2_beta", Access::Read),
        ("w_1", Access::Read),
        ("b_1", Access::Read),
        ("w_2", Access::Read),
        ("b_2", Access::Read),
        ("h", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    cost,
};

pub(crate) fn cost(p: &Params) -> Cost {
    let tokens = u64::from(p.batch) * u64::from(p.frames) * u64::from(p.nodes);
    let [f, c, hidden, dim] = [p.inputs, p.channels, p.hidden, p.channels / p.heads].map(u64::from);
    Cost { flops: tokens * (2 * f * c + 8 * c * c + 4 * c * dim + 4 * c * hidden), bytes: 4 * tokens * (f + c) }
}

/// The sizes as indices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) b: usize,
    pub(crate) t: usize,
    pub(crate) n: usize,
    pub(crate) f: usize,
    pub(crate) c: usize,
    pub(crate) hidden: usize,
    pub(crate) heads: usize,
    pub(crate) eps: f32,
}

impl Sizes {
    pub(crate) fn of(p: &Params) -> Self {
        let [b, t, n, f, c, hidden, heads] =
            [p.batch, p.frames, p.nodes, p.inputs, p.channels, p.hidden, p.heads].map(|v| v as usize);
        Sizes { b, t, n, f, c, hidden, heads, eps: p.eps }
    }

    /// Features of one head.
    pub(crate) fn dim(&self) -> usize {
        self.c / self.heads
    }
}

/// The weights as stored: matrices `[out, in]`.
pub(crate) struct Weights<'a, T> {
    pub(crate) w_in: &'a [T],
    pub(crate) norm1: (&'a [T], &'a [T]),
    pub(crate) qkv: [&'a [T]; 3],
    pub(crate) out: (&'a [T], &'a [T]),
    pub(crate) norm2: (&'a [T], &'a [T]),
    pub(crate) up: (&'a [T], &'a [T]),
    pub(crate) down: (&'a [T], &'a [T]),
}

impl<'a, T: Real> Weights<'a, T> {
    pub(crate) fn take(buffers: &mut Buffers<'a>) -> Self {
        let mut next = || buffers.read::<T>();
        Weights {
            w_in: next(),
            norm1: (next(), next()),
            qkv: [next(), next(), next()],
            out: (next(), next()),
            norm2: (next(), next()),
            up: (next(), next()),
            down: (next(), next()),
        }
    }
}

/// The weights as the products want them: `[in, out]`, layer norms folded in.
pub(crate) struct Packed<T> {
    pub(crate) input: Vec<T>,
    qkv: Vec<T>,
    qkv_bias: Vec<T>,
    out: Vec<T>,
    out_bias: Vec<T>,
    up: Vec<T>,
    up_bias: Vec<T>,
    down: Vec<T>,
    down_bias: Vec<T>,
}

impl<T: Real> Packed<T> {
    pub(crate) fn new(s: &Sizes, w: &Weights<'_, T>) -> Self {
        let ones = vec![T::ONE; s.hidden.max(s.c).max(s.f)];
        let qkv_rows = w.qkv.concat();
        let up_bias = folded_bias(w.up.0, w.norm2.1).iter().zip(w.up.1).map(|(a, b)| *a + *b).collect();
        Packed {
            input: transposed(w.w_in, s.f, &ones),
            qkv: transposed(&qkv_rows, s.c, w.norm1.0),
            qkv_bias: folded_bias(&qkv_rows, w.norm1.1),
            out: transposed(w.out.0, s.c, &ones),
            out_bias: w.out.1.to_vec(),
            up: transposed(w.up.0, s.c, w.norm2.0),
            up_bias,
            down: transposed(w.down.0, s.hidden, &ones),
            down_bias: w.down.1.to_vec(),
        }
    }
}

/// `w [out, columns]` as `[columns, out]`, row i times `gamma[i]`.
pub(crate) fn transposed<T: Real>(w: &[T], columns: usize, gamma: &[T]) -> Vec<T> {
    let rows = w.len() / columns;
    (0..w.len()).map(|at| w[at % rows * columns + at / rows] * gamma[at / rows]).collect()
}

/// `w beta`: what a layer norm's shift adds behind `w`.
pub(crate) fn folded_bias<T: Real>(w: &[T], beta: &[T]) -> Vec<T> {
    w.chunks_exact(beta.len()).map(|row| row.iter().zip(beta).map(|(w, b)| *w * *b).sum()).collect()
}

/// One node's window on its way through the block; everything the backward needs stays here.
pub(crate) struct Window<T> {
    pub(crate) x0: Vec<T>,
    pub(crate) norm1: Vec<T>,
    pub(crate) rstd1: Vec<T>,
    /// q', k' and v side by side, `[t, 3c]`.
    pub(crate) qkv: Vec<T>,
    /// k'^T v, `[heads, dim, dim]`.
    pub(crate) context: Vec<T>,
    pub(crate) mixed: Vec<T>,
    pub(crate) x1: Vec<T>,
    pub(crate) norm2: Vec<T>,
    pub(crate) rstd2: Vec<T>,
    /// gelu of the pre-activation, `[t, hidden]`.
    pub(crate) hidden: Vec<T>,
    pub(crate) h: Vec<T>,
    /// Maximum and sum of each feature over the frames.
    column: Vec<T>,
}

impl<T: Real> Window<T> {
    pub(crate) fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        let tokens = s.t * s.c;
        Window {
            x0: zeros(tokens),
            norm1: zeros(tokens),
            rstd1: zeros(s.t),
            qkv: zeros(3 * tokens),
            context: zeros(s.c * s.dim()),
            mixed: zeros(tokens),
            x1: zeros(tokens),
            norm2: zeros(tokens),
            rstd2: zeros(s.t),
            hidden: zeros(s.t * s.hidden),
            h: zeros(tokens),
            column: zeros(s.c),
        }
    }

    /// x0 of node `n` of sample `b`.
    #[inline(always)]
    pub(crate) fn load(&mut self, s: &Sizes, w: &Packed<T>, planes: &[T], shift: &[T], b: usize, n: usize) {
        self.x0.copy_from_slice(&shift[b * s.t * s.c..(b + 1) * s.t * s.c]);
        for (f, w) in w.input.chunks_exact(s.c).enumerate() {
            for (t, x) in self.x0.chunks_exact_mut(s.c).enumerate() {
                let value = planes[((f * s.b + b) * s.t + t) * s.n + n];
                for (x, w) in x.iter_mut().zip(w) {
                    *x = value.mul_add(*w, *x);
                }
            }
        }
    }

    /// From x0 to the attention's output x1.
    #[inline(always)]
    pub(crate) fn attend(&mut self, s: &Sizes, w: &Packed<T>) {
        let (c, t, dim) = (s.c, s.t, s.dim());
        layer_norm(s, &self.x0, &mut self.norm1, &mut self.rstd1);
        fill_rows(&mut self.qkv, &w.qkv_bias);
        let qkv = (&mut self.qkv[..], 3 * c);
        T::gemm_tile(GemmTile {
            m: t,
            n: 3 * c,
            k: c,
            a: (&self.norm1, c, 1),
            b: (&w.qkv, 3 * c),
            c: qkv,
            accumulate: true,
        });
        softmax_features(s, &mut self.qkv);
        softmax_frames(s, &mut self.qkv, &mut self.column);
        for head in 0..s.heads {
            let at = head * dim;
            let context = &mut self.context[at * dim..(at + dim) * dim];
            T::gemm_tile(GemmTile {
                m: dim,
                n: dim,
                k: t,
                a: (&self.qkv[c + at..], 1, 3 * c),
                b: (&self.qkv[2 * c + at..], 3 * c),
                c: (context, dim),
                accumulate: false,
            });
            T::gemm_tile(GemmTile {
                m: t,
                n: dim,
                k: dim,
                a: (&self.qkv[at..], 3 * c, 1),
                b: (&self.context[at * dim..], dim),
                c: (&mut self.mixed[at..], c),
                accumulate: false,
            });
        }
        residual_rows(&mut self.x1, &self.x0, &w.out_bias);
        let x1 = (&mut self.x1[..], c);
        T::gemm_tile(GemmTile { m: t, n: c, k: c, a: (&self.mixed, c, 1), b: (&w.out, c), c: x1, accumulate: true });
    }

    /// The pre-activation of the feed-forward layer, into `hidden`.
    #[inline(always)]
    pub(crate) fn rise(&mut self, s: &Sizes, w: &Packed<T>) {
        layer_norm(s, &self.x1, &mut self.norm2, &mut self.rstd2);
        fill_rows(&mut self.hidden, &w.up_bias);
        T::gemm_tile(GemmTile {
            m: s.t,
            n: s.hidden,
            k: s.c,
            a: (&self.norm2, s.c, 1),
            b: (&w.up, s.hidden),
            c: (&mut self.hidden, s.hidden),
            accumulate: true,
        });
    }

    #[inline(always)]
    fn fall(&mut self, s: &Sizes, w: &Packed<T>) {
        for u in &mut self.hidden {
            *u = gelu(*u);
        }
        residual_rows(&mut self.h, &self.x1, &w.down_bias);
        T::gemm_tile(GemmTile {
            m: s.t,
            n: s.c,
            k: s.hidden,
            a: (&self.hidden, s.hidden, 1),
            b: (&w.down, s.c),
            c: (&mut self.h, s.c),
            accumulate: true,
        });
    }
}

#[inline(always)]
fn fill_rows<T: Real>(rows: &mut [T], bias: &[T]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.copy_from_slice(bias);
    }
}

#[inline(always)]
fn residual_rows<T: Real>(out: &mut [T], x: &[T], bias: &[T]) {
    for (out, x) in out.chunks_exact_mut(bias.len()).zip(x.chunks_exact(bias.len())) {
        for ((out, x), b) in out.iter_mut().zip(x).zip(bias) {
            *out = *x + *b;
        }
    }
}

/// (x - mean) / standard deviation of every row.
#[inline(always)]
fn layer_norm<T: Real>(s: &Sizes, x: &[T], normed: &mut [T], rstd: &mut [T]) {
    let share = T::ONE / T::of(s.c as f64);
    let eps = T::of(f64::from(s.eps));
    for ((x, y), r) in x.chunks_exact(s.c).zip(normed.chunks_exact_mut(s.c)).zip(rstd) {
        let mean = share * simd::sum(s.c, |i| x[i]);
        for (y, x) in y.iter_mut().zip(x) {
            *y = *x - mean;
        }
        *r = T::ONE / (share * simd::sum(s.c, |i| y[i] * y[i]) + eps).sqrt();
        for y in y.iter_mut() {
            *y *= *r;
        }
    }
}

/// q of every frame and head: softmax over its features, divided by sqrt(dim).
#[inline(always)]
fn softmax_features<T: Real>(s: &Sizes, qkv: &mut [T]) {
    let scale = T::ONE / T::of(s.dim() as f64).sqrt();
    for row in qkv.chunks_exact_mut(3 * s.c) {
        for q in row[..s.c].chunks_exact_mut(s.dim()) {
            let top = simd::max(q);
            for q in q.iter_mut() {
                *q = (*q - top).exp();
            }
            let norm = scale / simd::sum(q.len(), |i| q[i]);
            for q in q.iter_mut() {
                *q *= norm;
            }
        }
    }
}

/// k of every feature: softmax over the frames.
#[inline(always)]
fn softmax_frames<T: Real>(s: &Sizes, qkv: &mut [T], column: &mut [T]) {
    let keys = s.c..2 * s.c;
    column.fill(T::of(f64::NEG_INFINITY));
    for row in qkv.chunks_exact(3 * s.c) {
        for (top, k) in column.iter_mut().zip(&row[keys.clone()]) {
            *top = k.max(*top);
        }
    }
    for row in qkv.chunks_exact_mut(3 * s.c) {
        for (top, k) in column.iter().zip(&mut row[keys.clone()]) {
            *k = (*k - *top).exp();
        }
    }
    column.fill(T::ZERO);
    for row in qkv.chunks_exact(3 * s.c) {
        for (sum, k) in column.iter_mut().zip(&row[keys.clone()]) {
            *sum += *k;
        }
    }
    for sum in column.iter_mut() {
        *sum = T::ONE / *sum;
    }
    for row in qkv.chunks_exact_mut(3 * s.c) {
        for (norm, k) in column.iter().zip(&mut row[keys.clone()]) {
            *k *= *norm;
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let (planes, shift) = (buffers.read::<T>(), buffers.read::<T>());
    let packed = Packed::new(&s, &Weights::take(&mut buffers));
    let h = Rows::new(buffers.write::<T>());
    let chunks = s.n.div_ceil(CHUNK);
    (0..s.b * chunks).into_par_iter().for_each_init(
        || Window::new(&s),
        |window, task| {
            let (b, first) = (task / chunks, task % chunks * CHUNK);
            for n in first..(first + CHUNK).min(s.n) {
                T::vectorized(
                    #[inline(always)]
                    || {
                        window.load(&s, &packed, planes, shift, b, n);
                        window.attend(&s, &packed);
                        window.rise(&s, &packed);
                        window.fall(&s, &packed);
                        for (t, row) in window.h.chunks_exact(s.c).enumerate() {
                            // SAFETY: only this task writes node n of sample b.
                            unsafe { h.slice(((b * s.t + t) * s.n + n) * s.c, s.c) }.copy_from_slice(row);
                        }
                    },
                );
            }
        },
    );
}
