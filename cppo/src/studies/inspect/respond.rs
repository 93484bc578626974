//! Where the response comes from that is looked at.

use percept_model::{Model, ModelError};

use super::InspectError;
use crate::config::{Config, RolloutConfig};
use crate::error::TrainError;
use crate::problems::prompts::{EncodedPrompt, Encoder, Prompt, Spelling};
use crate::problems::reward::{Reward, reward};
use crate::training::rollout::{numbered, rollout};

/// Where the response comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResponseSource {
    /// Sampled as in training: the configured temperature, length and seed.
    Sampled,
    /// The most likely token each time.
    Greedy,
    /// The task's reference response.
    Reference,
    /// This text.
    Given(String),
}

/// A prompt with one response.
pub(super) struct Responded {
    pub(super) prompt: Prompt,
    pub(super) encoded: EncodedPrompt,
    /// With the one that ends the response, if there is one.
    pub(super) tokens: Vec<u32>,
    pub(super) spelling: Spelling,
    pub(super) reward: Reward,
}

/// One response to each prompt. The draws are a function of `seed` and a prompt's place among `prompts`.
pub(super) fn respond(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    source: &ResponseSource,
    config: &Config,
    seed: u64,
) -> Result<Vec<Responded>, InspectError> {
    let written = |prompt: Prompt, text: &str| {
        let (encoded, tokens) = (encoder.encode(&prompt)?, encoder.response(text)?);
        let (prompt_tokens, new_tokens, context) = (encoded.tokens.len(), tokens.len(), model.config().text.max_position_embeddings);
        if prompt_tokens + new_tokens > context {
            return Err(TrainError::from(ModelError::Context { prompt_tokens, new_tokens, context }).into());
        }
        finish(encoder, prompt, encoded, tokens)
    };
    match source {
        ResponseSource::Sampled => decode(model, encoder, prompts, &config.rollout, seed),
        ResponseSource::Greedy => decode(model, encoder, prompts, &RolloutConfig { temperature: 0.0, ..config.rollout }, seed),
        ResponseSource::Given(text) => prompts.into_iter().map(|prompt| written(prompt, text)).collect(),
        ResponseSource::Reference => {
            let reference = |prompt: Prompt| match prompt.problem.as_ref().map(|problem| problem.reference_text()) {
                Some(text) => written(prompt, &text),
                None => Err(InspectError::NoTruth { wanted: "a reference response", question: prompt.text }),
            };
            prompts.into_iter().map(reference).collect()
        }
    }
}

fn decode(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<Prompt>,
    config: &RolloutConfig,
    seed: u64,
) -> Result<Vec<Responded>, InspectError> {
    let groups = rollout(model, encoder, numbered(prompts), 1, config, None, seed)?;
    let responded = groups.into_iter().map(|mut group| {
        let response = group.responses.swap_remove(0);
        finish(encoder, group.prompt, group.encoded, response.completion.tokens)
    });
    responded.collect()
}

fn finish(encoder: &Encoder, prompt: Prompt, encoded: EncodedPrompt, tokens: Vec<u32>) -> Result<Responded, InspectError> {
    let spelling = encoder.spell(&tokens)?;
    let reward = reward(spelling.content(), &prompt.answer);
    Ok::<_, TrainError>(Responded { prompt, encoded, tokens, spelling, reward }).map_err(InspectError::from)
}
