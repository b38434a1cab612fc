//! `gemm`: batched matrix product with optional transposes and bias.
//!
//! `c[b] = op(a[b]) op(b[b]) + bias`. Shapes: op(a) `[m, k]`, op(b) `[k, n]`, c `[m, n]`, bias `[n]`; a factor whose
//! batch stride is 0 is shared by the whole batch. On the CPU the product is the `gemm` crate's, which reaches 91 to
//! 96 % of the FMA peak; one product is split over the cores, a batch of products is dealt out to them.
//! Bound by FMA throughput above about 100 in every dimension, by memory below.

use crate::wgsl::{Dispatches, Limits, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Precision, Ptx, Real, Target};
use bytemuck::{Pod, Zeroable};
use gemm::Parallelism;
use rayon::prelude::*;

/// Parameters of [`GEMM`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of products.
    pub batch: u32,
    /// Rows of c.
    pub m: u32,
    /// Columns of c.
    pub n: u32,
    /// Terms of each sum.
    pub k: u32,
    /// 1 when a is stored `[k, m]`.
    pub transpose_a: u32,
    /// 1 when b is stored `[n, k]`.
    pub transpose_b: u32,
    /// Elements from one a to the next; 0 shares it.
    pub a_stride: u32,
    /// Elements from one b to the next; 0 shares it.
    pub b_stride: u32,
}

/// c = op(a) op(b) + bias.
pub static GEMM: Kernel<Params> = Kernel {
    name: "gemm",
    buffers: &[("a", Access::Read), ("b", Access::Read), ("bias", Access::Read), ("c", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl { files: &[("gemm.wgsl", include_str!("../../shaders/gemm.wgsl"))], dispatches },
    ptx: Ptx {
        files: &[
            ("gemm.ptx", include_str!("../ptx/gemm.ptx")),
            ("gemm.sum.ptx", include_str!("../ptx/gemm.sum.ptx")),
            ("gemm.sm_80.f32_large.ptx", include_str!("../ptx/gemm.sm_80.f32_large.ptx")),
            ("gemm.sm_80.tf32.ptx", include_str!("../ptx/gemm.sm_80.tf32.ptx")),
            ("gemm.sm_80.tf32_large.ptx", include_str!("../ptx/gemm.sm_80.tf32_large.ptx")),
            ("gemm.sm_80.bf16.ptx", include_str!("../ptx/gemm.sm_80.bf16.ptx")),
            ("gemm.sm_80.bf16_large.ptx", include_str!("../ptx/gemm.sm_80.bf16_large.ptx")),
        ],
        dispatches: launches,
    },
    cost: |p, _| {
        let [batch, m, n, k] = [p.batch, p.m, p.n, p.k].map(u64::from);
        let copies = |stride: u32| if stride == 0 { 1 } else { batch };
        Cost {
            flops: 2 * batch * m * n * k,
            bytes: 4 * (copies(p.a_stride) * m * k + copies(p.b_stride) * k * n + batch * m * n),
        }
    },
};

/// Side of the tile of c that a workgroup computes.
const TILE: u32 = 64;

/// Elements of c and terms up to which tiles would leave most of a GPU idle.
const SMALL: (u32, u32) = (4096, 256);

/// Multiply-adds of a product from which on tensor cores are worth it.
const LEAST_ON_TENSOR_CORES: u64 = 1 << 15;

/// Several parts of the terms where there are too few tiles for a whole GPU.
fn dispatches(p: &Params, _: &Limits) -> Dispatches {
    let elements = p.batch * p.m * p.n;
    if elements <= SMALL.0 && p.k <= SMALL.1 {
        return Dispatches::one("gemm_small", elements.div_ceil(64));
    }
    let tiles = p.batch * p.m.div_ceil(TILE) * p.n.div_ceil(TILE);
    let parts = (p.k / 256).clamp(1, 256u32.div_ceil(tiles.max(1)));
    match (parts, p.n.is_multiple_of(4)) {
        (1, true) => Dispatches::one("gemm", tiles),
        (1, false) => Dispatches::one("gemm_each", tiles),
        (_, fours) => Dispatches::with_scratch(parts, (tiles * TILE * TILE) as usize)
            .then("gemm_parts", tiles * parts)
            .then(if fours { "gemm_sum" } else { "gemm_sum_each" }, tiles * TILE * TILE / 1024),
    }
}

/// One entry point for any product and any part of its terms, one for the sums of the parts; others from compute
/// capability 8.0 on.
fn launches(p: &Params, target: &Target) -> Dispatches {
    let small = u64::from(p.m) * u64::from(p.n) * u64::from(p.k) < LEAST_ON_TENSOR_CORES;
    let precision = if small { Precision::F32 } else { target.factors() };
    match (precision, p.large_tiles().filter(|_| target.capability >= 80)) {
        (Precision::F32, Some(blocks)) => Dispatches::one("gemm_f32_large", blocks),
        (Precision::F32, None) => in_parts(p, "gemm", TILE),
        (Precision::Tf32, Some(blocks)) if p.is_aligned() => Dispatches::one("gemm_tf32_large", blocks),
        (Precision::Tf32, _) => in_parts(p, "gemm_tf32", 2 * TILE),
        (Precision::Bf16, Some(blocks)) if p.is_aligned() => Dispatches::one("gemm_bf16_large", blocks),
        (Precision::Bf16, _) => in_parts(p, "gemm_bf16", 2 * TILE),
    }
}

/// Blocks for tiles of c of a height, several for each where there are too few for a whole GPU.
fn in_parts(p: &Params, entry: &'static str, height: u32) -> Dispatches {
    let across = p.n.div_ceil(TILE);
    let (blocks, tiles) = (p.batch * p.m.div_ceil(height) * across, p.batch * p.m.div_ceil(TILE) * across);
    match (p.k / 256).clamp(1, 512u32.div_ceil(blocks.max(1))) {
        1 => Dispatches::one(entry, blocks),
        parts => Dispatches::with_scratch(parts, (tiles * TILE * TILE) as usize)
            .then(entry, blocks * parts)
            .then("gemm_sum", tiles * TILE * TILE / 1024),
    }
}

impl Params {
    /// The number of tiles of 128 by 128, where they are enough for a whole GPU and c fills most of them.
    fn large_tiles(&self) -> Option<u32> {
        let [down, across] = [self.m, self.n].map(|len| len.div_ceil(2 * TILE));
        let filled = [self.m, self.n].iter().all(|len| len.next_multiple_of(2 * TILE) <= len + len / 2);
        (filled && self.batch * down * across >= 128 && self.k > 0).then_some(self.batch * down * across)
    }

    /// Whether every row of every tensor starts at a multiple of 16 bytes.
    fn is_aligned(&self) -> bool {
        let a_row = if self.transpose_a == 1 { self.m } else { self.k };
        let b_row = if self.transpose_b == 1 { self.k } else { self.n };
        [a_row, b_row, self.n, self.a_stride, self.b_stride].iter().all(|len| len.is_multiple_of(4))
    }
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (a, b, bias, c) = (buffers.read::<T>(), buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    let (m, n, k) = (p.m as usize, p.n as usize, p.k as usize);
    if c.is_empty() {
        return;
    }
    let product = |i: usize, c: &mut [T], parallelism: Parallelism| {
        let a = &a[i * p.a_stride as usize..][..m * k];
        let b = &b[i * p.b_stride as usize..][..k * n];
        for row in c.chunks_exact_mut(n).filter(|_| !bias.is_empty()) {
            row.copy_from_slice(bias);
        }
        let (a_row, a_column) = if p.transpose_a == 1 { (1, m) } else { (k, 1) };
        let (b_row, b_column) = if p.transpose_b == 1 { (1, k) } else { (n, 1) };
        // SAFETY: c holds m x n elements, a m x k and b k x n, each checked by the slices above, and c overlaps
        // neither: it is an exclusive borrow.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                n as isize,
                !bias.is_empty(),
                a.as_ptr(),
                a_column as isize,
                a_row as isize,
                b.as_ptr(),
                b_column as isize,
                b_row as isize,
                T::ONE,
                T::ONE,
                false,
                false,
                false,
                parallelism,
            );
        }
    };
    if p.batch == 1 {
        return product(0, c, Parallelism::Rayon(0));
    }
    c.par_chunks_mut(m * n).enumerate().for_each(|(i, c)| product(i, c, Parallelism::None));
}
