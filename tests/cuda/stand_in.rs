//! The stand-in driver in place of NVIDIA's.

use isobath_engine::device::cuda;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// Says which driver is wanted.
pub(super) const VARIABLE: &str = "ISOBATH_CUDA";
/// Its value for the stand-in.
const STAND_IN: &str = "stand-in";
/// The folder in which the stand-in lies, for the programs that this one starts.
const FOLDER: &str = "ISOBATH_STAND_IN_FOLDER";
/// Where the system looks for libraries.
pub(super) const LIBRARIES: &str = "LD_LIBRARY_PATH";

/// Whether the stand-in has been loaded, or will be.
pub(super) fn is_here() -> bool {
    std::env::var_os(FOLDER).is_some()
}

/// Starts this program once more with the stand-in where there is no GPU or the stand-in is asked for, and says how that
/// ended.
pub(super) fn start_again() -> Option<ExitCode> {
    let wanted = std::env::var(VARIABLE).is_ok_and(|value| value == STAND_IN);
    if is_here() || !cfg!(target_os = "linux") || (!wanted && cuda::offers().is_ok()) {
        return None;
    }
    match run() {
        Ok(code) => Some(code),
        Err(what) => {
            eprintln!("the stand-in driver: {what}");
            Some(ExitCode::FAILURE)
        }
    }
}

fn run() -> std::io::Result<ExitCode> {
    let program = std::env::current_exe()?;
    let folder = tempfile::tempdir()?;
    // Cargo puts the libraries of dependencies beside the tests.
    let built = program.with_file_name("libisobath_stand_in_driver.so");
    std::fs::copy(&built, folder.path().join("libcuda.so"))
        .map_err(|e| std::io::Error::new(e.kind(), format!("{}: {e}", built.display())))?;
    let mut paths = vec![PathBuf::from(folder.path())];
    paths.extend(std::env::var_os(LIBRARIES).iter().flat_map(std::env::split_paths));
    let paths = std::env::join_paths(paths).map_err(std::io::Error::other)?;
    let mut again = Command::new(program);
    again.args(std::env::args_os().skip(1)).env(LIBRARIES, paths).env(FOLDER, folder.path());
    let status = again.status()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
