//! Responses from the policy, and what they are worth.

use image::RgbImage;
use percept_engine::Sampling;
use percept_model::image::Patches;
use percept_model::{Completion, GenerationOptions, GenerationRequest, Model, generate};
use rayon::prelude::*;

use crate::config::RolloutConfig;
use crate::error::TrainError;
use crate::methods::view::RolloutView;
use crate::problems::prompts::{Encoder, Prompt};
use crate::problems::reward::reward;
use crate::problems::views::{PerturbationSet, ViewsConfig, draw_perturbed, view_random};
use crate::random::Random;
use crate::training::group::{Group, Response};

/// Another picture that some responses of every group are sampled on, and where its random draws come from.
#[derive(Clone, Copy)]
pub struct OnView<'a> {
    /// Which picture, and how many responses.
    pub view: RolloutView,
    /// Strengths of the perturbations.
    pub config: &'a ViewsConfig,
    /// Seed of the run.
    pub seed: u64,
}

impl OnView<'_> {
    /// Number of responses of a group that are sampled on it.
    fn responses(&self, group_size: usize) -> usize {
        (self.view.share * group_size as f64) as usize
    }

    /// The pictures of a prompt, perturbed and preprocessed. The draw is a function of the run's seed, the prompt and its epoch.
    fn tiles(&self, prompt: &Prompt, encoder: &Encoder) -> Vec<Patches> {
        let perturbed = |(number, picture)| {
            let random = view_random(self.seed, prompt.id, number, prompt.epoch).next_u64();
            let set = PerturbationSet::Only(self.view.how);
            draw_perturbed(picture, &[set], self.config, &mut Random::new(random, "rollout", 0)).swap_remove(0).picture
        };
        encoder.tiles(&prompt.pictures.iter().enumerate().map(perturbed).collect::<Vec<RgbImage>>())
    }
}

/// Prompts with the numbers from 0 on.
pub fn numbered(prompts: Vec<Prompt>) -> Vec<(u64, Prompt)> {
    (0..).zip(prompts).collect()
}

/// Samples `group_size` responses to each prompt, on its original picture but for those that `on_view` wants, and rewards them. The prompts come with their numbers in the step:
/// the draws are a function of `seed`, a prompt's number and a response's place in its group.
///
/// # Errors
/// If a prompt does not fit the model, a token cannot be decoded, a probability is NaN, or the device fails.
pub fn rollout(
    model: &Model,
    encoder: &Encoder,
    prompts: Vec<(u64, Prompt)>,
    group_size: usize,
    config: &RolloutConfig,
    on_view: Option<OnView<'_>>,
    seed: u64,
) -> Result<Vec<Group>, TrainError> {
    let group = |(number, prompt): (u64, Prompt)| {
        let encoded = encoder.encode(&prompt)?;
        Ok(Group { number, prompt, encoded, views: Vec::new(), responses: Vec::new() })
    };
    let mut groups = prompts.into_par_iter().map(group).collect::<Result<Vec<_>, TrainError>>()?;
    let others = on_view.map_or(0, |on_view| on_view.responses(group_size));
    let of_views = |group: &Group| on_view.filter(|_| others > 0).map(|on_view| on_view.tiles(&group.prompt, encoder));
    let tiles_of_views: Vec<Option<Vec<Patches>>> = groups.par_iter().map(of_views).collect();
    let mut requests = Vec::new();
    for (group, tiles) in groups.iter().zip(&tiles_of_views) {
        let end = (group.number + 1).checked_mul(group_size as u64).and_then(|end| u32::try_from(end).ok());
        let end = end.ok_or_else(|| TrainError::Unsupported("expected fewer than 2^32 responses in a step".into()))?;
        let first = end - group_size as u32;
        let request = |pictures, streams| GenerationRequest { prompt: &group.encoded.tokens, pictures, streams };
        let original = end - others as u32;
        if original > first {
            requests.push(request(&group.encoded.tiles, first..original));
        }
        requests.extend(tiles.as_ref().map(|tiles| request(tiles, original..end)));
    }
    let options = GenerationOptions {
        max_new_tokens: config.max_new_tokens,
        sampling: Sampling { temperature: config.temperature, top_k: None, top_p: config.top_p, seed },
        stop_tokens: encoder.end_tokens().to_vec(),
        check_every: None,
        kv_cache: config.kv_cache.into(),
    };
    let mut completions = Vec::new();
    for requests in side_by_side(requests, config.sequences_at_once) {
        completions.extend(generate(model, &requests, &options)?.into_iter().flatten());
    }
    let mut completions = completions.into_iter();
    let completions: Vec<Vec<Completion>> = groups.iter().map(|_| completions.by_ref().take(group_size).collect()).collect();
    if completions.iter().flatten().flat_map(|completion| &completion.log_probs).any(|log_prob| log_prob.is_nan()) {
        return Err(TrainError::NotANumber { what: "the probability that the model gives a token".into() });
    }
    groups.par_iter_mut().zip(completions).try_for_each(|(group, completions)| {
        let rewarded = |(number, completion): (usize, Completion)| {
            let text = encoder.text(completion.content())?;
            let reward = reward(&text, &group.prompt.answer);
            let is_off_policy = number + others >= group_size;
            Ok(Response { is_off_policy, ..Response::new(completion, text, reward) })
        };
        group.responses = completions.into_iter().enumerate().map(rewarded).collect::<Result<Vec<_>, TrainError>>()?;
        Ok::<(), TrainError>(())
    })?;
    Ok(groups)
}

/// Cuts requests, in order, into batches of at most `limit` sequences. A prompt whose sequences stand in two batches is read twice.
fn side_by_side(requests: Vec<GenerationRequest<'_>>, limit: usize) -> Vec<Vec<GenerationRequest<'_>>> {
    let mut batches = vec![Vec::new()];
    let mut left = limit;
    for GenerationRequest { prompt, pictures, streams } in requests {
        let mut first = streams.start;
        while first < streams.end {
            if left == 0 {
                batches.push(Vec::new());
                left = limit;
            }
            let end = streams.end.min(first.saturating_add(u32::try_from(left).unwrap_or(u32::MAX)));
            batches.last_mut().expect("there is one").push(GenerationRequest { prompt, pictures, streams: first..end });
            left -= (end - first) as usize;
            first = end;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_have_all_sequences_in_order_and_none_too_many() {
        let request = |streams| GenerationRequest { prompt: &[], pictures: &[], streams };
        let cut = |limit| -> Vec<Vec<[u32; 2]>> {
            let batches = side_by_side(vec![request(0..3), request(3..8), request(8..9)], limit);
            batches
                .into_iter()
                .map(|batch| batch.into_iter().map(|request| [request.streams.start, request.streams.end]).collect())
                .collect()
        };
        assert_eq!(cut(4), [vec![[0, 3], [3, 4]], vec![[4, 8]], vec![[8, 9]]]);
        assert_eq!(cut(100), [vec![[0, 3], [3, 8], [8, 9]]]);
        assert_eq!(cut(1).len(), 9);
    }
}
