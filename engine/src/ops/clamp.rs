//! Bounds for every column.

use crate::device::Bind::{In, Out};
use crate::error::Result;
use crate::op::{Grads, Op, Wanted, apply, expect_shape};
use crate::tensor::Tensor;
use isobath_kernels::clamp::{CLAMP, CLAMP_BACKWARD, Params};

struct Clamp;

fn parameters(x: &Tensor) -> Params {
    Params { len: x.len() as u32, n: x.shape().last() as u32 }
}

impl Op for Clamp {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn forward(&self, x: &[&Tensor]) -> Result<(Tensor, Vec<Tensor>)> {
        let y = Tensor::empty(x[0].device(), x[0].shape(), x[0].dtype())?;
        y.device().run(&CLAMP, &parameters(&y), &[In(x[0]), In(x[1]), In(x[2]), Out(&y)])?;
        Ok((y, x.iter().map(|t| (*t).clone()).collect()))
    }

    fn backward(&self, saved: Vec<Tensor>, dy: &Tensor, wanted: &Wanted) -> Result<Grads> {
        if !wanted.needs(0) {
            return Ok(vec![None; 3]);
        }
        let (x, low, high) = (&saved[0], &saved[1], &saved[2]);
        let dx = wanted.output(0, x)?;
        x.device().run(&CLAMP_BACKWARD, &parameters(x), &[In(x), In(low), In(high), In(dy), Out(&dx)])?;
        Ok(vec![Some(dx), None, None])
    }
}

/// x limited to the closed interval from `low` to `high` of its column: x `[.., n]`, low and high `[n]`.
/// The gradient is zero where x lies outside; the bounds have none.
///
/// # Errors
/// When the shapes do not fit.
pub fn clamp(x: &Tensor, low: &Tensor, high: &Tensor) -> Result<Tensor> {
    expect_shape("clamp", "low [n]", low.shape(), [x.shape().last()])?;
    expect_shape("clamp", "high [n]", high.shape(), [x.shape().last()])?;
    apply(Clamp, &[x, low, high])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Device, Tape};

    #[test]
    fn the_bounds_belong_to_the_interval() -> Result<()> {
        let device = Device::cpu();
        let tape = Tape::start()?;
        let x = tape.watch(&Tensor::from_slice(&device, [2, 2], &[-1.0f32, 5.0, 1.0, 3.0])?)?;
        let low = Tensor::from_slice(&device, [2], &[-1.0f32, 2.0])?;
        let high = Tensor::from_slice(&device, [2], &[0.0f32, 3.0])?;
        let y = clamp(&x, &low, &high)?;
        assert_eq!(y.to_vec::<f32>()?, [-1.0, 3.0, 0.0, 3.0]);
        let dy = Tensor::from_slice(&device, [2, 2], &[1.0f32; 4])?;
        assert_eq!(tape.backward_from(&y, &dy)?.get(&x)?.to_vec::<f32>()?, [1.0, 0.0, 0.0, 1.0]);
        let text = clamp(&x, &low, &dy).err().map(|e| e.to_string());
        assert_eq!(text.as_deref(), Some("clamp: high [n]: expected [2], found [2, 2]"));
        Ok(())
    }
}
