//! What the commands do when all is well.

use super::{bits, refuses, succeeds, workplace};

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
    refuses(folder, "impute --data sst.nc --weights run -o sst.nc", &["sst.nc", "another file"]);
    refuses(folder, "impute --data sst.nc --weights run -o out.toml", &["out.toml", "a NetCDF file"]);
    refuses(folder, "impute --data sst.nc --weights run -o run", &["run", "found a folder"]);
}

#[test]
fn a_resumed_training_ends_with_the_same_bits() {
    let place = workplace();
    let folder = place.path();
    let train = |rest: &str| format!("train stddm --data sst.nc --config small.toml {rest}");
    succeeds(folder, &train("--epochs 3 -o whole --schedule constant"));
    succeeds(folder, &train("--epochs 1 -o parts --schedule constant"));
    succeeds(folder, &train("--epochs 3 -o parts --schedule constant --resume"));
    let weights = |name: &str| bits(&folder.join(name).join("stddm.safetensors"));
    assert!(weights("whole") == weights("parts"), "the weights differ");
    let read = |name: &str| std::fs::read(folder.join(name)).expect("a file");
    assert!(read("whole/metrics.jsonl") == read("parts/metrics.jsonl"), "the metrics differ");
    refuses(folder, &train("--epochs 3 --batch 5 -o parts --schedule constant --resume"), &["batch = 4", "batch = 5"]);
}

#[test]
fn validation_keeps_the_weights_of_the_best_epoch() {
    let place = workplace();
    let folder = place.path();
    let train = "train stddm --data sst.nc --config small.toml --schedule constant --validation-frames 9 --patience 3";
    succeeds(folder, &format!("{train} --epochs 12 -o run"));
    let text = std::fs::read_to_string(folder.join("run/metrics.jsonl")).expect("metrics");
    let steps = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    let errors: Vec<f64> = steps.filter_map(|step| step["validation"].as_f64()).collect();
    let best = (0..errors.len()).min_by(|a, b| errors[*a].total_cmp(&errors[*b])).expect("an epoch");
    assert_eq!(errors.len(), 12.min(best + 1 + 3), "{errors:?}");
    assert!(!folder.join("run/best.safetensors").exists());
    // The frames that validate tell nothing else: a training of so many epochs ends with the same weights.
    succeeds(folder, &format!("{train} --epochs {} -o short", best + 1));
    let weights = |name: &str| bits(&folder.join(name).join("stddm.safetensors"));
    assert!(weights("run") == weights("short"), "the weights differ");
    refuses(folder, &format!("{train} --window 46 -o new"), &["window = 46", "the training record has 45"]);
}

#[test]
fn a_demo_writes_what_it_says() {
    let place = tempfile::tempdir().expect("a folder");
    let (said, _) = succeeds(place.path(), "demo --epochs 1 --samples 2 -o shown");
    for file in ["imputed.nc", "maps.png", "series.png", "loss.png", "metrics.json", "config.toml"] {
        assert!(said.contains(file) && place.path().join("shown").join(file).exists(), "{file}");
    }
}
