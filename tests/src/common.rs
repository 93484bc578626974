//! What several tests share.

use std::sync::OnceLock;

use percept_engine::{Device, GpuSelector};

/// The GPU of the tests, opened once per process: what `PERCEPT_ADAPTER` names, else a hardware GPU, else a software one.
///
/// # Panics
/// If there is none: a test of the shaders that runs nowhere is not a pass.
pub(crate) fn gpu() -> Device {
    static GPU: OnceLock<Device> = OnceLock::new();
    GPU.get_or_init(|| open(|selector| selector)).clone()
}

/// A device of its own on the adapter of [`gpu`], with other options.
pub(crate) fn open(options: impl Fn(GpuSelector) -> GpuSelector) -> Device {
    let hardware = Device::gpu(&options(GpuSelector::from_env_or_hardware()));
    let device = match std::env::var("PERCEPT_ADAPTER") {
        Ok(_) => hardware,
        Err(_) => hardware.or_else(|_| Device::gpu(&options(GpuSelector::software()))),
    };
    device.unwrap_or_else(|error| panic!("the tests need a GPU, or a software one ({HELP}): {error}"))
}

/// How to get one that costs nothing.
const HELP: &str = if cfg!(target_os = "linux") {
    "Debian, Ubuntu: apt-get install mesa-vulkan-drivers; Fedora: dnf install mesa-vulkan-drivers; tests/run.sh does the first by itself"
} else if cfg!(windows) {
    "Windows brings one, WARP: PERCEPT_ADAPTER=software"
} else {
    "macOS has Metal on every Mac that it supports; a virtual machine may have no GPU"
};

/// Runs one test of this program in a process of its own, under limits that a shell sets, with the variable that the test waits for; what it prints has to say that it survived.
#[cfg(unix)]
pub(crate) fn survives(limits: &str, test: &str, variable: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let script = format!("{limits} && exec \"$0\" --exact {test} --nocapture --test-threads 1");
    let output = std::process::Command::new("sh").args(["-c", &script]).arg(program).env(variable, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("survived"), "{said}");
    said
}
