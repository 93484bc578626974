//! What a run will need, before it starts: memory by kind, and time by phase.
//!
//! One step of the run is taken on a meta device ([`percept_engine::meta`]), on the run's own first problems: the same code makes the same
//! tensors, so its peak is the run's. Responses are as long as they may be, and every other one is right, so that each group has something to learn and every picture
//! that a method looks at is read. By count is only how an update's peak is shared between gradients and activations.

mod memory;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use percept_engine::{Counters, DType, Device, Rates};
use percept_model::Model;
use serde::Serialize;

use crate::config::{CachePrecision, Config, WeightPrecision};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reward::{Graded, RewardFunction};
use crate::training::evaluate::{Decoding, Measuring, PROBLEMS_AT_ONCE, evaluate};
use crate::training::group::Group;
use crate::training::policy::prepared;
use crate::training::trainer::Trainer;
use crate::training::world::{Exchange, World};
pub use memory::available_bytes;

/// What a run needs.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// Weights that are trained, adapters among them.
    pub trained: usize,
    /// Weights that are not.
    pub frozen: usize,
    /// Tokens of the shortest, the median and the longest prompt of the first step.
    pub prompt_tokens: [usize; 3],
    /// Memory of the device, by kind.
    pub memory: Vec<Kind>,
    /// The most memory of the device at once, bytes: what is always there, and the phase that needs most besides.
    pub peak_bytes: u64,
    /// Which phase that is.
    pub peak_phase: &'static str,
    /// Memory of the host for pictures, bytes: those of a step as they were read and as the model reads them.
    pub host_bytes: u64,
    /// Bytes of gradients and weights that a rank sends to others in a step.
    pub sent_bytes: u64,
    /// The phases of a step, and a measurement.
    pub phases: Vec<Phase>,
}

/// Memory of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Kind {
    /// What it is for.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// Whether it is there all the time, not in one phase alone.
    pub is_always: bool,
}

/// A part of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Its name.
    pub name: &'static str,
    /// Most memory besides what is always there, bytes.
    pub bytes: u64,
    /// Multiplications with additions of its matrix products.
    pub multiply_adds: u64,
    /// Bytes that its kernels read and write.
    pub moved_bytes: u64,
    /// Kernels.
    pub launches: u64,
    /// Seconds of the device, by the rates that the plan was made with.
    pub device_seconds: f64,
    /// Seconds of the host for the rest: pictures, packing, launching. Measured while the plan was made.
    pub host_seconds: f64,
}

impl Plan {
    /// Plans a run that trains on `problems`, on a device of these rates. `encoder` is that of the run's model; of the model, no weight is read.
    ///
    /// # Errors
    /// As the first step of the run.
    pub fn new(config: &Config, encoder: &Encoder, problems: &Problems, rates: Rates) -> Result<Plan, TrainError> {
        Plan::of_rank(1, config, encoder, problems, rates)
    }

    /// The same for the first of several ranks, each with a device of its own. What other ranks would say, it says itself, so that times have no exchanges in them.
    ///
    /// # Errors
    /// As the first step of the run, or if the ranks cannot share what is trained.
    pub fn of_rank(ranks: usize, config: &Config, encoder: &Encoder, problems: &Problems, rates: Rates) -> Result<Plan, TrainError> {
        let world = if ranks == 1 { World::alone() } else { World::new(0, ranks, Arc::new(Echo { ranks })) };
        let device = Device::meta(rates);
        let encoder = encoder.without_end()?;
        let model_config = encoder.files().config.clone();
        let dtype = match config.model.precision {
            WeightPrecision::Float32 => DType::F32,
            WeightPrecision::AsStored => model_config.dtype.into(),
        };
        let model = prepared(Model::planned(&model_config, &device, dtype), &config.model, config.run.seed);
        let weights = device.counters().live_bytes;
        let trained: usize = model.trainable().iter().map(|(_, tensor)| tensor.len()).sum();
        let gradients = 4 * trained as u64;
        let frozen = model.parameters().filter(|(_, tensor)| !tensor.requires_grad()).map(|(_, tensor)| tensor.len()).sum();
        let is_copied = config.method.policy.kl_coef > 0.0 && !model.has_lora();

        let config = Config { reward: Vec::new(), ..config.clone() };
        let between = Arc::new(Mutex::new(None));
        let mut trainer = Trainer::of_rank(&world, model, encoder, problems.clone(), config.clone())?;
        trainer = trainer.with_reward("accuracy", 1.0, EveryOther { device: device.clone(), between: between.clone() });
        let always = device.counters().live_bytes;
        let reference = if is_copied { weights } else { 0 };

        let mut laps = Laps::start(&device);
        let output = trainer.step()?;
        let sent_bytes = world.traffic().gradient_bytes;
        let (after_rollout, at) =
            between.lock().expect("nothing panics while it is held").take().expect("every step rewards its responses");
        let mut phases = vec![laps.phase("rollout", &after_rollout, at)];
        phases.push(laps.phase("update", &device.counters(), Instant::now()));
        let mut lengths: Vec<usize> = output.groups.iter().map(|group| group.encoded.tokens.len()).collect();
        lengths.sort_unstable();
        let prompt_tokens = [0, lengths.len() / 2, lengths.len().saturating_sub(1)].map(|at| lengths.get(at).copied().unwrap_or(0));
        let host_bytes = output.groups.iter().map(picture_bytes).sum();
        drop(output);

        if config.eval.problems > 0 {
            device.reset_peak();
            let mut laps = Laps::start(&device);
            let there = match problems {
                Problems::Task(_) => config.eval.problems,
                Problems::Data(data) => config.eval.problems.min(data.examples.len()),
            };
            // as many as are in memory at once
            let prompts = problems.training(0..there.min(PROBLEMS_AT_ONCE) as u64, config.run.seed)?;
            let decoding = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
            let how = Measuring { decoding, rollout: config.rollout, step: 0, seed: 0 };
            evaluate(trainer.model(), trainer.encoder(), prompts, how, |_, _| {})?;
            phases.push(laps.phase("measurement", &device.counters(), Instant::now()));
        }
        let peak = phases.iter().max_by_key(|phase| phase.bytes).expect("a step has phases");
        let phase = |name| phases.iter().find(|phase| phase.name == name).map_or(0, |phase| phase.bytes);
        let kind = |name, bytes, is_always| Kind { name, bytes, is_always };
        let memory = vec![
            kind("weights", weights, true),
            kind("reference policy", reference, true),
            kind("optimiser", always.saturating_sub(weights + reference), true),
            kind("rollout: keys and values, logits", phase("rollout"), false),
            kind("update: gradients of weights", gradients.min(phase("update")), false),
            kind("update: activations", phase("update").saturating_sub(gradients), false),
            kind("measurement", phase("measurement"), false),
        ];
        let memory = memory.into_iter().filter(|kind| kind.bytes > 0).collect();
        let (peak_bytes, peak_phase) = (always + peak.bytes, peak.name);
        Ok(Plan { trained, frozen, prompt_tokens, memory, peak_bytes, peak_phase, host_bytes, sent_bytes, phases })
    }

    /// Seconds of a step on the device and the host, one after the other.
    pub fn step_seconds(&self) -> f64 {
        let of_step = self.phases.iter().filter(|phase| phase.name != "measurement");
        of_step.map(|phase| phase.device_seconds + phase.host_seconds).sum()
    }

    /// What would make the peak lower, the most effective setting first, each with what it is now.
    pub fn advice(&self, config: &Config) -> Vec<String> {
        let mut advice = Vec::new();
        let always: u64 = self.memory.iter().filter(|kind| kind.is_always).map(|kind| kind.bytes).sum();
        let is_mostly_always = always > self.peak_bytes / 2;
        let weights = |advice: &mut Vec<String>| {
            if config.model.lora.is_none() {
                advice.push("model.lora: adapters, whose gradients and optimiser are small".to_owned());
            }
            if config.model.precision == WeightPrecision::Float32 {
                advice.push("model.precision = \"as_stored\": weights in halves, if the file has them so (with model.lora)".to_owned());
            }
        };
        if is_mostly_always {
            weights(&mut advice);
        }
        let (train, rollout) = (&config.train, &config.rollout);
        match self.peak_phase {
            "rollout" => {
                let sequences = rollout.prompts_per_step * config.method.group_size;
                advice.push(format!("rollout.sequences_at_once, now {}", rollout.sequences_at_once.min(sequences)));
                if rollout.kv_cache == CachePrecision::F32 {
                    advice.push("rollout.kv_cache = \"bf16\": keys and values in half the memory, rounded".to_owned());
                }
                advice.push(format!("rollout.max_new_tokens, now {}", rollout.max_new_tokens));
            }
            "update" => {
                advice.push(format!("train.micro_batch_tokens, now {}", train.micro_batch_tokens));
                if !config.model.gradient_checkpointing {
                    advice.push("model.gradient_checkpointing = true".to_owned());
                }
            }
            _ => advice.push(format!("eval.samples, now {}", config.eval.samples)),
        }
        if !is_mostly_always {
            weights(&mut advice);
        }
        advice
    }
}

/// Ranks that say what the first says: as many bytes as those of a run.
struct Echo {
    ranks: usize,
}

impl Exchange for Echo {
    fn gather(&self, own: Vec<u8>) -> Vec<Vec<u8>> {
        vec![own; self.ranks]
    }

    fn swap(&self, _: usize, own: Vec<u8>) -> Vec<u8> {
        own
    }

    fn sum(&self, _: &mut [f32]) {}

    fn abort(&self, code: u8) -> ! {
        std::process::exit(i32::from(code))
    }
}

/// Every other response is right. It also notes where the device is when the responses are there.
struct EveryOther {
    device: Device,
    between: Arc<Mutex<Option<(Counters, Instant)>>>,
}

impl RewardFunction for EveryOther {
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
        *self.between.lock().expect("nothing panics while it is held") = Some((self.device.counters(), Instant::now()));
        self.device.reset_peak();
        Ok((0..responses.len()).map(|number| (number % 2) as f32).collect())
    }
}

/// Cuts what a device does into phases.
struct Laps {
    before: Counters,
    at: Instant,
    /// Bytes that were there at the start.
    always: u64,
}

impl Laps {
    fn start(device: &Device) -> Laps {
        device.reset_peak();
        let before = device.counters();
        Laps { before, at: Instant::now(), always: before.live_bytes }
    }

    /// What was done since the last phase.
    fn phase(&mut self, name: &'static str, now: &Counters, at: Instant) -> Phase {
        let before = std::mem::replace(&mut self.before, *now);
        let host_seconds = (at - std::mem::replace(&mut self.at, at)).as_secs_f64();
        Phase {
            name,
            bytes: now.peak_bytes.saturating_sub(self.always),
            multiply_adds: now.multiply_adds - before.multiply_adds,
            moved_bytes: now.tensor_bytes - before.tensor_bytes,
            launches: now.launches - before.launches,
            device_seconds: 1e-9 * (now.planned_nanoseconds - before.planned_nanoseconds) as f64,
            host_seconds,
        }
    }
}

/// Bytes of the pictures of a group, as they were read and as patches.
fn picture_bytes(group: &Group) -> u64 {
    let read = group.prompt.pictures.iter().chain(group.views.iter().flat_map(|view| &view.pictures));
    let pixels: usize = read.map(|picture| picture.as_raw().len()).sum();
    let tiles = group.encoded.tiles.iter().chain(group.views.iter().filter_map(|view| view.tiles.as_ref()).flatten());
    let patches: usize = tiles.map(|tiles| 4 * tiles.values().len()).sum();
    (pixels + patches) as u64
}
