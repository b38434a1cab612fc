//! The commands as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

mod checkpoints;
mod data_files;
mod divergence;
mod forecasts;
#[cfg(unix)]
mod interruption;
mod machine;
#[cfg(target_os = "linux")]
mod nvidia;
mod records;
mod refit;
mod runs;
mod settings;
mod simulate;

/// The sample that the demo carries.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/ostia_pacific_monthly.nc");
const SETTINGS: &str = "[data]\nvariable = \"surface_temperature\"\n\
    [model]\nchannels = 4\nprototypes = 2\nsteps = 5\n\
    [train]\nwindow = 6\nbatch = 4\nepochs = 2\ncheckpoint_every = 1\n[impute]\nsamples = 3\nstride = 6\n";

fn command(folder: &Path, line: &str) -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_isobath"));
    program.args(line.split_whitespace()).current_dir(folder);
    program
}

fn isobath(folder: &Path, line: &str) -> Output {
    command(folder, line).output().expect("the program starts")
}

/// A folder with the sample as `sst.nc` and small settings as `small.toml`.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(SAMPLE, folder.path().join("sst.nc")).expect("the sample");
    std::fs::write(folder.path().join("small.toml"), SETTINGS).expect("settings");
    folder
}

/// What the command says on its standard output and error.
fn succeeds(folder: &Path, line: &str) -> (String, String) {
    let output = isobath(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "isobath {line}: {said}");
    (String::from_utf8_lossy(&output.stdout).into_owned(), said)
}

/// The command ends with 2 and one sentence that has all of `words`, and leaves the folder as it was.
fn refuses(folder: &Path, line: &str, words: &[&str]) {
    let before = listing(folder);
    let output = isobath(folder, line);
    expect_sentence(line, &output, 2, words);
    assert_eq!(listing(folder), before, "isobath {line}: left something");
}

fn expect_sentence(line: &str, output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "isobath {line}: {said}");
    let sentence = said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("isobath: ") && !said.contains("panicked"), "isobath {line}: {said}");
    words.iter().for_each(|word| assert!(sentence.contains(word), "isobath {line}: no {word:?} in {sentence}"));
}

/// Names and lengths of all files in a folder and the folders in it.
fn listing(folder: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => found.extend(listing(&path)),
            false => found.push((path.display().to_string(), path.metadata().expect("a file").len())),
        }
    }
    found.sort();
    found
}

/// The bits of every array of a checkpoint.
fn bits(path: &Path) -> Vec<(String, Vec<u32>)> {
    let file = isobath_engine::weights::Weights::open(path).expect("weights");
    let array = |name: String| {
        let values = file.to_f32(&name).expect("an array");
        (name, values.into_iter().map(f32::to_bits).collect())
    };
    file.names().into_iter().map(array).collect()
}
