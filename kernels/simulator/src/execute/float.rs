//! Floating-point arithmetic. Approximations are as exact as the host makes them: better than PTX asks for.

use std::sync::LazyLock;

use super::integer::Operands;
use super::registers::Registers;
use super::{Result, each};
use crate::program::{FloatOp, LANES, Mask};

/// The vector instructions of this processor.
static ARCH: LazyLock<pulp::Arch> = LazyLock::new(pulp::Arch::new);

/// The bits of `a b + c` with one rounding, by the processor's own instruction where it has one.
struct MultiplyAdd<'a> {
    a: &'a [u32; LANES],
    b: &'a [u32; LANES],
    c: &'a [u32; LANES],
}

impl pulp::WithSimd for MultiplyAdd<'_> {
    type Output = [u32; LANES];

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _: S) -> [u32; LANES] {
        let mut values = *self.c;
        for ((value, a), b) in values.iter_mut().zip(self.a).zip(self.b) {
            *value = f32::from_bits(*a).mul_add(f32::from_bits(*b), f32::from_bits(*value)).to_bits();
        }
        values
    }
}

/// How the results of f32 instructions are changed.
#[derive(Clone, Copy)]
pub(crate) struct Modifiers {
    /// `.ftz`: subnormal inputs and results become zero.
    pub(crate) flush: bool,
    /// `.sat`: results are clamped to [0, 1], NaN to 0.
    pub(crate) saturate: bool,
}

/// The NaN that PTX instructions return.
pub(crate) const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// A subnormal number becomes a zero of its sign.
#[inline(always)]
pub(crate) fn flush(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// Clamps to [0, 1]; NaN becomes 0.
#[inline(always)]
pub(crate) fn saturate(x: f32) -> f32 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

pub(crate) fn float(
    r: &mut Registers,
    op: FloatOp,
    double: bool,
    modifiers: Modifiers,
    slots: Operands,
    active: Mask,
) -> Result<()> {
    let Operands { d, a, b, c } = slots;
    if op == FloatOp::Fma && !double && !modifiers.flush && !modifiers.saturate {
        // Most of what a gemm does.
        let (a, b, c) = (r.get::<f32>(a, active)?, r.get::<f32>(b, active)?, r.get::<f32>(c, active)?);
        let value = ARCH.dispatch(MultiplyAdd { a, b, c });
        r.set::<f32>(d, value, active);
        return Ok(());
    }
    if double {
        let (a, b, c) = (r.values::<f64>(a, active)?, r.values::<f64>(b, active)?, r.values::<f64>(c, active)?);
        r.put(d, apply_f64(op, &a, &b, &c), active);
        return Ok(());
    }
    let (a, b, c) = (r.get::<f32>(a, active)?, r.get::<f32>(b, active)?, r.get::<f32>(c, active)?);
    let mut value = if modifiers.flush {
        let [a, b, c] = [a, b, c].map(|x| each(|lane| flush(f32::from_bits(x[lane])).to_bits()));
        each_of(apply_f32(op, &a, &b, &c), flush)
    } else {
        apply_f32(op, a, b, c)
    };
    if modifiers.saturate {
        value = each_of(value, saturate);
    }
    r.put(d, value, active);
    Ok(())
}

#[inline(always)]
fn zip<T: Copy + Default>(a: &[T; LANES], b: &[T; LANES], f: impl Fn(T, T) -> T) -> [T; LANES] {
    each(|lane| f(a[lane], b[lane]))
}

/// IEEE 754-2008 minNum: the number, if only one is; -0 is less than +0.
#[inline(always)]
fn min(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if a == b => {
            if a.is_sign_negative() {
                a
            } else {
                b
            }
        }
        _ => {
            if a < b {
                a
            } else {
                b
            }
        }
    }
}

#[inline(always)]
fn max(a: f32, b: f32) -> f32 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => NAN,
        (true, false) => b,
        (false, true) => a,
        _ if a == b => {
            if a.is_sign_negative() {
                b
            } else {
                a
            }
        }
        _ => {
            if a > b {
                a
            } else {
                b
            }
        }
    }
}

#[inline(always)]
fn each_of<T: Copy + Default>(a: [T; LANES], f: impl Fn(T) -> T) -> [T; LANES] {
    each(|lane| f(a[lane]))
}

fn apply_f32(op: FloatOp, a: &[u32; LANES], b: &[u32; LANES], c: &[u32; LANES]) -> [f32; LANES] {
    let number = f32::from_bits;
    let one = |f: fn(f32) -> f32| each(|lane| f(number(a[lane])));
    macro_rules! two {
        ($f:expr) => {
            each(|lane| $f(number(a[lane]), number(b[lane])))
        };
    }
    match op {
        FloatOp::Add => two!(|a: f32, b: f32| a + b),
        FloatOp::Sub => two!(|a: f32, b: f32| a - b),
        FloatOp::Mul => two!(|a: f32, b: f32| a * b),
        FloatOp::Fma => each(|lane| number(a[lane]).mul_add(number(b[lane]), number(c[lane]))),
        FloatOp::Div => two!(|a: f32, b: f32| a / b),
        FloatOp::Min => two!(min),
        FloatOp::Max => two!(max),
        FloatOp::MinNan => two!(|a: f32, b: f32| if a.is_nan() || b.is_nan() { NAN } else { min(a, b) }),
        FloatOp::MaxNan => two!(|a: f32, b: f32| if a.is_nan() || b.is_nan() { NAN } else { max(a, b) }),
        FloatOp::Abs => each(|lane| number(a[lane]).abs()),
        FloatOp::Neg => each(|lane| -number(a[lane])),
        // PTX: the sign of the first operand, the magnitude of the second.
        FloatOp::Copysign => two!(|a: f32, b: f32| b.copysign(a)),
        FloatOp::Sqrt => each(|lane| number(a[lane]).sqrt()),
        FloatOp::Rcp => each(|lane| 1.0 / number(a[lane])),
        FloatOp::Rsqrt => each(|lane| (1.0 / f64::from(number(a[lane])).sqrt()) as f32),
        FloatOp::Exp2 => one(f32::exp2),
        FloatOp::Log2 => one(f32::log2),
        FloatOp::Sin => one(f32::sin),
        FloatOp::Cos => one(f32::cos),
        FloatOp::Tanh => one(f32::tanh),
    }
}

fn apply_f64(op: FloatOp, a: &[f64; LANES], b: &[f64; LANES], c: &[f64; LANES]) -> [f64; LANES] {
    match op {
        FloatOp::Add => zip(a, b, |a, b| a + b),
        FloatOp::Sub => zip(a, b, |a, b| a - b),
        FloatOp::Mul => zip(a, b, |a, b| a * b),
        FloatOp::Fma => each(|lane| a[lane].mul_add(b[lane], c[lane])),
        FloatOp::Div => zip(a, b, |a, b| a / b),
        FloatOp::Min | FloatOp::MinNan => zip(a, b, f64::min),
        FloatOp::Max | FloatOp::MaxNan => zip(a, b, f64::max),
        FloatOp::Abs => a.map(f64::abs),
        FloatOp::Neg => a.map(|a| -a),
        FloatOp::Copysign => zip(a, b, |a, b| b.copysign(a)),
        FloatOp::Sqrt => a.map(f64::sqrt),
        FloatOp::Rcp => a.map(|a| 1.0 / a),
        FloatOp::Rsqrt => a.map(|a| 1.0 / a.sqrt()),
        FloatOp::Exp2 => a.map(f64::exp2),
        FloatOp::Log2 => a.map(f64::log2),
        FloatOp::Sin => a.map(f64::sin),
        FloatOp::Cos => a.map(f64::cos),
        FloatOp::Tanh => a.map(f64::tanh),
    }
}
