//! `percept doctor`: which devices there are, and whether their kernels compute what they must.

use std::process::ExitCode;

use anyhow::Result;
use percept_engine::check::{OpVerdict, examine};
use percept_engine::gpu::adapters;
use percept_engine::{AdapterReport, Device, GpuSelector};
use serde::Serialize;

/// Arguments of `percept doctor`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Check this adapter only: its number or a part of its name.
    #[arg(long)]
    adapter: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON form.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    cpu_threads: usize,
    devices: Vec<DeviceReport>,
    ok: bool,
}

#[derive(Serialize)]
struct DeviceReport {
    name: String,
    /// `None` for the CPU.
    adapter: Option<AdapterReport>,
    /// Why the adapter could not be opened.
    error: Option<String>,
    ops: Vec<OpVerdict>,
    ok: bool,
}

/// Exit code 1 if a kernel is wrong or an adapter does not open.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let adapters = adapters();
    if !args.json {
        print_devices(&adapters);
    }
    let mut devices = Vec::new();
    match &args.adapter {
        Some(text) => devices.push(check_gpu(text, args.json)),
        None => {
            devices.push(check(&Device::cpu(), args.json));
            devices.extend((0..adapters.len()).map(|index| check_gpu(&index.to_string(), args.json)));
        }
    }
    let ok = devices.iter().all(|device| device.ok);
    if args.json {
        let report = Report { version: env!("CARGO_PKG_VERSION"), cpu_threads: threads(), devices, ok };
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_summary(&devices);
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn check_gpu(selector: &str, json: bool) -> DeviceReport {
    let selector: GpuSelector = selector.parse().unwrap_or_else(|never| match never {});
    match Device::gpu(&selector) {
        Ok(device) => check(&device, json),
        Err(error) => {
            if !json {
                println!("\n{error}");
            }
            DeviceReport { name: selector.to_string(), adapter: None, error: Some(error.to_string()), ops: Vec::new(), ok: false }
        }
    }
}

fn check(device: &Device, json: bool) -> DeviceReport {
    if !json {
        println!("\nKernels on {device}, forward and backward, against f64 on the CPU");
        println!("  {:<28} {:>7}  {:>9}  {:>9}  verdict", "op", "samples", "max error", "tolerance");
    }
    let ops = examine(device, |verdict| {
        if !json {
            print_verdict(verdict);
        }
    });
    let ok = ops.iter().all(|verdict| verdict.ok);
    DeviceReport { name: device.to_string(), adapter: device.adapter().cloned(), error: None, ops, ok }
}

fn print_devices(adapters: &[AdapterReport]) {
    println!("Devices");
    println!("  cpu  {} threads", threads());
    for (index, adapter) in adapters.iter().enumerate() {
        let AdapterReport { name, backend, device_type, driver_info, .. } = adapter;
        println!("  {index:<4} {name} · {backend} · {device_type} · {driver_info}");
        let mut features = Vec::new();
        let subgroups = match (adapter.subgroup_min_size, adapter.subgroup_max_size) {
            (low, high) if low == high => format!("subgroups of {low}"),
            (low, high) => format!("subgroups of {low} to {high}"),
        };
        for (on, feature) in [
            (adapter.immediates, "immediates".to_string()),
            (adapter.f16, "f16".to_string()),
            (adapter.subgroups, subgroups),
            (adapter.timestamp_queries, "timestamps".to_string()),
            (!adapter.cooperative_tiles.is_empty(), "cooperative matrices".to_string()),
        ] {
            features.push(if on { feature } else { format!("no {}", feature.split(" of ").next().unwrap_or_default()) });
        }
        println!("       {}", features.join(" · "));
        println!(
            "       tensors up to {} MiB · workgroup memory {} KiB · workgroups of up to {}",
            adapter.max_binding_bytes >> 20,
            adapter.max_workgroup_memory_bytes >> 10,
            adapter.max_workgroup_size
        );
    }
    if adapters.is_empty() {
        println!("  no GPU adapter: training runs on the CPU. On Debian or Ubuntu, mesa-vulkan-drivers brings Vulkan drivers");
    }
}

fn print_verdict(verdict: &OpVerdict) {
    let OpVerdict { op, samples, max_error, tolerance, ok, problem } = verdict;
    if *samples == 0 {
        println!("  {op:<28} {samples:>7}  {:>9}  {:>9}  not run: the device lacks what it needs", "", "");
        return;
    }
    println!("  {op:<28} {samples:>7}  {max_error:>9.1e}  {tolerance:>9.1e}  {}", if *ok { "ok" } else { "WRONG" });
    if !ok {
        println!("      {problem}");
    }
}

fn print_summary(devices: &[DeviceReport]) {
    println!();
    for device in devices {
        let wrong: Vec<&str> = device.ops.iter().filter(|verdict| !verdict.ok).map(|verdict| verdict.op).collect();
        match (&device.error, wrong.is_empty()) {
            (Some(_), _) => println!("{}: could not be opened", device.name),
            (None, true) => println!(
                "{}: all {} ops that run here are right",
                device.name,
                device.ops.iter().filter(|verdict| verdict.samples > 0).count()
            ),
            (None, false) => println!("{}: WRONG: {}. Do not train on it; please report this table", device.name, wrong.join(", ")),
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
