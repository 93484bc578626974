//! Responses from the policy, and what they are worth.

use percept_engine::Sampling;
use percept_model::{Completion, GenerationOptions, GenerationRequest, Model, generate};
use rayon::prelude::*;

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Prompt};
use crate::problems::reward::reward;
use crate::training::group::{Group, Response};

/// Samples `group_size` responses to each prompt on its original picture, and rewards them. The prompts are numbers `first`, `first + 1`, ... of the step:
/// the draws are a function of `seed`, a prompt's number and a response's place in its group.
///
/// # Errors
/// If a prompt does not fit the model, a token cannot be decoded, a probability is NaN, or the device fails.
pub fn rollout(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    first: u64,
    group_size: usize,
    config: &RolloutConfig,
    seed: u64,
) -> Result<Vec<Group>, TrainError> {
    let group = |(i, prompt): (usize, Prompt)| {
        let encoded = encoder.encode(&prompt)?;
        Ok(Group { number: first + i as u64, prompt, encoded, views: Vec::new(), responses: Vec::new() })
    };
    let mut groups = prompts.into_par_iter().enumerate().map(group).collect::<Result<Vec<_>, TrainError>>()?;
    let streams = |number: u64| number as u32 * group_size as u32..(number as u32 + 1) * group_size as u32;
    let requests: Vec<GenerationRequest<'_>> = groups
        .iter()
        .map(|of| GenerationRequest { prompt: &of.encoded.tokens, pictures: &of.encoded.tiles, streams: streams(of.number) })
        .collect();
    let options = GenerationOptions {
        max_new_tokens: config.max_new_tokens,
        sampling: Sampling { temperature: config.temperature, top_k: None, top_p: config.top_p, seed },
        stop_tokens: encoder.end_tokens().to_vec(),
        check_every: None,
    };
    let completions = generate(model, &requests, &options)?;
    if completions.iter().flatten().flat_map(|completion| &completion.log_probs).any(|log_prob| log_prob.is_nan()) {
        return Err(TrainError::NotANumber { what: "the probability that the model gives a token".into() });
    }
    groups.par_iter_mut().zip(completions).try_for_each(|(group, completions)| {
        let rewarded = |completion: Completion| {
            let text = encoder.text(completion.content())?;
            let reward = reward(&text, &group.prompt.answer);
            Ok(Response::new(completion, text, reward))
        };
        group.responses = completions.into_iter().map(rewarded).collect::<Result<Vec<_>, TrainError>>()?;
        Ok::<(), TrainError>(())
    })?;
    Ok(groups)
}
