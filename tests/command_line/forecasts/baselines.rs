//! `isobath forecast --method`.

use isobath_train::data::netcdf;

use super::{CELLS, MONTHS, chlorophyll, imputer, months, page, record, values, write};
use crate::{refuses, succeeds};

const DATA: &str = "forecast --data chl.nc --var chl -o next.nc --horizon 14";

#[test]
fn baselines_forecast_without_any_model() {
    let place = record();
    let folder = place.path();
    // A wave that comes back each year is its own climatology, also beyond the year.
    for method in ["climatology", "seasonal-persistence"] {
        let (said, _) = succeeds(folder, &format!("{DATA} --method {method} --report {method}.html --plots {method}"));
        assert!(said.contains("forecast 14 frames, 2004-01-16 to 2005-02-16; wrote next.nc"), "{said}");
        let next = values(folder, "next.nc", "chl");
        for (i, value) in next.values.iter().enumerate() {
            let (frame, cell) = (MONTHS + i / CELLS, i % CELLS);
            // Frames of another year in which the cell was seen.
            let expected = [12, 24, 36, 48].map(|before| chlorophyll(frame + 12 - before, cell));
            let expected = expected.into_iter().find(|value| !value.is_nan());
            let expected = expected.filter(|_| cell > 0);
            match expected {
                None => assert!(value.is_nan(), "{cell}"),
                Some(expected) => assert!((value / expected - 1.0).abs() < 1e-4, "{method} {frame} {cell}: {value}"),
            }
        }
        let named = netcdf::read(&folder.join("next.nc"), "chl_low").expect_err("no interval").to_string();
        assert!(named.contains("`chl_low` not found"), "{named}");
        let (text, shown) = page(folder, &format!("{method}.html"));
        let name = if method == "climatology" { "monthly climatology" } else { "seasonal persistence" };
        assert_eq!(shown["views"][0]["estimateName"], format!("forecast ({name})"));
        assert!(shown["views"][0]["low"].is_null() && text.contains(&format!("forecast by {name}: the ")), "{text}");
        assert!(folder.join(method).join("maps-2005-02-16-frame-41.png").is_file());
    }
    succeeds(folder, &format!("{DATA} --method persistence"));
    let next = values(folder, "next.nc", "chl").values;
    for cell in 1..CELLS {
        let last = (0..MONTHS).rev().map(|frame| chlorophyll(frame, cell)).find(|value| !value.is_nan());
        let ratio = next[13 * CELLS + cell] / last.expect("a value");
        assert!((ratio - 1.0).abs() < 1e-5, "{cell}: {ratio}");
    }
}

#[test]
fn no_baseline_sees_what_it_forecasts() {
    let place = imputer();
    let folder = place.path();
    let changed = |frame, cell| if frame < 20 { chlorophyll(frame, cell) } else { 7.0 + cell as f32 };
    write(&folder.join("later.nc"), &months(MONTHS), changed);
    let forecast = |data: &str, rest: &str| {
        succeeds(folder, &format!("forecast --data {data}.nc -o next.nc --horizon 3 --after 19 {rest}"));
        values(folder, "next.nc", "chl").values.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    for method in ["persistence", "seasonal-persistence", "climatology"] {
        // The sea is that of the weights, so that nothing differs but what is seen.
        let rest = format!("--weights run --method {method}");
        assert!(forecast("chl", &rest) == forecast("later", &rest), "{method}");
    }
    let few = forecast("chl", "--var chl --method climatology --train-frames 6");
    assert!(few != forecast("chl", "--var chl --method climatology"), "the training frames play no part");
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let place = record();
    let folder = place.path();
    let cast = |rest: &str| format!("forecast --data chl.nc -o next.nc {rest}");
    refuses(folder, &cast(""), &["--forecasters", "--method stimp", "--method climatology needs none"]);
    refuses(folder, &cast("--forecasters cast"), &["--weights", "--method stimp", "found none"]);
    refuses(folder, &cast("--weights run --method stimp"), &["--forecasters", "found none"]);
    refuses(folder, &cast("--train-frames 9"), &["--train-frames", "baselines"]);
    let cast = |rest: &str| cast(&format!("--var chl --method persistence {rest}"));
    refuses(folder, &cast(""), &["--horizon", "persistence", "found none"]);
    refuses(folder, &cast("--horizon 0"), &["chl.nc", "horizon", "found 0"]);
    refuses(folder, &cast("--horizon 36"), &["chl.nc", "less than the 36 frames", "found 36"]);
    refuses(folder, &cast("--horizon 3 --interval 0.9"), &["--interval", "persistence gives no interval"]);
    refuses(folder, &cast("--horizon 3 --band"), &["--band", "persistence gives no band"]);
    refuses(folder, &cast("--horizon 3 --forecasters cast"), &["--forecasters", "persistence needs no forecasters"]);
    refuses(folder, &cast("--horizon 3 --train-frames 40"), &["chl.nc", "1 to 36 frames, found 40"]);
    refuses(folder, &cast("--horizon 3 --after 36"), &["chl.nc", "0 to 35", "found 36"]);
    refuses(folder, &cast("--horizon 3 --report chl.nc"), &["chl.nc", "an HTML page"]);
    let line = "forecast --data chl.nc -o next.nc --horizon 3 --method climatology";
    refuses(folder, line, &["--var", "no --weights", "found none"]);
    refuses(folder, &format!("{line} --var chlor_a"), &["chl.nc", "`chlor_a` not found"]);
    let line = "forecast --data chl.nc --var chl --horizon 3 --method 8-day-climatology -o";
    refuses(folder, &format!("{line} next.nc"), &["8-day climatology", "less than a month apart", "steps of a month"]);
    refuses(folder, &format!("{line} chl.nc"), &["chl.nc", "another file to write"]);
}
