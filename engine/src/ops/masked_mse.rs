//! The loss over the entries that a mask names.

use crate::device::Bind::{Absent, In, Out};
use crate::error::Result;
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::shape::Shape;
use crate::tensor::Tensor;
use isobath_kernels::masked_mse::{MASKED_MSE, MASKED_MSE_BACKWARD, Params};

struct MaskedMse;

impl Op for MaskedMse {
    fn name(&self) -> &'static str {
        "masked_mse"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let (prediction, target, mask) = (x[0], x[1], x[2]);
        let scalar = || Tensor::empty(prediction.device(), Shape::new(&[]), prediction.dtype());
        let (loss, weight) = (scalar()?, scalar()?);
        let bound = [In(prediction), In(target), In(mask), Out(&loss), Out(&weight)];
        loss.device().run(&MASKED_MSE, &Params { len: mask.len() as u32 }, &bound)?;
        Ok((loss, vec![prediction.clone(), target.clone(), mask.clone(), weight]))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        let (prediction, target, mask, weight) = (&saved[0], &saved[1], &saved[2], &saved[3]);
        let grad = |i: usize| wanted.needs(i).then(|| wanted.output(i, &saved[i])).transpose();
        let (dp, dt) = (grad(0)?, grad(1)?);
        let [out_p, out_t] = [&dp, &dt].map(|d| d.as_ref().map_or(Absent, Out));
        let bound = [In(prediction), In(target), In(mask), In(weight), In(dy), out_p, out_t];
        dy.device().run(&MASKED_MSE_BACKWARD, &Params { len: mask.len() as u32 }, &bound)?;
        Ok(vec![dp, dt, None])
    }
}

/// sum (prediction - target)^2 mask / sum mask, a scalar; 0 when the mask is empty. All of one shape; the mask has no
/// gradient, and entries where it is 0 do not count whatever they hold.
///
/// # Errors
/// When the shapes differ.
pub fn masked_mse(prediction: &Tensor, target: &Tensor, mask: &Tensor) -> Result<Tensor> {
    expect_shape("masked_mse", "target", target.shape(), prediction.shape())?;
    expect_shape("masked_mse", "mask", mask.shape(), prediction.shape())?;
    apply(MaskedMse, &[prediction, target, mask])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DType, Device, Tape};

    #[test]
    fn hidden_entries_do_not_count() -> Result<()> {
        let device = Device::cpu();
        let of = |values: [f64; 3]| Tensor::from_f64(&device, [3], &values, DType::F64);
        let tape = Tape::start()?;
        let prediction = tape.watch(&of([1.0, 5.0, 2.0])?)?;
        let loss = masked_mse(&prediction, &of([0.0, f64::NAN, 4.0])?, &of([1.0, 0.0, 1.0])?)?;
        assert_eq!(loss.item()?, 2.5);
        assert_eq!(tape.backward(&loss)?.get(&prediction)?.to_vec::<f64>()?, [1.0, 0.0, -2.0]);
        Ok(())
    }

    #[test]
    fn an_empty_mask_gives_no_loss() -> Result<()> {
        let device = Device::cpu();
        let x = Tensor::from_slice(&device, [2], &[1.0f32, 2.0])?;
        let zeros = Tensor::zeros(&device, [2], DType::F32)?;
        assert_eq!(masked_mse(&x, &zeros, &zeros)?.item()?, 0.0);
        Ok(())
    }
}
