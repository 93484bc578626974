//! What a policy makes of a response on each picture, token by token, without gradients: for looking, not for training.

use percept_engine::no_grad;
use percept_model::{Model, ModelError};

use super::pass::Pass;
use super::perception::{divergences, host};
use super::{BatchForm, Contrast, Group, StepConfig, plan};
use crate::losses::{ContrastiveConfig, PolicyConfig};
use crate::selection::{Detector, Gate, SelectionConfig, Shift};

/// A response as the policy sees it on I, I⁺ and I⁻. All `[tokens]`, in nats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examination {
    /// ℓ
    pub log_probs: Vec<f32>,
    /// ℓ⁺
    pub log_probs_preserved: Vec<f32>,
    /// ℓ⁻
    pub log_probs_removed: Vec<f32>,
    /// H
    pub entropy: Vec<f32>,
    /// H⁺
    pub entropy_preserved: Vec<f32>,
    /// H⁻
    pub entropy_removed: Vec<f32>,
    /// The k3 estimate of D⁻ at the sampled token.
    pub k3: Vec<f32>,
    /// D⁻ over the whole vocabulary.
    pub full_kl: Vec<f32>,
}

impl Examination {
    /// How far each token moved, as `detector` measures it.
    pub fn shift(&self, detector: Detector) -> Shift {
        match detector {
            Detector::Entropy => Shift::of_entropies(&self.entropy, &self.entropy_removed),
            Detector::K3 => Shift::of_divergences(&self.k3),
            Detector::FullKl => Shift::of_divergences(&self.full_kl),
        }
    }
}

/// Every response of `groups` on all three pictures, whatever its advantage; logits are divided by `temperature`.
/// `-> [group][response]`
///
/// # Errors
/// If a prompt does not fit its pictures or the model's context, or the device fails.
///
/// # Panics
/// If a response is empty, or a group has no views.
#[track_caller]
pub fn examine(model: &Model, groups: &[Group], temperature: f32, micro_batch_tokens: usize) -> Result<Vec<Vec<Examination>>, ModelError> {
    let selection = SelectionConfig { gate: Gate::None, ..SelectionConfig::default() };
    let config = StepConfig {
        policy: &PolicyConfig::default(),
        contrast: Some(Contrast { loss: &ContrastiveConfig::default(), selection: &selection }),
        temperature,
        micro_batch_tokens,
        form: BatchForm::Packed,
        seed: 0,
    };
    let mut all: Vec<Vec<Examination>> = groups.iter().map(|group| vec![Examination::default(); group.responses.len()]).collect();
    for part in plan::all_responses(groups, &config) {
        no_grad(|| {
            let pass = Pass::forward(model, groups, &part, &config)?;
            let (log_probs, entropy) = (host(&pass.log_probs)?, host(&pass.entropy)?);
            let [k3, full_kl] = [Detector::K3, Detector::FullKl].map(|detector| host(&divergences(&pass, model, detector, temperature)));
            let (k3, full_kl) = (k3?, full_kl?);
            for item in &pass.items {
                let in_view = item.view_start.expect("the gate is open");
                let [on, preserved, removed] = [item.start, pass.tokens + in_view, pass.tokens + pass.contrasted + in_view];
                let of = |values: &[f32], start: usize| values[start..start + item.length].to_vec();
                all[item.group][item.response] = Examination {
                    log_probs: of(&log_probs, on),
                    log_probs_preserved: of(&log_probs, preserved),
                    log_probs_removed: of(&log_probs, removed),
                    entropy: of(&entropy, on),
                    entropy_preserved: of(&entropy, preserved),
                    entropy_removed: of(&entropy, removed),
                    k3: of(&k3, in_view),
                    full_kl: of(&full_kl, in_view),
                };
            }
            Ok::<(), ModelError>(())
        })?;
    }
    Ok(all)
}
