//! Records with peculiarities that are told and lived with.

use netcdf_writer::NcWriteFormat;

use super::data_files::{wave, write};
use super::{refuses, succeeds, workplace};

const TRAIN: &str = "train stddm -o run --config small.toml --batch 1 --epochs 1";

#[test]
fn concentrations_of_zero_or_less_are_counted_told_and_filled() {
    let place = workplace();
    let folder = place.path();
    // Three negative, two zero, one missing.
    let chl = |cell: usize| match cell {
        5 | 40 | 77 => -0.01,
        6 | 143 => 0.0,
        9 => f32::NAN,
        _ => wave(cell),
    };
    write(&folder.join("chl.nc"), NcWriteFormat::Classic, &[("chl", "time lat lon", &chl)]);
    let told = "5 values of zero or less have no logarithm and count as missing";
    let (_, said) = succeeds(folder, &format!("{TRAIN} --data chl.nc --var chl"));
    assert!(said.contains(told) && said.contains("in log10"), "{said}");
    let (result, said) = succeeds(folder, "impute --data chl.nc --weights run -o filled.nc");
    assert!(said.contains(told) && result.contains("filled 6 of 144 sea cells"), "{said}{result}");
    let read =
        |variable| isobath_train::data::netcdf::read(&folder.join("filled.nc"), variable).expect("a field").values;
    let (filled, origin) = (read("chl"), read("chl_origin"));
    assert!(filled.iter().all(|value| *value > 0.0), "{filled:?}");
    assert!((0..144).all(|cell| (origin[cell] == 1.0) == [5, 40, 77, 6, 143, 9].contains(&cell)), "{origin:?}");
    assert!((0..144).all(|cell| origin[cell] == 1.0 || filled[cell] == chl(cell)));
}

#[test]
fn windows_in_which_nothing_is_observed_do_no_harm() {
    let place = workplace();
    let folder = place.path();
    let late = |cell: usize| if cell < 72 { f32::NAN } else { wave(cell) };
    write(&folder.join("late.nc"), NcWriteFormat::Nc4, &[("sst", "time lat lon", &late)]);
    succeeds(folder, &format!("{TRAIN} --data late.nc --var sst"));
    succeeds(folder, "impute --data late.nc --weights run -o filled.nc");
    let filled = isobath_train::data::netcdf::read(&folder.join("filled.nc"), "sst").expect("a field").values;
    assert!(filled.iter().all(|value| value.is_finite()), "{filled:?}");
}

#[test]
fn the_errors_of_interpolation_spread_samples_round_the_same_mean() {
    let place = workplace();
    let folder = place.path();
    let gappy = |cell: usize| if cell % 5 == 2 { f32::NAN } else { wave(cell) };
    write(&folder.join("sst.nc"), NcWriteFormat::Classic, &[("sst", "time lat lon", &gappy)]);
    succeeds(folder, &format!("{TRAIN} --data sst.nc --var sst"));
    let impute = "impute --data sst.nc --weights run --samples 6";
    succeeds(folder, &format!("{impute} -o own.nc"));
    succeeds(folder, &format!("{impute} --spread interpolation -o wide.nc"));
    let settings = std::fs::read_to_string(folder.join("wide.toml")).expect("settings");
    assert!(settings.contains("spread = \"interpolation\""), "{settings}");
    let read = |file: &str, variable: &str| {
        isobath_train::data::netcdf::read(&folder.join(file), variable).expect("a field").values
    };
    let (own, wide) = (read("own.nc", "sst_mean"), read("wide.nc", "sst_mean"));
    assert!(own.iter().zip(&wide).all(|(a, b)| (a - b).abs() < 1e-4), "{own:?} {wide:?}");
    let variance = |file: &str| read(file, "sst_std").iter().map(|std| std * std).sum::<f32>();
    assert!(variance("wide.nc") > variance("own.nc"), "{} {}", variance("wide.nc"), variance("own.nc"));
}

#[test]
fn gaps_are_filled_without_any_training() {
    let place = workplace();
    let folder = place.path();
    let gappy = |cell: usize| if cell % 5 == 2 { f32::NAN } else { wave(cell) };
    write(&folder.join("sst.nc"), NcWriteFormat::Classic, &[("sst", "time lat lon", &gappy)]);
    let impute = "impute --data sst.nc --method optimal-interpolation";
    let (said, _) = succeeds(folder, &format!("{impute} --var sst -o filled.nc --report page.html"));
    assert!(said.contains("filled 29 of 144 sea cells") && folder.join("page.html").is_file(), "{said}");
    let read =
        |variable| isobath_train::data::netcdf::read(&folder.join("filled.nc"), variable).expect("a field").values;
    let (filled, low, high) = (read("sst"), read("sst_q05"), read("sst_q95"));
    for cell in 0..144 {
        match cell % 5 {
            2 => assert!(low[cell] < filled[cell] && filled[cell] < high[cell], "{cell}"),
            _ => assert_eq!((filled[cell], low[cell]), (wave(cell), wave(cell)), "{cell}"),
        }
    }
    // Nothing else fills them unless it is asked for.
    refuses(folder, "impute --data sst.nc --var sst -o out.nc", &["--weights", "--method optimal-interpolation"]);
    refuses(folder, &format!("{impute} -o out.nc"), &["--var", "--weights"]);
    refuses(folder, &format!("{impute} --var sst --spread diffusion -o out.nc"), &["--spread", "found diffusion"]);
    refuses(folder, &format!("{impute} --var sst --samples 0 -o out.nc"), &["--samples", "found 0"]);
}
