//! Which responses go through the model together.

use super::{BatchForm, Group, StepConfig};
use crate::selection::Gate;

/// The responses of a micro-batch as (group, response), those of a group side by side.
pub(super) type Part = Vec<(usize, usize)>;

/// Micro-batches of the responses that have a gradient, in order.
#[track_caller]
pub(super) fn micro_batches(groups: &[Group], config: &StepConfig<'_>) -> Vec<Part> {
    cut(groups, config, |group, response| {
        config.policy.kl_coef > 0.0 || groups[group].responses[response].advantage != 0.0 || is_contrasted(&groups[group], response, config)
    })
}

/// Micro-batches of all responses, in order.
#[track_caller]
pub(super) fn all_responses(groups: &[Group], config: &StepConfig<'_>) -> Vec<Part> {
    cut(groups, config, |_, _| true)
}

/// Whether a response can have perception tokens, so that it is to be seen on I⁺ and I⁻.
pub(super) fn is_contrasted(group: &Group, response: usize, config: &StepConfig<'_>) -> bool {
    let gate_is_open = |gate| gate == Gate::None || group.responses[response].advantage > 0.0;
    config.contrast.is_some_and(|contrast| gate_is_open(contrast.selection.gate))
}

/// Whether I⁺ and I⁻ are packed for a response, whether it needs them or not.
pub(super) fn is_seen_in_all_views(group: &Group, response: usize, config: &StepConfig<'_>) -> bool {
    match config.form {
        BatchForm::Packed => is_contrasted(group, response, config),
        BatchForm::Rows => config.contrast.is_some(),
    }
}

#[track_caller]
fn cut(groups: &[Group], config: &StepConfig<'_>, wanted: impl Fn(usize, usize) -> bool) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut tokens = 0;
    // what the last response's group has in the micro-batch already: its prompt, and its prompt on the views
    let mut packed = (usize::MAX, false);
    for (group, of) in groups.iter().enumerate() {
        for response in 0..of.responses.len() {
            let length = of.responses[response].tokens.len();
            assert!(length > 0, "a response of group {group} is empty: number {response} of {}", of.responses.len());
            if !wanted(group, response) {
                continue;
            }
            let in_views = is_seen_in_all_views(of, response, config);
            let cost = |(prompt_of, has_views): (usize, bool)| {
                let shared = config.form == BatchForm::Packed && prompt_of == group;
                let views = if in_views { 2 * (length + if shared && has_views { 0 } else { of.prompt.len() }) } else { 0 };
                length + if shared { 0 } else { of.prompt.len() } + views
            };
            if parts.is_empty() || tokens + cost(packed) > config.micro_batch_tokens {
                parts.push(Part::new());
                (tokens, packed) = (0, (usize::MAX, false));
            }
            tokens += cost(packed);
            packed = (group, in_views || (packed.0 == group && packed.1));
            parts.last_mut().expect("there is one").push((group, response));
        }
    }
    parts
}
