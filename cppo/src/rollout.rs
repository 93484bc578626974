//! Responses from the policy, and what they are worth (steps 2 and 3 of the training step).

use percept_engine::Sampling;
use percept_model::{Completion, Finish, GenerationOptions, GenerationRequest, Model, generate};
use rayon::prelude::*;

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::prompts::{EncodedPrompt, Encoder, Prompt};
use crate::reward::{Reward, reward};

/// A prompt with its responses.
#[derive(Clone, Debug)]
pub struct RolloutGroup {
    /// The prompt.
    pub prompt: Prompt,
    /// As the model read it.
    pub encoded: EncodedPrompt,
    /// The responses.
    pub responses: Vec<Sampled>,
}

/// A sampled response.
#[derive(Clone, Debug)]
pub struct Sampled {
    /// Tokens, log-probabilities at which they were drawn, and why the response ended.
    pub completion: Completion,
    /// The text, without special tokens.
    pub text: String,
    /// What it is worth.
    pub reward: Reward,
}

impl Sampled {
    /// Whether it was cut for its length.
    pub fn is_clipped(&self) -> bool {
        self.completion.finish == Finish::Length
    }
}

/// Samples `group_size` responses to each prompt on its original picture, and rewards them. The draws are a function of `seed`, the
/// prompt's place among `prompts` and the response's place in its group.
///
/// # Errors
/// If a prompt does not fit the model, a token cannot be decoded, a probability is NaN, or the device fails.
pub fn rollout(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    group_size: usize,
    config: &RolloutConfig,
    seed: u64,
) -> Result<Vec<RolloutGroup>, TrainError> {
    let encoded = prompts.par_iter().map(|prompt| encoder.encode(prompt)).collect::<Result<Vec<_>, _>>()?;
    let streams = |i: usize| (i * group_size) as u32..((i + 1) * group_size) as u32;
    let requests: Vec<GenerationRequest<'_>> = encoded
        .iter()
        .enumerate()
        .map(|(i, of)| GenerationRequest { prompt: &of.tokens, pictures: &of.tiles, streams: streams(i) })
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
    let groups = prompts.into_par_iter().zip(encoded).zip(completions);
    groups
        .map(|((prompt, encoded), completions)| {
            let rewarded = |completion: Completion| {
                let text = encoder.text(completion.content())?;
                let reward = reward(&text, &prompt.answer);
                Ok(Sampled { completion, text, reward })
            };
            let responses = completions.into_iter().map(rewarded).collect::<Result<Vec<_>, TrainError>>()?;
            Ok(RolloutGroup { prompt, encoded, responses })
        })
        .collect()
}
