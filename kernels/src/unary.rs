//! `unary` and `unary_backward`: y = f(x) element by element, and dx = f'(x) dy.
//!
//! Shapes: all `[len]`. `f` is one of [`Function`]; `a` and `b` are its constants. Bound by memory for the cheap
//! functions (8 and 12 bytes an element), by the polynomial of `exp` for the others.

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
    /// a x + b.
    Affine,
    /// x^2.
    Square,
    /// Square root of x.
    Sqrt,
    /// |x|, with gradient 0 at 0.
    Abs,
    /// e^x.
    Exp,
    /// Natural logarithm times a (a = 1/ln 10 gives the decimal one).
    Log,
    /// x^a for x > 0.
    Power,
    /// 1 / (1 + e^-x).
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// x for x > 0, else a x: ReLU at a = 0, leaky ReLU otherwise.
    LeakyRelu,
    /// x sigmoid(x).
    Silu,
    /// x Phi(x) by the error function (Hendrycks and Gimpel 2016, eq. 1).
    Gelu,
}

const FUNCTIONS: [Function; 12] = [
    Function::Affine,
    Function::Square,
    Function::Sqrt,
    Function::Abs,
    Function::Exp,
    Function::Log,
    Function::Power,
    Function::Sigmoid,
    Function::Tanh,
    Function::LeakyRelu,
    Function::Silu,
    Function::Gelu,
];

/// Parameters of [`UNARY`] and [`UNARY_BACKWARD`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Params {
    /// Number of elements.
    pub len: u32,
    /// Code of the [`Function`].
    pub function: u32,
    /// First constant.
    pub a: f32,
    /// Second constant.
    pub b: f32,
}

/// y = f(x).
pub static UNARY: Kernel<Params> = Kernel {
    name: "unary",
    buffers: &[("x", Access::Read), ("y", Access::Write)],
    cpu: Cpu { f32: forward::<f32>, f64: forward::<f64> },
    wgsl: Wgsl {
        files: &[("unary.wgsl", include_str!("../../shaders/unary.wgsl"))],
        dispatches: |p, _| Dispatches::one("unary", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("unary.ptx", include_str!("../ptx/unary.ptx"))],
        dispatches: |p, _| Dispatches::one("unary", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: u64::from(p.len), bytes: 8 * u64::from(p.len) },
};

/// dx = f'(x) dy.
pub static UNARY_BACKWARD: Kernel<Params> = Kernel {
    name: "unary_backward",
    buffers: &[("x", Access::Read), ("dy", Access::Read), ("dx", Access::Write)],
    cpu: Cpu { f32: backward::<f32>, f64: backward::<f64> },
    wgsl: Wgsl {
        files: &[("unary_backward.wgsl", include_str!("../../shaders/unary_backward.wgsl"))],
        dispatches: |p, _| Dispatches::one("unary_backward", p.len.div_ceil(1024)),
    },
    ptx: Ptx {
        files: &[("unary_backward.ptx", include_str!("../ptx/unary_backward.ptx"))],
        dispatches: |p, _| Dispatches::one("unary_backward", p.len.div_ceil(1024)),
    },
    cost: |p, _| Cost { flops: 2 * u64::from(p.len), bytes: 12 * u64::from(p.len) },
};

fn forward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, y) = (buffers.read::<T>(), buffers.write::<T>());
    let (a, b) = (T::of(f64::from(p.a)), T::of(f64::from(p.b)));
    match FUNCTIONS[p.function as usize] {
        Function::Affine => map(x, y, |x| x.mul_add(a, b)),
        Function::Square => map(x, y, |x| x * x),
        Function::Sqrt => map(x, y, T::sqrt),
        Function::Abs => map(x, y, T::abs),
        Function::Exp => map(x, y, T::exp),
        Function::Log => map(x, y, |x| a * x.ln()),
        Function::Power => map(x, y, |x| x.powf(a)),
        Function::Sigmoid => map(x, y, T::sigmoid),
        Function::Tanh => map(x, y, T::tanh),
        Function::LeakyRelu => map(x, y, |x| if x > T::ZERO { x } else { a * x }),
        Function::Silu => map(x, y, |x| x * x.sigmoid()),
        Function::Gelu => map(x, y, gelu),
    }
}

fn backward<T: Real>(p: &Params, mut buffers: Buffers<'_>) {
    let (x, dy, dx) = (buffers.read::<T>(), buffers.read::<T>(), buffers.write::<T>());
    let a = T::of(f64::from(p.a));
    let two = T::of(2.0);
    match FUNCTIONS[p.function as usize] {
        Function::Affine => map_with(x, dy, dx, |_| a),
        Function::Square => map_with(x, dy, dx, |x| two * x),
        Function::Sqrt => map_with(x, dy, dx, |x| T::ONE / (two * x.sqrt())),
        Function::Abs => map_with(x, dy, dx, sign),
        Function::Exp => map_with(x, dy, dx, T::exp),
        Function::Log => map_with(x, dy, dx, |x| a / x),
        Function::Power => map_with(x, dy, dx, |x| a * x.powf(a - T::ONE)),
        Function::Sigmoid => map_with(x, dy, dx, |x| {
            let s = x.sigmoid();
            s * (T::ONE - s)
        }),
        Function::Tanh => map_with(x, dy, dx, |x| {
            let t = x.tanh();
            T::ONE - t * t
        }),
        Function::LeakyRelu => map_with(x, dy, dx, |x| if x > T::ZERO { T::ONE } else { a }),
        Function::Silu => map_with(x, dy, dx, |x| {
            let s = x.sigmoid();
            s * (T::ONE + x * (T::ONE - s))
        }),
        Function::Gelu => map_with(x, dy, dx, gelu_slope),
    }
}

/// x Phi(x).
#[inline(always)]
pub fn gelu<T: Real>(x: T) -> T {
    x * x.normal().0
}

/// d gelu / dx = Phi(x) + x phi(x).
#[inline(always)]
pub fn gelu_slope<T: Real>(x: T) -> T {
    let (share, density) = x.normal();
    share + x * density
}

#[inline(always)]
fn sign<T: Real>(x: T) -> T {
    if x > T::ZERO {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else {
        T::ZERO
    }
}

fn map<T: Real>(x: &[T], y: &mut [T], f: impl Fn(T) -> T + Sync) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        T::vectorized(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y = f(*x);
                }
            },
        );
    });
}

fn map_with<T: Real>(x: &[T], dy: &[T], dx: &mut [T], slope: impl Fn(T) -> T + Sync) {
    dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(|((dx, x), dy)| {
        T::vectorized(
            #[inline(always)]
            || {
                for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
                    *dx = slope(*x) * *dy;
                }
            },
        );
    });
}
