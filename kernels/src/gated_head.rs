//! `gated_head`: group-norm apply, gated activation, projection to one number, clamp and masked squared error
//! (systems 1.4 steps 5 to 7 and 1.5).
//!
//! ```text
//! y = gamma (z - mean) rstd + beta                  z [b, n, t, c], stats [b, t, g, 2]
//! a = sigmoid(W_g y + b_g) tanh(W_h y + b_h)        one matrix [2c, c]; without a gate a = y
//! p = clamp(w_o . a + b_o, low[n], high[n])         p [b, t, n]; without bounds no clamp
//! loss = sum of (p - target)^2 mask / weight        weight = sum of mask, or 1 when the mask is empty
//! ```
//! Plan: a task is 64 windows `[t, c]`, one in cache at a time; the affine part of the norm is folded into the matrix.
//! Writes the prediction, or, with a target, only loss and weight. Reads 4 c bytes a token (8 more with a target).
//! Bound by FMA throughput and the exponentials of the gate. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{GemmTile, Start};
use crate::ptx::Ptx;
use crate::rows::Rows;
use crate::temporal_block::{folded_bias, transposed};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Given, Kernel, Real, row_reduce};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Windows of one task.
const CHUNK: usize = 64;

/// Parameters of [`GATED_HEAD`] and its backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples b.
    pub batch: u32,
    /// Frames t.
    pub frames: u32,
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
    wgsl: Wgsl {
        files: &[
            ("gated_head.wgsl", include_str!("../../shaders/gated_head.wgsl")),
            ("gated_head.tiles.wgsl", include_str!("../../shaders/gated_head.tiles.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("gated_head.ptx", include_str!("../ptx/gated_head.ptx")),
            ("gated_head.wide.ptx", include_str!("../ptx/gated_head.wide.ptx")),
            ("gated_head.plain.ptx", include_str!("../ptx/gated_head.plain.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, given| cost(p, 1, given),
};

/// The work when z or its gradient moves `times` in all; a prediction or its gradient does once, or target and mask.
pub(crate) fn cost(p: &Params, times: u64, given: Given<'_>) -> Cost {
    let tokens = u64::from(p.batch) * u64::from(p.frames) * u64::from(p.nodes);
    let [c, gated] = [p.channels, p.gated].map(u64::from);
    let predictions = if given("target") { 2 } else { 1 };
    Cost { flops: tokens * (4 * c * c * gated + 2 * c), bytes: 4 * tokens * (times * c + predictions) }
}

/// Most channels that the shaders' workgroups hold.
const WIDEST: u32 = 256;

/// How the shaders split a launch into workgroups of 128 invocations, each with four frames by four channels of a node.
pub(crate) struct Grid {
    /// Vec4s of the channels.
    pub(crate) quads: u32,
    /// Blocks of four frames, of all samples.
    pub(crate) blocks: u32,
    /// Runs of nodes.
    pub(crate) parts: u32,
}

impl Grid {
    /// A grid of some `groups` workgroups.
    pub(crate) fn of(p: &Params, groups: u32) -> Result<Self, Dispatches> {
        if !(1..=WIDEST).contains(&p.channels) {
            let what = format!("{} channels, of which its shader takes 1 to {WIDEST}", p.channels);
            return Err(Dispatches::refused(what));
        }
        let quads = p.channels.div_ceil(4);
        let blocks = p.batch * p.frames.div_ceil(4);
        // A workgroup has 128 / quads nodes at a time, and four times as many or more in all.
        let steps = p.nodes.div_ceil(128 / quads);
        let parts = groups.div_ceil(blocks.max(1)).clamp(1, steps.div_ceil(4).max(1));
        let run = steps.div_ceil(parts).max(1);
        Ok(Grid { quads, blocks, parts: steps.div_ceil(run).max(1) })
    }

    /// Workgroups of the main dispatch.
    pub(crate) fn groups(&self, p: &Params) -> u32 {
        if p.nodes == 0 { 0 } else { self.blocks * self.parts }
    }

    /// Vec4s of the weights with the norm folded in.
    pub(crate) fn folded(&self) -> u32 {
        self.quads * (8 * self.quads + 3) + 1
    }

    /// Scratch memory of so many vec4s.
    pub(crate) fn dispatches(&self, vec4s: usize) -> Dispatches {
        Dispatches::with_scratch(self.parts, (4 * vec4s).div_ceil(self.parts as usize))
    }
}

fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let grid = match Grid::of(p, 2048) {
        Ok(grid) => grid,
        Err(refused) => return refused,
    };
    grid.dispatches(grid.folded() as usize + grid.groups(p) as usize)
        .then("gated_head_fold", grid.folded().div_ceil(128))
        .then("gated_head", grid.groups(p))
        .then("gated_head_loss", 1)
}

/// How the PTX splits a launch into blocks of 128 threads, each with a run of nodes of one frame of one sample.
pub(crate) struct Split {
    /// Channels of the folded matrix: rounded up to its pieces of 32 or 64.
    pub(crate) padded: usize,
    /// Runs of nodes.
    pub(crate) parts: u32,
    /// Blocks of the main launch.
    pub(crate) blocks: u32,
}

impl Split {
    /// About `blocks` blocks, each with four tiles of so many nodes or more.
    pub(crate) fn of(p: &Params, blocks: u32, tile: u32) -> Self {
        let padded = p.channels.next_multiple_of(if p.channels <= 32 { 32 } else { 64 }) as usize;
        let tiles = p.nodes.div_ceil(tile);
        let steps = p.batch * p.frames;
        let parts = (blocks / steps.max(1)).clamp(1, tiles.div_ceil(4).max(1));
        let run = tiles.div_ceil(parts).max(1);
        let parts = tiles.div_ceil(run).max(1);
        Split { padded, parts, blocks: if p.nodes == 0 { 0 } else { steps * parts } }
    }

    /// Numbers of the weights with the norm folded in: the matrix, its bias, the output's weights and bias.
    pub(crate) fn folded(&self, p: &Params) -> usize {
        let matrix = if p.gated == 1 { 2 * self.padded * (self.padded + 1) } else { 0 };
        matrix + self.padded + 4
    }

    /// Scratch memory of so many numbers.
    pub(crate) fn dispatches(&self, numbers: usize) -> Dispatches {
        Dispatches::with_scratch(self.parts, numbers.div_ceil(self.parts as usize))
    }
}

fn launches(p: &Params) -> Dispatches {
    let (main, tile) = match p.gated {
        1 if p.channels <= 32 => ("gated_head", 128),
        1 => ("gated_head_wide", 64),
        _ => ("gated_head_plain", 128),
    };
    let split = Split::of(p, 2048, tile);
    split
        .dispatches(split.folded(p) + 2 * split.blocks as usize)
        .then("gated_head_fold", (split.folded(p) as u32).div_ceil(256))
        .then(main, split.blocks)
        .then("gated_head_loss", 1)
}

/// The sizes as indices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) b: usize,
    pub(crate) t: usize,
    pub(crate) n: usize,
    pub(crate) c: usize,
    pub(crate) groups: usize,
    pub(crate) gated: bool,
}

impl Sizes {
    pub(crate) fn of(p: &Params) -> Self {
        let [b, t, n, c, groups] = [p.batch, p.frames, p.nodes, p.channels, p.groups].map(|v| v as usize);
        Sizes { b, t, n, c, groups, gated: p.gated == 1 }
    }

    /// Width of the pre-activation: 2c with a gate.
    pub(crate) fn wide(&self) -> usize {
        if self.gated { 2 * self.c } else { 0 }
    }

    /// Elements of a node's window.
    pub(crate) fn window(&self) -> usize {
        self.t * self.c
    }

    /// Where the frames of window `at` (counted over samples and nodes) stand in `[b, t, n]`.
    #[inline(always)]
    pub(crate) fn tokens(&self, at: usize) -> impl Iterator<Item = usize> + use<> {
        let first = at / self.n * self.t * self.n + at % self.n;
        (first..).step_by(self.n).take(self.t)
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

/// Mean and rstd of every step, channel by channel, `[b, t, c]`.
pub(crate) struct Norm<T> {
    mean: Vec<T>,
    rstd: Vec<T>,
}

impl<T: Real> Norm<T> {
    /// From the statistics `[b, t, g, 2]`.
    pub(crate) fn new(s: &Sizes, stats: &[T]) -> Self {
        let pair = |at: usize| 2 * (at / s.c * s.groups + at % s.c / (s.c / s.groups));
        let spread = |second: usize| (0..s.b * s.window()).map(|at| stats[pair(at) + second]).collect();
        Norm { mean: spread(0), rstd: spread(1) }
    }
}

/// One window in cache.
pub(crate) struct Tile<T> {
    /// (z - mean) rstd, `[t, c]`.
    pub(crate) normed: Vec<T>,
    /// Pre-activations, then sigmoid and tanh, `[t, c]` each.
    pub(crate) gates: [Vec<T>; 2],
    /// Their product, which is projected, `[t, c]`.
    pub(crate) active: Vec<T>,
    /// Before the clamp, `[t]`.
    pub(crate) raw: Vec<T>,
}

impl<T: Real> Tile<T> {
    pub(crate) fn new(s: &Sizes) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        let gate = || zeros(if s.gated { s.window() } else { 0 });
        Tile { normed: zeros(s.window()), gates: [gate(), gate()], active: gate(), raw: zeros(s.t) }
    }

    /// From window z of sample `b` to its predictions before the clamp.
    #[inline(always)]
    pub(crate) fn run(&mut self, s: &Sizes, w: &Packed<T>, norm: &Norm<T>, b: usize, z: &[T]) {
        let of = b * z.len()..(b + 1) * z.len();
        let (mean, rstd) = (&norm.mean[of.clone()], &norm.rstd[of]);
        for (((y, z), mean), rstd) in self.normed.iter_mut().zip(z).zip(mean).zip(rstd) {
            *y = (*z - *mean) * *rstd;
        }
        if s.gated {
            self.gate(s, w);
        }
        let projected = if s.gated { &self.active } else { &self.normed };
        row_reduce::dots(s.c, (projected, s.c), (&w.out.0, 0), &mut self.raw);
        for raw in &mut self.raw {
            *raw += w.out.1;
        }
    }

    #[inline(always)]
    fn gate(&mut self, s: &Sizes, w: &Packed<T>) {
        for (gate, at) in self.gates.iter_mut().zip([0, s.c]) {
            T::gemm_tile(GemmTile {
                m: s.t,
                n: s.c,
                k: s.c,
                a: (&self.normed, s.c, 1),
                b: (&w.w[at..], 2 * s.c),
                c: (gate, s.c),
                start: Start::Bias(&w.bias[at..]),
            });
        }
        let [g, h] = &mut self.gates;
        // A loop for each: three slices at once stay plain code.
        g.iter_mut().for_each(|g| *g = g.sigmoid());
        h.iter_mut().for_each(|h| *h = h.tanh());
        for ((a, g), h) in self.active.iter_mut().zip(g).zip(h) {
            *a = *g * *h;
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
    let prediction = Rows::new(buffers.write::<T>());
    let (packed, norm) = (Packed::new(&s, &head), Norm::new(&s, stats));
    let task = |(task, windows): (usize, &[T])| {
        let mut tile = Tile::new(&s);
        let mut score = Score { squares: T::ZERO, mass: T::ZERO };
        for (at, z) in (task * CHUNK..).zip(windows.chunks_exact(s.window())) {
            T::vectorized(
                #[inline(always)]
                || tile.run(&s, &packed, &norm, at / s.n, z),
            );
            let n = at % s.n;
            for (token, raw) in s.tokens(at).zip(&tile.raw) {
                let value = clamped(&head, n, *raw);
                if head.target.is_empty() {
                    // SAFETY: only this task writes this window's predictions.
                    let slot = unsafe { prediction.slice(token, 1) };
                    slot[0] = value;
                } else {
                    score.add(&head, token, value);
                }
            }
        }
        score
    };
    let scores: Vec<_> = z.par_chunks(CHUNK * s.window()).enumerate().map(task).collect();
    if !head.target.is_empty() {
        let (loss, weight) = (buffers.write::<T>(), buffers.write::<T>());
        let mass = scores.iter().map(|score| score.mass).sum();
        weight[0] = if mass == T::ZERO { T::ONE } else { mass };
        loss[0] = scores.iter().map(|score| score.squares).sum::<T>() / weight[0];
    }
}

/// Sum of squared errors and of the mask, over the windows of a task.
struct Score<T> {
    squares: T,
    mass: T,
}

impl<T: Real> Score<T> {
    fn add(&mut self, head: &Head<'_, T>, token: usize, value: T) {
        let mask = head.mask[token];
        // A target outside the mask may be NaN.
        if mask != T::ZERO {
            let error = value - head.target[token];
            self.squares += error * error * mask;
            self.mass += mask;
        }
    }
}
