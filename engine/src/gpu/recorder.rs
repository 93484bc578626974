//! Recording: kernels go into one command encoder and one compute pass until a result is needed or the recording is long enough.

use std::collections::{HashMap, VecDeque};

use super::bindings::BindGroups;
use super::buffers::{GpuBuffer, Recorded};
use super::context::Context;
use super::pipelines::{ParamsIn, Pipelines};
use super::timestamps::Timestamps;
use crate::error::Result;
use crate::kernel::{Dispatch, MAX_PARAMS_BYTES};

/// A recording is submitted at this many dispatches: the device starts while the processor records on, and no submission runs for seconds.
const MAX_DISPATCHES: u32 = 256;
/// The first recording after a read-back, when the device has nothing to do, is submitted at this many, each further one at twice as many as the one before it.
const FIRST_DISPATCHES: u32 = 32;
/// A recording is submitted when its kernels have bound this many bytes.
const MAX_BOUND_BYTES: u64 = 1 << 30;
/// Direct uploads wait in the driver's memory for the next submission; this many bytes bring one about.
const MAX_UPLOAD_BYTES: usize = 256 << 20;
/// The processor runs ahead of the device by at most this many submissions.
const MAX_IN_FLIGHT: usize = 8;
/// Each parameter block of the fallback starts at a multiple of this, the largest alignment that adapters ask for.
const PARAMS_STRIDE: usize = 256;
/// Size of the chunks through which uploads into buffers in use are staged.
const STAGING_BYTES: u64 = 1 << 20;

/// What is recorded and not yet submitted, and the caches that recording needs.
#[derive(Default)]
pub(super) struct Recorder {
    // before the encoder: a pass ends before its encoder does
    pass: Option<wgpu::ComputePass<'static>>,
    encoder: Option<wgpu::CommandEncoder>,
    /// Number of the recording, from 1; see [`Recorded::mark`].
    submitted: u64,
    dispatches: u32,
    /// Submissions since the device was idle.
    since_idle: u32,
    bound_bytes: u64,
    cost: u64,
    uploaded_bytes: usize,
    pipeline_set: u64,
    in_flight: VecDeque<wgpu::SubmissionIndex>,
    params: Params,
    staging: Staging,
    pub(super) pipelines: Pipelines,
    pub(super) bind_groups: BindGroups,
    pub(super) timestamps: Option<Timestamps>,
    pub(super) launches: u64,
    pub(super) submissions: u64,
    pub(super) read_backs: u64,
}

impl Recorder {
    /// Records a kernel.
    pub(super) fn record(&mut self, context: &Context, dispatch: &Dispatch<'_, GpuBuffer>) -> Result<()> {
        assert!(dispatch.params.len() <= MAX_PARAMS_BYTES, "{}: more than {MAX_PARAMS_BYTES} bytes of parameters", dispatch.kernel.name);
        let pipeline = self.pipelines.get(context, dispatch)?;
        let bind_group = self.bind_groups.get(context, pipeline, dispatch);
        for bound in dispatch.bound() {
            bound.storage.mark(self.submitted + 1);
            self.bound_bytes += bound.size_bytes as u64;
        }

        let encoder = self.encoder.get_or_insert_with(|| context.encoder());
        if let Some(timestamps) = &mut self.timestamps {
            self.pass = Some(timestamps.begin_pass(encoder, dispatch.kernel.name));
            self.pipeline_set = 0;
        }
        let pass = self.pass.get_or_insert_with(|| encoder.begin_compute_pass(&Default::default()).forget_lifetime());
        if self.pipeline_set != pipeline.id {
            pass.set_pipeline(&pipeline.pipeline);
            self.pipeline_set = pipeline.id;
        }
        pass.set_bind_group(0, bind_group, &[]);
        match ParamsIn::of(dispatch.kernel, context) {
            ParamsIn::Immediates => pass.set_immediates(0, dispatch.params),
            params => {
                let layout = self.pipelines.params_layout(context, params);
                let (group, offset) = self.params.push(context, params, &layout, dispatch.params);
                pass.set_bind_group(1, group, &[offset]);
            }
        }
        let [x, y] = fold(dispatch.groups, context.report.max_workgroups_per_dimension as usize);
        pass.dispatch_workgroups(x, y, 1);
        if self.timestamps.is_some() {
            self.end_pass();
        }

        self.launches += 1;
        self.dispatches += 1;
        self.cost += dispatch.cost;
        let limit = (FIRST_DISPATCHES << self.since_idle.min(16)).min(MAX_DISPATCHES);
        if self.dispatches >= limit || self.bound_bytes >= MAX_BOUND_BYTES || self.cost >= context.submission_multiply_adds {
            self.submit(context);
        }
        Ok(())
    }

    /// Writes `bytes` (a multiple of 4) so that work recorded before sees the old content and work recorded after it the new.
    pub(super) fn upload(&mut self, context: &Context, target: &Recorded, offset: u64, bytes: &[u8]) {
        if !target.is_used_by(self.submitted + 1) {
            context.queue.write_buffer(&target.buffer, offset, bytes);
            self.uploaded_bytes += bytes.len();
            if self.uploaded_bytes > MAX_UPLOAD_BYTES {
                self.submit(context);
            }
            return;
        }
        // The queue writes before the recording runs: what it writes is a staging buffer, and the copy is recorded in its place.
        self.end_pass();
        let encoder = self.encoder.get_or_insert_with(|| context.encoder());
        let mut done = 0;
        for chunk in bytes.chunks(STAGING_BYTES as usize) {
            let (staging, start) = self.staging.place(context, chunk.len() as u64);
            context.queue.write_buffer(staging, start, chunk);
            encoder.copy_buffer_to_buffer(staging, start, &target.buffer, offset + done, chunk.len() as u64);
            done += chunk.len() as u64;
        }
        self.dispatches += 1;
    }

    /// Records a copy out of a buffer.
    pub(super) fn copy(&mut self, context: &Context, (from, offset): (&Recorded, u64), (to, at): (&wgpu::Buffer, u64), bytes: u64) {
        self.end_pass();
        let encoder = self.encoder.get_or_insert_with(|| context.encoder());
        encoder.copy_buffer_to_buffer(&from.buffer, offset, to, at, bytes);
    }

    /// Records zeros into a buffer.
    pub(super) fn clear(&mut self, context: &Context, target: &Recorded) {
        self.end_pass();
        target.mark(self.submitted + 1);
        self.encoder.get_or_insert_with(|| context.encoder()).clear_buffer(&target.buffer, 0, None);
    }

    /// Hands the recording, and uploads that wait, to the device.
    pub(super) fn submit(&mut self, context: &Context) {
        self.end_pass();
        if self.encoder.is_none() && self.uploaded_bytes == 0 {
            return;
        }
        let mut encoder = self.encoder.take().unwrap_or_else(|| context.encoder());
        self.params.write(context);
        if let Some(timestamps) = &self.timestamps {
            timestamps.resolve(&mut encoder);
        }
        let index = context.queue.submit([encoder.finish()]);
        self.submitted += 1;
        self.submissions += 1;
        self.since_idle += 1;
        self.dispatches = 0;
        self.bound_bytes = 0;
        self.cost = 0;
        self.uploaded_bytes = 0;
        self.staging.restart();
        if let Some(timestamps) = &mut self.timestamps {
            timestamps.collect(context);
        }
        self.in_flight.push_back(index);
        if self.in_flight.len() > MAX_IN_FLIGHT {
            let oldest = self.in_flight.pop_front();
            context.wait(oldest);
        }
    }

    /// Submits and waits until the device is idle.
    pub(super) fn finish(&mut self, context: &Context) {
        self.submit(context);
        self.in_flight.clear();
        context.wait(None);
        self.since_idle = 0;
    }

    /// Counts a read-back, behind which the device is idle.
    pub(super) fn was_read(&mut self) {
        self.read_backs += 1;
        self.since_idle = 0;
    }

    fn end_pass(&mut self) {
        self.pass = None;
        self.pipeline_set = 0;
    }
}

/// Folds a linear number of workgroups into x and y, evenly, so that few groups are beyond the end. Shaders compute
/// `workgroup_id.x + workgroup_id.y * num_workgroups.x` and return beyond it.
fn fold(groups: usize, limit: usize) -> [u32; 2] {
    let rows = groups.div_ceil(limit);
    assert!(rows <= limit, "{groups} workgroups are more than the adapter's {limit} x {limit}");
    [groups.div_ceil(rows) as u32, rows as u32]
}

/// Parameters where there are no immediates: blocks of one buffer, addressed by a dynamic offset, written before the recording is submitted.
#[derive(Default)]
struct Params {
    bytes: Vec<u8>,
    buffer: Option<wgpu::Buffer>,
    /// The buffer as it is bound.
    groups: HashMap<ParamsIn, wgpu::BindGroup>,
}

impl Params {
    fn push(&mut self, context: &Context, how: ParamsIn, layout: &wgpu::BindGroupLayout, params: &[u8]) -> (&wgpu::BindGroup, u32) {
        let offset = self.bytes.len();
        self.bytes.extend_from_slice(params);
        self.bytes.resize(offset + PARAMS_STRIDE, 0);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::UNIFORM;
        let buffer = self.buffer.get_or_insert_with(|| context.buffer(u64::from(MAX_DISPATCHES) * PARAMS_STRIDE as u64, usage));
        let group = self.groups.entry(how).or_insert_with(|| {
            let size = wgpu::BufferSize::new(MAX_PARAMS_BYTES as u64);
            let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
            let entries = &[wgpu::BindGroupEntry { binding: 0, resource }];
            context.device.create_bind_group(&wgpu::BindGroupDescriptor { label: Some("parameters"), layout, entries })
        });
        (group, offset as u32)
    }

    fn write(&mut self, context: &Context) {
        if let Some(buffer) = &self.buffer {
            context.queue.write_buffer(buffer, 0, &self.bytes);
            self.bytes.clear();
        }
    }
}

/// Buffers for uploads in the middle of a recording; filled from the front in each recording.
#[derive(Default)]
struct Staging {
    chunks: Vec<wgpu::Buffer>,
    chunk: usize,
    used_bytes: u64,
}

impl Staging {
    fn place(&mut self, context: &Context, bytes: u64) -> (&wgpu::Buffer, u64) {
        if self.used_bytes + bytes > STAGING_BYTES {
            self.chunk += 1;
            self.used_bytes = 0;
        }
        if self.chunk == self.chunks.len() {
            self.chunks.push(context.buffer(STAGING_BYTES, wgpu::BufferUsages::COPY_SRC));
        }
        let start = self.used_bytes;
        self.used_bytes += bytes;
        (&self.chunks[self.chunk], start)
    }

    fn restart(&mut self) {
        // what a rare large upload needed is given back
        self.chunks.truncate(16);
        self.chunk = 0;
        self.used_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn workgroups_fold_evenly() {
        assert_eq!(fold(1, 65_535), [1, 1]);
        assert_eq!(fold(65_535, 65_535), [65_535, 1]);
        assert_eq!(fold(65_536, 65_535), [32_768, 2]);
        assert_eq!(fold(1_000_003, 65_535), [62_501, 16]);
        for groups in [65_537usize, 131_071, 9_999_991] {
            let [x, y] = fold(groups, 65_535);
            let dispatched = x as usize * y as usize;
            assert!(dispatched >= groups && dispatched < groups + y as usize, "{groups}: {x} x {y}");
        }
    }
}
