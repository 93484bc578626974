//! A slice that parallel tasks write in interleaved pieces of their own, which `chunks_mut` cannot express.
#![allow(unsafe_code)] // the pieces are strided: no safe split exists; each use argues why its tasks do not meet

use std::marker::PhantomData;

#[cfg(debug_assertions)]
use taken::Taken;

/// A mutable slice from which tasks take pieces that do not overlap.
pub struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
    /// What was taken so far: debug builds hold every use to its word.
    #[cfg(debug_assertions)]
    taken: Taken,
}

// SAFETY: it gives out `&mut T` of pieces that do not overlap, by the contract of `piece`; so `T: Send` is enough.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    /// Takes the slice for as long as the tasks run.
    pub fn new(slice: &'a mut [T]) -> Disjoint<'a, T> {
        Disjoint {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            owner: PhantomData,
            #[cfg(debug_assertions)]
            taken: Taken::default(),
        }
    }

    /// The piece of `len` elements from `offset` on.
    ///
    /// # Safety
    /// While the returned slice lives, no other piece that overlaps it may be taken.
    ///
    /// # Panics
    /// If the piece reaches past the end; in debug builds also if it overlaps one that another thread took since the beginning or the last [`anew`](Disjoint::anew).
    #[allow(clippy::mut_from_ref)] // that is what it is for: pieces do not overlap, by the contract above
    pub unsafe fn piece(&self, offset: usize, len: usize) -> &mut [T] {
        assert!(offset + len <= self.len, "piece {offset}..{} of {} elements", offset + len, self.len);
        #[cfg(debug_assertions)]
        self.taken.take(offset, len);
        // SAFETY: inside the slice that `new` borrowed, and nobody else's while it lives, by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(offset), len) }
    }

    /// Says that no piece that was taken lives any more: others may take the same elements from now on.
    pub fn anew(&self) {
        #[cfg(debug_assertions)]
        self.taken.forget();
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

/// The pieces that threads took, in debug builds.
#[cfg(debug_assertions)]
mod taken {
    use std::collections::BTreeMap;
    use std::sync::{Mutex, PoisonError};
    use std::thread::{ThreadId, current};

    /// End and thread of every piece, by its start.
    #[derive(Default)]
    pub(super) struct Taken(Mutex<BTreeMap<usize, (usize, ThreadId)>>);

    impl Taken {
        pub(super) fn take(&self, start: usize, len: usize) {
            let (end, thread) = (start + len, current().id());
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // a thread that takes its piece again has let go of the first; pieces of others never overlap each other, so the nearest two tell
            let others = taken.range(..end).rev().take_while(|(_, (other, _))| *other > start);
            if let Some((first, (last, _))) = others.into_iter().find(|(_, (_, other))| *other != thread) {
                panic!("two threads write the same elements: {start}..{end} and {first}..{last}");
            }
            if len > 0 {
                let longest = taken.get(&start).map_or(end, |(other, _)| end.max(*other));
                taken.insert(start, (longest, thread));
            }
        }

        pub(super) fn forget(&self) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::Disjoint;

    #[test]
    fn pieces_of_two_threads_that_overlap_are_found() {
        let mut values = [0; 10];
        let disjoint = Disjoint::new(&mut values);
        let take = |offset, len| {
            let taken = std::thread::scope(|scope| {
                // SAFETY: no piece outlives its thread
                scope.spawn(|| unsafe { disjoint.piece(offset, len) }.fill(1)).join()
            });
            taken.map_err(|panic| panic.downcast_ref::<String>().cloned().unwrap_or_default())
        };
        assert_eq!((take(0, 4), take(6, 4), take(4, 2)), (Ok(()), Ok(()), Ok(())));
        for (offset, len) in [(3, 1), (0, 10), (5, 3), (9, 1)] {
            assert!(take(offset, len).unwrap_err().contains("two threads write the same elements"), "{offset} {len}");
        }
        disjoint.anew();
        assert_eq!(take(3, 4), Ok(()));
    }
}
