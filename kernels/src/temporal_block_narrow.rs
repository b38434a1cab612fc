//! `temporal_block` for few channels: the same formula as [`temporal_block`](crate::temporal_block), sixteen nodes at a time.
//!
//! A row of 8 channels fills half a register and its norms and softmaxes are sums along it. So here the lanes are nodes:
//! a strip of [`LANES`] nodes lies in cache as planes `[c, t, 16]`, every step of the block runs on whole registers, and no
//! sum crosses lanes. Plan: products with weights are [`gemm_tile`](crate::gemm_tile)s with the weights on the left,
//! those of the attention, where each node has its own matrix, are [`lane_tile`](crate::lane_tile)s. A plane of ones in front
//! of a product's planes carries its bias, and in the backward the bias' gradient. A strip past the last node repeats it.
//! Bound by the arithmetic of GELU and softmax, about half of it. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{add_product, product};
use crate::lane_tile::{LANES, add_lane_product, lane_product};
use crate::temporal_block::{Packed, Params, Sizes, Weights};
use crate::unary::gelu;
use crate::{Buffers, Real};
use rayon::prelude::*;

/// The most channels for which this form is the faster one.
pub(crate) const CHANNELS: u32 = 16;
/// Frames that go through the feed-forward layer together: their hidden planes fit in the first-level cache.
pub(crate) const FRAMES: usize = 8;
/// Numbers of one hidden unit in those frames.
pub(crate) const ROW: usize = FRAMES * LANES;
/// Strips that a task takes at least.
const CHUNK: usize = 2;

/// Weights as `[1 + in, out]`, the bias in front, layer norms folded in.
pub(crate) struct Matrices {
    /// `[f, c]`, without a bias.
    pub(crate) input: Vec<f32>,
    pub(crate) qk: Vec<f32>,
    /// W_vo of every head.
    pub(crate) value_out: Vec<f32>,
    out_bias: Vec<f32>,
    pub(crate) up: Vec<f32>,
    pub(crate) down: Vec<f32>,
}

impl Matrices {
    pub(crate) fn new(s: &Sizes, weights: &Weights<'_, f32>) -> Self {
        let packed = Packed::new(s, weights);
        let heads = packed.value_out.chunks_exact(s.c * s.c).zip(packed.value_out_bias.chunks_exact(s.c));
        Matrices {
            value_out: heads.flat_map(|(w, bias)| [bias, w].concat()).collect(),
            out_bias: packed.out_bias,
            input: packed.input,
            qk: [packed.qk_bias, packed.qk].concat(),
            up: [packed.up_bias, packed.up].concat(),
            down: [packed.down_bias, packed.down].concat(),
        }
    }
}

/// Sixteen nodes on their way through the block: planes `[.., t, 16]`, those with 1 + .. with a plane of ones in front.
pub(crate) struct Strip {
    /// `[f]`.
    pub(crate) planes: Vec<f32>,
    /// x0, then x1, then h, `[c]`.
    pub(crate) x: Vec<f32>,
    /// `[1 + c]`.
    pub(crate) norm1: Vec<f32>,
    pub(crate) rstd1: Vec<f32>,
    /// q' (but for 1 / sqrt(dim)), then k', `[2c]`.
    pub(crate) qk: Vec<f32>,
    /// norm1 k'^T, `[1 + c, c, 16]`.
    pub(crate) gathered: Vec<f32>,
    /// What q' is multiplied with: W_vo^T times `gathered`, `[c, c, 16]`.
    pub(crate) context: Vec<f32>,
    /// `[1 + c]`.
    pub(crate) norm2: Vec<f32>,
    pub(crate) rstd2: Vec<f32>,
    /// Of some frames, `[1 + hidden, frames, 16]`.
    pub(crate) hidden: Vec<f32>,
}

impl Strip {
    pub(crate) fn new(s: &Sizes) -> Self {
        let plane = s.t * LANES;
        let zeros = |planes: usize| vec![0.0; planes * plane];
        // Only the planes behind the first are written.
        let ones = || vec![1.0; (1 + s.c) * plane];
        Strip {
            planes: zeros(s.f),
            x: zeros(s.c),
            norm1: ones(),
            rstd1: zeros(1),
            qk: zeros(2 * s.c),
            gathered: vec![0.0; (1 + s.c) * s.c * LANES],
            context: vec![0.0; s.c * s.c * LANES],
            norm2: ones(),
            rstd2: zeros(1),
            hidden: vec![1.0; (1 + s.hidden) * ROW],
        }
    }

    /// From the planes to x0 of sample `b`'s nodes from `first` on.
    #[inline(always)]
    pub(crate) fn load(&mut self, s: &Sizes, w: &Matrices, (planes, shift): (&[f32], &[f32]), b: usize, first: usize) {
        let (plane, nodes) = (s.t * LANES, LANES.min(s.n - first));
        for (at, row) in self.planes.chunks_exact_mut(LANES).enumerate() {
            let from = &planes[((at / s.t * s.b + b) * s.t + at % s.t) * s.n + first..][..nodes];
            // A known length spares the call of a copy.
            match from.first_chunk::<LANES>() {
                Some(from) => row.copy_from_slice(from),
                None => {
                    row[..nodes].copy_from_slice(from);
                    row[nodes..].fill(from[nodes - 1]);
                }
            }
        }
        let shift = &shift[b * s.t * s.c..][..s.t * s.c];
        for (at, row) in self.x.chunks_exact_mut(LANES).enumerate() {
            row.fill(shift[at % s.t * s.c + at / s.t]);
        }
        add_product((s.c, plane, s.f), (&w.input, 1, s.c), (&self.planes, plane), (&mut self.x, plane));
    }

    /// From x0 to the attention's output x1.
    #[inline(always)]
    pub(crate) fn attend(&mut self, s: &Sizes, w: &Matrices) {
        let (t, c, dim, plane) = (s.t, s.c, s.dim(), s.t * LANES);
        layer_norm(s, &self.x, &mut self.norm1[plane..], &mut self.rstd1);
        product((2 * c, plane, 1 + c), (&w.qk, 1, 2 * c), (&self.norm1, plane), (&mut self.qk, plane));
        let (queries, keys) = self.qk.split_at_mut(c * plane);
        for head in queries.chunks_exact_mut(dim * plane) {
            softmax_over_planes(head, plane);
        }
        for key in keys.chunks_exact_mut(plane) {
            softmax(key, 0, LANES);
        }
        lane_product((1 + c, c, t), (&self.norm1, t, 1), (keys, 1, t), (&mut self.gathered, c, 1));
        for head in 0..s.heads {
            let (at, row) = (head * dim * LANES, c * LANES);
            let w = &w.value_out[head * (1 + c) * c..];
            product((c, dim * LANES, 1 + c), (w, 1, c), (&self.gathered[at..], row), (&mut self.context[at..], row));
        }
        for (x, bias) in self.x.chunks_exact_mut(plane).zip(&w.out_bias) {
            x.iter_mut().for_each(|x| *x += *bias);
        }
        add_lane_product((c, t, c), (&self.context, c, 1), (queries, t, 1), (&mut self.x, t, 1));
    }

    /// The second layer norm.
    #[inline(always)]
    pub(crate) fn norm(&mut self, s: &Sizes) {
        layer_norm(s, &self.x, &mut self.norm2[s.t * LANES..], &mut self.rstd2);
    }

    /// The feed-forward layer's pre-activation of the columns `at..at + width` of the planes, into `hidden`.
    #[inline(always)]
    pub(crate) fn rise(&mut self, s: &Sizes, w: &Matrices, (at, width): (usize, usize)) {
        let norm = (&self.norm2[at..], s.t * LANES);
        let hidden = (&mut self.hidden[ROW..], ROW);
        product((s.hidden, width, 1 + s.c), (&w.up, 1, s.hidden), norm, hidden);
    }

    /// From x1 to h.
    #[inline(always)]
    fn feed_forward(&mut self, s: &Sizes, w: &Matrices) {
        let plane = s.t * LANES;
        for (at, width) in columns(s) {
            self.rise(s, w, (at, width));
            for u in &mut self.hidden[ROW..] {
                *u = gelu(*u);
            }
            let x = (&mut self.x[at..], plane);
            add_product((s.c, width, 1 + s.hidden), (&w.down, 1, s.c), (&self.hidden, ROW), x);
        }
    }

    /// Writes the windows `[.., t, c]` of the nodes.
    #[inline(always)]
    fn store(&self, s: &Sizes, h: &mut [f32]) {
        for t in 0..s.t {
            for (lane, h) in h.chunks_exact_mut(s.t * s.c).enumerate() {
                for (i, h) in h[t * s.c..][..s.c].iter_mut().enumerate() {
                    *h = self.x[(i * s.t + t) * LANES + lane];
                }
            }
        }
    }
}

/// Start and width of the columns of the planes that go through the feed-forward layer together.
pub(crate) fn columns(s: &Sizes) -> impl Iterator<Item = (usize, usize)> + use<> {
    let t = s.t;
    (0..t).step_by(FRAMES).map(move |at| (at * LANES, FRAMES.min(t - at) * LANES))
}

/// The lanes of `x` from `at` on.
#[inline(always)]
pub(crate) fn lanes(x: &[f32], at: usize) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    lanes.copy_from_slice(&x[at..at + LANES]);
    lanes
}

/// Puts the lanes of `x` from `at` on.
#[inline(always)]
pub(crate) fn put(x: &mut [f32], at: usize, lanes: [f32; LANES]) {
    x[at..at + LANES].copy_from_slice(&lanes);
}

/// x = f(x, y), lane by lane.
#[inline(always)]
pub(crate) fn update(x: &mut [f32; LANES], y: [f32; LANES], f: impl Fn(f32, f32) -> f32) {
    for (x, y) in x.iter_mut().zip(y) {
        *x = f(*x, y);
    }
}

/// (x - mean) / standard deviation over the planes `[c, t, 16]`.
#[inline(always)]
fn layer_norm(s: &Sizes, x: &[f32], normed: &mut [f32], rstd: &mut [f32]) {
    let (share, plane) = (1.0 / s.c as f32, s.t * LANES);
    for at in (0..plane).step_by(LANES) {
        let column = (at..s.c * plane).step_by(plane);
        let (mut mean, mut scale) = ([0.0; LANES], [0.0; LANES]);
        for at in column.clone() {
            update(&mut mean, lanes(x, at), |sum, x| sum + x);
        }
        mean.iter_mut().for_each(|sum| *sum *= share);
        for at in column.clone() {
            let mut centred = lanes(x, at);
            update(&mut centred, mean, |x, mean| x - mean);
            put(normed, at, centred);
            update(&mut scale, centred, |sum, x| x.mul_add(x, sum));
        }
        scale.iter_mut().for_each(|square| *square = 1.0 / (share * *square + s.eps).sqrt());
        put(rstd, at, scale);
        for at in column {
            let mut centred = lanes(normed, at);
            update(&mut centred, scale, |x, scale| x * scale);
            put(normed, at, centred);
        }
    }
}

/// Softmax over the planes of `x`.
#[inline(always)]
fn softmax_over_planes(x: &mut [f32], plane: usize) {
    for at in (0..plane).step_by(LANES) {
        softmax(x, at, plane);
    }
}

/// Softmax over every `step`-th element from `first` on, lane by lane.
#[inline(always)]
fn softmax(x: &mut [f32], first: usize, step: usize) {
    let column = (first..x.len()).step_by(step);
    let (mut top, mut share) = ([f32::NEG_INFINITY; LANES], [0.0; LANES]);
    for at in column.clone() {
        update(&mut top, lanes(x, at), |top, x| Real::max(x, top));
    }
    for at in column.clone() {
        let mut power = lanes(x, at);
        update(&mut power, top, |x, top| Real::exp(x - top));
        put(x, at, power);
        update(&mut share, power, |sum, x| sum + x);
    }
    share.iter_mut().for_each(|sum| *sum = 1.0 / *sum);
    for at in column {
        let mut power = lanes(x, at);
        update(&mut power, share, |x, share| x * share);
        put(x, at, power);
    }
}

pub(crate) fn run(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let input = (buffers.read::<f32>(), buffers.read::<f32>());
    let matrices = Matrices::new(&s, &Weights::take(&mut buffers));
    let window = s.t * s.c;
    buffers.write::<f32>().par_chunks_mut(s.n * window).enumerate().for_each(|(b, h)| {
        h.par_chunks_mut(LANES * window).enumerate().with_min_len(CHUNK).for_each_init(
            || Strip::new(&s),
            |strip, (at, h)| {
                f32::vectorized(
                    #[inline(always)]
                    || {
                        strip.load(&s, &matrices, input, b, at * LANES);
                        strip.attend(&s, &matrices);
                        strip.norm(&s);
                        strip.feed_forward(&s, &matrices);
                        strip.store(&s, h);
                    },
                );
            },
        );
    });
}
