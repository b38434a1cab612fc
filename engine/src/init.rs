//! Initial values of parameters.
//!
//! Values are drawn on the host in f64 and rounded to the parameters' type. Each parameter has a generator of its
//! own, seeded by the run's seed and the parameter's name, so neither the order in which parameters are added nor
//! the device changes them.

use crate::error::{Error, Result};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;
use rand_distr::{Distribution, Normal, Uniform};

/// How a parameter starts.
#[derive(Clone, Debug, PartialEq)]
pub enum Init {
    /// 0 everywhere.
    Zeros,
    /// 1 everywhere.
    Ones,
    /// Uniform between minus and plus `bound`.
    Uniform {
        /// Half the width.
        bound: f64,
    },
    /// Normal around 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// These values, the slowest axis first.
    Values(Vec<f64>),
}

impl Init {
    /// PyTorch's default for the weight and the bias of a linear or convolution layer: uniform between plus and
    /// minus 1/sqrt(fan_in) (`torch.nn.Linear`, "Variables").
    pub fn linear(fan_in: usize) -> Init {
        Init::Uniform { bound: 1.0 / (fan_in as f64).sqrt() }
    }

    /// Normal with variance 2/fan_in, for layers before a ReLU (He et al. 2015, "Delving deep into rectifiers",
    /// eq. 10).
    pub fn kaiming_normal(fan_in: usize) -> Init {
        Init::Normal { std: (2.0 / fan_in as f64).sqrt() }
    }

    /// Normal with variance 2/(fan_in + fan_out) (Glorot and Bengio 2010, "Understanding the difficulty of training
    /// deep feedforward neural networks", eq. 12).
    pub fn xavier_normal(fan_in: usize, fan_out: usize) -> Init {
        Init::Normal { std: (2.0 / (fan_in + fan_out) as f64).sqrt() }
    }

    /// The `len` starting values of parameter `name`.
    pub(crate) fn values(self, name: &str, len: usize, seed: u64) -> Result<Vec<f64>> {
        let refused = |what: String| Error::Parameter { name: name.into(), what };
        let mut random = Xoshiro256PlusPlus::seed_from_u64(stream(seed, name));
        Ok(match self {
            Init::Zeros => vec![0.0; len],
            Init::Ones => vec![1.0; len],
            Init::Uniform { bound } => {
                let uniform = Uniform::new_inclusive(-bound, bound)
                    .map_err(|_| refused(format!("expected a bound of 0 or more, found {bound}")))?;
                uniform.sample_iter(&mut random).take(len).collect()
            }
            Init::Normal { std } => {
                let normal = Normal::new(0.0, std)
                    .ok()
                    .filter(|_| std >= 0.0)
                    .ok_or_else(|| refused(format!("expected a standard deviation of 0 or more, found {std}")))?;
                normal.sample_iter(&mut random).take(len).collect()
            }
            Init::Values(values) if values.len() == len => values,
            Init::Values(values) => {
                return Err(refused(format!("expected {len} initial values, found {}", values.len())));
            }
        })
    }
}

/// The 64-bit FNV-1a hash of the seed and the name: the same on every machine and in every version of Rust.
fn stream(seed: u64, name: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments(init: Init) -> (f64, f64, f64) {
        let values = init.values("w", 20_000, 3).unwrap();
        let mean = values.iter().sum::<f64>() / 2e4;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / 2e4;
        (mean, variance, values.iter().fold(0.0, |m: f64, v| m.max(v.abs())))
    }

    #[test]
    fn the_distributions_have_their_published_moments() {
        let (mean, variance, largest) = moments(Init::linear(25)); // uniform +-0.2: variance 0.04 / 3
        assert!(mean.abs() < 3e-3 && (variance / (0.04 / 3.0) - 1.0).abs() < 0.03);
        assert!(largest <= 0.2 && largest > 0.199);
        let (mean, variance, _) = moments(Init::kaiming_normal(50));
        assert!(mean.abs() < 6e-3 && (variance / 0.04 - 1.0).abs() < 0.05);
        let (_, variance, largest) = moments(Init::xavier_normal(30, 20));
        assert!((variance / 0.04 - 1.0).abs() < 0.05 && largest > 0.6);
    }

    #[test]
    fn seed_and_name_both_choose_the_stream() {
        let draw = |name, seed| Init::Normal { std: 1.0 }.values(name, 4, seed).unwrap();
        assert_eq!(draw("a.weight", 7), draw("a.weight", 7));
        assert_ne!(draw("a.weight", 7), draw("a.weight", 8));
        assert_ne!(draw("a.weight", 7), draw("b.weight", 7));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for init in [
            Init::Uniform { bound: -1.0 },
            Init::linear(0),
            Init::Normal { std: f64::NAN },
            Init::Normal { std: -1.0 },
            Init::Values(vec![1.0; 3]),
        ] {
            let error = init.values("enc.bias", 2, 0).unwrap_err().to_string();
            assert!(error.starts_with("parameter enc.bias: expected"), "{error}");
        }
    }
}
