//! `group_norm`: statistics over all nodes and the channels of a group, then scale and shift by channel.
//!
//! y = (x - mean) rstd gamma + beta, rstd = 1 / sqrt(variance + eps) with the biased variance (Wu and He 2018).
//! Shapes: x, y `[b, n, c]`, gamma, beta `[c]`, mean, rstd `[b, g]`. Chunks of nodes that fit the first-level cache
//! give a mean and a sum of squares about it for each channel; these are merged in their order, so that a large
//! mean costs no digits. A second pass writes y. Bound by memory: 12 bytes an element, 8 where a sample fits the
//! last-level cache.

use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, partials};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;
use std::ops::RangeInclusive;

/// Elements of one task.
const CHUNK: usize = 1 << 13;

/// Parameters of [`GROUP_NORM`] and of its gradient.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Samples.
    pub batch: u32,
    /// Nodes of a sample.
    pub nodes: u32,
    /// Channels of a node.
    pub channels: u32,
    /// Groups of neighbouring channels; divides `channels`.
    pub groups: u32,
    /// Added to the variance.
    pub eps: f32,
}

/// y = (x - mean) rstd gamma + beta; hands out mean and rstd for the gradient.
pub static GROUP_NORM: Kernel<Params> = Kernel {
    name: "group_norm",
    buffers: &[
        ("x", Access::Read),
        ("gamma", Access::Read),
        ("beta", Access::Read),
        ("y", Access::Write),
        ("mean", Access::Write),
        ("rstd", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("group_norm.wgsl", include_str!("../../shaders/group_norm.wgsl")),
            ("group_norm.blocks.wgsl", include_str!("../../shaders/group_norm.blocks.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("group_norm.ptx", include_str!("../ptx/group_norm.ptx")),
            ("group_norm.whole.ptx", include_str!("../ptx/group_norm.whole.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, _| {
        let [b, n, c, g] = [p.batch, p.nodes, p.channels, p.groups].map(u64::from);
        Cost { flops: 7 * b * n * c, bytes: 4 * (2 + read_again(p, &WHOLE)) * b * n * c + 8 * (b * g + c) }
    },
};

/// Fours of a group for which a block is worth its while, and that its registers and shared memory hold.
const WHOLE: RangeInclusive<u32> = 512..=11264;

/// 1 for groups of more fours than a block of the kernel holds at most: nothing of a group can be written before all of it
/// was read, and registers have room for 64 Ki numbers, of which threads need some for themselves. What does not fit is read
/// again after a barrier of the whole grid. (A cache that holds a sample makes it cheaper.)
pub(crate) fn read_again(p: &Params, whole: &RangeInclusive<u32>) -> u64 {
    let numbers = u64::from(p.nodes) * u64::from(p.channels / p.groups.max(1));
    u64::from(numbers > 4 * u64::from(*whole.end()))
}

/// A block for a whole group; else moments of a group over parts of the nodes, about 4096 numbers each, of all nodes, y.
fn launches(p: &Params) -> Dispatches {
    let (groups, width) = (p.batch * p.groups, p.channels / p.groups.max(1));
    if width.is_multiple_of(4) && WHOLE.contains(&(p.nodes * (width / 4))) {
        return Dispatches::one("group_norm_whole", groups);
    }
    let len = p.batch * p.nodes * p.channels;
    let parts = (p.nodes * width).div_ceil(4096).max(1);
    let moments = Dispatches::with_scratch(parts, 2 * groups as usize)
        .then("group_norm_parts", groups * parts)
        .then("group_norm_moments", groups.div_ceil(8));
    match width % 4 {
        0 => moments.then("group_norm", (len / 4).div_ceil(256)),
        _ => moments.then("group_norm_each", len.div_ceil(256)),
    }
}

/// One dispatch for samples that a workgroup holds; else moments of chunks, their merger, and the result.
fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    if p.batch * p.nodes * p.channels == 0 {
        return Dispatches::default();
    }
    let blocks = Blocks::of(p.channels);
    let chunks = p.nodes.div_ceil(4 * blocks.rows);
    let fours = p.channels.is_multiple_of(4);
    if chunks * blocks.count == 1 {
        return Dispatches::one(if fours { "group_norm" } else { "group_norm_each" }, p.batch);
    }
    let (parts, apply) = match fours {
        true => ("group_norm_parts", "group_norm_apply"),
        false => ("group_norm_parts_each", "group_norm_apply_each"),
    };
    let statistics = if limits.subgroups { "group_norm_statistics_subgroups" } else { "group_norm_statistics" };
    Dispatches::with_scratch(p.batch * chunks, 8 * p.channels.div_ceil(4) as usize)
        .then(parts, p.batch * chunks * blocks.count)
        .then(statistics, p.batch * p.groups)
        .then(apply, p.batch * chunks * blocks.count)
}

/// How workgroups of 256 invocations share the channels of a node, four an invocation.
pub(crate) struct Blocks {
    /// Workgroups for the channels of a node.
    pub count: u32,
    /// Nodes that a workgroup works on side by side.
    pub rows: u32,
}

impl Blocks {
    /// At most 32 times four channels a workgroup.
    pub(crate) fn of(channels: u32) -> Self {
        let columns = channels.div_ceil(4);
        let count = columns.div_ceil(32);
        Blocks { count, rows: 256 / columns.div_ceil(count) }
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, gamma, beta] = std::array::from_fn(|_| buffers.read::<T>());
    let [y, mean, rstd] = std::array::from_fn(|_| buffers.write::<T>());
    let (c, groups) = (p.channels as usize, p.groups as usize);
    let (len, chunk) = (p.nodes as usize * c, elements_of_a_task(c));
    if y.is_empty() {
        return;
    }
    let samples = y.par_chunks_mut(len).zip(x.par_chunks(len));
    samples.zip(mean.par_chunks_mut(groups)).zip(rstd.par_chunks_mut(groups)).for_each(|(((y, x), mean), rstd)| {
        let parts: Vec<Vec<Moments<T>>> = x
            .par_chunks(chunk)
            .map(|x| {
                T::vectorized(
                    #[inline(always)]
                    || channel_moments(x, c),
                )
            })
            .collect();
        for (g, (mean, rstd)) in mean.iter_mut().zip(rstd.iter_mut()).enumerate() {
            let of_group = parts.iter().flat_map(|part| &part[g * c / groups..(g + 1) * c / groups]);
            let all = of_group.fold(Moments::default(), Moments::merge);
            *mean = all.mean;
            *rstd = T::ONE / (all.squares / all.count + T::of(f64::from(p.eps))).sqrt();
        }
        let mean: Vec<T> = (0..c).map(|i| mean[i * groups / c]).collect();
        let scale: Vec<T> = (0..c).map(|i| rstd[i * groups / c] * gamma[i]).collect();
        y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
            T::vectorized(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
                        let constants = mean.iter().zip(&scale).zip(beta);
                        for ((y, x), ((mean, scale), beta)) in y.iter_mut().zip(x).zip(constants) {
                            *y = (*x - *mean).mul_add(*scale, *beta);
                        }
                    }
                },
            );
        });
    });
}

/// About [`CHUNK`] elements, whole nodes.
pub(crate) fn elements_of_a_task(channels: usize) -> usize {
    (CHUNK / channels.max(1)).max(1) * channels
}

/// Count, mean and sum of squares about the mean of some numbers.
#[derive(Clone, Copy, Default)]
struct Moments<T> {
    count: T,
    mean: T,
    squares: T,
}

impl<T: Real> Moments<T> {
    /// Moments of two sets together (Chan, Golub and LeVeque 1979); `other` is not empty.
    fn merge(self, other: &Self) -> Self {
        let count = self.count + other.count;
        let (delta, share) = (other.mean - self.mean, other.count / count);
        Moments {
            count,
            mean: delta.mul_add(share, self.mean),
            squares: self.squares + other.squares + delta * delta * self.count * share,
        }
    }
}

/// Moments of each channel over a chunk of nodes, in two passes over the cached chunk.
#[inline(always)]
fn channel_moments<T: Real>(x: &[T], c: usize) -> Vec<Moments<T>> {
    let count = T::of((x.len() / c) as f64);
    let (mut mean, mut squares) = (vec![T::ZERO; c], vec![T::ZERO; c]);
    for row in x.chunks_exact(c) {
        partials::add(&mut mean, row);
    }
    for mean in &mut mean {
        *mean /= count;
    }
    for row in x.chunks_exact(c) {
        for ((squares, x), mean) in squares.iter_mut().zip(row).zip(&mean) {
            *squares = (*x - *mean).mul_add(*x - *mean, *squares);
        }
    }
    mean.into_iter().zip(squares).map(|(mean, squares)| Moments { count, mean, squares }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Slot;

    /// Mean 1000 and variance 1/12: a naive sum of squares in f32 would lose the variance altogether.
    #[test]
    fn a_large_mean_costs_no_digits() {
        let (nodes, groups) = (30_011u32, 2u32);
        let p = Params { batch: 1, nodes, channels: 4, groups, eps: 0.0 };
        let x: Vec<f32> = (0..nodes * 4).map(|i| 1000.0 + (i * 7919 % 10_007) as f32 / 10_007.0).collect();
        let (gamma, beta) = ([1.0f32; 4], [0.0f32; 4]);
        let (mut y, mut mean, mut rstd) = (vec![0.0f32; x.len()], [0.0f32; 2], [0.0f32; 2]);
        run::<f32>(
            &p,
            Buffers::new(vec![
                Slot::Read(bytemuck::cast_slice(&x)),
                Slot::Read(bytemuck::cast_slice(&gamma)),
                Slot::Read(bytemuck::cast_slice(&beta)),
                Slot::Write(bytemuck::cast_slice_mut(&mut y)),
                Slot::Write(bytemuck::cast_slice_mut(&mut mean)),
                Slot::Write(bytemuck::cast_slice_mut(&mut rstd)),
            ]),
        );
        for g in 0..2 {
            let members: Vec<f64> = (0..x.len()).filter(|i| i % 4 / 2 == g).map(|i| f64::from(x[i])).collect();
            let expected = members.iter().sum::<f64>() / members.len() as f64;
            let variance = members.iter().map(|x| (x - expected).powi(2)).sum::<f64>() / members.len() as f64;
            assert!((f64::from(mean[g]) - expected).abs() < 2e-4, "mean {} of {expected}", mean[g]);
            let found = f64::from(rstd[g]).powi(-2);
            assert!((found / variance - 1.0).abs() < 1e-4, "variance {found} of {variance}");
        }
    }
}
