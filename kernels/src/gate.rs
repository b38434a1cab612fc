//! `gate` and `gate_backward`: y = sigmoid(g) tanh(h), where g and h are the halves of the last axis of x.
//!
//! Shapes: x, dx `[rows, 2c]`, y, dy `[rows, c]`. The backward computes both functions again rather than read them.
//! Bound by the two exponentials of an element; 12 and 20 bytes an element of y.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of y of one task.
const CHUNK: usize = 1 << 12;

/// Parameters of [`GATE`] and [`GATE_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// All axes but the last together.
    pub rows: u32,
    /// Half the length of the last axis of x.
    pub c: u32,
}

/// y = sigmoid(g) tanh(h).
pub static GATE: Kernel<Params> = Kernel {
    name: "gate",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("gate.wgsl", include_str!("../../shaders/gate.wgsl"))],
        dispatches: |p, _| elementwise(p, "gate", "gate_each"),
    },
    ptx: Ptx {
        files: &[("gate.ptx", include_str!("../ptx/gate.ptx"))],
        dispatches: |p, _| launches(p, ["gate_fours", "gate"]),
    },
    cost: |p, _| {
        let len = u64::from(p.rows) * u64::from(p.c);
        Cost { flops: 40 * len, bytes: 12 * len }
    },
};

/// dg = dy tanh(h) sigmoid'(g), dh = dy sigmoid(g) tanh'(h).
pub static GATE_BACKWARD: Kernel<Params> = Kernel {
    name: "gate_backward",
    buffers: &[("x", Access::Read), ("dy", Access::Read), ("dx", Access::Write)],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("gate_backward.wgsl", include_str!("../../shaders/gate_backward.wgsl"))],
        dispatches: |p, _| elementwise(p, "gate_backward", "gate_backward_each"),
    },
    ptx: Ptx {
        files: &[("gate_backward.ptx", include_str!("../ptx/gate_backward.ptx"))],
        dispatches: |p, _| launches(p, ["gate_backward_fours", "gate_backward"]),
    },
    cost: |p, _| {
        let len = u64::from(p.rows) * u64::from(p.c);
        Cost { flops: 47 * len, bytes: 20 * len }
    },
};

/// One invocation for four elements of y where they lie in one row, else for one.
fn elementwise(p: &Params, fours: &'static str, each: &'static str) -> Dispatches {
    match p.c.is_multiple_of(4) {
        true => Dispatches::one(fours, (p.rows * p.c).div_ceil(1024)),
        false => Dispatches::one(each, (p.rows * p.c).div_ceil(256)),
    }
}

/// The first entry point where rows are whole fours, else the second.
fn launches(p: &Params, [fours, each]: [&'static str; 2]) -> Dispatches {
    match p.c.is_multiple_of(4) {
        true => Dispatches::one(fours, (p.rows * p.c).div_ceil(1024)),
        false => Dispatches::one(each, (p.rows * p.c).div_ceil(256)),
    }
}

fn forward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    if y.is_empty() {
        return;
    }
    let c = p.c as usize;
    let rows = (CHUNK / c).max(1);
    y.par_chunks_mut(rows * c).zip(x.par_chunks(rows * 2 * c)).for_each(|(y, x)| {
        T::vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.chunks_exact_mut(c).zip(x.chunks_exact(2 * c)) {
                    let (g, h) = x.split_at(c);
                    for ((y, g), h) in y.iter_mut().zip(g).zip(h) {
                        *y = g.sigmoid() * h.tanh();
                    }
                }
            },
        );
    });
}

fn backward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, dy, dx) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    if dx.is_empty() {
        return;
    }
    let c = p.c as usize;
    let rows = (CHUNK / c).max(1);
    let operands = x.par_chunks(rows * 2 * c).zip(dy.par_chunks(rows * c));
    dx.par_chunks_mut(rows * 2 * c).zip(operands).for_each(|(dx, (x, dy))| {
        T::vectorized(
            #[inline(always)]
            || {
                let rows = dx.chunks_exact_mut(2 * c).zip(x.chunks_exact(2 * c)).zip(dy.chunks_exact(c));
                for ((dx, x), dy) in rows {
                    let (g, h) = x.split_at(c);
                    let (dg, dh) = dx.split_at_mut(c);
                    for ((((dg, dh), g), h), dy) in dg.iter_mut().zip(dh).zip(g).zip(h).zip(dy) {
                        let (s, t) = (g.sigmoid(), h.tanh());
                        *dg = *dy * t * s * (T::ONE - s);
                        *dh = *dy * s * (T::ONE - t * t);
                    }
                }
            },
        );
    });
}
