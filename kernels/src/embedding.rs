//! `embedding` and `embedding_backward`: rows of a table by index, and the sum of the gradients of each row.
//!
//! `y[r, :] = table[index[r], :]`; `dtable[j, :]` = sum of `dy[r, :]` over the r with `index[r] = j`, in order of r.
//! Shapes: table, dtable `[v, c]`, index `[rows]` (whole numbers below v), y, dy `[rows, c]`. The backward sorts the
//! rows by index first, then every row of the table is summed by one task. Bound by memory: 8 bytes an element of y.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 13;

/// Parameters of [`EMBEDDING`] and [`EMBEDDING_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of indices.
    pub rows: u32,
    /// Rows of the table.
    pub v: u32,
    /// Columns of the table.
    pub c: u32,
}

/// y = rows of the table.
pub static EMBEDDING: Kernel<Params> = Kernel {
    name: "embedding",
    buffers: &[("table", Access::Read), ("index", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("embedding.wgsl", include_str!("../../shaders/embedding.wgsl"))],
        dispatches: |p, _| match p.c.is_multiple_of(4) {
            true => Dispatches::one("embedding_fours", (p.rows * p.c).div_ceil(1024)),
            false => Dispatches::one("embedding", (p.rows * p.c).div_ceil(256)),
        },
    },
    ptx: Ptx { files: &[("embedding.ptx", include_str!("../ptx/embedding.ptx"))], dispatches: |p, _| dispatches(p) },
    cost: |p, _| Cost { flops: 0, bytes: 4 * u64::from(p.rows) * (2 * u64::from(p.c) + 1) },
};

/// dtable = gradients of the rows, summed by index.
pub static EMBEDDING_BACKWARD: Kernel<Params> = Kernel {
    name: "embedding_backward",
    buffers: &[("index", Access::Read), ("dy", Access::Read), ("dtable", Access::Write)],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("embedding_backward.wgsl", include_str!("../../shaders/embedding_backward.wgsl"))],
        dispatches: |p, _| {
            let elements = p.v * p.c;
            // No more memory for the parts than a gradient of the rows takes.
            let parts = (p.rows / p.v.max(1024)).min(256);
            if parts < 2 {
                return Dispatches::one("embedding_backward", elements.div_ceil(256));
            }
            Dispatches::with_scratch(parts, elements as usize)
                .then("embedding_backward_parts", (elements * parts).div_ceil(256))
                .then("embedding_backward_last", elements.div_ceil(256))
        },
    },
    ptx: Ptx {
        files: &[("embedding_backward.ptx", include_str!("../ptx/embedding_backward.ptx"))],
        dispatches: |p, _| {
            let (elements, warps) = (p.v * p.c, p.v * p.c.div_ceil(128));
            // Writing and reading the parts moves a twelfth of what a gradient of the rows does, or less.
            let parts = (p.rows / (24 * p.v).max(1024)).min(256);
            if parts < 2 {
                return Dispatches::one("embedding_backward", warps.div_ceil(8));
            }
            Dispatches::with_scratch(parts, elements as usize)
                .then("embedding_backward", (warps * parts).div_ceil(8))
                .then("embedding_backward_last", elements.div_ceil(256))
        },
    },
    cost: |p, _| {
        let [rows, v, c] = [p.rows, p.v, p.c].map(u64::from);
        Cost { flops: rows * c, bytes: 4 * (rows * (c + 1) + v * c) }
    },
};

fn dispatches(p: &Params) -> Dispatches {
    match p.c.is_multiple_of(4) {
        true => Dispatches::one("embedding_fours", (p.rows * p.c).div_ceil(1024)),
        false => Dispatches::one("embedding", (p.rows * p.c).div_ceil(256)),
    }
}

fn forward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (table, index, y) = (buffers.read::<T>(), buffers.read::<u32>(), buffers.write::<T>());
    let c = p.c as usize;
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(c).zip(index).with_min_len((CHUNK / c).max(1)).for_each(|(y, j)| {
        y.copy_from_slice(&table[*j as usize * c..][..c]);
    });
}

fn backward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (index, dy, dtable) = (buffers.read::<u32>(), buffers.read::<T>(), buffers.write::<T>());
    let c = p.c as usize;
    if dtable.is_empty() {
        return;
    }
    let (starts, order) = sort(index, p.v as usize);
    dtable.par_chunks_mut(c).enumerate().for_each(|(j, dtable)| {
        T::vectorized(
            #[inline(always)]
            || {
                dtable.fill(T::ZERO);
                for r in &order[starts[j]..starts[j + 1]] {
                    for (d, dy) in dtable.iter_mut().zip(&dy[*r as usize * c..][..c]) {
                        *d += *dy;
                    }
                }
            },
        );
    });
}

/// A counting sort: the rows with index j are `order[starts[j]..starts[j + 1]]`, in their own order.
fn sort(index: &[u32], v: usize) -> (Vec<usize>, Vec<u32>) {
    let mut starts = vec![0; v + 1];
    for j in index {
        starts[*j as usize + 1] += 1;
    }
    for j in 0..v {
        starts[j + 1] += starts[j];
    }
    let mut next = starts.clone();
    let mut order = vec![0; index.len()];
    for (r, j) in index.iter().enumerate() {
        order[next[*j as usize]] = r as u32;
        next[*j as usize] += 1;
    }
    (starts, order)
}
