//! Text for the page.

use std::fmt::Write;

use super::Score;
use isobath_models::metrics::Scores;

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
    let mut rows = String::new();
    for group in scores.chunk_by(|a, b| a.group == b.group) {
        let least = |of: &dyn Fn(&Scores) -> f64| group.iter().map(|row| of(&row.scores)).fold(f64::INFINITY, f64::min);
        let (mae, rmse) = (least(&|s| s.mae), least(&|s| s.rmse));
        let widest = group.iter().map(|row| row.scores.mae).fold(0.0, f64::max);
        if !group[0].group.is_empty() {
            let _ = writeln!(
                rows,
                "<tr class=\"group\"><th colspan=\"5\" scope=\"rowgroup\">{}</th></tr>",
                escape(&group[0].group)
            );
        }
        for Score { method, own, scores, .. } in group {
            let cell = |value: f64, best: f64| {
                if value == best { format!("<strong>{value:.4}</strong>") } else { format!("{value:.4}") }
            };
            let r2 = if scores.r2.is_finite() { format!("{:.3}", scores.r2) } else { "–".into() };
            let _ = writeln!(
                rows,
                "<tr{}><th scope=\"row\">{}</th><td style=\"--share:{:.3}\" class=\"bar\">{}</td><td>{}</td><td>{r2}</td><td>{}</td></tr>",
                if *own { " class=\"own\"" } else { "" },
                escape(method),
                scores.mae / widest.max(f64::MIN_POSITIVE),
                cell(scores.mae, mae),
                cell(scores.rmse, rmse),
                scores.cells,
            );
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<table><caption>Errors on hidden cells, in {}; the least of each group in bold</caption>\n<thead><tr><th scope=\"col\">Method</th>\
         <th scope=\"col\"><abbr title=\"mean absolute error\">MAE</abbr></th>\
         <th scope=\"col\"><abbr title=\"root mean square error\">RMSE</abbr></th>\
         <th scope=\"col\"><abbr title=\"coefficient of determination\">R²</abbr></th>\
         <th scope=\"col\">Cells</th></tr></thead>\n<tbody>\n{rows}</tbody></table>",
        escape(units)
    )
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
            Score { group: group.into(), method: method.into(), own: method == "a", scores }
        };
        let table = score_table(&[row("g", "a", 0.1), row("g", "b", 0.2), row("h", "<b>", 0.3)], "K");
        let marked: Vec<&str> =
            ["0.1000", "0.2000", "0.3000"].into_iter().filter(|v| table.contains(&format!("<strong>{v}"))).collect();
        assert_eq!(marked, ["0.1000", "0.3000"]);
        assert!(table.contains("&lt;b&gt;") && table.contains("–") && !table.contains("NaN"), "{table}");
        assert_eq!(score_table(&[], "K"), "");
    }

    #[test]
    fn left_out_frames_are_told() {
        assert_eq!(stride_note(1), "");
        assert!(stride_note(2).contains("every 2nd frame") && stride_note(12).contains("12th"));
    }
}
