//! What can go wrong in the `isobath` program, and the exit code each case ends with.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One sentence for the user: the file, variable or option, what was expected, what was found.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's input is wrong: a file's content, an option, a configuration.
    #[error("{0}")]
    Input(String),
    /// The operating system refused to read or write a file or folder.
    #[error("{}: {}", path.display(), reason(source))]
    File {
        /// The file or folder as the user named it.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Numbers that do not agree with those of another implementation.
    #[error("{}: {failed} of {rows} arrays differ by more than their limit", file.display())]
    Parity {
        /// The file with the expected numbers.
        file: PathBuf,
        /// Arrays beyond their limit.
        failed: usize,
        /// Arrays compared.
        rows: usize,
    },
    /// The device stopped working, or gave no answer in time; nothing that it computed since the last file was written is
    /// left.
    #[error("{0}")]
    DeviceLost(String),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Something failed that the input is not to blame for.
    #[error("{0}")]
    Fault(String),
}

impl Error {
    /// An [`Error::File`] about `path`.
    pub fn file(path: &Path, source: io::Error) -> Self {
        Error::File { path: path.to_owned(), source }
    }

    /// The process exit code: 2 for wrong input, 130 when interrupted, 3 for a fault or a lost device, 1 for numbers that do
    /// not agree.
    ///
    /// A file that is absent, forbidden or malformed and a full disk are for the user to put right; a failing disk
    /// is a fault.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input(_) => 2,
            Error::File { source, .. } if is_input(source.kind()) => 2,
            Error::Parity { .. } => 1,
            Error::Interrupted => 130,
            Error::File { .. } | Error::DeviceLost(_) | Error::Fault(_) => 3,
        }
    }
}

impl From<isobath_engine::Error> for Error {
    /// Files and sizes beyond the memory are the user's; everything else in the engine is a fault.
    fn from(error: isobath_engine::Error) -> Self {
        use isobath_engine::Error as Engine;
        match error {
            Engine::File { path, source } => Error::File { path: path.into(), source },
            Engine::Format { .. } | Engine::OutOfMemory { .. } | Engine::TooLarge { .. } => {
                Error::Input(error.to_string())
            }
            Engine::DeviceLost { device, what } => Error::DeviceLost(format!(
                "the device {device} was lost: {what}; run the command again, with a smaller batch or --device cpu if the \
                 device is lost again"
            )),
            _ => Error::Fault(error.to_string()),
        }
    }
}

fn is_input(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::UnexpectedEof
            | ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
    )
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::NotFound => "no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "expected a file, found a folder".into(),
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "expected a folder, found a file".into(),
        ErrorKind::FileTooLarge => "the file grew beyond what the system allows (see `ulimit -f`)".into(),
        ErrorKind::QuotaExceeded => "the disk quota is used up".into(),
        ErrorKind::StorageFull => "no space left on the disk".into(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_user_can_put_right_ends_with_2() {
        let path = Path::new("chl.nc");
        let missing = Error::file(path, ErrorKind::NotFound.into());
        assert_eq!(missing.to_string(), "chl.nc: no such file or folder");
        assert_eq!(missing.exit_code(), 2);
        let full = Error::file(path, ErrorKind::StorageFull.into());
        assert_eq!(full.to_string(), "chl.nc: no space left on the disk");
        assert_eq!(full.exit_code(), 2);
        assert_eq!(Error::file(path, ErrorKind::BrokenPipe.into()).exit_code(), 3);
        let shape = isobath_engine::Error::Format { path: "w".into(), what: "expected [2], found [3]".into() };
        assert_eq!(Error::from(shape).exit_code(), 2);
        assert_eq!(Error::Interrupted.exit_code(), 130);
    }

    #[test]
    fn a_lost_device_ends_with_3_and_a_tensor_beyond_its_memory_with_2() {
        let lost = isobath_engine::Error::DeviceLost { device: "wgpu".into(), what: "no answer for 120 s".into() };
        let lost = Error::from(lost);
        assert_eq!(lost.exit_code(), 3);
        assert!(lost.to_string().starts_with("the device wgpu was lost: no answer for 120 s; run the command again"));
        let large = isobath_engine::Error::TooLarge { shape: [1 << 30].into(), requested: 4 << 30, largest: 1 << 27 };
        assert_eq!(Error::from(large).exit_code(), 2);
    }
}
