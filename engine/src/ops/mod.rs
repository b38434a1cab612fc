//! Differentiable operations, one file each: its function, its forward and its backward.

mod attention;
mod graph;
mod linear;
mod norm;
mod reduce;
mod reshape;
mod softmax;
mod temporal_block;
mod unary;

pub use attention::{linear_attention, softmax_attention};
pub use graph::{node_linear, spmm};
pub use linear::{linear, matmul};
pub use norm::{group_norm, layer_norm};
pub use reduce::{max, mean, sum, sum_axis};
pub use reshape::reshape;
pub use softmax::softmax;
pub use temporal_block::{TemporalWeights, temporal_block};
pub use unary::{
    abs, affine, exp, gelu, leaky_relu, log, log10, neg, power, relu, scale, sigmoid, silu, sqrt, square, tanh,
};
