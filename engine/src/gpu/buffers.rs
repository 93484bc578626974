//! Buffers of the GPU.
//!
//! Work runs in the order it is recorded, so a buffer can be handed out again the moment its tensor is dropped, while the device still computes with
//! it. A training step that allocates the same sizes in the same order gets the same buffers as the step before, and finds their bind groups in the
//! cache.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::pool::Loan;

/// A buffer on loan from the device's pool.
pub(crate) type GpuBuffer = Loan<Recorded>;

/// Every buffer is a multiple of this, so that bindings can be rounded up to whole vectors.
pub(super) const GRANULE_BYTES: u64 = 256;

/// A buffer of the driver and the last recording that uses it.
pub(crate) struct Recorded {
    pub(super) buffer: wgpu::Buffer,
    recording: AtomicU64,
}

impl Recorded {
    /// A buffer that no recording uses yet.
    pub(super) fn new(buffer: wgpu::Buffer) -> Recorded {
        Recorded { buffer, recording: AtomicU64::new(0) }
    }

    /// Notes that recording number `recording` uses the buffer.
    pub(super) fn mark(&self, recording: u64) {
        self.recording.store(recording, Ordering::Relaxed);
    }

    /// True if recording number `recording` uses the buffer.
    pub(super) fn is_used_by(&self, recording: u64) -> bool {
        self.recording.load(Ordering::Relaxed) == recording
    }
}
