//! The wgpu backend: Vulkan, Metal and DX12. Nothing above this module sees wgpu.
//!
//! Kernels are recorded into one command encoder and submitted when a result is read or the recording is long enough (`recorder`). Buffers come
//! from a pool; pipelines and bind groups are cached (`pipelines`, `bindings`), so that a warm training step creates nothing.

mod adapter;
mod bindings;
mod buffers;
mod context;
mod hash;
mod pipelines;
mod recorder;
mod timestamps;
mod trusted;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};

pub use adapter::{AdapterReport, CooperativeTile, GpuSelector, adapters};
pub(crate) use buffers::GpuBuffer;
use buffers::{GRANULE_BYTES, Recorded};
use context::Context;
use recorder::Recorder;
use timestamps::Timestamps;

use crate::counters::Counters;
use crate::error::{Error, Failure, Result};
use crate::kernel::Dispatch;
use crate::pool::{Pool, Reuse, size_class};
use crate::trace::Trace;

/// Downloads go through a mapped buffer of at most this size.
const READBACK_BYTES: u64 = 64 << 20;

/// An opened GPU.
pub(crate) struct Gpu {
    context: Context,
    pool: Arc<Mutex<Pool<Recorded>>>,
    recorder: Mutex<Recorder>,
    readback: Mutex<Option<wgpu::Buffer>>,
    trace: Arc<Trace>,
}

impl Gpu {
    /// Opens the adapter that the selector means. Later errors of the driver go to `failure`, times of kernels to `trace`.
    pub(crate) fn open(selector: &GpuSelector, failure: Arc<Failure>, trace: Arc<Trace>) -> Result<Gpu> {
        let context = Context::open(selector, failure)?;
        Ok(Gpu {
            pool: Arc::new(Mutex::new(Pool::new(&context.report.name, Reuse::FirstMade))),
            context,
            recorder: Mutex::default(),
            readback: Mutex::default(),
            trace,
        })
    }

    /// The adapter, with the features that are in use.
    pub(crate) fn report(&self) -> &AdapterReport {
        &self.context.report
    }

    /// A buffer of at least `size_bytes`, its content undefined.
    pub(crate) fn alloc(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Result<GpuBuffer> {
        self.context.check_alive()?;
        let report = self.report();
        let needed_bytes = size_bytes as u64;
        if needed_bytes > report.max_binding_bytes {
            let (device, limit_bytes) = (report.name.clone(), report.max_binding_bytes);
            return Err(Error::TooLargeForBinding { device, what: what(), needed_bytes, limit_bytes });
        }
        let size_class = size_class(needed_bytes, GRANULE_BYTES);
        let bytes = size_class.min(report.max_buffer_bytes & !255).max(needed_bytes.next_multiple_of(4));

        let mut pool = self.pool();
        pool.check_budget(bytes, what)?;
        if let Some(buffer) = pool.lend(&self.pool, bytes) {
            return Ok(buffer);
        }
        let created = match pool.has_room(bytes) {
            true => self.context.try_tensor_buffer(bytes),
            false => None,
        };
        // The pool may hold what the new buffer needs, in buffers of other sizes.
        let created = created.or_else(|| {
            self.trim(&mut pool);
            self.context.try_tensor_buffer(bytes)
        });
        match created {
            Some(buffer) => Ok(pool.adopt(&self.pool, Recorded::new(buffer), bytes)),
            None => Err(pool.out_of_memory(bytes, what)),
        }
    }

    /// Fills a buffer with zeros, in the order of the recording.
    pub(crate) fn clear(&self, buffer: &GpuBuffer) {
        self.recorder().clear(&self.context, buffer);
    }

    /// Writes bytes, after all work recorded so far and before all recorded later.
    pub(crate) fn upload(&self, buffer: &GpuBuffer, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() || self.context.check_alive().is_err() {
            return;
        }
        let end = offset + bytes.len();
        let (start_word, end_word) = (offset & !3, end.next_multiple_of(4));
        if start_word == offset && end_word == end {
            return self.recorder().upload(&self.context, buffer, offset as u64, bytes);
        }
        // Half types at odd places: keep the neighbours in the words at both ends. New tensors start at 0 and end in padding.
        let mut words = match start_word == 0 && end_word as u64 >= buffer.bytes() {
            true => vec![0; end_word - start_word],
            false => match self.download(buffer, start_word, end_word - start_word) {
                Ok(words) => words,
                Err(error) => return self.context.failure.set(error),
            },
        };
        words[offset - start_word..end - start_word].copy_from_slice(bytes);
        self.recorder().upload(&self.context, buffer, start_word as u64, &words);
    }

    /// Reads bytes, after all work recorded so far. Waits for the device.
    pub(crate) fn download(&self, buffer: &GpuBuffer, offset: usize, size_bytes: usize) -> Result<Vec<u8>> {
        let (mut start, end) = ((offset & !3) as u64, (offset + size_bytes).next_multiple_of(4) as u64);
        let mut bytes = Vec::with_capacity((end - start) as usize);
        let mut recorder = self.recorder();
        let mut readback = self.readback.lock().expect("readback");
        while start < end && size_bytes > 0 {
            self.context.check_alive()?;
            let chunk = (end - start).min(READBACK_BYTES);
            let staging = self.readback_buffer(&mut readback, chunk);
            recorder.copy(&self.context, (buffer, start), (staging, 0), chunk);
            recorder.submit(&self.context);
            bytes.extend_from_slice(&self.context.read(staging, chunk));
            recorder.was_read();
            start += chunk;
        }
        self.context.check_alive()?;
        let skip = offset & 3;
        bytes.truncate(skip + size_bytes);
        bytes.drain(..skip);
        Ok(bytes)
    }

    /// Reads several ranges (buffer, offset and size in bytes) after all work recorded so far. Waits for the device once, if they are not too long together.
    pub(crate) fn download_all(&self, ranges: &[(&GpuBuffer, usize, usize)]) -> Result<Vec<Vec<u8>>> {
        let whole_words =
            |&(_, offset, size): &(&GpuBuffer, usize, usize)| ((offset & !3) as u64, (offset + size).next_multiple_of(4) as u64);
        let total: u64 = ranges.iter().map(whole_words).map(|(start, end)| end - start).sum();
        if total > READBACK_BYTES {
            return ranges.iter().map(|&(buffer, offset, size)| self.download(buffer, offset, size)).collect();
        }
        self.context.check_alive()?;
        let mut recorder = self.recorder();
        let mut readback = self.readback.lock().expect("readback");
        let staging = self.readback_buffer(&mut readback, total);
        let mut at = 0;
        let mut places = Vec::new();
        for range in ranges {
            let (start, end) = whole_words(range);
            if end > start {
                recorder.copy(&self.context, (range.0, start), (staging, at), end - start);
            }
            let first = at as usize + (range.1 & 3);
            places.push(first..first + range.2);
            at += end - start;
        }
        recorder.submit(&self.context);
        let bytes = self.context.read(staging, total);
        recorder.was_read();
        self.context.check_alive()?;
        Ok(places.into_iter().map(|place| bytes[place].to_vec()).collect())
    }

    /// Records a kernel.
    #[track_caller]
    pub(crate) fn run(&self, dispatch: &Dispatch<'_, GpuBuffer>) {
        if let Err(error) = self.context.check_alive() {
            return self.context.failure.set(error);
        }
        check_aliasing(dispatch);
        let mut recorder = self.recorder();
        let wall_clock = self.trace.is_on() && !self.report().timestamp_queries;
        if self.trace.is_on() && recorder.timestamps.is_none() && !wall_clock {
            recorder.submit(&self.context);
            recorder.timestamps = Some(Timestamps::new(&self.context, self.trace.clone()));
        }
        if wall_clock {
            recorder.finish(&self.context);
        }
        let start = std::time::Instant::now();
        if let Err(error) = recorder.record(&self.context, dispatch) {
            self.context.failure.set(error);
        }
        if wall_clock {
            recorder.finish(&self.context);
            self.trace.add(dispatch.kernel.name, start.elapsed());
        }
    }

    /// Submits and waits until the device is idle.
    pub(crate) fn synchronize(&self) -> Result<()> {
        self.context.check_alive()?;
        self.recorder().finish(&self.context);
        self.context.check_alive()
    }

    pub(crate) fn counters(&self) -> Counters {
        let memory = self.pool().counters();
        let recorder = self.recorder();
        Counters {
            buffers_created: memory.buffers_created + self.context.internal_buffers.load(Ordering::Relaxed),
            pipelines_created: recorder.pipelines.created,
            bind_groups_created: recorder.bind_groups.created,
            launches: recorder.launches,
            submissions: recorder.submissions,
            read_backs: recorder.read_backs,
            ..memory
        }
    }

    pub(crate) fn set_budget(&self, bytes: u64) {
        self.pool().set_budget(bytes);
    }

    pub(crate) fn reset_peak(&self) {
        self.pool().reset_peak();
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Recorded>> {
        self.pool.lock().expect("pool")
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        // A panic while recording is a misuse that leaves the recording as it was before.
        self.recorder.lock().unwrap_or_else(|poison| poison.into_inner())
    }

    /// Gives all free buffers back to the driver.
    fn trim(&self, pool: &mut Pool<Recorded>) {
        let mut recorder = self.recorder();
        recorder.finish(&self.context);
        recorder.bind_groups.forget(&pool.trim());
        self.context.wait(None);
    }

    fn readback_buffer<'a>(&self, slot: &'a mut Option<wgpu::Buffer>, bytes: u64) -> &'a wgpu::Buffer {
        if slot.as_ref().is_none_or(|buffer| buffer.size() < bytes) {
            *slot = Some(self.context.buffer(bytes.next_power_of_two().max(4096), wgpu::BufferUsages::MAP_READ));
        }
        slot.as_ref().expect("just made")
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        self.context.close();
    }
}

/// WebGPU forbids that one dispatch reads a buffer and writes it through another binding, even in other ranges.
#[track_caller]
fn check_aliasing(dispatch: &Dispatch<'_, GpuBuffer>) {
    for (output, written) in dispatch.bound().skip(dispatch.inputs).enumerate() {
        for (input, read) in dispatch.bound().take(dispatch.inputs).enumerate() {
            assert!(
                read.storage.id() != written.storage.id(),
                "{}: input {input} and output {output} share one storage; name an in-place tensor as an output only",
                dispatch.kernel.name
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> (Gpu, Arc<Failure>) {
        let failure = Arc::<Failure>::default();
        let open = |selector| Gpu::open(&selector, failure.clone(), Arc::default());
        let gpu = open(GpuSelector::from_env_or_hardware()).or_else(|_| open(GpuSelector::software()));
        (gpu.unwrap_or_else(|error| panic!("this test needs a GPU or lavapipe (mesa-vulkan-drivers): {error}")), failure)
    }

    #[test]
    fn a_lost_device_is_an_error_from_then_on() {
        let (gpu, failure) = open();
        let buffer = gpu.alloc(64, &|| "test".into()).unwrap();
        gpu.upload(&buffer, 0, &[7; 64]);
        assert_eq!(gpu.download(&buffer, 0, 64).unwrap(), [7; 64]);

        gpu.context.device.destroy();
        gpu.context.wait(None);
        let error = failure.take().expect("the loss is recorded");
        assert!(matches!(error, Error::DeviceLost { .. }) && error.to_string().contains("the device was lost"), "{error}");
        // and does not go away when somebody has read it
        assert!(matches!(gpu.download(&buffer, 0, 64), Err(Error::DeviceLost { .. })));
        assert!(matches!(gpu.alloc(64, &|| "test".into()), Err(Error::DeviceLost { .. })));
        assert!(matches!(gpu.synchronize(), Err(Error::DeviceLost { .. })));
        gpu.upload(&buffer, 0, &[8; 64]);
    }

    #[test]
    fn errors_of_the_driver_are_recorded_not_thrown() {
        let (gpu, failure) = open();
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::MAP_WRITE;
        drop(gpu.context.buffer(64, usage)); // refused: no buffer is mapped for both
        let error = failure.take().expect("the error is recorded");
        assert!(error.to_string().contains("the driver reports"), "{error}");
    }

    #[test]
    fn freed_buffers_go_out_again_the_oldest_first() {
        let (gpu, _) = open();
        let alloc = |bytes| gpu.alloc(bytes, &|| "test".into()).unwrap();
        let (a, b, c) = (alloc(1000), alloc(1000), alloc(1000));
        let ids = [a.id(), b.id(), c.id()];
        drop((c, a, b));
        let again = [alloc(900), alloc(1000), alloc(1024)];
        assert_eq!(again.each_ref().map(|buffer| buffer.id()), ids);
        assert_eq!(gpu.counters().buffers_created, 3);
    }
}
