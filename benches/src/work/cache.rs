//! Bytes that come from memory, by a simple model of a large card: 528 workgroups run at the same time, and what they read passes through one cache.

use std::collections::{BTreeMap, HashMap};

/// Workgroups that run side by side: four on each of 132 processors.
pub const SIDE_BY_SIDE: usize = 528;
/// The cache that all processors share. Cards of that size have 50 MB, not all of it for one use.
pub const CACHE_BYTES: u64 = 32 << 20;

/// Reads of one kernel, counted.
#[derive(Default)]
pub struct Reads {
    /// What workgroups read, each what it needs once: the load on the cache.
    pub asked: u64,
    /// What comes from memory.
    pub moved: u64,
    /// Last use of each piece that may still be in the cache, and the pieces by their last use.
    last_use: HashMap<u64, (u64, u64)>,
    by_age: BTreeMap<u64, u64>,
    held: u64,
    time: u64,
}

impl Reads {
    /// The reads of workgroups in the order of their numbers: for each the pieces (a name of any kind, bytes) that it needs. Workgroups that run side by side get what
    /// several of them need at once; after them, what was used last stays.
    pub fn of(workgroups: impl Iterator<Item = Vec<(u64, u64)>>) -> Reads {
        let mut reads = Reads::default();
        let mut workgroups = workgroups.peekable();
        while workgroups.peek().is_some() {
            let mut together = BTreeMap::new();
            for pieces in workgroups.by_ref().take(SIDE_BY_SIDE) {
                reads.asked += pieces.iter().map(|(_, bytes)| bytes).sum::<u64>();
                together.extend(pieces);
            }
            together.into_iter().for_each(|(piece, bytes)| reads.read(piece, bytes));
        }
        reads
    }

    fn read(&mut self, piece: u64, bytes: u64) {
        self.time += 1;
        match self.last_use.insert(piece, (self.time, bytes)) {
            Some((time, _)) => drop(self.by_age.remove(&time)),
            None => {
                self.moved += bytes;
                self.held += bytes;
            }
        }
        self.by_age.insert(self.time, piece);
        while self.held > CACHE_BYTES {
            let (_, oldest) = self.by_age.pop_first().expect("something is held");
            let (_, bytes) = self.last_use.remove(&oldest).expect("each piece has an age");
            self.held -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CACHE_BYTES, Reads, SIDE_BY_SIDE};

    #[test]
    fn what_is_needed_side_by_side_is_read_once() {
        let reads = Reads::of((0..SIDE_BY_SIDE).map(|_| vec![(0, 100)]));
        assert_eq!([reads.asked, reads.moved], [100 * SIDE_BY_SIDE as u64, 100]);
    }

    #[test]
    fn what_does_not_fit_is_read_again() {
        let twice = |bytes: u64| Reads::of((0..2 * SIDE_BY_SIDE).map(move |i| vec![((i % SIDE_BY_SIDE) as u64, bytes)])).moved;
        let fits = CACHE_BYTES / SIDE_BY_SIDE as u64;
        assert_eq!(twice(fits), fits * SIDE_BY_SIDE as u64);
        assert_eq!(twice(2 * fits), 4 * fits * SIDE_BY_SIDE as u64);
    }
}
