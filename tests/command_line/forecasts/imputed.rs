//! Forecasters on data sets that are imputed already.

use super::{CELLS, Field, MONTHS, chlorophyll, imputer, members, months, page, save, values, write};
use crate::{refuses, succeeds};

const TRAIN: &str = "train forecaster --data chl.nc --var chl --train-frames 27 --config forecaster.toml";
const FILES: &str = "--imputed a.nc b.nc c.nc";

/// As [`imputer`], with three imputed data sets in `a.nc`, `b.nc` and `c.nc`.
fn imputed() -> tempfile::TempDir {
    let place = imputer();
    for (file, seed) in [("a", 1), ("b", 2), ("c", 3)] {
        let line = format!("impute --data chl.nc --weights run --samples 1 --seed {seed} -o {file}.nc");
        succeeds(place.path(), &line);
    }
    place
}

#[test]
fn files_train_forecasters_and_fill_the_window_of_a_forecast() {
    let place = imputed();
    let folder = place.path();
    let (said, _) = succeeds(folder, &format!("{TRAIN} {FILES} -o cast"));
    assert!(said.contains("trained 3 forecasters in cast"), "{said}");
    let settings = std::fs::read_to_string(folder.join("cast/forecaster.toml")).expect("settings");
    assert!(settings.contains("members = 3") && settings.contains("train_frames = 27"), "{settings}");
    let cast = format!("forecast --data chl.nc --forecasters cast {FILES}");
    succeeds(folder, &format!("{cast} -o next.nc --report next.html"));
    let read = |variable: &str| values(folder, "next.nc", variable).values;
    let (low, middle, high) = (read("chl_low"), read("chl"), read("chl_high"));
    assert!((1..CELLS).all(|cell| 0.0 < low[cell] && low[cell] < middle[cell] && middle[cell] < high[cell]));
    let (text, _) = page(folder, "next.html");
    assert!(text.contains("a.nc, b.nc, c.nc") && !text.contains("# Imputer"), "what imputed is told");

    // Neither what was observed nor what comes after the training frames is taken from a file.
    let mut spoilt = values(folder, "a.nc", "chl");
    for (i, value) in spoilt.values.iter_mut().enumerate() {
        let seen = !chlorophyll(i / CELLS, i % CELLS).is_nan();
        *value = if i >= 27 * CELLS { f32::NAN } else { *value + f32::from(u8::from(seen)) };
    }
    save(&folder.join("spoilt.nc"), &spoilt);
    succeeds(folder, &format!("{TRAIN} --imputed spoilt.nc b.nc c.nc -o spoilt"));
    let whole = members(folder, "cast", 3);
    assert!(members(folder, "spoilt", 3) == whole);
    // What was missing is.
    succeeds(folder, &format!("{TRAIN} --imputed b.nc b.nc c.nc -o other"));
    let other = members(folder, "other", 3);
    assert!(other[0] != whole[0] && other[1..] == whole[1..]);
    succeeds(folder, &format!("{cast} --after 20 -o past.nc"));
    let line = "forecast --data chl.nc --forecasters cast --imputed b.nc b.nc c.nc --after 20 -o other.nc";
    succeeds(folder, line);
    assert!(values(folder, "past.nc", "chl").values[1..CELLS] != values(folder, "other.nc", "chl").values[1..CELLS]);

    // What a kill in the third member leaves.
    std::fs::remove_dir_all(folder.join("cast/member-02")).expect("removed");
    let words =
        ["cast/member-01/forecaster.safetensors", "what a file of the checksum", "imputed, now asked to resume"];
    refuses(folder, &format!("{TRAIN} --imputed a.nc a.nc c.nc -o cast --resume"), &words);
    let weights = "train forecaster --data chl.nc --weights run --config forecaster.toml -o cast --resume";
    refuses(folder, weights, &["cast/member-00/forecaster.safetensors", "now asked to resume with weights"]);
    succeeds(folder, &format!("{TRAIN} {FILES} -o cast --resume"));
    assert!(members(folder, "cast", 3) == whole);

    // Weights of the same training frames impute for them too.
    let (table, _) = succeeds(folder, "evaluate-forecast --data chl.nc --weights run --forecasters cast");
    assert!(table.contains("7 forecasts of 3 frames") && table.contains("\nSTIMP"), "{table}");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let place = imputed();
    let folder = place.path();
    let train = |files: &str| format!("{TRAIN} -o cast --imputed {files}");
    let gappy = ["chl.nc", "expected a value in every sea cell", "of 297 without, the first on 2001-01-16"];
    refuses(folder, &train("a.nc chl.nc"), &gappy);
    refuses(folder, &train("none.nc"), &["none.nc", "no such file"]);
    refuses(folder, &train("sst.nc"), &["sst.nc", "`chl` not found", "surface_temperature"]);
    let field = values(folder, "a.nc", "chl");
    let latitude = field.latitude.iter().map(|latitude| latitude + 10.0).collect();
    save(&folder.join("north.nc"), &Field { latitude, ..field.clone() });
    let words =
        ["north.nc", "the data have a grid of 3 x 4 (latitude 20.000", "the file has a grid of 3 x 4 (latitude 30.000"];
    refuses(folder, &train("a.nc north.nc"), &words);
    write(&folder.join("short.nc"), &months(20), |_, _| 1.0);
    let words = ["short.nc", "a frame of 2002-09-16", "none among 20 of 2001-01-16 to 2002-08-16"];
    refuses(folder, &train("short.nc b.nc"), &words);
    let line = "train forecaster --data chl.nc --config forecaster.toml -o cast";
    refuses(folder, line, &["--weights", "--imputed", "found none"]);
    refuses(folder, &format!("{line} --imputed a.nc b.nc"), &["--var", "no --weights", "found none"]);
    refuses(folder, &format!("{line} --var chl --train-frames 40 {FILES}"), &["chl.nc", "1 to 36 frames, found 40"]);

    succeeds(folder, &format!("{TRAIN} --epochs 1 {FILES} -o cast"));
    let cast = |rest: &str| format!("forecast --data chl.nc --forecasters cast -o next.nc {rest}");
    refuses(folder, &cast(""), &["--weights", "--imputed", "found none"]);
    refuses(folder, &cast("--imputed a.nc b.nc"), &["--imputed", "3 files, one for each forecaster", "found 2"]);
    refuses(folder, &cast("--imputed a.nc b.nc chl.nc"), &["chl.nc", "expected a value in every sea cell"]);
    refuses(folder, &cast(&format!("{FILES} --method persistence --var chl")), &["persistence needs no"]);
    write(&folder.join("longer.nc"), &months(MONTHS + 1), chlorophyll);
    let line = format!("forecast --data longer.nc --forecasters cast {FILES} -o next.nc");
    refuses(folder, &line, &["a.nc", "a frame of 2004-01-16", "none among 36"]);
    let line = format!("forecast --data chl.nc --forecasters cast {FILES} -o b.nc");
    refuses(folder, &line, &["b.nc", "another file to write"]);
}
