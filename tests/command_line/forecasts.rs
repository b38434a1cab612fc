//! Forecasters, their forecasts and the whole pipeline.

use std::path::Path;

use isobath_train::data::cf_write::{Output, OutputVariable};
use isobath_train::data::netcdf::{self, Field};
use isobath_train::data::time::TimeAxis;

use serde_json::{Value, json};

use super::{bits, isobath, refuses, succeeds, workplace};

mod baselines;
mod imputed;

const MONTHS: usize = 36;
const CELLS: usize = 12;
const FORECASTERS: &str = "[model]\nframes = 6\nhorizon = 3\nchannels = 4\nprototypes = 2\n\
    [train]\nepochs = 3\nbatch = 4\nlr = 0.01\nvalidation_frames = 6\ncheckpoint_every = 1\n[ensemble]\nmembers = 3\n";
const TRAIN: &str = "train forecaster --data chl.nc --weights run --config forecaster.toml";

/// A yearly wave over 3 x 4 pixels with land in a corner and a fifth of the cells missing.
fn chlorophyll(frame: usize, cell: usize) -> f32 {
    match (cell, (frame * 7 + cell * 5) % 11) {
        (0, _) | (_, 0 | 4) => f32::NAN,
        _ => 10f32.powf(((frame as f32 + cell as f32 / 4.0) / 12.0 * std::f32::consts::TAU).sin() / 2.0),
    }
}

/// Writes frames at these days since 2001-01-01.
fn write(path: &Path, days: &[f64], value: impl Fn(usize, usize) -> f32) {
    let values: Vec<f32> = (0..days.len() * CELLS).map(|i| value(i / CELLS, i % CELLS)).collect();
    let field = Field {
        name: "chl".into(),
        long_name: Some("chlorophyll".into()),
        standard_name: None,
        units: Some("mg m-3".into()),
        values,
        frames: days.len(),
        height: 3,
        width: 4,
        time: TimeAxis::decode(days.to_vec(), "days since 2001-01-01", "standard").expect("an axis"),
        latitude: vec![20.0, 21.0, 22.0],
        longitude: vec![10.0, 11.0, 12.0, 13.0],
        dimensions: ["time", "lat", "lon"].map(String::from),
        attributes: Vec::new(),
    };
    save(path, &field);
}

fn save(path: &Path, field: &Field) {
    let mut output = Output::like(field, String::new(), String::new(), String::new());
    let (name, long_name) = (field.name.clone(), String::from("chlorophyll"));
    output.variables.push(OutputVariable {
        name,
        long_name,
        standard_name: None,
        units: field.units.clone(),
        values: &field.values,
    });
    output.write(path).expect("a file");
}

/// The 16th of each of so many months since January 2001, in days since then.
fn months(count: usize) -> Vec<f64> {
    const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
    let day = |month: usize| {
        let (year, leap) = ((month / 12) as u32, (month > 37) as u32);
        f64::from(365 * year + BEFORE[month % 12] + leap + 15)
    };
    (0..count).map(day).collect()
}

/// A workplace with three years of months in `chl.nc` and settings of small forecasters.
fn record() -> tempfile::TempDir {
    let place = workplace();
    write(&place.path().join("chl.nc"), &months(MONTHS), chlorophyll);
    std::fs::write(place.path().join("forecaster.toml"), FORECASTERS).expect("settings");
    place
}

/// As [`record`], with an imputer in `run` that was trained on the first 27 months.
fn imputer() -> tempfile::TempDir {
    let place = record();
    succeeds(place.path(), "train stddm --config small.toml --data chl.nc --var chl --train-frames 27 -o run");
    place
}

fn values(folder: &Path, file: &str, variable: &str) -> Field {
    netcdf::read(&folder.join(file), variable).expect("a field")
}

/// The bits of every array, and the metrics.
type Member = (Vec<(String, Vec<u32>)>, Vec<u8>);

/// All members of a training.
fn members(folder: &Path, run: &str, count: usize) -> Vec<Member> {
    let member = |i: usize| {
        let place = folder.join(run).join(format!("member-{i:02}"));
        let metrics = std::fs::read(place.join("metrics.jsonl")).expect("metrics");
        (bits(&place.join("forecaster.safetensors")), metrics)
    };
    (0..count).map(member).collect()
}

#[test]
fn a_forecast_follows_the_record_with_an_interval() {
    let place = imputer();
    let folder = place.path();
    let (said, _) = succeeds(folder, &format!("{TRAIN} -o cast"));
    assert!(said.contains("trained 3 forecasters in cast"), "{said}");
    let settings = std::fs::read_to_string(folder.join("cast/forecaster.toml")).expect("settings");
    assert!(settings.contains("members = 3") && settings.contains("train_frames = 27"), "{settings}");

    let cast = "forecast --data chl.nc --weights run --forecasters cast";
    let (said, _) = succeeds(folder, &format!("{cast} -o next.nc --report next.html --plots next"));
    assert!(said.contains("forecast 3 frames, 2004-01-16 to 2004-03-16; wrote next.nc"), "{said}");
    let read = |variable: &str| values(folder, "next.nc", variable).values;
    let (low, middle, high) = (read("chl_low"), read("chl"), read("chl_high"));
    let [within, between, total] = ["within", "between", "total"].map(|kind| read(&format!("chl_std_{kind}")));
    assert_eq!(values(folder, "next.nc", "chl_std_total").units.as_deref(), Some("lg(re 1 mg m-3)"));
    for cell in 0..3 * CELLS {
        if cell % CELLS == 0 {
            assert!(middle[cell].is_nan() && total[cell].is_nan());
            continue;
        }
        assert!(0.0 < low[cell] && low[cell] < middle[cell] && middle[cell] < high[cell], "{cell}");
        // The interval is symmetric on the scale of the logarithms.
        assert!((low[cell] * high[cell] / middle[cell].powi(2) - 1.0).abs() < 1e-3, "{cell}");
        let sum = within[cell].powi(2) + (1.0 + 1.0 / 3.0) * between[cell].powi(2);
        assert!((sum.sqrt() / total[cell] - 1.0).abs() < 1e-4, "{cell}");
    }
    succeeds(folder, &format!("{cast} --band --horizon 2 --after 2002-06-30 -o band.nc"));
    let band = values(folder, "band.nc", "chl_high");
    assert_eq!((band.frames, band.time.dates[0].to_string()), (2, "2002-07-16".into()));
    let between = values(folder, "band.nc", "chl_std_between").values[CELLS - 1];
    let ratio = band.values[CELLS - 1] / values(folder, "band.nc", "chl").values[CELLS - 1];
    assert!((ratio.log10() - between).abs() < 1e-4, "{ratio} {between}");

    let line = "evaluate-forecast --data chl.nc --weights run --forecasters cast --json scores.json --report held.html";
    let (table, _) = succeeds(folder, line);
    assert!(table.contains("7 forecasts of 3 frames, 2003-04-16 to 2003-12-16"), "{table}");
    let text = std::fs::read_to_string(folder.join("scores.json")).expect("scores");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    let rows = json["rows"].as_array().expect("rows");
    let methods: Vec<&str> = rows.iter().filter_map(|row| row["method"].as_str()).collect();
    assert_eq!(methods, ["STIMP", "persistence", "seasonal persistence", "monthly climatology"]);
    assert!(rows.iter().all(|row| row["cells"] == rows[0]["cells"] && table.contains(row["method"].as_str().unwrap())));
    // The wave comes back each year, without noise where it was seen.
    assert!(rows[2]["mae"].as_f64() < Some(0.1) && rows[3]["mae"].as_f64() < Some(0.1), "{rows:?}");
    assert!(rows[1]["mae"].as_f64() > Some(0.2) && rows[1]["interval_90"].is_null(), "{rows:?}");
    let line =
        "evaluate-forecast --data chl.nc --var chl --horizon 3 --train-frames 27 --json alone.json --report alone.html";
    let (alone, _) = succeeds(folder, line);
    let row = |table: &str| table.lines().find(|line| line.starts_with("persistence")).expect("a row")[..60].to_owned();
    assert!(row(&alone) == row(&table) && !alone.contains("\nSTIMP"), "{alone}");
    let coverage = rows[0]["interval_90"]["coverage"].as_f64().expect("an interval");
    assert!((0.5..=1.0).contains(&coverage) && rows[0]["lead_mae"].as_array().expect("leads").len() == 3, "{rows:?}");

    let (text, shown) = page(folder, "next.html");
    let view = &shown["views"][0];
    assert!(view["dates"][8] == json!([2004, 3, 16, 0, 0]) && view["forecast"] == 6, "{view}");
    assert!(view["intervalName"] == "90 % interval" && view["low"].is_object() && view["truth"].is_null(), "{view}");
    assert_eq!(shown["loss"][0]["validation"].as_array().map(Vec::len), Some(3), "three epochs were validated");
    assert!(view["deviation"].is_object() && view["spread"].is_null() && shown["scales"]["width"].is_object());
    let label = &shown["scales"]["deviation"]["label"];
    assert_eq!(label, "standard deviation in total, log₁₀ mg m⁻³");
    for words in ["Residual variance", "one frame ahead", "90 % interval", "# Forecasters"] {
        assert!(text.contains(words), "no {words:?} on the page");
    }
    assert!(folder.join("next/loss.png").is_file() && folder.join("next/maps-2004-03-16-frame-8.png").is_file());
    let (text, shown) = page(folder, "held.html");
    assert!(shown["views"][0]["dates"][6] == json!([2003, 10, 16, 0, 0]) && shown["views"][0]["truth"].is_object());
    assert!(shown["views"][0]["deviation"].is_object() && shown["scales"]["deviation"]["label"] == *label);
    assert!(["by frames ahead", "seasonal persistence", "In 90 %"].iter().all(|words| text.contains(words)));
    let (_, shown) = page(folder, "alone.html");
    assert!(shown["views"][0]["deviation"].is_null() && shown["scales"]["width"].is_null());
    let method = shown["views"][0]["estimateName"].as_str().expect("a method");
    assert!(["forecast (seasonal persistence)", "forecast (monthly climatology)"].contains(&method), "{method}");
}

/// A page and what its script reads.
fn page(folder: &Path, name: &str) -> (String, Value) {
    let text = std::fs::read_to_string(folder.join(name)).expect("a page");
    let (_, data) = text.split_once("type=\"application/json\">").expect("the data");
    let data = serde_json::from_str(data.split_once("</script>").expect("their end").0).expect("JSON");
    (text, data)
}

#[test]
fn neither_training_nor_forecast_sees_what_comes_after() {
    let place = imputer();
    let folder = place.path();
    let changed = |from: usize| move |frame, cell| if frame < from { chlorophyll(frame, cell) } else { 7.0 };
    write(&folder.join("other.nc"), &months(MONTHS), changed(27));
    succeeds(folder, &format!("{TRAIN} -o cast"));
    succeeds(folder, "train forecaster --data other.nc --weights run --config forecaster.toml -o other");
    assert!(members(folder, "cast", 3) == members(folder, "other", 3), "held-out frames reach a training");
    write(&folder.join("later.nc"), &months(MONTHS), changed(30));
    for data in ["chl", "later"] {
        succeeds(
            folder,
            &format!("forecast --data {data}.nc --weights run --forecasters cast --after 29 -o {data}30.nc"),
        );
    }
    let read = |file: &str| values(folder, file, "chl_high").values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    assert!(read("chl30.nc") == read("later30.nc"), "frames that are forecast reach the forecast");
}

/// Starts a training of three members in `cast`, and kills it in the second.
#[cfg(unix)]
fn kill_in_the_second_member(folder: &Path, line: &str) {
    let mut training = super::command(folder, &format!("{line} -o cast")).spawn().expect("the program starts");
    let second = folder.join("cast/member-01/forecaster.safetensors");
    let begin = std::time::Instant::now();
    while !second.exists() {
        assert!(begin.elapsed().as_secs() < 60, "no second member");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    training.kill().expect("killed");
    training.wait().expect("an end");
    assert!(!folder.join("cast/member-02").exists(), "too late to tell");
}

#[cfg(unix)]
#[test]
fn an_ensemble_killed_in_a_later_member_goes_on_with_the_same_bits() {
    let place = imputer();
    let folder = place.path();
    let line = format!("{TRAIN} --epochs 60 --patience 60");
    succeeds(folder, &format!("{line} -o whole"));
    kill_in_the_second_member(folder, &line);
    let cast = "forecast --data chl.nc --weights run --forecasters cast -o next.nc";
    refuses(folder, cast, &["cast/member-01/forecaster.safetensors", "whose training is done", "--resume"]);
    let (_, said) = succeeds(folder, &format!("{line} -o cast --resume"));
    assert!(said.contains("forecaster 1 of 3 is trained already"), "{said}");
    assert!(members(folder, "cast", 3) == members(folder, "whole", 3), "the weights or the metrics differ");
    // More members leave the others as they are.
    succeeds(folder, &format!("{line} -o cast --members 4 --resume"));
    assert!(members(folder, "cast", 4)[..3] == members(folder, "whole", 3)[..]);
    refuses(folder, &format!("{TRAIN} --epochs 9 --patience 60 -o cast --resume"), &["epochs = 60", "epochs = 9"]);
}

#[cfg(unix)]
#[test]
fn an_ensemble_killed_in_a_refit_goes_on_with_the_same_bits() {
    let place = imputer();
    let folder = place.path();
    let line = format!("{TRAIN} --epochs 60 --patience 60 --refit");
    let (_, said) = succeeds(folder, &format!("{line} -o whole"));
    assert_eq!(said.matches("as many afresh on all training frames").count(), 3, "{said}");
    kill_in_the_second_member(folder, &line);
    succeeds(folder, &format!("{line} -o cast --resume"));
    assert!(members(folder, "cast", 3) == members(folder, "whole", 3), "the weights or the metrics differ");
    // Between choosing the length and the refit.
    for name in ["forecaster.safetensors", "metrics.jsonl"] {
        std::fs::remove_file(folder.join("cast/member-00").join(name)).expect("removed");
    }
    succeeds(folder, &format!("{line} -o cast --resume"));
    assert!(members(folder, "cast", 3) == members(folder, "whole", 3));
    let cast = "forecast --data chl.nc --weights run --forecasters cast -o next.nc --report next.html";
    succeeds(folder, cast);
    assert!(page(folder, "next.html").0.contains("on validation frames"), "the interval is that of held-out frames");
    refuses(folder, &format!("{TRAIN} --validation-frames 0 --refit -o new"), &["train.refit", "found 0"]);
}

#[test]
fn one_command_does_it_all_and_goes_on() {
    let place = record();
    let folder = place.path();
    let line = "stimp --data chl.nc --var chl --horizon 3 --train-frames 27 --config small.toml --forecaster-config \
                forecaster.toml -o all";
    let (said, _) = succeeds(folder, line);
    for words in ["On held-out frames the forecast is off by", "monthly climatology", "imputed.nc", "2004-01-16"] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
    for file in ["stddm/stddm.safetensors", "imputed.nc", "scores.json", "forecast.nc", "forecasters/forecaster.toml"] {
        assert!(folder.join("all").join(file).exists(), "{file}");
    }
    let (text, shown) = page(folder, "all/report.html");
    assert_eq!(shown["views"].as_array().map(Vec::len), Some(3), "filled, forecast and held-out forecast");
    assert!(["STDDM", "DINEOF", "STIMP", "seasonal persistence"].iter().all(|method| text.contains(method)));
    let curves: Vec<&str> =
        shown["loss"].as_array().expect("curves").iter().filter_map(|c| c["name"].as_str()).collect();
    assert_eq!(curves, ["imputer", "forecaster 1 of 3"]);
    assert!(shown["embedding"].is_object() && shown["views"][1]["low"].is_object());
    assert!((0..3).all(|view| shown["views"][view]["deviation"].is_object() == (view > 0)), "forecasts have one");
    let (first, forecast) = (members(folder, "all/forecasters", 3), values(folder, "all/forecast.nc", "chl"));
    refuses(folder, line, &["all/stddm/stddm.safetensors exists", "--resume"]);
    // What a kill in the third part leaves.
    std::fs::remove_dir_all(folder.join("all/forecasters/member-02")).expect("removed");
    std::fs::remove_file(folder.join("all/forecast.nc")).expect("removed");
    succeeds(folder, &format!("{line} --resume"));
    assert_eq!(page(folder, "all/report.html").1, shown, "what was filled is read back as it was");
    assert!(members(folder, "all/forecasters", 3) == first);
    let again = values(folder, "all/forecast.nc", "chl");
    assert!(again.values.iter().zip(&forecast.values).all(|(a, b)| a.to_bits() == b.to_bits()));
}

#[test]
fn what_cannot_be_forecast_is_refused() {
    let place = imputer();
    let folder = place.path();
    let train = |rest: &str| format!("{TRAIN} -o new {rest}");
    refuses(
        folder,
        &train("--horizon 36 --validation-frames 36"),
        &["chl.nc", "horizon", "less than the 36 frames", "found 36"],
    );
    refuses(folder, &train("--horizon 20 --validation-frames 20"), &["at least 46 training frames, found 27 of 36"]);
    refuses(folder, &train("--validation-frames 2"), &["train.validation_frames", "at least the horizon", "found 2"]);
    refuses(folder, &train("--members 0"), &["ensemble.members", "found 0"]);
    refuses(folder, "train forecaster --data chl.nc --weights none -o new", &["none", "no such file"]);
    refuses(folder, &train("--resume"), &["new/forecaster.toml", "no such file"]);
    refuses(folder, &format!("{TRAIN} -o chl.nc/new"), &["chl.nc/new", "expected a folder, found a file"]);
    for (content, words) in [
        ("[ensemble]\nmember = 2\n", &["wrong.toml, line 2", "unknown field `member`", "`members`"][..]),
        ("[model]\nheads = 3\n", &["configuration of the forecaster", "heads = 3"]),
    ] {
        std::fs::write(folder.join("wrong.toml"), content).expect("settings");
        refuses(folder, "train forecaster --data chl.nc --weights run --config wrong.toml -o new", words);
    }
    let irregular: Vec<f64> = (0..MONTHS).map(|i| (i * i + 3 * i) as f64).collect();
    write(&folder.join("odd.nc"), &irregular, chlorophyll);
    let words = ["odd.nc", "time axis", "4.000 days (frame 1, 2001-01-05) to 72.000 days (frame 35, "];
    refuses(folder, "train forecaster --data odd.nc --weights run --config forecaster.toml -o new", &words);
    refuses(folder, "stimp --data odd.nc --var chl --horizon 3 -o new", &words);
    refuses(folder, "stimp --data chl.nc --var chl --horizon 40 -o new", &["horizon", "36 frames", "found 40"]);
    refuses(folder, "stimp --data chl.nc --var chl --horizon 3 --members 1 -o new", &["--members", "at least 2"]);
    refuses(folder, "stimp --data chl.nc --var chl --horizon 3 --interval 1 -o new", &["--interval", "below 1"]);
    let words = ["chl.nc", "at least the horizon of 3 frames", "found 0"];
    refuses(folder, "stimp --data chl.nc --var chl --horizon 3 --train-frames 36 -o new", &words);

    succeeds(folder, &format!("{TRAIN} -o cast --epochs 1 --members 1"));
    let cast = |rest: &str| format!("forecast --data chl.nc --weights run --forecasters cast -o next.nc {rest}");
    refuses(folder, &cast(""), &["cast", "at least 2 forecasters for an interval, found 1", "--no-interval"]);
    succeeds(folder, &format!("{TRAIN} -o cast --epochs 1 --members 2 --resume"));
    refuses(folder, &cast("--interval 1.5"), &["--interval", "above 0 and below 1", "1.5"]);
    refuses(folder, &cast("--report chl.nc"), &["chl.nc", "an HTML page"]);
    refuses(folder, &cast("--horizon 4"), &["--horizon", "1 to 3 frames", "found 4"]);
    refuses(folder, &cast("--after 36"), &["chl.nc", "0 to 35", "found 36"]);
    refuses(folder, &cast("--after 3"), &["chl.nc", "from frame 4", "at least 6 frames before it"]);
    refuses(folder, &cast("--after soon"), &["chl.nc", "a date such as", "found soon"]);
    refuses(folder, &cast("--after 1999-01-01"), &["chl.nc", "from 2001-01-16 on"]);
    let elsewhere = "--weights run --forecasters cast -o absent/next.nc";
    refuses(folder, &format!("forecast --data chl.nc {elsewhere}"), &["absent", "no such file"]);
    let words = ["sst.nc", "trained on a grid of 3 x 4", "the file has a grid of 18 x 100"];
    let line = "forecast --data sst.nc --var surface_temperature --weights run --forecasters cast -o next.nc";
    refuses(folder, line, &words);
    // Forecasters of another imputer, and on another grid.
    succeeds(folder, "train stddm --config small.toml --data chl.nc --var chl --train-frames 26 --epochs 1 -o rerun");
    let line = "forecast --data chl.nc --weights rerun --forecasters cast -o next.nc";
    refuses(folder, line, &["cast/member-00/forecaster.safetensors", "imputed, those given are"]);
    succeeds(folder, "train stddm --config small.toml --data sst.nc --epochs 1 -o sst");
    let words = ["the forecaster was trained on 11 sea pixels of a grid of 3 x 4", "of a grid of 18 x 100"];
    refuses(folder, "forecast --data sst.nc --weights sst --forecasters cast -o next.nc", &words);
    // A file of a newer program.
    let path = folder.join("cast/member-01/forecaster.safetensors");
    let mut bytes = std::fs::read(&path).expect("weights");
    let at = bytes.windows(13).position(|window| window == br#""version":"1""#).expect("a version");
    bytes[at + 11] = b'2';
    std::fs::write(&path, bytes).expect("a file");
    refuses(folder, &cast(""), &["cast/member-01/forecaster.safetensors", "version 2 is newer than 1"]);
    refuses(folder, "evaluate-forecast --data chl.nc --weights run --forecasters none", &["none", "no such file"]);
    let evaluate = |rest: &str| format!("evaluate-forecast --data chl.nc --var chl {rest}");
    refuses(folder, &evaluate("--horizon 3 --train-frames 40"), &["chl.nc", "1 to 36 frames, found 40"]);
    refuses(folder, &evaluate("--horizon 10 --train-frames 27"), &["chl.nc", "the horizon of 10", "found 9"]);
    refuses(folder, &evaluate("--horizon 3 --train-frames 27 --json absent/scores.json"), &["absent"]);
}

#[test]
fn months_that_the_file_leaves_out_count_as_missing() {
    let place = record();
    let folder = place.path();
    let kept: Vec<usize> = (0..MONTHS).filter(|month| ![5, 17, 30].contains(month)).collect();
    let days: Vec<f64> = kept.iter().map(|month| months(MONTHS)[*month]).collect();
    write(&folder.join("some.nc"), &days, |frame, cell| chlorophyll(kept[frame], cell));
    succeeds(folder, "train stddm --config small.toml --data some.nc --var chl --train-frames 25 -o run");
    let (_, said) = succeeds(folder, "train forecaster --data some.nc --weights run --config forecaster.toml -o cast");
    let told = "steps of a month; 3 frames that the file leaves out count as wholly missing, the first of 2001-06-16";
    assert!(said.contains(told), "{said}");
    let output =
        isobath(folder, "forecast --data some.nc --weights run --forecasters cast --after 2003-07-20 -o next.nc");
    assert!(output.status.success());
    let next = values(folder, "next.nc", "chl");
    assert_eq!(next.time.dates[0].to_string(), "2003-08-16");
    assert!(next.values.iter().enumerate().all(|(cell, value)| (cell % CELLS == 0) == value.is_nan()));
}
