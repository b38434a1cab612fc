//! Small files, each with one peculiarity, written here and read back.

use std::path::PathBuf;

use netcdf_writer::{NcAttrValue, NcFileBuilder, NcWriteFormat, NcWriteOptions, VariableId};
use tempfile::TempDir;

use super::*;

mod refusals;

const LATITUDES: [f64; 3] = [22.0, 21.5, 21.0];
const LONGITUDES: [f64; 4] = [359.0, 359.5, 360.0, 360.5];

/// A file under construction, with `time` (2), `lat` (3, descending), `lon` (4) and `depth` (1).
struct Sample {
    file: NcFileBuilder,
    dimensions: Vec<(&'static str, netcdf_writer::DimensionId)>,
}

impl Sample {
    fn new() -> Self {
        let mut sample = Sample { file: NcFileBuilder::new(), dimensions: Vec::new() };
        sample.coordinate("time", "days since 2000-02-28", &[0.0, 2.0]);
        sample.coordinate("lat", "degrees_north", &LATITUDES);
        sample.coordinate("lon", "degrees_east", &LONGITUDES);
        sample.coordinate("depth", "m", &[0.0]);
        sample
    }

    fn coordinate(&mut self, name: &'static str, units: &str, values: &[f64]) {
        let dimension = self.file.add_dimension(name, values.len() as u64).unwrap();
        let variable = self.file.add_variable::<f64>(name, &[dimension]).unwrap();
        self.file.write_variable(variable, values).unwrap();
        self.text(variable, "units", units);
        self.dimensions.push((name, dimension));
    }

    fn variable<T: netcdf_writer::NcWriteType>(&mut self, name: &str, dimensions: &str, values: &[T]) -> VariableId {
        let find = |wanted| self.dimensions.iter().find(|(name, _)| *name == wanted);
        let ids: Vec<_> = dimensions.split_whitespace().map(|name| find(name).unwrap().1).collect();
        let variable = self.file.add_variable::<T>(name, &ids).unwrap();
        self.file.write_variable(variable, values).unwrap();
        variable
    }

    fn text(&mut self, variable: VariableId, name: &str, value: &str) {
        self.number(variable, name, NcAttrValue::Chars(value.into()));
    }

    fn number(&mut self, variable: VariableId, name: &str, value: NcAttrValue) {
        self.file.add_variable_attribute(variable, name, value).unwrap();
    }

    fn write(&self, format: NcWriteFormat) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sample.nc");
        let (_, bytes) = self.file.to_vec(NcWriteOptions { format }).unwrap();
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    fn read(&self, variable: &str) -> Result<Field> {
        let (_folder, path) = self.write(NcWriteFormat::Offset64);
        read(&path, variable)
    }
}

fn counting() -> Vec<f32> {
    (0..24).map(|value| value as f32).collect()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T>) -> String {
    let error = outcome.unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    text.split_once("sample.nc: ").map_or(text.clone(), |(_, rest)| rest.to_owned())
}

#[test]
fn a_plain_field_reads_alike_from_every_format() {
    let mut sample = Sample::new();
    let variable = sample.variable("chl", "time lat lon", &counting());
    sample.text(variable, "units", "mg m-3");
    sample.text(variable, "long_name", "chlorophyll");
    sample.file.add_attribute("history", NcAttrValue::Chars("made".into())).unwrap();
    for format in [
        NcWriteFormat::Classic,
        NcWriteFormat::Offset64,
        NcWriteFormat::Cdf5,
        NcWriteFormat::Nc4,
        NcWriteFormat::Nc4Classic,
    ] {
        let (_folder, path) = sample.write(format);
        let field = read(&path, "chl").unwrap();
        assert_eq!((field.frames, field.height, field.width), (2, 3, 4));
        assert_eq!(field.values, counting());
        assert_eq!((&field.latitude[..], &field.longitude[..]), (&LATITUDES[..], &LONGITUDES[..]));
        assert_eq!(field.units.as_deref(), Some("mg m-3"));
        assert_eq!(field.long_name.as_deref(), Some("chlorophyll"));
        assert_eq!(field.standard_name, None);
        assert_eq!(field.dimensions, ["time", "lat", "lon"]);
        assert_eq!(field.time.dates[1].to_string(), "2000-03-01");
        assert_eq!(field.attributes, [("history".to_owned(), "made".to_owned())]);
    }
}

#[test]
fn other_orders_and_dimensions_of_size_one_are_brought_to_time_latitude_longitude() {
    let mut sample = Sample::new();
    // The value at (time, lat, lon) is 12 t + 4 y + x in each.
    let mut permuted = vec![0.0f32; 24];
    for (i, value) in counting().into_iter().enumerate() {
        let (t, y, x) = (i / 12, i / 4 % 3, i % 4);
        permuted[(x * 2 + t) * 3 + y] = value;
    }
    sample.variable("permuted", "lon time lat", &permuted);
    sample.variable("deep", "time depth lat lon", &counting());
    for name in ["permuted", "deep"] {
        let field = sample.read(name).unwrap();
        assert_eq!(field.values, counting(), "{name}");
        assert_eq!(field.latitude, LATITUDES);
    }
}

#[test]
fn packed_values_unpack_and_everything_missing_is_nan() {
    let mut sample = Sample::new();
    let mut packed: Vec<i16> = (0..24).collect();
    (packed[1], packed[2], packed[3]) = (-32767, -5, 2000);
    let variable = sample.variable("packed", "time lat lon", &packed);
    sample.number(variable, "_FillValue", NcAttrValue::Shorts(vec![-32767]));
    sample.number(variable, "missing_value", NcAttrValue::Shorts(vec![-5]));
    sample.number(variable, "valid_range", NcAttrValue::Shorts(vec![-100, 1000]));
    sample.number(variable, "scale_factor", NcAttrValue::Doubles(vec![0.5]));
    sample.number(variable, "add_offset", NcAttrValue::Doubles(vec![100.0]));
    let mut floats = counting();
    (floats[0], floats[1], floats[2]) = (f32::NAN, f32::INFINITY, 9.96921e36);
    sample.variable("floats", "time lat lon", &floats);
    let bytes: Vec<i8> = (0..24).map(|i| if i == 7 { -1 } else { i }).collect();
    let variable = sample.variable("unsigned", "time lat lon", &bytes);
    sample.text(variable, "_Unsigned", "true");

    let field = sample.read("packed").unwrap();
    assert_eq!((field.values[0], field.values[23]), (100.0, 111.5));
    assert!(field.values[1..4].iter().all(|value| value.is_nan()));
    let field = sample.read("floats").unwrap();
    assert!(field.values[..3].iter().all(|value| value.is_nan()));
    assert_eq!(field.values[3..], counting()[3..]);
    assert_eq!(sample.read("unsigned").unwrap().values[7], 255.0);
}

#[test]
fn coordinates_are_known_by_standard_name_units_axis_or_name() {
    let by = |attributes: [&[(&str, &str)]; 3], names: [&'static str; 3]| {
        let mut sample = Sample { file: NcFileBuilder::new(), dimensions: Vec::new() };
        let values: [&[f64]; 3] = [&[0.0, 1.0], &LATITUDES, &LONGITUDES];
        for ((name, values), attributes) in names.into_iter().zip(values).zip(attributes) {
            let dimension = sample.file.add_dimension(name, values.len() as u64).unwrap();
            let variable = sample.file.add_variable::<f64>(name, &[dimension]).unwrap();
            sample.file.write_variable(variable, values).unwrap();
            for (key, value) in attributes {
                sample.text(variable, key, value);
            }
            sample.dimensions.push((name, dimension));
        }
        sample.variable("v", &names.join(" "), &counting());
        sample.read("v")
    };
    let time = &[("units", "days since 2000-01-01")][..];
    let [y, x] = [&[("standard_name", "latitude")][..], &[("standard_name", "longitude")][..]];
    assert!(by([time, y, x], ["t", "y", "x"]).is_ok());
    let [y, x] = [&[("axis", "Y"), ("units", "degrees")][..], &[("axis", "X")][..]];
    assert!(by([time, y, x], ["t", "j", "i"]).is_ok());
    assert!(by([time, &[], &[]], ["when", "nav_lat", "nav_lon"]).is_ok());
    // Projected metres and rotated degrees are no latitudes.
    let metres = &[("axis", "Y"), ("units", "m")][..];
    let rotated = &[("axis", "Y"), ("units", "degrees"), ("standard_name", "grid_latitude")][..];
    for y in [metres, rotated] {
        assert!(refusal(by([time, y, x], ["t", "lat", "lon"])).contains("latitude coordinate"));
    }
}

#[test]
fn a_mask_reads_without_time() {
    let mut sample = Sample::new();
    let sea: Vec<i8> = (0..12).map(|pixel| i8::from(pixel % 3 == 0)).collect();
    sample.variable("sea", "lat lon", &sea);
    sample.variable("chl", "time lat lon", &counting());
    let (_folder, path) = sample.write(NcWriteFormat::Nc4);
    let (mask, height, width) = read_mask(&path, "sea").unwrap();
    assert_eq!((height, width), (3, 4));
    assert!(mask.iter().enumerate().all(|(pixel, &sea)| sea == (pixel % 3 == 0)));
    assert!(refusal(read_mask(&path, "chl")).contains("time = 2"));
    let listed: Vec<String> = variables(&path).unwrap().iter().map(|v| v.to_string()).collect();
    assert!(listed.contains(&"chl[time = 2, lat = 3, lon = 4]".to_owned()), "{listed:?}");
}
