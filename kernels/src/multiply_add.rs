//! `multiply_add`: y is x after 16 `rounds` steps v <- a v + b, element by element.
//!
//! Shapes: x, y `[len]`. Bound by arithmetic: 32 `rounds` operations for 8 bytes. No model launches it: `isobath profile`
//! measures with it how many multiply-adds a device does at most. On the processor six registers of AVX-512, or twelve of
//! AVX2, hold chains that do not wait for each other; on a GPU every invocation has four `vec4` of them.

use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Steps of a round.
const STEPS: u32 = 16;
/// Elements of one register.
const LANES: usize = 16;
/// Elements of one task: many times six registers.
const CHUNK: usize = 6 * LANES * 16;

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
    wgsl: Some(Wgsl {
        source: include_str!("../../shaders/multiply_add.wgsl"),
        dispatches: |p, _| Dispatches::one("multiply_add", p.len.div_ceil(4096)),
    }),
    cost: |p| Cost {
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
                let (registers, rest) = y.as_chunks_mut::<LANES>();
                let (six, few) = registers.as_chunks_mut::<6>();
                six.iter_mut().for_each(|six| chains(six, p.rounds * STEPS, a, b));
                few.iter_mut().for_each(|one| chains_of_one(one, p.rounds * STEPS, a, b));
                rest.iter_mut().for_each(|v| (0..p.rounds * STEPS).for_each(|_| *v = v.mul_add(a, b)));
            },
        );
    });
}

/// The chains of six registers, which are named so that they stay in registers.
#[inline(always)]
fn chains<T: Real>(six: &mut [[T; LANES]; 6], steps: u32, a: T, b: T) {
    let [mut v0, mut v1, mut v2, mut v3, mut v4, mut v5] = *six;
    for _ in 0..steps {
        step(&mut v0, a, b);
        step(&mut v1, a, b);
        step(&mut v2, a, b);
        step(&mut v3, a, b);
        step(&mut v4, a, b);
        step(&mut v5, a, b);
    }
    *six = [v0, v1, v2, v3, v4, v5];
}

#[inline(always)]
fn chains_of_one<T: Real>(one: &mut [T; LANES], steps: u32, a: T, b: T) {
    let mut v = *one;
    (0..steps).for_each(|_| step(&mut v, a, b));
    *one = v;
}

#[inline(always)]
fn step<T: Real>(v: &mut [T; LANES], a: T, b: T) {
    for v in v {
        *v = v.mul_add(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Slot;

    #[test]
    fn every_element_takes_every_step() {
        let x: Vec<f32> = (0..CHUNK + 7 * LANES + 5).map(|i| i as f32).collect();
        let mut y = vec![f32::NAN; x.len()];
        let buffers = vec![Slot::Read(bytemuck::cast_slice(&x)), Slot::Write(bytemuck::cast_slice_mut(&mut y))];
        run::<f32>(&Params { len: x.len() as u32, rounds: 3, a: 1.0, b: 2.0 }, Buffers::new(buffers));
        assert!(x.iter().zip(&y).all(|(x, y)| *y == x + 96.0), "{y:?}");
    }
}
