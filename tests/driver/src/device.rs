//! The driver and its one GPU.

use crate::{Driver, give, wish};
use cudarc::driver::sys::{CUcontext, CUdevice, CUdevice_attribute, CUresult, CUstream};
use std::ffi::{c_char, c_int, c_uint};
use std::ptr::without_provenance_mut;

/// Bytes of the GPU's memory.
const MEMORY: usize = 4 << 30;
const NAME: &[u8] = b"stand-in for a GPU\0";

/// Bytes of memory that the GPU has.
pub(crate) fn memory() -> usize {
    wish("memory").and_then(|bytes| bytes.parse().ok()).unwrap_or(MEMORY)
}

#[unsafe(no_mangle)]
extern "C" fn cuInit(_flags: c_uint) -> CUresult {
    if wish("no-device").is_some() { CUresult::CUDA_ERROR_NO_DEVICE } else { CUresult::CUDA_SUCCESS }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(version, if wish("old-driver").is_some() { 11_030 } else { 13_000 }) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(count, 1) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut CUdevice, ordinal: c_int) -> CUresult {
    if ordinal != 0 {
        return CUresult::CUDA_ERROR_INVALID_DEVICE;
    }
    // SAFETY: the caller's.
    unsafe { give(device, 0) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, _device: CUdevice) -> CUresult {
    let length = NAME.len().min(length.unsigned_abs() as usize);
    // SAFETY: the caller has room for so many.
    unsafe { name.cast::<u8>().copy_from_nonoverlapping(NAME.as_ptr(), length) };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: CUdevice) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(bytes, memory()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: CUdevice_attribute,
    _device: CUdevice,
) -> CUresult {
    let capability: c_int = wish("capability").and_then(|number| number.parse().ok()).unwrap_or(61);
    let found = match attribute {
        CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR => capability / 10,
        CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR => capability % 10,
        _ => return CUresult::CUDA_ERROR_INVALID_VALUE,
    };
    // SAFETY: the caller's.
    unsafe { give(value, found) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut CUcontext, _device: CUdevice) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(context, without_provenance_mut(1)) }
}

#[unsafe(no_mangle)]
extern "C" fn cuDevicePrimaryCtxRelease_v2(_device: CUdevice) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(_context: CUcontext) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut CUstream, _flags: c_uint) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(stream, without_provenance_mut(1)) }
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(_stream: CUstream) -> CUresult {
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(_stream: CUstream) -> CUresult {
    Driver::lock().outcome()
}
