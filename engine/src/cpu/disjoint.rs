//! A slice that parallel tasks write in interleaved pieces of their own, which `chunks_mut` cannot express.
#![allow(unsafe_code)] // the pieces are strided: no safe split exists; each use argues why its tasks do not meet

use std::marker::PhantomData;

/// A mutable slice from which tasks take pieces that do not overlap.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: it gives out `&mut T` of pieces that do not overlap, by the contract of `piece`; so `T: Send` is enough.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice for as long as the tasks run.
    pub fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// The piece of `len` elements from `offset` on.
    ///
    /// # Safety
    /// While the returned slice lives, no other piece that overlaps it may be taken.
    ///
    /// # Panics
    /// If the piece reaches past the end.
    #[allow(clippy::mut_from_ref)] // that is what it is for: pieces do not overlap, by the contract above
    pub unsafe fn piece(&self, offset: usize, len: usize) -> &mut [T] {
        assert!(offset + len <= self.len, "piece {offset}..{} of {} elements", offset + len, self.len);
        // SAFETY: inside the slice that `new` borrowed, and nobody else's while it lives, by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// A pointer to the `len` elements from `offset` on, for kernels that write a strided piece of them. Whoever writes there keeps the contract of
    /// [`piece`](Disjoint::piece).
    ///
    /// # Panics
    /// If they reach past the end.
    pub fn pointer(&self, offset: usize, len: usize) -> *mut T {
        assert!(offset + len <= self.len, "elements {offset}..{} of {}", offset + len, self.len);
        self.start.wrapping_add(offset)
    }
}
