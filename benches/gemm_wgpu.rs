//! Matrix products on a GPU: square, and a linear layer over many tokens.
//!
//! `cargo bench -p isobath-benches --bench gemm_wgpu` prints medians and least times with a result read back, and the
//! rate of the least one. `ISOBATH_ADAPTER` names the adapter; without it the first one serves, software or not.

use isobath_benches::timing;
use isobath_engine::{Device, Result, Tensor, ops};

fn main() -> Result<()> {
    let device = Device::wgpu(&std::env::var("ISOBATH_ADAPTER").unwrap_or("0".into()))?;
    for [m, k, n] in [[512, 512, 512], [20_000, 32, 64], [20_000, 64, 32]] {
        let a = Tensor::from_slice(&device, [m, k], &vec![0.5f32; m * k])?;
        let b = Tensor::from_slice(&device, [n, k], &vec![0.25f32; n * k])?;
        let least = timing::time(&format!("{m} {k} {n}"), |_| {
            let c = ops::matmul(&a, &b, true)?;
            ops::slice(&c, 0, 0..1)?.to_vec::<f32>().map(|_| ())
        })?;
        println!("{:.2} GFLOP/s", 2e-6 * (m * n * k) as f64 / least);
    }
    Ok(())
}
