//! What hidden cells hold before noise is added, as published.

/// sum_t X M / (sum_t M + 1e-5) for every node of a window `[t, n]`, in every frame.
pub(crate) fn visible_mean(nodes: usize, values: &[f32], visible: &[bool]) -> Vec<f32> {
    let (mut sum, mut count) = (vec![0.0f32; nodes], vec![0.0f32; nodes]);
    for (values, visible) in values.chunks_exact(nodes).zip(visible.chunks_exact(nodes)) {
        for node in (0..nodes).filter(|node| visible[*node]) {
            sum[node] += values[node];
            count[node] += 1.0;
        }
    }
    let mean: Vec<f32> = sum.iter().zip(count).map(|(sum, count)| sum / (count + 1e-5)).collect();
    mean.repeat(values.len() / nodes.max(1))
}
