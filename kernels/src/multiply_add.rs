//! `multiply_add`: y is x after 16 `rounds` steps v <- a v + b, element by element.
//!
//! Shapes: x, y `[len]`. Bound by arithmetic: 32 `rounds` operations for 8 bytes. No model launches it: `isobath profile`
//! measures with it how many multiply-adds a device does at most. On the processor a register takes eight steps between load
//! and store, while others that do not wait for it take theirs; on a GPU every invocation has four `vec4` in registers.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Steps of a round.
const STEPS: u32 = 16;
/// Elements of one task, which stay in the first-level cache.
const CHUNK: usize = 1 << 11;

/// Parameters of [`MULTIPLY_ADD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    /// Rounds of 16 steps.
    pub rounds: u32,
    /// What each step multiplies by.
    pub a: f32,
    /// What each step adds.
    pub b: f32,
}

/// y = x after 16 `rounds` multiply-adds.
pub static MULTIPLY_ADD: Kernel<Params> = Kernel {
    name: "multiply_add",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("multiply_add.wgsl", include_str!("../../shaders/multiply_add.wgsl"))],
        dispatches: |p, _| Dispatches::one("multiply_add", p.len.div_ceil(4096)),
    },
    ptx: Ptx {
        files: &[("multiply_add.ptx", include_str!("../ptx/multiply_add.ptx"))],
        dispatches: |p, _| Dispatches::one("multiply_add", p.len.div_ceil(4096)),
    },
    cost: |p, _| Cost {
        flops: 2 * u64::from(STEPS) * u64::from(p.rounds) * u64::from(p.len),
        bytes: 8 * u64::from(p.len),
    },
};

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    let (a, b) = (T::of(f64::from(p.a)), T::of(f64::from(p.b)));
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        T::vectorized(
            #[inline(always)]
            || {
                y.copy_from_slice(x);
                for _ in 0..p.rounds * (STEPS / 8) {
                    for v in &mut *y {
                        *v = eight_steps(*v, a, b);
                    }
                }
            },
        );
    });
}

#[inline(always)]
fn eight_steps<T: Real>(v: T, a: T, b: T) -> T {
    let v = v.mul_add(a, b).mul_add(a, b).mul_add(a, b).mul_add(a, b);
    v.mul_add(a, b).mul_add(a, b).mul_add(a, b).mul_add(a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Slot;

    #[test]
    fn every_element_takes_every_step() {
        let x: Vec<f32> = (0..CHUNK + 117).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; x.len()];
        let buffers = vec![Slot::Read(bytemuck::cast_slice(&x)), Slot::Write(bytemuck::cast_slice_mut(&mut y))];
        run::<f32>(&Params { len: x.len() as u32, rounds: 3, a: 1.0, b: 2.0 }, Buffers::new(buffers));
        assert!(x.iter().zip(&y).all(|(x, y)| *y == x + 96.0), "{y:?}");
    }
}
