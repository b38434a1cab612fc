//! Trainings whose length validation frames tell, done afresh on all frames.

use std::path::Path;

use serde_json::Value;

use super::{bits, refuses, succeeds, workplace};

const TRAIN: &str =
    "train stddm --data sst.nc --config small.toml --schedule constant --validation-frames 6 --train-frames 20";

/// Epochs until the validation in a file of metrics was best.
fn best(path: &Path) -> usize {
    let text = std::fs::read_to_string(path).expect("metrics");
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a step"));
    let (mut least, mut epochs) = (f64::INFINITY, 0);
    for step in steps {
        let error = step["validation"].as_f64().unwrap_or(f64::INFINITY);
        if error < least {
            (least, epochs) = (error, step["epoch"].as_u64().expect("an epoch") as usize + 1);
        }
    }
    epochs
}

#[test]
fn a_refit_is_a_training_on_all_frames_for_the_epochs_that_were_best() {
    let place = workplace();
    let folder = place.path();
    let (said, told) = succeeds(folder, &format!("{TRAIN} --epochs 8 --patience 2 --refit -o run"));
    let epochs = best(&folder.join("run/selection/metrics.jsonl"));
    let words = format!("best on the validation frames after {epochs} epochs");
    assert!(said.contains("trained afresh on all training frames") && told.contains(&words), "{said}{told}");
    succeeds(
        folder,
        &format!("{TRAIN} --validation-frames 0 --epochs {epochs} -o plain").replacen("--validation-frames 6", "", 1),
    );
    let weights = |run: &str| bits(&folder.join(run).join("stddm.safetensors"));
    assert!(weights("run") == weights("plain"));
    assert!(!folder.join("run/selection/best.safetensors").exists());
    // What is done stays done, and is not begun anew by mistake.
    succeeds(folder, &format!("{TRAIN} --epochs 8 --patience 2 --refit -o run --resume"));
    assert!(weights("run") == weights("plain"));
    let line = format!("{TRAIN} --epochs 8 --patience 2 --refit -o plain");
    refuses(folder, &line, &["plain/stddm.safetensors exists", "--resume"]);
    let line = "train stddm --data sst.nc --config small.toml --refit -o none";
    refuses(folder, line, &["train.refit", "train.validation_frames above 0", "found 0"]);
    refuses(folder, &format!("{TRAIN} --epochs 8 --patience 2 -o run --resume"), &["refit = true", "refit = false"]);
}

#[cfg(unix)]
#[test]
fn a_refit_that_is_killed_goes_on_with_the_same_bits() {
    let place = workplace();
    let folder = place.path();
    let line = format!("{TRAIN} --epochs 10 --patience 10 --refit");
    succeeds(folder, &format!("{line} -o whole"));
    let whole = |name: &str| std::fs::read(folder.join("whole").join(name)).expect("a file");
    let steps = |run: &str| {
        let state = isobath_engine::checkpoint::state(folder.join(run).join("stddm.safetensors"));
        state.expect("a whole checkpoint").step
    };
    // In the refit: its checkpoint is there, and not yet its end.
    for (run, first) in [("early", "run/selection/stddm.safetensors"), ("late", "run/stddm.safetensors")] {
        let mut training = super::command(folder, &format!("{line} -o run")).spawn().expect("the program starts");
        let begin = std::time::Instant::now();
        while !folder.join(first).exists() {
            assert!(begin.elapsed().as_secs() < 60, "no {first}");
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        training.kill().expect("killed");
        training.wait().expect("an end");
        assert_eq!(folder.join("run/stddm.safetensors").exists(), run == "late");
        assert!(run == "early" || steps("run") < steps("whole"), "too late to tell");
        succeeds(folder, &format!("{line} -o run --resume"));
        assert!(bits(&folder.join("run/stddm.safetensors")) == bits(&folder.join("whole/stddm.safetensors")), "{run}");
        for name in ["metrics.jsonl", "selection/metrics.jsonl"] {
            assert!(std::fs::read(folder.join("run").join(name)).expect("metrics") == whole(name), "{run}: {name}");
        }
        std::fs::rename(folder.join("run"), folder.join(run)).expect("renamed");
    }
    // Between the two.
    for name in ["stddm.safetensors", "metrics.jsonl", "config.toml", "loss.png"] {
        std::fs::remove_file(folder.join("early").join(name)).expect("removed");
    }
    succeeds(folder, &format!("{line} -o early --resume"));
    assert!(bits(&folder.join("early/stddm.safetensors")) == bits(&folder.join("whole/stddm.safetensors")));
}
