//! Colour scales of uniform lightness, and the way from a value to a colour.

use super::invalid;
use std::io;

/// The colour of a cell without a value, sRGB.
pub const MISSING: [u8; 3] = [0xdd, 0xdd, 0xdd];

/// A colour scale. Between its anchors it runs through OKLab (Ottosson 2020), and it is parametrised by lightness:
/// equal steps in value are equal steps in lightness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colormap {
    /// Dark violet, green, yellow: concentrations.
    Viridis,
    /// Dark blue, violet, orange, yellow: temperatures.
    Thermal,
    /// Blue, near-white, red: differences, with the middle at zero.
    Balance,
}

const VIRIDIS: &[u32] = &[
    0x440154, 0x481467, 0x482576, 0x453781, 0x404688, 0x39558c, 0x33638d, 0x2d718e, 0x287d8e, 0x238a8d, 0x1f968b,
    0x20a386, 0x29af7f, 0x3dbc74, 0x56c667, 0x75d054, 0x95d840, 0xb8de29, 0xdce319, 0xfde725,
];
const THERMAL: &[u32] = &[
    0x042333, 0x0c2a63, 0x2c3395, 0x533f9b, 0x744992, 0x93548c, 0xb15f82, 0xd06a6e, 0xeb7958, 0xf69546, 0xfbb43d,
    0xf5d64a, 0xe8fa5b,
];
const BALANCE_LOW: &[u32] = &[0x123c8c, 0x2f74c0, 0x7fb0d8, 0xc3daeb, 0xf5f3f1];
const BALANCE_HIGH: &[u32] = &[0xf5f3f1, 0xf6d0bd, 0xe79c7d, 0xcb5a4c, 0x8a1a2b];

impl Colormap {
    /// The sRGB colour at `fraction` of the scale; values outside [0, 1] take the nearest end.
    pub fn colour(self, fraction: f64) -> [u8; 3] {
        let fraction = fraction.clamp(0.0, 1.0);
        match self {
            Self::Viridis => ramp(VIRIDIS, fraction),
            Self::Thermal => ramp(THERMAL, fraction),
            Self::Balance if fraction < 0.5 => ramp(BALANCE_LOW, 2.0 * fraction),
            Self::Balance => ramp(BALANCE_HIGH, 2.0 * fraction - 1.0),
        }
    }
}

/// The range of values that a colour scale covers, and what they are.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    /// Value at the low end; lower values take its colour.
    pub low: f64,
    /// Value at the high end; higher values take its colour.
    pub high: f64,
    /// Whether equal ratios, rather than equal differences, get equal steps of colour.
    pub logarithmic: bool,
    /// The colours.
    pub colormap: Colormap,
    /// Quantity and units, written beside the colour bar.
    pub label: String,
}

impl Scale {
    /// Where `value` lies on the scale: 0 at the low end, 1 at the high end. `None` if it is not finite, or not positive
    /// on a logarithmic scale.
    pub fn fraction(&self, value: f64) -> Option<f64> {
        let place = |v: f64| if self.logarithmic { v.ln() } else { v };
        let fraction = (place(value) - place(self.low)) / (place(self.high) - place(self.low));
        fraction.is_finite().then_some(fraction)
    }

    /// The sRGB colour of `value`; [`MISSING`] where it has no place on the scale.
    pub fn colour(&self, value: f64) -> [u8; 3] {
        self.fraction(value).map_or(MISSING, |f| self.colormap.colour(f))
    }

    pub(super) fn check(&self) -> io::Result<()> {
        let ordered = self.low < self.high && self.low.is_finite() && self.high.is_finite();
        if !ordered || (self.logarithmic && self.low <= 0.0) {
            let kind = if self.logarithmic { "logarithmic" } else { "linear" };
            let Self { low, high, label, .. } = self;
            return Err(invalid(format!("scale `{label}`: {low} to {high} is no range for a {kind} scale")));
        }
        Ok(())
    }
}

/// The colour between `anchors` whose lightness lies at `fraction` between those of the first and the last.
fn ramp(anchors: &[u32], fraction: f64) -> [u8; 3] {
    let lab = |i: usize| oklab(anchors[i]);
    let last = anchors.len() - 1;
    let (from, to) = (lab(0)[0], lab(last)[0]);
    let lightness = from + fraction * (to - from);
    let place = |l: f64| (l - from) / (to - from);
    let next = (1..last).find(|&i| place(lab(i)[0]) >= fraction).unwrap_or(last);
    let (a, b) = (lab(next - 1), lab(next));
    let t = (lightness - a[0]) / (b[0] - a[0]);
    srgb([lightness, a[1] + t * (b[1] - a[1]), a[2] + t * (b[2] - a[2])])
}

/// OKLab coordinates of an sRGB colour written 0xrrggbb.
fn oklab(colour: u32) -> [f64; 3] {
    let linear = |shift: u32| {
        let c = f64::from(colour >> shift & 0xff) / 255.0;
        if c <= 0.04045 { c / 12.92 } else { ((c + 0.055) / 1.055).powf(2.4) }
    };
    let (r, g, b) = (linear(16), linear(8), linear(0));
    let l = (0.412_221_470_8 * r + 0.536_332_536_3 * g + 0.051_445_992_9 * b).cbrt();
    let m = (0.211_903_498_2 * r + 0.680_699_545_1 * g + 0.107_396_956_6 * b).cbrt();
    let s = (0.088_302_461_9 * r + 0.281_718_837_6 * g + 0.629_978_700_5 * b).cbrt();
    [
        0.210_454_255_3 * l + 0.793_617_785_0 * m - 0.004_072_046_8 * s,
        1.977_998_495_1 * l - 2.428_592_205_0 * m + 0.450_593_709_9 * s,
        0.025_904_037_1 * l + 0.782_771_766_2 * m - 0.808_675_766_0 * s,
    ]
}

/// The inverse of [`oklab`], clipped to the sRGB cube.
fn srgb([lightness, a, b]: [f64; 3]) -> [u8; 3] {
    let l = (lightness + 0.396_337_777_4 * a + 0.215_803_757_3 * b).powi(3);
    let m = (lightness - 0.105_561_345_8 * a - 0.063_854_172_8 * b).powi(3);
    let s = (lightness - 0.089_484_177_5 * a - 1.291_485_548_0 * b).powi(3);
    let linear = [
        4.076_741_662_1 * l - 3.307_711_591_3 * m + 0.230_969_929_2 * s,
        -1.268_438_004_6 * l + 2.609_757_401_1 * m - 0.341_319_396_5 * s,
        -0.004_196_086_3 * l - 0.703_418_614_7 * m + 1.707_614_701_0 * s,
    ];
    linear.map(|c| {
        let c = if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 };
        (255.0 * c.clamp(0.0, 1.0)).round() as u8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lightness(map: Colormap, i: u32) -> f64 {
        let [r, g, b] = map.colour(f64::from(i) / 100.0).map(u32::from);
        oklab(r << 16 | g << 8 | b)[0]
    }

    #[test]
    fn ends_are_the_anchors() {
        assert_eq!(Colormap::Viridis.colour(0.0), [0x44, 0x01, 0x54]);
        assert_eq!(Colormap::Viridis.colour(1.0), [0xfd, 0xe7, 0x25]);
        assert_eq!(Colormap::Thermal.colour(-3.0), [0x04, 0x23, 0x33]);
        assert_eq!(Colormap::Balance.colour(0.5), [0xf5, 0xf3, 0xf1]);
        assert_eq!(Colormap::Balance.colour(2.0), [0x8a, 0x1a, 0x2b]);
    }

    #[test]
    fn lightness_rises_evenly() {
        for map in [Colormap::Viridis, Colormap::Thermal] {
            let step = (lightness(map, 100) - lightness(map, 0)) / 100.0;
            for i in 0..100 {
                let found = lightness(map, i + 1) - lightness(map, i);
                assert!((found - step).abs() < 0.6 * step, "{map:?} at {i}: {found} instead of {step}");
            }
        }
        for i in 0..50 {
            assert!(lightness(Colormap::Balance, i + 1) > lightness(Colormap::Balance, i));
            assert!(lightness(Colormap::Balance, 50 + i + 1) < lightness(Colormap::Balance, 50 + i));
        }
    }

    #[test]
    fn logarithmic_scale_has_the_geometric_mean_in_the_middle() {
        let mut scale =
            Scale { low: 0.01, high: 100.0, logarithmic: true, colormap: Colormap::Viridis, label: "Chl-a".into() };
        assert!((scale.fraction(1.0).unwrap() - 0.5).abs() < 1e-12);
        assert_eq!(scale.fraction(0.0), None);
        assert_eq!(scale.colour(f64::NAN), MISSING);
        assert!(scale.check().is_ok());
        scale.low = 0.0;
        assert!(scale.check().unwrap_err().to_string().contains("Chl-a"));
    }
}
