//! Quantiles of Student's t distribution.

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};

/// Degrees of freedom from which on the expansion is better than the inverse of the incomplete beta function.
const MANY: f64 = 1000.0;

/// The value below which a share `probability` of the t distribution with `freedom` degrees of freedom lies, for a share
/// of at least one half; infinite freedom is the normal distribution. Not a number outside the domain.
pub(crate) fn quantile(probability: f64, freedom: f64) -> f64 {
    if !(0.5..1.0).contains(&probability) {
        return f64::NAN;
    }
    if freedom < MANY {
        return StudentsT::new(0.0, 1.0, freedom).map_or(f64::NAN, |t| t.inverse_cdf(probability));
    }
    let z = Normal::standard().inverse_cdf(probability);
    // Cornish and Fisher's expansion in 1 / freedom (Abramowitz and Stegun 26.7.5).
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    z + first / freedom + second / freedom.powi(2)
}

#[cfg(test)]
mod tests {
    use super::quantile;

    #[test]
    fn quantiles_are_those_of_scipy() {
        let expected = [
            (0.9, 1.0, 3.077_683_537_175_254_4),
            (0.9, 4.0, 1.533_206_274_058_944),
            (0.95, 1.7, 3.303_615_143_237_928_4),
            (0.95, 9.0, 1.833_112_932_656_237),
            (0.95, 333.3, 1.649_438_202_538_458_4),
            (0.95, 1500.0, 1.645_870_104_542_526_1),
            (0.975, 4.36, 2.688_329_759_580_644_6),
            (0.975, 1e5, 1.959_987_707_534_609_5),
            (0.975, f64::INFINITY, 1.959_963_984_540_054),
            (0.995, 1.0, 63.656_741_162_871_526),
            (0.995, 1e9, 2.575_829_308_465_448_4),
        ];
        for (probability, freedom, expected) in expected {
            let found = quantile(probability, freedom);
            assert!((found / expected - 1.0).abs() < 1e-8, "{probability} {freedom}: {found} instead of {expected}");
        }
        assert!((quantile(0.5, 3.0)).abs() < 1e-12);
        assert!(quantile(0.3, 3.0).is_nan() && quantile(0.9, -1.0).is_nan() && quantile(0.9, f64::NAN).is_nan());
    }
}
