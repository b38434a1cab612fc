//! `temporal_block_backward`: gradients of [`temporal_block`](crate::temporal_block) with the forward recomputed.
//!
//! Shapes as in the forward; `dh [b, n, t, c]` comes in, gradients of every weight, of `shift` and, where wanted, of
//! `planes` go out. Plan: a task recomputes a node's window, then walks it backwards in cache; weight gradients gather in
//! one flat sum a group of windows. Groups and their order of addition are fixed, so the bits do not depend on the number
//! of threads. A layer norm folded into weights W needs no sums of its own: with M = dy^T xhat and s = sum dy,
//! dW = M gamma + s beta^T, dgamma = sum W M, dbeta = W^T s. W_v and W_o get theirs from that of their product W_vo.
//! Reads 4 f + 4 c bytes a token. Bound by FMA throughput (3x the forward). Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{add_product, product};
use crate::rows::Rows;
use crate::temporal_block::{Packed, Params, Sizes, WEIGHTS, Weights, Window, cost as forward_cost, folded_bias};
use crate::temporal_block_launches as launches;
use crate::temporal_block_narrow::CHANNELS;
use crate::temporal_block_narrow_backward as narrow;
use crate::wgsl::Wgsl;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, row_reduce, simd};
use rayon::prelude::*;

/// About this many groups of windows, each with sums of its own.
pub(crate) const GROUPS: usize = 64;

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
    cpu: Cpu { f32: run_f32, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("temporal_block_backward.wgsl", include_str!("../../shaders/temporal_block_backward.wgsl")),
            ("temporal_block_backward.keys.wgsl", include_str!("../../shaders/temporal_block_backward.keys.wgsl")),
            ("temporal_block_backward.pack.wgsl", include_str!("../../shaders/temporal_block_backward.pack.wgsl")),
            ("temporal_block.tiles.wgsl", include_str!("../../shaders/temporal_block.tiles.wgsl")),
        ],
        dispatches: |p, _| launches::workgroups_backward(p),
    },
    ptx: Ptx {
        files: &[
            ("temporal_block_backward.ptx", include_str!("../ptx/temporal_block_backward.ptx")),
            ("temporal_block_backward.keys.ptx", include_str!("../ptx/temporal_block_backward.keys.ptx")),
            ("temporal_block_backward.queries.ptx", include_str!("../ptx/temporal_block_backward.queries.ptx")),
            ("temporal_block_backward.values.ptx", include_str!("../ptx/temporal_block_backward.values.ptx")),
            ("temporal_block_backward.inputs.ptx", include_str!("../ptx/temporal_block_backward.inputs.ptx")),
            ("temporal_block_backward.attended.ptx", include_str!("../ptx/temporal_block_backward.attended.ptx")),
            (
                "temporal_block_backward.sm_80.attended.tf32.ptx",
                include_str!("../ptx/temporal_block_backward.sm_80.attended.tf32.ptx"),
            ),
            (
                "temporal_block_backward.sm_80.attended.bf16.ptx",
                include_str!("../ptx/temporal_block_backward.sm_80.attended.bf16.ptx"),
            ),
            ("temporal_block_backward.feed.ptx", include_str!("../ptx/temporal_block_backward.feed.ptx")),
            (
                "temporal_block_backward.sm_80.feed.tf32.ptx",
                include_str!("../ptx/temporal_block_backward.sm_80.feed.tf32.ptx"),
            ),
            (
                "temporal_block_backward.sm_80.feed.bf16.ptx",
                include_str!("../ptx/temporal_block_backward.sm_80.feed.bf16.ptx"),
            ),
            (
                "temporal_block_backward.sm_80.attention.tf32.ptx",
                include_str!("../ptx/temporal_block_backward.sm_80.attention.tf32.ptx"),
            ),
            ("temporal_block_backward.attention.ptx", include_str!("../ptx/temporal_block_backward.attention.ptx")),
            ("temporal_block_backward.projection.ptx", include_str!("../ptx/temporal_block_backward.projection.ptx")),
            ("temporal_block_backward.parts.ptx", include_str!("../ptx/temporal_block_backward.parts.ptx")),
            ("temporal_block_backward.weights.ptx", include_str!("../ptx/temporal_block_backward.weights.ptx")),
            ("temporal_block_backward.sums.ptx", include_str!("../ptx/temporal_block_backward.sums.ptx")),
        ],
        dispatches: launches::blocks_backward,
    },
    cost: |p, _| Cost { flops: 3 * forward_cost(p).flops, ..forward_cost(p) },
};

/// Matrices `[out, in]` as the backward's products want them, layer norms folded in.
struct PackedBackward<T> {
    qk: Vec<T>,
    /// W_vo^T of every head, `[heads, c, c]`.
    value_out: Vec<T>,
    up: Vec<T>,
}

impl<T: Real> PackedBackward<T> {
    fn new(s: &Sizes, w: &Weights<'_, T>, packed: &Packed<T>) -> Self {
        let scaled = |w: &[T], gamma: &[T]| {
            w.chunks_exact(gamma.len()).flat_map(|row| row.iter().zip(gamma).map(|(w, g)| *w * *g)).collect()
        };
        let mut value_out = packed.value_out.clone();
        for (from, to) in packed.value_out.chunks_exact(s.c * s.c).zip(value_out.chunks_exact_mut(s.c * s.c)) {
            transpose(from, to, s.c);
        }
        PackedBackward { qk: scaled(&w.qkv[..2].concat(), w.norm1.0), value_out, up: scaled(w.up.0, w.norm2.0) }
    }
}

/// Sums over tokens that the weight gradients are made of.
pub(crate) struct Sums<T> {
    /// x^T dx0, `[f, c]`.
    pub(crate) input: Vec<T>,
    /// dqk^T norm1 `[2c, c]` and the sum of dqk.
    pub(crate) qk: Vec<T>,
    pub(crate) qk_bias: Vec<T>,
    /// Gradients of W_vo `[heads, c, c]` and of what the norm's shift adds behind it, `[heads, c]`.
    pub(crate) value_out: Vec<T>,
    pub(crate) value_out_bias: Vec<T>,
    pub(crate) out_bias: Vec<T>,
    /// du^T norm2 `[hidden, c]` and the sum of du.
    pub(crate) up: Vec<T>,
    pub(crate) up_bias: Vec<T>,
    pub(crate) down: Vec<T>,
    pub(crate) down_bias: Vec<T>,
}

impl<T: Real> Sums<T> {
    pub(crate) fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Sums {
            input: zeros(s.f * s.c),
            qk: zeros(2 * s.c * s.c),
            qk_bias: zeros(2 * s.c),
            value_out: zeros(s.heads * s.c * s.c),
            value_out_bias: zeros(s.heads * s.c),
            out_bias: zeros(s.c),
            up: zeros(s.hidden * s.c),
            up_bias: zeros(s.hidden),
            down: zeros(s.c * s.hidden),
            down_bias: zeros(s.c),
        }
    }

    fn parts(&mut self) -> [&mut Vec<T>; 10] {
        [
            &mut self.input,
            &mut self.qk,
            &mut self.qk_bias,
            &mut self.value_out,
            &mut self.value_out_bias,
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
    /// Gradient of a layer norm's output, `[t, c]`.
    dnorm: Vec<T>,
    dqk: Vec<T>,
    /// Gradients of the window's `context` and `gathered`, `[c, c]`.
    dcontext: Vec<T>,
    dgathered: Vec<T>,
    transposed: Vec<T>,
    dhidden: Vec<T>,
    /// Two numbers of every frame, and one of every feature.
    rows: [Vec<T>; 2],
    column: Vec<T>,
}

impl<T: Real> Scratch<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        let (tokens, square) = (s.t * s.c, s.c * s.c);
        Scratch {
            window: Window::new(s),
            dx: zeros(tokens),
            dnorm: zeros(tokens),
            dqk: zeros(2 * tokens),
            dcontext: zeros(square),
            dgathered: zeros(square),
            transposed: zeros(square),
            dhidden: zeros(s.t * s.hidden),
            rows: [zeros(s.t), zeros(s.t)],
            column: zeros(s.c),
        }
    }

    /// From dh through the feed-forward layer to the gradient of x1 in `dx`.
    #[inline(always)]
    fn feed_forward(
        &mut self,
        s: &Sizes,
        w: &Weights<'_, T>,
        packed: &PackedBackward<T>,
        dh: &[T],
        sums: &mut Sums<T>,
    ) {
        let (t, c, hidden) = (s.t, s.c, s.hidden);
        let x = &mut self.window;
        product((t, hidden, c), (dh, c, 1), (w.down.0, hidden), (&mut self.dhidden, hidden));
        activate(&mut x.hidden, &mut self.dhidden);
        add_product((c, hidden, t), (dh, 1, c), (&x.hidden, hidden), (&mut sums.down, hidden));
        simd::add_rows(&mut sums.down_bias, dh);
        add_product((hidden, c, t), (&self.dhidden, 1, hidden), (&x.norm2, c), (&mut sums.up, c));
        simd::add_rows(&mut sums.up_bias, &self.dhidden);
        product((t, c, hidden), (&self.dhidden, hidden, 1), (&packed.up, c), (&mut self.dnorm, c));
        self.dx.copy_from_slice(dh);
        add_layer_norm_backward(s, &x.norm2, &x.rstd2, &self.dnorm, &mut self.dx, &mut self.rows);
    }

    /// From the gradient of x1 in `dx` through the attention to the gradient of x0 in `dx`. With q and k after their
    /// softmax: x1 = x0 + q C, C = A W_vo, A = k^T norm1.
    #[inline(always)]
    fn attention(&mut self, s: &Sizes, packed: &PackedBackward<T>, sums: &mut Sums<T>) {
        let (t, c) = (s.t, s.c);
        let x = &self.window;
        simd::add_rows(&mut sums.out_bias, &self.dx);
        transpose(&x.context, &mut self.transposed, c);
        product((t, c, c), (&self.dx, c, 1), (&self.transposed, c), (&mut self.dqk, 2 * c));
        product((c, c, t), (&x.qk, 1, 2 * c), (&self.dx, c), (&mut self.dcontext, c));
        for head in 0..s.heads {
            let (rows, square) = (head * s.dim() * c, head * c * c);
            let d = &self.dcontext[rows..rows + s.dim() * c];
            simd::add_rows(&mut sums.value_out_bias[head * c..(head + 1) * c], d);
            let a = (&x.gathered[rows..], 1, c);
            add_product((c, c, s.dim()), a, (d, c), (&mut sums.value_out[square..], c));
            let w = (&packed.value_out[square..], c);
            product((s.dim(), c, c), (d, c, 1), w, (&mut self.dgathered[rows..], c));
        }
        transpose(&self.dgathered, &mut self.transposed, c);
        product((t, c, c), (&x.norm1, c, 1), (&self.transposed, c), (&mut self.dqk[c..], 2 * c));
        product((t, c, c), (&x.qk[c..], 2 * c, 1), (&self.dgathered, c), (&mut self.dnorm, c));
        softmax_backward(s, &x.qk, &mut self.dqk, &mut self.rows[0], &mut self.column);
        add_product((2 * c, c, t), (&self.dqk, 1, 2 * c), (&x.norm1, c), (&mut sums.qk, c));
        simd::add_rows(&mut sums.qk_bias, &self.dqk);
        add_product((t, c, 2 * c), (&self.dqk, 2 * c, 1), (&packed.qk, c), (&mut self.dnorm, c));
        add_layer_norm_backward(s, &x.norm1, &x.rstd1, &self.dnorm, &mut self.dx, &mut self.rows);
    }

    /// Gradients of the input projection, and of the planes where wanted.
    #[inline(always)]
    fn input(
        &mut self,
        s: &Sizes,
        w: &Packed<T>,
        planes: &[T],
        (b, n): (usize, usize),
        sums: &mut Sums<T>,
        dplanes: &Rows<'_, T>,
    ) {
        let (first, plane) = (b * s.t * s.n + n, s.b * s.t * s.n);
        add_product((s.f, s.c, s.t), (&planes[first..], plane, s.n), (&self.dx, s.c), (&mut sums.input, s.c));
        if dplanes.is_empty() {
            return;
        }
        for (f, w) in w.input.chunks_exact(s.c).enumerate() {
            row_reduce::dots(s.c, (&self.dx, s.c), (w, 0), &mut self.rows[0]);
            for (t, d) in self.rows[0].iter().enumerate() {
                // SAFETY: only this task writes node n of sample b.
                let slot = unsafe { dplanes.slice(f * plane + first + t * s.n, 1) };
                slot[0] = *d;
            }
        }
    }
}

/// From the pre-activation u in `hidden` and the gradient of gelu(u): gelu(u) and the gradient of u, in place.
#[inline(always)]
pub(crate) fn activate<T: Real>(hidden: &mut [T], gradient: &mut [T]) {
    for (u, d) in hidden.iter_mut().zip(gradient) {
        let (share, density) = u.normal();
        *d *= share + *u * density;
        *u *= share;
    }
}

/// y = x^T, both `[n, n]`.
#[inline(always)]
pub(crate) fn transpose<T: Real>(x: &[T], y: &mut [T], n: usize) {
    for (i, y) in y.chunks_exact_mut(n).enumerate() {
        for (j, y) in y.iter_mut().enumerate() {
            *y = x[j * n + i];
        }
    }
}

/// Adds rstd (d - mean d - xhat mean(d xhat)) to `dx`, row by row; `rows` has room for two numbers a row.
#[inline(always)]
fn add_layer_norm_backward<T: Real>(
    s: &Sizes,
    normed: &[T],
    rstd: &[T],
    d: &[T],
    dx: &mut [T],
    rows: &mut [Vec<T>; 2],
) {
    let share = T::ONE / T::of(s.c as f64);
    row_reduce::sums(s.c, (d, s.c), &mut rows[0]);
    row_reduce::dots(s.c, (d, s.c), (normed, s.c), &mut rows[1]);
    let lines = normed.chunks_exact(s.c).zip(d.chunks_exact(s.c)).zip(dx.chunks_exact_mut(s.c));
    for ((((x, d), dx), rstd), (mean, slope)) in lines.zip(rstd).zip(rows[0].iter().zip(&rows[1])) {
        let (mean, slope) = (share * *mean, share * *slope);
        simd::update_with(dx, d, x, |dx, d, x| rstd.mul_add(d - mean - x * slope, dx));
    }
}

/// From the gradients of q and k after their softmax to those before, in place.
#[inline(always)]
fn softmax_backward<T: Real>(s: &Sizes, qk: &[T], dqk: &mut [T], row: &mut [T], column: &mut [T]) {
    let (wide, dim) = (2 * s.c, s.dim());
    for head in (0..s.c).step_by(dim) {
        row_reduce::dots(dim, (&qk[head..], wide), (&dqk[head..], wide), row);
        for ((x, d), sum) in qk.chunks_exact(wide).zip(dqk.chunks_exact_mut(wide)).zip(&*row) {
            simd::update(&mut d[head..head + dim], &x[head..head + dim], |d, q| q * (d - *sum));
        }
    }
    column.fill(T::ZERO);
    for (x, d) in qk.chunks_exact(wide).zip(dqk.chunks_exact_mut(wide)) {
        let (k, dk) = (&x[s.c..], &mut d[s.c..]);
        simd::update(dk, k, |dk, k| k * dk);
        simd::update(column, dk, |sum, d| sum + d);
    }
    for (x, d) in qk.chunks_exact(wide).zip(dqk.chunks_exact_mut(wide)) {
        simd::update_with(&mut d[s.c..], &x[s.c..], column, |d, k, sum| d - k * sum);
    }
}

fn run_f32(p: &Params, buffers: Buffers<'_>) {
    if p.channels <= CHANNELS { narrow::run(p, buffers) } else { run::<f32>(p, buffers) }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let (planes, shift) = (buffers.read::<T>(), buffers.read::<T>());
    let weights = Weights::take(&mut buffers);
    let (dh, dplanes) = (buffers.read::<T>(), Rows::new(buffers.write::<T>()));
    let packed = Packed::new(&s, &weights);
    let backward = PackedBackward::new(&s, &weights, &packed);
    // A group lies in one sample, whose shift it sums for.
    let per_group = (s.b * s.n).div_ceil(GROUPS).clamp(1, s.n);
    let groups = s.n.div_ceil(per_group);
    let group = |g: usize| {
        let (b, first) = (g / groups, g % groups * per_group);
        let mut scratch = Scratch::new(&s);
        let (mut sums, mut dshift) = (Sums::new(&s), vec![T::ZERO; s.t * s.c]);
        for n in first..(first + per_group).min(s.n) {
            let dh = &dh[(b * s.n + n) * s.t * s.c..][..s.t * s.c];
            T::vectorized(
                #[inline(always)]
                || {
                    scratch.window.load(&s, &packed, (planes, shift), b, n);
                    scratch.window.attend(&s, &packed);
                    scratch.window.rise(&s, &packed);
                    scratch.feed_forward(&s, &weights, &backward, dh, &mut sums);
                    scratch.attention(&s, &backward, &mut sums);
                    simd::update(&mut dshift, &scratch.dx, |sum, x| sum + x);
                    scratch.input(&s, &packed, planes, (b, n), &mut sums, &dplanes);
                },
            );
        }
        (sums, dshift)
    };
    let parts: Vec<_> = (0..s.b * groups).into_par_iter().map(group).collect();
    add_up(&s, &weights, parts, buffers);
}

/// From the sums of every group and its gradient of the shift `[t, c]` to all gradients but the planes'.
pub(crate) fn add_up<T: Real>(s: &Sizes, w: &Weights<'_, T>, parts: Vec<(Sums<T>, Vec<T>)>, mut buffers: Buffers<'_>) {
    let groups = parts.len() / s.b;
    let mut total = Sums::new(s);
    let dshift = buffers.write::<T>();
    dshift.fill(T::ZERO);
    for (g, (mut sums, shift)) in parts.into_iter().enumerate() {
        total.add(&mut sums);
        simd::add_rows(&mut dshift[g / groups * s.t * s.c..][..s.t * s.c], &shift);
    }
    let gradients: [&mut [T]; WEIGHTS] = std::array::from_fn(|_| buffers.write::<T>());
    finish(s, w, &total, gradients);
}

/// From the sums to the gradients, in the order of the buffers.
fn finish<T: Real>(s: &Sizes, w: &Weights<'_, T>, sums: &Sums<T>, gradients: [&mut [T]; WEIGHTS]) {
    let [w_in, gamma1, beta1, q, k, v, out, out_bias, gamma2, beta2, up, up_bias, down, down_bias] = gradients;
    for (at, d) in w_in.iter_mut().enumerate() {
        *d = sums.input[at % s.f * s.c + at / s.f];
    }
    let (values, value_bias) = value_sums(s, w, sums, out);
    unfold(
        &w.qkv.concat(),
        w.norm1,
        (&[&sums.qk[..], &values].concat(), &[&sums.qk_bias[..], &value_bias].concat()),
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
    out_bias.copy_from_slice(&sums.out_bias);
    up_bias.copy_from_slice(&sums.up_bias);
    down.copy_from_slice(&sums.down);
    down_bias.copy_from_slice(&sums.down_bias);
}

fn dot<T: Real>(x: &[T], y: &[T]) -> T {
    x.iter().zip(y).map(|(x, y)| *x * *y).sum()
}

/// From the gradient G of W_vo = gamma W_v^T W_o^T / sqrt(dim) and g of what beta adds behind it: writes that of W_o, and
/// returns dv^T norm1 `[c, c]` and the sum of dv `[c]`, as if values had been formed.
fn value_sums<T: Real>(s: &Sizes, w: &Weights<'_, T>, sums: &Sums<T>, d_out: &mut [T]) -> (Vec<T>, Vec<T>) {
    let (c, dim, scale) = (s.c, s.dim(), s.scale::<T>());
    let (mut values, mut bias) = (vec![T::ZERO; c * c], vec![T::ZERO; c]);
    let value_bias = folded_bias(w.qkv[2], w.norm1.1);
    for j in 0..c {
        // Feature j of the values: row j of W_v, column j of W_o.
        let gradient = &sums.value_out[j / dim * c * c..][..c * c];
        let gradient_bias = &sums.value_out_bias[j / dim * c..][..c];
        let column: Vec<T> = (0..c).map(|o| scale * w.out.0[o * c + j]).collect();
        let mut d_column: Vec<T> = gradient_bias.iter().map(|g| value_bias[j] * *g).collect();
        for i in 0..c {
            let row = &gradient[i * c..(i + 1) * c];
            values[j * c + i] = dot(row, &column);
            let weight = w.norm1.0[i] * w.qkv[2][j * c + i];
            simd::update(&mut d_column, row, |d, g| weight.mul_add(g, d));
        }
        bias[j] = dot(gradient_bias, &column);
        for (o, d) in d_column.iter().enumerate() {
            d_out[o * c + j] = scale * *d;
        }
    }
    (values, bias)
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
