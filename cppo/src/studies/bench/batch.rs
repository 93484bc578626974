//! Batches whose responses are made up, as many and as long as a measurement wants them.

use percept_engine::DType;
use percept_engine::ops::Sampling;
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelError, generate};

use crate::methods::Method;
use crate::methods::advantages::group_advantages;
use crate::methods::policy::PolicyConfig;
use crate::methods::view::{Moment, View};
use crate::problems::prompts::EncodedPrompt;
use crate::training::group::{Group, GroupView, Response};
use crate::training::reduce::Adding;
use crate::training::update::{UpdateConfig, compute_update};
use crate::training::world::World;

/// The size of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Responses to each prompt.
    pub group: usize,
    /// Tokens of each response.
    pub response_tokens: usize,
}

impl Size {
    /// The prompts, each with the pictures of its neighbours in the place of perturbed ones, and with responses of arbitrary tokens, every other one
    /// of which is rewarded. All pictures have one size.
    pub fn groups(self, prompts: &[EncodedPrompt]) -> Vec<Group> {
        let rewards: Vec<f32> = (0..self.group).map(|response| (response % 2) as f32).collect();
        let group = |(index, prompt): (usize, &EncodedPrompt)| {
            let responses = group_advantages(&rewards, self.group).into_iter().enumerate().map(|(response, advantage)| {
                let tokens = (0..self.response_tokens).map(|i| (20 + (i * i + 7 * response + 3 * index) % 300) as u32).collect();
                let mut response = Response::given(tokens);
                response.signal.advantage = advantage;
                response
            });
            let view = |view, neighbour: usize| {
                let tiles = Some(prompts[(index + neighbour) % prompts.len()].tiles.clone());
                GroupView { view, responses: 0..self.group, how: Vec::new(), pictures: Vec::new(), tiles }
            };
            Group {
                encoded: prompt.clone(),
                views: vec![view(View::Preserved, 1), view(View::Removed, 2)],
                responses: responses.collect(),
                ..Group::default()
            }
        };
        prompts.iter().enumerate().map(group).collect()
    }

    /// Samples as many responses to the prompts of `groups`, none of which stops early.
    ///
    /// # Errors
    /// If a prompt does not fit the model, or the device fails.
    pub fn sample(self, model: &Model, groups: &[Group]) -> Result<(), ModelError> {
        let streams = |i: usize| (i * self.group) as u32..((i + 1) * self.group) as u32;
        let requests: Vec<GenerationRequest<'_>> = groups
            .iter()
            .enumerate()
            .map(|(i, group)| GenerationRequest { prompt: &group.encoded.tokens, pictures: &group.encoded.tiles, streams: streams(i) })
            .collect();
        let options = GenerationOptions {
            max_new_tokens: self.response_tokens,
            sampling: Sampling::plain(1),
            stop_tokens: Vec::new(),
            check_every: None,
            kv_cache: DType::F32,
        };
        generate(model, &requests, &options).map(drop)
    }
}

/// Loss and gradients of an update on `groups`, without a reference.
///
/// # Errors
/// As [`compute_update`].
pub fn update(model: &Model, method: &dyn Method, groups: &[Group], micro_batch_tokens: usize) -> Result<(), ModelError> {
    let policy = PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() };
    let world = World::alone();
    let moment = Moment { step: 1, steps: 1 };
    let config = UpdateConfig {
        method,
        policy: &policy,
        temperature: 1.0,
        micro_batch_tokens,
        seed: 0,
        moment,
        adding: Adding::Packed,
        world: &world,
    };
    compute_update(model, None, &mut groups.to_vec(), &config).map(drop)
}
