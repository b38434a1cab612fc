//! Data files that are refused: absent, of another format, cut off, or without a field that can be used.

use netcdf_writer::{NcAttrValue, NcFileBuilder, NcWriteFormat, NcWriteOptions};
use std::path::Path;

use super::{SAMPLE, refuses, workplace};

pub(super) const FRAMES: usize = 12;
const LENGTHS: [(&str, &str, usize); 5] = [
    ("time", "days since 2000-01-01", FRAMES),
    ("lat", "degrees_north", 3),
    ("lon", "degrees_east", 4),
    ("level", "m", 2),
    ("station", "", 5),
];

/// Name, dimensions and values of a variable.
pub(super) type Variable<'a> = (&'a str, &'a str, &'a dyn Fn(usize) -> f32);

/// Writes a file of variables over some of the dimensions time, lat, lon, level and station.
pub(super) fn write(path: &Path, format: NcWriteFormat, variables: &[Variable]) {
    let mut file = NcFileBuilder::new();
    let mut ids = Vec::with_capacity(LENGTHS.len());
    for (name, units, length) in LENGTHS {
        let dimension = file.add_dimension(name, length as u64).expect("a dimension");
        let coordinate = file.add_variable::<f64>(name, &[dimension]).expect("a coordinate");
        let values: Vec<f64> = (0..length).map(|i| 10.0 + i as f64).collect();
        file.write_variable(coordinate, &values).expect("values");
        file.add_variable_attribute(coordinate, "units", NcAttrValue::Chars(units.into())).expect("units");
        ids.push(dimension);
    }
    for (name, dimensions, value) in variables {
        let place = |wanted: &str| LENGTHS.iter().position(|(name, ..)| *name == wanted).expect("a dimension");
        let places: Vec<usize> = dimensions.split_whitespace().map(place).collect();
        let dimensions: Vec<_> = places.iter().map(|i| ids[*i]).collect();
        let count = places.iter().map(|i| LENGTHS[*i].2).product();
        let variable = file.add_variable::<f32>(*name, &dimensions).expect("a variable");
        file.write_variable(variable, &(0..count).map(*value).collect::<Vec<f32>>()).expect("values");
    }
    let (_, bytes) = file.to_vec(NcWriteOptions { format }).expect("a file");
    std::fs::write(path, bytes).expect("a file");
}

pub(super) fn wave(cell: usize) -> f32 {
    2.0 + (cell as f32 * 0.7).sin()
}

#[test]
fn what_is_no_netcdf_file_is_refused() {
    let place = workplace();
    let folder = place.path();
    std::fs::create_dir(folder.join("folder.nc")).expect("a folder");
    for (name, content) in [("empty.nc", ""), ("magic.nc", "CDF"), ("table.nc", "time,chl\n1,2\n")] {
        std::fs::write(folder.join(name), content).expect("a file");
        refuses(folder, &format!("train stddm -o run --data {name} --var sst"), &[name, "expected a NetCDF file"]);
    }
    refuses(folder, "train stddm -o run --data none.nc --var sst", &["none.nc", "no such file"]);
    refuses(folder, "train stddm -o run --data folder.nc --var sst", &["folder.nc", "expected a file, found a folder"]);
}

#[test]
fn truncated_files_of_both_kinds_are_refused_wherever_they_end() {
    let place = workplace();
    let folder = place.path();
    let variables: &[Variable] = &[("sst", "time lat lon", &wave), ("ice", "time lat lon", &wave)];
    write(&folder.join("new.nc"), NcWriteFormat::Nc4, variables);
    write(&folder.join("old.nc"), NcWriteFormat::Classic, variables);
    let real = Path::new(SAMPLE).to_owned();
    for (path, variable) in
        [(folder.join("new.nc"), "sst"), (folder.join("old.nc"), "sst"), (real, "surface_temperature")]
    {
        let bytes = std::fs::read(path).expect("a file");
        let n = bytes.len();
        for length in [16, 60, n / 8, n / 4, n / 2, 3 * n / 4, n - 100, n - 9] {
            std::fs::write(folder.join("cut.nc"), &bytes[..length]).expect("a file");
            let line = format!("train stddm -o run --data cut.nc --var {variable}");
            refuses(folder, &line, &["cut.nc", "expected a complete NetCDF file, found a truncated"]);
        }
    }
}

#[test]
fn a_variable_that_is_no_field_is_refused_with_what_it_is() {
    let place = workplace();
    let folder = place.path();
    let mostly = |cell: usize| if cell < 96 { f32::NAN } else { 2.0 };
    let variables: &[Variable] = &[
        ("chl", "time lat lon", &wave),
        ("depth", "lat lon", &wave),
        ("timeless", "level lat lon", &wave),
        ("section", "time level lon", &wave),
        ("meridian", "time lat level", &wave),
        ("buoys", "time station", &wave),
        ("profile", "time level lat lon", &wave),
        ("nothing", "time lat lon", &|_| f32::NAN),
        ("late", "time lat lon", &mostly),
        ("chl_negative", "time lat lon", &|cell| -(cell as f32)),
    ];
    for (name, format) in [("old.nc", NcWriteFormat::Classic), ("new.nc", NcWriteFormat::Nc4)] {
        write(&folder.join(name), format, variables);
        let refused = |variable: &str, words: &[&str]| {
            let line = format!("train stddm -o run --window 3 --train-frames 6 --data {name} --var {variable}");
            refuses(folder, &line, &[&[name, variable], words].concat());
        };
        refused("sst", &["not found; the file has: chl, depth, timeless", "chl_negative"]);
        refused("lat", &["(time, latitude, longitude)", "found (lat = 3)"]);
        refused("depth", &["(time, latitude, longitude)", "found (lat = 3, lon = 4)", "no one-dimensional time"]);
        refused("timeless", &["no one-dimensional time coordinate"]);
        refused("section", &["no one-dimensional latitude coordinate"]);
        refused("meridian", &["no one-dimensional longitude coordinate"]);
        refused("buoys", &["found (time = 12, station = 5)", "latitude"]);
        refused("profile", &["others of size 1", "level = 2"]);
        refused("nothing", &["expected data, found only missing values"]);
        refused("late", &["missing in less than 0.9 of the frames 0..6", "found none"]);
        refused("chl_negative", &["expected values above 0 to take log10 of", "144 of zero or less"]);
    }
}
