//! Annual cycle, level of the window, and what nearby visible cells depart from theirs.

use super::annual_cycle::{CYCLE, terms};
use isobath_engine::graph::Rows;
use rayon::prelude::*;

// The four numbers were chosen on hidden cells of the training frames of `chl_hawaii`.

/// Observations that a node's level weighs as much as: without any, the level is that of the cycle.
const LEVEL: f32 = 3.0;
/// Neighbour sums of the anomalies, one after the other: a cell's anomaly reaches so many rings of neighbours.
const RINGS: usize = 2;
/// Weight of the frames before and after, beside the cell's own frame.
const NEXT_FRAME: f32 = 0.05;
/// Weight of no anomaly at all, against the sum of a 3 x 3 box divided by 9.
const PRIOR: f32 = 0.01;

/// Fills a window `[t, n]` at the times of year `phases` `[t]`: the annual cycle `[n, CYCLE]`, plus the mean that the node's
/// visible cells depart from it, plus the mean of what the visible cells of two rings of neighbours, and of the frames before
/// and after, still depart from theirs. Visible cells are filled too.
pub fn nearby_anomalies(graph: &Rows, cycle: &[f32], phases: &[f32], values: &[f32], visible: &[bool]) -> Vec<f32> {
    let nodes = graph.offsets.len() - 1;
    let expected = expected(nodes, cycle, phases, values, visible);
    let frame = |cells: ((&[f32], &[f32]), &[bool])| {
        let ((values, expected), visible) = cells;
        let seen = visible.iter().zip(values.iter().zip(expected));
        let mut sums: Vec<[f32; 2]> = seen.map(|(v, (x, e))| if *v { [x - e, 1.0] } else { [0.0; 2] }).collect();
        for _ in 0..RINGS {
            sums = neighbour_sums(graph, &sums);
        }
        sums
    };
    let cells = values.par_chunks_exact(nodes).zip(expected.par_chunks_exact(nodes));
    let sums: Vec<_> = cells.zip(visible.par_chunks_exact(nodes)).map(frame).collect();
    let filled = |(cell, expected): (usize, &f32)| {
        let (t, n) = (cell / nodes, cell % nodes);
        let near = [t.wrapping_sub(1), t + 1].map(|near| sums.get(near).map_or([0.0; 2], |sums| sums[n]));
        let sum = |part: usize| sums[t][n][part] + NEXT_FRAME * (near[0][part] + near[1][part]);
        expected + sum(0) / (sum(1) + PRIOR)
    };
    expected.iter().enumerate().map(filled).collect()
}

/// Annual cycle and level of every cell, `[t, n]`.
fn expected(nodes: usize, cycle: &[f32], phases: &[f32], values: &[f32], visible: &[bool]) -> Vec<f32> {
    let at = |cycle: &[f32], terms: &[f64; CYCLE]| -> f32 {
        cycle.iter().zip(terms).map(|(a, term)| f64::from(*a) * term).sum::<f64>() as f32
    };
    let frame = |phase: &f32| {
        let terms = terms(*phase);
        cycle.chunks_exact(CYCLE).map(move |cycle| at(cycle, &terms))
    };
    let mut expected: Vec<f32> = phases.iter().flat_map(frame).collect();
    let mut level = vec![[0.0f32, LEVEL]; nodes];
    for (cell, expected) in expected.iter().enumerate().filter(|(cell, _)| visible[*cell]) {
        let [sum, weight] = &mut level[cell % nodes];
        *sum += values[cell] - expected;
        *weight += 1.0;
    }
    for (expected, [sum, weight]) in expected.iter_mut().zip(level.iter().cycle()) {
        *expected += sum / weight;
    }
    expected
}

/// Sums over the neighbours of every node, a ninth of them.
fn neighbour_sums(graph: &Rows, x: &[[f32; 2]]) -> Vec<[f32; 2]> {
    let sum = |range: &[u32]| {
        let neighbours = &graph.neighbours[range[0] as usize..range[1] as usize];
        let sum = neighbours.iter().fold([0.0; 2], |[a, b], j| [a + x[*j as usize][0], b + x[*j as usize][1]]);
        sum.map(|v: f32| v / 9.0)
    };
    graph.offsets.windows(2).map(sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anomaly_spreads_to_its_neighbours() {
        // A row of four nodes with the levels 0 to 3: the first is 1 above its own, the last unseen and out of reach.
        let graph =
            Rows { offsets: vec![0, 2, 5, 8, 10], neighbours: vec![0, 1, 0, 1, 2, 1, 2, 3, 2, 3], values: None };
        let cycle: Vec<f32> = (0..4).flat_map(|node| [node as f32, 0.5, 0.0, 0.0, -0.2]).collect();
        let season = 0.7; // at a quarter of the year
        let filled = nearby_anomalies(&graph, &cycle, &[0.25], &[season + 1.0; 4], &[true, false, false, false]);
        let level = 1.0 / (1.0 + LEVEL);
        // Paths of two steps from the first node: 2 to itself, 2 to the second, 1 to the third, none to the last.
        for (node, paths) in [2.0, 2.0, 1.0, 0.0].into_iter().enumerate() {
            let weight = paths / 81.0;
            let own = if node == 0 { level } else { 0.0 };
            let expected = node as f32 + season + own + (1.0 - level) * weight / (weight + PRIOR);
            assert!((filled[node] - expected).abs() < 1e-5, "{filled:?}");
        }
    }

    #[test]
    fn a_neighbouring_frame_says_a_little() {
        let graph = Rows { offsets: vec![0, 1], neighbours: vec![0], values: None };
        let filled = nearby_anomalies(&graph, &[0.0; CYCLE], &[0.0, 0.1], &[1.0, 0.0], &[true, false]);
        let (level, weight) = (1.0 / (1.0 + LEVEL), NEXT_FRAME / 81.0);
        assert!((filled[1] - (level + (1.0 - level) * weight / (weight + PRIOR))).abs() < 1e-6, "{filled:?}");
    }
}
