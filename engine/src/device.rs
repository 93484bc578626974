//! Devices: where tensors live and kernels run.

use std::panic::Location;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, RwLock};

use crate::cpu::{CpuBuffer, CpuDevice};
use crate::error::{Error, Failure, Result};
use crate::gpu::{AdapterReport, Gpu, GpuBuffer, GpuSelector};
use crate::trace::{KernelTime, Trace};
use crate::tune::{self, Tuning};

/// The CPU or one opened GPU. Cheap to clone; equal if it is the same opened device.
#[derive(Clone)]
pub struct Device(Arc<Inner>);

struct Inner {
    backend: Backend,
    failure: Arc<Failure>,
    trace: Arc<Trace>,
    checks_finite: AtomicBool,
    tuning: RwLock<Tuning>,
}

pub(crate) enum Backend {
    Cpu(CpuDevice),
    Gpu(Box<Gpu>),
}

impl Device {
    /// The CPU: rayon's threads and the `gemm` crate. One per process.
    pub fn cpu() -> Device {
        static CPU: OnceLock<Device> = OnceLock::new();
        CPU.get_or_init(Device::new_cpu).clone()
    }

    /// A CPU device of its own, with its own pool, counters and budget (tests of memory use).
    pub fn new_cpu() -> Device {
        Device::new(Backend::Cpu(CpuDevice::new()), Arc::default(), Arc::default())
    }

    /// Opens a GPU. Each call opens the adapter anew, with its own pool and pipelines: open once and clone.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when nothing matches, [`Error::DeviceRefused`] when the driver refuses.
    pub fn gpu(selector: &GpuSelector) -> Result<Device> {
        let (failure, trace) = (Arc::<Failure>::default(), Arc::<Trace>::default());
        let gpu = Gpu::open(selector, failure.clone(), trace.clone())?;
        let device = Device::new(Backend::Gpu(Box::new(gpu)), failure, trace);
        device.load_tuning();
        Ok(device)
    }

    fn new(backend: Backend, failure: Arc<Failure>, trace: Arc<Trace>) -> Device {
        let checks_finite = AtomicBool::new(std::env::var("PERCEPT_NAN").is_ok_and(|v| v == "1"));
        Device(Arc::new(Inner { backend, failure, trace, checks_finite, tuning: RwLock::default() }))
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

    /// The variants that `percept doctor --tune` chose for this adapter; empty if it never ran.
    pub fn tuning(&self) -> Tuning {
        *self.0.tuning.read().expect("tuning")
    }

    /// Uses these variants from now on.
    pub fn set_tuning(&self, tuning: Tuning) {
        *self.0.tuning.write().expect("tuning") = tuning;
    }

    /// An unreadable cache costs speed, not results: say so and go on.
    fn load_tuning(&self) {
        let (Some(adapter), Some(path)) = (self.adapter(), tune::cache_path()) else { return };
        match tune::load(&path, adapter) {
            Ok(tuning) => self.set_tuning(tuning.unwrap_or_default()),
            Err(error) => tracing::warn!("the tuning of {self} is not used: {error}"),
        }
    }

    /// True for the CPU.
    pub fn is_cpu(&self) -> bool {
        matches!(self.0.backend, Backend::Cpu(_))
    }

    /// What the adapter is and can do; `None` on the CPU.
    pub fn adapter(&self) -> Option<&AdapterReport> {
        match &self.0.backend {
            Backend::Cpu(_) => None,
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
    /// That error.
    pub fn check(&self) -> Result<()> {
        match self.0.failure.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Memory and activity so far.
    pub fn counters(&self) -> Counters {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.counters(),
            Backend::Gpu(gpu) => gpu.counters(),
        }
    }

    /// Sets the memory budget for live tensors. Allocation above it is an error that names the op, not an abort.
    pub fn set_memory_budget(&self, bytes: u64) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.set_budget(bytes),
            Backend::Gpu(gpu) => gpu.set_budget(bytes),
        }
    }

    /// Starts a new peak measurement from what is live now.
    pub fn reset_peak(&self) {
        match &self.0.backend {
            Backend::Cpu(cpu) => cpu.reset_peak(),
            Backend::Gpu(gpu) => gpu.reset_peak(),
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

    pub(crate) fn trace(&self) -> &Trace {
        &self.0.trace
    }

    /// Offsets of packed tensors in their storage are multiples of this.
    pub(crate) fn offset_alignment_bytes(&self) -> usize {
        match &self.0.backend {
            Backend::Cpu(_) => 1,
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

    pub(crate) fn poisoned(&self, op: &str, shape: &[usize], at: &Location<'_>) {
        self.fail(Error::Poisoned { op: op.to_string(), shape: shape.to_vec(), at: at.to_string() });
    }

    /// Memory for a tensor; poisoned, with the error recorded, when there is none.
    pub(crate) fn alloc(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Storage {
        let data = match &self.0.backend {
            Backend::Cpu(cpu) => cpu.alloc(size_bytes, what).map(Data::Cpu),
            Backend::Gpu(gpu) => gpu.alloc(size_bytes, what).map(Data::Gpu),
        };
        let data = data.unwrap_or_else(|error| {
            self.fail(error);
            Data::Poisoned
        });
        let storage = Storage { device: self.clone(), data, size_bytes };
        if self.checks_finite() {
            // a kernel may write a part of its output: the rest must not hold what another tensor left there
            storage.clear();
        }
        storage
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
            Backend::Gpu(gpu) => f.write_str(&gpu.report().name),
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Device({self})")
    }
}

/// Memory and activity of a device. The counts of created objects stand still once a training loop is warm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of live tensors.
    pub live_bytes: u64,
    /// The most that was live at once since the last [`Device::reset_peak`].
    pub peak_bytes: u64,
    /// Bytes of free buffers kept for reuse.
    pub pooled_bytes: u64,
    /// Buffers ever created.
    pub buffers_created: u64,
    /// Pipelines ever created (GPU).
    pub pipelines_created: u64,
    /// Bind groups ever created (GPU).
    pub bind_groups_created: u64,
    /// Kernel launches.
    pub launches: u64,
    /// Submissions to the queue (GPU).
    pub submissions: u64,
}

/// The memory behind one or more tensors; goes back to the device's pool when the last of them is dropped.
#[derive(Debug)]
pub(crate) struct Storage {
    device: Device,
    data: Data,
    size_bytes: usize,
}

#[derive(Debug)]
pub(crate) enum Data {
    Cpu(CpuBuffer),
    Gpu(GpuBuffer),
    /// The allocation failed; the device holds, or held, the error.
    Poisoned,
}

impl Storage {
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes asked for (the buffer behind may be larger).
    pub(crate) fn size_bytes(&self) -> usize {
        self.size_bytes
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        matches!(self.data, Data::Poisoned)
    }

    pub(crate) fn cpu(&self) -> &CpuBuffer {
        match &self.data {
            Data::Cpu(buffer) => buffer,
            _ => unreachable!("storage is not on the CPU"),
        }
    }

    pub(crate) fn gpu(&self) -> &GpuBuffer {
        match &self.data {
            Data::Gpu(buffer) => buffer,
            _ => unreachable!("storage is not on the GPU"),
        }
    }

    pub(crate) fn write(&self, offset_bytes: usize, bytes: &[u8]) {
        match (&self.data, &self.device.0.backend) {
            (Data::Cpu(buffer), _) => buffer.write().bytes_mut()[offset_bytes..][..bytes.len()].copy_from_slice(bytes),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.upload(buffer, offset_bytes, bytes),
            _ => {}
        }
    }

    fn clear(&self) {
        match (&self.data, &self.device.0.backend) {
            (Data::Cpu(buffer), _) => buffer.write().bytes_mut().fill(0),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.clear(buffer),
            _ => {}
        }
    }

    /// Copies out; waits for the GPU.
    pub(crate) fn read(&self, offset_bytes: usize, size_bytes: usize) -> Result<Vec<u8>> {
        let bytes = match (&self.data, &self.device.0.backend) {
            (Data::Cpu(buffer), _) => buffer.read().bytes()[offset_bytes..][..size_bytes].to_vec(),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.download(buffer, offset_bytes, size_bytes)?,
            _ => {
                self.device.check()?;
                return Err(Error::Poisoned { op: "read".into(), shape: vec![], at: String::new() });
            }
        };
        self.device.check()?;
        Ok(bytes)
    }
}
