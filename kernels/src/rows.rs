//! Rows of one buffer that parallel tasks write, each its own.

use std::marker::PhantomData;

/// A mutable slice whose rows are handed out to tasks that never ask for the same elements.
pub(crate) struct Rows<'a, T> {
    at: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: `slice` makes its callers keep their ranges apart, so tasks never share an element.
unsafe impl<T: Send> Sync for Rows<'_, T> {}

impl<'a, T> Rows<'a, T> {
    pub(crate) fn new(all: &'a mut [T]) -> Self {
        Rows { at: all.as_mut_ptr(), len: all.len(), borrow: PhantomData }
    }

    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The elements `start..start + len`.
    ///
    /// # Safety
    /// No other task may use any of them while the slice lives.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)] // the point of this type
    pub(crate) unsafe fn slice(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.len, "rows past the end of a buffer");
        // SAFETY: in bounds by the assertion, unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(start), len) }
    }
}
