//! Memory of the CPU device: aligned, and locked while kernels read or write it.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytemuck::{Pod, Zeroable};
use memmap2::MmapMut;

use crate::pool::Loan;

/// A buffer on loan from the device's pool.
pub(crate) type CpuBuffer = Loan<Memory>;

/// Every buffer is a multiple of this.
pub(super) const GRANULE_BYTES: u64 = size_of::<Line>() as u64;

/// One cache line, so that every buffer is aligned for vector loads.
#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(crate) struct Line([u64; 8]);

/// The lines of one buffer.
pub(crate) enum Lines {
    Few(Vec<Line>),
    /// Mapped by itself.
    Many(MmapMut),
}

/// Buffers from this size on are mapped.
const MAPPED_BYTES: u64 = 1 << 20;

impl Lines {
    /// Zeros. Large buffers come from the system as zeros and need not be filled with them, and in huge pages where it has some: there are fewer
    /// page faults, and kernels with large strides need fewer of the processor's page entries. None if the system has no more.
    fn new(bytes: u64) -> Option<Lines> {
        if bytes < MAPPED_BYTES {
            return bytemuck::try_zeroed_vec((bytes / GRANULE_BYTES) as usize).ok().map(Lines::Few);
        }
        let map = MmapMut::map_anon(bytes as usize).ok()?;
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage); // advice: without it pages are small
        Some(Lines::Many(map))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Lines::Few(lines) => bytemuck::cast_slice(lines),
            Lines::Many(map) => map,
        }
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Lines::Few(lines) => bytemuck::cast_slice_mut(lines),
            Lines::Many(map) => map,
        }
    }
}

/// The memory of one buffer.
pub(crate) struct Memory(RwLock<Lines>);

impl Memory {
    /// Zeros; `bytes` is a multiple of the granule. None if the system has no more.
    pub(super) fn new(bytes: u64) -> Option<Memory> {
        Lines::new(bytes).map(|lines| Memory(RwLock::new(lines)))
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
