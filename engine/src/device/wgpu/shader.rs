//! A shader read, validated and held against its kernel.

use isobath_kernels::wgsl::SUBGROUPS;
use isobath_kernels::{Access, Entry};
use naga::compact::{KeepUnused, compact};
use naga::valid::{Capabilities, GlobalUse, ModuleInfo, ValidationFlags, Validator};
use naga::{AddressSpace, GlobalVariable, Handle, Module, SourceLocation, StorageAccess, TypeInner};
use std::borrow::Cow;
use std::path::Path;

/// A kernel's shader.
pub struct Shader {
    module: Module,
    /// What can be dispatched.
    pub entries: Vec<EntryPoint>,
}

/// One entry point of a shader.
pub struct EntryPoint {
    /// Its name.
    pub name: String,
    /// The storage bindings that it uses, in order.
    pub bindings: Vec<u32>,
    /// Invocations of a workgroup.
    pub workgroup_size: u32,
    /// Bytes that a workgroup shares.
    pub workgroup_bytes: u32,
}

impl Shader {
    /// Reads and validates a kernel's shader and holds it against the kernel's descriptor: see
    /// [`isobath_kernels::wgsl`] for what it must look like.
    ///
    /// # Errors
    /// The file, line and reason of what is wrong.
    pub fn new(kernel: &Entry) -> Result<Shader, String> {
        let files = files(kernel)?;
        let source: String = files.iter().map(|(_, text)| text.as_ref()).collect();
        let module = naga::front::wgsl::parse_str(&source)
            .map_err(|e| format!("{}{}", place(&files, e.location(&source)), e.message()))?;
        let info = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
            .validate(&module)
            .map_err(|e| format!("{}{}", place(&files, e.location(&source)), reasons(e.as_inner())))?;
        let wrong = |what: String| format!("{}: {what}", files[0].0);
        for (_, variable) in module.global_variables.iter() {
            check_variable(&module, variable, kernel).map_err(wrong)?;
        }
        let entries: Vec<EntryPoint> = (0..module.entry_points.len()).map(|i| entry_point(&module, &info, i)).collect();
        check_entries(&module, &info, kernel).map_err(wrong)?;
        Ok(Shader { module, entries })
    }

    /// The module with all entry points, or with those alone that do without subgroups.
    pub(super) fn module(&self, subgroups: bool) -> Module {
        let mut module = self.module.clone();
        if !subgroups {
            module.entry_points.retain(|entry| !entry.name.ends_with(SUBGROUPS));
            compact(&mut module, KeepUnused::No);
        }
        module
    }
}

/// Paths and texts of a shader's files: those of the build, or in the folder that `ISOBATH_SHADERS` names, so that a shader
/// can be tuned without another build.
fn files(kernel: &Entry) -> Result<Vec<(String, Cow<'static, str>)>, String> {
    let folder = std::env::var_os("ISOBATH_SHADERS");
    let file = |(name, built_in): &(&str, &'static str)| match &folder {
        None => Ok((format!("shaders/{name}"), Cow::Borrowed(*built_in))),
        Some(folder) => {
            let path = Path::new(folder).join(name).display().to_string();
            let text = std::fs::read_to_string(&path).map_err(|e| format!("{path}: {e}"))?;
            Ok((path, Cow::Owned(text)))
        }
    };
    kernel.wgsl.iter().map(file).collect()
}

/// `file:line: ` of a place in the files, one after the other.
fn place(files: &[(String, Cow<'static, str>)], location: Option<SourceLocation>) -> String {
    let mut line = location.map_or(1, |location| location.line_number as usize);
    for (file, text) in files {
        let lines = text.lines().count();
        if line <= lines {
            return format!("{file}:{line}: ");
        }
        line -= lines;
    }
    String::new()
}

/// An error and what it comes from.
fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |all, cause| format!("{all}: {cause}"))
}

fn entry_point(module: &Module, info: &ModuleInfo, index: usize) -> EntryPoint {
    let (entry, uses) = (&module.entry_points[index], info.get_entry_point(index));
    let used = |handle: Handle<GlobalVariable>| !uses[handle].is_empty();
    let mut bindings = Vec::new();
    let mut workgroup_bytes = 0;
    for (handle, variable) in module.global_variables.iter().filter(|(handle, _)| used(*handle)) {
        match (variable.space, &variable.binding) {
            (AddressSpace::Storage { .. }, Some(binding)) => bindings.push(binding.binding),
            (AddressSpace::WorkGroup, _) => {
                workgroup_bytes += module.types[module.global_variables[handle].ty].inner.size(module.to_ctx())
            }
            _ => {}
        }
    }
    bindings.sort_unstable();
    let workgroup_size = entry.workgroup_size.iter().product();
    EntryPoint { name: entry.name.clone(), bindings, workgroup_size, workgroup_bytes }
}

/// Storage bindings bear the names and numbers of the kernel's buffers; the uniform one is the parameter block.
fn check_variable(module: &Module, variable: &GlobalVariable, kernel: &Entry) -> Result<(), String> {
    let name = variable.name.as_deref().unwrap_or_default();
    let Some(binding) = &variable.binding else { return Ok(()) };
    let place = (binding.group, binding.binding);
    match variable.space {
        AddressSpace::Storage { access } => {
            let mut names = kernel.buffers.iter().map(|(name, _)| *name).chain(["scratch"]);
            let expected = names.nth(place.1 as usize).filter(|expected| place.0 == 0 && bears(name, expected));
            if expected.is_none() {
                return Err(format!("`{name}` is bound to {place:?}, which is another buffer of the kernel or none"));
            }
            if access != StorageAccess::LOAD | StorageAccess::STORE {
                return Err(format!("binding `{name}` must be read_write, as all tensors share their memory"));
            }
            Ok(())
        }
        AddressSpace::Uniform if place == (1, 0) => check_parameters(module, variable, kernel),
        _ => Err(format!("`{name}` is neither a buffer of the kernel nor its parameters")),
    }
}

/// Whether a name is a buffer's, alone or with an ending: one buffer may be seen as arrays of several types.
fn bears(name: &str, buffer: &str) -> bool {
    name.strip_prefix(buffer).is_some_and(|ending| ending.is_empty() || ending.starts_with('_'))
}

/// The parameter block, then the starts of the buffers by name.
fn check_parameters(module: &Module, variable: &GlobalVariable, kernel: &Entry) -> Result<(), String> {
    let TypeInner::Struct { members, .. } = &module.types[variable.ty].inner else {
        return Err("the parameters must be a struct".into());
    };
    let starts = members.iter().filter(|m| m.offset as usize >= kernel.parameters);
    let expected = kernel.buffers.iter().map(|(name, _)| *name).chain(["scratch", "parts"]);
    for (i, (member, expected)) in starts.clone().zip(expected).enumerate() {
        let name = member.name.as_deref().unwrap_or_default();
        if member.offset as usize != kernel.parameters + 4 * i || !bears(name, expected) {
            return Err(format!(
                "parameters: expected `{expected}` at byte {}, found `{name}` at byte {}",
                kernel.parameters + 4 * i,
                member.offset
            ));
        }
    }
    let count = starts.count();
    if count < kernel.buffers.len() {
        return Err(format!(
            "parameters: expected the starts of {} buffers after {} bytes, found {count}",
            kernel.buffers.len(),
            kernel.parameters
        ));
    }
    Ok(())
}

/// Entry points bear the kernel's name, write no buffer that it only reads, and write all that it writes.
fn check_entries(module: &Module, info: &ModuleInfo, kernel: &Entry) -> Result<(), String> {
    let mut written = vec![false; kernel.buffers.len()];
    for (i, entry) in module.entry_points.iter().enumerate() {
        if !entry.name.starts_with(kernel.name) {
            return Err(format!("the name of entry point `{}` must begin with `{}`", entry.name, kernel.name));
        }
        for (handle, variable) in module.global_variables.iter() {
            let (AddressSpace::Storage { .. }, Some(binding)) = (variable.space, &variable.binding) else { continue };
            if info.get_entry_point(i)[handle].contains(GlobalUse::WRITE)
                && let Some(buffer) = written.get_mut(binding.binding as usize)
            {
                *buffer = true;
            }
        }
    }
    for ((name, access), written) in kernel.buffers.iter().zip(written) {
        if written == (*access == Access::Read) {
            return Err(format!(
                "buffer `{name}` is declared {access:?} and {}written",
                if written { "" } else { "never " }
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_of_a_shader_are_named() {
        let head = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;\n\
                    struct Parameters { len: u32, x: u32 }\n\
                    @group(1) @binding(0) var<uniform> p: Parameters;\n";
        let found = |rest: &str| {
            let rest = Box::leak(rest.to_owned().into_boxed_str());
            let wgsl = Box::leak(Box::new([("double.wgsl", head), ("double.rest.wgsl", &*rest)]));
            let kernel = Entry { name: "double", buffers: &[("x", Access::Update)], parameters: 4, wgsl, ptx: &[] };
            Shader::new(&kernel).err().unwrap_or_default()
        };
        let body = "@compute @workgroup_size(64) fn double() { x[p.x] = 2.0 * x[p.x]; }";
        assert_eq!(found(body), "");
        let unknown = found(&body.replace("2.0", "two"));
        assert!(unknown.starts_with("shaders/double.rest.wgsl:1: ") && unknown.contains("`two`"), "{unknown}");
        let number = found(&body.replace("2.0 *", "2u *"));
        assert!(number.starts_with("shaders/double.rest.wgsl:1: "), "{number}");
        assert!(found(&body.replace("double", "twice")).contains("entry point `twice` must begin with `double`"));
        let reads = found(&body.replace("x[p.x] = 2.0", "let y = 2.0"));
        assert_eq!(reads, "shaders/double.wgsl: buffer `x` is declared Update and never written");
    }
}
