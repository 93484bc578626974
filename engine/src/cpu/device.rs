//! The CPU as a device: it lends memory and calls kernels, at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, RwLockReadGuard, RwLockWriteGuard};

use super::CpuArgs;
use super::buffer::{CpuBuffer, GRANULE_BYTES, Lines, Memory};
use crate::counters::Counters;
use crate::dtype::DType;
use crate::error::Result;
use crate::kernel::{Bound, Dispatch, MAX_BINDINGS};
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
        // sizes vary from step to step: what was not used for longest goes back to the system
        drop(pool.make_room(bytes));
        let memory = Memory::new(bytes).or_else(|| {
            pool.trim();
            Memory::new(bytes)
        });
        match memory {
            Some(memory) => Ok(pool.adopt(&self.pool, memory, bytes)),
            None => Err(pool.out_of_memory(bytes, &|| format!("{} (the system has no more)", what()))),
        }
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

        // Every thread locks buffers in the order of their numbers, each once: two that copy crosswise cannot wait for each other. No output is an input, as `Launch` checks.
        let bound = || dispatch.bound().enumerate();
        let mut order = [(u64::MAX, 0); MAX_BINDINGS];
        bound().for_each(|(place, bound)| order[place] = (bound.storage.id(), place));
        order.sort_unstable();
        let mut reads: [Option<RwLockReadGuard<'_, Lines>>; MAX_BINDINGS] = Default::default();
        let mut writes: [Option<RwLockWriteGuard<'_, Lines>>; MAX_BINDINGS] = Default::default();
        let mut holders = [0; MAX_BINDINGS]; // of each input, the place whose lock it shares
        let mut last = (u64::MAX, 0);
        for (id, place) in order.into_iter().take(bound().count()) {
            let (_, Bound { storage, .. }) = bound().nth(place).expect("a place of a binding");
            if place >= dispatch.inputs {
                writes[place] = Some(storage.write());
            } else if id != last.0 {
                (reads[place], last) = (Some(storage.read()), (id, place));
            }
            holders[place] = last.1;
        }
        let range = |bound: &Bound<'_, CpuBuffer>| bound.offset_bytes..bound.offset_bytes + bound.size_bytes;
        let input = |(place, bound): (usize, &Bound<'_, CpuBuffer>)| {
            let lines = reads[holders[place]].as_ref().expect("locked above");
            (bound.dtype, &lines.bytes()[range(bound)])
        };
        let (inputs, outputs) = (bound().take(dispatch.inputs), dispatch.bound().skip(dispatch.inputs));
        function(CpuArgs::new(
            kernel.name,
            dispatch.params,
            dispatch.constants,
            inputs.map(input).collect(),
            outputs.zip(writes.iter_mut().flatten()).map(|(bound, lines)| (bound.dtype, &mut lines.bytes_mut()[range(bound)])).collect(),
        ));
    }

    fn pool(&self) -> MutexGuard<'_, Pool<Memory>> {
        self.pool.lock().expect("pool")
    }
}
