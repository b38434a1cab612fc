//! TLT: the temporal block's parameters, and the block from small operations: every variant, and the twin that the fused
//! kernel is held against.

use super::options::{Attention, BlockForm};
use crate::baselines::harmonics;
use isobath_engine::init::Init;
use isobath_engine::ops::{self, TemporalWeights};
use isobath_engine::parameters::{Builder, Parameters};
use isobath_engine::{Result, Tensor};

/// Added to the variance in every norm, PyTorch's default.
pub(crate) const EPS: f32 = 1e-5;

/// How a temporal block is built.
#[derive(Clone, Copy)]
pub struct Temporal {
    /// Which attention mixes the frames.
    pub attention: Attention,
    /// Where norms and residuals stand.
    pub block: BlockForm,
    /// Attention heads.
    pub heads: usize,
}

impl Temporal {
    /// Whether the fused kernel has this form.
    pub(crate) fn has_kernel(&self) -> bool {
        self.attention == Attention::Linear && self.block == BlockForm::PreNorm
    }
}

/// Declares the parameters of the temporal block `name` of width `d` but for its input projection, as the published code
/// draws them.
pub(crate) fn declare(builder: Builder, name: &str, d: usize) -> Builder {
    let projections = ["to_q", "to_k", "to_v"].into_iter();
    projections
        .fold(builder, |builder, p| builder.add(format!("{name}.0.fn.{p}.weight"), [d, d], Init::linear(d)))
        .linear(&format!("{name}.0.fn.to_out"), [d, d], Init::linear(d))
        .linear(&format!("{name}.1.fn.fn.w1"), [4 * d, d], Init::linear(d))
        .linear(&format!("{name}.1.fn.fn.w2"), [d, 4 * d], Init::linear(4 * d))
        .norm(&format!("{name}.0.norm"), d)
        .norm(&format!("{name}.1.norm"), d)
}

/// The weights of the temporal block `name` behind the input projection `input` `[c, f]`.
pub(crate) fn weights(parameters: &Parameters, input: Tensor, name: &str) -> Result<TemporalWeights> {
    let get = |part: &str| parameters.get(&format!("{name}.{part}.weight"));
    let pair = |part: &str| parameters.pair(&format!("{name}.{part}"));
    Ok(TemporalWeights {
        input,
        norm1: pair("0.norm")?,
        qkv: [get("0.fn.to_q")?, get("0.fn.to_k")?, get("0.fn.to_v")?],
        out: pair("0.fn.to_out")?,
        norm2: pair("1.norm")?,
        up: pair("1.fn.fn.w1")?,
        down: pair("1.fn.fn.w2")?,
    })
}

/// Sines, then cosines, of every frame's number at `width` / 2 frequencies that fall from 1 to 1e-4 as powers, `[t, width]`
/// (Vaswani et al. 2017, section 3.5).
pub(crate) fn position_table(frames: usize, width: usize) -> Vec<f64> {
    let half = width.div_ceil(2);
    let angle = |t: usize, i: usize| t as f64 * 1e4f64.powf(-((i % half) as f64) / half as f64);
    let entry = |t: usize, i: usize| if i < half { angle(t, i).sin() } else { angle(t, i).cos() };
    (0..frames).flat_map(|t| (0..width).map(move |i| entry(t, i))).collect()
}

/// Harmonics of the year in [`season_table`].
const HARMONICS: usize = 4;
/// Columns of [`season_table`].
pub(crate) const SEASON_WIDTH: usize = 2 * HARMONICS;

/// Sines and cosines of the first harmonics of the year at these phases, fractions of a year, `[phases, SEASON_WIDTH]`.
pub(crate) fn season_table(phases: &[f32]) -> Vec<f64> {
    phases.iter().flat_map(|phase| harmonics(*phase, HARMONICS)).collect()
}

/// The temporal block on planes `[f, b, t, n]` and shift `[b, t, c]`, result `[b, n, t, c]`.
pub fn composed(planes: &Tensor, shift: &Tensor, w: &TemporalWeights, form: Temporal) -> Result<Tensor> {
    let &[f, b, t, n] = planes.shape().dims() else {
        return ops::temporal_block(planes, shift, w, form.heads, EPS); // which says what is wrong
    };
    let c = shift.shape().last();
    let tokens = ops::reshape(&ops::permute(planes, &[1, 3, 2, 0])?, [b, n, t, f])?;
    let x = ops::add(&ops::linear(&tokens, &w.input, None)?, &ops::reshape(shift, [b, 1, t, c])?)?;
    let x = ops::reshape(&x, [b * n, t, c])?;
    let x = match form.block {
        BlockForm::PreNorm => {
            let x = ops::add(&x, &attend(&norm(&x, &w.norm1)?, w, form)?)?;
            let up = ops::gelu(&ops::linear(&norm(&x, &w.norm2)?, &w.up.0, Some(&w.up.1))?)?;
            ops::add(&x, &ops::linear(&up, &w.down.0, Some(&w.down.1))?)?
        }
        BlockForm::PostNorm => {
            let x = norm(&attend(&x, w, form)?, &w.norm1)?;
            let up = ops::relu(&ops::linear(&x, &w.up.0, Some(&w.up.1))?)?;
            norm(&ops::linear(&up, &w.down.0, Some(&w.down.1))?, &w.norm2)?
        }
    };
    ops::reshape(&x, [b, n, t, c])
}

fn norm(x: &Tensor, w: &(Tensor, Tensor)) -> Result<Tensor> {
    ops::layer_norm(x, &w.0, &w.1, EPS)
}

fn attend(x: &Tensor, w: &TemporalWeights, form: Temporal) -> Result<Tensor> {
    let [q, k, v] = [0, 1, 2].map(|i| ops::linear(x, &w.qkv[i], None));
    let mixed = match form.attention {
        Attention::Linear => ops::linear_attention(&q?, &k?, &v?, form.heads)?,
        Attention::Softmax => ops::softmax_attention(&q?, &k?, &v?, form.heads)?,
    };
    ops::linear(&mixed, &w.out.0, Some(&w.out.1))
}
