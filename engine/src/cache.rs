//! Files that make the next start faster, in the user's cache folder. Losing them costs nothing but time, so whatever
//! goes wrong with them is passed over in silence.

use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder: `isobath` in `XDG_CACHE_HOME` or `~/.cache`, on Windows in `LOCALAPPDATA`.
pub fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = match cfg!(windows) {
        true => absolute("LOCALAPPDATA"),
        false => absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))),
    };
    base.map(|base| base.join("isobath"))
}

/// What [`write()`] put there, if it is still there and whole.
pub fn read(name: &str) -> Option<Vec<u8>> {
    let mut bytes = std::fs::read(folder()?.join(name)).ok()?;
    let length = bytes.len().checked_sub(SUM)?;
    let sum = bytes.split_off(length);
    (sum == checksum(&bytes)).then_some(bytes)
}

/// Writes a file with a checksum behind its bytes; it takes its place when it is complete.
pub fn write(name: &str, bytes: &[u8]) {
    let write = |folder: &Path| -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.write_all(&checksum(bytes))?;
        file.persist(folder.join(name))?;
        Ok(())
    };
    if let Some(folder) = folder() {
        // As the module says.
        let _ = write(&folder);
    }
}

/// Characters of a checksum.
const SUM: usize = 16;

fn checksum(bytes: &[u8]) -> Vec<u8> {
    crate::weights::checksum([bytes]).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_have_one_length() {
        for bytes in [&b""[..], b"a", b"some more bytes than that"] {
            assert_eq!(checksum(bytes).len(), SUM, "{bytes:?}");
        }
    }
}
