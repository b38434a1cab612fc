//! `accumulate`: y = x or y += x, element by element.
//!
//! Shapes: x, y `[len]`. Bound by memory: 12 bytes an element to add, 8 to copy.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 15;

/// Parameters of [`ACCUMULATE`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    /// 1 adds to y, 0 replaces it.
    pub add: u32,
}

/// y = x or y += x.
pub static ACCUMULATE: Kernel<Params> = Kernel {
    name: "accumulate",
    buffers: &[("x", Access::Read), ("y", Access::Update)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("accumulate.wgsl", include_str!("../../shaders/accumulate.wgsl"))],
        dispatches: |p, _| Dispatches::one("accumulate", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("accumulate.ptx", include_str!("../ptx/accumulate.ptx"))],
        dispatches: |p, _| Dispatches::one("accumulate", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: u64::from(p.len * p.add), bytes: 4 * u64::from(p.len) * (2 + u64::from(p.add)) },
};

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        if p.add == 0 {
            y.copy_from_slice(x);
            return;
        }
        T::vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y += *x;
                }
            },
        );
    });
}
