//! Hiding cells under synthetic clouds that drift and change, for demonstrations.

use rand::rngs::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::masks::generator;
use super::nodes::SeaMask;
use crate::{Error, Result};

/// The look of synthetic clouds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Clouds {
    /// Fraction of the sea cells to hide, over all frames together.
    pub fraction: f64,
    /// Standard deviation of the spatial smoothing, in pixels: the size of a cloud.
    pub radius: f64,
    /// Drift from one frame to the next, in pixels (south, east).
    pub drift: [f64; 2],
    /// Correlation of a cloud with itself one frame later, 0 to 1.
    pub memory: f64,
}

impl Default for Clouds {
    fn default() -> Self {
        Clouds { fraction: 0.4, radius: 2.5, drift: [0.7, 1.6], memory: 0.6 }
    }
}

impl Clouds {
    /// Hidden cells `[frames, nodes]` under clouds that drift over the grid of `mask` and change
    /// shape. Exactly `round(fraction * frames * nodes)` cells are hidden.
    ///
    /// The clouds are where smoothed Gaussian noise is highest; it follows
    /// z_t = memory * z_{t-1} shifted by the drift + sqrt(1 - memory^2) * fresh noise.
    ///
    /// # Errors
    /// [`Error::Input`] when an option is outside its range.
    pub fn hide(&self, mask: &SeaMask, frames: usize, seed: u64) -> Result<Vec<bool>> {
        self.check()?;
        let mut random = generator(seed, 0, 0);
        // The sky is periodic and larger than the grid, so that no cloud is on both sides at once.
        let margin = (3.0 * self.radius).ceil() as usize + 1;
        let mut sky = Sky::new(mask.height + margin, mask.width + margin);
        let kernel = gaussian(self.radius);
        let mut height: Vec<f32> = Vec::with_capacity(frames * mask.len());
        let fresh = (1.0 - self.memory * self.memory).sqrt();
        for frame in 0..frames {
            let noise = sky.noise(&kernel, &mut random);
            if frame == 0 {
                sky.values = noise;
            } else {
                let at = |step: usize, axis: usize| (step as f64 * self.drift[axis]).round() as isize;
                let moved = [0, 1].map(|axis| at(frame, axis) - at(frame - 1, axis));
                let old = sky.shifted(moved);
                let mixed = old.iter().zip(&noise);
                sky.values = mixed.map(|(z, e)| (self.memory * f64::from(*z) + fresh * f64::from(*e)) as f32).collect();
            }
            let sea = mask.nodes.iter().map(|p| (p / mask.width, p % mask.width));
            height.extend(sea.map(|(row, column)| sky.values[row * sky.width + column]));
        }
        Ok(highest(&height, (self.fraction * height.len() as f64).round() as usize))
    }

    fn check(&self) -> Result<()> {
        let unit = 0.0..=1.0;
        let refuse = |what: &str, expected: &str, found: f64| {
            Err(Error::Input(format!("clouds: expected {what} {expected}, found {found}")))
        };
        if !unit.contains(&self.fraction) {
            return refuse("a fraction", "between 0 and 1", self.fraction);
        }
        if !unit.contains(&self.memory) {
            return refuse("a memory", "between 0 and 1", self.memory);
        }
        if !(0.0..=1000.0).contains(&self.radius) {
            return refuse("a radius", "between 0 and 1000 pixels", self.radius);
        }
        match self.drift.iter().find(|d| !(-1e6..=1e6).contains(*d)) {
            Some(&drift) => refuse("a drift", "of at most a million pixels", drift),
            None => Ok(()),
        }
    }
}

/// Marks the `count` greatest values; of equal ones the first.
fn highest(values: &[f32], count: usize) -> Vec<bool> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    if count > 0 && count < order.len() {
        order.select_nth_unstable_by(count - 1, |&a, &b| values[b].total_cmp(&values[a]).then(a.cmp(&b)));
    }
    let mut marked = vec![false; values.len()];
    order[..count].iter().for_each(|&i| marked[i] = true);
    marked
}

/// Weights of a Gaussian of standard deviation `radius` at offsets -3 radius to 3 radius, their
/// squares summing to 1 so that smoothed white noise keeps variance 1.
fn gaussian(radius: f64) -> Vec<f32> {
    let reach = (3.0 * radius).ceil() as i32;
    let weight = |x: i32| (-0.5 * (f64::from(x) / radius.max(1e-6)).powi(2)).exp();
    let power: f64 = (-reach..=reach).map(|x| weight(x).powi(2)).sum();
    (-reach..=reach).map(|x| (weight(x) / power.sqrt()) as f32).collect()
}

/// A periodic field of noise.
struct Sky {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Sky {
    fn new(height: usize, width: usize) -> Self {
        Sky { height, width, values: Vec::new() }
    }

    /// Smooth Gaussian noise: white noise filtered along rows, then along columns.
    fn noise(&self, kernel: &[f32], random: &mut ChaCha8Rng) -> Vec<f32> {
        let cells = self.height * self.width;
        let white = StandardNormal.sample_iter(random).take(cells).collect();
        let rows = self.filtered(white, kernel, |row, column, by| (row, (column + by) % self.width));
        self.filtered(rows, kernel, |row, column, by| ((row + by) % self.height, column))
    }

    fn filtered(
        &self,
        values: Vec<f32>,
        kernel: &[f32],
        neighbour: impl Fn(usize, usize, usize) -> (usize, usize),
    ) -> Vec<f32> {
        let sum = |cell: usize| {
            let term = |(by, weight): (usize, &f32)| {
                let (row, column) = neighbour(cell / self.width, cell % self.width, by);
                weight * values[row * self.width + column]
            };
            kernel.iter().enumerate().map(term).sum()
        };
        (0..values.len()).map(sum).collect()
    }

    fn shifted(&self, [south, east]: [isize; 2]) -> Vec<f32> {
        let from =
            |position: usize, by: isize, length: usize| (position as isize - by).rem_euclid(length as isize) as usize;
        let cell = |cell: usize| {
            let row = from(cell / self.width, south, self.height);
            row * self.width + from(cell % self.width, east, self.width)
        };
        (0..self.values.len()).map(|c| self.values[cell(c)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fraction of the pairs of neighbours (east, or in the next frame) of hidden cells that are
    /// hidden too, on a grid all sea.
    fn togetherness(hidden: &[bool], width: usize, step: usize) -> f64 {
        let pairs = (0..hidden.len() - step).filter(|c| hidden[*c] && (step > 1 || c % width != width - 1));
        let pairs: Vec<usize> = pairs.collect();
        pairs.iter().filter(|&&cell| hidden[cell + step]).count() as f64 / pairs.len() as f64
    }

    #[test]
    fn clouds_hide_the_fraction_exactly_and_hang_together() {
        let (height, width, frames) = (24, 32, 12);
        let mask = SeaMask::new(vec![true; height * width], height, width).unwrap();
        for fraction in [0.0, 0.123, 0.4, 1.0] {
            let clouds = Clouds { fraction, ..Clouds::default() };
            let hidden = clouds.hide(&mask, frames, 7).unwrap();
            let cells = (frames * mask.len()) as f64;
            assert_eq!(hidden.iter().filter(|&&cell| cell).count(), (fraction * cells).round() as usize);
        }
        let clouds = Clouds::default().hide(&mask, frames, 7).unwrap();
        assert_eq!(clouds, Clouds::default().hide(&mask, frames, 7).unwrap());
        assert_ne!(clouds, Clouds::default().hide(&mask, frames, 8).unwrap());
        // Independent cells would be together in 0.4 of the pairs.
        assert!(togetherness(&clouds, width, 1) > 0.8);
        // A frame later the cloud is 2 columns east and 1 row south, and has changed.
        let drifted = Clouds { drift: [1.0, 2.0], memory: 0.9, ..Clouds::default() };
        let drifted = drifted.hide(&mask, frames, 7).unwrap();
        let stayed = togetherness(&drifted, width, height * width);
        let followed = togetherness(&drifted, width, (height + 1) * width + 2);
        assert!(followed > 0.75 && followed > stayed + 0.05, "{followed} {stayed}");
    }

    #[test]
    fn clouds_keep_off_the_land_and_refuse_nonsense() {
        let sea: Vec<bool> = (0..60).map(|pixel| pixel % 7 != 0).collect();
        let mask = SeaMask::new(sea, 6, 10).unwrap();
        let hidden = Clouds::default().hide(&mask, 3, 0).unwrap();
        assert_eq!(hidden.len(), 3 * mask.len());
        assert!(Clouds::default().hide(&mask, 0, 0).unwrap().is_empty());
        let still = Clouds {
            radius: 0.0,
            memory: 1.0,
            drift: [0.0; 2],
            // The same 20 of 51 nodes in both frames.
            fraction: 40.0 / 102.0,
        };
        let hidden = still.hide(&mask, 2, 0).unwrap();
        assert_eq!(hidden[..mask.len()], hidden[mask.len()..]);
        for wrong in [
            Clouds { fraction: 1.1, ..still },
            Clouds { memory: f64::NAN, ..still },
            Clouds { radius: -1.0, ..still },
            Clouds { drift: [f64::INFINITY, 0.0], ..still },
        ] {
            assert!(wrong.hide(&mask, 2, 0).unwrap_err().to_string().starts_with("clouds: expected"));
        }
    }
}
