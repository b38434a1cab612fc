//! What the real data sets hold, as the project reads them.
//!
//! `ISOBATH_DATA` names their folder; a relative path counts from the root of the project. Without it every trial
//! is listed as ignored, unless `ISOBATH_REQUIRE` lists `data`: then every trial fails.

use isobath_engine::Device;
use isobath_models::baselines::{
    Climatology, Dineof, OptimalInterpolation, Season, Variability, linear_interpolation, window_mean,
};
use isobath_models::metrics::Scores;
use isobath_train::data::heldout::HeldOut;
use isobath_train::data::netcdf::{self, Field};
use isobath_train::data::nodes::{MISSING_THRESHOLD, SeaMask, Series, Transform};
use isobath_train::data::time::Date;
use isobath_train::verify;
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};

type Outcome = Result<(), Failed>;

/// A file and what xarray finds in it.
struct File {
    path: &'static str,
    variable: &'static str,
    shape: [usize; 3],
    first: &'static str,
    last: &'static str,
    /// Least and greatest value.
    range: (f32, f32),
    /// The file's mask of the sea; without one, every pixel that is ever observed counts.
    mask: Option<&'static str>,
    /// Pixels that count, and the share of their values that is missing.
    pixels: (usize, f64),
}

const FILES: [File; 6] = [
    File {
        path: HAWAII,
        variable: "chlor_a",
        shape: [300, 17, 21],
        first: "1998-01-01 00:00",
        last: "2022-12-01 00:00",
        range: (0.0239577, 11.3315),
        mask: None,
        pixels: (312, 0.12297),
    },
    File {
        path: "chl_vancouver/chl_8day_modis_2020_64x96.nc",
        variable: "chlor_a",
        shape: [20, 64, 96],
        first: "2020-03-05 00:00",
        last: "2020-08-04 00:00",
        range: (0.111720, 97.4262),
        mask: Some("sea"),
        pixels: (3475, 0.25918),
    },
    File {
        path: "chl_vancouver/chl_8day_viirs_2021_64x96.nc",
        variable: "chlor_a",
        shape: [22, 64, 96],
        first: "2021-01-01 00:00",
        last: "2021-06-18 00:00",
        range: (0.0846628, 94.2700),
        mask: Some("sea"),
        pixels: (3475, 0.35592),
    },
    File {
        path: "chl_vancouver/chl_daily_viirs_2021_64x96.nc",
        variable: "chlor_a",
        shape: [181, 64, 96],
        first: "2021-01-01 00:00",
        last: "2021-06-30 00:00",
        range: (0.0713537, 99.7992),
        mask: Some("sea"),
        pixels: (3475, 0.82858),
    },
    File {
        path: "air_ncep/air_temperature.nc",
        variable: "air",
        shape: [2920, 25, 53],
        first: "2013-01-01 00:00",
        last: "2014-12-31 18:00",
        range: (221.0, 317.4),
        mask: None,
        pixels: (1325, 0.0),
    },
    File {
        path: "t2m_era5_uk/era5_t2m_uk_2019_03.nc",
        variable: "t2m",
        shape: [744, 33, 49],
        first: "2019-03-01 00:00",
        last: "2019-03-31 23:00",
        range: (265.680, 291.559),
        mask: None,
        pixels: (1617, 0.0),
    },
];

const HAWAII: &str = "chl_hawaii/esa_cci_chlor_a_hawaii_1998_2022.nc";
const HELD_OUT: &str = "chl_hawaii/heldout_cells.npz";
/// Frames that train in the evaluation on `chl_hawaii`.
const TRAIN: std::ops::Range<usize> = 0..220;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = std::env::var_os("ISOBATH_DATA").map(|folder| root.join(folder));
    let required = std::env::var("ISOBATH_REQUIRE").is_ok_and(|list| list.split(',').any(|name| name.trim() == "data"));
    let trial = |name: String, check: fn(&Path) -> Outcome| with_data(name, &folder, required, check);
    let mut trials: Vec<Trial> = FILES
        .iter()
        .map(|file| with_data(format!("netcdf::{}", file.path), &folder, required, |folder| holds(folder, file)))
        .collect();
    trials.extend([
        trial("netcdf::an_unknown_variable_lists_the_known_ones".into(), unknown_variable),
        trial("heldout::the_sea_is_what_the_training_frames_show".into(), held_out_sea),
        trial("heldout::hidden_cells_are_observed_ones_at_the_rate".into(), held_out_cells),
        trial("heldout::baselines_reach_the_published_errors".into(), baselines),
    ]);
    trials.extend([
        trial("parity::stddm".into(), |folder| parity(folder, "stddm", verify::stddm, 32)),
        trial("parity::forecaster".into(), |folder| parity(folder, "forecaster", verify::forecaster, 25)),
    ]);
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// A trial on the folder of the data sets.
fn with_data(
    name: String,
    folder: &Option<PathBuf>,
    required: bool,
    check: impl FnOnce(&Path) -> Outcome + Send + 'static,
) -> Trial {
    let absent = folder.is_none() && !required;
    let folder = folder.clone();
    let run = move || check(&folder.ok_or("ISOBATH_DATA is not set: expected the folder of the data sets")?);
    let trial = Trial::test(name, run).with_ignored_flag(absent);
    if absent { trial.with_kind("needs ISOBATH_DATA") } else { trial }
}

fn expect<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}").into()) }
}

fn expect_near(what: &str, found: f64, expected: f64, tolerance: f64) -> Outcome {
    if (found - expected).abs() <= tolerance {
        return Ok(());
    }
    Err(format!("{what}: expected {expected} within {tolerance}, found {found}").into())
}

fn holds(folder: &Path, file: &File) -> Outcome {
    let path = folder.join(file.path);
    let field = netcdf::read(&path, file.variable)?;
    expect("shape", [field.frames, field.height, field.width], file.shape)?;
    expect("latitudes and longitudes", [field.latitude.len(), field.longitude.len()], [field.height, field.width])?;
    let date = |i: usize| {
        let date = field.time.dates[i];
        format!("{date} {:02}:{:02}", date.hour, date.minute)
    };
    expect("first date", date(0).as_str(), file.first)?;
    expect("last date", date(field.frames - 1).as_str(), file.last)?;
    let found = field.values.iter().filter(|v| !v.is_nan());
    let (low, high) = found.fold((f32::MAX, f32::MIN), |(low, high), v| (low.min(*v), high.max(*v)));
    for (what, found, expected) in [("least value", low, file.range.0), ("greatest value", high, file.range.1)] {
        expect_near(what, f64::from(found), f64::from(expected), 1e-5 * f64::from(expected))?;
    }
    let mask = match file.mask {
        Some(name) => {
            let (sea, height, width) = netcdf::read_mask(&path, name)?;
            SeaMask::new(sea, height, width)?
        }
        None => SeaMask::observed(&field, 0..field.frames, 1.0)?,
    };
    let (pixels, missing) = file.pixels;
    expect("pixels", mask.len(), pixels)?;
    let observed = Series::gather(&field, &mask)?.observed;
    let share = observed.iter().filter(|seen| !**seen).count() as f64 / observed.len() as f64;
    expect_near("missing share", share, missing, 1e-5)
}

fn unknown_variable(folder: &Path) -> Outcome {
    let file = &FILES[1];
    let error = netcdf::read(&folder.join(file.path), "chl").map(|_| ()).map_err(|e| e.to_string());
    let end = "chl_8day_modis_2020_64x96.nc: variable `chl` not found; the file has: chlor_a, n_obs, sea";
    match error {
        Err(text) if text.ends_with(end) => Ok(()),
        found => Err(format!("expected an error that ends in `{end}`, found {found:?}").into()),
    }
}

fn hawaii(folder: &Path) -> Result<(Field, HeldOut), Failed> {
    Ok((netcdf::read(&folder.join(HAWAII), "chlor_a")?, HeldOut::read(&folder.join(HELD_OUT))?))
}

fn held_out_sea(folder: &Path) -> Outcome {
    let (field, held) = hawaii(folder)?;
    let mask = SeaMask::observed(&field, TRAIN, MISSING_THRESHOLD)?;
    expect("nodes", mask.len(), 303)?;
    expect("the mask of the archive", held.mask, mask)
}

fn held_out_cells(folder: &Path) -> Outcome {
    let (field, held) = hawaii(folder)?;
    let series = Series::gather(&field, &held.mask)?;
    expect("starts", held.starts.as_slice(), &[220, 237, 254])?;
    expect("frames of a window", held.window, 46)?;
    for (rate, counts) in [(0.1, [1256, 1265, 1270]), (0.5, [6278, 6324, 6352]), (0.9, [11301, 11382, 11433])] {
        for (cells, count) in held.at_rate(rate)?.into_iter().zip(counts) {
            let what = format!("cells hidden at rate {rate} from frame {}", cells.start);
            let window = cells.start * series.nodes..(cells.start + held.window) * series.nodes;
            let observed = &series.observed[window];
            let seen = observed.iter().filter(|seen| **seen).count() as f64;
            expect(&what, cells.hidden.iter().filter(|hidden| **hidden).count(), count)?;
            expect(&what, count, (rate * seen).round_ties_even() as usize)?;
            expect(&what, cells.hidden.iter().zip(observed).all(|(hidden, seen)| *seen || !*hidden), true)?;
        }
    }
    Ok(())
}

/// Mean absolute errors in log10 mg m-3 as the data set's README gives them, to four digits; those of DINEOF (to
/// within what the choice of its withheld cells changes) and of optimal interpolation (to within where its iterations end) are
/// those of NumPy versions.
fn baselines(folder: &Path) -> Outcome {
    let (mut field, held) = hawaii(folder)?;
    expect("values without a logarithm", Transform::Log10.apply(&mut field.values), 0)?;
    let series = Series::gather(&field, &held.mask)?;
    let month = |date: &Date| Season::Month.period(date.month, date.day_of_year);
    let months: Vec<usize> = field.time.dates.iter().map(month).collect();
    // Nodes with nothing to go by take 0, that is 1 mg m-3; at r = 0.9 about 25 nodes of a window do.
    let zeros = vec![0.0; series.nodes];
    let train = 0..TRAIN.end * series.nodes;
    let (values, observed) = (&series.values[train.clone()], &series.observed[train]);
    let climatology = Climatology::new(values, observed, Season::Month, &months[TRAIN], &zeros);
    let variability = Variability::learn(values, observed, &series.phases[TRAIN]);
    let interpolation = OptimalInterpolation::new(variability, &held.mask.places());
    let frame_numbers: Vec<f64> = (0..held.window).map(|frame| frame as f64).collect();
    let methods = ["climatology", "linear interpolation", "window mean", "DINEOF", "optimal interpolation"];
    let table = [
        (0.1, [0.0670, 0.0609, 0.0758, 0.0499, 0.0303]),
        (0.5, [0.0664, 0.0677, 0.0766, 0.0496, 0.0318]),
        (0.9, [0.0663, 0.1040, 0.0943, 0.0666, 0.0444]),
    ];
    for (rate, expected) in table {
        let mut scores = [const { Vec::new() }; 5];
        for cells in held.at_rate(rate)? {
            let frames = cells.start..cells.start + held.window;
            let window = frames.start * series.nodes..frames.end * series.nodes;
            let (truth, observed) = (&series.values[window.clone()], &series.observed[window]);
            let visible: Vec<bool> =
                observed.iter().zip(&cells.hidden).map(|(seen, hidden)| *seen && !*hidden).collect();
            let estimates = [
                climatology.of(&months[frames.clone()]),
                linear_interpolation(truth, &visible, &frame_numbers, &zeros),
                window_mean(truth, &visible, &zeros),
                Dineof::default().fill(truth, &visible, &zeros).values,
                interpolation.fill(&series.phases[frames], truth, &visible),
            ];
            for (scores, estimate) in scores.iter_mut().zip(&estimates) {
                scores.extend(Scores::of(estimate, truth, &cells.hidden));
            }
        }
        for ((name, scores), mae) in methods.iter().zip(&scores).zip(expected) {
            let found = Scores::mean(scores).ok_or("no scores")?.mae;
            let tolerance = match *name {
                "DINEOF" => 1e-3,
                "optimal interpolation" => 5e-4,
                _ => 1e-4,
            };
            expect_near(&format!("MAE of {name} at r = {rate}"), found, mae, tolerance)?;
        }
    }
    Ok(())
}

/// Recomputes a fixture.
type Verify = fn(&Path, &Device) -> isobath_train::Result<Vec<verify::Row>>;

/// Every array of the published implementation's fixture, beside the data folder.
fn parity(folder: &Path, model: &str, verify: Verify, arrays: usize) -> Outcome {
    let rows = verify(&folder.join(format!("../fixtures/{model}.safetensors")), &Device::cpu())?;
    let failed: Vec<String> = rows.iter().filter(|row| !row.ok()).map(|row| format!("{row:?}")).collect();
    expect("arrays", rows.len(), arrays)?;
    if failed.is_empty() { Ok(()) } else { Err(failed.join(", ").into()) }
}
