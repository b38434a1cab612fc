//! `temporal_block`: input projection, step embedding and one pre-norm transformer layer with linear attention over
//! the frames of every node, in one pass (STIMP eqs. 3-5 in the published code's form; Shen et al. 2021 for the
//! attention).
//!
//! ```text
//! x0 = shift[b, t] + W_in planes[:, b, t, n]                    planes [f, b, t, n], shift [b, t, c]
//! x1 = x0 + W_o (q' (k'^T v)) + b_o     q, k, v = W_q,k,v LN(x0), q' = softmax over features / sqrt(dim),
//!                                       k' = softmax over frames
//! h  = x1 + W_2 gelu(W_1 LN(x1) + b_1) + b_2                    h [b, n, t, c]
//! ```
//! Plan: a node's window `[t, c]` lives in the second-level cache through the whole block, and only the `f` planes are
//! read and `h` is written, window after window: 4 f + 4 c bytes a token. The affine part of each layer norm is folded into
//! the weights behind it. Values are never formed: q' (k'^T (LN W_v)) W_o = q' ((k'^T LN) W_vo), where W_vo = W_v W_o of a
//! head meets the `[dim, c]` product of a window instead of its tokens. Products are [`gemm_tile`](crate::gemm_tile)s.
//! Bound by FMA throughput (24.6 kFLOP a token at c = 32 and 26 more kFLOP a window for W_vo). Measured: see
//! `benches/RESULTS.md`.

use crate::gemm_tile::{GemmTile, Start};
use crate::temporal_block_launches as launches;
use crate::temporal_block_narrow as narrow;
use crate::unary::gelu;
use crate::wgsl::Wgsl;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, row_reduce, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Windows that a task takes at least.
const CHUNK: usize = 16;

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
    cpu: Cpu { f32: run_f32, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("temporal_block.wgsl", include_str!("../../shaders/temporal_block.wgsl")),
            ("temporal_block.tiles.wgsl", include_str!("../../shaders/temporal_block.tiles.wgsl")),
            ("temporal_block.weights.wgsl", include_str!("../../shaders/temporal_block.weights.wgsl")),
        ],
        dispatches: |p, _| launches::workgroups(p),
    },
    ptx: Ptx {
        files: &[
            ("temporal_block.ptx", include_str!("../ptx/temporal_block.ptx")),
            ("temporal_block.window.ptx", include_str!("../ptx/temporal_block.window.ptx")),
            ("temporal_block.weights.ptx", include_str!("../ptx/temporal_block.weights.ptx")),
            ("temporal_block.sm_80.tf32.ptx", include_str!("../ptx/temporal_block.sm_80.tf32.ptx")),
            ("temporal_block.sm_80.bf16.ptx", include_str!("../ptx/temporal_block.sm_80.bf16.ptx")),
            ("temporal_block.sm_80.weights.ptx", include_str!("../ptx/temporal_block.sm_80.weights.ptx")),
        ],
        dispatches: launches::blocks,
    },
    cost: |p, _| cost(p),
};

pub(crate) fn cost(p: &Params) -> Cost {
    let windows = u64::from(p.batch) * u64::from(p.nodes);
    let [t, f, c, hidden] = [p.frames, p.inputs, p.channels, p.hidden].map(u64::from);
    Cost {
        flops: windows * (t * (2 * f * c + 8 * c * c + 4 * c * hidden) + 2 * c * c * c),
        bytes: 4 * windows * t * (f + c),
    }
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

    /// 1 / sqrt(dim).
    pub(crate) fn scale<T: Real>(&self) -> T {
        T::ONE / T::of(self.dim() as f64).sqrt()
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
    /// `[c, 2c]`: queries, then keys.
    pub(crate) qk: Vec<T>,
    pub(crate) qk_bias: Vec<T>,
    /// W_vo of every head, `[heads, c, c]`, and what the shift of the norm adds behind it, `[heads, c]`.
    pub(crate) value_out: Vec<T>,
    pub(crate) value_out_bias: Vec<T>,
    pub(crate) out_bias: Vec<T>,
    pub(crate) up: Vec<T>,
    pub(crate) up_bias: Vec<T>,
    pub(crate) down: Vec<T>,
    pub(crate) down_bias: Vec<T>,
}

impl<T: Real> Packed<T> {
    pub(crate) fn new(s: &Sizes, w: &Weights<'_, T>) -> Self {
        let ones = vec![T::ONE; s.hidden.max(s.c).max(s.f)];
        let qk_rows = w.qkv[..2].concat();
        let up_bias = folded_bias(w.up.0, w.norm2.1).iter().zip(w.up.1).map(|(a, b)| *a + *b).collect();
        let (value_out, value_out_bias) = Self::value_out(s, w, &transposed(w.out.0, s.c, &ones));
        Packed {
            input: transposed(w.w_in, s.f, &ones),
            qk: transposed(&qk_rows, s.c, w.norm1.0),
            qk_bias: folded_bias(&qk_rows, w.norm1.1),
            value_out,
            value_out_bias,
            out_bias: w.out.1.to_vec(),
            up: transposed(w.up.0, s.c, w.norm2.0),
            up_bias,
            down: transposed(w.down.0, s.hidden, &ones),
            down_bias: w.down.1.to_vec(),
        }
    }

    /// gamma W_v^T W_o^T / sqrt(dim) and beta W_v^T W_o^T / sqrt(dim) for every head; `out` is W_o^T.
    fn value_out(s: &Sizes, w: &Weights<'_, T>, out: &[T]) -> (Vec<T>, Vec<T>) {
        let (c, dim, scale) = (s.c, s.dim(), s.scale::<T>());
        let (mut products, mut biases) = (vec![T::ZERO; s.heads * c * c], vec![T::ZERO; s.heads * c]);
        let value_bias = folded_bias(w.qkv[2], w.norm1.1);
        for (head, (product, bias)) in products.chunks_exact_mut(c * c).zip(biases.chunks_exact_mut(c)).enumerate() {
            let at = head * dim;
            let (values, out) = (&w.qkv[2][at * c..], &out[at * c..]);
            let tile = |m, a, c_out| GemmTile { m, n: c, k: dim, a, b: (out, c), c: (c_out, c), start: Start::Zero };
            T::gemm_tile(tile(c, (values, 1, c), &mut *product));
            T::gemm_tile(tile(1, (&value_bias[at..], dim, 1), &mut *bias));
            bias.iter_mut().for_each(|b| *b *= scale);
            for (row, gamma) in product.chunks_exact_mut(c).zip(w.norm1.0) {
                row.iter_mut().for_each(|x| *x *= *gamma * scale);
            }
        }
        (products, biases)
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
    x0: Vec<T>,
    pub(crate) norm1: Vec<T>,
    pub(crate) rstd1: Vec<T>,
    /// q' (but for 1 / sqrt(dim)) and k' side by side, `[t, 2c]`.
    pub(crate) qk: Vec<T>,
    /// k'^T norm1, `[c, c]`.
    pub(crate) gathered: Vec<T>,
    /// What q' is multiplied with: `gathered` times W_vo, `[c, c]`.
    pub(crate) context: Vec<T>,
    x1: Vec<T>,
    pub(crate) norm2: Vec<T>,
    pub(crate) rstd2: Vec<T>,
    /// gelu of the pre-activation, `[t, hidden]`.
    pub(crate) hidden: Vec<T>,
    /// A number of every frame, and one of every feature.
    row: Vec<T>,
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
            qk: zeros(2 * tokens),
            gathered: zeros(s.c * s.c),
            context: zeros(s.c * s.c),
            x1: zeros(tokens),
            norm2: zeros(tokens),
            rstd2: zeros(s.t),
            hidden: zeros(s.t * s.hidden),
            row: zeros(s.t),
            column: zeros(s.c),
        }
    }

    /// From the planes to x0 of node `n` of sample `b`.
    #[inline(always)]
    pub(crate) fn load(&mut self, s: &Sizes, w: &Packed<T>, (planes, shift): (&[T], &[T]), b: usize, n: usize) {
        T::gemm_tile(GemmTile {
            m: s.t,
            n: s.c,
            k: s.f,
            a: (&planes[b * s.t * s.n + n..], s.n, s.b * s.t * s.n),
            b: (&w.input, s.c),
            c: (&mut self.x0, s.c),
            start: Start::Rows(&shift[b * s.t * s.c..]),
        });
    }

    /// From x0 to the attention's output x1.
    #[inline(always)]
    pub(crate) fn attend(&mut self, s: &Sizes, w: &Packed<T>) {
        let (c, t, dim) = (s.c, s.t, s.dim());
        layer_norm(s, &self.x0, &mut self.norm1, &mut self.rstd1);
        T::gemm_tile(GemmTile {
            m: t,
            n: 2 * c,
            k: c,
            a: (&self.norm1, c, 1),
            b: (&w.qk, 2 * c),
            c: (&mut self.qk, 2 * c),
            start: Start::Bias(&w.qk_bias),
        });
        softmax(s, &mut self.qk, &mut self.row, &mut self.column);
        T::gemm_tile(GemmTile {
            m: c,
            n: c,
            k: t,
            a: (&self.qk[c..], 1, 2 * c),
            b: (&self.norm1, c),
            c: (&mut self.gathered, c),
            start: Start::Zero,
        });
        for head in 0..s.heads {
            let rows = head * dim * c;
            T::gemm_tile(GemmTile {
                m: dim,
                n: c,
                k: c,
                a: (&self.gathered[rows..], c, 1),
                b: (&w.value_out[head * c * c..], c),
                c: (&mut self.context[rows..], c),
                start: Start::Bias(&w.value_out_bias[head * c..]),
            });
        }
        T::gemm_tile(GemmTile {
            m: t,
            n: c,
            k: c,
            a: (&self.qk, 2 * c, 1),
            b: (&self.context, c),
            c: (&mut self.x1, c),
            start: Start::RowsAndBias(&self.x0, &w.out_bias),
        });
    }

    /// The pre-activation of the feed-forward layer, into `hidden`.
    #[inline(always)]
    pub(crate) fn rise(&mut self, s: &Sizes, w: &Packed<T>) {
        layer_norm(s, &self.x1, &mut self.norm2, &mut self.rstd2);
        T::gemm_tile(GemmTile {
            m: s.t,
            n: s.hidden,
            k: s.c,
            a: (&self.norm2, s.c, 1),
            b: (&w.up, s.hidden),
            c: (&mut self.hidden, s.hidden),
            start: Start::Bias(&w.up_bias),
        });
    }

    /// From the pre-activation to the window's part of `h`.
    #[inline(always)]
    fn fall(&mut self, s: &Sizes, w: &Packed<T>, h: &mut [T]) {
        for u in &mut self.hidden {
            *u = gelu(*u);
        }
        T::gemm_tile(GemmTile {
            m: s.t,
            n: s.c,
            k: s.hidden,
            a: (&self.hidden, s.hidden, 1),
            b: (&w.down, s.c),
            c: (h, s.c),
            start: Start::RowsAndBias(&self.x1, &w.down_bias),
        });
    }
}

/// (x - mean) / standard deviation of every row.
#[inline(always)]
fn layer_norm<T: Real>(s: &Sizes, x: &[T], normed: &mut [T], rstd: &mut [T]) {
    let share = T::ONE / T::of(s.c as f64);
    let eps = T::of(f64::from(s.eps));
    row_reduce::sums(s.c, (x, s.c), rstd);
    for ((x, y), sum) in x.chunks_exact(s.c).zip(normed.chunks_exact_mut(s.c)).zip(&*rstd) {
        let mean = share * *sum;
        simd::update(y, x, |_, x| x - mean);
    }
    row_reduce::dots(s.c, (normed, s.c), (normed, s.c), rstd);
    for square in rstd.iter_mut() {
        *square = T::ONE / (share * *square + eps).sqrt();
    }
    for (y, rstd) in normed.chunks_exact_mut(s.c).zip(rstd) {
        simd::each(y, |y| y * *rstd);
    }
}

/// Softmax of every frame's queries over the features of each head, and of every key feature over the frames. `row` and
/// `column` have room for a number of every frame and of every feature.
#[inline(always)]
fn softmax<T: Real>(s: &Sizes, qk: &mut [T], row: &mut [T], column: &mut [T]) {
    let (wide, dim) = (2 * s.c, s.dim());
    for head in (0..s.c).step_by(dim) {
        row_reduce::maxima(dim, (&qk[head..], wide), row);
        for (qk, top) in qk.chunks_exact_mut(wide).zip(&*row) {
            simd::each(&mut qk[head..head + dim], |q| q - *top);
        }
    }
    column.fill(T::of(f64::NEG_INFINITY));
    simd::fold_rows(column, (&qk[s.c..], wide), |top, k| k.max(top));
    for qk in qk.chunks_exact_mut(wide) {
        simd::update(&mut qk[s.c..], column, |k, top| k - top);
    }
    for x in qk.iter_mut() {
        *x = x.exp();
    }
    for head in (0..s.c).step_by(dim) {
        row_reduce::sums(dim, (&qk[head..], wide), row);
        for (qk, sum) in qk.chunks_exact_mut(wide).zip(&*row) {
            let share = T::ONE / *sum;
            simd::each(&mut qk[head..head + dim], |q| q * share);
        }
    }
    column.fill(T::ZERO);
    simd::fold_rows(column, (&qk[s.c..], wide), |sum, k| sum + k);
    simd::each(column, |sum| T::ONE / sum);
    for qk in qk.chunks_exact_mut(wide) {
        simd::update(&mut qk[s.c..], column, |k, share| k * share);
    }
}

fn run_f32(p: &Params, buffers: Buffers<'_>) {
    if p.channels <= narrow::CHANNELS { narrow::run(p, buffers) } else { run::<f32>(p, buffers) }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let input = (buffers.read::<T>(), buffers.read::<T>());
    let packed = Packed::new(&s, &Weights::take(&mut buffers));
    let windows = buffers.write::<T>().par_chunks_exact_mut(s.t * s.c);
    windows.enumerate().with_min_len(CHUNK).for_each_init(
        || Window::new(&s),
        |window, (at, h)| {
            T::vectorized(
                #[inline(always)]
                || {
                    window.load(&s, &packed, input, at / s.n, at % s.n);
                    window.attend(&s, &packed);
                    window.rise(&s, &packed);
                    window.fall(&s, &packed, h);
                },
            );
        },
    );
}
