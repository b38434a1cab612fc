//! How far forecasts are from what was observed: the variance within an imputed data set (systems 1.8).

use serde::{Deserialize, Serialize};

/// Mean square residuals of a forecaster, on the model's scale, as a profile over the lead times and a factor of each
/// node. A sixth of a record holds a few dozen forecasts that overlap: enough for each lead time over all nodes and for
/// each node over all lead times, too few for each pair of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Residuals {
    /// Mean square at each lead time, `[T']`.
    pub lead: Vec<f32>,
    /// Mean square at each node over that at its lead times, drawn towards 1 as if by one further forecast, `[n]`.
    pub node: Vec<f32>,
    /// Whether they are of frames that did not train.
    pub held_out: bool,
}

impl Residuals {
    /// The variance of each cell of a forecast, `[T', n]`.
    pub fn variance(&self) -> Vec<f32> {
        self.lead.iter().flat_map(|lead| self.node.iter().map(move |node| lead * node)).collect()
    }

    /// What is wrong unless they are of so many lead times and nodes.
    pub(super) fn expect_shape(&self, (horizon, nodes): (usize, usize)) -> Result<(), String> {
        let found = (self.lead.len(), self.node.len());
        match found == (horizon, nodes) {
            true => Ok(()),
            false => Err(format!(
                "metadata entry residuals: expected {horizon} lead times and {nodes} nodes, found {} and {}",
                found.0, found.1
            )),
        }
    }
}

/// Squared residuals added up.
pub(super) struct Squares {
    nodes: usize,
    /// Sum and number at each cell `[T', n]`.
    cells: Vec<(f64, f64)>,
}

impl Squares {
    pub(super) fn new(horizon: usize, nodes: usize) -> Self {
        Squares { nodes, cells: vec![(0.0, 0.0); horizon * nodes] }
    }

    /// Adds forecasts `[b, T', n]` and the labels that were observed.
    pub(super) fn add(&mut self, forecasts: &[f32], labels: &[f32], observed: &[bool]) {
        for i in (0..forecasts.len()).filter(|i| observed[*i]) {
            let cells = self.cells.len();
            let (sum, count) = &mut self.cells[i % cells];
            *sum += f64::from(forecasts[i] - labels[i]).powi(2);
            *count += 1.0;
        }
    }

    pub(super) fn residuals(&self, held_out: bool) -> Residuals {
        let add = |a: (f64, f64), b: &(f64, f64)| (a.0 + b.0, a.1 + b.1);
        let total = self.cells.iter().fold((0.0, 0.0), add);
        let mean = |(sum, count): (f64, f64)| if count > 0.0 { sum / count } else { total.0 / total.1.max(1.0) };
        let leads: Vec<f64> =
            self.cells.chunks(self.nodes).map(|nodes| mean(nodes.iter().fold((0.0, 0.0), add))).collect();
        let prior = leads.len() as f64;
        let factor = |node: usize| {
            let cells = self.cells.iter().skip(node).step_by(self.nodes).zip(&leads);
            // Where a lead time is forecast exactly everywhere, every node is like the others.
            let relative =
                cells.map(|((sum, count), lead)| if *lead > 0.0 { (sum / lead, *count) } else { (0.0, 0.0) });
            let (sum, count) = relative.fold((0.0, 0.0), |a, b| add(a, &b));
            ((sum + prior) / (count + prior)) as f32
        };
        let node = (0..self.nodes).map(factor).collect();
        Residuals { lead: leads.iter().map(|lead| *lead as f32).collect(), node, held_out }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variance_of_lead_time_and_node_is_found_again() {
        let (horizon, nodes) = (3, 4);
        let root = |cell: usize| (1.0 + (cell / nodes) as f32) * (0.5 + (cell % nodes) as f32);
        let mut squares = Squares::new(horizon, nodes);
        for window in 0..5000 {
            let sign = if window % 2 == 0 { 1.0 } else { -1.0 };
            let forecast: Vec<f32> = (0..12).map(|cell| 7.0 + sign * root(cell)).collect();
            let observed: Vec<bool> = (0..12).map(|cell| (window + cell) % 3 > 0).collect();
            squares.add(&forecast, &[7.0; 12], &observed);
        }
        let variance = squares.residuals(true).variance();
        for (cell, variance) in variance.iter().enumerate() {
            let ratio = variance / root(cell).powi(2);
            assert!((ratio - 1.0).abs() < 0.02, "{cell}: {ratio}");
        }
    }

    #[test]
    fn nodes_and_lead_times_without_labels_are_like_the_others() {
        let mut squares = Squares::new(2, 2);
        squares.add(&[1.0, 5.0, 9.0, 9.0], &[3.0; 4], &[true, false, false, false]);
        let residuals = squares.residuals(true);
        assert_eq!((residuals.lead, residuals.node), (vec![4.0, 4.0], vec![1.0, 1.0]));
        assert_eq!(Squares::new(2, 2).residuals(false).variance(), [0.0; 4]);
    }
}
