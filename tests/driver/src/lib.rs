//! Takes the place of NVIDIA's driver library in tests: the functions of the driver's interface that device `cuda` calls,
//! with the PTX simulator for a GPU. Under the name `libcuda.so.1` in a folder of `LD_LIBRARY_PATH` it is loaded instead.
//!
//! Whatever is handed over runs at once. As on a GPU, a fault of a kernel is reported by the call that waits, and from then
//! on by all others. `ISOBATH_STAND_IN` asks for another GPU than a whole one of compute capability 6.1, or for faults:
//!
//! | word | what follows |
//! |---|---|
//! | `old-driver` | the driver knows CUDA 11.3 only |
//! | `no-device` | there is no GPU |
//! | `memory:BYTES` | the GPU has so much memory |
//! | `capability:80` | its compute capability is 8.0 |
//! | `fault:ENTRY` | entry points whose names begin so access an illegal address |
//! | `fault-in-graph` | the first graph does |
//! | `refuse-update` | graphs stay as they were built |
//! | `refuse:ENTRY` | files that have such an entry point are refused |

#![allow(non_snake_case)] // the names are the driver's

mod device;
mod events;
mod graph;
mod launch;
mod memory;
mod module;

use cudarc::driver::sys::CUresult;
use std::ffi::{CStr, c_char};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// All that the driver holds.
static DRIVER: Mutex<Driver> = Mutex::new(Driver { memory: None, fault: None });

struct Driver {
    memory: Option<memory::Device>,
    /// What every call reports once something has waited for a kernel that faulted.
    fault: Option<CUresult>,
}

impl Driver {
    fn lock() -> MutexGuard<'static, Driver> {
        DRIVER.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The GPU's memory.
    fn memory(&mut self) -> &mut memory::Device {
        self.memory.get_or_insert_default()
    }

    /// The outcome of a call that reports what went wrong before.
    fn outcome(&self) -> CUresult {
        self.fault.unwrap_or(CUresult::CUDA_SUCCESS)
    }
}

/// What follows a word of `ISOBATH_STAND_IN`.
fn wish(word: &str) -> Option<String> {
    let wishes = std::env::var("ISOBATH_STAND_IN").ok()?;
    let mut wishes = wishes.split(',').map(|wish| wish.trim().split_once(':').unwrap_or((wish.trim(), "")));
    wishes.find(|(name, _)| *name == word).map(|(_, value)| value.to_owned())
}

/// Writes what a call gives back.
///
/// # Safety
/// `to` is where the caller wants a `T`.
unsafe fn give<T>(to: *mut T, value: T) -> CUresult {
    // SAFETY: the caller's.
    unsafe { to.write(value) };
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(error: CUresult, name: *mut *const c_char) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(name, words(error)[0].as_ptr()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(error: CUresult, text: *mut *const c_char) -> CUresult {
    // SAFETY: the caller's.
    unsafe { give(text, words(error)[1].as_ptr()) }
}

/// Name and meaning of an error.
fn words(error: CUresult) -> [&'static CStr; 2] {
    match error {
        CUresult::CUDA_SUCCESS => [c"CUDA_SUCCESS", c"no error"],
        CUresult::CUDA_ERROR_INVALID_VALUE => [c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"],
        CUresult::CUDA_ERROR_OUT_OF_MEMORY => [c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"],
        CUresult::CUDA_ERROR_INVALID_DEVICE => [c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"],
        CUresult::CUDA_ERROR_INVALID_PTX => [c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"],
        CUresult::CUDA_ERROR_NOT_FOUND => [c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"],
        CUresult::CUDA_ERROR_ILLEGAL_ADDRESS => {
            [c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"]
        }
        CUresult::CUDA_ERROR_MISALIGNED_ADDRESS => [c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"],
        CUresult::CUDA_ERROR_LAUNCH_FAILED => [c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"],
        _ => [c"CUDA_ERROR_UNKNOWN", c"unknown error"],
    }
}
