use serde_json::Value;

use super::*;
use crate::data::nodes::{SeaMask, Statistics};
use crate::record::Scaling;
use isobath_models::baselines::Variability;

/// Two rows from south to north, three columns, land in the south-west.
fn place() -> Place {
    let mask = SeaMask::new(vec![false, true, true, true, true, true], 2, 3).expect("a mask");
    let nodes = || vec![0.0; 5];
    Place {
        latitude: vec![10.0, 11.0],
        longitude: vec![179.0, -180.0, -179.0],
        mask,
        scaling: Scaling { offset: 0.0, factor: 1.0 },
        statistics: Statistics {
            mean: nodes(),
            std: nodes(),
            variability: Variability::learn(&nodes(), &[false; 5], &[0.0]),
            low: nodes(),
            high: nodes(),
        },
    }
}

fn time(frames: usize) -> TimeAxis {
    let days = (0..frames).map(|frame| frame as f64).collect();
    TimeAxis::decode(days, "days since 2020-01-30", "standard").expect("dates")
}

/// `frames` copies of six pixels, of which the last is missing.
fn observed(frames: usize) -> Vec<f32> {
    [f32::NAN, 2.0, 3.0, 4.0, 5.0, f32::NAN].repeat(frames)
}

fn report<'a>(place: &'a Place, time: &'a TimeAxis, observed: &'a [f32], estimate: &'a [f32]) -> Report<'a> {
    let colormap = Colormap::Viridis;
    let quantity = Quantity { name: "height".into(), units: "m".into(), logarithmic: false, colormap };
    Report {
        title: "A </script> & \"title\"".into(),
        lead: "What {{title}} shows".into(),
        quantity,
        place,
        views: vec![View {
            name: String::new(),
            time,
            observed,
            truth: None,
            estimate_name: "filled".into(),
            estimate,
            spread: None,
            deviation: None,
            interval: Some(Interval { name: "90 %".into(), low: estimate, high: estimate }),
            forecast: Some(3),
        }],
        highlights: Vec::new(),
        scores: Vec::new(),
        score_units: "m".into(),
        lead_errors: Vec::new(),
        loss: Vec::new(),
        embedding: (0..10).map(|i| i as f32).collect(),
        config: None,
        facts: vec![("Seed".into(), "<7>".into())],
    }
}

fn data(page: &str) -> Value {
    let (_, data) = page.split_once("type=\"application/json\">").expect("the data");
    serde_json::from_str(data.split_once("</script>").expect("their end").0).expect("JSON")
}

#[test]
fn the_page_stands_alone_and_holds_text_as_text() {
    let (place, time, observed) = (place(), time(4), observed(4));
    let mut report = report(&place, &time, &observed, &observed);
    report.views[0].name = "</script><b>".into();
    let page = report.page().expect("a page");
    assert!(page.contains("<title>A &lt;/script&gt; &amp; &quot;title&quot;</title>"));
    assert!(page.contains("What {{title}} shows") && page.contains("&lt;7&gt;"));
    assert_eq!(page.matches("</script>").count(), 2, "the data and the script end once each");
    assert_eq!(data(&page)["views"][0]["name"], "</script><b>");
    for foreign in ["src=", "url(", "@import", "fetch(", "http://", "https://"] {
        let found = page.replace("http://www.w3.org/2000/svg", "").contains(foreign);
        assert!(!found, "{foreign} would load something");
    }
}

#[test]
fn north_is_first_and_longitude_goes_on() {
    let (place, time, observed) = (place(), time(1), observed(1));
    let data = data(&report(&place, &time, &observed, &observed).page().expect("a page"));
    assert_eq!(data["grid"]["latitude"], serde_json::json!([11.5, 10.5, 9.5]));
    assert_eq!(data["grid"]["longitude"], serde_json::json!([178.5, 179.5, 180.5, 181.5]));
    // The northern row is all sea, then land and two of sea: 0b110111, the lowest bit first.
    assert_eq!(data["grid"]["sea"], layers::bits([true, true, true, false, true, true].into_iter()));
    let expected = layers::Layer::new(&[4.0, 5.0, f32::NAN, 2.0, 3.0], false);
    assert_eq!(data["views"][0]["value"], serde_json::to_value(expected).expect("JSON"));
}

#[test]
fn frames_are_left_out_of_a_page_that_would_be_too_large() {
    let (place, time, observed) = (place(), time(40), observed(40));
    let report = report(&place, &time, &observed, &observed);
    let whole = report.page_of(LARGEST).expect("a page");
    assert!(!whole.contains("To keep this page small") && data(&whole)["views"][0]["forecast"] == 3);
    let page = report.page_of(400).expect("a page");
    assert!(page.contains("it shows every 2nd frame"), "{}", layers::stride(&report, 400));
    let view = &data(&page)["views"][0];
    assert_eq!(view["dates"].as_array().map(Vec::len), Some(20));
    assert_eq!(view["dates"][1], serde_json::json!([2020, 2, 1, 0, 0]));
    assert_eq!(view["forecast"], 2);
}

#[test]
fn plots_have_the_pictures_of_the_page() {
    let (place, time, observed) = (place(), time(4), observed(4));
    let estimate: Vec<f32> = observed.iter().map(|value| if value.is_nan() { 6.0 } else { *value }).collect();
    let folder = tempfile::tempdir().expect("a folder");
    report(&place, &time, &observed, &estimate).plots(folder.path()).expect("pictures");
    let files = std::fs::read_dir(folder.path()).expect("the folder").map(|file| file.expect("a file").file_name());
    let mut files: Vec<String> = files.map(|name| name.to_string_lossy().into_owned()).collect();
    files.sort();
    let maps = ["maps-2020-01-30-frame-0.png", "maps-2020-01-31-frame-1.png", "maps-2020-02-01-frame-2.png"];
    assert_eq!(files[..4], [&["embedding.png"], &maps[..]].concat());
    assert_eq!(files.iter().filter(|name| name.starts_with("series-")).count(), 4, "{files:?}");
}

#[test]
fn a_forecast_has_maps_of_its_deviation_and_of_the_width_of_its_interval() {
    let (place, time, mut observed) = (place(), time(4), observed(4));
    observed[18..].fill(f32::NAN);
    let field = |at: &dyn Fn(usize) -> f32| (0..24).map(|i| if i < 18 { f32::NAN } else { at(i) }).collect::<Vec<_>>();
    let (low, middle, high) = (field(&|i| i as f32), field(&|i| 2.0 * i as f32), field(&|i| 3.0 * i as f32));
    let mut report = report(&place, &time, &observed, &middle);
    report.views[0].interval = Some(Interval { name: "90 %".into(), low: &low, high: &high });
    report.views[0].deviation = Some(&low);
    report.score_units = "log m".into();
    let page = data(&report.page().expect("a page"));
    // The frame of the forecast has cells 18 to 23, of which the first is land.
    let [deviation, width] = ["deviation", "width"].map(|name| page["scales"][name].clone());
    assert_eq!((&deviation["low"], &deviation["high"]), (&Value::from(0.0), &Value::from(23.0)));
    assert_eq!((&width["low"], &width["high"]), (&Value::from(0.0), &Value::from(46.0)));
    assert_eq!(
        (&deviation["label"], &width["label"]),
        (&Value::from("standard deviation in total, log m"), &Value::from("width of the interval, m"))
    );
    assert_eq!(page["views"][0]["deviation"]["high"], 23.0);
    // What is no forecast has no such maps.
    report.views[0].forecast = None;
    report.views[0].deviation = None;
    let page = data(&report.page().expect("a page"));
    assert!(page["scales"]["width"].is_null() && page["scales"]["deviation"].is_null());
}
