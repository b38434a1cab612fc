//! `graph_mix`: neighbour sum with a weight matrix of each node's own, residual and group-norm sums, in one pass
//! (HSGNN: STIMP eq. 4 in the published code's form, systems 1.4 steps 4 and 5).
//!
//! ```text
//! z[b, n] = r h[b, n] + (sum_j a_nj h[b, j]) W_n,    W_n = sum_k e[n, k] P[k]     h, z [b, n, t, c], e [n, k], P [k, c, c]
//! stats[b, t, g] = mean and 1 / standard deviation of z[b, :, t] over all nodes and the channels of group g
//! ```
//! z may hold only some of the nodes: node n of z is node first + n of h, so that a region too large for the memory is
//! mixed tile by tile, each with the ring of nodes round it.
//!
//! Plan: a task is 64 nodes; it builds one W_n in cache, gathers the neighbours' windows `[t, c]`, each one run of memory,
//! and multiplies their sum with it, so W_n is never stored (4 n c^2 bytes saved). Each task sums z about the value
//! at its first node; the tasks' means and squares are merged in order (Chan et al. 1983), so the bits do not depend on
//! the number of threads. Reads 4 c bytes a token (neighbours come from the cache), writes 4 c.
//! Bound by FMA throughput at c = 32 (2.3 kFLOP a token), by memory below. Measured: see `benches/RESULTS.md`.

use crate::gemm_tile::{GemmTile, Start};
use crate::rows::Rows;
use crate::spmm::Matrix;
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Given, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Nodes of one task.
pub(crate) const CHUNK: usize = 64;

/// Parameters of [`GRAPH_MIX`] and its backward.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples b.
    pub batch: u32,
    /// Frames t.
    pub frames: u32,
    /// Nodes n of z.
    pub nodes: u32,
    /// Nodes of h and rows of the graph's matrix, at least first + n; n in the backward.
    pub inputs: u32,
    /// Node of h that node 0 of z is; 0 in the backward.
    pub first: u32,
    /// Channels c.
    pub channels: u32,
    /// Prototypes k.
    pub prototypes: u32,
    /// Groups of the group norm; c is a multiple of them.
    pub groups: u32,
    /// 1 adds h itself.
    pub residual: u32,
    /// Entries of the graph's matrix.
    pub edges: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// z and its group statistics.
pub static GRAPH_MIX: Kernel<Params> = Kernel {
    name: "graph_mix",
    buffers: &[
        ("h", Access::Read),
        ("offsets", Access::Read),
        ("neighbours", Access::Read),
        ("values", Access::Read),
        ("e", Access::Read),
        ("pool", Access::Read),
        ("z", Access::Write),
        ("stats", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("graph_mix.wgsl", include_str!("../../shaders/graph_mix.wgsl")),
            ("graph_mix.moments.wgsl", include_str!("../../shaders/graph_mix.moments.wgsl")),
            ("graph_mix.tiles.wgsl", include_str!("../../shaders/graph_mix.tiles.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("graph_mix.ptx", include_str!("../ptx/graph_mix.ptx")),
            ("graph_mix.wide.ptx", include_str!("../ptx/graph_mix.wide.ptx")),
            ("graph_mix.each.ptx", include_str!("../ptx/graph_mix.each.ptx")),
            ("graph_mix.stats.ptx", include_str!("../ptx/graph_mix.stats.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, given| {
        let [n, c, k, edges] = [p.nodes, p.channels, p.prototypes, p.edges].map(u64::from);
        let steps = u64::from(p.batch) * u64::from(p.frames);
        let bytes = 8 * steps * n * c + 4 * weights(p) + graph_bytes(p, given);
        Cost { flops: 2 * steps * c * (edges + n * c) + 2 * n * k * c * c, bytes }
    },
};

/// Numbers of e and of the pool.
pub(crate) fn weights(p: &Params) -> u64 {
    let [n, c, k] = [p.nodes, p.channels, p.prototypes].map(u64::from);
    k * (n + c * c)
}

/// Bytes of the graph's matrix.
pub(crate) fn graph_bytes(p: &Params, given: Given<'_>) -> u64 {
    let [n, edges] = [p.inputs, p.edges].map(u64::from);
    4 * (n + 1 + if given("values") { 2 * edges } else { edges })
}

/// Most channels that the shaders' workgroups hold.
const WIDEST: u32 = 512;

/// How the shaders split a launch into workgroups of 128 invocations, each with four rows by four channels.
pub(crate) struct Grid {
    /// Vec4s of a node's matrix, whose rows and columns are filled up to multiples of four.
    pub(crate) square: u32,
    /// Tiles of the rows (sample and frame).
    pub(crate) tiles: u32,
    /// Runs of nodes.
    pub(crate) parts: u32,
}

impl Grid {
    pub(crate) fn of(p: &Params) -> Result<Self, Dispatches> {
        if !(1..=WIDEST).contains(&p.channels) {
            let what = format!("{} channels, of which its shader takes 1 to {WIDEST}", p.channels);
            return Err(Dispatches::refused(what));
        }
        let quads = p.channels.div_ceil(4);
        let tiles = (p.batch * p.frames).div_ceil(4 * (128 / quads));
        // Enough workgroups for a large GPU, with runs of sixteen nodes or more.
        let parts = 2048u32.div_ceil(tiles.max(1)).clamp(1, p.nodes.div_ceil(16).max(1));
        let run = p.nodes.div_ceil(parts).max(1);
        Ok(Grid { square: 4 * quads * quads, tiles, parts: p.nodes.div_ceil(run).max(1) })
    }

    /// Scratch memory for the matrices of so many nodes and `part` numbers of every run.
    pub(crate) fn dispatches(&self, nodes: u32, part: usize) -> Dispatches {
        let matrices = 4 * nodes as usize * self.square as usize;
        Dispatches::with_scratch(self.parts, part + matrices.div_ceil(self.parts as usize))
    }

    /// Workgroups that make the matrices, eight nodes at a time.
    pub(crate) fn matrices(&self, nodes: u32) -> u32 {
        (nodes.div_ceil(8) * self.square).div_ceil(128)
    }
}

fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let grid = match Grid::of(p) {
        Ok(grid) => grid,
        Err(refused) => return refused,
    };
    // An invocation leaves mean and squares of four rows: of four channels together where all are of one group.
    let per_invocation = if p.channels.is_multiple_of(4 * p.groups) { 8 } else { 32 };
    let moments = 128 * per_invocation * grid.tiles as usize;
    let main = if p.channels.is_multiple_of(4) { "graph_mix" } else { "graph_mix_each" };
    let runs = if p.nodes == 0 { 0 } else { grid.parts };
    // For few tiles every workgroup makes the matrices, which would take as much memory as h.
    let prepared = if grid.tiles > 4 { p.nodes } else { 0 };
    grid.dispatches(prepared, moments)
        .then("graph_mix_weights", grid.matrices(prepared))
        .then(main, grid.tiles * runs)
        .then("graph_mix_stats", if p.nodes == 0 { 0 } else { p.batch * p.frames * p.groups })
}

/// How the PTX splits a launch into blocks of eight warps, each with a tile of rows (sample and frame) by 32 columns
/// or more.
pub(crate) struct Tiling {
    /// Blocks that share a run of nodes.
    pub(crate) blocks: u32,
    /// Warps of a block that take turns with the nodes of a run, where eight tiles are more than there are.
    teams: u32,
    /// Runs of nodes.
    pub(crate) runs: u32,
}

impl Tiling {
    /// For warps whose lanes hold `rows` rows by so many fours of columns each, and runs of `least` nodes or more.
    pub(crate) fn of(p: &Params, rows: u32, fours: u32, least: u32) -> Self {
        let quads = p.channels.div_ceil(4);
        let across = quads.next_power_of_two().min(8);
        let tiles = (p.batch * p.frames).div_ceil(32 / across * rows);
        let side = tiles.next_power_of_two().min(8);
        // So many nodes' matrices of these columns fit in shared memory.
        let group = 1 << (32 / quads.clamp(2, 32)).ilog2();
        let blocks = tiles.div_ceil(side) * quads.div_ceil(8 * fours);
        // Enough blocks for a large GPU.
        let runs = 2048u32.div_ceil(blocks.max(1)).clamp(1, p.nodes.div_ceil(least).max(1));
        Tiling { blocks, teams: group.min(8 / side), runs }
    }
}

fn launches(p: &Params) -> Dispatches {
    // Fours of channels that are all of one group leave their moments together, of other channels the teams of a block.
    let fours = p.channels.is_multiple_of(4 * p.groups);
    let (main, tiling) = match p.channels {
        ..=32 if fours => ("graph_mix", Tiling::of(p, 6, 1, 16)),
        _ if fours => ("graph_mix_wide", Tiling::of(p, 4, 2, 16)),
        _ => ("graph_mix_each", Tiling::of(p, 2, 1, 24)),
    };
    let teams = if fours { tiling.teams } else { 1 };
    let together = if fours { 4 << (p.channels / p.groups / 4).trailing_zeros().min(3) } else { 1 };
    let moments = 2 + 2 * (p.batch * p.frames) as usize * (p.channels / together) as usize;
    Dispatches::with_scratch(tiling.runs * teams, moments)
        .then(main, tiling.blocks * tiling.runs)
        .then("graph_mix_stats", (p.batch * p.frames * p.groups).div_ceil(4))
}

/// The sizes as indices.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) b: usize,
    pub(crate) t: usize,
    pub(crate) n: usize,
    /// Nodes of h.
    inputs: usize,
    pub(crate) c: usize,
    pub(crate) k: usize,
    pub(crate) groups: usize,
}

impl Sizes {
    pub(crate) fn of(p: &Params) -> Self {
        let [b, t, n, inputs, c, k, groups] =
            [p.batch, p.frames, p.nodes, p.inputs, p.channels, p.prototypes, p.groups].map(|v| v as usize);
        Sizes { b, t, n, inputs, c, k, groups }
    }

    /// Elements of a node's window.
    pub(crate) fn window(&self) -> usize {
        self.t * self.c
    }

    /// All windows of a sample of h.
    pub(crate) fn sample<'a, T>(&self, h: &'a [T], b: usize) -> &'a [T] {
        &h[b * self.inputs * self.window()..][..self.inputs * self.window()]
    }

    /// Channels of a group.
    pub(crate) fn width(&self) -> usize {
        self.c / self.groups
    }
}

/// W_n = sum_k e[n, k] P[k].
#[inline(always)]
pub(crate) fn node_weights<T: Real>(e: &[T], pool: &[T], w: &mut [T]) {
    w.fill(T::ZERO);
    for (e, prototype) in e.iter().zip(pool.chunks_exact(w.len())) {
        for (w, p) in w.iter_mut().zip(prototype) {
            *w = p.mul_add(*e, *w);
        }
    }
}

/// Sums of z and z^2 about a shift, `[b, t, c]` each: what one task saw.
struct Moments<T> {
    shift: Vec<T>,
    sum: Vec<T>,
    square: Vec<T>,
    count: usize,
}

impl<T: Real> Moments<T> {
    fn new(s: &Sizes) -> Self {
        let zeros = || vec![T::ZERO; s.b * s.window()];
        Moments { shift: zeros(), sum: zeros(), square: zeros(), count: 0 }
    }

    /// Takes up a window z of sample `b`.
    #[inline(always)]
    fn add(&mut self, b: usize, z: &[T]) {
        let range = b * z.len()..(b + 1) * z.len();
        if self.count == 0 {
            self.shift[range.clone()].copy_from_slice(z);
        }
        let (sum, square) = (&mut self.sum[range.clone()], &mut self.square[range.clone()]);
        for (((sum, square), shift), z) in sum.iter_mut().zip(square).zip(&self.shift[range]).zip(z) {
            let d = *z - *shift;
            *sum += d;
            *square = d.mul_add(d, *square);
        }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let s = Sizes::of(p);
    let h = buffers.read::<T>();
    let graph = Matrix::take(&mut buffers);
    let (e, pool) = (buffers.read::<T>(), buffers.read::<T>());
    let (z, stats) = (Rows::new(buffers.write::<T>()), buffers.write::<T>());
    let first = p.first as usize;
    let task = |task: usize| {
        let mut moments = Moments::new(&s);
        let (mut w, mut sum) = (vec![T::ZERO; s.c * s.c], vec![T::ZERO; s.window()]);
        for n in task * CHUNK..((task + 1) * CHUNK).min(s.n) {
            T::vectorized(
                #[inline(always)]
                || {
                    node_weights(&e[n * s.k..(n + 1) * s.k], pool, &mut w);
                    for b in 0..s.b {
                        let h = s.sample(h, b);
                        graph.row(first + n, h, &[], &mut sum);
                        // SAFETY: only this task writes node n.
                        let z = unsafe { z.slice((b * s.n + n) * s.window(), s.window()) };
                        let start = match p.residual {
                            0 => Start::Zero,
                            _ => Start::Rows(&h[(first + n) * s.window()..]),
                        };
                        let (a, c) = ((&sum[..], s.c, 1), (&mut *z, s.c));
                        T::gemm_tile(GemmTile { m: s.t, n: s.c, k: s.c, a, b: (&w, s.c), c, start });
                        moments.add(b, z);
                    }
                },
            );
            moments.count += 1;
        }
        moments
    };
    let moments: Vec<_> = (0..s.n.div_ceil(CHUNK)).into_par_iter().map(task).collect();
    stats.par_chunks_mut(2).enumerate().for_each(|(at, stats)| {
        (stats[0], stats[1]) = merge(&s, &moments, at / s.groups, at % s.groups, f64::from(p.eps));
    });
}

/// Mean and reciprocal standard deviation of a group of a step (sample and frame), from what the tasks saw, in their order.
fn merge<T: Real>(s: &Sizes, moments: &[Moments<T>], step: usize, group: usize, eps: f64) -> (T, T) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for part in moments {
        for channel in group * s.width()..(group + 1) * s.width() {
            let at = step * s.c + channel;
            let n = part.count as f64;
            let offset = part.sum[at].f64() / n;
            let delta = part.shift[at].f64() + offset - mean;
            squares += part.square[at].f64() - offset * offset * n + delta * delta * count * n / (count + n);
            count += n;
            mean += delta * n / count;
        }
    }
    (T::of(mean), T::of(1.0 / (squares / count + eps).sqrt()))
}
