//! `gated_head`: group-norm apply, gated activation, projection to one number, clamp and masked squared error
//! (systems 1.4 steps 5 to 7 and 1.5).
//!
//! ```text
//! y = gamma (z - mean) rstd + beta                  z [s, n, c], stats [s, g, 2]
//! a = sigmoid(W_g y + b_g) tanh(W_h y + b_h)        one matrix [2c, c]; without a gate a = y
//! p = clamp(w_o . a + b_o, low[n], high[n])         without bounds no clamp
//! loss = sum of (p - target)^2 mask / weight        weight = sum of mask, or 1 when the mask is empty
//! ```
//! Plan: a task is one step; the affine part of the norm is folded into the matrix; 64 nodes at a time stay in cache.
//! Writes the prediction, or, with a target, only loss and weight. Reads 4 c bytes a token (12 more with a target).
//! Bound by FMA throughput and the exponentials of the gate. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::GemmTile;
use crate::temporal_block::{folded_bias, transposed};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Nodes in cache at once.
pub(crate) const ROWS: usize = 64;

/// Parameters of [`GATED_HEAD`] and its backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples times frames.
    pub steps: u32,
    /// Nodes n.
    pub nodes: u32,
    /// Channels c.
    pub channels: u32,
    /// Groups of the group norm.
    pub groups: u32,
    /// 1 with the gate, 0 without.
    pub gated: u32,
}

/// Prediction or loss parts.
pub static GATED_HEAD: Kernel<Params> = Kernel {
    name: "gated_head",
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
        ("prediction", Access::Write),
        ("loss", Access::Write),
        ("weight", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    cost,
};

pub(crate) fn cost(p: &Params) -> Cost {
    let tokens = u64::from(p.steps) * u64::from(p.nodes);
    let [c, gated] = [p.channels, p.gated].map(u64::from);
    Cost { flops: tokens * (4 * c * c * gated + 2 * c), bytes: 4 * tokens * (c + 1) }
}

/// The sizes as indices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) groups: usize,
    pub(crate) gated: bool,
}

impl Sizes {
    pub(crate) fn of(p: &Params) -> Self {
        Sizes { n: p.nodes as usize, c: p.channels as usize, groups: p.groups as usize, gated: p.gated == 1 }
    }

    /// Width of the pre-activation: 2c with a gate.
    pub(crate) fn wide(&self) -> usize {
        if self.gated { 2 * self.c } else { 0 }
    }
}

/// Weights and bounds as stored.
pub(crate) struct Head<'a, T> {
    pub(crate) gamma: &'a [T],
    pub(crate) beta: &'a [T],
    pub(crate) w_gate: &'a [T],
    pub(crate) b_gate: &'a [T],
    pub(crate) w_out: &'a [T],
    pub(crate) b_out: &'a [T],
    pub(crate) low: &'a [T],
    pub(crate) high: &'a [T],
    pub(crate) target: &'a [T],
    pub(crate) mask: &'a [T],
}

impl<'a, T: Real> Head<'a, T> {
    pub(crate) fn take(buffers: &mut Buffers<'a>) -> Self {
        let mut next = || buffers.read::<T>();
        Head {
            gamma: next(),
            beta: next(),
            w_gate: next(),
            b_gate: next(),
            w_out: next(),
            b_out: next(),
            low: next(),
            high: next(),
            target: next(),
            mask: next(),
        }
    }
}

/// The matrix with the norm folded in, `[c, 2c]`, and its bias; without a gate the output's weights.
pub(crate) struct Packed<T> {
    w: Vec<T>,
    bias: Vec<T>,
    /// Weights and bias of the projection to one number.
    out: (Vec<T>, T),
}

impl<T: Real> Packed<T> {
    pub(crate) fn new(s: &Sizes, head: &Head<'_, T>) -> Self {
        if !s.gated {
            let out = head.w_out.iter().zip(head.gamma).map(|(w, g)| *w * *g).collect();
            let bias = head.b_out[0] + folded_bias(head.w_out, head.beta)[0];
            return Packed { w: Vec::new(), bias: Vec::new(), out: (out, bias) };
        }
        let folded = folded_bias(head.w_gate, head.beta);
        Packed {
            w: transposed(head.w_gate, s.c, head.gamma),
            bias: folded.iter().zip(head.b_gate).map(|(a, b)| *a + *b).collect(),
            out: (head.w_out.to_vec(), head.b_out[0]),
        }
    }
}

/// Up to [`ROWS`] nodes of one step in cache.
pub(crate) struct Tile<T> {
    /// (z - mean) rstd, `[rows, c]`.
    pub(crate) normed: Vec<T>,
    /// Pre-activations, then sigmoid and tanh side by side, `[rows, 2c]`.
    pub(crate) gates: Vec<T>,
    /// What is projected, `[rows, c]`.
    pub(crate) active: Vec<T>,
    /// Before the clamp, `[rows]`.
    pub(crate) raw: Vec<T>,
    /// The step's mean and rstd, channel by channel.
    mean: Vec<T>,
    rstd: Vec<T>,
}

impl<T: Real> Tile<T> {
    pub(crate) fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Tile {
            normed: zeros(ROWS * s.c),
            gates: zeros(ROWS * s.wide()),
            active: zeros(ROWS * s.c),
            raw: zeros(ROWS),
            mean: zeros(s.c),
            rstd: zeros(s.c),
        }
    }

    /// Takes up the statistics `[g, 2]` of a step.
    pub(crate) fn enter(&mut self, s: &Sizes, stats: &[T]) {
        for (i, (mean, rstd)) in self.mean.iter_mut().zip(&mut self.rstd).enumerate() {
            let group = i / (s.c / s.groups);
            (*mean, *rstd) = (stats[2 * group], stats[2 * group + 1]);
        }
    }

    /// From rows of z to the predictions before the clamp.
    #[inline(always)]
    pub(crate) fn run(&mut self, s: &Sizes, w: &Packed<T>, z: &[T]) {
        for (y, z) in self.normed.chunks_exact_mut(s.c).zip(z.chunks_exact(s.c)) {
            for (((y, z), mean), rstd) in y.iter_mut().zip(z).zip(&self.mean).zip(&self.rstd) {
                *y = (*z - *mean) * *rstd;
            }
        }
        let rows = z.len() / s.c;
        let projected = if s.gated {
            self.gate(s, w, rows);
            &self.active
        } else {
            &self.normed
        };
        for (raw, a) in self.raw.iter_mut().zip(projected[..rows * s.c].chunks_exact(s.c)) {
            *raw = w.out.1 + simd::sum(s.c, |i| a[i] * w.out.0[i]);
        }
    }

    #[inline(always)]
    fn gate(&mut self, s: &Sizes, w: &Packed<T>, rows: usize) {
        let gates = &mut self.gates[..rows * 2 * s.c];
        for row in gates.chunks_exact_mut(2 * s.c) {
            row.copy_from_slice(&w.bias);
        }
        T::gemm_tile(GemmTile {
            m: rows,
            n: 2 * s.c,
            k: s.c,
            a: (&self.normed, s.c, 1),
            b: (&w.w, 2 * s.c),
            c: (gates, 2 * s.c),
            accumulate: true,
        });
        for (row, active) in gates.chunks_exact_mut(2 * s.c).zip(self.active.chunks_exact_mut(s.c)) {
            let (g, h) = row.split_at_mut(s.c);
            // One slice a loop: three at once from one row stay scalar code.
            for g in g.iter_mut() {
                *g = g.sigmoid();
            }
            for h in h.iter_mut() {
                *h = h.tanh();
            }
            for ((a, g), h) in active.iter_mut().zip(g.iter()).zip(h.iter()) {
                *a = *g * *h;
            }
        }
    }
}

/// `raw` between the bounds of node `n`, where there are bounds.
#[inline(always)]
pub(crate) fn clamped<T: Real>(head: &Head<'_, T>, n: usize, raw: T) -> T {
    if head.low.is_empty() { raw } else { raw.max(head.low[n]).min(head.high[n]) }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let (z, stats) = (buffers.read::<T>(), buffers.read::<T>());
    let head = Head::take(&mut buffers);
    let prediction = buffers.write::<T>();
    let packed = Packed::new(&s, &head);
    let step = |tile: &mut Tile<T>, step: usize, out: &mut Out<'_, T>| {
        tile.enter(&s, &stats[step * 2 * s.groups..][..2 * s.groups]);
        let z = &z[step * s.n * s.c..][..s.n * s.c];
        for (first, z) in z.chunks(ROWS * s.c).enumerate().map(|(i, z)| (i * ROWS, z)) {
            T::vectorized(
                #[inline(always)]
                || {
                    tile.run(&s, &packed, z);
                    for (n, raw) in (first..).zip(&tile.raw[..z.len() / s.c]) {
                        out.put(&head, step * s.n + n, n, clamped(&head, n, *raw));
                    }
                },
            );
        }
    };
    if head.target.is_empty() {
        let tasks = prediction.par_chunks_mut(s.n).enumerate();
        return tasks.for_each_init(|| Tile::new(&s), |tile, (i, out)| step(tile, i, &mut Out::Prediction(out)));
    }
    let tasks = (0..p.steps as usize).into_par_iter();
    let parts: Vec<(T, T)> = tasks
        .map_init(
            || Tile::new(&s),
            |tile, i| {
                let mut out = Out::Loss { squares: T::ZERO, mass: T::ZERO };
                step(tile, i, &mut out);
                out.sums()
            },
        )
        .collect();
    let (squares, mass) = parts.iter().fold((T::ZERO, T::ZERO), |(s, m), (ds, dm)| (s + *ds, m + *dm));
    let (loss, weight) = (buffers.write::<T>(), buffers.write::<T>());
    weight[0] = if mass == T::ZERO { T::ONE } else { mass };
    loss[0] = squares / weight[0];
}

/// Where a step's predictions go.
enum Out<'a, T> {
    Prediction(&'a mut [T]),
    Loss { squares: T, mass: T },
}

impl<T: Real> Out<'_, T> {
    #[inline(always)]
    fn put(&mut self, head: &Head<'_, T>, at: usize, n: usize, value: T) {
        match self {
            Out::Prediction(out) => out[n] = value,
            Out::Loss { squares, mass } if head.mask[at] != T::ZERO => {
                let error = value - head.target[at];
                *squares += error * error * head.mask[at];
                *mass += head.mask[at];
            }
            Out::Loss { .. } => {}
        }
    }

    fn sums(&self) -> (T, T) {
        match self {
            Out::Prediction(_) => (T::ZERO, T::ZERO),
            Out::Loss { squares, mass } => (*squares, *mass),
        }
    }
}
