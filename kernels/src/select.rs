//! `select` and `select_backward`: y = a where the mask is not 0, else b; da and db are dy at their own places, else 0.
//!
//! Shapes: all `[len]`. Bound by memory: 16 bytes an element.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// Parameters of [`SELECT`] and [`SELECT_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
}

/// y = a where mask != 0, else b.
pub static SELECT: Kernel<Params> = Kernel {
    name: "select",
    buffers: &[("mask", Access::Read), ("a", Access::Read), ("b", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("select.wgsl", include_str!("../../shaders/select.wgsl"))],
        dispatches: |p, _| Dispatches::one("select_elements", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("select.ptx", include_str!("../ptx/select.ptx"))],
        dispatches: |p, _| Dispatches::one("select", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 0, bytes: 16 * u64::from(p.len) },
};

/// da = dy where mask != 0, db = dy elsewhere; either may be absent.
pub static SELECT_BACKWARD: Kernel<Params> = Kernel {
    name: "select_backward",
    buffers: &[("mask", Access::Read), ("dy", Access::Read), ("da", Access::Write), ("db", Access::Write)],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("select_backward.wgsl", include_str!("../../shaders/select_backward.wgsl"))],
        dispatches: |p, _| Dispatches::one("select_backward", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("select_backward.ptx", include_str!("../ptx/select_backward.ptx"))],
        dispatches: |p, _| Dispatches::one("select_backward", p.len.div_ceil(1024)),
    },
    cost: |p, given| {
        let gradients = ["da", "db"].map(|name| u64::from(given(name))).iter().sum::<u64>();
        Cost { flops: 0, bytes: 4 * (2 + gradients) * u64::from(p.len) }
    },
};

fn forward<T: Real>(_: &Params, mut buffers: Buffers<'_>) {
    let (mask, a, b) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>());
    let y = buffers.write::<T>();
    let operands = mask.par_chunks(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK));
    y.par_chunks_mut(CHUNK).zip(operands).for_each(|(y, ((mask, a), b))| {
        T::vectorized(
            #[inline(always)]
            || {
                for (((y, m), a), b) in y.iter_mut().zip(mask).zip(a).zip(b) {
                    *y = if *m != T::ZERO { *a } else { *b };
                }
            },
        );
    });
}

fn backward<T: Real>(_: &Params, mut buffers: Buffers<'_>) {
    let (mask, dy) = (buffers.read::<T>(), buffers.read::<T>());
    for chosen in [true, false] {
        let dx = buffers.write::<T>();
        dx.par_chunks_mut(CHUNK).zip(mask.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(|((dx, mask), dy)| {
            T::vectorized(
                #[inline(always)]
                || {
                    for ((dx, m), dy) in dx.iter_mut().zip(mask).zip(dy) {
                        *dx = if (*m != T::ZERO) == chosen { *dy } else { T::ZERO };
                    }
                },
            );
        });
    }
}
