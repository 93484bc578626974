//! The opened device with its queue, and how its errors reach us.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::adapter::{AdapterReport, GpuSelector, find};
use super::trusted::{Checks, experimental_features};
use crate::error::{Error, Failure, Result};
use crate::kernel::MAX_PARAMS_BYTES;

/// What all parts of the backend need.
pub(super) struct Context {
    pub(super) device: wgpu::Device,
    pub(super) queue: wgpu::Queue,
    pub(super) report: AdapterReport,
    pub(super) checks: Checks,
    /// A recording is submitted when its kernels have this many multiplications with additions: drivers end what runs for long.
    pub(super) submission_multiply_adds: u64,
    pub(super) failure: Arc<Failure>,
    /// Buffers made beside the pool: staging, parameters, read-back.
    pub(super) internal_buffers: AtomicU64,
    lost: Arc<OnceLock<String>>,
    closing: Arc<AtomicBool>,
}

impl Context {
    pub(super) fn open(selector: &GpuSelector, failure: Arc<Failure>) -> Result<Context> {
        let (adapter, granted, mut report) = find(selector)?;
        report.immediates &= selector.immediates;
        let cooperative = std::env::var("PERCEPT_COOPERATIVE_MATRIX").map_or(true, |v| v != "0");
        let experimental = if cooperative { wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX } else { wgpu::Features::empty() };
        let wanted = wgpu::Features::IMMEDIATES
            | wgpu::Features::SHADER_F16
            | wgpu::Features::SUBGROUP
            | wgpu::Features::SUBGROUP_BARRIER
            | wgpu::Features::TIMESTAMP_QUERY;
        let features = granted.features & (wanted | experimental);

        // A driver may offer the experimental feature and then fail on it: everything else is worth opening without it.
        let (device, queue) = match request(adapter, features, &granted.limits) {
            Err(_) if features.intersects(experimental) => {
                request(adapter, features - experimental, &granted.limits).map_err(|reason| refused(&report, reason))?
            }
            result => result.map_err(|reason| refused(&report, reason))?,
        };
        if !device.features().contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            report.cooperative_tiles.clear();
        }

        let context = Context {
            device,
            queue,
            checks: if selector.checked { Checks::On } else { Checks::Off },
            submission_multiply_adds: selector.submission_multiply_adds,
            failure,
            internal_buffers: AtomicU64::new(0),
            lost: Arc::default(),
            closing: Arc::default(),
            report,
        };
        context.listen();
        Ok(context)
    }

    /// An error if the device was lost: it never comes back.
    pub(super) fn check_alive(&self) -> Result<()> {
        match self.lost.get() {
            Some(reason) => Err(lost(&self.report.name, reason)),
            None => Ok(()),
        }
    }

    /// A buffer for tensors, or none if the driver is out of memory.
    pub(super) fn try_tensor_buffer(&self, bytes: u64) -> Option<wgpu::Buffer> {
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC;
        let buffer = self.create(bytes, usage);
        match pollster::block_on(scope.pop()) {
            Some(_) => None,
            None => Some(buffer),
        }
    }

    /// A buffer for internal use, writable by copies.
    pub(super) fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        self.internal_buffers.fetch_add(1, Ordering::Relaxed);
        self.create(bytes, usage)
    }

    fn create(&self, bytes: u64, usage: wgpu::BufferUsages) -> wgpu::Buffer {
        let usage = usage | wgpu::BufferUsages::COPY_DST;
        self.device.create_buffer(&wgpu::BufferDescriptor { label: None, size: bytes, usage, mapped_at_creation: false })
    }

    pub(super) fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: None })
    }

    /// Waits for a submission, or for all of them.
    pub(super) fn wait(&self, submission_index: Option<wgpu::SubmissionIndex>) {
        if let Err(error) = self.device.poll(wgpu::PollType::Wait { submission_index, timeout: None }) {
            self.failure.set(lost(&self.report.name, &error.to_string()));
        }
    }

    /// Maps a buffer that can be mapped and copies its content. Empty, with the failure set, if the device is lost.
    pub(super) fn read(&self, buffer: &wgpu::Buffer, bytes: u64) -> Vec<u8> {
        if bytes == 0 {
            return Vec::new();
        }
        let slice = buffer.slice(..bytes);
        let (sender, receiver) = std::sync::mpsc::channel();
        slice.map_async(wgpu::MapMode::Read, move |result| {
            // the receiver may be gone after an error; nobody waits then
            let _ = sender.send(result);
        });
        self.wait(None);
        let copy = match receiver.try_recv() {
            Ok(Ok(())) => slice.get_mapped_range().map(|view| view.to_vec()).map_err(|error| error.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the copy never arrived".to_string()),
        };
        match copy {
            Ok(copy) => {
                buffer.unmap();
                copy
            }
            Err(reason) => {
                self.failure.set(lost(&self.report.name, &reason));
                vec![0; bytes as usize]
            }
        }
    }

    /// The device goes away on purpose: its loss is not a failure.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Turns the driver's callbacks into errors; wgpu's own handler would panic.
    fn listen(&self) {
        let (name, failure) = (self.report.name.clone(), self.failure.clone());
        self.device.on_uncaptured_error(Arc::new(move |error| {
            failure.set(match error {
                wgpu::Error::OutOfMemory { .. } => {
                    Error::OutOfMemory { device: name.clone(), what: "the driver".into(), needed_bytes: 0, live_bytes: 0, budget_bytes: 0 }
                }
                other => Error::Unsupported { adapter: name.clone(), what: format!("the driver reports: {other}") },
            });
        }));
        let (name, failure) = (self.report.name.clone(), self.failure.clone());
        let (lost_reason, closing) = (self.lost.clone(), self.closing.clone());
        self.device.set_device_lost_callback(move |_, reason| {
            if !closing.load(Ordering::Acquire) {
                failure.set(lost(&name, lost_reason.get_or_init(|| reason)));
            }
        });
    }
}

fn request(adapter: &wgpu::Adapter, features: wgpu::Features, limits: &wgpu::Limits) -> Result<(wgpu::Device, wgpu::Queue), String> {
    debug_assert!(limits.max_immediate_size as usize >= MAX_PARAMS_BYTES || !features.contains(wgpu::Features::IMMEDIATES));
    let desc = wgpu::DeviceDescriptor {
        label: Some("percept"),
        required_features: features,
        required_limits: limits.clone(),
        experimental_features: match features.contains(wgpu::Features::EXPERIMENTAL_COOPERATIVE_MATRIX) {
            true => experimental_features(),
            false => wgpu::ExperimentalFeatures::disabled(),
        },
        memory_hints: wgpu::MemoryHints::Performance,
        trace: wgpu::Trace::Off,
    };
    pollster::block_on(adapter.request_device(&desc)).map_err(|error| error.to_string())
}

fn refused(report: &AdapterReport, reason: String) -> Error {
    Error::DeviceRefused { adapter: report.name.clone(), reason }
}

fn lost(adapter: &str, reason: &str) -> Error {
    let reason = if reason.is_empty() { "no reason given" } else { reason };
    Error::DeviceLost { adapter: adapter.to_string(), reason: reason.to_string() }
}
