//! Ctrl-C, sudden death and full disks.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{bits, command, expect_sentence, listing, succeeds, workplace};

const TRAIN: &str = "train stddm --data sst.nc --config small.toml --schedule constant";

fn start(folder: &Path, line: &str) -> Child {
    command(folder, line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
}

/// Waits until the file differs from what it was.
fn wait_for_another(path: &Path, before: &Option<Vec<u8>>) {
    let begin = Instant::now();
    while std::fs::read(path).ok() == *before {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} did not change", path.display());
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Trains on to the end of the epoch, and compares with a training that ran through.
fn goes_on_as_if_nothing_happened(folder: &Path, run: &str) {
    let path = folder.join(run).join("stddm.safetensors");
    let steps = isobath_engine::checkpoint::state(&path).expect("a whole checkpoint").step;
    let epochs = steps / 13 + 1;
    succeeds(folder, &format!("{TRAIN} -o {run} --epochs {epochs} --resume"));
    succeeds(folder, &format!("{TRAIN} -o whole --epochs {epochs}"));
    assert!(bits(&path) == bits(&folder.join("whole/stddm.safetensors")), "the weights differ after {steps} steps");
    let metrics = |run: &str| std::fs::read(folder.join(run).join("metrics.jsonl")).expect("metrics");
    assert!(metrics(run) == metrics("whole"), "the metrics differ");
}

#[test]
fn ctrl_c_keeps_a_checkpoint_from_which_the_training_goes_on_with_the_same_bits() {
    let place = workplace();
    let folder = place.path();
    let line = format!("{TRAIN} -o run --epochs 9999");
    let training = start(folder, &line);
    wait_for_another(&folder.join("run/stddm.safetensors"), &None);
    let id = training.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().expect("kill").success());
    let output = training.wait_with_output().expect("an end");
    expect_sentence(&line, &output, 130, &["interrupted"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("the checkpoint in run is whole; the same command with --resume goes on"), "{said}");
    goes_on_as_if_nothing_happened(folder, "run");
}

#[test]
fn sudden_death_leaves_a_whole_checkpoint() {
    let place = workplace();
    let folder = place.path();
    let path = folder.join("run/stddm.safetensors");
    for (i, resume) in ["", "--resume", "--resume"].into_iter().enumerate() {
        let before = std::fs::read(&path).ok();
        let mut training = start(folder, &format!("{TRAIN} -o run --epochs 9999 {resume}"));
        wait_for_another(&path, &before);
        // At another moment of the next epoch each time.
        std::thread::sleep(Duration::from_millis(37 * i as u64));
        training.kill().expect("killed");
        training.wait().expect("an end");
    }
    goes_on_as_if_nothing_happened(folder, "run");
}

/// Runs the command where no file may grow beyond `blocks` of 512 bytes: what a full disk does, without one.
fn cramped(folder: &Path, blocks: u32, line: &str) -> std::process::Output {
    let program = env!("CARGO_BIN_EXE_isobath");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec '{program}' {line}");
    Command::new("sh").args(["-c", &script]).current_dir(folder).output().expect("a shell")
}

#[test]
fn a_disk_without_room_is_told_and_leaves_what_was_there() {
    let place = workplace();
    let folder = place.path();
    let line = format!("{TRAIN} -o new");
    expect_sentence(&line, &cramped(folder, 16, &line), 2, &["new/stddm.safetensors: the file grew beyond"]);
    assert!(!folder.join("new/stddm.safetensors").exists());
    succeeds(folder, &format!("{TRAIN} -o run --epochs 1"));
    let before = listing(folder);
    let line = "impute --data sst.nc --weights run -o out.nc";
    expect_sentence(line, &cramped(folder, 16, line), 2, &["out.nc: the file grew beyond"]);
    assert_eq!(listing(folder), before);
    let weights = std::fs::read(folder.join("run/stddm.safetensors")).expect("weights");
    let line = format!("{TRAIN} -o run --epochs 2 --resume");
    expect_sentence(&line, &cramped(folder, 16, &line), 2, &["run/stddm.safetensors: the file grew beyond"]);
    assert!(std::fs::read(folder.join("run/stddm.safetensors")).expect("weights") == weights);
    goes_on_as_if_nothing_happened(folder, "run");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_printed_is_told_after_the_file_is_written() {
    let place = workplace();
    let folder = place.path();
    succeeds(folder, &format!("{TRAIN} -o run --epochs 1"));
    let line = "impute --data sst.nc --weights run -o out.nc";
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("a device");
    let output = command(folder, line).stdout(full).output().expect("the program starts");
    expect_sentence(line, &output, 2, &["stdout", "No space left"]);
    assert!(folder.join("out.nc").exists());
}
