//! The wgpu backend. Nothing above this module sees wgpu.

use std::sync::Arc;

use crate::device::Counters;
use crate::error::{Error, Failure, Result};
use crate::kernel::Launch;

/// Which adapter to open.
#[derive(Clone, Debug)]
pub struct GpuSelector(String);

impl GpuSelector {
    /// From `PERCEPT_ADAPTER`, else any hardware GPU.
    pub fn from_env_or_hardware() -> GpuSelector {
        GpuSelector(std::env::var("PERCEPT_ADAPTER").unwrap_or_else(|_| "hardware".into()))
    }
}

/// What an adapter is and can do.
#[derive(Clone, Debug)]
pub struct AdapterReport {
    /// Name.
    pub name: String,
    /// Offsets of bindings are multiples of this many bytes.
    pub storage_offset_alignment: usize,
}

pub(crate) struct Gpu {
    report: AdapterReport,
}

#[derive(Debug)]
pub(crate) struct GpuBuffer;

impl Gpu {
    pub(crate) fn open(selector: &GpuSelector, _failure: Arc<Failure>) -> Result<Gpu> {
        Err(Error::NoAdapter { selector: selector.0.clone(), found: "none".into() })
    }
    pub(crate) fn report(&self) -> &AdapterReport {
        &self.report
    }
    pub(crate) fn alloc(&self, _size_bytes: usize, _what: &dyn Fn() -> String) -> Result<GpuBuffer> {
        unreachable!()
    }
    pub(crate) fn upload(&self, _buffer: &GpuBuffer, _offset: usize, _bytes: &[u8]) {}
    pub(crate) fn download(&self, _buffer: &GpuBuffer, _offset: usize, _size: usize) -> Result<Vec<u8>> {
        unreachable!()
    }
    pub(crate) fn launch(&self, _launch: &Launch<'_>) {}
    pub(crate) fn synchronize(&self) -> Result<()> {
        Ok(())
    }
    pub(crate) fn counters(&self) -> Counters {
        Counters::default()
    }
    pub(crate) fn set_budget(&self, _bytes: u64) {}
    pub(crate) fn reset_peak(&self) {}
}
