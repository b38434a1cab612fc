//! Forecasts that repeat what was.

/// The last visible value of each node, `horizon` frames long.
pub fn persistence(values: &[f32], visible: &[bool], horizon: usize, otherwise: &[f32]) -> Vec<f32> {
    super::by_node(values, visible, otherwise, horizon, |known, forecast| forecast.fill(known[known.len() - 1].1))
}

/// The same season of the last year: the value of each node `year` frames before, or 2, 3, ... years before where that
/// is not visible or not in the past; where none of them is, the last visible value. `horizon` frames from the end of
/// `values` on.
pub fn seasonal_persistence(
    values: &[f32],
    visible: &[bool],
    year: usize,
    horizon: usize,
    otherwise: &[f32],
) -> Vec<f32> {
    let frames = values.len() / otherwise.len().max(1);
    super::by_node(values, visible, otherwise, horizon, |known, forecast| {
        for (ahead, value) in forecast.iter_mut().enumerate() {
            let same = known.iter().rev().find(|(frame, _)| (frames + ahead - frame).is_multiple_of(year.max(1)));
            *value = same.unwrap_or(&known[known.len() - 1]).1;
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_is_repeated() {
        // Node 0: years of 3 frames, 1 2 3 4 _ 6; node 1 is never seen.
        let values = [1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, f32::NAN, 0.0, 6.0, 0.0];
        let visible: Vec<bool> = (0..12).map(|cell| cell % 2 == 0 && cell != 8).collect();
        assert_eq!(persistence(&values, &visible, 2, &[7.0; 2]), [6.0, 7.0, 6.0, 7.0]);
        let of = |node: usize, forecast: Vec<f32>| forecast.into_iter().skip(node).step_by(2).collect::<Vec<_>>();
        // The second frame was hidden a year ago and takes the year before; past a year the cycle repeats.
        assert_eq!(of(0, seasonal_persistence(&values, &visible, 3, 5, &[7.0; 2])), [4.0, 2.0, 6.0, 4.0, 2.0]);
        // With a year longer than the record no season is known.
        assert_eq!(of(0, seasonal_persistence(&values, &visible, 30, 2, &[7.0; 2])), [6.0, 6.0]);
        assert_eq!(of(1, seasonal_persistence(&values, &visible, 3, 2, &[7.0; 2])), [7.0, 7.0]);
    }
}
