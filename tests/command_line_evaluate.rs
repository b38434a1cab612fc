//! `isobath hide` and `isobath evaluate` as a user runs them.

use std::path::Path;
use std::process::Command;

use isobath_engine::weights::Weights;
use isobath_train::data::cf_write::{Output, OutputVariable};
use isobath_train::data::heldout::HeldOut;
use isobath_train::data::netcdf;
use serde_json::Value;

/// The sample that the demo carries: 54 months without gaps at sea.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/ostia_pacific_monthly.nc");
const SETTINGS: &str = "[model]\nchannels = 4\nprototypes = 2\nsteps = 5\n\
    [train]\nwindow = 6\nbatch = 4\nepochs = 1\n[impute]\nsamples = 3\n";
const DATA: &str = "--data sst.nc --var surface_temperature";
const BASELINES: [&str; 5] =
    ["monthly climatology", "linear interpolation", "window mean", "DINEOF", "optimal interpolation"];

fn isobath(folder: &Path, line: &str) -> std::process::Output {
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

/// What the command says, on standard output and on standard error.
fn succeeds(folder: &Path, line: &str) -> [String; 2] {
    let output = isobath(folder, line);
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8_lossy(&said).into_owned());
    assert!(output.status.success(), "isobath {line}: {}", said[1]);
    said
}

/// The command ends with 2 and says all of `words`.
fn refuses(folder: &Path, line: &str, words: &[&str]) {
    let output = isobath(folder, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "isobath {line}: {said}");
    words.iter().for_each(|word| assert!(said.contains(word), "isobath {line}: no {word:?} in {said}"));
}

/// The rows of a table that was written as JSON.
fn rows(folder: &Path, name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join(name)).expect("a table");
    let table: Value = serde_json::from_str(&text).expect("JSON");
    table["rows"].as_array().expect("rows").clone()
}

/// The rows without the times they took.
fn timeless(mut rows: Vec<Value>) -> Vec<Value> {
    rows.iter_mut().for_each(|row| row["seconds"] = Value::Null);
    rows
}

#[test]
fn baselines_are_scored_without_a_model_and_a_seed_names_the_cells() {
    let place = workplace();
    let folder = place.path();
    succeeds(folder, &format!("evaluate {DATA} --hide 0.5,0.1 --seed 1 --window 18 --json drawn.json"));
    let drawn = rows(folder, "drawn.json");
    let methods: Vec<&str> = drawn.iter().filter_map(|row| row["method"].as_str()).collect();
    assert_eq!(methods, [BASELINES, BASELINES].concat());
    assert_eq!((drawn[0]["rate"].as_f64(), drawn[5]["rate"].as_f64()), (Some(0.1), Some(0.5)));
    for row in &drawn {
        let mae = row["mae"].as_f64().expect("a number");
        // Kelvin; seasons and months in a row tell a temperature of the open ocean to a degree or two.
        assert!((0.05..2.0).contains(&mae), "{row}");
        // Optimal interpolation alone knows how far off it may be.
        let coverage = row["interval_90"]["coverage"].as_f64();
        let knows = row["method"] == "optimal interpolation";
        assert!(coverage.is_some() == knows && coverage.is_none_or(|c| (0.7..0.99).contains(&c)), "{row}");
    }
    // The same cells from an archive give the same table, another seed another one.
    let [said, _] = succeeds(folder, &format!("hide {DATA} --rate 0.1,0.5 --seed 1 --window 18 -o held.npz"));
    assert!(said.contains("3 windows of 18 frames in held.npz"), "{said}");
    succeeds(folder, &format!("evaluate {DATA} --heldout held.npz --json archive.json"));
    assert_eq!(timeless(rows(folder, "archive.json")), timeless(drawn.clone()));
    succeeds(folder, &format!("evaluate {DATA} --hide 0.1,0.5 --seed 2 --window 18 --json other.json"));
    assert_ne!(timeless(rows(folder, "other.json")), timeless(drawn));
}

#[test]
fn a_training_without_the_hidden_cells_reads_none_of_them() {
    let place = workplace();
    let folder = place.path();
    succeeds(folder, &format!("hide {DATA} --rate 0.5 -o held.npz"));
    // The same record with nonsense in the hidden cells must give the same weights.
    let field = netcdf::read(&folder.join("sst.nc"), "surface_temperature").expect("a field");
    let held = HeldOut::read(&folder.join("held.npz")).expect("an archive");
    let hidden = held.mask.scatter(&held.hidden(field.frames, None).expect("windows within"), false);
    let spoilt: Vec<f32> = field.values.iter().zip(&hidden).map(|(v, hidden)| if *hidden { 1.0 } else { *v }).collect();
    for (name, values) in [("whole.nc", &field.values), ("spoilt.nc", &spoilt)] {
        let mut output = Output::like(&field, String::new(), String::new(), String::new());
        let (name_of, long_name) = (field.name.clone(), String::from("temperature"));
        let variable = OutputVariable { name: name_of, long_name, standard_name: None, units: None, values };
        output.variables.push(variable);
        output.write(&folder.join(name)).expect("a file");
    }

    let train = |data: &str, out: &str| {
        let line = format!("train stddm --data {data} --var surface_temperature --config small.toml");
        succeeds(folder, &format!("{line} --heldout held.npz -o {out}"))
    };
    let [_, said] = train("whole.nc", "run");
    assert!(said.contains("cells of the training frames withheld for evaluation"), "{said}");
    train("spoilt.nc", "spoilt");
    let open = |name: &str| Weights::open(folder.join(name)).expect("weights");
    let (run, spoilt) = (open("run/stddm.safetensors"), open("spoilt/stddm.safetensors"));
    assert_eq!(run.metadata(), spoilt.metadata(), "hidden cells reach the statistics");
    for name in run.names() {
        let bits =
            |file: &Weights| file.to_f32(&name).expect("an array").into_iter().map(f32::to_bits).collect::<Vec<_>>();
        assert!(bits(&run) == bits(&spoilt), "hidden cells reach {name}");
    }

    let evaluate = "evaluate --data whole.nc --weights run --json table.json";
    let [said, warned] = succeeds(folder, &format!("{evaluate} --heldout held.npz"));
    assert!(said.contains("in 90 %") && !warned.contains("flatter"), "{said}{warned}");
    let table = rows(folder, "table.json");
    assert_eq!((table.len(), table[0]["method"].as_str()), (1 + BASELINES.len(), Some("stddm")));
    let coverage = table[0]["interval_90"]["coverage"].as_f64().expect("samples have an interval");
    assert!((0.0..=1.0).contains(&coverage) && table[0]["seconds"].as_f64() > Some(0.0), "{table:?}");
    let [_, warned] = succeeds(folder, &format!("{evaluate} --hide 0.5 --seed 7"));
    assert!(warned.contains("flatter"), "{warned}");
}

/// What the script of a page reads.
fn page(folder: &Path, name: &str) -> Value {
    let text = std::fs::read_to_string(folder.join(name)).expect("a page");
    let (_, data) = text.split_once("type=\"application/json\">").expect("the data");
    serde_json::from_str(data.split_once("</script>").expect("their end").0).expect("JSON")
}

#[test]
fn reports_show_the_model_or_else_the_nearest_baseline() {
    let place = workplace();
    let folder = place.path();
    succeeds(folder, &format!("evaluate {DATA} --hide 0.5 --window 27 --report baseline.html --json table.json"));
    let shown = page(folder, "baseline.html");
    let windows = shown["views"].as_array().expect("views");
    assert_eq!(windows.len(), 2, "54 frames are two windows of 27");
    for view in windows {
        let name = view["estimateName"].as_str().unwrap_or_default();
        assert!(BASELINES.iter().any(|method| name == format!("imputed ({method})")), "{name}");
        assert!(view["truth"].is_object() && view["spread"].is_null() && view["low"].is_null());
    }
    assert_eq!((&shown["loss"], &shown["embedding"]), (&Value::Array(Vec::new()), &Value::Null));

    succeeds(folder, &format!("train stddm {DATA} --config small.toml -o run"));
    succeeds(folder, "evaluate --data sst.nc --weights run --hide 0.5 --report model.html --plots pictures");
    let shown = page(folder, "model.html");
    assert_eq!(shown["views"][0]["estimateName"], "imputed (median)");
    assert!(shown["views"][0]["spread"].is_object() && shown["views"][0]["low"].is_object());
    assert_eq!(shown["embedding"]["maps"].as_array().map(Vec::len), Some(2), "a map for each prototype");
    assert!(folder.join("pictures/embedding.png").is_file() && folder.join("pictures/loss.png").is_file());
    let text = std::fs::read_to_string(folder.join("model.html")).expect("a page");
    assert!(["STDDM", "DINEOF", "In 90 %"].iter().all(|word| text.contains(word)), "the score table");

    succeeds(folder, "impute --data sst.nc --weights run -o imputed.nc --report imputed.html");
    assert!(page(folder, "imputed.html")["views"][0]["truth"].is_null());
}

#[test]
fn wrong_requests_are_refused_and_leave_no_file() {
    let place = workplace();
    let folder = place.path();
    refuses(folder, &format!("evaluate {DATA}"), &["--heldout", "--hide"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --heldout held.npz"), &["cannot be used with"]);
    refuses(folder, "evaluate --data sst.nc --hide 0.5", &["--var"]);
    refuses(folder, &format!("evaluate {DATA} --hide 1.5"), &["sst.nc", "above 0 and below 1, found 1.5"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --window 0"), &["sst.nc", "window = 0"]);
    refuses(folder, &format!("evaluate {DATA} --heldout none.npz"), &["none.npz", "no such file"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --json absent/table.json"), &["absent"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --report absent/page.html"), &["absent"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --report sst.nc"), &["sst.nc", "an HTML page"]);
    refuses(folder, &format!("evaluate {DATA} --hide 0.5 --plots small.toml/pictures"), &["small.toml"]);
    refuses(folder, &format!("hide {DATA} --rate nan -o held.npz"), &["above 0 and below 1, found NaN"]);
    refuses(folder, &format!("hide {DATA} --rate 0.5 -o absent/held.npz"), &["absent"]);
    refuses(folder, "hide --data sst.nc --var sst --rate 0.5 -o held.npz", &["`sst` not found"]);
    assert!(!folder.join("held.npz").exists(), "a refused command left a file");
    // Cells of another grid.
    succeeds(folder, &format!("hide {DATA} --rate 0.5 -o held.npz"));
    let mut field = netcdf::read(&folder.join("sst.nc"), "surface_temperature").expect("a field");
    field.latitude.pop();
    field.height -= 1;
    field.values = vec![300.0; field.frames * field.height * field.width];
    let mut output = Output::like(&field, String::new(), String::new(), String::new());
    let (name, long_name) = (field.name.clone(), String::from("temperature"));
    output.variables.push(OutputVariable { name, long_name, standard_name: None, units: None, values: &field.values });
    output.write(&folder.join("narrow.nc")).expect("a file");
    let narrow = "train stddm --data narrow.nc --var surface_temperature --config small.toml -o run --heldout held.npz";
    refuses(folder, narrow, &["narrow.nc", "17 x 100 pixels, found 18 x 100"]);
    assert!(!folder.join("run").exists(), "a refused command left a folder");
}
