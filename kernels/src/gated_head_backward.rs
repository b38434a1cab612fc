//! `gated_head_backward`: gradients of [`gated_head`](crate::gated_head) with the forward recomputed.
//!
//! With a target the gradient of a prediction is `2 dy (p - target) mask / weight`, else it is `dy`; it is 0 where the
//! clamp cut.
//! Shapes as in the forward; d `[b, n, t, c]` is the gradient of (z - mean) rstd, sums `[b, t, g, 2]` its sum and its
//! product with (z - mean) rstd over all nodes, both of which `graph_mix_backward` wants. Plan: a window at a time in cache;
//! weight gradients and sums are added up a group of windows, then over groups in order. The norm is folded into the matrix,
//! see `temporal_block_backward`.
//! Reads 4 c bytes a token (4 more, 8 with a target), writes 4 c. Bound by FMA throughput. Measured: see `benches/RESULTS.md`.

use crate::gated_head::{Grid, Head, Norm, Packed, Params, Sizes, Split, Tile, cost};
use crate::gemm_tile::{GemmTile, Start, add_product};
use crate::ptx::Ptx;
use crate::rows::Rows;
use crate::temporal_block_backward::unfold;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
use rayon::prelude::*;

/// About this many groups of windows, each with sums of its own.
const GROUPS: usize = 64;

/// Gradients of the head.
pub static GATED_HEAD_BACKWARD: Kernel<Params> = Kernel {
    name: "gated_head_backward",
    buffers: &[
        ("z", Access::Read),
        ("stats", Access::Read),
        ("gamma", Access::Read),
        ("beta", Access::Read),
        ("w_gate", Access::Read),
        ("b_gate", Access::Read),
        ("w_out", Access::Read),
        ("b_out", Access::Read),
        ("low", Access::Read),
        ("high", Access::Read),
        ("target", Access::Read),
        ("mask", Access::Read),
        ("dy", Access::Read),
        ("weight", Access::Read),
        ("d", Access::Write),
        ("sums", Access::Write),
        ("dgamma", Access::Write),
        ("dbeta", Access::Write),
        ("dw_gate", Access::Write),
        ("db_gate", Access::Write),
        ("dw_out", Access::Write),
        ("db_out", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("gated_head_backward.wgsl", include_str!("../../shaders/gated_head_backward.wgsl")),
            ("gated_head_backward.sums.wgsl", include_str!("../../shaders/gated_head_backward.sums.wgsl")),
            ("gated_head.tiles.wgsl", include_str!("../../shaders/gated_head.tiles.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("gated_head_backward.ptx", include_str!("../ptx/gated_head_backward.ptx")),
            ("gated_head_backward.wide.ptx", include_str!("../ptx/gated_head_backward.wide.ptx")),
            ("gated_head_backward.each.ptx", include_str!("../ptx/gated_head_backward.each.ptx")),
            ("gated_head_backward.plain.ptx", include_str!("../ptx/gated_head_backward.plain.ptx")),
            ("gated_head_backward.sums.ptx", include_str!("../ptx/gated_head_backward.sums.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, given| {
        let cost = cost(p, 2, given);
        Cost { flops: 3 * cost.flops, ..cost }
    },
};

fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let grid = match Grid::of(p, 1024) {
        Ok(grid) => grid,
        Err(refused) => return refused,
    };
    let main = match (p.gated, p.channels.is_multiple_of(4)) {
        (0, true) => "gated_head_backward_plain",
        (_, true) if p.channels <= 32 => "gated_head_backward",
        (_, true) => "gated_head_backward_wide",
        (_, false) => "gated_head_backward_each",
    };
    // A pass has 256 blocks of 4 by 4 numbers of either gate's matrix.
    let passes = if p.gated == 1 { grid.quads.pow(2).div_ceil(256) } else { 1 };
    // The folded weights and those of the way back, bounds, the sums of all workgroups and of the weights in all.
    let (folded, back) = (grid.folded() as usize, 8 * grid.quads.pow(2) as usize);
    let sums = (folded + 8 * grid.quads as usize) * grid.groups(p) as usize;
    grid.dispatches(folded + back + p.nodes.div_ceil(2) as usize + sums + folded)
        .then("gated_head_backward_fold", ((folded + back) as u32).div_ceil(128))
        .then("gated_head_backward_bounds", p.nodes.max(1).div_ceil(128))
        .then(main, grid.groups(p) * passes)
        .then("gated_head_backward_total", grid.folded().div_ceil(16))
        .then("gated_head_backward_sums", p.batch * p.frames * p.groups)
        .then("gated_head_backward_weights", (2 * p.channels * p.channels + 3 * p.channels + 1).div_ceil(128))
        .then("gated_head_backward_norm", p.channels)
}

fn launches(p: &Params) -> Dispatches {
    let (main, tile) = match p.gated {
        1 if p.channels <= 32 => ("gated_head_backward", 64),
        1 if p.channels <= 64 && p.channels.is_multiple_of(4) => ("gated_head_backward_wide", 32),
        1 => ("gated_head_backward_each", 32),
        _ => ("gated_head_backward_plain", 128),
    };
    // Two waves or so on a large GPU: every block leaves a record as large as the weights.
    let split = Split::of(p, 768, tile);
    // The folded weights, the sums of every block, with those of all but the matrix once more for three warps, and the
    // sums of the weights in all.
    let folded = split.folded(p);
    let record = folded + if p.gated == 1 { 3 * (3 * split.padded + 4) } else { 0 };
    split
        .dispatches(2 * folded + record * split.blocks as usize)
        .then("gated_head_backward_fold", (folded as u32).div_ceil(256))
        .then(main, split.blocks)
        .then("gated_head_backward_sums", p.batch * p.frames * p.groups)
        .then("gated_head_backward_total", (folded as u32).div_ceil(32))
        .then("gated_head_backward_weights", p.channels)
}

/// Sums over tokens that the weight gradients are made of.
struct Sums<T> {
    /// dpre^T normed `[2c, c]` and the sum of dpre.
    gate: Vec<T>,
    gate_bias: Vec<T>,
    /// Sum of dp times what was projected, and of dp.
    out: Vec<T>,
    out_bias: T,
    /// Sum of d and of d zhat over the nodes of one sample, `[t, c]`.
    norm: [Vec<T>; 2],
}

impl<T: Real> Sums<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Sums {
            gate: zeros(s.wide() * s.c),
            gate_bias: zeros(s.wide()),
            out: zeros(s.c),
            out_bias: T::ZERO,
            norm: [zeros(s.window()), zeros(s.window())],
        }
    }

    /// Adds the weights' sums of another group.
    fn add(&mut self, other: &Sums<T>) {
        let pairs =
            [(&mut self.gate, &other.gate), (&mut self.gate_bias, &other.gate_bias), (&mut self.out, &other.out)];
        for (to, from) in pairs {
            for (to, from) in to.iter_mut().zip(from) {
                *to += *from;
            }
        }
        self.out_bias += other.out_bias;
    }
}

/// Where the gradient of a prediction comes from.
struct Source<'a, T> {
    /// `[b, t, n]`, or with a target one number.
    dy: &'a [T],
    /// 2 dy / weight with a target.
    factor: T,
}

impl<'a, T: Real> Source<'a, T> {
    fn take(buffers: &mut Buffers<'a>) -> Self {
        let (dy, weight) = (buffers.read::<T>(), buffers.read::<T>());
        Source { dy, factor: weight.first().map_or(T::ZERO, |weight| T::of(2.0) * dy[0] / *weight) }
    }

    /// Gradient of the value before the clamp, at element `at` of `[b, t, n]`, which belongs to node `n`.
    #[inline(always)]
    fn of(&self, head: &Head<'_, T>, at: usize, n: usize, raw: T) -> T {
        let inside = head.low.is_empty() || (raw >= head.low[n] && raw <= head.high[n]);
        if !inside {
            T::ZERO
        } else if head.target.is_empty() {
            self.dy[at]
        } else if head.mask[at] != T::ZERO {
            self.factor * (raw - head.target[at]) * head.mask[at]
        } else {
            T::ZERO
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let (z, stats) = (buffers.read::<T>(), buffers.read::<T>());
    let head = Head::take(&mut buffers);
    let source = Source::take(&mut buffers);
    let (d, norm_sums) = (Rows::new(buffers.write::<T>()), buffers.write::<T>());
    let (packed, norm, back) = (Packed::new(&s, &head), Norm::new(&s, stats), Back::new(&s, &head));
    // A group lies in one sample, whose statistics it sums for.
    let per_group = (s.b * s.n).div_ceil(GROUPS).clamp(1, s.n);
    let groups = s.n.div_ceil(per_group);
    let group = |g: usize| {
        let (b, first) = (g / groups, g % groups * per_group);
        let (mut tile, mut sums) = (Tile::new(&s), Sums::new(&s));
        for n in first..(first + per_group).min(s.n) {
            let at = b * s.n + n;
            // SAFETY: only this task writes this window.
            let d = unsafe { d.slice(at * s.window(), s.window()) };
            T::vectorized(
                #[inline(always)]
                || {
                    tile.run(&s, &packed, &norm, b, &z[at * s.window()..][..s.window()]);
                    for (token, raw) in s.tokens(at).zip(&mut tile.raw) {
                        *raw = source.of(&head, token, n, *raw);
                    }
                    pull_back(&s, &mut tile, &back, &mut sums, d);
                    let [means, slopes] = &mut sums.norm;
                    for (((mean, slope), d), x) in means.iter_mut().zip(slopes).zip(&*d).zip(&tile.normed) {
                        *mean += *d;
                        *slope = d.mul_add(*x, *slope);
                    }
                },
            );
        }
        sums
    };
    let parts: Vec<_> = (0..s.b * groups).into_par_iter().map(group).collect();
    let mut total = Sums::new(&s);
    norm_sums.fill(T::ZERO);
    for (g, sums) in parts.iter().enumerate() {
        total.add(sums);
        add_norm_sums(&s, sums, &mut norm_sums[g / groups * s.t * s.groups * 2..][..s.t * s.groups * 2]);
    }
    finish(&s, &head, &total, buffers);
}

/// Adds a group's sums of d and d zhat, channel by channel, to those of its sample `[t, g, 2]`.
fn add_norm_sums<T: Real>(s: &Sizes, sums: &Sums<T>, of_sample: &mut [T]) {
    let width = s.c / s.groups;
    let channels = sums.norm[0].chunks_exact(width).zip(sums.norm[1].chunks_exact(width));
    for (pair, (means, slopes)) in of_sample.chunks_exact_mut(2).zip(channels) {
        pair[0] += means.iter().copied().sum();
        pair[1] += slopes.iter().copied().sum();
    }
}

/// Weights as the way back wants them, the norm folded in.
struct Back<T> {
    /// `[2c, c]`.
    gate: Vec<T>,
    /// `[c]`.
    out: Vec<T>,
}

impl<T: Real> Back<T> {
    fn new(s: &Sizes, head: &Head<'_, T>) -> Self {
        let scaled = |w: &[T]| w.iter().zip(head.gamma.iter().cycle()).map(|(w, g)| *w * *g).collect();
        Back { gate: scaled(head.w_gate), out: if s.gated { head.w_out.to_vec() } else { scaled(head.w_out) } }
    }
}

/// From the gradients of the raw predictions (in `tile.raw`) to `d`, adding to the weights' sums.
#[inline(always)]
fn pull_back<T: Real>(s: &Sizes, tile: &mut Tile<T>, back: &Back<T>, sums: &mut Sums<T>, d: &mut [T]) {
    let projected = if s.gated { &tile.active } else { &tile.normed };
    sums.out_bias += tile.raw.iter().copied().sum();
    add_product((1, s.c, s.t), (&tile.raw, s.t, 1), (projected, s.c), (&mut sums.out, s.c));
    if !s.gated {
        for (d, dp) in d.chunks_exact_mut(s.c).zip(&tile.raw) {
            simd::update(d, &back.out, |_, w| *dp * w);
        }
        return;
    }
    let [g, h] = &mut tile.gates;
    // With a = g h: g' = da a (1 - g), h' = da (g - a h).
    for ((h, g), a) in h.iter_mut().zip(&*g).zip(&tile.active) {
        *h = *g - *a * *h;
    }
    for (g, a) in g.iter_mut().zip(&tile.active) {
        *g = *a * (T::ONE - *g);
    }
    let (square, mut start) = (s.c * s.c, Start::Zero);
    for (i, gate) in [g, h].into_iter().enumerate() {
        for (gate, dp) in gate.chunks_exact_mut(s.c).zip(&tile.raw) {
            simd::update(gate, &back.out, |gate, w| *dp * w * gate);
        }
        simd::add_rows(&mut sums.gate_bias[i * s.c..(i + 1) * s.c], gate);
        let sums = &mut sums.gate[i * square..];
        add_product((s.c, s.c, s.t), (gate, 1, s.c), (&tile.normed, s.c), (sums, s.c));
        let b = (&back.gate[i * square..], s.c);
        T::gemm_tile(GemmTile { m: s.t, n: s.c, k: s.c, a: (gate, s.c, 1), b, c: (&mut *d, s.c), start });
        start = Start::Result;
    }
}

/// From the sums to the gradients, in the order of the buffers.
fn finish<T: Real>(s: &Sizes, head: &Head<'_, T>, sums: &Sums<T>, mut buffers: Buffers<'_>) {
    let (d_gamma, d_beta) = (buffers.write::<T>(), buffers.write::<T>());
    let (dw_gate, db_gate) = (buffers.write::<T>(), buffers.write::<T>());
    let (dw_out, db_out) = (buffers.write::<T>(), buffers.write::<T>());
    db_out[0] = sums.out_bias;
    let norm = (head.gamma, head.beta);
    if s.gated {
        let write = |o: usize, row: &[T]| dw_gate[o * s.c..][..s.c].copy_from_slice(row);
        unfold(head.w_gate, norm, (&sums.gate, &sums.gate_bias), write, (d_gamma, d_beta));
        db_gate.copy_from_slice(&sums.gate_bias);
        dw_out.copy_from_slice(&sums.out);
    } else {
        let write = |_: usize, row: &[T]| dw_out.copy_from_slice(row);
        unfold(head.w_out, norm, (&sums.out, &[sums.out_bias]), write, (d_gamma, d_beta));
    }
}
