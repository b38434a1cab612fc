//! The PTX of the kernels: read, and held against what each kernel says of itself.

use isobath_kernels::Entry;
use isobath_ptx_simulator::Module;
use std::path::Path;

type Outcome<T> = std::result::Result<T, String>;

/// One file of a kernel's PTX.
pub struct File {
    /// Where it was read.
    pub name: String,
    /// What it says.
    pub text: String,
    /// Its entry points.
    pub module: Module,
}

/// What a launch hands over in place of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// The address of the buffer of this number.
    Buffer(usize),
    /// So many bytes of the parameter block, after those before it.
    Numbers(u32),
    /// The address of the scratch memory.
    Scratch,
    /// The number of parts that it has.
    Parts,
}

/// Reads the files of a kernel's PTX and checks their entry points: see [`isobath_kernels::ptx`] for what they must
/// look like. `ISOBATH_PTX` names a folder from which the texts are read instead of the build's.
///
/// # Errors
/// The file, line and reason of what is wrong.
pub fn read(kernel: &Entry) -> Outcome<Vec<File>> {
    kernel.ptx.iter().map(|(name, built_in)| read_file(kernel, name, built_in)).collect()
}

fn read_file(kernel: &Entry, name: &str, built_in: &str) -> Outcome<File> {
    let (name, text) = match std::env::var_os("ISOBATH_PTX") {
        None => (format!("kernels/ptx/{name}"), built_in.to_owned()),
        Some(folder) => {
            let path = Path::new(&folder).join(name).display().to_string();
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
            (path, text)
        }
    };
    let module = Module::parse(&name, &text).map_err(|e| e.to_string())?;
    for entry in module.kernels() {
        check(entry, kernel).map_err(|what| format!("{name}: entry {}: {what}", entry.name()))?;
    }
    Ok(File { name, text, module })
}

fn check(entry: &isobath_ptx_simulator::Kernel, kernel: &Entry) -> Outcome<()> {
    if !entry.name().starts_with(kernel.name) {
        return Err(format!("its name must begin with `{}`", kernel.name));
    }
    if entry.required_threads().contains(&0) {
        return Err("it must state the threads of a block by .reqntid".into());
    }
    slots(entry, kernel).map(drop)
}

/// What each parameter of an entry point stands for.
pub(super) fn slots(entry: &isobath_ptx_simulator::Kernel, kernel: &Entry) -> Outcome<Vec<Slot>> {
    let mut parameters = entry.parameters();
    let mut slots = Vec::new();
    for (number, (expected, _)) in kernel.buffers.iter().enumerate() {
        match parameters.next() {
            Some((name, 8)) if name == *expected => slots.push(Slot::Buffer(number)),
            found => return Err(format!("expected the address `{expected}`, found {found:?}")),
        }
    }
    let mut left = kernel.parameters as u32;
    for (name, bytes) in parameters {
        match (name, bytes) {
            ("scratch", 8) if left == 0 => slots.push(Slot::Scratch),
            ("parts", 4) if left == 0 => slots.push(Slot::Parts),
            _ if bytes <= left => {
                left -= bytes;
                slots.push(Slot::Numbers(bytes));
            }
            _ => return Err(format!("`{name}` lies past the {} bytes of the kernel's parameters", kernel.parameters)),
        }
    }
    match left {
        0 => Ok(slots),
        left => Err(format!("{left} bytes of the kernel's {} bytes of parameters are missing", kernel.parameters)),
    }
}
