//! Copies, errors and the budget.

use crate::adapter;
use crate::models::counters;
use isobath_engine::device::wgpu::adapters;
use isobath_engine::{DType, Device, Tensor, ops};
use isobath_tests::checks::Outcome;

/// What goes up comes down, by way of the ring, in several pieces and within one piece.
pub(super) fn copies(device: &Device) -> Outcome {
    let check = || -> isobath_engine::Result<bool> {
        let mut same = true;
        // Below and above the size that is batched; above what is fetched at a time; and the empty tensor.
        for len in [0, 5, 16_384, 16_385, 1_500_001] {
            let values: Vec<u32> = (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761)).collect();
            let up = Tensor::from_slice(device, [len], &values)?;
            let kept = up.keep()?;
            same &= kept.keep()?.to_vec::<u32>()? == values && up.to_vec::<u32>()? == values;
            same &= Tensor::zeros(device, [len], DType::U32)?.to_vec::<u32>()?.iter().all(|v| *v == 0);
        }
        // More launches and uploads than one ring holds, each on what the one before it left.
        let mut x = Tensor::scalar(device, 0.0, DType::F32)?;
        for i in 0..5000 {
            x = ops::add(&x, &Tensor::scalar(device, f64::from(i % 3), DType::F32)?)?;
        }
        Ok(same && x.item()? == f64::from((0..5000).map(|i| i % 3).sum::<i32>()))
    };
    if check().map_err(|e| e.to_string())? { Ok(()) } else { Err("other bits came back".into()) }
}

/// What is refused, and in which words.
pub(super) fn errors(device: &Device) -> Outcome {
    let expect = |found: Option<isobath_engine::Error>, expected: &str| match found.map(|e| e.to_string()) {
        Some(text) if text.contains(expected) => Ok(()),
        other => Err(format!("expected an error with `{expected}`, found {other:?}")),
    };
    expect(Tensor::zeros(device, [3], DType::F64).err(), "wgpu: expected f32 or u32, found f64")?;
    expect(Tensor::zeros(device, [1 << 20, 1 << 20], DType::F32).err(), "a tensor on this device has")?;
    expect(Device::wgpu("no such adapter").err(), "wgpu: no adapter `no such adapter`; found 0: ")?;
    if adapters().iter().all(|offer| offer.software) {
        expect(Device::wgpu("auto").err(), "software)")?;
    }
    Ok(())
}

/// The budget limits what is asked of the driver, not only what tensors take of it; the slab reports just that.
pub(super) fn budget() -> Outcome {
    let limit = 1 << 20;
    let device = Device::wgpu_with(&adapter(), Some(limit), false).map_err(|e| e.to_string())?;
    let before = counters(&device).buffer_bytes;
    let held = Tensor::zeros(&device, [1 << 17], DType::F32).map_err(|e| e.to_string())?;
    let refused = Tensor::zeros(&device, [1 << 18], DType::F32).err().map(|e| e.to_string()).unwrap_or_default();
    let reserved = device.usage().reserved;
    let asked = counters(&device).buffer_bytes - before;
    if asked != reserved as u64 {
        return Err(format!("{asked} bytes were asked of the driver, {reserved} are reported"));
    }
    if reserved > limit || !refused.starts_with("out of memory: [262144] needs 1048576 bytes") {
        return Err(format!("{held:?} within {limit} bytes: {reserved} reserved, then {refused:?}"));
    }
    Ok(())
}
