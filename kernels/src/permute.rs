//! `permute`: y is x with its axes in another order.
//!
//! Shapes: y of the lengths `dims`, whose axes have the strides `strides` in x; axes that stay neighbours are merged
//! beforehand. When the fastest axis stays, rows are copied. Otherwise bands of 16 lines along the axis that is
//! fastest in x are written together, so that every cache line of x is used whole. Bound by memory: 8 bytes an element.

use crate::layout::{AXES, offset, pieces};
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;
/// Lines of y that are written together: one cache line of x in f32.
const BAND: usize = 16;
const LAST: usize = AXES - 1;

/// Parameters of [`PERMUTE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    /// Lengths of the axes of y, from [`layout::merge`](crate::layout::merge).
    pub dims: [u32; AXES],
    /// Strides of those axes in x.
    pub strides: [u32; AXES],
}

/// y = x with its axes in another order.
pub static PERMUTE: Kernel<Params> = Kernel {
    name: "permute",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("permute.wgsl", include_str!("../../shaders/permute.wgsl"))],
        dispatches: |p, _| dispatches(p),
    },
    ptx: Ptx { files: &[("permute.ptx", include_str!("../ptx/permute.ptx"))], dispatches: |p, _| ptx_dispatches(p) },
    cost: |p, _| Cost { flops: 0, bytes: 8 * u64::from(p.len) },
};

/// Copies where the fastest axis stays, else a transposition in tiles of 32 by 32.
fn dispatches(p: &Params) -> Dispatches {
    match p.strides.iter().rposition(|stride| *stride == 1) {
        Some(LAST) if [&p.dims[LAST..], &p.strides[..LAST]].concat().iter().all(|n| n.is_multiple_of(4)) => {
            Dispatches::one("permute_fours", p.len.div_ceil(1024))
        }
        Some(LAST) | None => Dispatches::one("permute", p.len.div_ceil(256)),
        Some(unit) => {
            let (across, down) = (p.dims[LAST].div_ceil(32), p.dims[unit].div_ceil(32));
            let planes = p.len.checked_div(p.dims[LAST] * p.dims[unit]).unwrap_or(0);
            Dispatches::one("permute_tiles", planes * across * down)
        }
    }
}

/// The same, but without tiles where lines of y are short, and with tiles of whole fours where all lines are.
fn ptx_dispatches(p: &Params) -> Dispatches {
    let whole = |n: &u32| n.is_multiple_of(4);
    let unit = p.strides.iter().rposition(|stride| *stride == 1).unwrap_or(LAST);
    match dispatches(p).steps[..] {
        [("permute_tiles", blocks)] if p.dims[LAST] > 8 => {
            let aligned = [p.dims[unit], p.dims[LAST]].iter().all(whole)
                && p.strides.iter().all(|stride| *stride == 1 || whole(stride));
            Dispatches::one(if aligned { "permute_tile_fours" } else { "permute_tiles" }, blocks)
        }
        [("permute_fours", blocks)] => Dispatches::one("permute_fours", blocks),
        _ => Dispatches::one("permute", p.len.div_ceil(1024)),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    // Without an axis of stride 1 there is at most one element.
    match p.strides.iter().rposition(|stride| *stride == 1) {
        Some(LAST) | None => copy_rows(p, x, y),
        Some(unit) => transpose(p, unit, x, y),
    }
}

fn copy_rows<T: Real>(p: &Params, x: &[T], y: &mut [T]) {
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(task, y)| {
        pieces(task * CHUNK, y.len(), p.dims[LAST] as usize, |row, column, range| {
            let start = offset(row, &p.dims[..LAST], &p.strides[..LAST]) + column;
            y[range.clone()].copy_from_slice(&x[start..start + range.len()]);
        });
    });
}

/// `unit` is the axis of y that is fastest in x.
fn transpose<T: Real>(p: &Params, unit: usize, x: &[T], y: &mut [T]) {
    let length = p.dims[unit] as usize;
    let row: usize = p.dims[unit + 1..].iter().map(|d| *d as usize).product();
    let last = p.dims[LAST] as usize;
    if y.is_empty() {
        return;
    }
    y.par_chunks_mut(length * row).enumerate().for_each(|(o, y)| {
        let outer = offset(o, &p.dims[..unit], &p.strides[..unit]);
        y.par_chunks_mut(BAND * row).enumerate().with_min_len((CHUNK / (BAND * row)).max(1)).for_each(|(band, y)| {
            for middle in 0..row / last {
                let inner = offset(middle, &p.dims[unit + 1..LAST], &p.strides[unit + 1..LAST]);
                let x = &x[outer + band * BAND + inner..];
                for l in 0..last {
                    let x = &x[l * p.strides[LAST] as usize..];
                    for (y, x) in y[middle * last + l..].iter_mut().step_by(row).zip(x) {
                        *y = *x;
                    }
                }
            }
        });
    });
}
