//! The tables of the diffusion: noise variances, posterior weights and the sinusoidal table of steps.

use super::options::{NoiseSchedule, NoiseTerm, Options};
use isobath_engine::ops::Posterior;

/// What the chain needs of every step l = 0..L (systems 1.5 and 1.6; STIMP eqs. 6-9, Ho et al. 2020).
#[derive(Clone, Debug)]
pub struct Diffusion {
    /// Noise variance of each step.
    pub beta: Vec<f64>,
    /// Product of 1 - beta up to each step.
    pub alpha_bar: Vec<f64>,
    noise_term: NoiseTerm,
}

impl Diffusion {
    /// The tables for `options`.
    pub fn new(options: &Options) -> Self {
        let last = options.steps.saturating_sub(1).max(1) as f64;
        let between = |a: f64, b: f64, i: usize| a + (b - a) * i as f64 / last;
        let beta: Vec<f64> = (0..options.steps)
            .map(|i| match options.noise_schedule {
                NoiseSchedule::Quadratic => between(options.beta_first.sqrt(), options.beta_last.sqrt(), i).powi(2),
                NoiseSchedule::Linear => between(options.beta_first, options.beta_last, i),
            })
            .collect();
        let alpha_bar = beta
            .iter()
            .scan(1.0, |product, beta| {
                *product *= 1.0 - beta;
                Some(*product)
            })
            .collect();
        Diffusion { beta, alpha_bar, noise_term: options.noise_term }
    }

    /// Number of steps L.
    pub fn steps(&self) -> usize {
        self.beta.len()
    }

    /// Factors of signal and noise in a sample of step `l`.
    pub fn q_sample(&self, l: usize) -> (f64, f64) {
        (self.alpha_bar[l].sqrt(), (1.0 - self.alpha_bar[l]).sqrt())
    }

    /// Weights of the sample, of the prediction and of the noise in the step from `l` to `l - 1`; at 0 only the
    /// prediction counts.
    pub fn posterior(&self, l: usize) -> Posterior {
        let before = if l == 0 { 1.0 } else { self.alpha_bar[l - 1] };
        let rest = 1.0 - self.alpha_bar[l];
        let x_hat = self.beta[l] * before.sqrt() / rest;
        let x = (1.0 - before) * (1.0 - self.beta[l]).sqrt() / rest;
        let noise = match (l, self.noise_term) {
            (0, _) => 0.0,
            (_, NoiseTerm::Posterior) => ((1.0 - before) / rest * self.beta[l]).sqrt(),
            (_, NoiseTerm::Paper) => x_hat,
        };
        Posterior { x: x as f32, x_hat: x_hat as f32, noise: noise as f32 }
    }
}

/// The table `[steps, width]` of sines, then cosines, of l times 10^(4 j / (width / 2 - 1)), in single precision and in
/// the order of the published code, whose arguments reach 5e5.
pub fn step_table(steps: usize, width: usize) -> Vec<f64> {
    let half = width / 2;
    let frequency = |j: usize| 10f32.powf(j as f32 / (half - 1) as f32 * 4.0);
    let frequencies: Vec<f32> = (0..half).map(frequency).collect();
    let row = |l: usize| {
        let argument = move |f: &f32| f64::from(l as f32 * f);
        let sines = frequencies.iter().map(move |f| argument(f).sin());
        sines.chain(frequencies.iter().map(move |f| argument(f).cos()))
    };
    (0..steps).flat_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_schedule() {
        // systems 8, A2
        let d = Diffusion::new(&Options::published());
        let close = |a: f64, b: f64| assert!((a - b).abs() < 6e-8, "{a} {b}");
        close(d.beta[0], 1e-4);
        close(d.beta[49], 0.2);
        assert!((d.alpha_bar[24] - 0.635516).abs() < 1e-6);
        close(d.alpha_bar[49], 0.0253259);
        let steps = [(1, 0.0088417, 0.7817146, 0.2182854), (2, 0.0169712, 0.6286793, 0.3713207)];
        let late = [(10, 0.0868723, 0.2372646, 0.762696), (49, 0.4457587, 0.0365097, 0.888617)];
        for (l, noise, x_hat, x) in steps.into_iter().chain(late) {
            let p = d.posterior(l);
            close(f64::from(p.noise), noise);
            close(f64::from(p.x_hat), x_hat);
            close(f64::from(p.x), x);
        }
        let last = d.posterior(0);
        assert_eq!((last.x, last.x_hat, last.noise), (0.0, 1.0, 0.0));
    }
}
