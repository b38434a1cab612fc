//! `group_norm_backward`: the gradients of [`group_norm`](crate::group_norm).
//!
//! With h = (x - mean) rstd: dbeta = sum_bn dy, dgamma = sum_bn dy h, and in each sample and group of m elements
//! dx = rstd (dy gamma - s1 / m - h s2 / m) with s1 = sum dy gamma and s2 = sum dy gamma h.
//! Shapes: x, dy, dx `[b, n, c]`, gamma, dgamma, dbeta `[c]`, mean, rstd `[b, g]`. One pass gives the sums of each
//! channel over chunks of nodes, added in their order; a second one writes dx. Bound by memory: 20 bytes an
//! element, 12 where a sample fits the last-level cache.

use crate::group_norm::{Blocks, Params, elements_of_a_task, read_again};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, partials};
use rayon::prelude::*;
use std::ops::RangeInclusive;

/// dx, dgamma and dbeta.
pub static GROUP_NORM_BACKWARD: Kernel<Params> = Kernel {
    name: "group_norm_backward",
    buffers: &[
        ("x", Access::Read),
        ("gamma", Access::Read),
        ("mean", Access::Read),
        ("rstd", Access::Read),
        ("dy", Access::Read),
        ("dx", Access::Write),
        ("dgamma", Access::Write),
        ("dbeta", Access::Write),
    ],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("group_norm_backward.wgsl", include_str!("../../shaders/group_norm_backward.wgsl")),
            ("group_norm.blocks.wgsl", include_str!("../../shaders/group_norm.blocks.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[
            ("group_norm_backward.ptx", include_str!("../ptx/group_norm_backward.ptx")),
            ("group_norm_backward.whole.ptx", include_str!("../ptx/group_norm_backward.whole.ptx")),
        ],
        dispatches: |p, _| launches(p),
    },
    cost: |p, _| {
        let [b, n, c, g] = [p.batch, p.nodes, p.channels, p.groups].map(u64::from);
        // Both x and dy are read again.
        let times = 3 + 2 * read_again(p, &WHOLE);
        Cost { flops: 10 * b * n * c, bytes: 4 * times * b * n * c + 12 * c + 8 * b * g }
    },
};

/// Fours of a group for which a block is worth its while, and that its registers hold twice.
const WHOLE: RangeInclusive<u32> = 256..=5120;

/// A block for a whole group; else sums of channels over parts of the nodes, about 16384 numbers each, their sums over
/// groups, and dx. Sums over samples.
fn launches(p: &Params) -> Dispatches {
    let (groups, len) = (p.batch * p.groups, p.batch * p.nodes * p.channels);
    let (width, columns) = (p.channels / p.groups.max(1), (2 * p.channels).div_ceil(8));
    let aligned = width.is_multiple_of(4) && (width / 4).is_power_of_two() && width <= 2048;
    if aligned && WHOLE.contains(&(p.nodes * (width / 4))) {
        return Dispatches::with_scratch(1, (2 * p.batch * p.channels) as usize)
            .then("group_norm_backward_whole", groups)
            .then("group_norm_backward_columns", columns);
    }
    let parts = (p.nodes * p.channels).div_ceil(16384).max(1);
    let sums = (2 * p.batch * p.channels) as usize;
    // Sums of every part and sample, then two of every group.
    let scratch = Dispatches::with_scratch(parts, sums + (2 * groups as usize).div_ceil(parts as usize));
    let (first, last) = match width.is_multiple_of(4) {
        true => (("group_norm_backward_parts", p.channels / 4), ("group_norm_backward", len / 4)),
        false => (("group_norm_backward_parts_each", p.channels), ("group_norm_backward_each", len)),
    };
    scratch
        .then(first.0, p.batch * parts * first.1.div_ceil(256))
        .then("group_norm_backward_groups", groups.div_ceil(8))
        .then("group_norm_backward_columns", columns)
        .then(last.0, last.1.div_ceil(256))
}

/// Sums of chunks, their merger in each group, dx; one dispatch for samples that a workgroup holds. Then the sums of all
/// chunks. Scratch memory has a part for each chunk, and one a sample for its groups.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    if p.channels == 0 {
        return Dispatches::default();
    }
    let blocks = Blocks::of(p.channels);
    let chunks = p.nodes.div_ceil(4 * blocks.rows);
    let fours = p.channels.is_multiple_of(4);
    let scratch = Dispatches::with_scratch(p.batch * (chunks + 1), 8 * p.channels.div_ceil(4) as usize);
    let first = if chunks * blocks.count == 1 {
        scratch.then(if fours { "group_norm_backward" } else { "group_norm_backward_each" }, p.batch)
    } else {
        let (parts, apply) = match fours {
            true => ("group_norm_backward_parts", "group_norm_backward_apply"),
            false => ("group_norm_backward_parts_each", "group_norm_backward_apply_each"),
        };
        scratch
            .then(parts, p.batch * chunks * blocks.count)
            .then("group_norm_backward_groups", p.batch * p.groups * chunks.min(1))
            .then(apply, p.batch * chunks * blocks.count)
    };
    first.then("group_norm_backward_channels", (2 * p.channels).div_ceil(32))
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let [x, gamma, mean, rstd, dy] = std::array::from_fn(|_| buffers.read::<T>());
    let [dx, dgamma, dbeta] = std::array::from_fn(|_| buffers.write::<T>());
    let (c, groups) = (p.channels as usize, p.groups as usize);
    let len = p.nodes as usize * c;
    if c == 0 {
        return;
    }
    let samples = dx.par_chunks_mut(len.max(1)).zip(x.par_chunks(len.max(1))).zip(dy.par_chunks(len.max(1)));
    let samples = samples.zip(mean.par_chunks(groups)).zip(rstd.par_chunks(groups));
    let sums: Vec<Vec<T>> = samples
        .map(|((((dx, x), dy), mean), rstd)| {
            let of_channel = |values: &[T]| -> Vec<T> { (0..c).map(|i| values[i * groups / c]).collect() };
            sample(x, dy, gamma, (&of_channel(mean), &of_channel(rstd)), dx, groups)
        })
        .collect();
    partials::sum_into(dbeta, &sums.iter().map(|s| &s[..c]).collect::<Vec<_>>());
    partials::sum_into(dgamma, &sums.iter().map(|s| &s[c..]).collect::<Vec<_>>());
}

/// dx of one sample; returns its part of dbeta, then of dgamma. `mean` and `rstd` are repeated for every channel.
fn sample<T: Real>(x: &[T], dy: &[T], gamma: &[T], (mean, rstd): (&[T], &[T]), dx: &mut [T], groups: usize) -> Vec<T> {
    let c = gamma.len();
    let chunk = elements_of_a_task(c);
    let parts: Vec<Vec<T>> = x
        .par_chunks(chunk)
        .zip(dy.par_chunks(chunk))
        .map(|(x, dy)| {
            T::vectorized(
                #[inline(always)]
                || channel_sums(x, dy, mean, rstd),
            )
        })
        .collect();
    let mut sums = vec![T::ZERO; 2 * c];
    for part in &parts {
        partials::add(&mut sums, part);
    }
    // dx = rstd (dy gamma - s1 - (x - mean) s2) with constants of the channel's group.
    let (width, count) = (c / groups, T::of((x.len() / groups) as f64));
    let mean_of_group = |sums: &[T], i: usize| -> T {
        let group = i / width * width..(i / width + 1) * width;
        group.map(|j| gamma[j] * sums[j]).sum::<T>() / count
    };
    let s1: Vec<T> = (0..c).map(|i| mean_of_group(&sums[..c], i)).collect();
    let s2: Vec<T> = (0..c).map(|i| rstd[i] * mean_of_group(&sums[c..], i)).collect();
    dx.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).zip(dy.par_chunks(chunk)).for_each(|((dx, x), dy)| {
        T::vectorized(
            #[inline(always)]
            || {
                let (s1, s2, gamma, mean, rstd) = (&s1[..c], &s2[..c], &gamma[..c], &mean[..c], &rstd[..c]);
                for ((dx, x), dy) in dx.chunks_exact_mut(c).zip(x.chunks_exact(c)).zip(dy.chunks_exact(c)) {
                    for i in 0..c {
                        dx[i] = rstd[i] * (dy[i] * gamma[i] - s1[i] - (x[i] - mean[i]) * s2[i]);
                    }
                }
            },
        );
    });
    sums
}

/// Sums of dy, then of dy h, for each channel of a chunk of nodes.
#[inline(always)]
fn channel_sums<T: Real>(x: &[T], dy: &[T], mean: &[T], rstd: &[T]) -> Vec<T> {
    let c = mean.len();
    let mut sums = vec![T::ZERO; 2 * c];
    let (dbeta, dgamma) = sums.split_at_mut(c);
    for (x, dy) in x.chunks_exact(c).zip(dy.chunks_exact(c)) {
        for i in 0..c {
            dbeta[i] += dy[i];
            dgamma[i] = dy[i].mul_add(x[i] - mean[i], dgamma[i]);
        }
    }
    for (dgamma, rstd) in dgamma.iter_mut().zip(rstd) {
        *dgamma *= *rstd;
    }
    sums
}
