//! The mean of what is visible in a window.

/// The mean of each node's visible values, in every frame.
pub fn window_mean(values: &[f32], visible: &[bool], otherwise: &[f32]) -> Vec<f32> {
    super::by_node(values, visible, otherwise, values.len() / otherwise.len().max(1), |known, filled| {
        let sum: f64 = known.iter().map(|(_, value)| f64::from(*value)).sum();
        filled.fill((sum / known.len() as f64) as f32);
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_visible_values_are_averaged() {
        let values = [0.0, 9.0, 1.0, 9.0, f32::NAN, 9.0, 4.0, 9.0];
        let visible: Vec<bool> = (0..8).map(|cell| cell == 2 || cell == 6).collect();
        assert_eq!(super::window_mean(&values, &visible, &[7.0; 2]), [2.5, 7.0].repeat(4));
    }
}
