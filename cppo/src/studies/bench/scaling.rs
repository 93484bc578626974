//! How time and memory grow when something doubles.

use percept_engine::{DType, Device};
use percept_model::{Model, ModelConfig};

use super::batch::{Size, update};
use super::{Effort, Row, Section, median, seconds};
use crate::config::Config;
use crate::problems::prompts::test_prompts;
use crate::problems::tasks::Task;
use crate::training::policy::{load_encoder, load_policy};

/// A model and a batch for it.
#[derive(Clone)]
struct Case {
    model: ModelConfig,
    prompts: usize,
    size: Size,
}

/// Doubles one thing of a case.
type Double = fn(&mut Case);

/// What is doubled, and how.
const DOUBLED: [(&str, Double); 6] = [
    ("response length", |case| case.size.response_tokens *= 2),
    ("responses to a prompt", |case| case.size.group *= 2),
    ("prompts, each with a picture", |case| case.prompts *= 2),
    ("layers of the decoder", |case| case.model.text.num_hidden_layers *= 2),
    ("vocabulary", |case| case.model.text.vocab_size *= 2),
    ("width of the decoder", |case| {
        let text = &mut case.model.text;
        for size in [&mut text.hidden_size, &mut text.intermediate_size, &mut text.num_attention_heads, &mut text.num_key_value_heads] {
            *size *= 2;
        }
    }),
];

/// The exponents of time and of memory of a rollout and an update by the configured method: 1 if doubling something doubles them. The model has the sizes
/// of the configured one and random weights.
///
/// # Errors
/// If the model cannot be loaded or the device fails.
pub fn scaling(config: &Config, device: &Device, effort: Effort) -> anyhow::Result<Section> {
    let method = config.method.own.as_method();
    let model = load_policy(&config.model, &Device::cpu(), config.run.seed)?.config().clone();
    let (encoder, task) = (load_encoder(&config.model)?, Task::new(&config.task)?);
    let single = Case { model, prompts: 8, size: Size { group: 8, response_tokens: 64 } };
    let mut rows = Vec::new();
    for (name, double) in DOUBLED {
        let mut doubled = single.clone();
        double(&mut doubled);
        let mut cases = Vec::new();
        for case in [&single, &doubled] {
            let prompts =
                test_prompts(&task, 0..case.prompts as u64).iter().map(|prompt| encoder.encode(prompt)).collect::<Result<Vec<_>, _>>()?;
            cases.push((case.size, Model::random(&case.model, device, 1, DType::F32), case.size.groups(&prompts)));
        }
        let (mut times, mut peaks) = ([Vec::new(), Vec::new()], [0.0; 2]);
        for round in 0..=effort.rounds() {
            for (which, (size, model, groups)) in cases.iter().enumerate() {
                device.reset_peak();
                let before = device.counters().live_bytes;
                let time = seconds(device, || {
                    size.sample(model, groups)?;
                    // all in one micro-batch, however large: it is the growth that is measured
                    Ok(update(model, method, groups, usize::MAX)?)
                })?;
                peaks[which] = (device.counters().peak_bytes - before) as f64;
                if round > 0 {
                    times[which].push(time);
                }
            }
        }
        let [time, doubled_time] = times.map(median);
        rows.push(Row::new(format!("{name}: time"), exponent(time, doubled_time)));
        rows.push(Row::new(format!("{name}: memory beside the weights"), exponent(peaks[0], peaks[1])));
    }
    let about = "When something doubles, time or memory of sampling and updating grow by 2 to this power.";
    Ok(Section::new("Scaling", about, "exponent", rows))
}

/// The power of two by which a number grew when something doubled.
pub fn exponent(single: f64, doubled: f64) -> f64 {
    (doubled / single).log2()
}
