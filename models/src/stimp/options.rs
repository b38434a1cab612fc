//! Every choice in STDDM as data: the published code's behaviour by default, the paper's where it differs.

use super::region::RegionOptions;
use super::tlt::Temporal;
use serde::{Deserialize, Serialize};

/// How the noise variances rise (systems 1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseSchedule {
    /// Square roots rise linearly, the published choice.
    Quadratic,
    /// Variances rise linearly.
    Linear,
}

/// Which attention mixes the frames of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// Softmax of q over features and of k over frames; code.
    Linear,
    /// Softmax of q k^T / sqrt(dim); paper.
    Softmax,
}

/// Where the layer norms and residuals of the temporal block stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockForm {
    /// x + Attn(LN x), x + FF(LN x) with GELU; code.
    PreNorm,
    /// LN(FF(LN(Attn x))) with ReLU and without residuals; paper eqs. 3-5.
    PostNorm,
}

/// What is added to a sample after each reverse step but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NoiseTerm {
    /// The standard deviation of the diffusion posterior; code (Ho et al. 2020, eq. 7).
    Posterior,
    /// The weight of the prediction, as the paper prints it; destroys samples, kept as an ablation.
    Paper,
}

/// What missing and hidden cells hold before noise is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// The node's mean over the visible frames of the window; code.
    VisibleMean,
    /// Zero; implied by the paper.
    Zero,
    /// The best linear estimate from the visible cells, as [`OptimalInterpolation`](crate::baselines::OptimalInterpolation) has
    /// it; in neither.
    OptimalInterpolation,
}

/// How a node's prototype weights follow from its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Embedding {
    /// Linear with bias on mean, standard deviation and latitude row, summed over the neighbours; code.
    NeighbourSum,
    /// A product without bias on latitude row, mean and variance, of the node alone; paper.
    Node,
}

/// What tells the temporal block which frame is which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Position {
    /// Nothing: permuting the frames permutes the result; paper and code.
    None,
    /// A learned projection of sines and cosines of the frame's number in the window (Vaswani et al. 2017, section 3.5).
    Frame,
    /// That, and sines and cosines of the time of year.
    Season,
}

/// The choices of STDDM. Field by field the difference of systems 1.11 that it settles is named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Width d of every token.
    pub channels: usize,
    /// Prototypes k of the node weights.
    pub prototypes: usize,
    /// Width of the sinusoidal step table; even.
    pub step_width: usize,
    /// Attention heads (difference 4).
    pub heads: usize,
    /// Groups of the group norm.
    pub groups: usize,
    /// Diffusion steps L.
    pub steps: usize,
    /// First and smallest noise variance.
    pub beta_first: f64,
    /// Last and largest noise variance.
    pub beta_last: f64,
    /// How the variances rise.
    pub noise_schedule: NoiseSchedule,
    /// Noise of the reverse steps (difference 1).
    pub noise_term: NoiseTerm,
    /// Whether training adds noise to the true values rather than to the filled visible ones (difference 2).
    pub noise_on_truth: bool,
    /// What missing cells hold, and round what the reverse chain starts (differences 3 and 13).
    pub fill: Fill,
    /// Whether the network predicts what the values depart from the fill, rather than the values; not in the paper.
    pub departure: bool,
    /// Attention over frames (difference 4).
    pub attention: Attention,
    /// Norms, residuals and activation of the temporal block (difference 5).
    pub block: BlockForm,
    /// What tells the temporal block which frame is which; not in the paper.
    pub position: Position,
    /// Whether a linear layer follows the node weights (difference 6).
    pub spatial_linear: bool,
    /// Prototype weights from features (difference 7).
    pub embedding: Embedding,
    /// Whether the longitude column is a feature too (difference 8).
    pub longitude: bool,
    /// Whether predictions are clamped to each node's bounds (difference 12).
    pub clamp: bool,
    /// Whether neighbour sums are divided by the number of neighbours (difference 14).
    pub normalise_degree: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options::published()
    }
}

impl Options {
    /// The published code's behaviour and sizes.
    pub fn published() -> Self {
        Options {
            channels: 32,
            prototypes: 8,
            step_width: 64,
            heads: 1,
            groups: 4,
            steps: 50,
            beta_first: 1e-4,
            beta_last: 0.2,
            noise_schedule: NoiseSchedule::Quadratic,
            noise_term: NoiseTerm::Posterior,
            noise_on_truth: false,
            fill: Fill::VisibleMean,
            departure: false,
            attention: Attention::Linear,
            block: BlockForm::PreNorm,
            position: Position::None,
            spatial_linear: false,
            embedding: Embedding::NeighbourSum,
            longitude: false,
            clamp: true,
            normalise_degree: false,
        }
    }

    /// The published sizes, with gaps filled by optimal interpolation, from which the network learns to depart.
    pub fn interpolating() -> Self {
        Options { fill: Fill::OptimalInterpolation, departure: true, ..Options::published() }
    }

    /// The paper's equations at the same sizes, with 8 heads.
    pub fn paper() -> Self {
        Options {
            heads: 8,
            noise_term: NoiseTerm::Paper,
            noise_on_truth: true,
            fill: Fill::Zero,
            attention: Attention::Softmax,
            block: BlockForm::PostNorm,
            spatial_linear: true,
            embedding: Embedding::Node,
            clamp: false,
            ..Options::published()
        }
    }

    /// The choices of its temporal block.
    pub fn temporal(&self) -> Temporal {
        Temporal { attention: self.attention, block: self.block, heads: self.heads }
    }

    /// The choices that its region is built by.
    pub fn region(&self) -> RegionOptions {
        let Options { embedding, longitude, normalise_degree, fill, .. } = *self;
        RegionOptions { embedding, longitude, normalise_degree, interpolates: fill == Fill::OptimalInterpolation }
    }

    /// One sentence on the first field that cannot be, or nothing.
    pub fn complaint(&self) -> Option<String> {
        let betas = 0.0 < self.beta_first && self.beta_first <= self.beta_last && self.beta_last < 1.0;
        let sizes = [("channels", self.channels), ("prototypes", self.prototypes), ("steps", self.steps)];
        zero(&sizes)
            .or_else(|| no_divisor(self.channels, "heads", self.heads))
            .or_else(|| no_divisor(self.channels, "groups", self.groups))
            .or_else(|| {
                (self.step_width < 4 || self.step_width % 2 == 1)
                    .then(|| format!("step_width: expected an even number of at least 4, found {}", self.step_width))
            })
            .or_else(|| {
                (!betas).then(|| {
                    format!(
                        "expected 0 < beta_first <= beta_last < 1, found {} and {}",
                        self.beta_first, self.beta_last
                    )
                })
            })
    }
}

/// One sentence on the first size that is 0.
pub(crate) fn zero(sizes: &[(&str, usize)]) -> Option<String> {
    let (name, _) = sizes.iter().find(|(_, size)| *size == 0)?;
    Some(format!("{name}: expected at least 1, found 0"))
}

/// One sentence when `of` does not divide the channels.
pub(crate) fn no_divisor(channels: usize, name: &str, of: usize) -> Option<String> {
    (of == 0 || !channels.is_multiple_of(of))
        .then(|| format!("channels = {channels} is not a multiple of {name} = {of}"))
}
