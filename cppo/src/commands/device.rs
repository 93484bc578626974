//! Opening a device, as every command does it.

use anyhow::Result;
use percept_engine::gpu::adapters;
use percept_engine::{Device, GpuSelector, cgroup, tune};

use super::outcome::{Advised, Outcome};
use crate::training::world::{Place, World};

/// How a command takes the CPU where it has a configuration.
const CPU_BY_SETTING: &str = "--set run.device=cpu";
/// How it takes the CPU where it has an argument for it.
const CPU_BY_ARGUMENT: &str = "--device cpu";

/// The device that a configuration names: `auto`, `cpu`, `gpu`, in whatever case, or an adapter.
pub(super) fn open_device(name: &str) -> Result<Device> {
    let opened = match name.trim().to_ascii_lowercase().as_str() {
        "auto" => best(),
        "cpu" => Ok(Device::cpu()),
        "gpu" => Device::gpu(&GpuSelector::from_env_or_hardware()),
        _ => Device::gpu(&name.parse().unwrap_or_else(|never| match never {})),
    };
    ready(opened, CPU_BY_SETTING)
}

/// The same for a rank: of the GPUs of a machine each of its ranks takes its own, in order, unless one is named.
pub(super) fn open_device_of(name: &str, world: &World) -> Result<Device> {
    let place = world.place();
    let is_free = matches!(name.trim().to_ascii_lowercase().as_str(), "auto" | "gpu");
    if place.size == 1 || !is_free || names_adapter() {
        return open_device(name);
    }
    let are_software: Vec<bool> = adapters().iter().map(|adapter| adapter.software).collect();
    match gpu_of(place, &are_software) {
        Some(own) => open_device(&own.to_string()),
        None => open_device(name),
    }
}

/// Which adapter is a rank's: the hardware GPUs of its machine in turn, by its place among the ranks there. None if there are only software ones.
fn gpu_of(place: Place, are_software: &[bool]) -> Option<usize> {
    let gpus: Vec<usize> = (0..are_software.len()).filter(|index| !are_software[*index]).collect();
    gpus.get(place.rank % gpus.len().max(1)).copied()
}

/// The device for a command without a configuration: the CPU, a GPU (a software one if there is no other), or the best there is.
pub(super) fn open_without_configuration(choice: Option<DeviceArg>) -> Result<Device> {
    let opened = match choice {
        None => best(),
        Some(DeviceArg::Cpu) => Ok(Device::cpu()),
        Some(DeviceArg::Gpu) => {
            let device = Device::gpu(&GpuSelector::from_env_or_hardware());
            match names_adapter() {
                true => device,
                false => device.or_else(|no_hardware| Device::gpu(&GpuSelector::software()).map_err(|_| no_hardware)),
            }
        }
    };
    ready(opened, CPU_BY_ARGUMENT)
}

/// Where to compute, on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(super) enum DeviceArg {
    Cpu,
    /// The adapter that PERCEPT_ADAPTER names, else a hardware GPU, else a software one.
    Gpu,
}

/// A hardware GPU if there is one that opens, else the CPU. An adapter that was asked for by name must be there: nobody should wait for a CPU because of a typing error.
fn best() -> percept_engine::Result<Device> {
    if names_adapter() { Device::gpu(&GpuSelector::from_env_or_hardware()) } else { Ok(Device::best()) }
}

fn names_adapter() -> bool {
    std::env::var_os("PERCEPT_ADAPTER").is_some_and(|name| !name.is_empty())
}

/// Lets an opened device use the matrix products that `percept doctor --tune` chose for it, and no more memory than its container has; says what to do where none could be opened.
fn ready(opened: percept_engine::Result<Device>, takes_cpu: &str) -> Result<Device> {
    match opened {
        Ok(device) => {
            tune::load(&device);
            cgroup::keep_within(&device);
            Ok(device)
        }
        Err(error) => {
            let advice = format!("percept doctor lists the adapters; {takes_cpu} takes the CPU, which always works");
            Err(Advised { error: error.into(), advice, outcome: Outcome::Failed }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_a_machine_take_its_gpus_in_turn() {
        let of = |are_software: &[bool]| (0..4).map(|rank| gpu_of(Place { rank, size: 4 }, are_software)).collect::<Vec<_>>();
        assert_eq!(of(&[false; 8]), [Some(0), Some(1), Some(2), Some(3)]);
        assert_eq!(of(&[false, true, false]), [Some(0), Some(2), Some(0), Some(2)]);
        assert_eq!(of(&[true]), [None; 4]);
    }
}
