//! The case table: one row an operation, and the checks that every row runs through.
//!
//! A row says which shapes an operation takes and how to call it. The row alone brings, in both precisions:
//! a directional gradient check in f64, f32 against f64, bitwise repeatability, the same bits on one and on two
//! threads, sentinels round every tensor, and a bench.

pub mod cases;
pub mod checks;
pub mod differences;
pub mod launches;
pub mod parity;
pub mod ring;
pub mod trainings;

use isobath_engine::{DType, Device, Result, Tensor};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// One row of the table.
pub struct Case {
    /// The operation, and its variant where it has several.
    pub name: &'static str,
    /// The axes that a problem of this row has, each with the longest length that checks draw.
    pub axes: &'static [(&'static str, usize)],
    /// Lengths for the bench and for the checks on many threads.
    pub large: &'static [usize],
    /// A problem of the given lengths.
    pub problem: fn(&[usize], &mut Values) -> Problem,
}

/// A call of an operation on operands in order.
pub type Apply = Box<dyn Fn(&[Tensor]) -> Result<Tensor> + Send + Sync>;

/// Operands and the call.
pub struct Problem {
    /// The operands in the order in which `apply` takes them.
    pub inputs: Vec<Input>,
    /// The operation.
    pub apply: Apply,
}

/// One operand.
#[derive(Clone)]
pub struct Input {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its elements.
    pub values: Vec<f64>,
    /// What kind of operand it is.
    pub kind: Kind,
}

/// What kind of operand an input is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Differentiated.
    Variable,
    /// Real numbers without a gradient: masks, bounds, noise.
    Constant,
    /// Whole numbers: indices.
    Index,
}

/// Draws the operands of a problem; the same seed draws the same ones.
pub struct Values(StdRng);

impl Values {
    /// A source of values for `seed`.
    pub fn new(seed: u64) -> Self {
        Values(StdRng::seed_from_u64(seed))
    }

    fn input(&mut self, shape: &[usize], kind: Kind, mut draw: impl FnMut(&mut StdRng) -> f64) -> Input {
        let len = shape.iter().product::<usize>();
        // Rounded to f32, so that both precisions start from the same numbers.
        let values = (0..len).map(|_| f64::from(draw(&mut self.0) as f32)).collect();
        Input { shape: shape.to_vec(), values, kind }
    }

    /// A differentiated operand with elements in -1..1.
    pub fn variable(&mut self, shape: &[usize]) -> Input {
        self.variable_in(shape, -1.0, 1.0)
    }

    /// A differentiated operand with elements in `low..high`.
    pub fn variable_in(&mut self, shape: &[usize], low: f64, high: f64) -> Input {
        self.input(shape, Kind::Variable, |rng| rng.random_range(low..high))
    }

    /// A differentiated operand whose elements keep `gap` away from every multiple of `step`: for functions with kinks.
    pub fn variable_off(&mut self, shape: &[usize], step: f64, gap: f64) -> Input {
        self.input(shape, Kind::Variable, |rng| {
            f64::from(rng.random_range(-3i32..3)) * step + rng.random_range(gap..step - gap)
        })
    }

    /// An operand without a gradient, elements in `low..high`.
    pub fn constant_in(&mut self, shape: &[usize], low: f64, high: f64) -> Input {
        self.input(shape, Kind::Constant, |rng| rng.random_range(low..high))
    }

    /// A mask of zeros and ones, ones with probability `share`.
    pub fn mask(&mut self, shape: &[usize], share: f64) -> Input {
        self.input(shape, Kind::Constant, |rng| if rng.random_bool(share) { 1.0 } else { 0.0 })
    }

    /// Whole numbers below `bound`.
    pub fn index(&mut self, shape: &[usize], bound: usize) -> Input {
        self.input(shape, Kind::Index, |rng| rng.random_range(0..bound) as f64)
    }

    /// The generator itself, for operands with a structure of their own.
    pub fn rng(&mut self) -> &mut StdRng {
        &mut self.0
    }
}

impl Input {
    /// The operand as a tensor of `dtype` (indices stay indices).
    pub fn tensor(&self, device: &Device, dtype: DType) -> Result<Tensor> {
        let dtype = if self.kind == Kind::Index { DType::U32 } else { dtype };
        Tensor::from_f64(device, self.shape.as_slice(), &self.values, dtype)
    }
}
