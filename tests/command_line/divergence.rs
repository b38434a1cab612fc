//! A training that diverges says where, and leaves the weights that it had.

use netcdf_writer::NcWriteFormat;

use super::data_files::write;
use super::{SETTINGS, expect_sentence, isobath, succeeds, workplace};

#[test]
fn steps_too_long_end_the_training_with_step_rate_and_gradient() {
    let place = workplace();
    let folder = place.path();
    let with_rate = |rate: &str| {
        let settings = SETTINGS.replace("[train]", &format!("[train]\nlr = {rate}"));
        std::fs::write(folder.join("far.toml"), settings).expect("settings");
    };
    let line = "train stddm -o far --config far.toml --data sst.nc --epochs 6";
    with_rate("1e30");
    let words = ["diverged at step 1 (epoch 1)", "learning rate 1e30", "largest gradient NaN, in ", "no weights were"];
    expect_sentence(line, &isobath(folder, line), 2, &words);
    // Every unit is saturated: the loss is a number, and nothing moves any more.
    with_rate("1e6");
    let output = isobath(folder, line);
    let kept = isobath_engine::checkpoint::state(folder.join("far/stddm.safetensors")).expect("weights").step;
    let metrics = std::fs::read_to_string(folder.join("far/metrics.jsonl")).expect("metrics");
    let step = metrics.lines().count() - 1;
    let words = [
        &format!("diverged at step {step} (epoch ")[..],
        "no step of the epoch had a gradient",
        "learning rate 1e6, largest gradient 0e0, in ",
        &format!("far/stddm.safetensors keeps the weights after {kept} steps"),
    ];
    expect_sentence(line, &output, 2, &words);
    succeeds(folder, "impute --data sst.nc --weights far -o out.nc");
}

#[test]
fn values_however_large_and_pixels_that_never_change_do_not_diverge() {
    let place = workplace();
    let folder = place.path();
    let huge = |cell: usize| -> f32 { if cell.is_multiple_of(5) { 9e36 } else { -9e36 } };
    let still = |cell: usize| (cell % 12) as f32;
    for (name, value) in [("huge", &huge as &dyn Fn(usize) -> f32), ("still", &still)] {
        write(&folder.join("new.nc"), NcWriteFormat::Classic, &[("sst", "time lat lon", value)]);
        succeeds(folder, &format!("train stddm -o {name} --config small.toml --data new.nc --var sst"));
    }
}
