//! What a model has to beat: fillings that need no training.
//!
//! Arrays are `[frames, nodes]`. Where a node has nothing to go by, it takes its value of `otherwise`, `[nodes]`.

/// The mean of each node in each month of the year, from the observed values of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Climatology {
    nodes: usize,
    /// `[12, nodes]`.
    means: Vec<f32>,
}

impl Climatology {
    /// The climatology of `values` where `observed`; `months` are those of the frames, 1 to 12. A node without
    /// values in a month takes the mean of all its values.
    pub fn new(values: &[f32], observed: &[bool], months: &[u32], otherwise: &[f32]) -> Self {
        let nodes = otherwise.len();
        let mut sums = vec![(0.0f64, 0u32); 13 * nodes];
        for (frame, &month) in months.iter().enumerate() {
            for node in (0..nodes).filter(|node| observed[frame * nodes + node]) {
                // The thirteenth row is the whole year.
                for row in [month as usize - 1, 12] {
                    let (sum, count) = &mut sums[row * nodes + node];
                    *sum += f64::from(values[frame * nodes + node]);
                    *count += 1;
                }
            }
        }
        let mean = |cell: usize| (sums[cell].1 > 0).then(|| (sums[cell].0 / f64::from(sums[cell].1)) as f32);
        let filled = |cell: usize| {
            let node = cell % nodes;
            mean(cell).or_else(|| mean(12 * nodes + node)).unwrap_or(otherwise[node])
        };
        Climatology { nodes, means: (0..12 * nodes).map(filled).collect() }
    }

    /// The climatology of frames in these months, `[frames, nodes]`.
    pub fn of(&self, months: &[u32]) -> Vec<f32> {
        let row = |&month: &u32| &self.means[(month as usize - 1) * self.nodes..month as usize * self.nodes];
        months.iter().flat_map(row).copied().collect()
    }
}

/// The mean of each node's visible values, in every frame.
pub fn window_mean(values: &[f32], visible: &[bool], otherwise: &[f32]) -> Vec<f32> {
    by_node(values, visible, otherwise, |known, filled| {
        let sum: f64 = known.iter().map(|(_, value)| f64::from(*value)).sum();
        filled.fill((sum / known.len() as f64) as f32);
    })
}

/// Each node's visible values joined by straight lines in time, the first and the last one held to the ends.
pub fn linear_interpolation(values: &[f32], visible: &[bool], otherwise: &[f32]) -> Vec<f32> {
    by_node(values, visible, otherwise, |known, filled| {
        let (first, last) = (known[0], known[known.len() - 1]);
        filled[..=first.0].fill(first.1);
        filled[last.0..].fill(last.1);
        for pair in known.windows(2) {
            let ((start, from), (end, to)) = (pair[0], pair[1]);
            for frame in start..=end {
                let part = (frame - start) as f32 / (end - start) as f32;
                filled[frame] = from + part * (to - from);
            }
        }
    })
}

/// Fills node by node from its visible (frame, value) pairs; nodes without any take `otherwise`.
fn by_node(
    values: &[f32],
    visible: &[bool],
    otherwise: &[f32],
    fill: impl Fn(&[(usize, f32)], &mut [f32]),
) -> Vec<f32> {
    let nodes = otherwise.len();
    let frames = values.len() / nodes.max(1);
    let mut all = vec![0.0; values.len()];
    let mut series = vec![0.0; frames];
    for node in 0..nodes {
        let frames = (0..frames).filter(|frame| visible[frame * nodes + node]);
        let known: Vec<(usize, f32)> = frames.map(|frame| (frame, values[frame * nodes + node])).collect();
        match known.is_empty() {
            true => series.fill(otherwise[node]),
            false => fill(&known, &mut series),
        }
        series.iter().enumerate().for_each(|(frame, value)| all[frame * nodes + node] = *value);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: f32 = 7.0;

    #[test]
    fn lines_join_what_is_visible_and_hold_at_the_ends() {
        // Two nodes; the second is never seen.
        let values = [0.0, 9.0, 1.0, 9.0, 0.0, 9.0, 0.0, 9.0, 4.0, 9.0, 0.0, 9.0];
        let visible: Vec<bool> = (0..12).map(|cell| cell == 2 || cell == 8).collect();
        let lines = linear_interpolation(&values, &visible, &[NONE; 2]);
        assert_eq!(lines, [1.0, NONE, 1.0, NONE, 2.0, NONE, 3.0, NONE, 4.0, NONE, 4.0, NONE]);
        let means = window_mean(&values, &visible, &[NONE; 2]);
        assert_eq!(means, [2.5, NONE].repeat(6));
    }

    #[test]
    fn a_month_without_data_takes_the_mean_of_the_node() {
        let months = [1, 2, 1, 2];
        let values = [1.0, 10.0, 3.0, 20.0, 5.0, 30.0, 0.0, 0.0];
        let observed = [true, true, true, false, true, true, false, false];
        let climatology = Climatology::new(&values, &observed, &months, &[NONE; 2]);
        assert_eq!(climatology.of(&[1, 2, 3]), [3.0, 20.0, 3.0, 20.0, 3.0, 20.0]);
        let unseen = Climatology::new(&values, &[false; 8], &months, &[NONE; 2]);
        assert_eq!(unseen.of(&[12]), [NONE; 2]);
    }
}
