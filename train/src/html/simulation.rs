//! The page of a simulated kernel: its summary, its roofs and its listing with the dear lines in colour.

use isobath_ptx_simulator::Counts;

use super::text::{definitions, escape, fill};
use crate::simulation::{Call, GPUS, Gpu, Line, Listing, number, shape, time};

/// The page, which needs nothing else.
pub fn simulation(call: &Call) -> String {
    let Call { kernel, target, .. } = call;
    let entry = |name: &str| -> String {
        match name {
            "title" => format!("Kernel {}", escape(kernel)),
            "lead" => escape(&format!(
                "{}; PTX for compute capability {}.{}, run on a simulated GPU",
                shape(&call.shape),
                target.capability / 10,
                target.capability % 10
            )),
            "style" => [include_str!("style.css"), include_str!("simulation.css")].concat(),
            "highlights" => definitions(&highlights(call)),
            "roofs" => GPUS.iter().map(|gpu| roof(gpu, call)).collect(),
            "facts" => definitions(&call.facts()),
            "listings" => call.listings.iter().map(listing).collect(),
            other => format!("{{{{{other}}}}}"),
        }
    };
    fill(include_str!("simulation.html"), entry)
}

fn highlights(call: &Call) -> Vec<(String, String)> {
    let different: u64 = call.bytes().different.iter().sum();
    let ratio = different as f64 / call.cost.bytes.max(1) as f64;
    let mut shown = vec![
        ("thread-instructions".into(), number(call.instructions() as f64)),
        ("flops a byte".into(), format!("{:.2}", call.intensity())),
        ("of the stated bytes".into(), format!("{ratio:.2}x")),
    ];
    for gpu in &GPUS {
        let bound = gpu.bound(different, call.flops(), call.instructions());
        shown.push((format!("at least, {} ({})", gpu.name, bound.roof()), time(bound.seconds())));
    }
    shown
}

/// Decades of intensity that the roofs show, from 10 to this power on.
const DECADES: [i32; 2] = [-2, 3];
/// Width and height of a picture, and what its labels take on the left and below.
const SIZE: [f64; 2] = [460.0, 290.0];
const MARGIN: [f64; 2] = [44.0, 38.0];
/// Decades of speed below the roof.
const DEPTH: i32 = 4;

/// A roof over the intensity, both on logarithmic axes, with a dot for each launch.
fn roof(gpu: &Gpu, call: &Call) -> String {
    let top = gpu.flops.log10().ceil();
    let bottom = top - f64::from(DEPTH);
    let [left, right] = DECADES.map(f64::from);
    let x = |intensity: f64| {
        let place = (intensity.max(1e-300).log10().clamp(left, right) - left) / (right - left);
        MARGIN[0] + place * (SIZE[0] - MARGIN[0] - 8.0)
    };
    let y = |speed: f64| {
        let place = (speed.max(1e-300).log10().clamp(bottom, top) - bottom) / f64::from(DEPTH);
        8.0 + (1.0 - place) * (SIZE[1] - MARGIN[1] - 8.0)
    };
    let (x_end, y_end) = (x(10f64.powf(right)), y(10f64.powf(bottom)));
    let mut svg =
        format!("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"Roofs of the {}\">", SIZE[0], SIZE[1], gpu.name);
    for power in DECADES[0]..=DECADES[1] {
        let at = x(10f64.powi(power));
        let label = 10f64.powi(power);
        svg += &format!("<path class=\"grid\" d=\"M{at:.1} 8V{y_end:.1}\"/>");
        svg += &format!("<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>", y_end + 15.0);
    }
    for power in 0..=DEPTH {
        let speed = 10f64.powf(bottom + f64::from(power));
        let at = y(speed);
        svg += &format!("<path class=\"grid\" d=\"M{} {at:.1}H{x_end:.1}\"/>", MARGIN[0]);
        let label = three(speed);
        svg += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>", MARGIN[0] - 5.0, at + 4.0);
    }
    let (middle, low) = ((MARGIN[0] + x_end) / 2.0, SIZE[1] - 6.0);
    svg += &format!("<text x=\"{middle:.1}\" y=\"{low:.1}\" text-anchor=\"middle\">flops a byte</text>");
    svg += &format!("<text x=\"{:.1}\" y=\"{:.1}\">flops a second</text>", MARGIN[0] + 6.0, 20.0);
    let start = (10f64.powf(bottom) / gpu.bandwidth).max(10f64.powf(left));
    let corner = [x(gpu.ridge()), y(gpu.flops)];
    svg += &format!(
        "<path class=\"line\" d=\"M{:.1} {:.1}L{:.1} {:.1}H{x_end:.1}\"/>",
        x(start),
        y(start * gpu.bandwidth),
        corner[0],
        corner[1]
    );
    for listing in &call.listings {
        svg += &dot(gpu, listing, x, y, y_end);
    }
    let caption = format!("{}: {}B/s, {}FLOP/s", gpu.name, number(gpu.bandwidth), number(gpu.flops));
    format!("<figure class=\"chart\"><figcaption>{}</figcaption>{svg}</svg></figure>\n", escape(&caption))
}

/// A power of ten with its prefix.
fn three(value: f64) -> String {
    let text = number(value);
    text.replace(".00", "").replace(".0", "")
}

fn dot(gpu: &Gpu, listing: &Listing, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64, y_end: f64) -> String {
    let (bytes, flops) = (listing.bytes().different.iter().sum::<u64>(), listing.report.flops());
    let intensity = flops as f64 / bytes.max(1) as f64;
    let speed = gpu.flops.min(intensity * gpu.bandwidth);
    let (at, up) = (x(intensity), y(speed));
    let least = time(gpu.bound(bytes, flops, 0).seconds());
    let title = format!("{}: {intensity:.2} flops a byte, at least {least}", listing.report.kernel);
    format!(
        "<path class=\"now\" d=\"M{at:.1} {up:.1}V{y_end:.1}\"/><circle class=\"dot\" cx=\"{at:.1}\" cy=\"{up:.1}\" r=\"5\">\
         <title>{}</title></circle>",
        escape(&title)
    )
}

const HEADS: [(&str, &str); 7] = [
    ("warps", "times that a warp executed the instructions of the line"),
    ("threads", "times that a thread did, its guard being true"),
    ("%", "share of all warp-instructions"),
    ("sectors", "sectors of global memory that the requests touched"),
    ("ideal", "sectors that would hold what was asked for"),
    ("conflicts", "turns of the banks of shared memory that conflicts cost"),
    ("divergent", "times that the threads of a warp parted here"),
];

fn listing(listing: &Listing) -> String {
    let report = &listing.report;
    let counts = || listing.lines.iter().filter_map(|line| line.counts);
    let most = |of: fn(&Counts) -> u64| counts().map(|c| of(&c)).max().unwrap_or(0);
    let peaks = Peaks {
        warps: most(|c| c.warps),
        sectors: most(|c| c.sectors),
        conflicts: most(|c| c.bank_conflicts),
        divergent: most(|c| c.divergent),
        all: report.total().warps,
    };
    let heads: String = HEADS
        .iter()
        .map(|(head, about)| format!("<th scope=\"col\"><abbr title=\"{about}\">{head}</abbr></th>"))
        .collect();
    let rows: String = listing.lines.iter().map(|line| row(line, &peaks)).collect();
    format!(
        "<section>\n<h2>{}</h2>\n<p class=\"quiet\">{}</p>\n<dl class=\"facts wide\">\n{}</dl>\n\
         <ul class=\"legend\"><li><i class=\"swatch much\"></i>much of its column</li>\
         <li><i class=\"swatch bad\"></i>more sectors than ideal, conflicts, divergence</li></ul>\n\
         <div class=\"scroll listing-scroll\"><table class=\"listing\"><thead><tr><th scope=\"col\" class=\"number\">line</th>\
         {heads}<th scope=\"col\" class=\"code\">PTX</th></tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n</section>\n",
        escape(&report.kernel),
        escape(&report.file),
        definitions(&listing.facts()),
    )
}

/// The largest counts of a listing, and all warp-instructions.
struct Peaks {
    warps: u64,
    sectors: u64,
    conflicts: u64,
    divergent: u64,
    all: u64,
}

fn row(line: &Line, peaks: &Peaks) -> String {
    let remark = if line.text.trim_start().starts_with("//") { " remark" } else { "" };
    let cells = match &line.counts {
        None => "<td></td>".repeat(HEADS.len()),
        Some(c) => {
            let share = 100.0 * c.warps as f64 / peaks.all.max(1) as f64;
            let scattered = 20 * c.sectors > 21 * c.ideal_sectors;
            [
                cell(c.warps.to_string(), c.warps, peaks.warps, false),
                cell(c.threads.to_string(), c.warps, peaks.warps, false),
                cell(format!("{share:.1}"), c.warps, peaks.warps, false),
                cell(blank(c.sectors), c.sectors, peaks.sectors, scattered),
                cell(blank(c.ideal_sectors), 0, 1, false),
                cell(blank(c.bank_conflicts), c.bank_conflicts, peaks.conflicts, true),
                cell(blank(c.divergent), c.divergent, peaks.divergent, true),
            ]
            .concat()
        }
    };
    format!(
        "<tr><td class=\"number\">{}</td>{cells}<td class=\"code{remark}\">{}</td></tr>\n",
        line.number,
        escape(line.text.trim_end())
    )
}

fn blank(count: u64) -> String {
    if count == 0 { String::new() } else { count.to_string() }
}

/// A count on a ground whose colour is as strong as its part of the largest.
fn cell(text: String, value: u64, most: u64, bad: bool) -> String {
    if value == 0 || most == 0 {
        return format!("<td>{text}</td>");
    }
    let heat = (6.0 + 54.0 * value as f64 / most as f64).round();
    let class = if bad { "heat bad" } else { "heat" };
    format!("<td class=\"{class}\" style=\"--h:{heat}\">{text}</td>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_lines_are_coloured_and_markup_is_not() {
        let counts = Counts { warps: 8, threads: 256, sectors: 64, ideal_sectors: 32, ..Counts::default() };
        let line = Line { number: 7, text: "    ld.global.f32 v, [a]; // <b>".into(), counts: Some(counts) };
        let peaks = Peaks { warps: 8, sectors: 64, conflicts: 0, divergent: 0, all: 16 };
        let row = row(&line, &peaks);
        assert!(row.contains("<td class=\"heat\" style=\"--h:60\">8</td>"), "{row}");
        assert!(row.contains("<td class=\"heat bad\" style=\"--h:60\">64</td>"), "{row}");
        assert!(row.contains("&lt;b&gt;") && !row.contains("<b>"), "{row}");
    }
}
