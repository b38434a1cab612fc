//! The temporal block from small operations: every variant, and the twin that the fused kernel is held against.

use super::options::{Attention, BlockForm, Options};
use isobath_engine::ops::{self, TemporalWeights};
use isobath_engine::{Result, Tensor};

/// Added to the variance in every norm, PyTorch's default.
pub(crate) const EPS: f32 = 1e-5;

/// The temporal block on planes `[f, b, t, n]` and shift `[b, t, c]`, result `[b, n, t, c]`.
pub fn composed(planes: &Tensor, shift: &Tensor, w: &TemporalWeights, options: &Options) -> Result<Tensor> {
    let &[f, b, t, n] = planes.shape().dims() else {
        return ops::temporal_block(planes, shift, w, options.heads, EPS); // which says what is wrong
    };
    let c = shift.shape().last();
    let tokens = ops::reshape(&ops::permute(planes, &[1, 3, 2, 0])?, [b, n, t, f])?;
    let x = ops::add(&ops::linear(&tokens, &w.input, None)?, &ops::reshape(shift, [b, 1, t, c])?)?;
    let x = ops::reshape(&x, [b * n, t, c])?;
    let x = match options.block {
        BlockForm::PreNorm => {
            let x = ops::add(&x, &attend(&norm(&x, &w.norm1)?, w, options)?)?;
            let up = ops::gelu(&ops::linear(&norm(&x, &w.norm2)?, &w.up.0, Some(&w.up.1))?)?;
            ops::add(&x, &ops::linear(&up, &w.down.0, Some(&w.down.1))?)?
        }
        BlockForm::PostNorm => {
            let x = norm(&attend(&x, w, options)?, &w.norm1)?;
            let up = ops::relu(&ops::linear(&x, &w.up.0, Some(&w.up.1))?)?;
            norm(&ops::linear(&up, &w.down.0, Some(&w.down.1))?, &w.norm2)?
        }
    };
    ops::reshape(&x, [b, n, t, c])
}

fn norm(x: &Tensor, w: &(Tensor, Tensor)) -> Result<Tensor> {
    ops::layer_norm(x, &w.0, &w.1, EPS)
}

fn attend(x: &Tensor, w: &TemporalWeights, options: &Options) -> Result<Tensor> {
    let [q, k, v] = [0, 1, 2].map(|i| ops::linear(x, &w.qkv[i], None));
    let mixed = match options.attention {
        Attention::Linear => ops::linear_attention(&q?, &k?, &v?, options.heads)?,
        Attention::Softmax => ops::softmax_attention(&q?, &k?, &v?, options.heads)?,
    };
    ops::linear(&mixed, &w.out.0, Some(&w.out.1))
}
