//! The prompts of a step with their responses, without the groups that a method cannot use.

use percept_model::Model;

use crate::config::{Config, MethodConfig};
use crate::error::TrainError;
use crate::methods::Method;
use crate::methods::view::Moment;
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reward::{RewardError, Rewards};
use crate::random::Random;
use crate::training::group::{Group, rewards};
use crate::training::reduce::{Adding, Leaves, Rows};
use crate::training::rewards::set_rewards;
use crate::training::rollout::{OnView, rollout};
use crate::training::world::{Disagreement, World};

/// What a step trains on.
pub struct Collected {
    /// This rank's groups, in the order of their numbers.
    pub groups: Vec<Group>,
    /// The numbers of the groups of all ranks, ascending.
    pub numbers: Vec<u64>,
    /// Problems that were taken from the source, by all ranks.
    pub problems: u64,
    /// Rewards that failed and count as 0.
    pub failed_rewards: Vec<RewardError>,
}

impl Collected {
    /// This rank's groups of each of `updates` updates: the groups of all ranks, cut by number into parts of the same size.
    pub fn updates(&mut self, updates: usize) -> Vec<&mut [Group]> {
        let share = self.numbers.len().div_ceil(updates).max(1);
        let mut rest = self.groups.as_mut_slice();
        if self.numbers.is_empty() {
            // an update of nothing: every step has the same metrics
            return vec![rest];
        }
        let mut parts = Vec::new();
        for part in self.numbers.chunks(share) {
            let own = rest.iter().take_while(|group| part.contains(&group.number)).count();
            let (of_update, after) = rest.split_at_mut(own);
            parts.push(of_update);
            rest = after;
        }
        parts
    }
}

/// Samples responses to the next prompts, from problem number `first` on. Groups that the method does not keep are replaced by fresh ones, for as many rounds as
/// it allows; after that the step does with fewer.
///
/// # Errors
/// As [`rollout`], if a picture cannot be decoded, or a reward fails.
pub fn collect(
    model: &Model,
    encoder: &Encoder,
    problems: &Problems,
    config: &Config,
    method: &dyn Method,
    own_rewards: &Rewards,
    adding: Adding,
    world: &World,
    step: u64,
    first: u64,
) -> Result<Collected, TrainError> {
    let Config { rollout: of_rollout, run, views, train, method: MethodConfig { group_size, .. }, .. } = config;
    let wanted = of_rollout.prompts_per_step;
    let own = Leaves::new(wanted, train.updates_per_step).numbers(world.rank(), world.size());
    let seed = Random::new(run.seed, "rollout", step).next_u64();
    let mut collected = Collected { groups: Vec::new(), numbers: Vec::new(), problems: 0, failed_rewards: Vec::new() };
    let filter = method.filter();
    let moment = Moment { step, steps: train.steps };
    let on_view = method.rollout_view(moment).map(|view| OnView { view, config: views, seed: run.seed });
    for _ in 0..=filter.map_or(0, |filter| filter.max_refills) {
        let mut prompts = Vec::new();
        for run_of in own.chunk_by(|a, b| a + 1 == *b) {
            let numbers = collected.problems + run_of[0]..collected.problems + run_of[0] + run_of.len() as u64;
            prompts.extend(numbers.clone().zip(problems.training(first + numbers.start..first + numbers.end, run.seed)?));
        }
        let mut sampled = Rows::of(adding).run(|| rollout(model, encoder, prompts, *group_size, of_rollout, on_view, seed))?;
        let rewarded = world.agree("the rewards", set_rewards(&mut sampled, own_rewards, problems));
        collected.failed_rewards.extend(rewarded.map_err(|disagreement| match disagreement {
            Disagreement::Own(error) => TrainError::from(error),
            Disagreement::Other { rank, problem } => TrainError::Rank { rank, problem },
        })?);
        collected.problems += wanted as u64;
        collected.groups.extend(sampled.into_iter().filter(|group| filter.is_none_or(|filter| filter.keeps(&rewards(group)))));
        collected.numbers = numbers(&collected.groups, world);
        if collected.numbers.len() >= wanted {
            break;
        }
    }
    collected.numbers.truncate(wanted);
    let last = collected.numbers.last().copied();
    collected.groups.retain(|group| Some(group.number) <= last);
    Ok(collected)
}

/// The numbers of the groups of all ranks, ascending.
fn numbers(groups: &[Group], world: &World) -> Vec<u64> {
    let own = groups.iter().flat_map(|group| group.number.to_le_bytes()).collect();
    let all = world.gather("the numbers of the groups", own).concat();
    let mut numbers: Vec<u64> = all.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
    numbers.sort_unstable();
    numbers
}
