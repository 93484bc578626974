//! The pool of buffers.
//!
//! Work runs in the order it is recorded, so a buffer can be handed out again the moment its tensor is dropped, while the device still computes with
//! it. Of the free buffers of a size the oldest goes out first: a training step that allocates the same sizes in the same order gets the same
//! buffers as the step before, and finds their bind groups in the cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::device::Counters;

/// Every buffer is a multiple of this, so that bindings can be rounded up to whole vectors.
const GRANULE_BYTES: u64 = 256;

/// A buffer of the device and the last recording that uses it.
pub(super) struct RawBuffer {
    pub(super) buffer: wgpu::Buffer,
    pub(super) id: u64,
    pub(super) bytes: u64,
    recording: AtomicU64,
}

impl RawBuffer {
    /// Notes that recording number `recording` uses the buffer.
    pub(super) fn mark(&self, recording: u64) {
        self.recording.store(recording, Ordering::Relaxed);
    }

    /// True if recording number `recording` uses the buffer.
    pub(super) fn is_used_by(&self, recording: u64) -> bool {
        self.recording.load(Ordering::Relaxed) == recording
    }
}

/// A buffer on loan from the pool.
pub(crate) struct GpuBuffer {
    pub(super) raw: Arc<RawBuffer>,
    pool: Arc<Mutex<Pool>>,
}

impl Drop for GpuBuffer {
    fn drop(&mut self) {
        if let Ok(mut pool) = self.pool.lock() {
            pool.give_back(self.raw.clone());
        }
    }
}

impl std::fmt::Debug for GpuBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "GpuBuffer({}, {} bytes)", self.raw.id, self.raw.bytes)
    }
}

/// Free buffers by size, and the account of memory.
pub(super) struct Pool {
    free: HashMap<u64, BTreeMap<u64, Arc<RawBuffer>>>,
    pub(super) budget_bytes: u64,
    pub(super) live_bytes: u64,
    peak_bytes: u64,
    pooled_bytes: u64,
    buffers_created: u64,
}

impl Pool {
    pub(super) fn new() -> Pool {
        Pool { free: HashMap::new(), budget_bytes: u64::MAX, live_bytes: 0, peak_bytes: 0, pooled_bytes: 0, buffers_created: 0 }
    }

    /// A free buffer of that size class.
    pub(super) fn take(&mut self, bytes: u64) -> Option<Arc<RawBuffer>> {
        let (_, raw) = self.free.get_mut(&bytes)?.pop_first()?;
        self.pooled_bytes -= bytes;
        Some(raw)
    }

    /// True if a new buffer fits beside the live and the pooled ones.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.live_bytes.saturating_add(self.pooled_bytes).saturating_add(bytes) <= self.budget_bytes
    }

    /// True if `bytes` more of live tensors would pass the budget.
    pub(super) fn is_over_budget(&self, bytes: u64) -> bool {
        self.live_bytes.saturating_add(bytes) > self.budget_bytes
    }

    /// Takes in a buffer that the driver just made.
    pub(super) fn adopt(&mut self, buffer: wgpu::Buffer) -> Arc<RawBuffer> {
        self.buffers_created += 1;
        let bytes = buffer.size();
        Arc::new(RawBuffer { buffer, id: self.buffers_created, bytes, recording: AtomicU64::new(0) })
    }

    /// Lends a buffer out.
    pub(super) fn lend(this: &Arc<Mutex<Pool>>, pool: &mut Pool, raw: Arc<RawBuffer>) -> GpuBuffer {
        pool.live_bytes += raw.bytes;
        pool.peak_bytes = pool.peak_bytes.max(pool.live_bytes);
        GpuBuffer { raw, pool: this.clone() }
    }

    fn give_back(&mut self, raw: Arc<RawBuffer>) {
        self.live_bytes -= raw.bytes;
        self.pooled_bytes += raw.bytes;
        self.free.entry(raw.bytes).or_default().insert(raw.id, raw);
    }

    /// Gives all free buffers up. Their memory returns once nothing else refers to them: the caller drops their bind groups.
    pub(super) fn trim(&mut self) -> Vec<u64> {
        self.pooled_bytes = 0;
        self.free.drain().flat_map(|(_, buffers)| buffers.into_keys()).collect()
    }

    pub(super) fn reset_peak(&mut self) {
        self.peak_bytes = self.live_bytes;
    }

    pub(super) fn counters(&self) -> Counters {
        Counters {
            live_bytes: self.live_bytes,
            peak_bytes: self.peak_bytes,
            pooled_bytes: self.pooled_bytes,
            buffers_created: self.buffers_created,
            ..Counters::default()
        }
    }
}

/// Rounds up to 1/8 of a power of two, so that nearly equal sizes share buffers and at most 1/8 is wasted.
pub(super) fn size_class(size_bytes: u64) -> u64 {
    let granules = size_bytes.div_ceil(GRANULE_BYTES).max(1);
    let step = (granules.next_power_of_two() / 16).max(1);
    granules.div_ceil(step) * step * GRANULE_BYTES
}

#[cfg(test)]
mod tests {
    use super::size_class;

    #[test]
    fn size_classes_waste_at_most_an_eighth() {
        assert_eq!(size_class(0), 256);
        assert_eq!(size_class(257), 512);
        for size in (1..200_000u64).step_by(97).chain([1 << 20, (1 << 20) + 1, (1 << 31) - 5]) {
            let class = size_class(size);
            assert!(class >= size && class.is_multiple_of(256), "{size} -> {class}");
            assert!(class - size <= size / 8 + 256, "{size} -> {class}");
        }
    }
}
