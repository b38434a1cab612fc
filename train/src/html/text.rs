//! Text for the page.

use std::fmt::Write;

use super::{LeadErrors, Score};
use isobath_models::metrics::{IntervalScores, Scores};

/// Text that holds no markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// `template` with every `{{name}}` replaced by `entry(name)`; what is put in is not looked at again.
pub(super) fn fill(template: &str, entry: impl Fn(&str) -> String) -> String {
    let mut parts = template.split("{{");
    let mut page = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once("}}") {
            Some((name, rest)) => page += &(entry(name) + rest),
            None => page += part,
        }
    }
    page
}

/// Labels and values as the content of a `dl`.
pub(super) fn definitions(pairs: &[(String, String)]) -> String {
    let row = |(label, value): &(String, String)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(label), escape(value))
    };
    pairs.iter().map(row).collect()
}

/// What a page that leaves out frames says about it.
pub(super) fn stride_note(stride: usize) -> String {
    let ordinal = match (stride % 10, stride % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    match stride {
        1 => String::new(),
        _ => format!("<p class=\"note\">To keep this page small, it shows every {stride}{ordinal} frame.</p>"),
    }
}

/// The score table, empty without scores; the least errors of a group are marked.
pub(super) fn score_table(scores: &[Score], units: &str) -> String {
    if scores.is_empty() {
        return String::new();
    }
    let intervals = scores.iter().any(|row| row.interval.is_some());
    let groups = scores.chunk_by(|a, b| a.group == b.group);
    let rows: String = groups.map(|group| score_rows(group, intervals)).collect();
    let (heads, note) = match intervals {
        true => (
            "<th scope=\"col\">In 90 %</th><th scope=\"col\">Width</th>",
            "<p class=\"quiet\">In 90 %: the share of the held-out truth inside the method's 90 % interval, near 90 % if its \
             error bars are honest. Width: the mean width of that interval.</p>",
        ),
        false => ("", ""),
    };
    format!(
        "<div class=\"scroll\"><table><caption>Errors on held-out cells, in {}; the least of each group in bold</caption>\n\
         <thead><tr><th scope=\"col\">Method</th>\
         <th scope=\"col\"><abbr title=\"mean absolute error\">MAE</abbr></th>\
         <th scope=\"col\"><abbr title=\"root mean square error\">RMSE</abbr></th>\
         <th scope=\"col\"><abbr title=\"coefficient of determination\">R²</abbr></th>\
         {heads}<th scope=\"col\" class=\"time\"><abbr title=\"time to fill or forecast, without training\">Time</abbr></th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>{note}",
        escape(units)
    )
}

/// The errors by lead time, empty without any.
pub(super) fn lead_table(errors: &[LeadErrors], units: &str) -> String {
    let Some(first) = errors.first() else { return String::new() };
    let heads: String = first.mae.iter().map(|(lead, _)| format!("<th scope=\"col\">{lead}</th>")).collect();
    let cell = |mae: Option<f64>| mae.map_or("–".to_owned(), |mae| format!("{mae:.4}"));
    let row = |LeadErrors { method, mae }: &LeadErrors| {
        let cells: String = mae.iter().map(|(_, mae)| format!("<td>{}</td>", cell(*mae))).collect();
        format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(method))
    };
    let rows: String = errors.iter().map(row).collect();
    format!(
        "<div class=\"scroll\"><table><caption>Mean absolute error by frames ahead, in {}</caption>\n\
         <thead><tr><th scope=\"col\">Method</th>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>",
        escape(units)
    )
}

/// The rows of one group under its name.
fn score_rows(group: &[Score], intervals: bool) -> String {
    let least = |of: &dyn Fn(&Scores) -> f64| group.iter().map(|row| of(&row.scores)).fold(f64::INFINITY, f64::min);
    let (mae, rmse) = (least(&|s| s.mae), least(&|s| s.rmse));
    let widest = group.iter().map(|row| row.scores.mae).fold(f64::MIN_POSITIVE, f64::max);
    let cell = |value: f64, best: f64| {
        if value == best { format!("<strong>{value:.4}</strong>") } else { format!("{value:.4}") }
    };
    let mut rows = String::new();
    if !group[0].group.is_empty() {
        let columns = if intervals { 7 } else { 5 };
        let name = escape(&group[0].group);
        let _ = writeln!(rows, "<tr class=\"group\"><th colspan=\"{columns}\" scope=\"rowgroup\">{name}</th></tr>");
    }
    for Score { method, own, scores, interval, seconds, .. } in group {
        let class = if *own { " class=\"own\"" } else { "" };
        let r2 = if scores.r2.is_finite() { format!("{:.3}", scores.r2) } else { "–".into() };
        let seconds = if *seconds < 0.005 { "&lt; 0.01 s".into() } else { format!("{seconds:.2} s") };
        let interval = match interval {
            _ if !intervals => String::new(),
            Some(IntervalScores { coverage, width }) => {
                format!("<td>{:.1} %</td><td>{width:.4}</td>", 100.0 * coverage)
            }
            None => "<td>–</td><td>–</td>".into(),
        };
        let _ = writeln!(
            rows,
            "<tr{class}><th scope=\"row\">{}</th><td style=\"--share:{:.3}\" class=\"bar\">{}</td><td>{}</td><td>{r2}</td>\
             {interval}<td class=\"time\">{seconds}</td></tr>",
            escape(method),
            scores.mae / widest,
            cell(scores.mae, mae),
            cell(scores.rmse, rmse),
        );
    }
    rows
}

/// `text` with its first letter a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

/// A name that fits beside an axis: `name` up to what only explains it.
pub(super) fn short_name(name: &str) -> String {
    const LONGEST: usize = 48;
    let end = name.find([',', ';', '(', '[']).filter(|end| *end > 0).unwrap_or(name.len());
    let short = name[..end].trim().replace('_', " ");
    match short.char_indices().nth(LONGEST) {
        // The last whole word before the limit.
        Some((limit, _)) => short[..limit].rsplit_once(' ').map_or(&short[..limit], |(words, _)| words).to_owned(),
        None => short,
    }
}

/// CF units as people write them: `milligram m-3` as `mg m⁻³`.
pub fn pretty_units(units: &str) -> String {
    const NAMES: [(&str, &str); 9] = [
        ("1", ""),
        ("milligram", "mg"),
        ("kelvin", "K"),
        ("Kelvin", "K"),
        ("degC", "°C"),
        ("celsius", "°C"),
        ("degree_Celsius", "°C"),
        ("degrees_Celsius", "°C"),
        ("percent", "%"),
    ];
    let raise = |digit: char| match digit {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + digit.to_digit(10).unwrap_or(0)).unwrap_or(digit),
    };
    let word = |word: &str| {
        let end = word.find(|c: char| c == '^' || c == '-' || c.is_ascii_digit()).filter(|end| *end > 0);
        let (name, power) = word.split_at(end.unwrap_or(word.len()));
        let name = NAMES.iter().find(|(known, _)| *known == name).map_or(name, |(_, short)| short);
        let power = power.trim_start_matches(['^', '*']);
        match power.trim_start_matches('-').chars().all(|c| c.is_ascii_digit()) {
            true => name.chars().chain(power.chars().map(raise)).collect(),
            false => word.to_owned(),
        }
    };
    units.split_whitespace().map(word).collect::<Vec<String>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_text() {
        let page = fill("<p>{{a}}</p>{{b}}{", |name| format!("[{name}{{{{a}}}}]"));
        assert_eq!(page, "<p>[a{{a}}]</p>[b{{a}}]{");
        assert_eq!(escape("<b a=\"&\">"), "&lt;b a=&quot;&amp;&quot;&gt;");
    }

    #[test]
    fn units_read_well() {
        for (cf, expected) in [
            ("milligram m-3", "mg m⁻³"),
            ("mg m^-3", "mg m⁻³"),
            ("K", "K"),
            ("1", ""),
            ("kg m-2 s-1", "kg m⁻² s⁻¹"),
            ("m/s", "m/s"),
        ] {
            assert_eq!(pretty_units(cf), expected, "{cf}");
        }
    }

    #[test]
    fn names_are_cut_where_they_explain_themselves() {
        assert_eq!(short_name("8-day mean chlorophyll-a, MODIS (time = first day)"), "8-day mean chlorophyll-a");
        assert_eq!(short_name("sea_surface_temperature"), "sea surface temperature");
        assert_eq!((capital("åland"), capital("")), ("Åland".into(), String::new()));
        assert_eq!(short_name(&"temperature ".repeat(9)), "temperature temperature temperature temperature");
    }

    #[test]
    fn the_least_errors_of_a_group_are_marked() {
        let row = |group: &str, method: &str, mae| {
            let scores = Scores { mae, rmse: 1.0, r2: f64::NAN, cells: 3 };
            Score {
                group: group.into(),
                method: method.into(),
                own: method == "a",
                scores,
                interval: None,
                seconds: 0.25,
            }
        };
        let table = score_table(&[row("g", "a", 0.1), row("g", "b", 0.2), row("h", "<b>", 0.3)], "K");
        let marked: Vec<&str> =
            ["0.1000", "0.2000", "0.3000"].into_iter().filter(|v| table.contains(&format!("<strong>{v}"))).collect();
        assert_eq!(marked, ["0.1000", "0.3000"]);
        assert!(table.contains("&lt;b&gt;") && table.contains("–") && !table.contains("NaN"), "{table}");
        assert!(!table.contains("In 90 %") && table.contains("<td class=\"time\">0.25 s</td>"), "{table}");
        assert_eq!(score_table(&[], "K"), "");
    }

    #[test]
    fn intervals_have_columns_where_a_method_gives_one() {
        let scores = Scores { mae: 0.1, rmse: 0.2, r2: 0.5, cells: 3 };
        let row =
            |interval| Score { group: "g".into(), method: "m".into(), own: false, scores, interval, seconds: 1.0 };
        let table = score_table(&[row(Some(IntervalScores { coverage: 0.875, width: 0.3 })), row(None)], "K");
        assert!(table.contains("<td>87.5 %</td><td>0.3000</td>") && table.contains("<td>–</td><td>–</td>"), "{table}");
        assert!(table.contains("colspan=\"7\""), "{table}");
    }

    #[test]
    fn errors_have_a_column_for_each_lead_time() {
        let table = lead_table(&[LeadErrors { method: "<b>".into(), mae: vec![(1, Some(0.25)), (12, None)] }], "K");
        assert!(table.contains("<th scope=\"col\">12</th>") && table.contains("&lt;b&gt;"), "{table}");
        assert!(table.contains("<td>0.2500</td><td>–</td>") && lead_table(&[], "K").is_empty(), "{table}");
    }

    #[test]
    fn left_out_frames_are_told() {
        assert_eq!(stride_note(1), "");
        assert!(stride_note(2).contains("every 2nd frame") && stride_note(12).contains("12th"));
    }
}
