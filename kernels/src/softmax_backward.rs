//! `softmax_backward`: the gradient of [`softmax`](crate::softmax).
//!
//! dx = y (dy - sum_i y dy) in every row. Shapes: y, dy, dx `[rows, c]`. Bound by memory: 12 bytes an element.

use crate::softmax::{Params, elements_of_a_task, groups_of_teams, row_dispatches, softmax_rows_backward};
use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use rayon::prelude::*;

/// dx = y (dy - sum_i y dy).
pub static SOFTMAX_BACKWARD: Kernel<Params> = Kernel {
    name: "softmax_backward",
    buffers: &[("y", Access::Read), ("dy", Access::Read), ("dx", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[
            ("softmax_backward.wgsl", include_str!("../../shaders/softmax_backward.wgsl")),
            ("softmax.teams.wgsl", include_str!("../../shaders/softmax.teams.wgsl")),
        ],
        dispatches,
    },
    ptx: Ptx {
        files: &[("softmax_backward.ptx", include_str!("../ptx/softmax_backward.ptx"))],
        dispatches: |p, _| row_dispatches("softmax_backward", "softmax_backward_each", p.rows, p.channels),
    },
    cost: |p, _| {
        let len = u64::from(p.rows) * u64::from(p.channels);
        Cost { flops: 4 * len, bytes: 12 * len }
    },
};

fn dispatches(p: &Params, limits: &Limits) -> Dispatches {
    match (p.channels, limits.subgroups) {
        (2049.., _) => Dispatches::one("softmax_backward_long", p.rows),
        (c, false) if c.is_multiple_of(4) => Dispatches::one("softmax_backward", groups_of_teams(p.rows, c)),
        (c, true) if c.is_multiple_of(4) => Dispatches::one("softmax_backward_subgroups", groups_of_teams(p.rows, c)),
        (c, false) => Dispatches::one("softmax_backward_each", groups_of_teams(p.rows, c)),
        (c, true) => Dispatches::one("softmax_backward_each_subgroups", groups_of_teams(p.rows, c)),
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (y, dy, dx) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    if dx.is_empty() {
        return;
    }
    let chunk = elements_of_a_task(p);
    dx.par_chunks_mut(chunk).zip(y.par_chunks(chunk)).zip(dy.par_chunks(chunk)).for_each(|((dx, y), dy)| {
        T::vectorized(
            #[inline(always)]
            || {
                dx.copy_from_slice(dy);
                softmax_rows_backward(y, dx, p.channels as usize);
            },
        );
    });
}
