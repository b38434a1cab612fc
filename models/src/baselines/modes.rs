//! The little linear algebra of orthogonal iteration.

/// Makes `modes [rank, frames]` orthonormal by the modified Gram-Schmidt process; what depends on the modes before it
/// becomes 0.
pub(super) fn orthonormalise(modes: &mut [f64], frames: usize) {
    for mode in 0..modes.len() / frames.max(1) {
        let (before, rest) = modes.split_at_mut(mode * frames);
        let mode = &mut rest[..frames];
        let size = dot(mode, mode);
        // Twice, for modes that nearly lie in the span of those before.
        for _ in 0..2 {
            before.chunks(frames).for_each(|other| add_scaled(mode, -dot(other, mode), other));
        }
        let left = dot(mode, mode);
        let factor = if left > 1e-24 * size { left.sqrt().recip() } else { 0.0 };
        mode.iter_mut().for_each(|value| *value *= factor);
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(super) fn add_scaled(to: &mut [f64], factor: f64, from: &[f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += factor * from);
}
