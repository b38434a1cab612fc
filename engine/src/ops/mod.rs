//! Differentiable operations, one file each: its function, its forward and its backward.

mod attention;
mod binary;
mod clamp;
mod columns;
mod diffusion;
mod embedding;
mod gate;
mod graph;
mod linear;
mod masked_mse;
mod norm;
mod permute;
mod reduce;
mod reshape;
mod select;
mod softmax;
mod spatial_block;
mod temporal_block;
mod unary;

pub use attention::{linear_attention, softmax_attention};
pub use binary::{add, div, mul, sub};
pub use clamp::clamp;
pub use columns::{concat, roll, slice, stack};
pub use diffusion::{Posterior, posterior_step, q_sample};
pub use embedding::embedding;
pub use gate::gate;
pub use graph::{node_linear, spmm};
pub use linear::{linear, matmul};
pub use masked_mse::masked_mse;
pub use norm::{group_norm, layer_norm};
pub use permute::permute;
pub use reduce::{max, mean, sum, sum_axis};
pub use reshape::reshape;
pub use select::select;
pub use softmax::softmax;
pub use spatial_block::{Spatial, SpatialWeights, spatial_block, spatial_head, spatial_mix};
pub use temporal_block::{TemporalWeights, temporal_block};
pub use unary::{
    abs, affine, exp, gelu, leaky_relu, log, log10, neg, power, relu, scale, sigmoid, silu, sqrt, square, tanh,
};
