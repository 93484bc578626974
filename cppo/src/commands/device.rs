//! The device that a configuration names.

use anyhow::Result;
use percept_engine::{Device, GpuSelector};

/// `auto`, `cpu`, `gpu`, or an adapter.
pub(super) fn open_device(name: &str) -> Result<Device> {
    let selector = match name {
        "auto" => return Ok(Device::best()),
        "cpu" => return Ok(Device::cpu()),
        "gpu" => GpuSelector::from_env_or_hardware(),
        adapter => adapter.parse().unwrap_or_else(|never| match never {}),
    };
    Ok(Device::gpu(&selector)?)
}
