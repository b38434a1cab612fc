//! Files of PTX, read by the simulator.

use crate::{give, wish};
use cudarc::driver::sys::{CUfunction, CUjit_option, CUmodule, CUresult};
use isobath_ptx_simulator::{Kernel, Module};
use std::ffi::{CStr, c_char, c_uint, c_void};

/// Reads a text that ends with a zero, and says in the caller's log what is wrong with it.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut CUmodule,
    image: *const c_void,
    count: c_uint,
    options: *mut CUjit_option,
    values: *mut *mut c_void,
) -> CUresult {
    // SAFETY: the caller's text ends with a zero.
    let text = unsafe { CStr::from_ptr(image.cast()) };
    // SAFETY: the caller has so many options and values.
    let (options, values) = unsafe {
        (std::slice::from_raw_parts(options, count as usize), std::slice::from_raw_parts(values, count as usize))
    };
    match read(&text.to_string_lossy()) {
        // SAFETY: the caller's.
        Ok(new) => unsafe { give(module, Box::into_raw(Box::new(new)).cast()) },
        Err(what) => {
            let value = |wanted| options.iter().position(|option| *option == wanted).map(|index| values[index]);
            let log = value(CUjit_option::CU_JIT_ERROR_LOG_BUFFER);
            let room = value(CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES);
            if let (Some(log), Some(room)) = (log, room.filter(|room| room.addr() > 0)) {
                let length = what.len().min(room.addr() - 1);
                // SAFETY: the log has room for so many bytes and a zero.
                unsafe {
                    log.cast::<u8>().copy_from_nonoverlapping(what.as_ptr(), length);
                    log.cast::<u8>().add(length).write(0);
                }
            }
            CUresult::CUDA_ERROR_INVALID_PTX
        }
    }
}

fn read(text: &str) -> Result<Module, String> {
    let module = Module::parse("ptx", text).map_err(|error| format!("ptxas fatal: {error}"))?;
    let refused = wish("refuse").filter(|entry| module.kernels().iter().any(|kernel| kernel.name().starts_with(entry)));
    match refused {
        Some(_) => {
            Err("ptxas application ptx input, line 12; error: Unknown modifier '.wide'\nptxas fatal: stop".into())
        }
        None => Ok(module),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleUnload(module: CUmodule) -> CUresult {
    // SAFETY: the caller got it from `cuModuleLoadDataEx` and uses it no more.
    drop(unsafe { Box::from_raw(module.cast::<Module>()) });
    CUresult::CUDA_SUCCESS
}

/// The function is one of the module's kernels, which stays where it is.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char) -> CUresult {
    // SAFETY: the caller got it from `cuModuleLoadDataEx`, and the name ends with a zero.
    let (module, name) = unsafe { (&*module.cast::<Module>(), CStr::from_ptr(name)) };
    match module.kernel(&name.to_string_lossy()) {
        // SAFETY: the caller's.
        Ok(kernel) => unsafe { give(function, std::ptr::from_ref::<Kernel>(kernel).cast_mut().cast()) },
        Err(_) => CUresult::CUDA_ERROR_NOT_FOUND,
    }
}
