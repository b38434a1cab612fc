//! Straight lines in time.

/// Each node's visible values joined by straight lines in time, the first and the last one held to the ends. `times`
/// are those of the frames, increasing, in any unit.
pub fn linear_interpolation(values: &[f32], visible: &[bool], times: &[f64], otherwise: &[f32]) -> Vec<f32> {
    super::by_node(values, visible, otherwise, times.len(), |known, filled| {
        let (first, last) = (known[0], known[known.len() - 1]);
        filled[..=first.0].fill(first.1);
        filled[last.0..].fill(last.1);
        for pair in known.windows(2) {
            let ((start, from), (end, to)) = (pair[0], pair[1]);
            for frame in start..=end {
                let share = (times[frame] - times[start]) / (times[end] - times[start]);
                filled[frame] = from + share as f32 * (to - from);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_join_what_is_visible_and_hold_at_the_ends() {
        // Two nodes; the second is never seen.
        let values = [0.0, 9.0, 1.0, 9.0, 0.0, 9.0, 0.0, 9.0, 4.0, 9.0, 0.0, 9.0];
        let visible: Vec<bool> = (0..12).map(|cell| cell == 2 || cell == 8).collect();
        let filled = |times: &[f64]| linear_interpolation(&values, &visible, times, &[7.0; 2]);
        assert_eq!(
            filled(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]),
            [1.0, 7.0, 1.0, 7.0, 2.0, 7.0, 3.0, 7.0, 4.0, 7.0, 4.0, 7.0]
        );
        // Frames at days 10, 11 and 16: the second is one sixth on the way from 1 to 4.
        let uneven = filled(&[0.0, 10.0, 11.0, 14.0, 16.0, 17.0]);
        assert_eq!((uneven[4], uneven[6]), (1.5, 3.0));
    }
}
