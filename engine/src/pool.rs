//! The pool of buffers behind a device: freed buffers are kept by size and handed out again.
//!
//! A training step allocates nearly the same sizes in the same order each time, so that after the first steps it creates nothing. The pool knows buffers by
//! number and size only; what a buffer is, the device says.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex};

use crate::counters::Counters;
use crate::error::{Error, Result};

/// Which of the free buffers of a size goes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// The one freed last, whose content is still in the processor's caches.
    LastFreed,
    /// The one made first: a step gets the same buffers as the step before, and what is cached by buffer is found again.
    FirstMade,
}

/// Free buffers by size, and the account of memory.
pub(crate) struct Pool<B> {
    device: String,
    reuse: Reuse,
    budget_bytes: u64,
    counters: Counters,
    /// By size; the last of each list goes out next.
    free: BTreeMap<u64, Vec<Free<B>>>,
    /// Buffers that were ever given back.
    freed: u64,
}

/// A free buffer.
struct Free<B> {
    id: u64,
    buffer: B,
    /// How many were given back before it.
    freed: u64,
}

/// A buffer on loan: it goes back to its pool when it is dropped.
pub(crate) struct Loan<B> {
    buffer: Option<B>,
    id: u64,
    bytes: u64,
    pool: Arc<Mutex<Pool<B>>>,
}

impl<B> Pool<B> {
    /// An empty pool without a limit; `device` is named in errors.
    pub(crate) fn new(device: &str, reuse: Reuse) -> Pool<B> {
        Pool { device: device.to_string(), reuse, budget_bytes: u64::MAX, counters: Counters::default(), free: BTreeMap::new(), freed: 0 }
    }

    /// An error if `bytes` more of live buffers would pass the budget. `what` says what they are for.
    pub(crate) fn check_budget(&self, bytes: u64, what: &dyn Fn() -> String) -> Result<()> {
        match self.counters.live_bytes.saturating_add(bytes) > self.budget_bytes {
            true => Err(self.out_of_memory(bytes, what)),
            false => Ok(()),
        }
    }

    /// The error of a device that cannot give `bytes` more.
    pub(crate) fn out_of_memory(&self, bytes: u64, what: &dyn Fn() -> String) -> Error {
        Error::OutOfMemory {
            device: self.device.clone(),
            what: what(),
            needed_bytes: bytes,
            live_bytes: self.counters.live_bytes,
            budget_bytes: self.budget_bytes,
        }
    }

    /// True if a new buffer fits into the budget beside the live and the free ones.
    pub(crate) fn has_room(&self, bytes: u64) -> bool {
        let Counters { live_bytes, pooled_bytes, .. } = self.counters;
        live_bytes.saturating_add(pooled_bytes).saturating_add(bytes) <= self.budget_bytes
    }

    /// Lends a free buffer of this size, or of the next larger one that is at most a quarter larger and within the budget, if there is one. The number of
    /// tokens differs a little from step to step; without the quarter, buffers of all sizes would come together.
    pub(crate) fn lend(&mut self, this: &Arc<Mutex<Pool<B>>>, bytes: u64) -> Option<Loan<B>> {
        let most = (bytes + bytes / 4).min(self.budget_bytes.saturating_sub(self.counters.live_bytes)).max(bytes);
        let (&bytes, free) = self.free.range_mut(bytes..=most).find(|(_, free)| !free.is_empty())?;
        let Free { id, buffer, .. } = free.pop()?;
        self.counters.pooled_bytes -= bytes;
        Some(self.loan(this, buffer, id, bytes))
    }

    /// Takes in a buffer that was just made, and lends it.
    pub(crate) fn adopt(&mut self, this: &Arc<Mutex<Pool<B>>>, buffer: B, bytes: u64) -> Loan<B> {
        self.counters.buffers_created += 1;
        self.loan(this, buffer, self.counters.buffers_created, bytes)
    }

    fn loan(&mut self, this: &Arc<Mutex<Pool<B>>>, buffer: B, id: u64, bytes: u64) -> Loan<B> {
        self.counters.live_bytes += bytes;
        self.counters.peak_bytes = self.counters.peak_bytes.max(self.counters.live_bytes);
        Loan { buffer: Some(buffer), id, bytes, pool: this.clone() }
    }

    fn give_back(&mut self, buffer: B, id: u64, bytes: u64) {
        self.counters.live_bytes -= bytes;
        self.counters.pooled_bytes += bytes;
        let free = self.free.entry(bytes).or_default();
        let place = match self.reuse {
            Reuse::LastFreed => free.len(),
            Reuse::FirstMade => free.partition_point(|other| other.id > id),
        };
        free.insert(place, Free { id, buffer, freed: self.freed });
        self.freed += 1;
    }

    /// Takes out free buffers, those first that were freed longest ago, until one of `bytes` more leaves everything together within the budget and within a quarter (and 64 MiB) above the
    /// most that was ever live: what is kept for reuse is memory that nothing else has.
    pub(crate) fn make_room(&mut self, bytes: u64) -> Vec<B> {
        const ALWAYS: u64 = 64 << 20;
        let Counters { live_bytes, peak_bytes, .. } = self.counters;
        let peak = peak_bytes.max(live_bytes.saturating_add(bytes));
        let most = peak.saturating_add(peak / 4).saturating_add(ALWAYS).min(self.budget_bytes);
        let mut taken = Vec::new();
        while live_bytes.saturating_add(self.counters.pooled_bytes).saturating_add(bytes) > most {
            let oldest = |free: &[Free<B>]| free.iter().enumerate().map(|(at, free)| (free.freed, at)).min();
            let found = self.free.iter().filter_map(|(&size, free)| oldest(free).map(|(freed, at)| (freed, size, at))).min();
            let Some((_, size, at)) = found else { break };
            let free = self.free.get_mut(&size).expect("it was found there");
            taken.push(free.remove(at).buffer);
            if free.is_empty() {
                self.free.remove(&size);
            }
            self.counters.pooled_bytes -= size;
        }
        taken
    }

    /// Drops all free buffers and returns their numbers.
    pub(crate) fn trim(&mut self) -> Vec<u64> {
        self.counters.pooled_bytes = 0;
        std::mem::take(&mut self.free).into_values().flatten().map(|free| free.id).collect()
    }

    /// Limits the bytes of live buffers.
    pub(crate) fn set_budget(&mut self, bytes: u64) {
        self.budget_bytes = bytes;
    }

    /// The highest point of live bytes starts over from now.
    pub(crate) fn reset_peak(&mut self) {
        self.counters.peak_bytes = self.counters.live_bytes;
    }

    /// Bytes and buffers; the other counters are 0.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }
}

impl<B> Loan<B> {
    /// The number of the buffer: no other buffer of the pool ever has it.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Its size, which may be larger than what was asked for.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl<B> Deref for Loan<B> {
    type Target = B;

    fn deref(&self) -> &B {
        self.buffer.as_ref().expect("there until it is dropped")
    }
}

impl<B> Drop for Loan<B> {
    fn drop(&mut self) {
        if let (Some(buffer), Ok(mut pool)) = (self.buffer.take(), self.pool.lock()) {
            pool.give_back(buffer, self.id, self.bytes);
        }
    }
}

impl<B> std::fmt::Debug for Loan<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "buffer {} of {} bytes", self.id, self.bytes)
    }
}

/// Rounds a size up to at most 1/8 more, in granules of a device, so that nearly equal sizes share buffers.
pub(crate) fn size_class(size_bytes: u64, granule_bytes: u64) -> u64 {
    let granules = size_bytes.div_ceil(granule_bytes).max(1);
    let step = (granules.next_power_of_two() / 16).max(1);
    granules.div_ceil(step) * step * granule_bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        assert_eq!(size_class(0, 256), 256);
        assert_eq!(size_class(257, 256), 512);
        for size in (1..200_000u64).step_by(97).chain([1 << 20, (1 << 20) + 1, (1 << 31) - 5]) {
            let class = size_class(size, 256);
            assert!(class >= size && class.is_multiple_of(256), "{size} -> {class}");
            assert!(class - size <= size / 8 + 256, "{size} -> {class}");
        }
    }

    #[test]
    fn the_next_buffer_is_the_one_that_the_rule_says() {
        for (reuse, expected) in [(Reuse::LastFreed, ["b", "a", "c"]), (Reuse::FirstMade, ["a", "b", "c"])] {
            let pool = Arc::new(Mutex::new(Pool::new("test", reuse)));
            let [a, b, c] = ["a", "b", "c"].map(|name| pool.lock().unwrap().adopt(&pool, name, 64));
            drop((c, a, b));
            let again = [(); 3].map(|()| pool.lock().unwrap().lend(&pool, 64).unwrap());
            assert_eq!(again.each_ref().map(|loan| **loan), expected);
            assert!(pool.lock().unwrap().lend(&pool, 64).is_none());
            let Counters { live_bytes, peak_bytes, pooled_bytes, buffers_created, .. } = pool.lock().unwrap().counters();
            assert_eq!([live_bytes, peak_bytes, pooled_bytes, buffers_created], [192, 192, 0, 3]);
        }
    }

    #[test]
    fn what_is_free_beyond_the_peak_is_given_up_oldest_first() {
        const MIB: u64 = 1 << 20;
        let pool = Arc::new(Mutex::new(Pool::new("test", Reuse::LastFreed)));
        for size in 1..=40 {
            let given_up = pool.lock().unwrap().make_room(size * 10 * MIB);
            let loan = pool.lock().unwrap().adopt(&pool, size, size * 10 * MIB);
            drop(loan);
            let Counters { peak_bytes, pooled_bytes, .. } = pool.lock().unwrap().counters();
            assert!(pooled_bytes <= peak_bytes + peak_bytes / 4 + 64 * MIB, "{size}: {pooled_bytes}");
            assert!(given_up.windows(2).all(|pair| pair[0] < pair[1]) && given_up.last().is_none_or(|last| *last < size), "{given_up:?}");
        }
        pool.lock().unwrap().set_budget(400 * MIB);
        pool.lock().unwrap().make_room(100 * MIB);
        assert!(pool.lock().unwrap().counters().pooled_bytes <= 300 * MIB, "free buffers and the new one are within the budget");
    }

    #[test]
    fn the_budget_counts_live_bytes() {
        let pool = Arc::new(Mutex::new(Pool::new("test", Reuse::LastFreed)));
        let loan = pool.lock().unwrap().adopt(&pool, (), 600);
        pool.lock().unwrap().set_budget(1000);
        let check = || pool.lock().unwrap().check_budget(500, &|| "five hundred".into());
        let error = check().unwrap_err().to_string();
        assert!(error.contains("test") && error.contains("five hundred needs 500 bytes; 600 are live"), "{error}");
        drop(loan);
        check().unwrap();
        assert!(!pool.lock().unwrap().has_room(500), "free buffers take room, too");
        assert_eq!(pool.lock().unwrap().trim(), [1]);
        assert!(pool.lock().unwrap().has_room(500));
    }
}
