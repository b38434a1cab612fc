//! Launches, run by the simulator.

use crate::memory::Device;
use crate::{Driver, wish};
use cudarc::driver::sys::{CUfunction, CUresult, CUstream};
use isobath_ptx_simulator::{Argument, FaultKind, Kernel, Launch, Options, Permission};
use std::ffi::{c_uint, c_void};

/// What a launch is, with the bytes of every argument.
pub(crate) struct Work {
    /// A kernel of a loaded module.
    function: CUfunction,
    geometry: Launch,
    arguments: Vec<Vec<u8>>,
}

impl Work {
    /// # Safety
    /// `function` is one of the driver's, and `arguments` points to one pointer for each of its parameters.
    pub(crate) unsafe fn new(function: CUfunction, geometry: Launch, arguments: *mut *mut c_void) -> Self {
        // SAFETY: the caller's.
        let kernel = unsafe { &*function.cast::<Kernel>() };
        // SAFETY: the caller has a pointer for each parameter, to as many bytes as it has.
        let bytes = |(index, (_, bytes)): (usize, (&str, u32))| unsafe {
            std::slice::from_raw_parts((*arguments.add(index)).cast::<u8>(), bytes as usize).to_vec()
        };
        Work { function, geometry, arguments: kernel.parameters().enumerate().map(bytes).collect() }
    }

    /// Whether another launch may take its place in a graph.
    pub(crate) fn has_geometry_of(&self, other: &Work) -> bool {
        self.function == other.function && self.geometry == other.geometry
    }
}

impl Driver {
    /// Runs a launch, unless a fault has stopped the GPU. Its own fault is reported later.
    pub(crate) fn launch(&mut self, work: &Work) {
        if self.fault.is_some() {
            return;
        }
        // SAFETY: the function is a kernel of a module that is still loaded.
        let kernel = unsafe { &*work.function.cast::<Kernel>() };
        if wish("fault").is_some_and(|entry| kernel.name().starts_with(&entry)) {
            self.fault = Some(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
            return;
        }
        let device = self.memory();
        let arguments: Vec<Argument> = work.arguments.iter().map(|bytes| argument(device, bytes)).collect();
        if let Err(fault) = kernel.launch(&work.geometry, &arguments, &mut device.memory, &Options::default()) {
            eprintln!("stand-in driver: {fault}");
            self.fault = Some(match fault.kind {
                FaultKind::OutOfBounds { .. } => CUresult::CUDA_ERROR_ILLEGAL_ADDRESS,
                FaultKind::Misaligned { .. } => CUresult::CUDA_ERROR_MISALIGNED_ADDRESS,
                _ => CUresult::CUDA_ERROR_LAUNCH_FAILED,
            });
        }
    }
}

/// An address of the GPU's memory stands for the rest of its allocation; all else is bytes.
fn argument(device: &Device, bytes: &[u8]) -> Argument {
    let address = bytes.try_into().ok().map(u64::from_le_bytes);
    match address.and_then(|address| device.find(address)) {
        Some((buffer, offset)) => {
            let range = offset..device.memory.bytes(buffer);
            Argument::View { buffer, range, permission: Permission::ReadWrite }
        }
        None => Argument::Bytes(bytes.to_vec()),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: CUfunction,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    _stream: CUstream,
    arguments: *mut *mut c_void,
    _extra: *mut *mut c_void,
) -> CUresult {
    let geometry = Launch { grid: [grid_x, grid_y, grid_z], block: [block_x, block_y, block_z], shared_bytes };
    // SAFETY: the caller's.
    let work = unsafe { Work::new(function, geometry, arguments) };
    Driver::lock().launch(&work);
    CUresult::CUDA_SUCCESS
}
