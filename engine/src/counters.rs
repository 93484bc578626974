//! What a device counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Work that is counted as it is launched.
#[derive(Debug, Default)]
pub(crate) struct Work {
    tensor_bytes: AtomicU64,
    multiply_adds: AtomicU64,
}

impl Work {
    pub(crate) fn add(&self, tensor_bytes: u64, multiply_adds: u64) {
        self.tensor_bytes.fetch_add(tensor_bytes, Ordering::Relaxed);
        self.multiply_adds.fetch_add(multiply_adds, Ordering::Relaxed);
    }

    /// The device's own counters, with this work in them.
    pub(crate) fn on_top_of(&self, own: Counters) -> Counters {
        let [tensor_bytes, multiply_adds] = [&self.tensor_bytes, &self.multiply_adds].map(|count| count.load(Ordering::Relaxed));
        Counters { tensor_bytes, multiply_adds, ..own }
    }
}

/// Memory and activity of a device. The numbers of created objects stand still once a training loop is warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of live tensors.
    pub live_bytes: u64,
    /// The most bytes that were live at once since the last [`Device::reset_peak`](crate::Device::reset_peak).
    pub peak_bytes: u64,
    /// Bytes of free buffers kept for reuse.
    pub pooled_bytes: u64,
    /// Buffers ever created.
    pub buffers_created: u64,
    /// Pipelines ever created; always 0 on the CPU.
    pub pipelines_created: u64,
    /// Bind groups ever created; always 0 on the CPU.
    pub bind_groups_created: u64,
    /// Kernels ever launched.
    pub launches: u64,
    /// Bytes of the tensors that those kernels were given, each input and each output once per launch: what had to move if every kernel read and wrote
    /// its tensors just once.
    pub tensor_bytes: u64,
    /// Multiplications, each with its addition, of the matrix products among them.
    pub multiply_adds: u64,
    /// Submissions to the queue of the GPU; always 0 on the CPU.
    pub submissions: u64,
    /// Times that the host waited for the GPU to read from it; always 0 on the CPU.
    pub read_backs: u64,
    /// Time that the kernels would take on the device that a meta device plans for ([`Rates`](crate::Rates)); 0 on all others.
    pub planned_nanoseconds: u64,
}
