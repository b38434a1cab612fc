//! `columns`: copies a run of columns of one matrix to a place in another: the core of slicing, joining and rolling.
//!
//! y[r, y_start + i] = x[r, x_start + i] for i < width; the other columns of y become 0 with `fill` and stay otherwise.
//! Shapes: x `[rows, x_row]`, y `[rows, y_row]`. Bound by memory: 8 bytes a copied element.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 15;

/// Parameters of [`COLUMNS`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Rows of both matrices.
    pub rows: u32,
    /// Columns to copy.
    pub width: u32,
    /// Columns of x.
    pub x_row: u32,
    /// First column read.
    pub x_start: u32,
    /// Columns of y.
    pub y_row: u32,
    /// First column written.
    pub y_start: u32,
    /// 1 clears the other columns of y, 0 leaves them.
    pub fill: u32,
}

/// Copies columns of x into y.
pub static COLUMNS: Kernel<Params> = Kernel {
    name: "columns",
    buffers: &[("x", Access::Read), ("y", Access::Update)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("columns.wgsl", include_str!("../../shaders/columns.wgsl"))],
        dispatches: |p, _| {
            let elements = p.rows * if p.fill == 1 { p.y_row } else { p.width };
            match [p.width, p.x_row, p.x_start, p.y_row, p.y_start].iter().all(|size| size.is_multiple_of(4)) {
                true => Dispatches::one("columns_fours", elements.div_ceil(1024)),
                false => Dispatches::one("columns", elements.div_ceil(256)),
            }
        },
    },
    ptx: Ptx { files: &[("columns.ptx", include_str!("../ptx/columns.ptx"))], dispatches: |p, _| dispatches(p) },
    cost: |p, _| {
        let [rows, width, y_row, fill] = [p.rows, p.width, p.y_row, p.fill].map(u64::from);
        Cost { flops: 0, bytes: 4 * rows * (2 * width + fill * (y_row - width)) }
    },
};

fn dispatches(p: &Params) -> Dispatches {
    let elements = p.rows * if p.fill == 1 { p.y_row } else { p.width };
    match [p.width, p.x_row, p.x_start, p.y_row, p.y_start].iter().all(|size| size.is_multiple_of(4)) {
        true => Dispatches::one("columns_fours", elements.div_ceil(1024)),
        false => Dispatches::one("columns", elements.div_ceil(256)),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    let [width, x_row, x_start, y_row, y_start] = [p.width, p.x_row, p.x_start, p.y_row, p.y_start].map(|v| v as usize);
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(y_row).enumerate().with_min_len((CHUNK / y_row).max(1)).for_each(|(row, y)| {
        let (before, rest) = y.split_at_mut(y_start);
        let (copied, after) = rest.split_at_mut(width);
        copy(&x[row * x_row + x_start..][..width], copied);
        if p.fill == 1 {
            before.fill(T::ZERO);
            after.fill(T::ZERO);
        }
    });
}

fn copy<T: Real>(x: &[T], y: &mut [T]) {
    if y.len() <= CHUNK {
        y.copy_from_slice(x);
    } else {
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| y.copy_from_slice(x));
    }
}
