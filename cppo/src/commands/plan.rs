//! `percept plan`: what a run will need.

use std::io::Write;

use anyhow::Result;
use percept_engine::{Device, Rates};
use serde::Serialize;

use super::arguments::ConfigArgs;
use super::device::open_device;
use super::outcome::Outcome;
use super::overview::parameters_in_words;
use super::place::checkpoint_of;
use super::sources::Sources;
use crate::config::{Config, ConfigError, Reduce, wrapped};
use crate::problems::reading::Reader;
use crate::studies::bench::rates;
use crate::studies::plan::{Plan, available_bytes};
use crate::training::policy::load_encoder;

/// Arguments of `percept plan`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Memory of the device in GB (10⁹ bytes), to compare with. Default: on the CPU, what is available.
    #[arg(long, value_name = "GB", value_parser = positive)]
    memory: Option<f64>,
    /// Speed of matrix products in TFLOP/s, for a device that is not at hand. Default: measured.
    #[arg(long, value_name = "TFLOPS", value_parser = positive, requires = "bandwidth")]
    tflops: Option<f64>,
    /// Speed of memory in GB/s, for a device that is not at hand. Default: measured.
    #[arg(long, value_name = "GB/S", value_parser = positive, requires = "tflops")]
    bandwidth: Option<f64>,
    /// Plan one of N ranks that `mpirun` starts, each with its own device: its share of the prompts, and what it sends.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    ranks: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|value| *value > 0.0 && value.is_finite());
    value.ok_or_else(|| "expected a number above 0".into())
}

/// The JSON form.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Processes that share a step.
    ranks: u32,
    available_bytes: Option<u64>,
    fits: Option<bool>,
    lower: Vec<String>,
    multiply_adds_per_second: f64,
    bytes_per_second: f64,
}

/// What a kernel costs on a GPU besides its work, where nothing was measured.
const SECONDS_PER_LAUNCH: f64 = 5e-6;

/// Plans, and prints tables or JSON. What is read is said on `errors`.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    let mut config = args.config.load()?;
    config.model.path = checkpoint_of(&config.model.path, errors)?;
    let is_elsewhere = args.tflops.is_some();
    let rates = match (args.tflops, args.bandwidth) {
        (Some(tflops), Some(bandwidth)) => {
            let (multiply_adds_per_second, bytes_per_second) = (0.5e12 * tflops, 1e9 * bandwidth);
            Rates { multiply_adds_per_second, bytes_per_second, seconds_per_launch: SECONDS_PER_LAUNCH }
        }
        _ => rates(&open_device(&config.run.device)?)?,
    };
    let available = match args.memory {
        Some(gigabytes) => Available::OfDevice((1e9 * gigabytes) as u64),
        None if is_elsewhere => Available::Unknown,
        None => Available::on(&open_device(&config.run.device)?),
    };
    let encoder = load_encoder(&config.model)?;
    let reader = Reader { encoder: &encoder, model: &encoder.files().config, max_new_tokens: config.rollout.max_new_tokens };
    let Sources { training, .. } = Sources::open(&config, reader, errors)?;
    let (config, of_rank) = share(config, args.ranks)?;
    let plan = Plan::of_rank(args.ranks as usize, &config, &encoder, &training, rates)?;
    let fits = available.fits(&plan);
    if args.json {
        let Rates { multiply_adds_per_second, bytes_per_second, .. } = rates;
        let lower = plan.advice(&of_rank);
        let report = Report {
            plan: &plan,
            ranks: args.ranks,
            available_bytes: available.bytes(),
            fits,
            lower,
            multiply_adds_per_second,
            bytes_per_second,
        };
        writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        if args.ranks > 1 {
            let line = format!("one of {} ranks, which sends {} of gradients to others in a step:", args.ranks, size(plan.sent_bytes));
            write!(out, "{}", wrapped("", "  ", &line))?;
        }
        print(&plan, &of_rank, &rates, out)?;
        write!(out, "{}", wrapped("", "  ", &verdict(&plan, &of_rank, available)))?;
    }
    Ok(if fits == Some(false) { Outcome::Failed } else { Outcome::Done })
}

/// The settings of ranks, and what one of them has of a step. Of ranks, gradients are added along the tree unless the configuration says otherwise.
fn share(mut config: Config, ranks: u32) -> Result<(Config, Config)> {
    let (ranks, prompts, updates) = (ranks as usize, config.rollout.prompts_per_step, config.train.updates_per_step);
    if !(prompts / updates).is_multiple_of(ranks) {
        let problem = format!("--ranks: expected a divisor of the {} prompts of an update, got {ranks}", prompts / updates);
        return Err(ConfigError::Range { origin: "arguments".into(), problem }.into());
    }
    if ranks > 1 && config.train.reduce == Reduce::Auto {
        config.train.reduce = Reduce::Exact;
    }
    let mut of_rank = config.clone();
    of_rank.rollout.prompts_per_step /= ranks;
    Ok((config, of_rank))
}

fn print(plan: &Plan, config: &Config, rates: &Rates, out: &mut dyn Write) -> Result<()> {
    let [shortest, median, longest] = plan.prompt_tokens;
    writeln!(out, "model: {}", parameters_in_words(plan.trained, plan.frozen))?;
    let step = format!(
        "step: {} prompts of {shortest} to {longest} tokens (median {median}), {} responses of {} tokens to each",
        config.rollout.prompts_per_step, config.method.group_size, config.rollout.max_new_tokens
    );
    write!(out, "{}", wrapped("", "  ", &step))?;

    writeln!(out, "\nmemory of the device")?;
    for kind in &plan.memory {
        writeln!(out, "  {:<42}{:>10}{}", kind.name, size(kind.bytes), if kind.is_always { "  always" } else { "" })?;
    }
    writeln!(out, "  {:<42}{:>10}", format!("most at once, in the {}", plan.peak_phase), size(plan.peak_bytes))?;
    writeln!(out, "{:<44}{:>10}", "memory of the host: pictures of a step", size(plan.host_bytes))?;

    writeln!(out, "\n{:<16}{:>11}{:>11}{:>11}{:>11}{:>11}", "time", "device, s", "host, s", "kernels", "TFLOP", "GB moved")?;
    for phase in &plan.phases {
        let (tflop, moved) = (2e-12 * phase.multiply_adds as f64, 1e-9 * phase.moved_bytes as f64);
        let [device, host] = [phase.device_seconds, phase.host_seconds].map(digits);
        writeln!(out, "  {:<14}{device:>11}{host:>11}{:>11}{:>11}{:>11}", phase.name, phase.launches, digits(tflop), digits(moved))?;
    }
    let step = plan.step_seconds();
    let all = format!(
        "a step with responses as long as they may be: about {}; {} steps: {}. The device's time is the least that kernels take at {} GFLOP/s and {} GB/s; the host's was measured now.",
        duration(step),
        config.train.steps,
        duration(step * config.train.steps as f64),
        digits(2e-9 * rates.multiply_adds_per_second),
        digits(1e-9 * rates.bytes_per_second),
    );
    write!(out, "{}", wrapped("", "  ", &all))?;
    writeln!(out)?;
    Ok(())
}

/// How much memory a run may have, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Available {
    /// Of one memory, for tensors and pictures.
    OfHost(u64),
    /// Of the device's own, for tensors.
    OfDevice(u64),
    /// Nobody says: a GPU's driver does not.
    Unknown,
}

impl Available {
    /// What there is for a run on this device.
    pub(super) fn on(device: &Device) -> Available {
        let bytes = if device.is_cpu() { available_bytes() } else { None };
        bytes.map_or(Available::Unknown, Available::OfHost)
    }

    fn bytes(self) -> Option<u64> {
        match self {
            Available::OfHost(bytes) | Available::OfDevice(bytes) => Some(bytes),
            Available::Unknown => None,
        }
    }

    /// What of a plan has to fit into it.
    fn needed(self, plan: &Plan) -> u64 {
        plan.peak_bytes + if matches!(self, Available::OfHost(_)) { plan.host_bytes } else { 0 }
    }

    /// Whether a run fits, if that is known.
    pub(super) fn fits(self, plan: &Plan) -> Option<bool> {
        Some(self.needed(plan) <= self.bytes()?)
    }
}

/// Whether it fits, in one line, and what would make it fit.
pub(super) fn verdict(plan: &Plan, config: &Config, available: Available) -> String {
    let needed = size(available.needed(plan));
    match (available.bytes().map(size), available.fits(plan)) {
        (Some(available), Some(true)) => format!("memory: needs {needed} of {available}, which fits"),
        (Some(available), _) => {
            format!("memory: needs {needed} of {available}, which DOES NOT FIT. What makes it less: {}", plan.advice(config).join("; "))
        }
        (None, _) => format!("memory: needs {needed} of the device's; how much it has, its driver does not say"),
    }
}

/// In MB or GB.
fn size(bytes: u64) -> String {
    match bytes {
        1_000_000_000.. => format!("{} GB", digits(1e-9 * bytes as f64)),
        _ => format!("{} MB", digits(1e-6 * bytes as f64)),
    }
}

/// Three digits or more.
fn digits(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        0.1.. => format!("{value:.2}"),
        0.0 => "0".into(),
        _ => format!("{value:.4}"),
    }
}

fn duration(seconds: f64) -> String {
    match seconds {
        172_800.0.. => format!("{:.1} days", seconds / 86_400.0),
        7200.0.. => format!("{:.1} hours", seconds / 3600.0),
        120.0.. => format!("{:.1} minutes", seconds / 60.0),
        _ => format!("{} s", digits(seconds)),
    }
}
