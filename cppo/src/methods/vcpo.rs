//! VCPO: View-Consistent Policy Optimization, a method of this project: GRPO, and the policy on a harmlessly changed picture learns from the policy on the picture.
//!
//! A response that was better than its group says what the policy, looking at the picture (I), does well. It should do the same when the picture is changed without harm (I⁺). CPPO pulls both
//! distributions together, and pushes a third one away without bound. Here the distribution on I is a fixed target, and only the one on I⁺ moves; nothing is pushed away:
//!
//! ```text
//! C_t  = KL(sg[π_θ(· | I, o_<t)] ‖ π_θ(· | I⁺, o_<t))                  sg: a constant, no gradient
//! loss = GRPO's + λ · Σ m·C / (Σ m + 1e-8) + κ · Σ m·Â·(−ℓ⁺) / (Σ m + 1e-8)
//! ```
//!
//! The sums are over the tokens of all responses with Â > 0 (m). The last term takes these responses as examples on I⁺ as well, weighted by their advantage.
//!
//! | symbol | here |
//! |---|---|
//! | I⁺ | [`View::Preserved`], drawn once per prompt |
//! | C | `consistency_loss`: over the whole vocabulary, or with `divergence = "k3"` the estimate at the sampled token |
//! | λ, κ | `consistency_coef`, `imitation_coef` |
//!
//! Why a fixed target: with gradient through both, half of the pull degrades the view that was rewarded. Why no contrast: pushing the sampled tokens down on a picture without the information
//! teaches a policy to fall apart on anything degraded. What it gains and what it costs: `docs/results.md`.
//!
//! Departures: there is no paper. The consistency term is that of unsupervised data augmentation (Xie et al. 2020, arXiv 1904.12848, equation 1), restricted to rewarded responses.

use percept_engine::{Tensor, linear_kl};
use serde::{Deserialize, Serialize};

use super::Method;
use super::divergence::{Divergence, k1, k3};
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::signal::{Signal, Weighing};
use super::term::{Over, Term};
use super::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use crate::problems::views::PerturbationSet;

/// The table `[method.vcpo]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vcpo {
    /// Weight of the divergence from the policy on the picture (λ), 0 or more. Default 0.3.
    pub consistency_coef: f64,
    /// How that divergence is computed. Default `full`.
    pub divergence: Divergence,
    /// Weight of the rewarded responses as examples on the changed picture (κ), 0 or more. Default 0.3.
    pub imitation_coef: f64,
}

impl Default for Vcpo {
    fn default() -> Self {
        Self { consistency_coef: 0.3, divergence: Divergence::Full, imitation_coef: 0.3 }
    }
}

impl Method for Vcpo {
    fn check(&self) -> Result<(), String> {
        if self.divergence == Divergence::JensenShannon {
            return Err("divergence: expected full, k3 or k1, got jensen_shannon".into());
        }
        let coefs = [("consistency_coef", self.consistency_coef), ("imitation_coef", self.imitation_coef)];
        let wrong = coefs.iter().find(|(_, value)| !(*value >= 0.0 && value.is_finite()));
        wrong.map_or(Ok(()), |(name, value)| Err(format!("{name}: expected 0 or more, got {value}")))
    }

    fn views(&self, _: Moment) -> Vec<ViewUse> {
        vec![ViewUse {
            view: View::Preserved,
            shown: Shown::Perturbed(PerturbationSet::Preserving),
            drawn: Drawn::PerPrompt,
            gradient: ViewGradient::Flows,
            seen_by: SeenBy::Rewarded,
            divergences: Vec::new(),
        }]
    }

    fn weighs(&self) -> bool {
        true
    }

    /// Every token of a response that is read on the changed picture counts.
    fn weigh(&self, responses: &[&Signal], _: Moment, _: u64) -> Weighing {
        let mut weighing = Weighing::even(responses.len());
        for (signal, weights) in responses.iter().zip(&mut weighing.responses) {
            weights.tokens = signal.on(View::Preserved).map_or(Vec::new(), |reading| vec![1.0; reading.log_probs.len()]);
        }
        weighing
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        let mut terms = policy_terms(batch, policy);
        let (anchor, changed) = (batch.selected_at(View::Original), batch.selected_at(View::Preserved));
        let some = |of: &dyn Fn() -> Tensor| (!anchor.is_empty()).then(of);
        let mut add = |name, weight, per_token| terms.push(Term { name, weight, over: Over::Selected, per_token, metrics: Vec::new() });
        add("consistency_loss", self.consistency_coef, some(&|| self.consistency(batch, &anchor, &changed)));
        if self.imitation_coef > 0.0 {
            let imitation = || batch.pass.log_probs_at(&changed).mul(&batch.selected_advantages()).neg();
            add("imitation_loss", self.imitation_coef, some(&imitation));
        }
        terms
    }
}

impl Vcpo {
    /// How far the policy on the changed picture is from the one on the picture, which is a constant. `[n], [n] -> [n]`
    fn consistency(&self, batch: &MicroBatch<'_>, anchor: &[u32], changed: &[u32]) -> Tensor {
        let pass = batch.pass;
        let at_sampled = |of: fn(&Tensor, &Tensor) -> Tensor| of(&pass.log_probs_at(anchor).detach(), &pass.log_probs_at(changed));
        match self.divergence {
            Divergence::K3 => at_sampled(k3),
            Divergence::K1 => at_sampled(k1),
            Divergence::JensenShannon => unreachable!("check refuses it: it is symmetric, so it has no side that could be fixed"),
            Divergence::Full => {
                let (target, head) = (pass.hidden_at(anchor).detach(), pass.head.detach());
                linear_kl((&target, &head), (&pass.hidden_at(changed), &pass.head), pass.temperature)
            }
        }
    }
}
