//! `reduce`: sum, mean or maximum over the middle axis.
//!
//! y[o, i] = scale * sum_r x[o, r, i], or max_r x[o, r, i]. Shapes: x `[outer, len, inner]`, y `[outer, inner]`.
//! Two stages with a fixed order: chunks of rows are reduced in parallel, then their partial results one after the
//! other, so the bits do not depend on the number of threads. Bound by memory: 4 bytes an element of x.

use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real, simd};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Sum.
pub const SUM: u32 = 0;
/// Maximum.
pub const MAX: u32 = 1;

/// Elements of x that one task reduces.
const CHUNK: usize = 1 << 14;

/// Parameters of [`REDUCE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Slower axes together.
    pub outer: u32,
    /// The reduced axis.
    pub len: u32,
    /// Faster axes together.
    pub inner: u32,
    /// [`SUM`] or [`MAX`].
    pub kind: u32,
    /// Factor of a sum: 1, or one over the length for a mean.
    pub scale: f32,
}

/// y = reduction of x over its middle axis.
pub static REDUCE: Kernel<Params> = Kernel {
    name: "reduce",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl { files: &[("reduce.wgsl", include_str!("../../shaders/reduce.wgsl"))], dispatches },
    ptx: Ptx { files: &[("reduce.ptx", include_str!("../ptx/reduce.ptx"))], dispatches: |p, _| ptx_dispatches(p) },
    cost: |p, _| {
        let [outer, len, inner] = [p.outer, p.len, p.inner].map(u64::from);
        Cost { flops: outer * len * inner, bytes: 4 * outer * (len + 1) * inner }
    },
};

/// Several parts of the rows where there are too few columns for a whole GPU.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let width = p.inner.next_power_of_two().min(256);
    let groups = p.outer * p.inner.div_ceil(width);
    // Every invocation of a part has sixteen rows or more.
    let parts = (p.len / (16 * (256 / width))).clamp(1, 512u32.div_ceil(groups.max(1)));
    if parts == 1 {
        return Dispatches::one("reduce", groups);
    }
    let elements = p.outer * p.inner;
    Dispatches::with_scratch(parts, elements as usize)
        .then("reduce_parts", groups * parts)
        .then("reduce_last", elements.div_ceil(256))
}

/// Teams of a block's threads reduce a block of columns each, in fours where the rows are whole fours.
fn ptx_dispatches(p: &Params) -> Dispatches {
    let (entry, len, inner) = match p.inner {
        1 if p.len.is_multiple_of(4) => ("reduce_fours", p.len / 4, 1),
        inner if inner.is_multiple_of(4) => ("reduce_fours", p.len, inner / 4),
        inner => ("reduce", p.len, inner),
    };
    let (blocks, depth) = teams(p.outer, len, inner);
    // Every thread of a part has sixteen rows or more.
    let parts = (len / (16 * depth)).clamp(1, (512 / blocks.max(1)).max(1));
    if parts == 1 {
        return Dispatches::one(entry, blocks);
    }
    let elements = p.outer * p.inner;
    Dispatches::with_scratch(parts, elements as usize)
        .then(entry, blocks * parts)
        .then("reduce_last", elements.div_ceil(32))
}

/// Blocks of 256 threads for `[outer, len, inner]`, and the threads along the rows. A team has a power of two of
/// threads along the columns, as many as there are, and along the rows, a quarter of them.
pub(crate) fn teams(outer: u32, len: u32, inner: u32) -> (u32, u32) {
    let width = inner.next_power_of_two().min(256);
    let depth = len.div_ceil(4).next_power_of_two().min(256 / width);
    (outer.div_ceil(256 / (width * depth)) * inner.div_ceil(width), depth)
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    let (len, inner) = (p.len as usize, p.inner as usize);
    if y.is_empty() {
        return;
    }
    let rows = (CHUNK / inner).max(1);
    let scale = if p.kind == SUM { T::of(f64::from(p.scale)) } else { T::ONE };
    y.par_chunks_mut(inner).enumerate().for_each(|(o, y)| {
        let x = &x[o * len * inner..(o + 1) * len * inner];
        let partials: Vec<Vec<T>> = x
            .par_chunks(rows * inner)
            .map(|x| {
                T::vectorized(
                    #[inline(always)]
                    || chunk(x, inner, p.kind),
                )
            })
            .collect();
        T::vectorized(
            #[inline(always)]
            || {
                y.fill(identity(p.kind));
                for partial in &partials {
                    fold(y, partial, p.kind);
                }
                for y in y.iter_mut() {
                    *y *= scale;
                }
            },
        );
    });
}

fn identity<T: Real>(kind: u32) -> T {
    if kind == SUM { T::ZERO } else { T::of(f64::NEG_INFINITY) }
}

#[inline(always)]
fn fold<T: Real>(y: &mut [T], x: &[T], kind: u32) {
    if kind == SUM {
        for (y, x) in y.iter_mut().zip(x) {
            *y += *x;
        }
    } else {
        for (y, x) in y.iter_mut().zip(x) {
            *y = x.max(*y);
        }
    }
}

#[inline(always)]
fn chunk<T: Real>(x: &[T], inner: usize, kind: u32) -> Vec<T> {
    if inner == 1 && kind == SUM {
        return vec![simd::sum(x.len(), |i| x[i])];
    }
    let mut y = vec![identity(kind); inner];
    for row in x.chunks_exact(inner) {
        fold(&mut y, row, kind);
    }
    y
}
