//! The PTX of the kernels, compiled by the driver.
//!
//! A file is handed over when one of its entry points is first launched. The driver keeps what it compiled in a cache of
//! its own on disk (`~/.nv/ComputeCache` on Linux), so only the first start with a new file or driver takes time.

use super::fault::{is_final, refused, text};
use crate::device::ptx::{self, Slot};
use crate::error::Error;
use cudarc::driver::result::{DriverError, module};
use cudarc::driver::sys::{self, CUfunction, CUjit_option, CUmodule};
use isobath_kernels::Entry;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::rc::Rc;

/// Bytes of the driver's log of what is wrong with a file.
const LOG: usize = 8 << 10;

/// An entry point that can be launched.
pub(super) struct Function {
    pub(super) handle: CUfunction,
    /// The kernel's name.
    pub(super) kernel: &'static str,
    /// The entry point's name.
    pub(super) entry: &'static str,
    /// Threads of a block.
    pub(super) threads: [u32; 3],
    /// What its parameters stand for.
    pub(super) slots: Vec<Slot>,
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.handle == other.handle
    }
}

/// Why an entry point cannot be had.
pub(super) enum Failure {
    /// Nothing works any more.
    Lost(DriverError),
    /// It alone is wrong.
    Refused(Error),
}

impl From<String> for Failure {
    fn from(what: String) -> Self {
        Failure::Refused(refused(what))
    }
}

/// All that has been loaded.
#[derive(Default)]
pub(super) struct Modules {
    kernels: HashMap<&'static str, Vec<Source>>,
    functions: HashMap<(&'static str, &'static str), Rc<Function>>,
    /// Modules loaded so far.
    pub(super) loaded: u64,
}

struct Source {
    file: ptx::File,
    module: Option<CUmodule>,
}

impl Modules {
    /// An entry point of a kernel, loaded at its first launch.
    pub(super) fn function(&mut self, kernel: &Entry, entry: &'static str) -> Result<Rc<Function>, Failure> {
        if let Some(function) = self.functions.get(&(kernel.name, entry)) {
            return Ok(function.clone());
        }
        if !self.kernels.contains_key(kernel.name) {
            let sources = ptx::read(kernel)?.into_iter().map(|file| Source { file, module: None });
            self.kernels.insert(kernel.name, sources.collect());
        }
        let mut sources = self.kernels.get_mut(kernel.name).into_iter().flatten();
        let source = sources.find(|source| source.file.module.kernel(entry).is_ok());
        let source = source.ok_or_else(|| format!("{}: no file has an entry point {entry}", kernel.name))?;
        let module = match source.module {
            Some(module) => module,
            None => {
                self.loaded += 1;
                *source.module.insert(load(&source.file.name, &source.file.text)?)
            }
        };
        let code = source.file.module.kernel(entry).map_err(|e| e.to_string())?;
        let name = CString::new(entry).map_err(|e| format!("{entry}: {e}"))?;
        // SAFETY: the module is loaded.
        let handle = unsafe { module::get_function(module, name) };
        let handle =
            handle.map_err(|error| failure(&format!("{}: entry point {entry}", source.file.name), error, ""))?;
        let (threads, slots) = (code.required_threads(), ptx::slots(code, kernel)?);
        let function = Rc::new(Function { handle, kernel: kernel.name, entry, threads, slots });
        self.functions.insert((kernel.name, entry), function.clone());
        Ok(function)
    }
}

impl Drop for Modules {
    fn drop(&mut self) {
        for module in self.kernels.values().flatten().filter_map(|source| source.module) {
            // SAFETY: it was loaded here, and no launch of it is left. A driver that refuses has lost the GPU.
            let _ = unsafe { module::unload(module) };
        }
    }
}

/// Has the driver compile a file, or its word on what is wrong with it.
fn load(file: &str, text: &str) -> Result<CUmodule, Failure> {
    let image = CString::new(text).map_err(|_| format!("{file}: expected text, found a zero byte"))?;
    let mut log = vec![0u8; LOG];
    let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The driver takes a number in place of a pointer.
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), LOG as *mut c_void];
    let mut module = std::ptr::null_mut();
    // SAFETY: the image ends with a zero, and there are as many values as options; the log is as long as is said.
    let outcome = unsafe {
        let image = image.as_ptr().cast();
        sys::cuModuleLoadDataEx(&mut module, image, options.len() as u32, options.as_mut_ptr(), values.as_mut_ptr())
    };
    outcome.result().map_err(|error| {
        let end = log.iter().position(|byte| *byte == 0).unwrap_or(LOG);
        failure(file, error, &String::from_utf8_lossy(&log[..end]))
    })?;
    Ok(module)
}

fn failure(what: &str, error: DriverError, log: &str) -> Failure {
    if is_final(error) {
        return Failure::Lost(error);
    }
    let log: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let said = if log.is_empty() { text(error) } else { format!("{}: {}", text(error), log.join(" ")) };
    Failure::Refused(refused(format!("the driver refuses {what}: {said}")))
}
