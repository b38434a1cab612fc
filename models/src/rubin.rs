//! Rubin's rules: one estimate and one interval from several imputed data sets (Rubin 1987, chapter 3; systems 1.8).
//!
//! Each data set s of m gives an estimate Q_s with a variance U_s of its own. All arrays are element by element, of any
//! one shape.

use crate::metrics::Interval;
use crate::student_t;

/// What cannot be combined.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Error {
    /// One data set says nothing of what lies between data sets.
    #[error("multiple imputation: expected at least 2 imputed data sets, found {0}")]
    TooFew(usize),
    /// Arrays of different lengths or numbers.
    #[error("multiple imputation: expected {expected} {what}, found {found}")]
    Shape {
        /// What is counted.
        what: &'static str,
        /// As the first estimate has it.
        expected: usize,
        /// As it is.
        found: usize,
    },
    /// A level that is no probability.
    #[error("interval: expected a level above 0 and below 1, found {0}")]
    Level(f64),
}

/// Several data sets combined.
#[derive(Clone, Debug, PartialEq)]
pub struct Pooled {
    /// Q = mean of Q_s.
    pub mean: Vec<f32>,
    /// Within variance U = mean of U_s.
    pub within: Vec<f32>,
    /// Between variance B = sum of (Q_s - Q)^2 / (m - 1).
    pub between: Vec<f32>,
    /// Number m of data sets.
    pub sets: usize,
}

impl Pooled {
    /// Combines the estimates and variances of the data sets, one array each.
    ///
    /// # Errors
    /// [`Error::TooFew`] for less than two data sets, [`Error::Shape`] unless there is a variance of every element.
    pub fn new(estimates: &[&[f32]], variances: &[&[f32]]) -> Result<Self, Error> {
        let sets = estimates.len();
        if sets < 2 {
            return Err(Error::TooFew(sets));
        }
        if variances.len() != sets {
            return Err(Error::Shape { what: "arrays of variances", expected: sets, found: variances.len() });
        }
        let cells = estimates[0].len();
        if let Some(other) = estimates.iter().chain(variances).find(|array| array.len() != cells) {
            return Err(Error::Shape { what: "elements", expected: cells, found: other.len() });
        }
        let mean_of = |arrays: &[&[f32]], cell: usize| {
            arrays.iter().map(|array| f64::from(array[cell])).sum::<f64>() / sets as f64
        };
        let between = |cell: usize| {
            let mean = mean_of(estimates, cell);
            let squares = estimates.iter().map(|estimate| (f64::from(estimate[cell]) - mean).powi(2));
            (squares.sum::<f64>() / (sets - 1) as f64) as f32
        };
        Ok(Pooled {
            mean: (0..cells).map(|cell| mean_of(estimates, cell) as f32).collect(),
            within: (0..cells).map(|cell| mean_of(variances, cell) as f32).collect(),
            between: (0..cells).map(between).collect(),
            sets,
        })
    }

    /// Total variance T = U + (1 + 1/m) B.
    pub fn total(&self) -> Vec<f32> {
        (0..self.mean.len()).map(|cell| self.total_at(cell) as f32).collect()
    }

    /// Degrees of freedom (m - 1) (1 + U / ((1 + 1/m) B))^2, infinite where the data sets agree.
    pub fn freedom(&self) -> Vec<f64> {
        (0..self.mean.len()).map(|cell| self.freedom_at(cell)).collect()
    }

    /// The two-sided interval Q +- t sqrt(T) that holds the truth with probability `level`, such as 0.9, t being a
    /// quantile of Student's distribution.
    ///
    /// # Errors
    /// [`Error::Level`].
    pub fn interval(&self, level: f64) -> Result<Interval, Error> {
        if !(level > 0.0 && level < 1.0) {
            return Err(Error::Level(level));
        }
        let half =
            |cell: usize| student_t::quantile(0.5 + 0.5 * level, self.freedom_at(cell)) * self.total_at(cell).sqrt();
        Ok(self.around(half))
    }

    /// The band that STIMP's publication draws: Q +- sqrt(B), of no stated level.
    pub fn band(&self) -> Interval {
        self.around(|cell| f64::from(self.between[cell]).sqrt())
    }

    fn around(&self, half: impl Fn(usize) -> f64) -> Interval {
        let end = |side: f64| {
            let at = |(cell, mean): (usize, &f32)| (f64::from(*mean) + side * half(cell)) as f32;
            self.mean.iter().enumerate().map(at).collect()
        };
        Interval { low: end(-1.0), high: end(1.0) }
    }

    /// (1 + 1/m) B: the variance that the gaps add.
    fn of_gaps(&self, cell: usize) -> f64 {
        (1.0 + 1.0 / self.sets as f64) * f64::from(self.between[cell])
    }

    fn total_at(&self, cell: usize) -> f64 {
        f64::from(self.within[cell]) + self.of_gaps(cell)
    }

    fn freedom_at(&self, cell: usize) -> f64 {
        match self.of_gaps(cell) {
            0.0 => f64::INFINITY,
            gaps => (self.sets - 1) as f64 * (1.0 + f64::from(self.within[cell]) / gaps).powi(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 2e-6 * expected.abs(), "{found} instead of {expected}");
    }

    #[test]
    fn a_worked_example_with_the_quantiles_of_scipy() {
        let (q, u) = ([4.2, 3.6, 5.1, 4.4, 3.9], [0.25, 0.31, 0.22, 0.27, 0.30]);
        // Of the second element the data sets agree, of the third they have no variance of their own.
        let estimates = q.map(|q| [q, 1.0, q]);
        let variances = u.map(|u| [u, 0.25, 0.0]);
        let pooled = Pooled::new(&estimates.each_ref().map(|e| &e[..]), &variances.each_ref().map(|v| &v[..]));
        let pooled = pooled.expect("five data sets");
        near(pooled.mean[0].into(), 4.24);
        near(pooled.within[0].into(), 0.27);
        near(pooled.between[0].into(), 0.323);
        near(pooled.total()[0].into(), 0.6576);
        let freedom = pooled.freedom();
        near(freedom[0], 11.513_730_602_229_492);
        assert_eq!(freedom[1..], [f64::INFINITY, 4.0]);
        let half = |interval: &Interval, cell: usize| f64::from(interval.high[cell] - interval.low[cell]) / 2.0;
        let interval = pooled.interval(0.95).expect("a level");
        near(half(&interval, 0), 1.775_166_423_891_357_6);
        near(half(&interval, 1), 0.5 * 1.959_963_984_540_054);
        near(half(&interval, 2), 2.776_445_105_197_793_4 * (1.2f64 * 0.323).sqrt());
        near(half(&pooled.interval(0.9).expect("a level"), 0), 1.450_405_133_359_975);
        near(half(&pooled.band(), 0), 0.323f64.sqrt());
        near(f64::from(interval.low[0] + interval.high[0]) / 2.0, 4.24);
    }

    #[test]
    fn what_cannot_be_combined_is_said() {
        let error = |estimates: &[&[f32]], variances: &[&[f32]]| {
            Pooled::new(estimates, variances).expect_err("nothing to combine").to_string()
        };
        let few = error(&[&[1.0]], &[&[1.0]]);
        assert_eq!(few, "multiple imputation: expected at least 2 imputed data sets, found 1");
        assert!(error(&[&[1.0], &[1.0]], &[&[1.0]]).contains("expected 2 arrays of variances, found 1"));
        assert!(error(&[&[1.0], &[1.0, 2.0]], &[&[1.0], &[1.0]]).contains("expected 1 elements, found 2"));
        let pooled = Pooled::new(&[&[1.0], &[2.0]], &[&[1.0], &[1.0]]).expect("two data sets");
        assert_eq!(pooled.interval(1.0), Err(Error::Level(1.0)));
        assert_eq!(pooled.interval(f64::NAN).map_err(|error| error.to_string().contains("NaN")), Err(true));
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        // Estimates of 0 with within variance 1 and between variance 1, in 20000 elements.
        use rand::SeedableRng;
        use rand_distr::{Distribution, StandardNormal};
        let mut random = rand::rngs::ChaCha8Rng::seed_from_u64(3);
        let mut normal = |count: usize| -> Vec<f32> { StandardNormal.sample_iter(&mut random).take(count).collect() };
        let cells = 20_000;
        let shared = normal(cells);
        let sets: Vec<Vec<f32>> =
            (0..5).map(|_| normal(cells).iter().zip(&shared).map(|(own, shared)| own + shared).collect()).collect();
        let ones = vec![1.0; cells];
        let sets: Vec<&[f32]> = sets.iter().map(|set| &set[..]).collect();
        let pooled = Pooled::new(&sets, &[&ones[..]; 5]).expect("five data sets");
        // T = U + (1 + 1/m) B is the variance of Q - truth when the truth itself varies by B: a draw of one more set.
        let truth: Vec<f32> = normal(cells);
        let coverage =
            pooled.interval(0.9).expect("a level").scores(&truth, &vec![true; cells]).expect("cells").coverage;
        assert!((coverage - 0.9).abs() < 0.015, "{coverage}");
    }
}
