//! How far an estimate is from the truth on the cells that were hidden.

use serde::{Deserialize, Serialize};

/// Errors over a set of cells, in the units of the values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Mean absolute error.
    pub mae: f64,
    /// Root of the mean square error.
    pub rmse: f64,
    /// Coefficient of determination: 1 - sum of squared errors / sum of squared deviations of the truth from its
    /// mean. Not a number when the truth is constant.
    pub r2: f64,
    /// Number of cells.
    pub cells: usize,
}

impl Scores {
    /// Scores of `estimate` against `truth` on the cells of `target`, all of one length; `None` without any cell.
    pub fn of(estimate: &[f32], truth: &[f32], target: &[bool]) -> Option<Scores> {
        let cells = || (0..target.len()).filter(|&cell| target[cell]);
        let count = cells().count();
        if count == 0 {
            return None;
        }
        let mean = |term: &dyn Fn(usize) -> f64| cells().map(term).sum::<f64>() / count as f64;
        let error = |cell: usize| f64::from(estimate[cell]) - f64::from(truth[cell]);
        let centre = mean(&|cell| f64::from(truth[cell]));
        let square = mean(&|cell| error(cell).powi(2));
        let variance = mean(&|cell| (f64::from(truth[cell]) - centre).powi(2));
        let mae = mean(&|cell| error(cell).abs());
        Some(Scores { mae, rmse: square.sqrt(), r2: 1.0 - square / variance, cells: count })
    }

    /// The mean of the scores of several windows, each with the same weight; their cells are added up.
    pub fn mean(of: &[Scores]) -> Option<Scores> {
        let mean = |score: &dyn Fn(&Scores) -> f64| of.iter().map(score).sum::<f64>() / of.len() as f64;
        let cells = of.iter().map(|scores| scores.cells).sum();
        (!of.is_empty()).then(|| Scores { mae: mean(&|s| s.mae), rmse: mean(&|s| s.rmse), r2: mean(&|s| s.r2), cells })
    }
}

/// A lower and an upper end for every cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Interval {
    /// Lower ends.
    pub low: Vec<f32>,
    /// Upper ends.
    pub high: Vec<f32>,
}

/// How well intervals hold the truth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalScores {
    /// Share of the cells whose truth lies within, the ends counting as within.
    pub coverage: f64,
    /// Mean distance from the lower to the upper end, in the units of the values.
    pub width: f64,
}

impl Interval {
    /// Scores against `truth` on the cells of `target`, all of one length; `None` without any cell.
    pub fn scores(&self, truth: &[f32], target: &[bool]) -> Option<IntervalScores> {
        let cells = || (0..target.len()).filter(|&cell| target[cell]);
        let count = cells().count();
        let inside = cells().filter(|&cell| (self.low[cell]..=self.high[cell]).contains(&truth[cell])).count();
        let widths = cells().map(|cell| f64::from(self.high[cell]) - f64::from(self.low[cell]));
        let width = widths.sum::<f64>() / count as f64;
        (count > 0).then(|| IntervalScores { coverage: inside as f64 / count as f64, width })
    }
}

impl IntervalScores {
    /// The mean of the scores of several windows, each with the same weight.
    pub fn mean(of: &[IntervalScores]) -> Option<IntervalScores> {
        let mean = |score: &dyn Fn(&IntervalScores) -> f64| of.iter().map(score).sum::<f64>() / of.len() as f64;
        (!of.is_empty()).then(|| IntervalScores { coverage: mean(&|s| s.coverage), width: mean(&|s| s.width) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_target_cells_count() {
        let (truth, estimate) = ([1.0, 2.0, 3.0, 100.0], [1.0, 4.0, 2.0, 0.0]);
        let scores = Scores::of(&estimate, &truth, &[true, true, true, false]).expect("three cells");
        assert_eq!((scores.mae, scores.cells), (1.0, 3));
        assert!((scores.rmse - (5.0f64 / 3.0).sqrt()).abs() < 1e-12);
        assert!((scores.r2 - (1.0 - 5.0 / 2.0)).abs() < 1e-12);
        assert_eq!(Scores::of(&estimate, &truth, &[false; 4]), None);
        let exact = Scores::of(&truth, &truth, &[true; 4]).expect("four cells");
        let mean = Scores::mean(&[scores, exact]).expect("two windows");
        assert_eq!((mean.mae, mean.cells), (0.5, 7));
    }

    #[test]
    fn intervals_count_what_they_hold() {
        let interval = Interval { low: vec![0.0, 1.0, 2.0, 0.0], high: vec![1.0, 3.0, 2.5, 9.0] };
        let scores = interval.scores(&[1.0, 2.0, 3.0, 4.0], &[true, true, true, false]).expect("three cells");
        assert!((scores.coverage - 2.0 / 3.0).abs() < 1e-12 && (scores.width - 3.5 / 3.0).abs() < 1e-12);
        assert_eq!(interval.scores(&[0.0; 4], &[false; 4]), None);
        let none = IntervalScores { coverage: 0.0, width: 0.0 };
        let mean = IntervalScores::mean(&[scores, none]).expect("two windows");
        assert!((mean.coverage - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(IntervalScores::mean(&[]), None);
    }
}
