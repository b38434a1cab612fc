//! Masks, series and the stencil on fields small enough to see through.

use super::*;
use crate::data::masks::generator;
use crate::data::time::TimeAxis;
use rand::RngExt;

/// A field of one row, each column given by its values through time.
fn field(columns: &[&[f32]]) -> Field {
    let (frames, width) = (columns[0].len(), columns.len());
    let days = (0..frames).map(|frame| frame as f64).collect();
    Field {
        name: "chl".into(),
        long_name: None,
        standard_name: None,
        units: None,
        values: (0..frames).flat_map(|f| columns.iter().map(move |c| c[f])).collect(),
        frames,
        height: 1,
        width,
        time: TimeAxis::decode(days, "days since 2000-01-01", "standard").unwrap(),
        latitude: vec![0.0],
        longitude: (0..width).map(|column| column as f64).collect(),
        dimensions: ["time", "lat", "lon"].map(String::from),
        attributes: Vec::new(),
    }
}

#[test]
fn logarithms_of_zero_and_less_are_counted_and_missing() {
    let mut values = [100.0, 0.0, -3.0, f32::NAN, 0.01];
    assert_eq!(Transform::Log10.apply(&mut values), 2);
    assert_eq!((values[0], values[4]), (2.0, -2.0));
    assert!(values[1..4].iter().all(|value| value.is_nan()));
    Transform::Log10.invert(&mut values);
    assert!((values[0] - 100.0).abs() < 1e-4 && values[3].is_nan());
    assert_eq!(Transform::Identity.apply(&mut [0.0, -1.0]), 0);
}

#[test]
fn a_pixel_missing_in_nine_frames_of_ten_is_no_node() {
    let nan = f32::NAN;
    let nine = [nan, nan, nan, nan, nan, nan, nan, nan, nan, 1.0];
    let eight = [nan, nan, nan, nan, nan, nan, nan, nan, 3.0, 1.0];
    let field = field(&[&nine, &eight, &[nan; 10], &[2.0; 10]]);
    let mask = SeaMask::observed(&field, 0..10, MISSING_THRESHOLD).unwrap();
    assert_eq!(mask.nodes, [1, 3]);
    // Only the frames asked for count.
    let mask = SeaMask::observed(&field, 0..8, MISSING_THRESHOLD).unwrap();
    assert_eq!(mask.nodes, [3]);
    assert!(SeaMask::observed(&field, 0..11, 0.9).unwrap_err().to_string().contains("0..11"));
    assert!(SeaMask::observed(&field, 0..10, 0.0).is_err());
}

#[test]
fn series_and_statistics_leave_the_missing_out() {
    let nan = f32::NAN;
    let field = field(&[&[1.0, nan, 3.0, 100.0], &[nan; 4], &[nan, nan, nan, 7.0]]);
    let mask = SeaMask::new(vec![true, false, true], 1, 3).unwrap();
    let series = Series::gather(&field, &mask).unwrap();
    assert_eq!(series.values, [1.0, 0.0, 0.0, 0.0, 3.0, 0.0, 100.0, 7.0]);
    let observed = [true, false, false, false, true, false, true, true];
    assert_eq!(series.observed, observed);
    let statistics = Statistics::of(&series, 0..3).unwrap();
    assert_eq!(statistics.mean, [2.0, 0.0]);
    assert_eq!(statistics.std, [1.0, 1.0]);
    assert_eq!((&statistics.low[..], &statistics.high[..]), (&[1.0, 0.0][..], &[3.0, 0.0][..]));
    let grid = mask.scatter(&series.values, -1.0);
    assert_eq!(grid[..6], [1.0, -1.0, 0.0, 0.0, -1.0, 0.0]);
    let other = SeaMask::new(vec![true; 4], 2, 2).unwrap();
    assert!(Series::gather(&field, &other).unwrap_err().to_string().contains("found 2 x 2"));
}

#[test]
fn the_stencil_is_the_distance_rule() {
    // |difference| < 0.05 degrees in both coordinates on a grid of 1/24 degree.
    for (case, (height, width)) in [(1, 1), (1, 9), (9, 1), (7, 11)].into_iter().enumerate() {
        let mut random = generator(5, case as u64, 0);
        let mut sea: Vec<bool> = (0..height * width).map(|_| random.random_bool(0.6)).collect();
        sea[height * width / 2] = true;
        let mask = SeaMask::new(sea, height, width).unwrap();
        let graph = stencil(&mask);
        assert_eq!(graph.offsets.len(), mask.len() + 1);
        let degrees = |node: usize| {
            let pixel = mask.nodes[node];
            [pixel / width, pixel % width].map(|index| index as f64 / 24.0)
        };
        for i in 0..mask.len() {
            let near = |&j: &usize| (0..2).all(|k| (degrees(i)[k] - degrees(j)[k]).abs() < 0.05);
            let expected: Vec<u32> = (0..mask.len()).filter(near).map(|j| j as u32).collect();
            let row = graph.offsets[i] as usize..graph.offsets[i + 1] as usize;
            assert_eq!(graph.neighbours[row], expected);
        }
    }
}
