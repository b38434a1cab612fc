//! `normal`: numbers from the normal distribution N(0, 1).
//!
//! Element i is number e = offset + i of the sequence: word pair (e mod 4) / 2 of Philox block e / 4 through Box and
//! Muller (1958), r = sqrt(-2 ln u), z = r cos 2 pi v or r sin 2 pi v, so any split of a draw gives the same bits.
//! u in (0, 1] and v in -1/2..1/2 are rounded to f32 in both precisions, which agree to rounding. Shape: y `[len]`.
//! Sixteen blocks go through SIMD registers together. Bound by arithmetic: some 60 operations an element.

use crate::philox::{self, PhiloxKey};
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;
/// Philox blocks of one group.
const BLOCKS: usize = 16;
/// Elements of one group.
const GROUP: usize = 4 * BLOCKS;

/// Parameters of [`NORMAL`]: 64-bit numbers in halves, the low one first.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    seed: [u32; 2],
    stream: [u32; 2],
    offset: [u32; 2],
}

impl Params {
    /// Elements `offset..offset + len` of the sequence `key`.
    pub fn new(len: u32, key: PhiloxKey, offset: u64) -> Self {
        let [seed, stream, offset] = [key.seed, key.stream, offset].map(philox::halves);
        Params { len, seed, stream, offset }
    }
}

/// y = draws from N(0, 1).
pub static NORMAL: Kernel<Params> = Kernel {
    name: "normal",
    buffers: &[("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("normal.wgsl", include_str!("../../shaders/normal.wgsl"))],
        dispatches: |p, _| match p.offset[0] % 4 {
            0 => Dispatches::one("normal", p.len.div_ceil(1024)),
            skip => Dispatches::one("normal_shifted", (p.len + skip).div_ceil(1024)),
        },
    },
    ptx: Ptx {
        files: &[("normal.ptx", include_str!("../ptx/normal.ptx"))],
        dispatches: |p, _| Dispatches::one("normal", (p.len + p.offset[0] % 4).div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 60 * u64::from(p.len), bytes: 4 * u64::from(p.len) },
};

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let y = buffers.write::<T>();
    let [seed, stream, offset] = [p.seed, p.stream, p.offset].map(|[low, high]| u64::from(high) << 32 | u64::from(low));
    let key = PhiloxKey { seed, stream };
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(task, y)| {
        T::vectorized(
            #[inline(always)]
            || fill(y, key, offset.wrapping_add((task * CHUNK) as u64)),
        );
    });
}

/// Elements from `start` on. Groups begin at multiples of their size, wherever `start` lies.
#[inline(always)]
fn fill<T: Real>(y: &mut [T], key: PhiloxKey, start: u64) {
    let mut done = 0;
    while done < y.len() {
        let at = start.wrapping_add(done as u64);
        let skip = (at % GROUP as u64) as usize;
        let take = (GROUP - skip).min(y.len() - done);
        let drawn = group::<T>(key, at / GROUP as u64 * BLOCKS as u64);
        y[done..done + take].copy_from_slice(&drawn[skip..skip + take]);
        done += take;
    }
}

#[inline(always)]
fn group<T: Real>(key: PhiloxKey, first: u64) -> [T; GROUP] {
    let words = philox::blocks::<BLOCKS>(key, first);
    let mut z = [[T::ZERO; BLOCKS]; 4];
    for pair in [0, 2] {
        for l in 0..BLOCKS {
            let (cosine, sine) = box_muller(words[pair][l], words[pair + 1][l]);
            z[pair][l] = cosine;
            z[pair + 1][l] = sine;
        }
    }
    let mut y = [T::ZERO; GROUP];
    for l in 0..BLOCKS {
        for word in 0..4 {
            y[4 * l + word] = z[word][l];
        }
    }
    y
}

#[inline(always)]
fn box_muller<T: Real>(radius: u32, angle: u32) -> (T, T) {
    const UNIT: f32 = 1.0 / 4_294_967_296.0;
    let u = T::of(f64::from(radius.max(1) as f32 * UNIT));
    let v = T::of(f64::from(angle as i32 as f32 * UNIT));
    let r = (T::of(-2.0) * u.ln()).max(T::ZERO).sqrt();
    let (sine, cosine) = v.sin_cos_turns();
    (r * cosine, r * sine)
}
