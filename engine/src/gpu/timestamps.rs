//! Times of kernels by the device's own clock: each kernel gets a pass of its own with a time stamp at both ends. For `PERCEPT_TRACE=1` only: it
//! keeps kernels from overlapping and waits after each submission.

use std::sync::Arc;

use super::context::Context;
use crate::trace::Trace;

/// Kernels of one recording.
const CAPACITY: u32 = 256;

/// Time stamps of the current recording.
pub(super) struct Timestamps {
    trace: Arc<Trace>,
    queries: wgpu::QuerySet,
    resolved: wgpu::Buffer,
    readable: wgpu::Buffer,
    kernels: Vec<&'static str>,
    nanoseconds_per_tick: f64,
}

impl Timestamps {
    pub(super) fn new(context: &Context, trace: Arc<Trace>) -> Timestamps {
        let bytes = u64::from(2 * CAPACITY) * 8;
        let desc = wgpu::QuerySetDescriptor { label: Some("trace"), ty: wgpu::QueryType::Timestamp, count: 2 * CAPACITY };
        Timestamps {
            trace,
            queries: context.device.create_query_set(&desc),
            resolved: context.buffer(bytes, wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC),
            readable: context.buffer(bytes, wgpu::BufferUsages::MAP_READ),
            kernels: Vec::new(),
            nanoseconds_per_tick: f64::from(context.queue.get_timestamp_period()),
        }
    }

    /// A pass for one kernel.
    pub(super) fn begin_pass(&mut self, encoder: &mut wgpu::CommandEncoder, kernel: &'static str) -> wgpu::ComputePass<'static> {
        let first = 2 * self.kernels.len() as u32;
        self.kernels.push(kernel);
        let writes = wgpu::ComputePassTimestampWrites {
            query_set: &self.queries,
            beginning_of_pass_write_index: Some(first),
            end_of_pass_write_index: Some(first + 1),
        };
        let desc = wgpu::ComputePassDescriptor { label: Some(kernel), timestamp_writes: Some(writes) };
        encoder.begin_compute_pass(&desc).forget_lifetime()
    }

    /// Records the copy of the stamps to where they can be read.
    pub(super) fn resolve(&self, encoder: &mut wgpu::CommandEncoder) {
        let count = 2 * self.kernels.len() as u32;
        if count > 0 {
            encoder.resolve_query_set(&self.queries, 0..count, &self.resolved, 0);
            encoder.copy_buffer_to_buffer(&self.resolved, 0, &self.readable, 0, u64::from(count) * 8);
        }
    }

    /// Waits for the submission and adds its times to the trace.
    pub(super) fn collect(&mut self, context: &Context) {
        let bytes = context.read(&self.readable, 16 * self.kernels.len() as u64);
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
        for (kernel, stamps) in self.kernels.drain(..).zip(ticks.chunks_exact(2)) {
            let nanoseconds = stamps[1].saturating_sub(stamps[0]) as f64 * self.nanoseconds_per_tick;
            self.trace.add(kernel, std::time::Duration::from_nanos(nanoseconds as u64));
        }
    }
}
