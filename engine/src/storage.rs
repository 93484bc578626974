//! The memory behind tensors, whichever device it is on.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::cpu::CpuBuffer;
use crate::device::{Backend, Device};
use crate::error::{Error, Result};
use crate::gpu::GpuBuffer;
use crate::meta::MetaBuffer;

/// The memory behind one or more tensors; goes back to the device's pool when the last of them is dropped.
#[derive(Debug)]
pub(crate) struct Storage {
    device: Device,
    data: Data,
    size_bytes: usize,
    writes: AtomicU64,
}

#[derive(Debug)]
enum Data {
    Cpu(CpuBuffer),
    Gpu(GpuBuffer),
    /// Only counted.
    Meta {
        _loan: MetaBuffer,
    },
    /// The allocation failed; the device holds, or held, the error.
    Poisoned,
}

impl Storage {
    /// Memory for a tensor; poisoned, with the error recorded, when there is none. `what` names the op and the shape in that error.
    pub(crate) fn new(device: &Device, size_bytes: usize, what: &dyn Fn() -> String) -> Storage {
        let data = match device.backend() {
            Backend::Cpu(cpu) => cpu.alloc(size_bytes, what).map(Data::Cpu),
            Backend::Gpu(gpu) => gpu.alloc(size_bytes, what).map(Data::Gpu),
            Backend::Meta(meta) => meta.alloc(size_bytes, what).map(|_loan| Data::Meta { _loan }),
        };
        let data = data.unwrap_or_else(|error| {
            device.fail(error);
            Data::Poisoned
        });
        let storage = Storage { device: device.clone(), data, size_bytes, writes: AtomicU64::new(0) };
        if device.checks_finite() {
            // a kernel may write a part of its output: the rest must not hold what another tensor left there
            storage.clear();
        }
        storage
    }

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

    /// How often something was written here.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Relaxed)
    }

    /// Says that a kernel writes here.
    pub(crate) fn note_write(&self) {
        self.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn write(&self, offset_bytes: usize, bytes: &[u8]) {
        self.note_write();
        match (&self.data, self.device.backend()) {
            (Data::Cpu(buffer), _) => buffer.write().bytes_mut()[offset_bytes..][..bytes.len()].copy_from_slice(bytes),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.upload(buffer, offset_bytes, bytes),
            _ => {}
        }
    }

    fn clear(&self) {
        match (&self.data, self.device.backend()) {
            (Data::Cpu(buffer), _) => buffer.write().bytes_mut().fill(0),
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.clear(buffer),
            _ => {}
        }
    }

    /// Copies ranges (offset and size in bytes) of several storages of one device out; waits for the GPU once.
    pub(crate) fn read_all<'a>(ranges: &[(&'a Storage, usize, usize)]) -> Result<Vec<Vec<u8>>> {
        let on_gpu = |&(storage, offset, size): &(&'a Storage, usize, usize)| match &storage.data {
            Data::Gpu(buffer) => Some((buffer, offset, size)),
            _ => None,
        };
        match (ranges.iter().map(on_gpu).collect::<Option<Vec<_>>>(), ranges.first()) {
            (Some(buffers), Some((storage, ..))) => {
                let Backend::Gpu(gpu) = storage.device.backend() else { unreachable!("a buffer on a GPU") };
                let bytes = gpu.download_all(&buffers)?;
                storage.device.check()?;
                Ok(bytes)
            }
            _ => ranges.iter().map(|(storage, offset, size)| storage.read(*offset, *size)).collect(),
        }
    }

    /// Copies out; waits for the GPU.
    pub(crate) fn read(&self, offset_bytes: usize, size_bytes: usize) -> Result<Vec<u8>> {
        let bytes = match (&self.data, self.device.backend()) {
            (Data::Cpu(buffer), _) => {
                let mut bytes = Vec::new();
                if bytes.try_reserve_exact(size_bytes).is_err() {
                    let (live_bytes, needed_bytes) = (self.device.counters().live_bytes, size_bytes as u64);
                    let what = "reading a tensor (the system has no more)".to_owned();
                    return Err(Error::OutOfMemory {
                        device: self.device.to_string(),
                        what,
                        needed_bytes,
                        live_bytes,
                        budget_bytes: u64::MAX,
                    });
                }
                bytes.extend_from_slice(&buffer.read().bytes()[offset_bytes..][..size_bytes]);
                bytes
            }
            (Data::Gpu(buffer), Backend::Gpu(gpu)) => gpu.download(buffer, offset_bytes, size_bytes)?,
            (Data::Meta { .. }, _) => vec![0; size_bytes],
            _ => {
                self.device.check()?;
                return Err(Error::Poisoned { op: "read".into(), shape: vec![], at: String::new() });
            }
        };
        self.device.check()?;
        Ok(bytes)
    }
}
