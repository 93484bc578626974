//! Reading a prompt and writing an answer, with the configured model.

use percept_engine::{DType, Device, Sampling};
use percept_model::{GenerationOptions, GenerationRequest, Model, generate};

use super::{Effort, Limits, Row, Section, median, seconds};
use crate::config::Config;
use crate::problems::prompts::{EncodedPrompt, test_prompts};
use crate::problems::tasks::Task;
use crate::training::policy::{load_encoder, load_policy};

/// Tokens that are written.
const TOKENS: usize = 24;

/// Tokens a second, of prompts that are read and of sequences that are written side by side.
///
/// # Errors
/// If the model cannot be loaded or the device fails.
pub fn generation(config: &Config, device: &Device, limits: &Limits, effort: Effort) -> anyhow::Result<Section> {
    let mut model = load_policy(&config.model, device, config.run.seed)?;
    let encoder = load_encoder(&config.model)?;
    model.suppress_tokens(encoder.never_said());
    let problems = test_prompts(&Task::new(&config.task)?, 0..32);
    let prompts = problems.iter().map(|prompt| encoder.encode(prompt)).collect::<Result<Vec<_>, _>>()?;
    let mut rows = Vec::new();

    let reading = |tokens: usize, sequences: u32, prompts: &[EncodedPrompt]| {
        draw(&model, device, prompts, sequences, tokens, config.rollout.kv_cache.into())
    };
    reading(1, 1, &prompts)?;
    let read: usize = prompts.iter().map(|prompt| prompt.tokens.len()).sum();
    let times = (0..effort.rounds()).map(|_| reading(1, 1, &prompts)).collect::<Result<Vec<_>, _>>()?;
    rows.push(Row::new(format!("read: {} prompts with pictures, {read} tokens", prompts.len()), read as f64 / median(times)));

    let weights = model.parameters().map(|(_, tensor)| (tensor.len(), tensor.dtype().size_bytes()));
    let (count, bytes) = weights.fold((0, 0), |(count, bytes), (len, size)| (count + len, bytes + len * size));
    for sequences in [1, 8, 256] {
        let mut times = Vec::new();
        for _ in 0..effort.rounds() {
            // in turn: what both read is taken off
            let [short, long] = [1, 1 + TOKENS].map(|tokens| reading(tokens, sequences, &prompts[..1]));
            times.push((long? - short?).max(1e-9));
        }
        let limit = limits.gigabytes_per_second.map(|gigabytes| {
            // a copy reads and writes; weights are only read
            let reading = bytes as f64 / (gigabytes * 1e9);
            let computing = limits.gflops.map_or(0.0, |gflops| 2.0 * (count * sequences as usize) as f64 / (gflops * 1e9));
            f64::from(sequences) / reading.max(computing)
        });
        let speed = f64::from(sequences) * TOKENS as f64 / median(times);
        rows.push(Row::below(format!("write: {sequences} sequences side by side"), speed, limit));
    }
    let about = "Limit: every weight read once from memory for each token, or the multiplications at full speed, whichever is slower. A model that fits the caches \
        can go beyond it.";
    Ok(Section::new("Generation", about, "tokens/s", rows))
}

fn draw(model: &Model, device: &Device, prompts: &[EncodedPrompt], sequences: u32, tokens: usize, kv_cache: DType) -> anyhow::Result<f64> {
    let requests: Vec<GenerationRequest<'_>> = (0..)
        .step_by(sequences as usize)
        .zip(prompts)
        .map(|(first, prompt)| GenerationRequest { prompt: &prompt.tokens, pictures: &prompt.tiles, streams: first..first + sequences })
        .collect();
    let options = GenerationOptions {
        max_new_tokens: tokens,
        sampling: Sampling { temperature: 1.0, top_k: None, top_p: 1.0, seed: 0 },
        stop_tokens: Vec::new(),
        check_every: None,
        kv_cache,
    };
    seconds(device, || Ok(generate(model, &requests, &options)?))
}
