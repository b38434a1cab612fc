//! Memory of the GPU and pinned memory of the host.

use crate::{Driver, device, give};
use cudarc::driver::sys::{CUdeviceptr, CUresult, CUstream};
use isobath_ptx_simulator::{Buffer, Memory};
use std::alloc::Layout;
use std::collections::BTreeMap;
use std::ffi::{c_uint, c_void};

/// Where the GPU's memory begins: far from anything of the host.
const BASE: u64 = 0x5_0000_0000_0000;
/// What allocations are a multiple of.
const GRAIN: usize = 512;

/// The GPU's memory: a buffer of the simulator for each allocation.
#[derive(Default)]
pub(crate) struct Device {
    pub(crate) memory: Memory,
    /// By address, with the bytes.
    live: BTreeMap<u64, (Buffer, usize)>,
    /// What was given back, by bytes; the simulator's memory only grows.
    free: Vec<(usize, Buffer)>,
    next: u64,
}

impl Device {
    fn allocate(&mut self, bytes: usize) -> Option<u64> {
        let used: usize = self.live.values().map(|(_, bytes)| bytes).sum();
        if bytes == 0 || used + bytes > device::memory() {
            return None;
        }
        let buffer = match self.free.iter().position(|(len, _)| *len == bytes) {
            Some(index) => self.free.swap_remove(index).1,
            None => self.memory.reserve("memory of the GPU", bytes),
        };
        let address = BASE + self.next;
        // Something always lies between.
        self.next += (bytes.next_multiple_of(GRAIN) + GRAIN) as u64;
        self.live.insert(address, (buffer, bytes));
        Some(address)
    }

    fn release(&mut self, address: u64) -> Option<()> {
        let (buffer, bytes) = self.live.remove(&address)?;
        self.free.push((bytes, buffer));
        Some(())
    }

    /// The allocation in which an address lies, and how far behind its start.
    pub(crate) fn find(&self, address: u64) -> Option<(Buffer, usize)> {
        let (start, (buffer, bytes)) = self.live.range(..=address).next_back()?;
        let offset = (address - start) as usize;
        (offset < *bytes).then_some((*buffer, offset))
    }

    /// The same where so many bytes lie in it.
    fn expect(&self, address: u64, bytes: usize) -> Result<(Buffer, usize), CUresult> {
        let found = self.find(address).filter(|(buffer, offset)| offset + bytes <= self.memory.bytes(*buffer));
        found.ok_or(CUresult::CUDA_ERROR_INVALID_VALUE)
    }
}

/// A copy or a fill.
pub(crate) enum Move {
    /// From the host.
    Up { to: u64, from: *const u8, bytes: usize },
    /// To the host.
    Down { to: *mut u8, from: u64, bytes: usize },
    /// Within the GPU's memory.
    Along { to: u64, from: u64, bytes: usize },
    /// So often the same bytes, on the GPU or in pinned memory.
    Fill { to: u64, pattern: Vec<u8>, times: usize },
}

impl Driver {
    /// Copies or fills, unless a fault has stopped the GPU.
    pub(crate) fn carry_out(&mut self, what: &Move) -> CUresult {
        if let Some(fault) = self.fault {
            // What nobody waits for reports nothing.
            return if matches!(what, Move::Down { .. }) { fault } else { CUresult::CUDA_SUCCESS };
        }
        self.memory().carry_out(what).err().unwrap_or(CUresult::CUDA_SUCCESS)
    }
}

impl Device {
    fn carry_out(&mut self, what: &Move) -> Result<(), CUresult> {
        match what {
            Move::Up { to, from, bytes } => {
                let (buffer, offset) = self.expect(*to, *bytes)?;
                // SAFETY: the caller of the driver has so many bytes there.
                let content = unsafe { std::slice::from_raw_parts(*from, *bytes) };
                self.memory.write_bytes(buffer, offset, content);
            }
            Move::Down { to, from, bytes } => {
                let (buffer, offset) = self.expect(*from, *bytes)?;
                let content = self.memory.read_bytes(buffer, offset, *bytes);
                // SAFETY: the caller of the driver has room for so many bytes there.
                unsafe { to.copy_from_nonoverlapping(content.as_ptr(), *bytes) };
            }
            Move::Along { to, from, bytes } => {
                let (buffer, offset) = self.expect(*from, *bytes)?;
                let content = self.memory.read_bytes(buffer, offset, *bytes);
                let (buffer, offset) = self.expect(*to, *bytes)?;
                self.memory.write_bytes(buffer, offset, &content);
            }
            Move::Fill { to, pattern, times } => {
                let content = pattern.repeat(*times);
                match self.expect(*to, content.len()) {
                    Ok((buffer, offset)) => self.memory.write_bytes(buffer, offset, &content),
                    Err(error) if *to >= BASE => return Err(error),
                    // SAFETY: pinned memory of the caller, who has so many bytes there.
                    Err(_) => unsafe {
                        (*to as *mut u8).copy_from_nonoverlapping(content.as_ptr(), content.len());
                    },
                }
            }
        }
        Ok(())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(pointer: *mut CUdeviceptr, bytes: usize) -> CUresult {
    let mut driver = Driver::lock();
    if let Some(fault) = driver.fault {
        return fault;
    }
    match driver.memory().allocate(bytes) {
        // SAFETY: the caller's.
        Some(address) => unsafe { give(pointer, address) },
        None => CUresult::CUDA_ERROR_OUT_OF_MEMORY,
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(pointer: CUdeviceptr) -> CUresult {
    match Driver::lock().memory().release(pointer) {
        Some(()) => CUresult::CUDA_SUCCESS,
        None => CUresult::CUDA_ERROR_INVALID_VALUE,
    }
}

/// Bytes ahead of pinned memory, where its length is.
const AHEAD: usize = 64;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemHostAlloc(pointer: *mut *mut c_void, bytes: usize, _flags: c_uint) -> CUresult {
    let Ok(layout) = Layout::from_size_align(bytes + AHEAD, AHEAD) else {
        return CUresult::CUDA_ERROR_INVALID_VALUE;
    };
    // SAFETY: the layout is not empty.
    let start = unsafe { std::alloc::alloc(layout) };
    if start.is_null() {
        return CUresult::CUDA_ERROR_OUT_OF_MEMORY;
    }
    // SAFETY: there is room for the length, and then for the caller's bytes.
    unsafe {
        start.cast::<usize>().write(bytes);
        give(pointer, start.add(AHEAD).cast())
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> CUresult {
    // SAFETY: the caller got it from `cuMemHostAlloc`, which wrote its length ahead of it.
    unsafe {
        let start = pointer.cast::<u8>().sub(AHEAD);
        let bytes = start.cast::<usize>().read();
        std::alloc::dealloc(start, Layout::from_size_align_unchecked(bytes + AHEAD, AHEAD));
    }
    CUresult::CUDA_SUCCESS
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    to: CUdeviceptr,
    from: *const c_void,
    bytes: usize,
    _stream: CUstream,
) -> CUresult {
    Driver::lock().carry_out(&Move::Up { to, from: from.cast(), bytes })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    to: *mut c_void,
    from: CUdeviceptr,
    bytes: usize,
    _stream: CUstream,
) -> CUresult {
    Driver::lock().carry_out(&Move::Down { to: to.cast(), from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, _stream: CUstream) -> CUresult {
    Driver::lock().carry_out(&Move::Along { to, from, bytes })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemsetD32Async(to: CUdeviceptr, word: c_uint, times: usize, _stream: CUstream) -> CUresult {
    Driver::lock().carry_out(&Move::Fill { to, pattern: word.to_ne_bytes().to_vec(), times })
}
