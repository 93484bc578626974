//! `percept bench`: what this machine does, beside what it could do.

use std::io::Write;
use std::time::Instant;

use anyhow::Result;
use percept_engine::Device;
use percept_engine::cpu::threads::threads;
use serde::Serialize;

use super::arguments::ConfigArgs;
use super::device::open_device;
use super::outcome::Outcome;
use crate::config::wrapped;
use crate::methods::AnyMethod;
use crate::studies::bench::{Effort, Limits, Section, counts, generation, products, scaling, training};

/// Arguments of `percept bench`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// Take seconds, for a look: each number is measured once, and the large products are left out.
    #[arg(long)]
    quick: bool,
    /// Count instead of measuring: launches, bytes and multiplications, the same on every machine.
    #[arg(long, conflicts_with = "scaling")]
    counts: bool,
    /// Double something in turn, and say by which power time and memory grow.
    #[arg(long)]
    scaling: bool,
}

/// The JSON form.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    processor: String,
    device: String,
    threads: usize,
    /// Measurements of which the median counts.
    rounds: usize,
    sections: Vec<Section>,
}

/// Measures and prints tables, or JSON.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let started = Instant::now();
    let config = args.config.load()?;
    // the plainest method, and the one that is configured
    let plain = args.config.load_with(&format!("method.name={}", AnyMethod::NAMES[0]))?;
    let configs = [plain, config.clone()];
    let opened = open_device(&config.run.device)?;
    // counters of its own: what else the process does on the CPU is not counted
    let device = if opened.is_cpu() { Device::new_cpu() } else { opened };
    let effort = if args.quick { Effort::Quick } else { Effort::Full };
    let sections = match (args.counts, args.scaling) {
        (true, _) => vec![counts(&configs, &device)?],
        (_, true) => vec![scaling(&config, &device, effort)?],
        _ => {
            let limits = Limits::of(&device)?;
            vec![
                limits.section(),
                products(&device, &limits, effort)?,
                generation(&config, &device, &limits, effort)?,
                training(&configs, &device, &limits, effort)?,
            ]
        }
    };
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        processor: processor(),
        device: device.to_string(),
        threads: threads(),
        rounds: effort.rounds(),
        sections,
    };
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report, started.elapsed().as_secs_f64(), out)?;
    }
    Ok(Outcome::Done)
}

fn print(report: &Report, seconds: f64, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{} on {}, {} threads", report.device, report.processor, report.threads)?;
    for section in &report.sections {
        let width = section.rows.iter().map(|row| row.name.chars().count()).max().unwrap_or(0);
        writeln!(out, "\n{}", section.title)?;
        write!(out, "{}", wrapped("", "", &section.about))?;
        let has_limits = section.rows.iter().any(|row| row.limit.is_some());
        let heads = if has_limits { format!("  {:>10}  {:>5}", "limit", "share") } else { String::new() };
        if has_limits || !section.unit.is_empty() {
            writeln!(out, "  {:width$}  {:>10}{heads}", "", section.unit)?;
        }
        for row in &section.rows {
            let share = match (row.limit, row.ratio) {
                (Some(limit), Some(ratio)) => format!("  {:>10}  {:>5.2}", number(limit), ratio),
                _ => String::new(),
            };
            writeln!(out, "  {:width$}  {:>10}{share}", row.name, number(row.value))?;
        }
    }
    writeln!(out, "\n{seconds:.0} s; medians of {}, measured in turn", report.rounds)?;
    Ok(())
}

/// Three digits or more.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The processor's name, where the system tells it.
fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}
