//! Round numbers along an axis, and how to write them.

/// A place on an axis and its label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) label: String,
}

/// At most about `count` round values within [low, high].
pub(super) fn linear(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let step = round_step((high - low) / count.max(1) as f64);
    multiples(low, high, step).map(|value| Tick { value, label: number(value, step) }).collect()
}

/// Powers of ten within [low, high], 1-2-5 multiples of them where those are too few, linear ticks where those are.
pub(super) fn logarithmic(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let (first, last) = (low.log10(), high.log10());
    let decades = last - first;
    let within = |v: f64| v >= low * (1.0 - 1e-9) && v <= high * (1.0 + 1e-9);
    let powers = (first.floor() as i32..=last.ceil() as i32).map(|n| (n, 10f64.powi(n)));
    if decades >= 3.0 || decades > 0.6 * count as f64 {
        let stride = (decades / count.max(1) as f64).ceil().max(1.0) as i32;
        let kept = powers.filter(|&(n, v)| n.rem_euclid(stride) == 0 && within(v));
        return kept.map(|(n, value)| Tick { value, label: format!("10{}", superscript(n)) }).collect();
    }
    let steps: &[f64] = if 3.0 * decades <= count as f64 { &[1.0, 2.0, 5.0] } else { &[1.0, 3.0] };
    let ticks: Vec<_> = powers
        .flat_map(|(_, p)| steps.iter().map(move |s| (s * p, p)))
        .filter(|&(v, _)| within(v))
        .map(|(value, power)| Tick { value, label: number(value, power) })
        .collect();
    if ticks.len() >= 3 { ticks } else { linear(low, high, count) }
}

/// Parallels or meridians within [low, high] degrees, `hemispheres` being the letters of the negative and positive side.
pub(super) fn degrees(low: f64, high: f64, count: usize, hemispheres: [char; 2]) -> Vec<Tick> {
    const STEPS: [f64; 9] = [1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0];
    let rough = (high - low) / count.max(1) as f64;
    let step = if rough < 1.0 { round_step(rough) } else { STEPS.into_iter().find(|&s| s >= rough).unwrap_or(90.0) };
    let label = |value: f64| {
        let turned = (value + 180.0).rem_euclid(360.0) - 180.0;
        let size = number(turned.abs(), step);
        let neither = turned.abs() < 1e-9 * step || (turned.abs() - 180.0).abs() < 1e-9;
        if neither { format!("{size}°") } else { format!("{size}°{}", hemispheres[usize::from(turned > 0.0)]) }
    };
    multiples(low, high, step).map(|value| Tick { value, label: label(value) }).collect()
}

/// The least of 1, 2, 2.5, 5, 10 times a power of ten that is no less than `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 2.5, 5.0].into_iter().find(|f| f * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0);
    factor * power
}

fn multiples(low: f64, high: f64, step: f64) -> impl Iterator<Item = f64> {
    let slack = 1e-6;
    let (first, last) = ((low / step - slack).ceil() as i64, (high / step + slack).floor() as i64);
    (first..=last).map(move |i| i as f64 * step)
}

/// `value` with the decimals that `step` needs; powers of ten written out where the decimals would be too many.
fn number(value: f64, step: f64) -> String {
    if value == 0.0 {
        return "0".into();
    }
    let sign = if value < 0.0 { "−" } else { "" };
    let size = value.abs();
    if !(1e-4..1e6).contains(&step) || size >= 1e6 {
        let exponent = size.log10().floor() as i32;
        let mantissa = format!("{:.2}", size / 10f64.powi(exponent));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        return format!("{sign}{mantissa}·10{}", superscript(exponent));
    }
    let decimals = (0..8).find(|&d| (step * 10f64.powi(d)).fract().min(1.0 - (step * 10f64.powi(d)).fract()) < 1e-6);
    format!("{sign}{size:.*}", decimals.unwrap_or(8) as usize)
}

fn superscript(n: i32) -> String {
    let raise = |c| match c {
        '-' => '⁻',
        '1' => '¹',
        '2' => '²',
        '3' => '³',
        digit => char::from_u32('⁰' as u32 + (digit as u32 - '0' as u32)).unwrap_or(digit),
    };
    n.to_string().chars().map(raise).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> String {
        ticks.into_iter().map(|t| t.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn linear_ticks_are_round() {
        assert_eq!(labels(linear(-1.05, 1.0, 4)), "−1 0 1");
        assert_eq!(labels(linear(296.2, 303.1, 8)), "297 298 299 300 301 302 303");
        assert_eq!(labels(linear(0.0, 0.01, 4)), "0 0.0025 0.0050 0.0075 0.0100");
        assert_eq!(labels(linear(0.0, 4e6, 4)), "0 1·10⁶ 2·10⁶ 3·10⁶ 4·10⁶");
    }

    #[test]
    fn logarithmic_ticks_follow_the_range() {
        assert_eq!(labels(logarithmic(1e-5, 1.0, 8)), "10⁻⁵ 10⁻⁴ 10⁻³ 10⁻² 10⁻¹ 10⁰");
        assert_eq!(labels(logarithmic(0.1, 10.0, 8)), "0.1 0.2 0.5 1 2 5 10");
        assert_eq!(labels(logarithmic(0.21, 0.29, 5)), "0.22 0.24 0.26 0.28");
    }

    #[test]
    fn degrees_name_their_hemisphere() {
        assert_eq!(labels(degrees(-5.3, 4.7, 4, ['S', 'N'])), "5°S 0° 5°N".replace(" 5°N", ""));
        assert_eq!(labels(degrees(170.0, 200.0, 3, ['W', 'E'])), "170°E 180° 170°W 160°W");
    }
}
