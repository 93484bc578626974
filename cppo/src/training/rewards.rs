//! A run's own rewards take the place of the default one.

use crate::problems::prompts::{Problems, Prompt};
use crate::problems::reward::{Graded, RewardError, Rewards};
use crate::training::group::{Group, Response};

/// Fills in what the responses are worth, all of them at once, if there are rewards of one's own; the reward called `accuracy` or `format` also takes the place of
/// what is called so by default. Returns the rewards that failed and count as 0.
///
/// # Errors
/// A reward that fails and may not.
pub fn set_rewards(groups: &mut [Group], rewards: &Rewards, problems: &Problems) -> Result<Vec<RewardError>, RewardError> {
    if rewards.is_default() {
        return Ok(Vec::new());
    }
    let all: Vec<Graded<'_>> = groups.iter().flat_map(|group| graded(group, problems)).collect();
    let values = rewards.values(&all)?;
    let names: Vec<&str> = rewards.names().collect();
    for (at, response) in groups.iter_mut().flat_map(|group| &mut group.responses).enumerate() {
        response.own_rewards = values.of.iter().map(|of| of[at]).collect();
        response.reward.total = values.totals[at];
        for (name, value) in names.iter().zip(&response.own_rewards) {
            match *name {
                "accuracy" => response.reward.accuracy = *value,
                "format" => response.reward.format = *value,
                _ => {}
            }
        }
    }
    Ok(values.failed)
}

fn graded<'a>(group: &'a Group, problems: &'a Problems) -> Vec<Graded<'a>> {
    let Prompt { text: prompt, answer, id, problem, .. } = &group.prompt;
    let example = match problems {
        Problems::Data(data) => data.examples.get(*id as usize),
        Problems::Task(_) => None,
    };
    let (place, columns) = (example.map(|example| &example.place), example.map(|example| &example.columns));
    let of = |response: &'a Response| {
        let tokens = response.tokens().len();
        Graded { prompt, response: &response.text, answer, tokens, prompt_id: *id, problem: problem.as_ref(), place, columns }
    };
    group.responses.iter().map(of).collect()
}
