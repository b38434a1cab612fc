//! Whether a file is all there: an interrupted download has its header and not all of its data.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use netcdf_reader::{NcFile, NcSliceInfo, NcSliceInfoElem, NcVariable};

use super::{Refusal, damaged};

/// An open file and its length in bytes.
pub(super) struct Source {
    pub(super) file: NcFile,
    pub(super) bytes: u64,
}

impl Source {
    /// Refuses a file that ends before its header says, wherever the data asked for may lie.
    pub(super) fn check_complete(&self, path: &Path) -> Result<(), Refusal> {
        if self.file.as_classic().is_some() {
            return self.file.variables().unwrap_or_default().iter().try_for_each(|variable| {
                self.check_size(variable)?;
                self.check_last_value(variable)
            });
        }
        let mut head = Vec::with_capacity(64);
        let read = File::open(path).and_then(|file| file.take(64).read_to_end(&mut head));
        read.map_err(|error| damaged(&error))?;
        match declared_length(&head) {
            Some(declared) if declared > self.bytes => {
                Err(damaged(&format!("the header says {declared} bytes, the file has {}", self.bytes)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a variable that the file is too short to hold, before memory is taken for it.
    pub(super) fn check_size(&self, variable: &NcVariable) -> Result<(), Refusal> {
        // The compression of NetCDF-4, deflate, shrinks data 1032 times at most.
        const COMPRESSION: u64 = 1032;
        let values = variable.num_elements().map_err(|error| damaged(&error))?;
        let size = variable.dtype().size().map_err(|error| damaged(&error))? as u64;
        if values.saturating_mul(size) / COMPRESSION > self.bytes {
            return Err(damaged(&format!(
                "variable `{}` claims {values} values, the file has {} bytes",
                variable.name, self.bytes
            )));
        }
        Ok(())
    }

    fn check_last_value(&self, variable: &NcVariable) -> Result<(), Refusal> {
        let lengths = variable.shape();
        if lengths.contains(&0) {
            return Ok(());
        }
        let last = lengths.iter().map(|length| NcSliceInfoElem::Index(length - 1));
        let last = NcSliceInfo { selections: last.collect() };
        match self.file.read_variable_slice_as_f64(&variable.name, &last) {
            // Text has no numbers to read, and no field is text.
            Ok(_) | Err(netcdf_reader::Error::TypeMismatch { .. }) => Ok(()),
            Err(error) => Err(damaged(&error)),
        }
    }
}

/// The end-of-file address in an HDF5 superblock with 8-byte addresses (HDF5 File Format
/// Specification, II.A).
fn declared_length(head: &[u8]) -> Option<u64> {
    let at = match (head.starts_with(b"\x89HDF\r\n\x1a\n"), head.get(8)?) {
        (true, 0) if head.get(13) == Some(&8) => 40,
        (true, 1) if head.get(13) == Some(&8) => 44,
        (true, 2 | 3) if head.get(9) == Some(&8) => 28,
        _ => return None,
    };
    let bytes = head.get(at..at + 8)?.try_into().ok()?;
    Some(u64::from_le_bytes(bytes))
}
