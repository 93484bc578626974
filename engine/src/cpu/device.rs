//! The CPU as a device: it lends memory and calls kernels, at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use super::CpuArgs;
use super::buffer::{CpuBuffer, GRANULE_BYTES, Lines, Memory};
use crate::counters::Counters;
use crate::dtype::DType;
use crate::error::Result;
use crate::kernel::{Bound, Dispatch};
use crate::pool::{Pool, Reuse, size_class};

/// The CPU.
pub(crate) struct CpuDevice {
    pool: Arc<Mutex<Pool<Memory>>>,
    launches: AtomicU64,
}

impl CpuDevice {
    pub(crate) fn new() -> CpuDevice {
        CpuDevice { pool: Arc::new(Mutex::new(Pool::new("cpu", Reuse::LastFreed))), launches: AtomicU64::new(0) }
    }

    /// A buffer of at least `size_bytes`, its content undefined; in debug builds NaN, so that a kernel that leaves something unwritten fails its tests.
    pub(crate) fn alloc(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Result<CpuBuffer> {
        let buffer = self.lend(size_bytes, what)?;
        if cfg!(debug_assertions) {
            buffer.write().bytes_mut().fill(0xff);
        }
        Ok(buffer)
    }

    fn lend(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Result<CpuBuffer> {
        let bytes = size_class(size_bytes as u64, GRANULE_BYTES);
        let mut pool = self.pool();
        pool.check_budget(bytes, what)?;
        if let Some(buffer) = pool.lend(&self.pool, bytes) {
            buffer.forget_panics();
            return Ok(buffer);
        }
        Ok(pool.adopt(&self.pool, Memory::new(bytes), bytes))
    }

    pub(crate) fn counters(&self) -> Counters {
        Counters { launches: self.launches.load(Ordering::Relaxed), ..self.pool().counters() }
    }

    pub(crate) fn set_budget(&self, bytes: u64) {
        self.pool().set_budget(bytes);
    }

    pub(crate) fn reset_peak(&self) {
        self.pool().reset_peak();
    }

    /// Locks the buffers and calls the kernel's function.
    pub(crate) fn run(&self, dispatch: &Dispatch<'_, CpuBuffer>) {
        self.launches.fetch_add(1, Ordering::Relaxed);
        let kernel = dispatch.kernel;
        // The oracle's type wins: a call that touches f64 runs at f64.
        let is_f64 = dispatch.bound().any(|bound| bound.dtype == DType::F64);
        let function = if is_f64 { kernel.cpu_f64 } else { kernel.cpu_f32 };

        let (inputs, outputs) = (|| dispatch.bound().take(dispatch.inputs), || dispatch.bound().skip(dispatch.inputs));
        let reads: Vec<RwLockReadGuard<'_, Lines>> = inputs().map(|bound| bound.storage.read()).collect();
        let mut writes: Vec<RwLockWriteGuard<'_, Lines>> = outputs().map(|bound| bound.storage.write()).collect();
        let range = |bound: &Bound<'_, CpuBuffer>| bound.offset_bytes..bound.offset_bytes + bound.size_bytes;
        function(CpuArgs::new(
            kernel.name,
            dispatch.params,
            dispatch.constants,
            inputs().zip(&reads).map(|(bound, lines)| (bound.dtype, &lines.bytes()[range(bound)])).collect(),
            outputs().zip(&mut writes).map(|(bound, lines)| (bound.dtype, &mut lines.bytes_mut()[range(bound)])).collect(),
        ));
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Memory>> {
        self.pool.lock().expect("pool")
    }
}
