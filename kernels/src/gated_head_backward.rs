//! `gated_head_backward`: gradients of [`gated_head`](crate::gated_head) with the forward recomputed.
//!
//! With a target the gradient of a prediction is `2 dy (p - target) mask / weight`, else it is `dy`; it is 0 where the
//! clamp cut.
//! Shapes as in the forward; d `[s, n, c]` is the gradient of (z - mean) rstd, sums `[s, g, 2]` its sum and its product with
//! (z - mean) rstd, both of which `graph_mix_backward` wants. Plan: a task is one step; weight gradients are added up a group
//! of steps, then over groups in order. The norm is folded into the matrix, see `temporal_block_backward`.
//! Reads 4 c bytes a token (12 more with a target), writes 4 c. Bound by FMA throughput. Measured: see `benches/RESULTS.md`.

use crate::gated_head::{Head, Packed, Params, ROWS, Sizes, Tile, cost as forward_cost};
use crate::gemm_tile::GemmTile;
use crate::rows::Rows;
use crate::temporal_block_backward::unfold;
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
use rayon::prelude::*;

/// At most this many groups of steps, each with sums of its own.
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
    cost: |p| {
        let forward = forward_cost(p);
        Cost { flops: 3 * forward.flops, bytes: 2 * forward.bytes }
    },
};

/// Sums over tokens that the weight gradients are made of.
struct Sums<T> {
    /// dpre^T normed `[2c, c]` and the sum of dpre.
    gate: Vec<T>,
    gate_bias: Vec<T>,
    /// Sum of dp times what was projected, and of dp.
    out: Vec<T>,
    out_bias: T,
}

impl<T: Real> Sums<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Sums { gate: zeros(s.wide() * s.c), gate_bias: zeros(s.wide()), out: zeros(s.c), out_bias: T::ZERO }
    }

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
    /// `[s, n]`, or with a target one number.
    dy: &'a [T],
    /// 2 dy / weight with a target.
    factor: T,
}

impl<'a, T: Real> Source<'a, T> {
    fn take(buffers: &mut Buffers<'a>) -> Self {
        let (dy, weight) = (buffers.read::<T>(), buffers.read::<T>());
        Source { dy, factor: weight.first().map_or(T::ZERO, |weight| T::of(2.0) * dy[0] / *weight) }
    }

    /// Gradient of the value before the clamp, at token `at` of node `n`.
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
    let (d, group_sums) = (Rows::new(buffers.write::<T>()), Rows::new(buffers.write::<T>()));
    let packed = Packed::new(&s, &head);
    let back: Vec<T> =
        head.w_gate.chunks_exact(s.c).flat_map(|w| w.iter().zip(head.gamma).map(|(w, g)| *w * *g)).collect();
    let out_back: Vec<T> =
        if s.gated { head.w_out.to_vec() } else { head.w_out.iter().zip(head.gamma).map(|(w, g)| *w * *g).collect() };
    let steps = p.steps as usize;
    let per_group = steps.div_ceil(GROUPS).max(1);
    let group = |g: usize| {
        let mut tile = Tile::new(&s);
        let mut sums = Sums::new(&s);
        for step in g * per_group..((g + 1) * per_group).min(steps) {
            let stats = &stats[step * 2 * s.groups..][..2 * s.groups];
            // SAFETY: only this task writes this step.
            let norm_sums = unsafe { group_sums.slice(step * 2 * s.groups, 2 * s.groups) };
            let (mut slopes, mut means) = (vec![T::ZERO; s.c], vec![T::ZERO; s.c]);
            tile.enter(&s, stats);
            for first in (0..s.n).step_by(ROWS) {
                let rows = ROWS.min(s.n - first);
                let at = step * s.n + first;
                // SAFETY: as above.
                let d = unsafe { d.slice(at * s.c, rows * s.c) };
                simd::vectorized(
                    #[inline(always)]
                    || {
                        tile.run(&s, &packed, &z[at * s.c..(at + rows) * s.c]);
                        for (i, raw) in tile.raw[..rows].iter_mut().enumerate() {
                            *raw = source.of(&head, at + i, first + i, *raw);
                        }
                        pull_back(&s, &mut tile, (&back, &out_back), rows, &mut sums, d);
                        add_norm_sums(&tile.normed, d, &mut means, &mut slopes);
                    },
                );
            }
            for (g, pair) in norm_sums.chunks_exact_mut(2).enumerate() {
                let channels = g * (s.c / s.groups)..(g + 1) * (s.c / s.groups);
                (pair[0], pair[1]) =
                    (means[channels.clone()].iter().copied().sum(), slopes[channels].iter().copied().sum());
            }
        }
        sums
    };
    let groups: Vec<_> = (0..steps.div_ceil(per_group)).into_par_iter().map(group).collect();
    let mut total = Sums::new(&s);
    for sums in &groups {
        total.add(sums);
    }
    finish(&s, &head, &total, buffers);
}

/// From the gradients of the raw predictions (in `tile.raw`) to `d`, adding to the weights' sums.
#[inline(always)]
fn pull_back<T: Real>(
    s: &Sizes,
    tile: &mut Tile<T>,
    (back, out_back): (&[T], &[T]),
    rows: usize,
    sums: &mut Sums<T>,
    d: &mut [T],
) {
    let projected = if s.gated { &tile.active } else { &tile.normed };
    for (dp, a) in tile.raw[..rows].iter().zip(projected.chunks_exact(s.c)) {
        sums.out_bias += *dp;
        for (sum, a) in sums.out.iter_mut().zip(a) {
            *sum = a.mul_add(*dp, *sum);
        }
    }
    if !s.gated {
        for (d, dp) in d.chunks_exact_mut(s.c).zip(&tile.raw) {
            for (d, w) in d.iter_mut().zip(out_back) {
                *d = *dp * *w;
            }
        }
        return;
    }
    let wide = 2 * s.c;
    let gates = &mut tile.gates[..rows * wide];
    for (row, dp) in gates.chunks_exact_mut(wide).zip(&tile.raw) {
        let (g, h) = row.split_at_mut(s.c);
        for ((g, h), w) in g.iter_mut().zip(h).zip(out_back) {
            let (gate, value, da) = (*g, *h, *dp * *w);
            *g = da * value * gate * (T::ONE - gate);
            *h = da * gate * (T::ONE - value * value);
        }
        for (sum, x) in sums.gate_bias.iter_mut().zip(row.iter()) {
            *sum += *x;
        }
    }
    let normed = (&tile.normed[..], s.c);
    T::gemm_tile(GemmTile {
        m: wide,
        n: s.c,
        k: rows,
        a: (gates, 1, wide),
        b: normed,
        c: (&mut sums.gate, s.c),
        accumulate: true,
    });
    T::gemm_tile(GemmTile {
        m: rows,
        n: s.c,
        k: wide,
        a: (gates, wide, 1),
        b: (back, s.c),
        c: (d, s.c),
        accumulate: false,
    });
}

/// Adds sum d and sum d zhat of every channel.
#[inline(always)]
fn add_norm_sums<T: Real>(normed: &[T], d: &[T], means: &mut [T], slopes: &mut [T]) {
    for (x, d) in normed.chunks_exact(means.len()).zip(d.chunks_exact(means.len())) {
        for (((mean, slope), x), d) in means.iter_mut().zip(slopes.iter_mut()).zip(x).zip(d) {
            *mean += *d;
            *slope = d.mul_add(*x, *slope);
        }
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
