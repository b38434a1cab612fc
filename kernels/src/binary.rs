//! `binary`: y = f(a, b) element by element, with broadcasting.
//!
//! Shapes: y of the lengths `dims`; a and b have a stride for each axis of y, 0 where they are repeated. Neighbouring
//! axes are merged beforehand, so that equal shapes are one axis, a bias two, and the last axis of an operand is
//! either contiguous or one repeated number. Bound by memory: 4 bytes an element of a, b and y.

use crate::layout::{AXES, offset, pieces};
use crate::wgsl::{Dispatches, Wgsl};
use crate::{Access, Buffers, Cost, Cpu, Kernel, Ptx, Real};
use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 14;

/// The functions, in the order of their codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Function {
    /// a + b.
    Add,
    /// a - b.
    Sub,
    /// a b.
    Mul,
    /// a / b.
    Div,
}

const FUNCTIONS: [Function; 4] = [Function::Add, Function::Sub, Function::Mul, Function::Div];

/// Parameters of [`BINARY`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements of y.
    pub len: u32,
    /// Code of the [`Function`].
    pub function: u32,
    /// Lengths of the axes of y, from [`layout::merge`](crate::layout::merge).
    pub dims: [u32; AXES],
    /// Strides of a.
    pub a: [u32; AXES],
    /// Strides of b.
    pub b: [u32; AXES],
}

/// y = f(a, b).
pub static BINARY: Kernel<Params> = Kernel {
    name: "binary",
    buffers: &[("a", Access::Read), ("b", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: run::<f32>, f64: run::<f64> },
    wgsl: Wgsl {
        files: &[("binary.wgsl", include_str!("../../shaders/binary.wgsl"))],
        dispatches: |p, _| match in_fours(p, &p.a) && in_fours(p, &p.b) {
            true => Dispatches::one("binary", p.len.div_ceil(1024)),
            false => Dispatches::one("binary_strided", p.len.div_ceil(256)),
        },
    },
    ptx: Ptx { files: &[("binary.ptx", include_str!("../ptx/binary.ptx"))], dispatches: |p, _| dispatches(p) },
    cost: |p, _| {
        let held = |strides: &[u32; AXES]| -> u64 {
            let lengths = p.dims.iter().zip(strides).filter(|(_, stride)| **stride > 0);
            lengths.map(|(length, _)| u64::from(*length)).product()
        };
        Cost { flops: u64::from(p.len), bytes: 4 * (u64::from(p.len) + held(&p.a) + held(&p.b)) }
    },
};

fn dispatches(p: &Params) -> Dispatches {
    match in_fours(p, &p.a) && in_fours(p, &p.b) {
        true => Dispatches::one("binary", p.len.div_ceil(1024)),
        false => Dispatches::one("binary_strided", p.len.div_ceil(256)),
    }
}

/// Whether every four elements of y go with four neighbouring elements of an operand, or with one.
fn in_fours(p: &Params, strides: &[u32; AXES]) -> bool {
    let (last, others) = (strides[AXES - 1], &strides[..AXES - 1]);
    let rows = p.dims[AXES - 1] == p.len || p.dims[AXES - 1].is_multiple_of(4);
    rows && (last == 0 || last == 1 && others.iter().all(|stride| stride.is_multiple_of(4)))
}

fn run<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (a, b, y) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    match FUNCTIONS[p.function as usize] {
        Function::Add => zip(p, a, b, y, |a, b| a + b),
        Function::Sub => zip(p, a, b, y, |a, b| a - b),
        Function::Mul => zip(p, a, b, y, |a, b| a * b),
        Function::Div => zip(p, a, b, y, |a, b| a / b),
    }
}

fn zip<T: Real>(p: &Params, a: &[T], b: &[T], y: &mut [T], f: impl Fn(T, T) -> T + Sync) {
    const LAST: usize = AXES - 1;
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(task, y)| {
        T::vectorized(
            #[inline(always)]
            || {
                pieces(
                    task * CHUNK,
                    y.len(),
                    p.dims[LAST] as usize,
                    #[inline(always)]
                    |row, column, range| {
                        let y = &mut y[range];
                        let start = |strides: &[u32; AXES]| {
                            offset(row, &p.dims[..LAST], &strides[..LAST]) + column * strides[LAST] as usize
                        };
                        span(&a[start(&p.a)..], &b[start(&p.b)..], y, [p.a[LAST], p.b[LAST]], &f);
                    },
                );
            },
        );
    });
}

/// y along the last axis, where each operand is contiguous (stride 1) or one repeated number (stride 0).
#[inline(always)]
fn span<T: Real>(a: &[T], b: &[T], y: &mut [T], strides: [u32; 2], f: &impl Fn(T, T) -> T) {
    match strides {
        [1, 1] => {
            for ((y, a), b) in y.iter_mut().zip(a).zip(b) {
                *y = f(*a, *b);
            }
        }
        [1, _] => {
            for (y, a) in y.iter_mut().zip(a) {
                *y = f(*a, b[0]);
            }
        }
        [_, 1] => {
            for (y, b) in y.iter_mut().zip(b) {
                *y = f(a[0], *b);
            }
        }
        _ => y.fill(f(a[0], b[0])),
    }
}
