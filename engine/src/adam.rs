//! Adam and AdamW over flat parameters, with clipping of the gradient's norm.
//!
//! The conventions are those of `torch.optim.Adam`, `torch.optim.AdamW` and `clip_grad_norm_`; the formulas stand at
//! the kernel, [`isobath_kernels::adam`].

use crate::device::Bind::{In, Out};
use crate::error::{Error, Result};
use crate::ops;
use crate::parameters::Parameters;
use crate::tape::Gradients;
use crate::tensor::Tensor;
use isobath_kernels::accumulate::{self, ACCUMULATE};
use isobath_kernels::adam::{ADAM, Params, Settings};
use isobath_kernels::sum_squares::{self, SUM_SQUARES};

/// The optimiser's constants. Its state, the moments and the number of steps, lies with the [`Parameters`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    /// Learning rate; times [`Schedule::factor`](crate::schedule::Schedule::factor) where there is a schedule.
    pub lr: f64,
    /// Decay of the mean of the gradients.
    pub beta1: f64,
    /// Decay of the mean of their squares.
    pub beta2: f64,
    /// Added to the root of the mean square.
    pub eps: f64,
    /// Weight decay.
    pub weight_decay: f64,
    /// Whether the decay acts on the values alone (AdamW: Loshchilov and Hutter 2019) or is added to the gradient
    /// (an L2 penalty: Kingma and Ba 2015 as PyTorch has it).
    pub decoupled: bool,
    /// Largest Euclidean norm of the gradient of all parameters together; longer ones are shortened to it.
    pub max_norm: Option<f64>,
    /// Whether the gradients of all steps so far are added up instead of being zeroed before each step: what code does
    /// that forgets `zero_grad`, such as the published training of STIMP's forecaster.
    pub accumulate_gradients: bool,
}

impl Default for Adam {
    /// PyTorch's defaults: rate 1e-3, betas 0.9 and 0.999, eps 1e-8, no decay, no clipping.
    fn default() -> Self {
        Adam {
            lr: 1e-3,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.0,
            decoupled: false,
            max_norm: None,
            accumulate_gradients: false,
        }
    }
}

/// What a step found. When one of the two is not finite, the step has changed no parameter and no moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The loss before the step, where the gradients are those of one: not after
    /// [`Tape::backward_from`](crate::Tape::backward_from).
    pub loss: Option<f64>,
    /// Euclidean norm of the gradient of all parameters together, before clipping.
    pub gradient_norm: f64,
}

impl StepReport {
    fn is_finite(&self) -> bool {
        self.gradient_norm.is_finite() && self.loss.is_none_or(f64::is_finite)
    }
}

impl Adam {
    /// One update of all parameters by the gradients of the last backward pass. It writes the memory that the tensors
    /// from [`Parameters::get`] share, so no tape that used them may still be waiting for its backward.
    ///
    /// # Errors
    /// When the loss did not depend on one of the parameters.
    pub fn step(&self, parameters: &mut Parameters, gradients: &Gradients) -> Result<StepReport> {
        for entry in parameters.entries() {
            entry.expect_reached(gradients)?;
        }
        let gradient = &if self.accumulate_gradients { summed(parameters)? } else { parameters.gradients.clone() };
        let device = parameters.device();
        let norm_squared = Tensor::empty(device, [1], parameters.dtype())?;
        let len = gradient.len() as u32;
        device.run(&SUM_SQUARES, &sum_squares::Params { len }, &[In(gradient), Out(&norm_squared)])?;
        let report = report(&norm_squared, gradients.loss())?;
        if !report.is_finite() {
            return Ok(report);
        }
        let settings = Settings {
            lr: self.lr,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            decay: self.weight_decay,
            decoupled: self.decoupled,
            max_norm: self.max_norm.unwrap_or(0.0),
        };
        let (values, [first, second]) = (&parameters.values, &parameters.moments);
        let constants = Params::new(len, &settings, parameters.steps + 1);
        let bound = [Out(values), In(gradient), Out(first), Out(second), In(&norm_squared)];
        device.run(&ADAM, &constants, &bound)?;
        parameters.steps += 1;
        Ok(report)
    }
}

/// Reads the norm and the loss together: a GPU is waited for once.
fn report(norm_squared: &Tensor, loss: Option<&Tensor>) -> Result<StepReport> {
    let Some(loss) = loss else {
        return Ok(StepReport { loss: None, gradient_norm: norm_squared.item()?.sqrt() });
    };
    let both = ops::concat(&[norm_squared, &ops::reshape(loss, [1])?], 0)?.to_f64()?;
    Ok(StepReport { loss: Some(both[1]), gradient_norm: both[0].sqrt() })
}

/// The sum of all gradients so far, with the last ones added.
fn summed(parameters: &mut Parameters) -> Result<Tensor> {
    let sum = match parameters.gradient_sum.take() {
        Some(sum) => sum,
        None => parameters.another_flat()?,
    };
    let all = accumulate::Params { len: sum.len() as u32, add: 1 };
    sum.device().run(&ACCUMULATE, &all, &[In(&parameters.gradients), Out(&sum)])?;
    parameters.gradient_sum = Some(sum.clone());
    Ok(sum)
}

/// The parameter with the largest element of the last gradient, and that element's absolute value; a NaN counts as
/// the largest. For the message when a training diverges.
///
/// # Errors
/// When the gradients cannot be read from the device.
pub fn largest_gradient(parameters: &Parameters) -> Result<(String, f64)> {
    let mut largest: Option<(&str, f64)> = None;
    for entry in parameters.entries() {
        let values = entry.part_of(&parameters.gradients).to_f64()?;
        let value = values.into_iter().map(f64::abs).max_by(f64::total_cmp).unwrap_or(0.0);
        if largest.is_none_or(|(_, so_far)| value.total_cmp(&so_far).is_gt()) {
            largest = Some((&entry.name, value));
        }
    }
    largest
        .map(|(name, value)| (name.to_owned(), value))
        .ok_or_else(|| Error::Tape("there is no parameter, so there is no gradient".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Init;
    use crate::{DType, Device, Tape};

    /// Parameters `a` [3, 17] and `b` [3].
    fn model(dtype: DType) -> Parameters {
        Parameters::builder()
            .add("a", [3, 17], Init::linear(17))
            .add("b", [3], Init::Normal { std: 0.1 })
            .build(&Device::cpu(), dtype, 5)
            .unwrap()
    }

    /// Gradients of sum (x a^T + b)^2, and those of `a` and `b` in a row.
    fn pass(parameters: &Parameters, scale: f64) -> (Gradients, Vec<f64>) {
        let x: Vec<f64> = (0..34).map(|i| scale * (f64::from(i) * 0.37).sin()).collect();
        let x = Tensor::from_f64(parameters.device(), [2, 17], &x, parameters.dtype()).unwrap();
        let tape = Tape::start().unwrap();
        let y = ops::linear(&x, &parameters.get("a").unwrap(), Some(&parameters.get("b").unwrap())).unwrap();
        let gradients = tape.backward(&ops::sum(&ops::square(&y).unwrap()).unwrap()).unwrap();
        let part = |name| parameters.gradient(&gradients, name).unwrap().to_f64().unwrap();
        let row = [part("a"), part("b")].concat();
        (gradients, row)
    }

    fn values(parameters: &Parameters) -> Vec<f64> {
        ["a", "b"].map(|name| parameters.get(name).unwrap().to_f64().unwrap()).concat()
    }

    /// `torch.optim.Adam` (or AdamW) after `clip_grad_norm_`, one number at a time.
    fn reference(s: &Adam, t: i32, x: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64]) {
        let norm = g.iter().map(|g| g * g).sum::<f64>().sqrt();
        let clip = s.max_norm.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0));
        for i in 0..x.len() {
            let mut g = g[i] * clip;
            if s.decoupled {
                x[i] -= s.lr * s.weight_decay * x[i];
            } else {
                g += s.weight_decay * x[i];
            }
            m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
            v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
            let (m_hat, v_hat) = (m[i] / (1.0 - s.beta1.powi(t)), v[i] / (1.0 - s.beta2.powi(t)));
            x[i] -= s.lr * m_hat / (v_hat.sqrt() + s.eps);
        }
    }

    #[test]
    fn twelve_steps_agree_with_the_published_algorithm() {
        for (weight_decay, decoupled, max_norm) in [(0.0, false, None), (0.1, false, Some(0.5)), (0.1, true, Some(2.0))]
        {
            let adam = Adam { lr: 1e-2, weight_decay, decoupled, max_norm, ..Adam::default() };
            let mut parameters = model(DType::F64);
            let mut expected = values(&parameters);
            let start = expected.clone();
            let (mut m, mut v) = (vec![0.0; 54], vec![0.0; 54]);
            for t in 1..=12 {
                let (gradients, row) = pass(&parameters, 1.0);
                reference(&adam, t, &mut expected, &row, &mut m, &mut v);
                let report = adam.step(&mut parameters, &gradients).unwrap();
                let norm = row.iter().map(|g| g * g).sum::<f64>().sqrt();
                assert!((report.gradient_norm / norm - 1.0).abs() < 1e-12);
                assert!(report.loss.is_some_and(|loss| loss > 0.0));
            }
            // The constants pass through f32: 2^-24 of an update of 12 steps.
            let far = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(far(&values(&parameters), &expected) < 3e-8 * far(&start, &expected).max(1.0));
            assert!(far(&start, &expected) > 0.05, "the test moved nothing");
            assert_eq!(parameters.steps(), 12);
            for flat in parameters.moments.iter().chain([&parameters.values]) {
                let flat = flat.to_f64().unwrap();
                assert!(flat[51..64].iter().chain(&flat[67..]).all(|v| *v == 0.0), "the padding moved");
            }
        }
    }

    #[test]
    fn gradients_that_are_never_zeroed_add_up() {
        let adam = Adam { lr: 1e-2, accumulate_gradients: true, ..Adam::default() };
        let mut parameters = model(DType::F64);
        let mut expected = values(&parameters);
        let (mut m, mut v, mut sum) = (vec![0.0; 54], vec![0.0; 54], vec![0.0; 54]);
        for t in 1..=5 {
            let (gradients, row) = pass(&parameters, f64::from(t));
            sum.iter_mut().zip(row).for_each(|(sum, g)| *sum += g);
            reference(&adam, t, &mut expected, &sum, &mut m, &mut v);
            adam.step(&mut parameters, &gradients).unwrap();
        }
        let far = values(&parameters).iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(far < 3e-8, "{far}");
    }

    #[test]
    fn a_parameter_out_of_reach_is_an_error_and_nothing_moves() {
        let mut parameters = model(DType::F32);
        let before = values(&parameters);
        let tape = Tape::start().unwrap();
        let gradients = tape.backward(&ops::sum(&parameters.get("a").unwrap()).unwrap()).unwrap();
        let error = Adam::default().step(&mut parameters, &gradients).unwrap_err().to_string();
        assert_eq!(error, "parameter b: the loss does not depend on it");
        assert_eq!((values(&parameters), parameters.steps()), (before, 0));
    }

    #[test]
    fn a_gradient_that_is_not_finite_changes_nothing_and_names_its_parameter() {
        let mut parameters = model(DType::F32);
        let before = values(&parameters);
        let (gradients, _) = pass(&parameters, 1e30);
        let report = Adam::default().step(&mut parameters, &gradients).unwrap();
        assert!(!report.gradient_norm.is_finite());
        assert_eq!((values(&parameters), parameters.steps()), (before, 0));
        assert_eq!(largest_gradient(&parameters).unwrap().0, "a");
        // The next pass overwrites every gradient.
        let (gradients, row) = pass(&parameters, 1.0);
        assert!(Adam::default().step(&mut parameters, &gradients).unwrap().gradient_norm.is_finite());
        let (name, value) = largest_gradient(&parameters).unwrap();
        let largest = row.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        let of_b = row[51..].iter().any(|g| g.abs() == largest);
        assert_eq!((name.as_str(), value), (if of_b { "b" } else { "a" }, largest));
    }

    #[test]
    fn a_loss_that_is_not_finite_changes_nothing() {
        let mut parameters = model(DType::F32);
        parameters.set("a", &[3e38; 51]).unwrap();
        let before = values(&parameters);
        let tape = Tape::start().unwrap();
        let [a, b] = ["a", "b"].map(|name| ops::sum(&parameters.get(name).unwrap()).unwrap());
        let gradients = tape.backward(&ops::add(&a, &b).unwrap()).unwrap();
        let report = Adam::default().step(&mut parameters, &gradients).unwrap();
        assert_eq!((report.loss, report.gradient_norm), (Some(f64::INFINITY), 54f64.sqrt()));
        assert_eq!((values(&parameters), parameters.steps()), (before, 0));
    }
}
