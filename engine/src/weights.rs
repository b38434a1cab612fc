//! Files of named arrays in the safetensors format, memory-mapped.
//!
//! Besides checkpoints these are weights and reference values written by PyTorch: arrays `param/<name>`, `in/*`,
//! `out/*`, `grad/*`.

use crate::error::{Error, Result};
use crate::parameters::{Parameters, fill};
use crate::tensor::{DType, Tensor};
use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// An open safetensors file.
pub struct Weights {
    path: String,
    map: Mmap,
    metadata: Metadata,
    /// Where the arrays start in the file.
    data: usize,
}

impl Weights {
    /// Opens a file and checks its header; the arrays stay in the file until they are asked for.
    ///
    /// # Errors
    /// When the file cannot be opened, or its header and its length are not those of a safetensors file.
    pub fn open(path: impl AsRef<Path>) -> Result<Weights> {
        let path = path.as_ref();
        let name = path.display().to_string();
        let unreadable = |source| Error::File { path: name.clone(), source };
        let file = File::open(path).map_err(unreadable)?;
        // Folders and devices open, and cannot be mapped.
        if !file.metadata().map_err(unreadable)?.is_file() {
            let what = "expected a safetensors file, found a folder or a device".into();
            return Err(Error::Format { path: name, what });
        }
        // SAFETY: the map is only read, and files of weights are replaced whole, never rewritten in place.
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|e| Error::Format { path: name.clone(), what: format!("no whole safetensors file: {e}") })?;
        // The file starts with eight bytes, the length of the header.
        Ok(Weights { path: name, map, metadata, data: 8 + header })
    }

    /// The arrays' names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.metadata.offset_keys();
        names.sort();
        names
    }

    /// The entries that the writer added.
    pub fn metadata(&self) -> BTreeMap<String, String> {
        self.metadata.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Compares the arrays' bytes with the checksum that [`write()`] put among the metadata; a file without one passes.
    ///
    /// # Errors
    /// When the bytes are not those that were written.
    pub fn check_sum(&self) -> Result<()> {
        let Some(expected) = self.metadata().remove(CHECKSUM) else { return Ok(()) };
        let names = self.names();
        let bytes = names.iter().map(|name| self.bytes(name)).collect::<Result<Vec<_>>>()?;
        let found = checksum(bytes);
        if found != expected {
            return Err(self.error(format!("the arrays are damaged: expected the checksum {expected}, found {found}")));
        }
        Ok(())
    }

    fn info(&self, name: &str) -> Result<&TensorInfo> {
        self.metadata
            .info(name)
            .ok_or_else(|| self.error(format!("array {name} not found; the file has {}", listed(self.names().iter()))))
    }

    /// An array's shape, slowest axis first.
    ///
    /// # Errors
    /// When the file has none of that name.
    pub fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.info(name)?.shape)
    }

    fn bytes(&self, name: &str) -> Result<&[u8]> {
        let (start, end) = self.info(name)?.data_offsets;
        let bytes = self.map[self.data..].get(start..end);
        bytes.ok_or_else(|| self.error(format!("array {name} lies outside the file")))
    }

    /// An array's elements as f64: exact from every type but integers beyond 2^53.
    ///
    /// # Errors
    /// When the file has none of that name, or its type is not one of f16, bf16, f32, f64, u32, i32 and i64.
    pub fn to_f64(&self, name: &str) -> Result<Vec<f64>> {
        let bytes = self.bytes(name)?;
        Ok(match self.info(name)?.dtype {
            Dtype::F16 => decode(bytes, |b| f16::from_le_bytes(b).to_f64()),
            Dtype::BF16 => decode(bytes, |b| bf16::from_le_bytes(b).to_f64()),
            Dtype::F32 => decode(bytes, |b| f64::from(f32::from_le_bytes(b))),
            Dtype::F64 => decode(bytes, f64::from_le_bytes),
            Dtype::I32 => decode(bytes, |b| f64::from(i32::from_le_bytes(b))),
            Dtype::U32 => decode(bytes, |b| f64::from(u32::from_le_bytes(b))),
            Dtype::I64 => decode(bytes, |b| i64::from_le_bytes(b) as f64),
            other => {
                let what = format!("array {name}: expected F16, BF16, F32, F64, U32, I32 or I64, found {other:?}");
                return Err(self.error(what));
            }
        })
    }

    /// An array's elements, rounded to f32.
    ///
    /// # Errors
    /// As [`Weights::to_f64`].
    pub fn to_f32(&self, name: &str) -> Result<Vec<f32>> {
        Ok(self.to_f64(name)?.into_iter().map(|v| v as f32).collect())
    }

    /// Sets every parameter to the array `param/<name>`; arrays with other prefixes are left alone.
    ///
    /// Axes of length 1 at the end of a shape do not count: the weight `[out, in, 1]` of PyTorch's 1x1 convolution
    /// is our `[out, in]`.
    ///
    /// # Errors
    /// When arrays are missing, have another shape or belong to no parameter; then no parameter has changed.
    pub fn load_parameters(&self, parameters: &mut Parameters) -> Result<()> {
        let values = self.group("param", parameters)?;
        for (entry, values) in parameters.entries().iter().zip(values) {
            fill(&entry.tensor, &values)?;
        }
        Ok(())
    }

    /// The arrays `<group>/<name>` of all parameters, in their order.
    pub(crate) fn group(&self, group: &str, parameters: &Parameters) -> Result<Vec<Vec<f64>>> {
        let expected: BTreeSet<String> = parameters.names().map(|name| format!("{group}/{name}")).collect();
        let of_group = |name: &String| name.strip_prefix(group).is_some_and(|rest| rest.starts_with('/'));
        let found: BTreeSet<String> = self.names().into_iter().filter(of_group).collect();
        if !found.is_superset(&expected) {
            return Err(self.error(format!("missing: {}", listed(expected.difference(&found)))));
        }
        if found.len() > expected.len() {
            let what = format!("not in the model: {}", listed(found.difference(&expected)));
            return Err(self.error(what));
        }
        let read = |name: &str| {
            let (array, expected) = (format!("{group}/{name}"), parameters.shape(name)?);
            let shape = self.shape(&array)?;
            if without_trailing_ones(shape) != without_trailing_ones(expected.dims()) {
                let kind = if group == "param" { "parameter" } else { group };
                return Err(self.error(format!("{kind} {name}: expected {expected}, found {shape:?}")));
            }
            self.to_f64(&array)
        };
        parameters.names().map(read).collect()
    }

    /// An error about the file's content.
    pub(crate) fn error(&self, what: String) -> Error {
        Error::Format { path: self.path.clone(), what }
    }
}

/// Metadata entry of the arrays' checksum.
pub(crate) const CHECKSUM: &str = "checksum";

/// FNV-1a of 64 bits over the arrays in the order of their names, in hexadecimal: any one flipped bit changes it.
pub fn checksum<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let sum = parts.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{sum:016x}")
}

fn without_trailing_ones(mut shape: &[usize]) -> &[usize] {
    while let [rest @ .., 1] = shape {
        shape = rest;
    }
    shape
}

/// Elements of `N` bytes, little-endian and not necessarily aligned.
fn decode<const N: usize>(bytes: &[u8], element: impl Fn([u8; N]) -> f64) -> Vec<f64> {
    bytes.as_chunks().0.iter().map(|chunk| element(*chunk)).collect()
}

/// The first few names, for an error message.
pub(crate) fn listed(names: impl Iterator<Item = impl ToString>) -> String {
    const SHOWN: usize = 6;
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    let shown = names[..names.len().min(SHOWN)].join(", ");
    if names.len() > SHOWN { format!("{shown} and {} more", names.len() - SHOWN) } else { shown }
}

/// Writes tensors and metadata, with a checksum, to a temporary file beside `path`, forces it to the disk and renames
/// it, so that `path` is at every moment the old file or the new one.
///
/// # Errors
/// When the file cannot be written; then the old one is as it was and no temporary one is left.
pub fn write(path: impl AsRef<Path>, arrays: &[(String, Tensor)], mut metadata: HashMap<String, String>) -> Result<()> {
    let path = path.as_ref();
    let name = path.display().to_string();
    let contents = arrays.iter().map(|(_, tensor)| little_endian(tensor)).collect::<Result<Vec<_>>>()?;
    let mut sorted: Vec<(&String, &[u8])> = arrays.iter().zip(&contents).map(|((n, _), (_, b))| (n, &b[..])).collect();
    sorted.sort();
    metadata.insert(CHECKSUM.into(), checksum(sorted.into_iter().map(|(_, bytes)| bytes)));
    let views = arrays.iter().zip(&contents).map(|((name, tensor), (dtype, bytes))| {
        Ok((name.as_str(), TensorView::new(*dtype, tensor.shape().dims().to_vec(), bytes)?))
    });
    let views = views.collect::<std::result::Result<Vec<_>, safetensors::SafeTensorError>>();
    let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    let bytes = bytes.map_err(|e| Error::Format { path: name.clone(), what: e.to_string() })?;
    replace(path, &bytes).map_err(|source| Error::File { path: name, source })
}

/// A tensor in the file's byte order.
fn little_endian(tensor: &Tensor) -> Result<(Dtype, Vec<u8>)> {
    Ok(match tensor.dtype() {
        DType::F32 => (Dtype::F32, tensor.to_vec::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect()),
        DType::F64 => (Dtype::F64, tensor.to_vec::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect()),
        DType::U32 => (Dtype::U32, tensor.to_vec::<u32>()?.into_iter().flat_map(u32::to_le_bytes).collect()),
    })
}

/// Puts `bytes` in the place of the file `path`, all or nothing.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if path.exists() && !path.is_file() {
        // A rename would put a file in the place of the device.
        return Err(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "expected a file, found a folder or a device",
        ));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        // As for any new file, and not only for its owner: the umask takes away what it should.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename is on the disk once the folder is.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Device;
    use crate::init::Init;

    fn put(path: &Path, arrays: &[(&str, Dtype, &[usize], &[u8])]) {
        let views = arrays
            .iter()
            .map(|(name, dtype, shape, bytes)| (*name, TensorView::new(*dtype, shape.to_vec(), bytes).unwrap()));
        safetensors::serialize_to_file(views, None, path).unwrap();
    }

    #[test]
    fn every_number_type_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("types.safetensors");
        let half = [f16::from_f32(1.5).to_le_bytes(), f16::from_f32(-0.25).to_le_bytes()].concat();
        let brain = [bf16::from_f32(3.0).to_le_bytes(), bf16::from_f32(-2.0).to_le_bytes()].concat();
        let single = [0.1f32.to_le_bytes(), (-7.0f32).to_le_bytes()].concat();
        let double = [0.1f64.to_le_bytes(), 1e300f64.to_le_bytes()].concat();
        let long = [(-5i64).to_le_bytes(), (1i64 << 40).to_le_bytes()].concat();
        put(
            &path,
            &[
                ("h", Dtype::F16, &[2], &half),
                ("b", Dtype::BF16, &[2], &brain),
                ("s", Dtype::F32, &[2, 1], &single),
                ("d", Dtype::F64, &[1, 2], &double),
                ("in/steps", Dtype::I64, &[2], &long),
                ("mask", Dtype::BOOL, &[2], &[1, 0]),
            ],
        );
        let weights = Weights::open(&path).unwrap();
        assert_eq!(weights.names(), ["b", "d", "h", "in/steps", "mask", "s"]);
        assert_eq!(weights.to_f64("h").unwrap(), [1.5, -0.25]);
        assert_eq!(weights.to_f64("b").unwrap(), [3.0, -2.0]);
        assert_eq!(weights.to_f32("s").unwrap(), [0.1, -7.0]);
        assert_eq!(weights.to_f64("d").unwrap(), [0.1, 1e300]);
        assert_eq!(weights.to_f64("in/steps").unwrap(), [-5.0, 1_099_511_627_776.0]);
        assert_eq!(weights.shape("s").unwrap(), [2, 1]);
        let error = weights.to_f64("mask").unwrap_err().to_string();
        assert!(
            error.ends_with("types.safetensors: array mask: expected F16, BF16, F32, F64, U32, I32 or I64, found BOOL")
        );
        let error = weights.shape("x").unwrap_err().to_string();
        assert!(error.ends_with("array x not found; the file has b, d, h, in/steps, mask, s"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_neither_read_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let expected = "expected a safetensors file, found a folder or a device";
        assert!(Weights::open(folder.path()).err().unwrap().to_string().ends_with(expected));
        let error = write(folder.path(), &[], HashMap::new()).unwrap_err().to_string();
        assert!(error.ends_with("expected a file, found a folder or a device"), "{error}");
    }

    #[test]
    fn a_convolution_of_width_one_fits_a_linear_weight() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("conv.safetensors");
        let bytes: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        put(&path, &[("param/w", Dtype::F32, &[2, 2, 1], &bytes), ("out/y", Dtype::F32, &[4], &bytes)]);
        let build = |shape: &[usize]| {
            Parameters::builder().add("w", shape, Init::Zeros).build(&Device::cpu(), DType::F32, 0).unwrap()
        };
        let weights = Weights::open(&path).unwrap();
        let mut parameters = build(&[2, 2]);
        weights.load_parameters(&mut parameters).unwrap();
        assert_eq!(parameters.to_vec("w").unwrap(), [1.0, 2.0, 3.0, 4.0]);
        for shape in [&[1, 2, 2][..], &[4], &[4, 1]] {
            let error = weights.load_parameters(&mut build(shape)).unwrap_err().to_string();
            assert!(error.ends_with(&format!("parameter w: expected {shape:?}, found [2, 2, 1]")), "{error}");
        }
    }
}
