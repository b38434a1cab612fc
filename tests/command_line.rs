//! The commands as a user runs them.

use std::path::Path;
use std::process::{Command, Output};

/// The sample that the demo carries.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/ostia_pacific_monthly.nc");
const SETTINGS: &str = "[data]\nvariable = \"surface_temperature\"\n\
    [model]\nchannels = 4\nprototypes = 2\nsteps = 5\n\
    [train]\nwindow = 6\nbatch = 4\nepochs = 2\ncheckpoint_every = 1\n[impute]\nsamples = 3\nstride = 6\n";

fn isobath(folder: &Path, line: &str) -> Output {
    let program =
        Command::new(env!("CARGO_BIN_EXE_isobath")).args(line.split_whitespace()).current_dir(folder).output();
    program.expect("the program starts")
}

/// A folder with the sample as `sst.nc` and small settings as `small.toml`.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::copy(SAMPLE, folder.path().join("sst.nc")).expect("the sample");
    std::fs::write(folder.path().join("small.toml"), SETTINGS).expect("settings");
    folder
}

fn succeeds(folder: &Path, line: &str) -> String {
    let output = isobath(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "isobath {line}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The command ends with 2 and one sentence that has all of `words`.
fn refuses(folder: &Path, line: &str, words: &[&str]) {
    let output = isobath(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "isobath {line}: {said}");
    let sentence = said.lines().last().unwrap_or_default();
    assert!(sentence.starts_with("isobath: "), "isobath {line}: {said}");
    words.iter().for_each(|word| assert!(sentence.contains(word), "isobath {line}: no {word:?} in {sentence}"));
}

#[test]
fn wrong_input_is_refused_in_one_sentence_and_nothing_is_written() {
    let place = workplace();
    let folder = place.path();
    let bytes = std::fs::read(SAMPLE).expect("the sample");
    std::fs::write(folder.join("cut.nc"), &bytes[..bytes.len() / 2]).expect("a file");
    std::fs::write(folder.join("text.nc"), "not a NetCDF file, whatever its name says").expect("a file");
    std::fs::write(folder.join("unknown.toml"), "[train]\nepoch = 2\n").expect("a file");
    std::fs::write(folder.join("wrong.toml"), "[train]\nlr = 0.1\nepochs = \"two\"\n").expect("a file");
    std::fs::write(folder.join("heads.toml"), "[model]\nheads = 3\n").expect("a file");
    let train = |rest: &str| format!("train stddm -o run {rest}");
    let sample = "--data sst.nc --var surface_temperature";
    refuses(folder, &train("--data none.nc --var sst"), &["none.nc", "no such file"]);
    refuses(folder, &train("--data text.nc --var sst"), &["text.nc", "expected a NetCDF file"]);
    refuses(folder, &train("--data cut.nc --var surface_temperature"), &["cut.nc", "truncated"]);
    refuses(folder, &train("--data sst.nc --var sst"), &["sst.nc", "`sst` not found", "surface_temperature"]);
    refuses(folder, &train("--data sst.nc --var latitude"), &["sst.nc", "latitude"]);
    refuses(folder, &train("--data sst.nc"), &["--var"]);
    refuses(folder, &train(&format!("{sample} --window 55")), &["sst.nc", "window = 55", "54"]);
    refuses(folder, &train(&format!("{sample} --train-frames 99")), &["sst.nc", "54", "99"]);
    refuses(folder, &train(&format!("{sample} --missing-rate 1.5")), &["train.missing_rate", "1.5"]);
    refuses(folder, &train(&format!("{sample} --config unknown.toml")), &["unknown.toml, line 2", "`epoch`"]);
    refuses(folder, &train(&format!("{sample} --config wrong.toml")), &["wrong.toml, line 3", "epochs = \"two\""]);
    refuses(folder, &train(&format!("{sample} --config heads.toml")), &["heads = 3"]);
    refuses(folder, &train(&format!("{sample} --resume")), &["stddm.safetensors", "no such file"]);
    assert!(!folder.join("run").exists(), "a refused command left a folder");
}

#[test]
fn a_record_is_trained_on_imputed_and_its_observed_cells_are_kept() {
    let place = workplace();
    let folder = place.path();
    succeeds(folder, "train stddm --data sst.nc --config small.toml -o run");
    for file in ["config.toml", "metrics.jsonl", "loss.png", "stddm.safetensors"] {
        assert!(folder.join("run").join(file).exists(), "{file}");
    }
    succeeds(folder, "impute --data sst.nc --weights run -o filled.nc --npy");
    let read = |name: &str, variable: &str| {
        isobath_train::data::netcdf::read(&folder.join(name), variable).expect("a field").values
    };
    let kept = read("sst.nc", "surface_temperature").into_iter().zip(read("filled.nc", "surface_temperature"));
    // The sample has no gaps at sea, and land stays land.
    kept.for_each(|(before, after)| assert_eq!(before.to_bits(), after.to_bits(), "{before} {after}"));
    assert!(folder.join("filled.npy").exists());

    refuses(folder, "train stddm --data sst.nc --config small.toml -o run", &["exists", "--resume"]);
    refuses(folder, "impute --data none.nc --weights run -o out.nc", &["none.nc"]);
    refuses(folder, "impute --data sst.nc --weights run -o absent/out.nc", &["absent"]);
    let weights = std::fs::read(folder.join("run/stddm.safetensors")).expect("weights");
    std::fs::write(folder.join("cut.safetensors"), &weights[..weights.len() - 9]).expect("a file");
    std::fs::write(folder.join("text.safetensors"), "nothing of the kind").expect("a file");
    refuses(folder, "impute --data sst.nc --weights cut.safetensors -o out.nc", &["cut.safetensors"]);
    refuses(folder, "impute --data sst.nc --weights text.safetensors -o out.nc", &["text.safetensors"]);
    assert!(!folder.join("out.nc").exists(), "a refused command left a file");
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    let place = workplace();
    let folder = place.path();
    let train = |rest: &str| format!("train stddm --data sst.nc --config small.toml {rest}");
    succeeds(folder, &train("--epochs 3 -o whole --schedule constant"));
    succeeds(folder, &train("--epochs 1 -o parts --schedule constant"));
    succeeds(folder, &train("--epochs 3 -o parts --schedule constant --resume"));
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert!(read("whole/stddm.safetensors") == read("parts/stddm.safetensors"), "the weights differ");
    assert!(read("whole/metrics.jsonl") == read("parts/metrics.jsonl"), "the metrics differ");
    refuses(folder, &train("--epochs 3 --batch 5 -o parts --schedule constant --resume"), &["batch = 4", "batch = 5"]);
}

#[test]
fn a_demo_writes_what_it_says() {
    let place = tempfile::tempdir().expect("a folder");
    let said = succeeds(place.path(), "demo --epochs 1 --samples 2 -o shown");
    for file in ["imputed.nc", "maps.png", "series.png", "loss.png", "metrics.json", "config.toml"] {
        assert!(said.contains(file) && place.path().join("shown").join(file).exists(), "{file}");
    }
}
