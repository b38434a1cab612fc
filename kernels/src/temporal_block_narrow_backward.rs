//! `temporal_block_backward` for few channels: the same gradients as
//! [`temporal_block_backward`](crate::temporal_block_backward), sixteen nodes at a time.
//!
//! Layout and plan as in [`temporal_block_narrow`](crate::temporal_block_narrow): a task recomputes a strip of nodes, then
//! walks it backwards in cache. Weight gradients gather as `[out, 1 + in, 16]`, the bias' in front, one number a lane, and
//! the lanes are summed once a group of strips. Lanes past the last node get a gradient of 0 and so add nothing.
//! Groups and their order of addition are fixed, so the bits do not depend on the number of threads.
//! Bound by arithmetic, half of it FMA. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{add_product, product};
use crate::lane_tile::{LANES, add_lane_product, lane_product};
use crate::rows::Rows;
use crate::temporal_block::{Params, Sizes, Weights};
use crate::temporal_block_backward::{GROUPS, Sums, activate, add_up};
use crate::temporal_block_narrow::{FRAMES, Matrices, ROW, Strip, columns, lanes, put, update};
use crate::{Buffers, Real};
use rayon::prelude::*;

/// Sums over the nodes of a group, lane by lane: `[out, 1 + in, 16]` unless told.
struct LaneSums {
    /// `[c, f, 16]`.
    input: Vec<f32>,
    qk: Vec<f32>,
    /// `[heads, 1 + c, c, 16]`.
    value_out: Vec<f32>,
    up: Vec<f32>,
    down: Vec<f32>,
    /// `[c, t, 16]`.
    shift: Vec<f32>,
}

impl LaneSums {
    fn new(s: &Sizes) -> Self {
        let zeros = |elements: usize| vec![0.0; elements * LANES];
        LaneSums {
            input: zeros(s.c * s.f),
            qk: zeros(2 * s.c * (1 + s.c)),
            value_out: zeros(s.heads * (1 + s.c) * s.c),
            up: zeros(s.hidden * (1 + s.c)),
            down: zeros(s.c * (1 + s.hidden)),
            shift: zeros(s.c * s.t),
        }
    }

    /// Sums the lanes: what [`add_up`] takes.
    fn totals(&self, s: &Sizes) -> (Sums<f32>, Vec<f32>) {
        let mut sums = Sums::new(s);
        let transposed = |x: &[f32], rows: usize, y: &mut [f32]| {
            for (at, x) in x.chunks_exact(LANES).enumerate() {
                y[at % (y.len() / rows) * rows + at / (y.len() / rows)] = total(x);
            }
        };
        let behind_bias = |x: &[f32], w: &mut [f32], bias: &mut [f32]| {
            let inputs = w.len() / bias.len();
            let rows = x.chunks_exact((1 + inputs) * LANES).zip(w.chunks_exact_mut(inputs)).zip(bias);
            for ((x, w), bias) in rows {
                let (first, rest) = x.split_at(LANES);
                *bias = total(first);
                w.iter_mut().zip(rest.chunks_exact(LANES)).for_each(|(w, x)| *w = total(x));
            }
        };
        transposed(&self.input, s.c, &mut sums.input);
        behind_bias(&self.qk, &mut sums.qk, &mut sums.qk_bias);
        behind_bias(&self.up, &mut sums.up, &mut sums.up_bias);
        behind_bias(&self.down, &mut sums.down, &mut sums.down_bias);
        let heads = sums.value_out.chunks_exact_mut(s.c * s.c).zip(sums.value_out_bias.chunks_exact_mut(s.c));
        for ((w, bias), x) in heads.zip(self.value_out.chunks_exact((1 + s.c) * s.c * LANES)) {
            // Here the bias is a row of the matrix `[1 + c, c]`.
            let all = bias.iter_mut().chain(w);
            all.zip(x.chunks_exact(LANES)).for_each(|(y, x)| *y = total(x));
        }
        // Queries of a head sum to 1, so every head's bias sees the gradient of x1, as b_o does.
        sums.out_bias.copy_from_slice(&sums.value_out_bias[..s.c]);
        let mut shift = vec![0.0; s.t * s.c];
        transposed(&self.shift, s.c, &mut shift);
        (sums, shift)
    }
}

/// Sum of the lanes, in halves.
fn total(x: &[f32]) -> f32 {
    let mut x = lanes(x, 0);
    for width in [8, 4, 2, 1] {
        for lane in 0..width {
            x[lane] += x[lane + width];
        }
    }
    x[0]
}

/// Room for the gradients of one strip.
struct Scratch {
    strip: Strip,
    /// Gradient of the residual stream, `[c, t, 16]`.
    dx: Vec<f32>,
    /// Gradient of a layer norm's output, `[c, t, 16]`.
    dnorm: Vec<f32>,
    /// `[2c, t, 16]`.
    dqk: Vec<f32>,
    /// Gradients of the strip's `context` and `gathered`, `[c, c, 16]`.
    dcontext: Vec<f32>,
    dgathered: Vec<f32>,
    /// Of some frames, `[hidden, frames, 16]`.
    dhidden: Vec<f32>,
    /// Of the planes, `[f, t, 16]`.
    dplanes: Vec<f32>,
}

impl Scratch {
    fn new(s: &Sizes) -> Self {
        let zeros = |elements: usize| vec![0.0; elements * LANES];
        Scratch {
            strip: Strip::new(s),
            dx: zeros(s.c * s.t),
            dnorm: zeros(s.c * s.t),
            dqk: zeros(2 * s.c * s.t),
            dcontext: zeros(s.c * s.c),
            dgathered: zeros(s.c * s.c),
            dhidden: zeros(s.hidden * FRAMES),
            dplanes: zeros(s.f * s.t),
        }
    }

    /// Takes the gradients of the nodes' windows `[.., t, c]` to `dx`.
    #[inline(always)]
    fn load(&mut self, s: &Sizes, dh: &[f32]) {
        let window = s.t * s.c;
        if dh.len() < LANES * window {
            self.dx.fill(0.0);
        }
        for t in 0..s.t {
            for (lane, dh) in dh.chunks_exact(window).enumerate() {
                for (i, dh) in dh[t * s.c..][..s.c].iter().enumerate() {
                    self.dx[(i * s.t + t) * LANES + lane] = *dh;
                }
            }
        }
    }

    /// From the gradient of h through the feed-forward layer to that of x1, both in `dx`.
    #[inline(always)]
    fn feed_forward(&mut self, s: &Sizes, w: &Matrices, sums: &mut LaneSums) {
        let (t, c, hidden, plane) = (s.t, s.c, s.hidden, s.t * LANES);
        for (at, width) in columns(s) {
            self.strip.rise(s, w, (at, width));
            let (frames, dx) = (width / LANES, &self.dx[at..]);
            product((hidden, width, c), (&w.down[c..], c, 1), (dx, plane), (&mut self.dhidden, ROW));
            activate(&mut self.strip.hidden[ROW..], &mut self.dhidden);
            let units = (&self.strip.hidden[..], 1, FRAMES);
            add_lane_product((c, 1 + hidden, frames), (dx, t, 1), units, (&mut sums.down, 1 + hidden, 1));
            let norm = (&self.strip.norm2[at..], 1, t);
            add_lane_product((hidden, 1 + c, frames), (&self.dhidden, FRAMES, 1), norm, (&mut sums.up, 1 + c, 1));
            let dnorm = (&mut self.dnorm[at..], plane);
            product((c, width, hidden), (&w.up[hidden..], hidden, 1), (&self.dhidden, ROW), dnorm);
        }
        add_layer_norm_backward(s, &self.strip.norm2[plane..], &self.strip.rstd2, &self.dnorm, &mut self.dx);
    }

    /// From the gradient of x1 through the attention to that of x0, both in `dx`. With q and k after their softmax:
    /// x1 = x0 + C q, C = W_vo^T A, A = norm1 k^T.
    #[inline(always)]
    fn attention(&mut self, s: &Sizes, w: &Matrices, sums: &mut LaneSums) {
        let (t, c, dim, plane) = (s.t, s.c, s.dim(), s.t * LANES);
        let x = &self.strip;
        let (q, k) = x.qk.split_at(c * plane);
        let (dq, dk) = self.dqk.split_at_mut(c * plane);
        lane_product((c, t, c), (&x.context, 1, c), (&self.dx, t, 1), (dq, t, 1));
        lane_product((c, c, t), (&self.dx, t, 1), (q, 1, t), (&mut self.dcontext, c, 1));
        for head in 0..s.heads {
            let (at, square) = (head * dim * LANES, head * (1 + c) * c);
            let d = &self.dcontext[at..];
            let dw = (&mut sums.value_out[square * LANES..], c, 1);
            add_lane_product((1 + c, c, dim), (&x.gathered[at..], c, 1), (d, 1, c), dw);
            let w = (&w.value_out[square + c..], c, 1);
            product((c, dim * LANES, c), w, (d, c * LANES), (&mut self.dgathered[at..], c * LANES));
        }
        // The gradient of the ones is left out: keys after their softmax over frames sum to 1 whatever they are.
        let norm = &x.norm1[plane..];
        lane_product((c, t, c), (&self.dgathered, 1, c), (norm, t, 1), (dk, t, 1));
        lane_product((c, t, c), (&self.dgathered, c, 1), (k, t, 1), (&mut self.dnorm, t, 1));
        for (q, dq) in q.chunks_exact(dim * plane).zip(dq.chunks_exact_mut(dim * plane)) {
            for at in (0..plane).step_by(LANES) {
                softmax_backward(q, dq, at, plane);
            }
        }
        for (k, dk) in k.chunks_exact(plane).zip(dk.chunks_exact_mut(plane)) {
            softmax_backward(k, dk, 0, LANES);
        }
        add_lane_product((2 * c, 1 + c, t), (&self.dqk, t, 1), (&x.norm1, 1, t), (&mut sums.qk, 1 + c, 1));
        let qk = (&w.qk[2 * c..], 2 * c, 1);
        add_product((c, plane, 2 * c), qk, (&self.dqk, plane), (&mut self.dnorm, plane));
        add_layer_norm_backward(s, norm, &x.rstd1, &self.dnorm, &mut self.dx);
    }

    /// Gradients of the shift and the input projection, and of the planes where wanted.
    #[inline(always)]
    fn input(
        &mut self,
        s: &Sizes,
        w: &Matrices,
        (b, first): (usize, usize),
        sums: &mut LaneSums,
        dplanes: &Rows<'_, f32>,
    ) {
        let (t, plane) = (s.t, s.t * LANES);
        for at in (0..s.c * plane).step_by(LANES) {
            let mut sum = lanes(&sums.shift, at);
            update(&mut sum, lanes(&self.dx, at), |sum, d| sum + d);
            put(&mut sums.shift, at, sum);
        }
        add_lane_product((s.c, s.f, t), (&self.dx, t, 1), (&self.strip.planes, 1, t), (&mut sums.input, s.f, 1));
        if dplanes.is_empty() {
            return;
        }
        product((s.f, plane, s.c), (&w.input, s.c, 1), (&self.dx, plane), (&mut self.dplanes, plane));
        let nodes = LANES.min(s.n - first);
        for (at, row) in self.dplanes.chunks_exact(LANES).enumerate() {
            // SAFETY: only this task writes these nodes of sample b.
            let to = unsafe { dplanes.slice(((at / t * s.b + b) * t + at % t) * s.n + first, nodes) };
            to.copy_from_slice(&row[..nodes]);
        }
    }
}

/// Adds rstd (d - mean d - xhat mean(d xhat)) to `dx`, the means over the planes `[c, t, 16]`.
#[inline(always)]
fn add_layer_norm_backward(s: &Sizes, normed: &[f32], rstd: &[f32], d: &[f32], dx: &mut [f32]) {
    let (share, plane) = (1.0 / s.c as f32, s.t * LANES);
    for at in (0..plane).step_by(LANES) {
        let column = (at..s.c * plane).step_by(plane);
        let (mut mean, mut slope) = ([0.0; LANES], [0.0; LANES]);
        for at in column.clone() {
            let mut product = lanes(d, at);
            update(&mut mean, product, |sum, d| sum + d);
            update(&mut product, lanes(normed, at), |d, x| d * x);
            update(&mut slope, product, |sum, product| sum + product);
        }
        mean.iter_mut().for_each(|sum| *sum *= share);
        slope.iter_mut().for_each(|sum| *sum *= share);
        for at in column {
            let (mut d, mut x) = (lanes(d, at), lanes(normed, at));
            update(&mut d, mean, |d, mean| d - mean);
            update(&mut x, slope, |x, slope| x * slope);
            update(&mut d, x, |d, x| d - x);
            update(&mut d, lanes(rstd, at % plane), |d, rstd| d * rstd);
            update(&mut d, lanes(dx, at), |d, dx| dx + d);
            put(dx, at, d);
        }
    }
}

/// From the gradient d of a softmax x over every `step`-th element from `first` on to that before it, in place.
#[inline(always)]
fn softmax_backward(x: &[f32], d: &mut [f32], first: usize, step: usize) {
    let column = (first..x.len()).step_by(step);
    let mut sum = [0.0; LANES];
    for at in column.clone() {
        let mut product = lanes(x, at);
        update(&mut product, lanes(d, at), |x, d| x * d);
        update(&mut sum, product, |sum, product| sum + product);
    }
    for at in column {
        let mut slope = lanes(d, at);
        update(&mut slope, sum, |d, sum| d - sum);
        update(&mut slope, lanes(x, at), |d, x| x * d);
        put(d, at, slope);
    }
}

pub(crate) fn run(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let input = (buffers.read::<f32>(), buffers.read::<f32>());
    let weights = Weights::take(&mut buffers);
    let (dh, dplanes) = (buffers.read::<f32>(), Rows::new(buffers.write::<f32>()));
    let matrices = Matrices::new(&s, &weights);
    // A group is whole strips of one sample, whose shift it sums for.
    let (strips, window) = (s.n.div_ceil(LANES), s.t * s.c);
    let per_group = (s.b * strips).div_ceil(GROUPS).clamp(1, strips);
    let groups = strips.div_ceil(per_group);
    let group = |g: usize| {
        let (b, first) = (g / groups, g % groups * per_group);
        let (mut scratch, mut sums) = (Scratch::new(&s), LaneSums::new(&s));
        for node in (first..(first + per_group).min(strips)).map(|strip| strip * LANES) {
            let nodes = LANES.min(s.n - node);
            let dh = &dh[(b * s.n + node) * window..][..nodes * window];
            f32::vectorized(
                #[inline(always)]
                || {
                    scratch.strip.load(&s, &matrices, input, b, node);
                    scratch.strip.attend(&s, &matrices);
                    scratch.strip.norm(&s);
                    scratch.load(&s, dh);
                    scratch.feed_forward(&s, &matrices, &mut sums);
                    scratch.attention(&s, &matrices, &mut sums);
                    scratch.input(&s, &matrices, (b, node), &mut sums, &dplanes);
                },
            );
        }
        sums.totals(&s)
    };
    let parts: Vec<_> = (0..s.b * groups).into_par_iter().map(group).collect();
    add_up(&s, &weights, parts, buffers);
}
