//! Memory of the CPU device: aligned, and locked while kernels read or write it.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytemuck::{Pod, Zeroable};

use crate::pool::Loan;

/// A buffer on loan from the device's pool.
pub(crate) type CpuBuffer = Loan<Memory>;

/// Every buffer is a multiple of this.
pub(super) const GRANULE_BYTES: u64 = size_of::<Line>() as u64;

/// One cache line, so that every buffer is aligned for vector loads.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([u64; 8]);

/// The lines of one buffer.
pub(crate) struct Lines(Vec<Line>);

impl Lines {
    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// The memory of one buffer.
pub(crate) struct Memory(RwLock<Lines>);

impl Memory {
    /// Zeros; `bytes` is a multiple of the granule.
    pub(super) fn new(bytes: u64) -> Memory {
        Memory(RwLock::new(Lines(bytemuck::zeroed_vec((bytes / GRANULE_BYTES) as usize))))
    }

    /// After a panic in a kernel the content is unreliable, the memory is not: it can be lent again.
    pub(super) fn forget_panics(&self) {
        self.0.clear_poison();
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Lines> {
        self.0.read().expect("a kernel panicked while writing this tensor")
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Lines> {
        self.0.write().expect("a kernel panicked while writing this tensor")
    }
}
