//! Devices: where tensors live and kernels run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use crate::counters::{Counters, Work};
use crate::cpu::CpuDevice;
use crate::error::{Error, Failure, Result};
use crate::gpu::{AdapterReport, Gpu, GpuSelector};
use crate::meta::{MetaDevice, Rates};
use crate::trace::{KernelTime, Trace};
use crate::tune::Tuning;

/// The CPU or one opened GPU. Cheap to clone; equal if it is the same opened device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    failure: Arc<Failure>,
    trace: Arc<Trace>,
    checks_finite: AtomicBool,
    tuning: RwLock<Tuning>,
    work: Work,
}

pub(crate) enum Backend {
    Cpu(CpuDevice),
    Gpu(Box<Gpu>),
    Meta(MetaDevice),
}

impl Device {
    /// The CPU, with as many threads as rayon has. One per process.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(Device::new_cpu).clone()
    }

    /// A CPU device of its own, with its own pool, counters and budget (tests of memory use).
    pub fn new_cpu() -> Device {
        Device::new(Backend::Cpu(CpuDevice::new()), Arc::default(), Arc::default())
    }

    /// A device that computes nothing and holds nothing: it keeps the account of memory and of time that a device with these rates would need, see [`meta`](crate::meta). What is
    /// read from it is 0.
    pub fn meta(rates: Rates) -> Device {
        Device::new(Backend::Meta(MetaDevice::new(rates)), Arc::default(), Arc::default())
    }

    /// Opens a GPU. Each call opens the adapter anew, with its own pool and pipelines: open once and clone.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when nothing matches, [`Error::DeviceRefused`] when the driver refuses.
    pub fn gpu(selector: &GpuSelector) -> Result<Device> {
        let (failure, trace) = (Arc::<Failure>::default(), Arc::<Trace>::default());
        let gpu = Gpu::open(selector, failure.clone(), trace.clone())?;
        Ok(Device::new(Backend::Gpu(Box::new(gpu)), failure, trace))
    }

    fn new(backend: Backend, failure: Arc<Failure>, trace: Arc<Trace>) -> Device {
        let checks_finite = AtomicBool::new(std::env::var("PERCEPT_NAN").is_ok_and(|v| v == "1"));
        Device(Arc::new(Inner { backend, failure, trace, checks_finite, tuning: RwLock::default(), work: Work::default() }))
    }

    /// The best device: a hardware GPU if there is one that opens, else the CPU. A software Vulkan adapter only when `PERCEPT_ADAPTER` asks for it.
    pub fn best() -> Device {
        match Device::gpu(&GpuSelector::from_env_or_hardware()) {
            Ok(device) => device,
            Err(reason) => {
                tracing::info!("using the CPU: {reason}");
                Device::cpu()
            }
        }
    }

    /// The variants of the matrix product that were chosen for this device ([`tune`](crate::tune)); empty unless somebody set them.
    pub fn tuning(&self) -> Tuning {
        *self.0.tuning.read().expect("tuning")
    }

    /// Uses these variants of the matrix product from now on.
    pub fn set_tuning(&self, tuning: Tuning) {
        *self.0.tuning.write().expect("tuning") = tuning;
    }

    /// True if this is the CPU, or a meta device, which plans for it.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Cpu(_) | Backend::Meta(_))
    }

    /// True if this is a meta device.
    pub fn is_meta(&self) -> bool {
        matches!(self.0.backend, Backend::Meta(_))
    }

    /// What the adapter is and can do; `None` on the CPU.
    pub fn adapter(&self) -> Option<&AdapterReport> {
        match &self.0.backend {
            Backend::Cpu(_) | Backend::Meta(_) => None,
            Backend::Gpu(gpu) => Some(gpu.report()),
        }
    }

    /// Waits for all recorded work.
    ///
    /// # Errors
    /// The first error since the last check: out of memory, device lost, NaN under `PERCEPT_NAN=1`.
    pub fn synchronize(&self) -> Result<()> {
        if let Backend::Gpu(gpu) = &self.0.backend {
            gpu.synchronize()?;
        }
        self.check()
    }

    /// Returns, and clears, the first error since the last check. Ops do not return errors: they record them here, and every read of a result checks.
    ///
    /// # Errors
    /// The error that was found.
    pub fn check(&self) -> Result<()> {
        match self.0.failure.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// How much memory is in use and what was done, so far.
    pub fn counters(&self) -> Counters {
        self.0.work.on_top_of(match &self.0.backend {
            Backend::Cpu(cpu) => cpu.counters(),
            Backend::Gpu(gpu) => gpu.counters(),
            Backend::Meta(meta) => meta.counters(),
        })
    }

    /// Sets the memory budget for live tensors. Allocation above it is an error that names the op, not an abort.
    pub fn set_memory_budget(&self, bytes: u64) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.set_budget(bytes),
            Backend::Gpu(gpu) => gpu.set_budget(bytes),
            Backend::Meta(meta) => meta.set_budget(bytes),
        }
    }

    /// Starts a new peak measurement from what is live now.
    pub fn reset_peak(&self) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.reset_peak(),
            Backend::Gpu(gpu) => gpu.reset_peak(),
            Backend::Meta(meta) => meta.reset_peak(),
        }
    }

    /// Times every kernel from now on, as `PERCEPT_TRACE=1` does from the start. Kernels then run one by one.
    pub fn start_trace(&self) {
        self.0.trace.start();
    }

    /// The times since the start or the last call, the slowest kernel first; [`trace_table`](crate::trace::trace_table) prints them.
    ///
    /// # Errors
    /// As [`synchronize`](Device::synchronize).
    pub fn take_trace(&self) -> Result<Vec<KernelTime>> {
        self.synchronize()?;
        Ok(self.0.trace.take())
    }

    /// Reads every f32 that a kernel writes from now on and reports the first NaN or infinity as [`Error::NotFinite`], as `PERCEPT_NAN=1` does
    /// from the start. Very slow.
    pub fn check_finite_outputs(&self) {
        self.0.checks_finite.store(true, Ordering::Relaxed);
    }

    pub(crate) fn checks_finite(&self) -> bool {
        self.0.checks_finite.load(Ordering::Relaxed)
    }

    pub(crate) fn work(&self) -> &Work {
        &self.0.work
    }

    pub(crate) fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Offsets of packed tensors in their storage are multiples of this.
    pub(crate) fn offset_alignment_bytes(&self) -> usize {
        match &self.0.backend {
            Backend::Cpu(_) | Backend::Meta(_) => 1,
            Backend::Gpu(gpu) => gpu.report().storage_offset_alignment,
        }
    }

    pub(crate) fn backend(&self) -> &Backend {
        &self.0.backend
    }

    pub(crate) fn failed(&self) -> bool {
        self.0.failure.is_set()
    }

    pub(crate) fn fail(&self, error: Error) {
        self.0.failure.set(error);
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Device) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0.backend {
            Backend::Cpu(_) => f.write_str("cpu"),
            Backend::Meta(_) => f.write_str("meta"),
            Backend::Gpu(gpu) => f.write_str(&gpu.report().name),
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({self})")
    }
}
