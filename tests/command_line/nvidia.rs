//! The CUDA device, on the stand-in for NVIDIA's driver.

use super::{command, expect_sentence, workplace};
use std::path::Path;
use std::process::Output;

/// Runs a command where the driver is the stand-in, which does as `scenario` says.
fn on_stand_in(folder: &Path, line: &str, scenario: &str) -> Output {
    let drivers = folder.join("drivers");
    if !drivers.exists() {
        // Cargo puts the libraries of dependencies beside the tests.
        let test = std::env::current_exe().expect("the test's own path");
        std::fs::create_dir(&drivers).expect("a folder");
        std::fs::copy(test.with_file_name("libisobath_stand_in_driver.so"), drivers.join("libcuda.so"))
            .expect("a copy");
    }
    let mut program = command(folder, line);
    program.env("LD_LIBRARY_PATH", &drivers).env("ISOBATH_STAND_IN", scenario).env("XDG_CACHE_HOME", folder);
    program.output().expect("the program starts")
}

#[test]
fn a_step_is_profiled_with_the_clock_of_the_gpu() {
    let place = workplace();
    let line = "profile --device cuda --nodes 20 --frames 4 --channels 8 --steps 2";
    let output = on_stand_in(place.path(), line, "");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["stand-in for a GPU (compute capability 6.1", "temporal_block_backward", "adam", "training step: "] {
        assert!(said.contains(words), "no {words} in {said}");
    }
}

#[test]
fn a_training_says_which_kernel_lost_the_gpu_and_what_is_left() {
    let place = workplace();
    let line = "train stddm --data sst.nc --config small.toml --device cuda -o run";
    let output = on_stand_in(place.path(), line, "memory:1000000");
    expect_sentence(line, &output, 2, &["out of memory", "1000000 bytes", "make the batch smaller"]);
    let output = on_stand_in(place.path(), line, "fault:adam");
    expect_sentence(
        line,
        &output,
        3,
        &["cuda was lost: kernel adam", "blocks of 256x1x1 threads", "no weights were written yet"],
    );
    let output = on_stand_in(place.path(), line, "old-driver");
    expect_sentence(line, &output, 2, &["the driver is too old", "11.4", "--device cpu"]);
}
