//! Events: the host's clock, as everything is done when the call returns.

use crate::{Driver, give};
use cudarc::driver::sys::{CUevent, CUresult, CUstream};
use std::ffi::c_uint;
use std::time::Instant;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut CUevent, _flags: c_uint) -> CUresult {
    let new: Box<Option<Instant>> = Box::default();
    // SAFETY: the caller's.
    unsafe { give(event, Box::into_raw(new).cast()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: CUevent) -> CUresult {
    // SAFETY: the caller got it from `cuEventCreate` and uses it no more.
    drop(unsafe { Box::from_raw(event.cast::<Option<Instant>>()) });
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: CUevent, _stream: CUstream) -> CUresult {
    // SAFETY: the caller got it from `cuEventCreate`.
    unsafe { give(event.cast(), Some(Instant::now())) }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(_event: CUevent) -> CUresult {
    Driver::lock().outcome()
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent) -> CUresult {
    // SAFETY: the caller got both from `cuEventCreate`.
    let times = unsafe { [*start.cast::<Option<Instant>>(), *end.cast::<Option<Instant>>()] };
    let [Some(start), Some(end)] = times else { return CUresult::CUDA_ERROR_INVALID_VALUE };
    // SAFETY: the caller's.
    unsafe { give(milliseconds, (end - start).as_secs_f32() * 1e3) }
}
