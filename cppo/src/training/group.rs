//! A prompt and its responses: one record that is filled in as a step goes on.
//!
//! | after | a response has |
//! |---|---|
//! | [`rollout`](super::rollout) | tokens, text, reward |
//! | [`set_advantages`] | an advantage |
//! | [`update::score`](super::update::score) | readings: what the policy says of its tokens on each picture |
//! | [`update::compute_update`](super::update::compute_update) | weights: what the method makes of that |

use std::ops::Range;

use image::RgbImage;
use percept_model::image::Patches;
use percept_model::{Completion, Finish};
use rayon::prelude::*;

use crate::methods::Method;
use crate::methods::advantages::centred;
use crate::methods::policy::{Base, PolicyConfig};
use crate::methods::signal::Signal;
use crate::methods::view::{Drawn, Shown, View, ViewUse};
use crate::problems::prompts::{EncodedPrompt, Encoder, Prompt};
use crate::problems::reward::Reward;
use crate::problems::views::{Perturbation, ViewsConfig, draw_perturbed, view_random};
use crate::random::Random;

/// A prompt and its responses.
#[derive(Clone, Debug, Default)]
pub struct Group {
    /// Its number among the prompts of the step, over all ranks.
    pub number: u64,
    /// What is asked.
    pub prompt: Prompt,
    /// The same as the model reads it.
    pub encoded: EncodedPrompt,
    /// The perturbed pictures, in the order in which they are packed; none before they are drawn, or if the method looks at none.
    pub views: Vec<GroupView>,
    /// The responses.
    pub responses: Vec<Response>,
}

/// The pictures of a prompt as some of its responses are read on them.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// What they are called in the pass.
    pub view: View,
    /// The responses that may be read on them.
    pub responses: Range<usize>,
    /// How each was made.
    pub how: Vec<Perturbation>,
    /// The perturbed pictures.
    pub pictures: Vec<RgbImage>,
    /// The same, preprocessed; none if the visual tokens are hidden from all others.
    pub tiles: Option<Vec<Patches>>,
}

/// A response, and what became of it.
#[derive(Clone, Debug)]
pub struct Response {
    /// Tokens, log-probabilities at which they were drawn, and why the response ended.
    pub completion: Completion,
    /// The text, without special tokens.
    pub text: String,
    /// What it is worth.
    pub reward: Reward,
    /// The value of each of the run's own rewards, in their order; none without.
    pub own_rewards: Vec<f32>,
    /// Whether it was sampled on another picture than the one it is trained on.
    pub is_off_policy: bool,
    /// What the method knows of it.
    pub signal: Signal,
}

impl Group {
    /// The further pictures that response `response` is read on, of those in `uses`.
    pub fn views_of<'a>(&'a self, response: usize, uses: &'a [ViewUse]) -> impl Iterator<Item = &'a ViewUse> {
        uses.iter().filter(move |of| of.seen_by.includes(self.responses[response].signal.advantage))
    }

    /// The pictures on which response `response` is read as `view`: their place among [`views`](Group::views).
    pub fn pictures_of(&self, response: usize, view: View) -> Option<usize> {
        self.views.iter().position(|of| of.view == view && of.responses.contains(&response))
    }

    /// Draws the perturbed pictures that `uses` ask for. The draws are a function of the seed, the prompt and its epoch. Nothing is drawn if no response
    /// would be read on any of them.
    pub fn draw_views(&mut self, uses: &[ViewUse], config: &ViewsConfig, encoder: &Encoder, seed: u64) {
        let all = 0..self.responses.len();
        if !all.clone().any(|response| self.views_of(response, uses).next().is_some()) {
            return;
        }
        let shared: Vec<&ViewUse> = uses.iter().filter(|of| of.drawn == Drawn::PerPrompt).collect();
        self.add_views(&shared, all.clone(), config, encoder, |number, prompt| view_random(seed, prompt.id, number, prompt.epoch));
        let own: Vec<&ViewUse> = uses.iter().filter(|of| of.drawn == Drawn::PerResponse).collect();
        for response in all {
            let random = |number, prompt: &Prompt| {
                let of_prompt = view_random(seed, prompt.id, number, prompt.epoch).next_u64();
                Random::new(of_prompt, "response", response as u64)
            };
            self.add_views(&own, response..response + 1, config, encoder, random);
        }
    }

    fn add_views(
        &mut self,
        uses: &[&ViewUse],
        responses: Range<usize>,
        config: &ViewsConfig,
        encoder: &Encoder,
        random: impl Fn(usize, &Prompt) -> Random,
    ) {
        let empty =
            |of: &ViewUse, tiles| GroupView { view: of.view, responses: responses.clone(), how: Vec::new(), pictures: Vec::new(), tiles };
        let mut sets = Vec::new();
        let mut drawn_views = Vec::new();
        for of in uses {
            match of.shown {
                Shown::Hidden => self.views.push(empty(of, None)),
                Shown::Perturbed(set) => {
                    sets.push(set);
                    drawn_views.push((empty(of, None), Vec::new()));
                }
            }
        }
        for (number, picture) in self.prompt.pictures.iter().enumerate() {
            let drawn = draw_perturbed(picture, &sets, config, &mut random(number, &self.prompt));
            for ((view, tiles), perturbed) in drawn_views.iter_mut().zip(drawn) {
                view.how.push(perturbed.how);
                tiles.extend(encoder.tiles(std::slice::from_ref(&perturbed.picture)));
                view.pictures.push(perturbed.picture);
            }
        }
        self.views.extend(drawn_views.into_iter().map(|(view, tiles)| GroupView { tiles: Some(tiles), ..view }));
    }
}

impl Response {
    /// A response as it was sampled.
    pub fn new(completion: Completion, text: String, reward: Reward) -> Response {
        Response { completion, text, reward, own_rewards: Vec::new(), is_off_policy: false, signal: Signal::default() }
    }

    /// A response that was not sampled: tokens alone.
    pub fn given(tokens: Vec<u32>) -> Response {
        let completion = Completion { tokens, log_probs: Vec::new(), finish: Finish::Stop };
        Response::new(completion, String::new(), Reward { total: 0.0, accuracy: 0.0, format: 0.0 })
    }

    /// Its tokens, with the one that ended it.
    pub fn tokens(&self) -> &[u32] {
        &self.completion.tokens
    }

    /// Whether it was cut for its length.
    pub fn is_clipped(&self) -> bool {
        self.completion.finish == Finish::Length
    }
}

/// The number of a response among those of a step, over all ranks: that of its group in the upper half, its own in the lower.
pub fn response_number(group: u64, response: usize) -> u64 {
    group << 32 | response as u64
}

/// The reward of each response. `-> [group_size]`
pub fn rewards(group: &Group) -> Vec<Reward> {
    group.responses.iter().map(|response| response.reward).collect()
}

/// Fills in the advantages and numbers of all responses.
pub fn set_advantages(groups: &mut [Group], method: &dyn Method, policy: &PolicyConfig) {
    for group in groups {
        let total = |response: &Response| response.reward.total + method.reward_of_length(response.tokens().len(), policy.longest_length);
        let totals: Vec<f32> = group.responses.iter().map(total).collect();
        let advantages = match policy.base {
            Base::DrGrpo => centred(&totals),
            Base::Token | Base::Gspo | Base::Cispo => method.advantages(&totals),
        };
        for (i, (response, advantage)) in group.responses.iter_mut().zip(advantages).enumerate() {
            (response.signal.number, response.signal.advantage) = (response_number(group.number, i), advantage);
        }
    }
}

/// Draws the perturbed pictures of all groups, in parallel: see [`Group::draw_views`].
pub fn draw_views(groups: &mut [Group], uses: &[ViewUse], config: &ViewsConfig, encoder: &Encoder, seed: u64) {
    groups.par_iter_mut().for_each(|group| group.draw_views(uses, config, encoder, seed));
}
