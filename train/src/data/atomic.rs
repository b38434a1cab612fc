//! Writing a file so that it is either complete or not there.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::{Error, Result};

/// Writes `path` through a temporary file in its folder that takes its place when complete; a
/// failed or interrupted write leaves what was there before.
///
/// # Errors
/// [`Error::File`] with the folder when it cannot be written to, else with `path`.
pub fn write(path: &Path, content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>) -> Result<()> {
    expect_replaceable(path)?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".isobath-");
    // Temporary files are private by default; a result is as readable as any new file.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let file = builder.tempfile_in(folder).map_err(|error| match error.kind() {
        kind @ (io::ErrorKind::NotFound
        | io::ErrorKind::PermissionDenied
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::ReadOnlyFilesystem) => Error::file(folder, kind.into()),
        _ => Error::file(path, error),
    })?;
    let mut writer = BufWriter::new(file.as_file());
    content(&mut writer)
        .and_then(|()| writer.flush())
        .and_then(|()| file.as_file().sync_all())
        .map_err(|error| Error::file(path, error))?;
    drop(writer);
    file.persist(path).map_err(|error| Error::file(path, error.error))?;
    Ok(())
}

/// An error when a file written to `path` would take the place of a folder or a device.
///
/// # Errors
/// [`Error::File`] for a folder, [`Error::Input`] for a device.
pub fn expect_replaceable(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(Error::file(path, io::ErrorKind::IsADirectory.into())),
        Ok(found) if !found.is_file() => {
            Err(Error::Input(format!("{}: expected a file to write, found a device", path.display())))
        }
        _ => Ok(()),
    }
}

/// Writes an array in NumPy's `.npy` format, C order.
///
/// # Errors
/// [`Error::File`] when the file cannot be written, [`Error::Fault`] when the values do not fill
/// the shape.
pub fn write_npy(path: &Path, values: &[f32], shape: &[usize]) -> Result<()> {
    use npyz::WriterBuilder;
    if shape.iter().product::<usize>() != values.len() {
        let found = values.len();
        return Err(Error::Fault(format!("array: expected the shape {shape:?}, found {found} values")));
    }
    let shape: Vec<u64> = shape.iter().map(|&length| length as u64).collect();
    write(path, |file| {
        let options = npyz::WriteOptions::new().default_dtype().shape(&shape);
        let mut array = options.writer(file).begin_nd()?;
        array.extend(values.iter().copied())?;
        array.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.bin");
        write(&path, |file| file.write_all(b"old")).unwrap();
        let failing = |file: &mut BufWriter<&File>| {
            file.write_all(b"half of the new")?;
            Err(io::ErrorKind::StorageFull.into())
        };
        let error = write(&path, failing).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().ends_with("result.bin: no space left on the disk"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_missing_folder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = write(&folder.path().join("absent/result.nc"), |_| Ok(())).unwrap_err();
        assert!(error.to_string().ends_with("absent: no such file or folder"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_not_replaced() {
        // A socket stands for it: what a test may break, it must own.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let error = write(&path, |_| Ok(())).unwrap_err();
        assert!(error.to_string().ends_with("socket: expected a file to write, found a device"), "{error}");
        assert_eq!(error.exit_code(), 2);
        assert!(!path.metadata().unwrap().is_file());
    }

    #[test]
    fn npy_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        write_npy(&path, &[1.0, f32::NAN, 3.0, 4.0, 5.0, 6.0], &[3, 2]).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let file = npyz::NpyFile::new(&bytes[..]).unwrap();
        assert_eq!(file.shape(), &[3, 2]);
        let values: Vec<f32> = file.into_vec().unwrap();
        assert!(values[1].is_nan() && values[5] == 6.0);
        assert!(write_npy(&path, &[0.0], &[2]).is_err());
    }
}
