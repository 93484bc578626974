//! What a device counts.

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
    /// Submissions to the queue of the GPU; always 0 on the CPU.
    pub submissions: u64,
}
