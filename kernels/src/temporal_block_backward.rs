//! `temporal_block_backward`: gradients of [`temporal_block`](crate::temporal_block) with the forward recomputed.
//!
//! Shapes as in the forward; `dh [b, t, n, c]` comes in, gradients of every weight, of `shift` and, where wanted, of
//! `planes` go out. Plan: a task recomputes a node's window, then walks it backwards in cache; weight gradients gather in
//! one flat sum a group of tasks. Groups and their order of addition are fixed, so the bits do not depend on the number of
//! threads. A layer norm folded into weights W needs no sums of its own: with M = dy^T xhat and s = sum dy,
//! dW = M gamma + s beta^T, dgamma = sum W M, dbeta = W^T s.
//! Reads 4 f + 4 c bytes a token. Bound by FMA throughput (3x the forward). Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::GemmTile;
use crate::rows::Rows;
use crate::temporal_block::{CHUNK, Packed, Params, Sizes, WEIGHTS, Weights, Window, cost as forward_cost};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
use rayon::prelude::*;

/// At most this many groups of tasks, each with sums of its own.
const GROUPS: usize = 64;

/// Gradients of the temporal block.
pub static TEMPORAL_BLOCK_BACKWARD: Kernel<Params> = Kernel {
    name: "temporal_block_backward",
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
        ("dh", Access::Read),
        ("dplanes", Access::Write),
        ("dshift", Access::Write),
        ("dw_in", Access::Write),
        ("dnorm1_gamma", Access::Write),
        ("dnorm1_beta", Access::Write),
        ("dw_q", Access::Write),
        ("dw_k", Access::Write),
        ("dw_v", Access::Write),
        ("dw_o", Access::Write),
        ("db_o", Access::Write),
        ("dnorm2_gamma", Access::Write),
        ("dnorm2_beta", Access::Write),
        ("dw_1", Access::Write),
        ("db_1", Access::Write),
        ("dw_2", Access::Write),
        ("db_2", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    cost: |p| {
        let forward = forward_cost(p);
        Cost { flops: 3 * forward.flops, bytes: forward.bytes }
    },
};

/// Matrices `[out, in]` as the backward's products want them, layer norms folded in.
struct PackedBackward<T> {
    qkv: Vec<T>,
    up: Vec<T>,
}

impl<T: Real> PackedBackward<T> {
    fn new(w: &Weights<'_, T>) -> Self {
        let scaled = |w: &[T], gamma: &[T]| {
            w.chunks_exact(gamma.len()).flat_map(|row| row.iter().zip(gamma).map(|(w, g)| *w * *g)).collect()
        };
        PackedBackward { qkv: scaled(&w.qkv.concat(), w.norm1.0), up: scaled(w.up.0, w.norm2.0) }
    }
}

/// Sums over tokens that the weight gradients are made of.
struct Sums<T> {
    /// x^T dx0, `[f, c]`.
    input: Vec<T>,
    /// dqkv^T norm1 `[3c, c]` and the sum of dqkv.
    qkv: Vec<T>,
    qkv_bias: Vec<T>,
    out: Vec<T>,
    out_bias: Vec<T>,
    /// du^T norm2 `[hidden, c]` and the sum of du.
    up: Vec<T>,
    up_bias: Vec<T>,
    down: Vec<T>,
    down_bias: Vec<T>,
}

impl<T: Real> Sums<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Sums {
            input: zeros(s.f * s.c),
            qkv: zeros(3 * s.c * s.c),
            qkv_bias: zeros(3 * s.c),
            out: zeros(s.c * s.c),
            out_bias: zeros(s.c),
            up: zeros(s.hidden * s.c),
            up_bias: zeros(s.hidden),
            down: zeros(s.c * s.hidden),
            down_bias: zeros(s.c),
        }
    }

    fn parts(&mut self) -> [&mut Vec<T>; 9] {
        [
            &mut self.input,
            &mut self.qkv,
            &mut self.qkv_bias,
            &mut self.out,
            &mut self.out_bias,
            &mut self.up,
            &mut self.up_bias,
            &mut self.down,
            &mut self.down_bias,
        ]
    }

    fn add(&mut self, other: &mut Sums<T>) {
        for (to, from) in self.parts().into_iter().zip(other.parts()) {
            for (to, from) in to.iter_mut().zip(from.iter()) {
                *to += *from;
            }
        }
    }
}

/// Room for the gradients of one window.
struct Scratch<T> {
    window: Window<T>,
    /// Gradient of the residual stream, `[t, c]`.
    dx: Vec<T>,
    /// Gradient of a layer norm's output or of the attention's, `[t, c]`.
    dnorm: Vec<T>,
    dqkv: Vec<T>,
    dcontext: Vec<T>,
    transposed: Vec<T>,
    dhidden: Vec<T>,
    column: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Scratch {
            window: Window::new(s),
            dx: zeros(s.t * s.c),
            dnorm: zeros(s.t * s.c),
            dqkv: zeros(3 * s.t * s.c),
            dcontext: zeros(s.dim() * s.dim()),
            transposed: zeros(s.dim() * s.dim()),
            dhidden: zeros(s.t * s.hidden),
            column: zeros(s.c),
        }
    }

    /// From dh in `dx` through the feed-forward layer to the gradient of x1 in `dx`.
    #[inline(always)]
    fn feed_forward(&mut self, s: &Sizes, w: &Weights<'_, T>, packed: &PackedBackward<T>, sums: &mut Sums<T>) {
        let (t, c, hidden) = (s.t, s.c, s.hidden);
        let x = &mut self.window;
        T::gemm_tile(GemmTile {
            m: t,
            n: hidden,
            k: c,
            a: (&self.dx, c, 1),
            b: (w.down.0, hidden),
            c: (&mut self.dhidden, hidden),
            accumulate: false,
        });
        activate(&mut x.hidden, &mut self.dhidden);
        add_product(&mut sums.down, (&self.dx, c), (&x.hidden, hidden), t);
        add_rows(&mut sums.down_bias, &self.dx);
        add_product(&mut sums.up, (&self.dhidden, hidden), (&x.norm2, c), t);
        add_rows(&mut sums.up_bias, &self.dhidden);
        T::gemm_tile(GemmTile {
            m: t,
            n: c,
            k: hidden,
            a: (&self.dhidden, hidden, 1),
            b: (&packed.up, c),
            c: (&mut self.dnorm, c),
            accumulate: false,
        });
        add_layer_norm_backward(s, &x.norm2, &x.rstd2, &self.dnorm, &mut self.dx);
    }

    /// From the gradient of x1 in `dx` through the attention to the gradient of x0 in `dx`.
    #[inline(always)]
    fn attention(&mut self, s: &Sizes, w: &Weights<'_, T>, packed: &PackedBackward<T>, sums: &mut Sums<T>) {
        let (t, c) = (s.t, s.c);
        add_product(&mut sums.out, (&self.dx, c), (&self.window.mixed, c), t);
        add_rows(&mut sums.out_bias, &self.dx);
        let dmixed = (&mut self.dnorm[..], c);
        T::gemm_tile(GemmTile { m: t, n: c, k: c, a: (&self.dx, c, 1), b: (w.out.0, c), c: dmixed, accumulate: false });
        for head in 0..s.heads {
            self.head(s, head);
        }
        softmax_backward(s, &self.window.qkv, &mut self.dqkv, &mut self.column);
        add_product(&mut sums.qkv, (&self.dqkv, 3 * c), (&self.window.norm1, c), t);
        add_rows(&mut sums.qkv_bias, &self.dqkv);
        T::gemm_tile(GemmTile {
            m: t,
            n: c,
            k: 3 * c,
            a: (&self.dqkv, 3 * c, 1),
            b: (&packed.qkv, c),
            c: (&mut self.dnorm, c),
            accumulate: false,
        });
        add_layer_norm_backward(s, &self.window.norm1, &self.window.rstd1, &self.dnorm, &mut self.dx);
    }

    /// o = q' C, C = k'^T v: dq' = do C^T, dC = q'^T do, dv = k' dC, dk' = v dC^T, for one head.
    #[inline(always)]
    fn head(&mut self, s: &Sizes, head: usize) {
        let (t, c, dim) = (s.t, s.c, s.dim());
        let at = head * dim;
        let (q, k, v) = (&self.window.qkv[at..], &self.window.qkv[c + at..], &self.window.qkv[2 * c + at..]);
        let d_out = &self.dnorm[at..];
        let dcontext = (&mut self.dcontext[..], dim);
        T::gemm_tile(GemmTile {
            m: dim,
            n: dim,
            k: t,
            a: (q, 1, 3 * c),
            b: (d_out, c),
            c: dcontext,
            accumulate: false,
        });
        transpose(&self.window.context[at * dim..(at + dim) * dim], &mut self.transposed, dim);
        let mut tokens = |a: (&[T], usize), b: &[T], out: usize| {
            let c = (&mut self.dqkv[out + at..], 3 * c);
            T::gemm_tile(GemmTile { m: t, n: dim, k: dim, a: (a.0, a.1, 1), b: (b, dim), c, accumulate: false });
        };
        tokens((d_out, c), &self.transposed, 0);
        tokens((k, 3 * c), &self.dcontext, 2 * c);
        transpose(&self.dcontext, &mut self.transposed, dim);
        tokens((v, 3 * c), &self.transposed, c);
    }
}

/// c `[m, n]` += a^T b over the frames, for a `[t, m]` and b `[t, n]`.
#[inline(always)]
fn add_product<T: Real>(c: &mut [T], (a, m): (&[T], usize), (b, n): (&[T], usize), frames: usize) {
    T::gemm_tile(GemmTile { m, n, k: frames, a: (a, 1, m), b: (b, n), c: (c, n), accumulate: true });
}

/// Adds every row of `rows` to `sum`.
#[inline(always)]
fn add_rows<T: Real>(sum: &mut [T], rows: &[T]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += *x;
        }
    }
}

/// From the pre-activation u in `hidden` and the gradient of gelu(u): gelu(u) and the gradient of u, in place.
#[inline(always)]
fn activate<T: Real>(hidden: &mut [T], gradient: &mut [T]) {
    let half = T::of(0.5);
    let (shrink, peak) = (T::of(std::f64::consts::FRAC_1_SQRT_2), T::of(0.398_942_280_401_432_7));
    for (u, d) in hidden.iter_mut().zip(gradient) {
        let x = *u;
        let share = half * (T::ONE + (x * shrink).erf());
        *d *= share + x * peak * (-half * x * x).exp();
        *u = x * share;
    }
}

#[inline(always)]
fn transpose<T: Real>(x: &[T], y: &mut [T], n: usize) {
    for (i, y) in y.chunks_exact_mut(n).enumerate() {
        for (j, y) in y.iter_mut().enumerate() {
            *y = x[j * n + i];
        }
    }
}

/// Adds rstd (d - mean d - xhat mean(d xhat)) to `dx`, row by row.
#[inline(always)]
fn add_layer_norm_backward<T: Real>(s: &Sizes, normed: &[T], rstd: &[T], d: &[T], dx: &mut [T]) {
    let share = T::ONE / T::of(s.c as f64);
    let rows = normed.chunks_exact(s.c).zip(d.chunks_exact(s.c)).zip(dx.chunks_exact_mut(s.c));
    for (((x, d), dx), rstd) in rows.zip(rstd) {
        let mean = share * simd::sum(s.c, |i| d[i]);
        let slope = share * simd::sum(s.c, |i| d[i] * x[i]);
        for ((dx, d), x) in dx.iter_mut().zip(d).zip(x) {
            *dx += *rstd * (*d - mean - *x * slope);
        }
    }
}

/// From the gradients of q' and k' to those of q and k, in place.
#[inline(always)]
fn softmax_backward<T: Real>(s: &Sizes, qkv: &[T], dqkv: &mut [T], column: &mut [T]) {
    let (c, dim) = (s.c, s.dim());
    // q' = softmax / sqrt(dim), so the sum of q' dq' lacks a factor sqrt(dim).
    let scale = T::of(dim as f64).sqrt();
    column.fill(T::ZERO);
    for (x, d) in qkv.chunks_exact(3 * c).zip(dqkv.chunks_exact_mut(3 * c)) {
        for (q, dq) in x[..c].chunks_exact(dim).zip(d[..c].chunks_exact_mut(dim)) {
            let sum = scale * simd::sum(dim, |i| q[i] * dq[i]);
            for (q, dq) in q.iter().zip(dq) {
                *dq = *q * (*dq - sum);
            }
        }
        for ((sum, k), dk) in column.iter_mut().zip(&x[c..2 * c]).zip(&d[c..2 * c]) {
            *sum = k.mul_add(*dk, *sum);
        }
    }
    for (x, d) in qkv.chunks_exact(3 * c).zip(dqkv.chunks_exact_mut(3 * c)) {
        for ((sum, k), dk) in column.iter().zip(&x[c..2 * c]).zip(&mut d[c..2 * c]) {
            *dk = *k * (*dk - *sum);
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let (planes, shift) = (buffers.read::<T>(), buffers.read::<T>());
    let weights = Weights::take(&mut buffers);
    let (dh, dplanes) = (buffers.read::<T>(), Rows::new(buffers.write::<T>()));
    let (packed, backward) = (Packed::new(&s, &weights), PackedBackward::new(&weights));
    let chunks = s.n.div_ceil(CHUNK);
    let tasks = s.b * chunks;
    let per_group = tasks.div_ceil(GROUPS).max(1);
    let group = |g: usize| {
        let mut scratch = Scratch::new(&s);
        let mut sums = Sums::new(&s);
        let mut dshift = Vec::new();
        for task in g * per_group..((g + 1) * per_group).min(tasks) {
            let (b, first) = (task / chunks, task % chunks * CHUNK);
            let mut shift_sum = vec![T::ZERO; s.t * s.c];
            for n in first..(first + CHUNK).min(s.n) {
                T::vectorized(
                    #[inline(always)]
                    || {
                        scratch.window.load(&s, &packed, planes, shift, b, n);
                        scratch.window.attend(&s, &packed);
                        scratch.window.rise(&s, &packed);
                        for (t, dx) in scratch.dx.chunks_exact_mut(s.c).enumerate() {
                            dx.copy_from_slice(&dh[((b * s.t + t) * s.n + n) * s.c..][..s.c]);
                        }
                        scratch.feed_forward(&s, &weights, &backward, &mut sums);
                        scratch.attention(&s, &weights, &backward, &mut sums);
                        add_rows(&mut shift_sum, &scratch.dx);
                        input_backward(&s, &packed, planes, (b, n), &scratch.dx, &mut sums.input, &dplanes);
                    },
                );
            }
            dshift.push(shift_sum);
        }
        (sums, dshift)
    };
    let groups: Vec<_> = (0..tasks.div_ceil(per_group)).into_par_iter().map(group).collect();
    let mut total = Sums::new(&s);
    let dshift = buffers.write::<T>();
    dshift.fill(T::ZERO);
    let mut task = 0;
    for (mut sums, shifts) in groups {
        total.add(&mut sums);
        for shift in shifts {
            add_rows(&mut dshift[task / chunks * s.t * s.c..][..s.t * s.c], &shift);
            task += 1;
        }
    }
    let gradients: [&mut [T]; WEIGHTS] = std::array::from_fn(|_| buffers.write::<T>());
    finish(&s, &weights, &total, gradients);
}

/// Gradients of the input projection, and of the planes where wanted.
#[inline(always)]
fn input_backward<T: Real>(
    s: &Sizes,
    w: &Packed<T>,
    planes: &[T],
    (b, n): (usize, usize),
    dx: &[T],
    sum: &mut [T],
    dplanes: &Rows<'_, T>,
) {
    for (f, (sum, w)) in sum.chunks_exact_mut(s.c).zip(w.input.chunks_exact(s.c)).enumerate() {
        for (t, dx) in dx.chunks_exact(s.c).enumerate() {
            let at = ((f * s.b + b) * s.t + t) * s.n + n;
            for (sum, d) in sum.iter_mut().zip(dx) {
                *sum = planes[at].mul_add(*d, *sum);
            }
            if !dplanes.is_empty() {
                // SAFETY: only this task writes node n of sample b.
                let slot = unsafe { dplanes.slice(at, 1) };
                slot[0] = simd::sum(s.c, |i| dx[i] * w[i]);
            }
        }
    }
}

/// From the sums to the gradients, in the order of the buffers.
fn finish<T: Real>(s: &Sizes, w: &Weights<'_, T>, sums: &Sums<T>, gradients: [&mut [T]; WEIGHTS]) {
    let [w_in, gamma1, beta1, q, k, v, out, out_bias, gamma2, beta2, up, up_bias, down, down_bias] = gradients;
    for (at, d) in w_in.iter_mut().enumerate() {
        *d = sums.input[at % s.f * s.c + at / s.f];
    }
    unfold(
        &w.qkv.concat(),
        w.norm1,
        (&sums.qkv, &sums.qkv_bias),
        |o, row| {
            [&mut *q, &mut *k, &mut *v][o / s.c][o % s.c * s.c..][..s.c].copy_from_slice(row);
        },
        (gamma1, beta1),
    );
    unfold(
        w.up.0,
        w.norm2,
        (&sums.up, &sums.up_bias),
        |o, row| up[o * s.c..][..s.c].copy_from_slice(row),
        (gamma2, beta2),
    );
    out.copy_from_slice(&sums.out);
    out_bias.copy_from_slice(&sums.out_bias);
    up_bias.copy_from_slice(&sums.up_bias);
    down.copy_from_slice(&sums.down);
    down_bias.copy_from_slice(&sums.down_bias);
}

/// Gradients of a matrix `w [out, c]` behind a layer norm (gamma, beta) from M = dy^T xhat and s = sum dy: rows of dw go
/// to `write`, the norm's own gradients to `d_norm`.
pub(crate) fn unfold<T: Real>(
    w: &[T],
    (gamma, beta): (&[T], &[T]),
    (m, sum): (&[T], &[T]),
    mut write: impl FnMut(usize, &[T]),
    (d_gamma, d_beta): (&mut [T], &mut [T]),
) {
    let c = gamma.len();
    d_gamma.fill(T::ZERO);
    d_beta.fill(T::ZERO);
    let mut dw = vec![T::ZERO; c];
    for (o, ((w, m), sum)) in w.chunks_exact(c).zip(m.chunks_exact(c)).zip(sum).enumerate() {
        for i in 0..c {
            dw[i] = gamma[i] * m[i] + beta[i] * *sum;
            d_gamma[i] += w[i] * m[i];
            d_beta[i] += w[i] * *sum;
        }
        write(o, &dw);
    }
}
