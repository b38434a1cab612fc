//! Differentiable operations, one file each: its function, its forward and its backward.

mod linear;
mod reduce;
mod reshape;
mod temporal_block;
mod unary;

pub use linear::{linear, matmul};
pub use reduce::{max, mean, sum, sum_axis};
pub use reshape::reshape;
pub use temporal_block::{TemporalWeights, temporal_block};
pub use unary::{
    abs, affine, exp, gelu, leaky_relu, log, log10, neg, power, relu, scale, sigmoid, silu, sqrt, square, tanh,
};
