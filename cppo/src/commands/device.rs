//! Opening a device, as every command does it.

use anyhow::Result;
use percept_engine::{Device, GpuSelector, tune};

use super::outcome::{Advised, Outcome};

/// The device that a configuration names: `auto`, `cpu`, `gpu`, or an adapter.
pub(super) fn open_device(name: &str) -> Result<Device> {
    ready(match name {
        "auto" => Ok(Device::best()),
        "cpu" => Ok(Device::cpu()),
        "gpu" => Device::gpu(&GpuSelector::from_env_or_hardware()),
        adapter => Device::gpu(&adapter.parse().unwrap_or_else(|never| match never {})),
    })
}

/// Lets an opened device use the matrix products that `percept doctor --tune` chose for it; says what to do where none could be opened.
pub(super) fn ready(opened: percept_engine::Result<Device>) -> Result<Device> {
    match opened {
        Ok(device) => {
            tune::load(&device);
            Ok(device)
        }
        Err(error) => {
            let advice = "percept doctor lists the adapters; the CPU always works".to_owned();
            Err(Advised { error: error.into(), advice, outcome: Outcome::Failed }.into())
        }
    }
}
