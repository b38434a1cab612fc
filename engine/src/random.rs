//! Random tensors.

use crate::device::{Bind::Out, Device};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{DType, Tensor};
pub use isobath_kernels::PhiloxKey;
use isobath_kernels::normal::{NORMAL, Params};

/// Draws from N(0, 1): elements `offset..offset + len` of the sequence `key`, in f32 and f64 the same numbers to
/// rounding, whatever the device, the number of threads, or the split of a sequence into draws.
///
/// # Errors
/// For indices, which are no real numbers.
pub fn normal(device: &Device, shape: impl Into<Shape>, dtype: DType, key: PhiloxKey, offset: u64) -> Result<Tensor> {
    if dtype == DType::U32 {
        return Err(Error::Type { op: "normal", what: "expected f32 or f64, found u32".into() });
    }
    let y = Tensor::empty(device, shape, dtype)?;
    device.run(&NORMAL, &Params::new(y.len() as u32, key, offset), &[Out(&y)])?;
    Ok(y)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: PhiloxKey = PhiloxKey { seed: 1234, stream: 7 };

    fn draw(key: PhiloxKey, len: usize, offset: u64) -> Vec<f32> {
        normal(&Device::cpu(), [len], DType::F32, key, offset).and_then(|z| z.to_vec()).expect("a draw")
    }

    #[test]
    fn a_million_draws_are_normal_and_independent() {
        let z: Vec<f64> = draw(KEY, 1 << 20, 0).into_iter().map(f64::from).collect();
        let other: Vec<f64> = draw(PhiloxKey { stream: 8, ..KEY }, 1 << 20, 0).into_iter().map(f64::from).collect();
        let n = z.len() as f64;
        let mean = |f: &dyn Fn(usize) -> f64| (0..z.len()).map(f).sum::<f64>() / n;
        // Five standard errors of each estimate.
        let close = |found: f64, expected: f64, deviation: f64| {
            assert!((found - expected).abs() < 5.0 * deviation / n.sqrt(), "{found} instead of {expected}");
        };
        close(mean(&|i| z[i]), 0.0, 1.0);
        close(mean(&|i| z[i].powi(2)), 1.0, 2f64.sqrt());
        close(mean(&|i| z[i].powi(3)), 0.0, 15f64.sqrt());
        close(mean(&|i| z[i].powi(4)), 3.0, 96f64.sqrt());
        close(mean(&|i| f64::from(u8::from(z[i].abs() > 3.0))), 0.002_699_8, 0.002_699_8f64.sqrt());
        for lag in [1, 2, 3, 4, 64] {
            close(mean(&|i| z[i] * z[(i + lag) % z.len()]), 0.0, 1.0);
            close(mean(&|i| (z[i].powi(2) - 1.0) * (z[(i + lag) % z.len()].powi(2) - 1.0)), 0.0, 2.0);
        }
        close(mean(&|i| z[i] * other[i]), 0.0, 1.0);
    }

    #[test]
    fn any_split_gives_the_same_bits() {
        let whole = draw(KEY, 50_000, 0);
        for (start, len) in [(0, 1), (1, 7), (63, 2), (77, 40_001), (49_999, 1)] {
            assert_eq!(draw(KEY, len, start as u64), whole[start..start + len]);
        }
        // Past the end of the counter's low word, and of the counter.
        let far = draw(KEY, 200, (1 << 34) - 100);
        assert_eq!(draw(KEY, 100, 1 << 34), far[100..]);
        assert_eq!(draw(KEY, 100, u64::MAX - 99).len(), 100);
    }

    #[test]
    fn both_precisions_draw_the_same_numbers() -> Result<()> {
        let single = draw(KEY, 100_000, 5);
        let double = normal(&Device::cpu(), [100_000], DType::F64, KEY, 5)?.to_vec::<f64>()?;
        let worst = single.iter().zip(&double).map(|(s, d)| (f64::from(*s) - d).abs()).fold(0.0, f64::max);
        assert!(worst < 2e-6, "they differ by {worst:e}");
        Ok(())
    }
}
