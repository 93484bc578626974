//! CPPO: Contrastive Perception Policy Optimization (Rezaei et al. 2026, arXiv 2601.00501).
//!
//! A response that names what is seen should stay the same when the picture is changed harmlessly, and change when the picture loses
//! its information. So the picture (I) is perturbed twice: one version keeps what is needed to answer (I⁺), the other does not (I⁻). A token whose
//! entropy rises on I⁻ is taken as a perception token. On the perception tokens of good responses, a contrastive loss is added to the loss of GRPO.
//! It pulls the policy on I towards the policy on I⁺ and pushes it away from the policy on I⁻:
//!
//! ```text
//! ΔH_t  = H⁻_t − H_t,  s_t = max(ΔH_t, 0) / (H⁻_t + 1e-6)
//! m_t   = [Â > 0] · [s_t is among the largest share ρ of the tokens with ΔH_t > 0]                    [`selection`](super::selection)
//! D⁺_t  = k3(ℓ_t, ℓ⁺_t),  D⁻_t = k3(ℓ_t, ℓ⁻_t)
//! CPL_t = softplus((D⁺_t − D⁻_t)/τ)                                                                  [`contrastive_loss`]
//! loss  = GRPO's + λ · Σ m·CPL / (Σ m + 1e-8)
//! ```
//!
//! The sums are over the whole update. Gradient flows through ℓ, ℓ⁺ and ℓ⁻; the mask m is a constant.
//!
//! | symbol | here |
//! |---|---|
//! | I, I⁺, I⁻ | [`View::Original`], [`View::Preserved`], [`View::Removed`] |
//! | ℓ, ℓ⁺, ℓ⁻ | log-probabilities of the sampled tokens on each of them |
//! | H, H⁻ | entropies on I and I⁻, nats, over the whole vocabulary |
//! | D⁺, D⁻ | `d_preserved`, `d_removed` |
//! | m | the tokens with a weight |
//! | ρ | `perception_fraction` |
//! | τ, λ | `cpl_temperature`, `cpl_coef` |
//!
//! Departures: by default only one, that the mask is summed over the update and not over a micro-batch. The authors' two recipes disagree about the
//! divergence. Their verl recipe is the default here. Options are the k1 of their AReaL recipe, with which ℓ cancels in D⁺ − D⁻, and the
//! divergence over the whole vocabulary. For ablations, the objective can be one half of the contrast ([`Objective`]), and tokens can be chosen in
//! other ways ([`SelectionConfig`]).

use percept_engine::Tensor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::divergence::{Divergence, K3_LIMIT, assert_same_shape};
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::selection::{Gate, SelectionConfig, Shift, perception_mask};
use super::signal::{Measure, Reading, Signal, Weighing};
use super::term::{Over, Term};
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use super::{Method, Preset};
use crate::problems::views::PerturbationSet;
use crate::random::Random;

/// The table `[method.cppo]`. The fields of both parts stand side by side in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)] // serde cannot refuse unknown keys together with `flatten`: `config::load` does it
pub struct Cppo {
    /// The contrastive perception loss.
    #[serde(flatten)]
    pub contrastive: ContrastiveConfig,
    /// The choice of perception tokens.
    #[serde(flatten)]
    pub selection: SelectionConfig,
}

impl Method for Cppo {
    fn check(&self) -> Result<(), String> {
        self.contrastive.check()?;
        self.selection.check()
    }

    fn preset(preset: Preset) -> Option<Value> {
        (preset == Preset::Paper).then(|| json!({ "group_size": 5 }))
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        let seen_by = match self.selection.gate {
            Gate::PositiveAdvantage => SeenBy::Rewarded,
            Gate::None => SeenBy::All,
        };
        let view = |view, from, divergences| ViewUse {
            view,
            shown: Shown::Perturbed(from),
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Flows,
            seen_by,
            divergences,
        };
        vec![
            view(View::Preserved, PerturbationSet::Preserving, Vec::new()),
            view(View::Removed, PerturbationSet::Removing, self.selection.detector.divergences()),
        ]
    }

    fn measures(&self) -> Vec<Measure> {
        self.selection.detector.measures()
    }

    fn weighs(&self) -> bool {
        true
    }

    fn weigh(&self, responses: &[&Signal], _: Moment, seed: u64) -> Weighing {
        let mut weighing = Weighing::even(responses.len());
        let (mut read, mut chosen, mut delta_entropy) = (0, 0, 0.0);
        for (signal, weights) in responses.iter().zip(&mut weighing.responses) {
            let (Some(original), Some(removed)) = (signal.on(View::Original), signal.on(View::Removed)) else { continue };
            let mask = self.perception_tokens(signal, original, removed, seed);
            let tokens = mask.iter().zip(removed.entropy.iter().zip(&original.entropy));
            delta_entropy += tokens.filter(|(chosen, _)| **chosen).map(|(_, (removed, h))| f64::from(removed - h)).sum::<f64>();
            read += mask.len();
            chosen += mask.iter().filter(|chosen| **chosen).count();
            weights.tokens = mask.into_iter().map(|chosen| f32::from(u8::from(chosen))).collect();
        }
        weighing.metrics = vec![
            ("perception/fraction", chosen as f64 / (read as f64).max(1.0)),
            ("perception/delta_entropy", delta_entropy / (chosen as f64).max(1.0)),
        ];
        weighing
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        if self.contrastive.objective == Objective::CplOnly {
            terms[0].weight = 0.0; // the divergence from the reference policy stays
        }
        let anchor = batch.selected_at(View::Original);
        let per_token = (!anchor.is_empty()).then(|| {
            let [d_preserved, d_removed] = [View::Preserved, View::Removed]
                .map(|view| batch.pass.divergence(self.contrastive.divergence, &anchor, &batch.selected_at(view)));
            contrastive_loss(&d_preserved, &d_removed, &self.contrastive)
        });
        terms.push(Term { name: "cpl_loss", weight: self.contrastive.cpl_coef, over: Over::Selected, per_token, metrics: Vec::new() });
        terms
    }

    fn selection(&self) -> Option<&SelectionConfig> {
        Some(&self.selection)
    }
}

impl Cppo {
    /// Which tokens of a response are perception tokens (the mask m). `-> [tokens]`
    fn perception_tokens(&self, signal: &Signal, original: &Reading, removed: &Reading, seed: u64) -> Vec<bool> {
        let shift = Shift::of_readings(self.selection.detector, original, removed);
        // the response's number is the counter, so that the draw does not depend on micro-batches or ranks
        let mut random = Random::new(seed, "selection", signal.number);
        perception_mask(&shift, signal.advantage, &self.selection, &mut random)
    }
}

/// The contrastive perception loss: `cpl_coef`, `cpl_temperature`, `divergence`, `objective`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContrastiveConfig {
    /// Weight of the contrastive loss (λ), 0 or more. Default 0.01 (the paper's).
    pub cpl_coef: f64,
    /// Temperature that divergences are divided by (τ), above 0. Default 0.1 (the paper's).
    pub cpl_temperature: f64,
    /// How the divergences from the two perturbed pictures (D⁺ and D⁻) are computed. Default `k3`.
    pub divergence: Divergence,
    /// What is minimised. Default `contrastive`.
    pub objective: Objective,
}

impl Default for ContrastiveConfig {
    fn default() -> Self {
        Self { cpl_coef: 0.01, cpl_temperature: 0.1, divergence: Divergence::K3, objective: Objective::Contrastive }
    }
}

impl ContrastiveConfig {
    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        if !(self.cpl_coef >= 0.0 && self.cpl_coef.is_finite()) {
            return Err(format!("cpl_coef: expected 0 or more, got {}", self.cpl_coef));
        }
        if !(self.cpl_temperature > 0.0 && self.cpl_temperature.is_finite()) {
            return Err(format!("cpl_temperature: expected above 0, got {}", self.cpl_temperature));
        }
        Ok(())
    }
}

/// What is minimised at the perception tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// The contrast of both divergences, `softplus((D⁺ − D⁻)/τ)`: InfoNCE with one positive and one negative.
    #[default]
    Contrastive,
    /// Only the divergence from the information-preserving picture, D⁺ (ablation).
    PreserveOnly,
    /// Only the negated divergence from the information-removing picture, −D⁻, limited to ±10 (ablation).
    RemoveOnly,
    /// Like `contrastive`, but without the policy loss (ablation).
    CplOnly,
}

/// The contrastive loss of each perception token, from its two divergences. `d_preserved [tokens], d_removed [tokens] -> [tokens]`
///
/// `softplus(x/τ)` is `−log(e^{−D⁺/τ} / (e^{−D⁺/τ} + e^{−D⁻/τ}))`.
///
/// # Panics
/// If the shapes differ.
#[track_caller]
pub fn contrastive_loss(d_preserved: &Tensor, d_removed: &Tensor, config: &ContrastiveConfig) -> Tensor {
    assert_same_shape("contrastive_loss", "d_preserved and d_removed", d_preserved, d_removed);
    match config.objective {
        Objective::Contrastive | Objective::CplOnly => {
            d_preserved.sub(d_removed).mul_scalar((1.0 / config.cpl_temperature) as f32).softplus()
        }
        Objective::PreserveOnly => d_preserved.clone(),
        Objective::RemoveOnly => d_removed.clamp(-K3_LIMIT, K3_LIMIT).neg(),
    }
}
