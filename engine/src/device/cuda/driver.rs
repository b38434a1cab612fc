//! The NVIDIA driver: whether it is there and new enough, and which GPUs it offers.

use super::fault::{refused, text};
use crate::error::Result;
use cudarc::driver::result::{self, DriverError, device};
use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};
use std::sync::OnceLock;

/// The oldest driver that will do, by the CUDA version that it brings.
const NEEDED: Version = Version { major: 11, minor: 4 };
/// What NVIDIA calls that driver.
const NEEDED_DRIVER: &str = "470";
/// What is said where the driver has nothing to drive.
const NO_GPU: &str = "the driver finds no NVIDIA GPU";
/// The least compute capability that kernels run on.
const CAPABILITY: u32 = 61;

/// Every function of the driver that this device calls: `cudarc` panics where one is missing.
#[rustfmt::skip] // one line a family
const FUNCTIONS: [&str; 43] = [
    "cuInit", "cuGetErrorName", "cuGetErrorString",
    "cuDeviceGet", "cuDeviceGetCount", "cuDeviceGetName", "cuDeviceGetAttribute", "cuDeviceTotalMem_v2",
    "cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease_v2", "cuCtxSetCurrent",
    "cuStreamCreate", "cuStreamDestroy_v2", "cuStreamSynchronize",
    "cuMemAlloc_v2", "cuMemFree_v2", "cuMemHostAlloc", "cuMemFreeHost",
    "cuMemcpyHtoDAsync_v2", "cuMemcpyDtoHAsync_v2", "cuMemcpyDtoDAsync_v2", "cuMemsetD32Async",
    "cuModuleLoadDataEx", "cuModuleUnload", "cuModuleGetFunction", "cuLaunchKernel",
    "cuEventCreate", "cuEventDestroy_v2", "cuEventRecord", "cuEventSynchronize", "cuEventElapsedTime",
    "cuGraphCreate", "cuGraphDestroy", "cuGraphAddKernelNode", "cuGraphAddMemcpyNode", "cuGraphAddMemsetNode",
    "cuGraphInstantiateWithFlags", "cuGraphExecDestroy", "cuGraphLaunch",
    "cuGraphExecKernelNodeSetParams", "cuGraphExecMemcpyNodeSetParams", "cuGraphExecMemsetNodeSetParams",
    "cuDriverGetVersion",
];

/// A version of CUDA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 12 of 12.4.
    pub major: u32,
    /// 4 of 12.4.
    pub minor: u32,
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// An NVIDIA GPU that the driver offers.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Its number, from 0.
    pub ordinal: usize,
    /// What the driver calls it.
    pub name: String,
    /// Its compute capability: 61 for 6.1.
    pub capability: u32,
    /// Bytes of its memory.
    pub memory: usize,
    /// The newest CUDA that the driver knows.
    pub driver: Version,
}

impl Offer {
    /// Its name, and what it and its driver can do.
    pub fn label(&self) -> String {
        let (major, minor) = (self.capability / 10, self.capability % 10);
        format!("{} (compute capability {major}.{minor}, CUDA {} driver)", self.name, self.driver)
    }
}

/// All GPUs that the driver offers, as it numbers them.
///
/// # Errors
/// No driver, one that is too old, no GPU.
pub fn offers() -> Result<Vec<Offer>> {
    let driver = start()?;
    let all = || -> std::result::Result<Vec<Offer>, DriverError> {
        let count = device::get_count()?;
        (0..count.unsigned_abs() as usize).map(|ordinal| offer(ordinal, driver)).collect()
    };
    let all = all().map_err(|error| refused(text(error)))?;
    if all.is_empty() { Err(refused(NO_GPU)) } else { Ok(all) }
}

fn offer(ordinal: usize, driver: Version) -> std::result::Result<Offer, DriverError> {
    let gpu = device::get(ordinal as i32)?;
    // SAFETY: the GPU is one that the driver has just named.
    let attribute = |attribute| unsafe { device::get_attribute(gpu, attribute) };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    // SAFETY: as above.
    let memory = unsafe { device::total_mem(gpu)? };
    let capability = (10 * major + minor).unsigned_abs();
    Ok(Offer { ordinal, name: device::get_name(gpu)?, capability, memory, driver })
}

/// The GPU of that number, if kernels run on it.
pub(super) fn choose(ordinal: usize) -> Result<Offer> {
    let offers = offers()?;
    let list = || offers.iter().map(|o| format!("{}: {}", o.ordinal, o.name)).collect::<Vec<_>>().join(", ");
    let offer = offers.get(ordinal).ok_or_else(|| refused(format!("no GPU {ordinal}; found {}", list())))?;
    if offer.capability < CAPABILITY {
        let (major, minor) = (CAPABILITY / 10, CAPABILITY % 10);
        return Err(refused(format!("{}: kernels need compute capability {major}.{minor}", offer.label())));
    }
    Ok(offer.clone())
}

/// Loads and starts the driver, once, and says which CUDA it knows.
fn start() -> Result<Version> {
    static STARTED: OnceLock<std::result::Result<Version, String>> = OnceLock::new();
    STARTED.get_or_init(|| load().and_then(begin)).clone().map_err(refused)
}

/// The driver's version, if all its functions are there.
fn load() -> std::result::Result<Version, String> {
    let library = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
    // SAFETY: to load the driver's library runs code of the driver's alone.
    if !unsafe { sys::is_culib_present() } {
        return Err(format!("no NVIDIA driver found ({library} cannot be loaded)"));
    }
    // SAFETY: the library is there; its symbols are only looked for.
    let missing = |name: &&&str| unsafe { sys::culib().get::<*const ()>(name.as_bytes()) }.is_err();
    let [rest @ .., version] = &FUNCTIONS;
    if missing(&version) {
        return Err(format!("{library} is no NVIDIA driver: it has no {version}"));
    }
    let mut number = 0;
    // SAFETY: the function is there, and writes the number.
    let outcome = unsafe { sys::cuDriverGetVersion(&mut number) };
    let number = number.unsigned_abs();
    let found = Version { major: number / 1000, minor: number % 1000 / 10 };
    if outcome == CUresult::CUDA_SUCCESS && found < NEEDED {
        return Err(too_old(found));
    }
    match rest.iter().find(missing) {
        Some(name) => Err(format!("{library}, a driver for CUDA {found}, has no {name}")),
        None => Ok(found),
    }
}

fn too_old(found: Version) -> String {
    format!("the driver is too old: it knows CUDA {found}, needed is {NEEDED} (driver {NEEDED_DRIVER} or later)")
}

fn begin(version: Version) -> std::result::Result<Version, String> {
    match result::init() {
        Ok(()) => Ok(version),
        Err(DriverError(CUresult::CUDA_ERROR_NO_DEVICE)) => Err(NO_GPU.into()),
        Err(error) => Err(format!("the driver does not start: {}", text(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(Version { major: 9, minor: 2 } < NEEDED && Version { major: 12, minor: 0 } > NEEDED);
        let said = too_old(Version { major: 11, minor: 3 });
        assert_eq!(said, "the driver is too old: it knows CUDA 11.3, needed is 11.4 (driver 470 or later)");
    }
}
