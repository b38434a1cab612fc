//! Matrix products on a GPU.
//!
//! `cargo bench -p isobath-benches --bench gemm_gpu -- DEVICE [PRECISION [M K N]..]` with the device `wgpu` (`ISOBATH_ADAPTER`
//! names the adapter; without it the first one serves, software or not) or `cuda`, and the precision f32, tf32 or bf16, which
//! `cuda` has. Without sizes: a square, and a linear layer over many tokens. A line a product: its sizes, the least and
//! the median time of one in milliseconds, the rate of the least. Products are launched in rows, and waited for together.

use isobath_engine::{Device, Result, Tensor, ops};
use isobath_kernels::Precision;
use std::time::Instant;

/// Rows of products, and products of a row.
const ROWS: usize = 15;
const PRODUCTS: usize = 10;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (device, precision, sizes) = asked(&words).unwrap_or_else(|| {
        eprintln!("expected: wgpu or cuda, then f32, tf32 or bf16, then m k n of each product; found {words:?}");
        std::process::exit(2)
    });
    if let Err(error) = measure(device, precision, &sizes) {
        eprintln!("{error}");
        std::process::exit(2)
    }
}

/// The device, the precision and the sizes m, k, n that the words ask for.
fn asked(words: &[String]) -> Option<(&str, Precision, Vec<[usize; 3]>)> {
    let device = words.first().map_or("wgpu", String::as_str);
    let precision = match words.get(1).map_or("f32", String::as_str) {
        "f32" => Precision::F32,
        "tf32" => Precision::Tf32,
        "bf16" => Precision::Bf16,
        _ => return None,
    };
    let lengths: Vec<usize> = words.iter().skip(2).map(|word| word.parse().ok()).collect::<Option<_>>()?;
    let sizes: Vec<_> = lengths.as_chunks().0.to_vec();
    let usual = vec![[512, 512, 512], [20_000, 32, 64], [20_000, 64, 32]];
    let known = matches!((device, precision), ("cuda", _) | ("wgpu", Precision::F32));
    (known && lengths.len().is_multiple_of(3)).then_some((
        device,
        precision,
        if sizes.is_empty() { usual } else { sizes },
    ))
}

fn measure(device: &str, precision: Precision, sizes: &[[usize; 3]]) -> Result<()> {
    let device = match device {
        "cuda" => Device::cuda(0, None, precision)?,
        _ => Device::wgpu(&std::env::var("ISOBATH_ADAPTER").unwrap_or("0".into()))?,
    };
    for &[m, k, n] in sizes {
        let a = Tensor::from_slice(&device, [m, k], &vec![0.5f32; m * k])?;
        let b = Tensor::from_slice(&device, [n, k], &vec![0.25f32; n * k])?;
        let mut times = Vec::with_capacity(ROWS);
        for row in 0..=ROWS {
            let start = Instant::now();
            for _ in 0..PRODUCTS {
                ops::matmul(&a, &b, true)?;
            }
            device.finish()?;
            // The first row compiles.
            if row > 0 {
                times.push(start.elapsed().as_secs_f64() * 1e3 / PRODUCTS as f64);
            }
        }
        times.sort_by(f64::total_cmp);
        let (least, median) = (times[0], times[ROWS / 2]);
        let rate = 2e-6 * (m * k * n) as f64 / least;
        println!("{m} {k} {n}  least {least:.4} ms  median {median:.4} ms  {rate:.2} GFLOP/s");
    }
    Ok(())
}
