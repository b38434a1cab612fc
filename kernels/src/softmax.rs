//! `softmax`: exponentials of a row over their sum.
//!
//! y[r, i] = exp(x[r, i] - max_i x[r, i]) / sum_i of the same. Shapes: x, y `[rows, c]`. A row stays in the
//! first-level cache for its maximum, its exponentials and their sum. Bound by memory for long rows (8 bytes an
//! element), by the polynomial of `exp` in cache.

use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;
/// Partial maxima that keep a row in SIMD registers.
const LANES: usize = 16;

/// Parameters of [`SOFTMAX`] and of its gradient.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of rows.
    pub rows: u32,
    /// Elements of a row.
    pub channels: u32,
}

/// y = softmax of every row of x.
pub static SOFTMAX: Kernel<Params> = Kernel {
    name: "softmax",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("softmax.wgsl", include_str!("../../shaders/softmax.wgsl")),
            ("softmax.teams.wgsl", include_str!("../../shaders/softmax.teams.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[("softmax.ptx", include_str!("../ptx/softmax.ptx"))],
        dispatches: |p, _| row_dispatches("softmax", "softmax_each", p.rows, p.channels),
    },
    cost: |p, _| {
        let len = u64::from(p.rows) * u64::from(p.channels);
        Cost { flops: 4 * len, bytes: 8 * len }
    },
};

/// One launch over rows: of `fours` where up to four 16-byte loads of each of 32 lanes or fewer hold a row, else of
/// `each`, a warp a row.
pub(crate) fn row_dispatches(fours: &'static str, each: &'static str, rows: u32, channels: u32) -> Dispatches {
    match rows_of_a_block(channels) {
        Some(of_a_block) => Dispatches::one(fours, rows.div_ceil(of_a_block)),
        None => Dispatches::one(each, rows.div_ceil(8)),
    }
}

/// Rows that a block of 256 threads has at a time: a power of two of lanes each, enough for its fours, at most 32.
pub(crate) fn rows_of_a_block(channels: u32) -> Option<u32> {
    (channels.is_multiple_of(4) && channels <= 512).then(|| 256 / (channels / 4).next_power_of_two().min(32))
}

fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    match (p.channels, limits.subgroups) {
        (2049.., _) => Dispatches::one("softmax_long", p.rows),
        (c, false) if c.is_multiple_of(4) => Dispatches::one("softmax", groups_of_teams(p.rows, c)),
        (c, true) if c.is_multiple_of(4) => Dispatches::one("softmax_subgroups", groups_of_teams(p.rows, c)),
        (c, false) => Dispatches::one("softmax_each", groups_of_teams(p.rows, c)),
        (c, true) => Dispatches::one("softmax_each_subgroups", groups_of_teams(p.rows, c)),
    }
}

/// Workgroups of 256 invocations, of which a power of two have a row of up to 2048 elements, eight or fewer each.
pub(crate) fn groups_of_teams(rows: u32, channels: u32) -> u32 {
    match channels {
        0 => 0,
        _ => rows.div_ceil(256 / channels.div_ceil(8).next_power_of_two()),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    if y.is_empty() {
        return;
    }
    let chunk = elements_of_a_task(p);
    y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
        T::vectorized(
            #[inline(always)]
            || {
                y.copy_from_slice(x);
                softmax_rows(y, p.channels as usize);
            },
        );
    });
}

/// About [`CHUNK`] elements, whole rows.
pub(crate) fn elements_of_a_task(p: &Params) -> usize {
    let c = p.channels as usize;
    (CHUNK / c).max(1) * c
}

/// Replaces every row of `width` elements by its softmax.
#[inline(always)]
pub(crate) fn softmax_rows<T: Real>(x: &mut [T], width: usize) {
    for row in x.chunks_exact_mut(width) {
        let max = largest(row);
        for x in row.iter_mut() {
            *x = (*x - max).exp();
        }
        let factor = T::ONE / simd::sum(width, |i| row[i]);
        for x in row.iter_mut() {
            *x *= factor;
        }
    }
}

/// Replaces the gradient of a softmax `y` of rows by that of its argument: dx = y (dy - sum_i y dy).
#[inline(always)]
pub(crate) fn softmax_rows_backward<T: Real>(y: &[T], dy: &mut [T], width: usize) {
    for (y, dy) in y.chunks_exact(width).zip(dy.chunks_exact_mut(width)) {
        let sum = simd::sum(width, |i| y[i] * dy[i]);
        for (y, dy) in y.iter().zip(dy) {
            *dy = *y * (*dy - sum);
        }
    }
}

#[inline(always)]
fn largest<T: Real>(row: &[T]) -> T {
    let mut lanes = [row[0]; LANES];
    let blocks = row.chunks_exact(LANES);
    for (lane, x) in lanes.iter_mut().zip(blocks.remainder()) {
        *lane = x.max(*lane);
    }
    for block in blocks {
        for (lane, x) in lanes.iter_mut().zip(block) {
            *lane = x.max(*lane);
        }
    }
    lanes.into_iter().fold(row[0], |max, x| x.max(max))
}
