//! Second stage of a reduction: partial results of fixed chunks, added in the order of the chunks.

use crate::Real;
use rayon::prelude::*;

/// Elements of one task.
const CHUNK: usize = 1 << 12;

/// y = sum of `partials`, each as long as y, first to last whatever the number of threads.
pub(crate) fn sum_into<T: Real>(y: &mut [T], partials: &[&[T]]) {
    y.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, y)| {
        T::vectorized(
            #[inline(always)]
            || {
                y.fill(T::ZERO);
                for partial in partials {
                    add(y, &partial[chunk * CHUNK..][..y.len()]);
                }
            },
        );
    });
}

/// y += x.
#[inline(always)]
pub(crate) fn add<T: Real>(y: &mut [T], x: &[T]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += *x;
    }
}
