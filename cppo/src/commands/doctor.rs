//! `percept doctor`: which devices there are, and whether their kernels compute what they must; with a model, whether a gradient reaches all of it.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use percept_engine::check::{OpVerdict, examine};
use percept_engine::gpu::adapters;
use percept_engine::tune::{self, Measurement, Precision, Tuning};
use percept_engine::{AdapterReport, Device, GpuSelector};
use percept_model::{Model, ModelFiles};
use serde::Serialize;
use serde_json::json;

use super::outcome::Outcome;
use super::place;
use crate::problems::prompts::Encoder;
use crate::studies::gradients::{Reach, reach};

/// Arguments of `percept doctor`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Check this adapter only: its number or a part of its name.
    #[arg(long)]
    adapter: Option<String>,
    /// Measure the variants of the matrix product on each adapter and keep the best for later runs.
    #[arg(long)]
    tune: bool,
    /// With --tune: let variants that round their inputs to f16 (matrix units) be chosen, too; for the forward pass alone, gradients stay in f32.
    #[arg(long, requires = "tune")]
    allow_f16: bool,
    /// Check this model in place of the kernels: whether it answers about pictures, and a gradient reaches every one of its weights.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["tune", "allow_f16"])]
    model: Option<PathBuf>,
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
    /// With --tune.
    tuning: Option<Tuning>,
    measurements: Vec<Measurement>,
    ok: bool,
}

/// Exit code 1 if a kernel is wrong or an adapter does not open.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    if let Some(path) = &args.model {
        return check_model(path, args, out);
    }
    let adapters = adapters();
    if !args.json {
        print_devices(&adapters, out)?;
    }
    let mut devices = Vec::new();
    match &args.adapter {
        Some(text) => devices.push(check_gpu(text, args, out)?),
        None => {
            devices.push(check(&Device::cpu(), args, out)?);
            for index in 0..adapters.len() {
                devices.push(check_gpu(&index.to_string(), args, out)?);
            }
        }
    }
    let ok = devices.iter().all(|device| device.ok);
    if args.json {
        let report = Report { version: env!("CARGO_PKG_VERSION"), cpu_threads: threads(), devices, ok };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print_summary(&devices, out)?;
    }
    Ok(if ok { Outcome::Done } else { Outcome::Failed })
}

/// On the adapter that is named, else on the CPU.
fn check_model(path: &Path, args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let device = match &args.adapter {
        Some(text) => Device::gpu(&text.parse().unwrap_or_else(|never| match never {}))?,
        None => Device::cpu(),
    };
    let place = place::find(path, None, &mut std::io::sink())?;
    let encoder = Encoder::new(ModelFiles::read(&place.base)?)?;
    let model = Model::load_from(&place, &device, percept_model::Precision::AsStored)?;
    anyhow::ensure!(!model.has_lora(), "{}: expected a model, whose weights are trained, got an adapter", path.display());
    let found = reach(&model, &encoder)?;
    let Reach { reached, missed, not_finite } = &found;
    if args.json {
        let report = json!({ "device": device.to_string(), "reached": reached, "missed": missed, "not_finite": not_finite, "ok": found.is_complete() });
        writeln!(out, "{report:#}")?;
    } else {
        writeln!(
            out,
            "{} on {device}: a gradient reaches {reached} of {} weights",
            path.display(),
            reached + missed.len() + not_finite.len()
        )?;
        missed.iter().try_for_each(|name| writeln!(out, "  {name}: no gradient"))?;
        not_finite.iter().try_for_each(|name| writeln!(out, "  {name}: a gradient with NaN or infinity"))?;
    }
    Ok(if found.is_complete() { Outcome::Done } else { Outcome::Failed })
}

fn check_gpu(selector: &str, args: &Args, out: &mut dyn Write) -> Result<DeviceReport> {
    let selector: GpuSelector = selector.parse().unwrap_or_else(|never| match never {});
    match Device::gpu(&selector).inspect(tune::load) {
        Ok(device) => check(&device, args, out),
        Err(error) => {
            if !args.json {
                writeln!(out, "\n{error}")?;
            }
            let (name, error) = (selector.to_string(), Some(error.to_string()));
            Ok(DeviceReport { name, adapter: None, error, ops: Vec::new(), tuning: None, measurements: Vec::new(), ok: false })
        }
    }
}

fn check(device: &Device, args: &Args, out: &mut dyn Write) -> Result<DeviceReport> {
    if !args.json {
        writeln!(out, "\nKernels on {device}, forward and backward, against f64 on the CPU")?;
        writeln!(out, "  {:<28} {:>7}  {:>9}  {:>9}  verdict", "op", "samples", "max error", "tolerance")?;
    }
    let mut written = Ok(());
    let ops = examine(device, |verdict| {
        if !args.json && written.is_ok() {
            written = print_verdict(verdict, out);
        }
    });
    written?;
    let ok = ops.iter().all(|verdict| verdict.ok);
    let (tuning, measurements) = if args.tune { tune_adapter(device, args, out)? } else { (None, Vec::new()) };
    Ok(DeviceReport { name: device.to_string(), adapter: device.adapter().cloned(), error: None, ops, tuning, measurements, ok })
}

/// Measures, prints and keeps. The CPU has nothing to choose.
fn tune_adapter(device: &Device, args: &Args, out: &mut dyn Write) -> Result<(Option<Tuning>, Vec<Measurement>)> {
    let Some(adapter) = device.adapter() else { return Ok((None, Vec::new())) };
    let precision = if args.allow_f16 { Precision::HalfInputs } else { Precision::Single };
    let (tuning, measurements) = tune::tune(device, precision)?;
    let path = tune::cache_path().context("nowhere to keep the choice: set HOME or PERCEPT_CACHE")?;
    tune::save(&path, adapter, tuning)?;
    if !args.json {
        writeln!(out, "\nMatrix products on {device}")?;
        writeln!(out, "  {:<28} {:<22} {:>9}  {:>9}", "variant", "size", "GFLOP/s", "error")?;
        for Measurement { variant, size: [m, k, n], gflops, error, exact } in &measurements {
            let chosen = if *m <= tune::THIN_ROWS { tuning.thin } else { tuning.wide } == Some(*variant);
            let note = if chosen {
                "chosen"
            } else if *exact {
                ""
            } else {
                "not exact enough"
            };
            writeln!(
                out,
                "  {:<28} {:<22} {gflops:>9.1}  {error:>9.1e}  {note}",
                format!("{variant:?}"),
                format!("[{m}, {k}] · [{k}, {n}]")
            )?;
        }
        writeln!(out, "  kept in {}", path.display())?;
    }
    Ok((Some(tuning), measurements))
}

fn print_devices(adapters: &[AdapterReport], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "Devices")?;
    writeln!(out, "  cpu  {} threads", threads())?;
    for (index, adapter) in adapters.iter().enumerate() {
        let AdapterReport { name, backend, device_type, driver_info, .. } = adapter;
        writeln!(out, "  {index:<4} {name} · {backend} · {device_type} · {driver_info}")?;
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
        writeln!(out, "       {}", features.join(" · "))?;
        writeln!(
            out,
            "       tensors up to {} MiB · workgroup memory {} KiB · workgroups of up to {}",
            adapter.max_binding_bytes >> 20,
            adapter.max_workgroup_memory_bytes >> 10,
            adapter.max_workgroup_size
        )?;
    }
    if adapters.is_empty() {
        writeln!(out, "  no GPU adapter: training runs on the CPU. On Debian or Ubuntu, mesa-vulkan-drivers brings Vulkan drivers")?;
    }
    Ok(())
}

fn print_verdict(verdict: &OpVerdict, out: &mut dyn Write) -> std::io::Result<()> {
    let OpVerdict { op, samples, max_error, tolerance, ok, problem } = verdict;
    if *samples == 0 {
        writeln!(out, "  {op:<28} {samples:>7}  {:>9}  {:>9}  not run: the device lacks what it needs", "", "")?;
        return Ok(());
    }
    writeln!(out, "  {op:<28} {samples:>7}  {max_error:>9.1e}  {tolerance:>9.1e}  {}", if *ok { "ok" } else { "WRONG" })?;
    if !ok {
        writeln!(out, "      {problem}")?;
    }
    Ok(())
}

fn print_summary(devices: &[DeviceReport], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out)?;
    for device in devices {
        let wrong: Vec<&str> = device.ops.iter().filter(|verdict| !verdict.ok).map(|verdict| verdict.op).collect();
        match (&device.error, wrong.is_empty()) {
            (Some(_), _) => writeln!(out, "{}: could not be opened", device.name)?,
            (None, true) => writeln!(
                out,
                "{}: all {} ops that run here are right",
                device.name,
                device.ops.iter().filter(|verdict| verdict.samples > 0).count()
            )?,
            (None, false) => writeln!(out, "{}: WRONG: {}. Do not train on it; please report this table", device.name, wrong.join(", "))?,
        }
    }
    Ok(())
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
