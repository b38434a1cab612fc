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

    /// The process exit code: 2 for wrong input, 130 when interrupted, 3 for a fault.
    ///
    /// A file that is absent, forbidden or malformed is wrong input; a full or failing disk is a
    /// fault.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Input(_) => 2,
            Error::File { source, .. } if is_input(source.kind()) => 2,
            Error::Interrupted => 130,
            Error::File { .. } | Error::Fault(_) => 3,
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
    )
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        ErrorKind::NotFound => "no such file or folder".into(),
        ErrorKind::PermissionDenied => "permission denied".into(),
        ErrorKind::IsADirectory => "expected a file, found a folder".into(),
        ErrorKind::NotADirectory => "expected a folder, found a file".into(),
        ErrorKind::StorageFull => "no space left on the disk".into(),
        _ => source.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_input_and_a_full_disk_a_fault() {
        let path = Path::new("chl.nc");
        let missing = Error::file(path, ErrorKind::NotFound.into());
        assert_eq!(missing.to_string(), "chl.nc: no such file or folder");
        assert_eq!(missing.exit_code(), 2);
        let full = Error::file(path, ErrorKind::StorageFull.into());
        assert_eq!(full.to_string(), "chl.nc: no space left on the disk");
        assert_eq!(full.exit_code(), 3);
        assert_eq!(Error::Interrupted.exit_code(), 130);
    }
}
