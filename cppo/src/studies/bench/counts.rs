//! What no machine changes: launches and bytes.

use percept_engine::{Counters, Device, Sampling};
use percept_model::{GenerationOptions, GenerationRequest, generate};

use super::training::trainer;
use super::{Row, Section};
use crate::config::Config;
use crate::problems::prompts::test_prompts;
use crate::problems::tasks::Task;

/// Launches, bytes of tensors and multiplications, of a training step of each configuration and of a token that is written.
///
/// # Errors
/// If the model cannot be loaded or a step fails.
pub fn counts(configs: &[Config; 2], device: &Device) -> anyhow::Result<Section> {
    let mut rows = Vec::new();
    for config in configs {
        let name = config.method.own.name();
        let mut trainer = trainer(config, device)?;
        let before = device.counters();
        trainer.step()?;
        push(&mut rows, &format!("{name}, the first step"), before, device.counters(), 1.0);
    }
    let [_, config] = configs;
    let trainer = trainer(config, device)?;
    let prompt = trainer.encoder().encode(&test_prompts(&Task::new(&config.task)?, 0..1)[0])?;
    let write = |tokens: usize| -> anyhow::Result<Counters> {
        let request = GenerationRequest { prompt: &prompt.tokens, pictures: &prompt.tiles, streams: 0..1 };
        let sampling = Sampling { temperature: 1.0, top_k: None, top_p: 1.0, seed: 0 };
        let options = GenerationOptions {
            max_new_tokens: tokens,
            sampling,
            stop_tokens: Vec::new(),
            check_every: None,
            kv_cache: config.rollout.kv_cache.into(),
        };
        let before = device.counters();
        generate(trainer.model(), &[request], &options)?;
        let after = device.counters();
        let difference = |of: fn(&Counters) -> u64| of(&after) - of(&before);
        Ok(Counters {
            launches: difference(|c| c.launches),
            tensor_bytes: difference(|c| c.tensor_bytes),
            multiply_adds: difference(|c| c.multiply_adds),
            ..after
        })
    };
    const TOKENS: usize = 16;
    // a picture that is not trained on is encoded once
    write(1)?;
    let (short, long) = (write(4)?, write(4 + TOKENS)?);
    push(&mut rows, "a token of one sequence", short, long, TOKENS as f64);
    let weights: usize = trainer.model().parameters().map(|(_, tensor)| tensor.len() * tensor.dtype().size_bytes()).sum();
    rows.push(Row::new("all weights, MB", 1e-6 * weights as f64));
    let about = "Bytes: each input and each output of a launch once, the fewest that this sequence of launches can move.";
    Ok(Section::new("Counts", about, "", rows))
}

fn push(rows: &mut Vec<Row>, name: &str, before: Counters, after: Counters, per: f64) {
    let counted = [
        ("launches", 1.0, after.launches - before.launches),
        ("tensors read and written, MB", 1e-6, after.tensor_bytes - before.tensor_bytes),
        ("multiply-adds in products, millions", 1e-6, after.multiply_adds - before.multiply_adds),
    ];
    rows.extend(counted.into_iter().map(|(what, scale, count)| Row::new(format!("{name}: {what}"), scale * count as f64 / per)));
}
