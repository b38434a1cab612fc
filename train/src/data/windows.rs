//! Cutting a record in time: training and test frames, and windows inside them.

use std::ops::Range;

use crate::{Error, Result};

/// How much of the record trains; the rest tests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TrainShare {
    /// This fraction of the frames, between 0 and 1, rounded.
    Fraction(f64),
    /// This many frames.
    Frames(usize),
}

/// The frames that train and the frames that test, without a frame in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// The first frames of the record.
    pub train: Range<usize>,
    /// The rest.
    pub test: Range<usize>,
}

/// Splits a record of `frames` frames.
///
/// # Errors
/// [`Error::Input`] when a fraction is not between 0 and 1, or when nothing would be left to
/// train on; an empty test part is allowed.
pub fn split(frames: usize, share: TrainShare) -> Result<Split> {
    let train = match share {
        TrainShare::Fraction(fraction) if (0.0..=1.0).contains(&fraction) => {
            (fraction * frames as f64).round() as usize
        }
        TrainShare::Fraction(fraction) => {
            return Err(Error::Input(format!("training share: expected a fraction between 0 and 1, found {fraction}")));
        }
        TrainShare::Frames(train) => train,
    };
    if train == 0 || train > frames {
        return Err(Error::Input(format!("training share: expected 1 to {frames} frames, found {train}")));
    }
    Ok(Split { train: 0..train, test: train..frames })
}

/// First frames of the windows of `length` frames that lie wholly inside `frames`, every `stride`
/// frames. A window of input and label counts with both: `length` is T + T'.
///
/// # Errors
/// [`Error::Input`] when the window or the stride is 0 or the window is longer than the record;
/// `part` names the frames in the message, such as `training`.
pub fn starts(frames: &Range<usize>, length: usize, stride: usize, part: &str) -> Result<Vec<usize>> {
    if length == 0 || stride == 0 {
        return Err(Error::Input(format!(
            "expected a window and a stride of at least 1 frame, found window = {length}, \
             stride = {stride}"
        )));
    }
    if length > frames.len() {
        return Err(Error::Input(format!("window = {length} frames, the {part} record has {}", frames.len())));
    }
    Ok((frames.start..=frames.end - length).step_by(stride).collect())
}

/// As [`starts`], with the last window moved or added to end with the record, so that every
/// frame is in some window.
///
/// # Errors
/// As [`starts`], and [`Error::Input`] when a stride longer than the window would leave gaps.
pub fn covering(frames: &Range<usize>, length: usize, stride: usize, part: &str) -> Result<Vec<usize>> {
    let mut starts = starts(frames, length, stride, part)?;
    if stride > length {
        return Err(Error::Input(format!(
            "expected a stride of at most the window, found window = {length}, stride = {stride}"
        )));
    }
    let last = frames.end - length;
    if starts.last() != Some(&last) {
        starts.push(last);
    }
    Ok(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_and_test_windows_share_no_frame() {
        let split = split(300, TrainShare::Fraction(0.73)).unwrap();
        assert_eq!((split.train.clone(), split.test.clone()), (0..219, 219..300));
        let train = starts(&split.train, 46, 1, "training").unwrap();
        let test = starts(&split.test, 46, 1, "test").unwrap();
        assert_eq!((train.len(), train[0], train[173] + 46), (174, 0, 219));
        assert_eq!((test.len(), test[0], test[35] + 46), (36, 219, 300));
    }

    #[test]
    fn covering_windows_reach_every_frame() {
        for (range, length, stride) in [(0..100, 46, 23), (3..50, 5, 5), (0..7, 7, 3), (2..12, 4, 1)] {
            let starts = covering(&range, length, stride, "whole").unwrap();
            let covered = |frame| starts.iter().any(|&s| (s..s + length).contains(&frame));
            assert!(range.clone().all(covered), "{range:?} {length} {stride}");
            assert!(starts.windows(2).all(|pair| pair[0] < pair[1]));
            assert!(starts.iter().all(|&s| s >= range.start && s + length <= range.end));
        }
        assert_eq!(covering(&(0..100), 46, 23, "whole").unwrap(), [0, 23, 46, 54]);
    }

    #[test]
    fn impossible_cuts_are_refused_with_numbers() {
        let error = starts(&(0..30), 46, 1, "training").unwrap_err();
        assert_eq!(error.to_string(), "window = 46 frames, the training record has 30");
        assert_eq!(error.exit_code(), 2);
        assert!(covering(&(0..30), 5, 6, "whole").is_err());
        assert!(starts(&(0..30), 0, 1, "whole").is_err());
        assert!(split(30, TrainShare::Frames(31)).is_err());
        assert!(split(30, TrainShare::Fraction(f64::NAN)).is_err());
        assert_eq!(split(30, TrainShare::Frames(30)).unwrap().test, 30..30);
    }
}
