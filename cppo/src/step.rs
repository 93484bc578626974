//! One update's loss and gradients (steps 5 to 9): groups of responses in, gradients out.
//!
//! CPPO (arXiv 2601.00501) needs three passes over a response: on the picture I, on I⁺ and on I⁻. They run as one packed batch of
//! segments, in which a prompt stands once for all its responses and the perturbed pictures are seen only by responses that can have
//! perception tokens (Â > 0):
//!
//! ```text
//! [prompt(I) | prompt(I⁺) | prompt(I⁻) | responses on I | rewarded responses on I⁺ | the same on I⁻]
//! ```
//!
//! Exact, not an approximation: the others have zero weight. For the same reason responses with Â = 0 are left out where there is
//! no reference policy. Under a token budget the batch becomes several micro-batches; each has one forward and one backward pass
//! and is divided by the counts of the whole batch, so that their gradients add up to those of the whole.
//!
//! | symbol | here |
//! |---|---|
//! | ℓ, ℓ⁺, ℓ⁻ | ranges of `Pass::log_probs` |
//! | H, H⁻ | the same ranges of `Pass::entropy` |
//! | m | `perception::Perception` |
//! | the losses | [`crate::losses`] |
//!
//! Where we depart: the count of perception tokens of the whole batch divides the contrastive loss, not that of the micro-batch as
//! in the authors' recipes. With several micro-batches it is found by a forward pass before the first gradient.

mod examine;
mod pass;
mod perception;
mod plan;

use percept_engine::{Gradients, Tensor, no_grad};
use percept_model::image::Tiles;
use percept_model::{Model, ModelError};

use crate::losses::{ContrastiveConfig, Divergence, LossTerms, PolicyConfig, contrastive_loss, full_kl, k1, k3, policy_loss, total_loss};
use crate::selection::SelectionConfig;
pub use examine::{Examination, examine};
use pass::Pass;
use perception::Perception;

/// A prompt with its pictures and the responses to it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Token ids, with each picture expanded to its `<image>` tokens.
    pub prompt: Vec<u32>,
    /// I, preprocessed.
    pub original: Vec<Tiles<f32>>,
    /// I⁺ and I⁻, cut like I; none if the method does not look at them.
    pub views: Option<ViewTiles>,
    /// The responses.
    pub responses: Vec<Response>,
}

/// The perturbed pictures of a prompt, preprocessed.
#[derive(Clone, Debug)]
pub struct ViewTiles {
    /// I⁺
    pub preserved: Vec<Tiles<f32>>,
    /// I⁻
    pub removed: Vec<Tiles<f32>>,
}

/// A response and what it was worth.
#[derive(Clone, Debug)]
pub struct Response {
    /// Sampled tokens, with the one that ended the response; at least one.
    pub tokens: Vec<u32>,
    /// Log π_old of each token. None before the first update of a batch, when π_old is the policy itself.
    pub old_log_probs: Option<Vec<f32>>,
    /// Â
    pub advantage: f32,
}

/// What an update minimises, and how it is cut into micro-batches.
#[derive(Clone, Copy, Debug)]
pub struct StepConfig<'a> {
    /// Clipping and reference divergence.
    pub policy: &'a PolicyConfig,
    /// The contrastive part; none for GRPO.
    pub contrast: Option<Contrast<'a>>,
    /// Logits are divided by this, as when the responses were sampled.
    pub temperature: f32,
    /// Most tokens of a micro-batch. A single response with its prompts may be longer and is then one by itself.
    pub micro_batch_tokens: usize,
    /// How prompts and responses are laid out.
    pub form: BatchForm,
    /// Of the random selection, the only draw of an update.
    pub seed: u64,
}

/// The contrastive part of CPPO.
#[derive(Clone, Copy, Debug)]
pub struct Contrast<'a> {
    /// The loss.
    pub loss: &'a ContrastiveConfig,
    /// The choice of perception tokens.
    pub selection: &'a SelectionConfig,
}

/// How prompts and responses are laid out in a batch. Loss and gradients are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BatchForm {
    /// Each prompt once, perturbed pictures only where they count.
    #[default]
    Packed,
    /// One row for each response and view, each with its own prompt: what the packed form is tested and measured against.
    Rows,
}

/// Gradients of an update and what was seen on the way.
pub struct Update {
    /// Summed over the micro-batches; empty if no response had anything to say.
    pub gradients: Gradients,
    /// Means over the batch.
    pub metrics: StepMetrics,
    /// What each response was like, `[group][response]`.
    pub traces: Vec<Vec<ResponseTrace>>,
}

/// Means over the batch of one update.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepMetrics {
    /// Step 9.
    pub loss: f64,
    /// Mean L of all response tokens.
    pub policy_loss: f64,
    /// Mean k3(ℓ, ℓ_ref) of all response tokens; 0 without a reference.
    pub kl: f64,
    /// Mean CPL of the perception tokens; 0 if there are none.
    pub cpl_loss: f64,
    /// Share of all response tokens whose ratio is clipped.
    pub clip_ratio: f64,
    /// Mean entropy in nats over the tokens that went through the model.
    pub entropy: f64,
    /// Response tokens of the batch.
    pub tokens: usize,
    /// Response tokens that went through the model on I: those of responses with a gradient.
    pub trained_tokens: usize,
    /// Perception tokens, Σ m.
    pub perception_tokens: usize,
    /// Response tokens that were seen on I⁺ and I⁻.
    pub contrasted_tokens: usize,
    /// Mean ΔH in nats of the perception tokens; 0 if there are none.
    pub delta_entropy: f64,
    /// Tokens of all micro-batches, prompts and views included.
    pub packed_tokens: usize,
    /// Micro-batches.
    pub micro_batches: usize,
}

/// What one response was like under the policy before the update. Empty lists: it did not go through the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResponseTrace {
    /// ℓ, `[tokens]`
    pub log_probs: Vec<f32>,
    /// H in nats, `[tokens]`
    pub entropy: Vec<f32>,
    /// ΔH in nats, `[tokens]`; empty without perturbed views.
    pub delta_entropy: Vec<f32>,
    /// m, `[tokens]`; empty without perturbed views.
    pub mask: Vec<bool>,
}

/// Loss and gradients of an update on `groups`. `reference` is the policy of the KL term; it is not used if `kl_coef` is 0.
///
/// # Errors
/// If a prompt does not fit its pictures or the model's context, or the device fails.
///
/// # Panics
/// If a response is empty, some but not all responses have `old_log_probs`, views are missing where they are needed, or a
/// reference is missing where `kl_coef` is positive.
#[track_caller]
pub fn compute_gradients(
    model: &Model,
    reference: Option<&Model>,
    groups: &[Group],
    config: &StepConfig<'_>,
) -> Result<Update, ModelError> {
    let reference = reference.filter(|_| config.policy.kl_coef > 0.0);
    assert!(
        reference.is_some() || config.policy.kl_coef == 0.0,
        "compute_gradients: kl_coef is {} and there is no reference policy",
        config.policy.kl_coef
    );
    let parts = plan::micro_batches(groups, config);
    let tokens = groups.iter().flat_map(|group| &group.responses).map(|response| response.tokens.len()).sum();
    let counted_before = match (&config.contrast, parts.len()) {
        (Some(_), 2..) => Some(no_grad(|| count_perception_tokens(model, groups, &parts, config))?),
        _ => None,
    };
    let mut update = Update {
        gradients: Gradients::new(),
        metrics: StepMetrics { tokens, micro_batches: parts.len(), ..StepMetrics::default() },
        traces: groups.iter().map(|group| vec![ResponseTrace::default(); group.responses.len()]).collect(),
    };
    for part in &parts {
        let pass = Pass::forward(model, groups, part, config)?;
        let perception = Perception::choose(&pass, model, groups, config)?;
        let perception_tokens = counted_before.unwrap_or(perception.len());

        let log_probs = pass.log_probs.slice(0, 0, pass.tokens); // [tokens]
        let old_log_probs = pass.old_log_probs(groups).unwrap_or_else(|| log_probs.detach());
        let policy = policy_loss(&log_probs, &old_log_probs, &pass.advantages(groups), config.policy);
        let kl = match reference {
            Some(reference) => Some(k3(&log_probs, &no_grad(|| Pass::reference(reference, groups, part, config))?)),
            None => None,
        };
        let contrastive = config.contrast.filter(|_| !perception.is_empty());
        let contrastive = contrastive.map(|contrast| contrast_of(&pass, &perception, model, contrast, config.temperature));

        let terms = LossTerms { policy: &policy.loss, kl: kl.as_ref(), contrastive: contrastive.as_ref(), tokens, perception_tokens };
        let loss = total_loss(&terms, config.policy, config.contrast.map_or(&ContrastiveConfig::default(), |contrast| contrast.loss));
        update.gradients.accumulate(loss.backward());

        update.metrics.add_sums(&terms, &loss, &policy.ratio, &pass, groups, config)?;
        perception.record(&pass, &mut update);
    }
    update.metrics.divide();
    Ok(update)
}

/// ℓ of every response token under `model`, `[group][response][token]`: the old policy of several updates on one batch.
///
/// # Errors
/// As [`compute_gradients`].
///
/// # Panics
/// If a response is empty.
#[track_caller]
pub fn log_probs(model: &Model, groups: &[Group], config: &StepConfig<'_>) -> Result<Vec<Vec<Vec<f32>>>, ModelError> {
    let config = StepConfig { contrast: None, ..*config };
    let mut all: Vec<Vec<Vec<f32>>> = groups.iter().map(|group| vec![Vec::new(); group.responses.len()]).collect();
    for part in plan::all_responses(groups, &config) {
        let log_probs = no_grad(|| Pass::reference(model, groups, &part, &config))?.to_f32_vec()?;
        let mut start = 0;
        for &(group, response) in &part {
            let end = start + groups[group].responses[response].tokens.len();
            all[group][response] = log_probs[start..end].to_vec();
            start = end;
        }
    }
    Ok(all)
}

/// CPL of the perception tokens. `-> [perception tokens]`
fn contrast_of(pass: &Pass, perception: &Perception, model: &Model, contrast: Contrast<'_>, temperature: f32) -> Tensor {
    let [anchor, preserved, removed] = perception.positions();
    let [d_preserved, d_removed] = match contrast.loss.divergence {
        Divergence::Full => {
            let [hidden, preserved, removed] = [anchor, preserved, removed].map(|at| pass.hidden_at(at));
            [preserved, removed].map(|view| full_kl(&hidden, &view, model.head_weight(), temperature))
        }
        Divergence::K3 => [preserved, removed].map(|view| k3(&pass.log_probs_at(anchor), &pass.log_probs_at(view))),
        Divergence::K1 => [preserved, removed].map(|view| k1(&pass.log_probs_at(anchor), &pass.log_probs_at(view))),
    };
    contrastive_loss(&d_preserved, &d_removed, contrast.loss)
}

fn count_perception_tokens(model: &Model, groups: &[Group], parts: &[plan::Part], config: &StepConfig<'_>) -> Result<usize, ModelError> {
    let mut count = 0;
    for part in parts {
        let pass = Pass::forward(model, groups, part, config)?;
        count += Perception::choose(&pass, model, groups, config)?.len();
    }
    Ok(count)
}

impl StepMetrics {
    /// Adds a micro-batch. Until [`divide`](StepMetrics::divide) the means are sums.
    fn add_sums(
        &mut self,
        terms: &LossTerms<'_>,
        loss: &Tensor,
        ratio: &Tensor,
        pass: &Pass,
        groups: &[Group],
        config: &StepConfig<'_>,
    ) -> Result<(), ModelError> {
        let sum = |x: Option<&Tensor>| x.map_or(Ok(0.0), |x| x.to_f64_vec().map(|values| values.iter().sum::<f64>()));
        self.loss += loss.item()?; // a share of the mean already
        self.policy_loss += sum(Some(terms.policy))?;
        self.kl += sum(terms.kl)?;
        self.cpl_loss += sum(terms.contrastive)?;
        let (low, high) = (1.0 - config.policy.clip_low, 1.0 + config.policy.clip_high);
        let advantages = pass.host_advantages(groups);
        let clipped = |(ratio, &advantage): (&f64, &f32)| (*ratio < low && advantage < 0.0) || (*ratio > high && advantage > 0.0);
        self.clip_ratio += ratio.to_f64_vec()?.iter().zip(&advantages).filter(|&pair| clipped(pair)).count() as f64;
        self.trained_tokens += pass.tokens;
        self.contrasted_tokens += pass.contrasted;
        self.packed_tokens += pass.packed_tokens;
        Ok(())
    }

    fn divide(&mut self) {
        let share = |sum: f64, count: usize| if count == 0 { 0.0 } else { sum / count as f64 };
        self.policy_loss = share(self.policy_loss, self.tokens);
        self.kl = share(self.kl, self.tokens);
        self.clip_ratio = share(self.clip_ratio, self.tokens);
        self.entropy = share(self.entropy, self.trained_tokens);
        self.cpl_loss = share(self.cpl_loss, self.perception_tokens);
        self.delta_entropy = share(self.delta_entropy, self.perception_tokens);
    }
}
