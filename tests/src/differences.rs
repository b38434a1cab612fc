//! The gradient of a whole model's loss against differences of the loss.

use isobath_engine::parameters::Parameters;
use isobath_engine::{Result, Tape, Tensor};

/// A model in double precision with a loss.
pub struct Model<M> {
    /// The model.
    pub model: M,
    /// Its parameters.
    pub parameters: fn(&mut M) -> &mut Parameters,
    /// The loss on some batch.
    pub loss: fn(&M) -> Result<Tensor>,
}

impl<M> Model<M> {
    /// The loss and all gradients, one parameter after the other.
    pub fn gradients(&mut self) -> Result<(f64, Vec<f64>)> {
        let tape = Tape::start()?;
        let loss = (self.loss)(&self.model)?;
        let found = tape.backward(&loss)?;
        let parameters = (self.parameters)(&mut self.model);
        let mut all = Vec::new();
        for name in parameters.names() {
            all.extend(parameters.gradient(&found, name)?.to_f64()?);
        }
        Ok((loss.item()?, all))
    }

    /// Compares the slope along one direction in all parameters at once; `tolerance` is relative to the gradient's norm.
    pub fn check(&mut self, tolerance: f64) -> Result<()> {
        let names: Vec<String> = (self.parameters)(&mut self.model).names().map(String::from).collect();
        let parameters = (self.parameters)(&mut self.model);
        let start: Vec<Vec<f32>> = names.iter().map(|n| parameters.to_vec(n)).collect::<Result<_>>()?;
        // Steps that f32 holds exactly, since parameters are set in f32.
        let h = 2f32.powi(-20);
        let direction = |i: usize| if (i * 2_654_435_761) & 64 == 0 { 1.0f32 } else { -1.0 };
        let rounded = |v: f32| (v * 1_048_576.0).round() / 1_048_576.0;
        let mut loss_at = |step: f32| -> Result<f64> {
            let mut i = 0;
            for (name, values) in names.iter().zip(&start) {
                let moved: Vec<f32> = values
                    .iter()
                    .map(|v| {
                        i += 1;
                        rounded(*v) + step * direction(i - 1)
                    })
                    .collect();
                (self.parameters)(&mut self.model).set(name, &moved)?;
            }
            (self.loss)(&self.model)?.item()
        };
        let (near, far) = (loss_at(h)? - loss_at(-h)?, loss_at(2.0 * h)? - loss_at(-2.0 * h)?);
        let slope = (8.0 * near - far) / (12.0 * f64::from(h));
        loss_at(0.0)?;
        let (_, gradient) = self.gradients()?;
        let expected: f64 = gradient.iter().enumerate().map(|(i, g)| g * f64::from(direction(i))).sum();
        let scale = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((slope - expected).abs() < tolerance * scale, "by differences {slope}, by the backward {expected}");
        Ok(())
    }
}
