//! Buffers of the CPU device and the pool behind them.
//!
//! Freed buffers are kept by size: a training step allocates the same sizes again, and fresh pages from the system cost more than most kernels.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytemuck::{Pod, Zeroable};

use crate::cpu::args::CpuArgs;
use crate::device::Counters;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::kernel::Launch;

/// One cache line, so that every buffer is aligned for vector loads.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u64; 8]);

/// Memory lines of one buffer.
#[derive(Default)]
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// A buffer on loan from the pool.
pub(crate) struct CpuBuffer {
    lines: RwLock<Lines>,
    pool: Arc<Mutex<Pool>>,
}

impl CpuBuffer {
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Lines> {
        self.lines.read().expect("a kernel panicked while writing this tensor")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Lines> {
        self.lines.write().expect("a kernel panicked while writing this tensor")
    }
}

impl Drop for CpuBuffer {
    fn drop(&mut self) {
        // After a panic in a kernel the content is unreliable, the memory is not: take it back.
        let lines = self.lines.get_mut().unwrap_or_else(|poison| poison.into_inner());
        if let Ok(mut pool) = self.pool.lock() {
            pool.give_back(std::mem::take(lines));
        }
    }
}

impl std::fmt::Debug for CpuBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CpuBuffer")
    }
}

#[derive(Default)]
struct Pool {
    free: HashMap<usize, Vec<Lines>>,
    budget_bytes: u64,
    counters: Counters,
}

impl Pool {
    fn give_back(&mut self, lines: Lines) {
        let bytes = std::mem::size_of_val(&lines.0[..]) as u64;
        self.counters.live_bytes -= bytes;
        self.counters.pooled_bytes += bytes;
        self.free.entry(lines.0.len()).or_default().push(lines);
    }

    fn take(&mut self, lines: usize) -> Option<Lines> {
        let found = self.free.get_mut(&lines)?.pop()?;
        self.counters.pooled_bytes -= std::mem::size_of_val(&found.0[..]) as u64;
        Some(found)
    }
}

/// The CPU as a device.
pub(crate) struct CpuDevice {
    pool: Arc<Mutex<Pool>>,
}

impl CpuDevice {
    pub(crate) fn new() -> CpuDevice {
        let pool = Pool { budget_bytes: u64::MAX, ..Pool::default() };
        CpuDevice { pool: Arc::new(Mutex::new(pool)) }
    }

    pub(crate) fn alloc(&self, size_bytes: usize, what: &dyn Fn() -> String) -> Result<CpuBuffer> {
        let lines = size_class(size_bytes.div_ceil(size_of::<Line>()).max(1));
        let bytes = (lines * size_of::<Line>()) as u64;
        let mut pool = self.pool.lock().expect("pool");
        if pool.counters.live_bytes + bytes > pool.budget_bytes {
            return Err(Error::OutOfMemory {
                device: "cpu".into(),
                what: what(),
                needed_bytes: bytes,
                live_bytes: pool.counters.live_bytes,
                budget_bytes: pool.budget_bytes,
            });
        }
        let memory = match pool.take(lines) {
            Some(memory) => memory,
            None => {
                pool.counters.buffers_created += 1;
                Lines(bytemuck::zeroed_vec(lines))
            }
        };
        pool.counters.live_bytes += bytes;
        pool.counters.peak_bytes = pool.counters.peak_bytes.max(pool.counters.live_bytes);
        Ok(CpuBuffer { lines: RwLock::new(memory), pool: self.pool.clone() })
    }

    pub(crate) fn counters(&self) -> Counters {
        self.pool.lock().expect("pool").counters
    }

    pub(crate) fn set_budget(&self, bytes: u64) {
        self.pool.lock().expect("pool").budget_bytes = bytes;
    }

    pub(crate) fn reset_peak(&self) {
        let counters = &mut self.pool.lock().expect("pool").counters;
        counters.peak_bytes = counters.live_bytes;
    }

    pub(crate) fn launch(&self, launch: &Launch<'_>) {
        self.pool.lock().expect("pool").counters.launches += 1;
        // The oracle's type wins: a launch that touches f64 runs at f64.
        let is_f64 = launch.bindings().any(|b| b.tensor.dtype() == DType::F64);
        let run = if is_f64 { launch.kernel.cpu_f64 } else { launch.kernel.cpu_f32 };
        CpuArgs::with(launch, run);
    }
}

/// Rounds up to 1/8 of a power of two, so that nearly equal sizes share buffers and at most 1/8 is wasted.
fn size_class(lines: usize) -> usize {
    let step = (lines.next_power_of_two() / 16).max(1);
    lines.div_ceil(step) * step
}
