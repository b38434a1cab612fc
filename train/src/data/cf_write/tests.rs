//! What is written reads back as it was.

use super::*;
use crate::data::netcdf;

fn field() -> Field {
    let time = TimeAxis::decode(vec![0.0, 30.0], "days since 2000-01-01", "360_day").unwrap();
    let attributes = [("history", "first"), ("title", "in"), ("geospatial_lat_max", "9")];
    Field {
        name: "chl".into(),
        long_name: Some("chlorophyll".into()),
        standard_name: Some("mass_concentration".into()),
        units: Some("mg m-3".into()),
        values: vec![1.0, f32::NAN, 3.0, 4.0],
        frames: 2,
        height: 1,
        width: 2,
        time,
        latitude: vec![21.0],
        longitude: vec![359.0, 360.0],
        dimensions: ["t", "latitude", "longitude"].map(String::from),
        attributes: attributes.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
    }
}

#[test]
fn what_is_written_reads_back() {
    let field = field();
    let values = &field.values[..];
    let mut output = Output::like(&field, "out".into(), "STIMP".into(), "second".into());
    let twice: Vec<f32> = values.iter().map(|value| value * 2.0).collect();
    let summary = Summary { median: values, mean: &twice, std: values, q05: values, q95: values };
    output.add_summary(&field, summary);
    output.flags.push(OutputFlag {
        name: "chl_observed".into(),
        long_name: "origin of the value".into(),
        meanings: &["land", "imputed", "observed"],
        values: &[2, 0, 1, 2],
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.nc");
    output.write(&path).unwrap();

    let median = netcdf::read(&path, "chl").unwrap();
    assert_eq!(median.values[0], 1.0);
    assert!(median.values[1].is_nan());
    assert_eq!((&median.time, &median.dimensions), (&field.time, &field.dimensions));
    assert_eq!((&median.latitude, &median.longitude), (&field.latitude, &field.longitude));
    assert_eq!((&median.units, &median.standard_name), (&field.units, &field.standard_name));
    assert_eq!(median.long_name.as_deref(), Some("chlorophyll (median)"));
    let attribute = |name: &str| {
        let found = median.attributes.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    };
    assert_eq!(attribute("history"), Some("second\nfirst"));
    assert_eq!(attribute("Conventions"), Some("CF-1.8"));
    assert_eq!((attribute("title"), attribute("input_title")), (Some("out"), Some("in")));
    assert_eq!(attribute("geospatial_lat_max"), None);
    assert_eq!(netcdf::read(&path, "chl_mean").unwrap().values[3], 8.0);
    assert_eq!(netcdf::read(&path, "chl_std").unwrap().standard_name, None);
    assert_eq!(netcdf::read(&path, "chl_observed").unwrap().values, [2.0, 0.0, 1.0, 2.0]);
}

#[test]
fn values_that_do_not_fill_the_grid_leave_no_file() {
    let field = field();
    let mut output = Output::like(&field, "out".into(), "STIMP".into(), "second".into());
    output.variables.push(OutputVariable {
        name: "chl".into(),
        long_name: "short".into(),
        standard_name: None,
        units: None,
        values: &[1.0; 3],
    });
    let folder = tempfile::tempdir().unwrap();
    let error = output.write(&folder.path().join("out.nc")).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
