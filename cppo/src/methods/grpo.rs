//! GRPO: Group Relative Policy Optimization (Shao et al. 2024, arXiv 2402.03300), the method that the others are compared with.
//!
//! For every question (q) the policy samples a group of responses (o). Each gets a reward, and its advantage is how far the reward lies from the mean
//! of the group, in standard deviations. The loss raises the probability of responses that were better than their group and lowers that of worse
//! ones. Clipping limits how far one update can go, and a penalty keeps the policy near a reference policy:
//!
//! ```text
//! Â_i   = (r_i − mean(r)) / (std(r) + 1e-6)                                            one advantage for all tokens of a response
//! ratio = π_θ(o_t | q, o_<t) / π_old(o_t | q, o_<t)
//! L_t   = −min(ratio·Â, clip(ratio, 1 − ε_low, 1 + ε_high)·Â)
//! loss  = mean over all tokens of the update of  L_t + β · k3(π_θ ‖ π_ref)
//! ```
//!
//! | symbol | here |
//! |---|---|
//! | r, Â | rewards and what [`group_advantages`](super::advantages::group_advantages) makes of them |
//! | ε_low, ε_high, β | `method.clip_low`, `method.clip_high`, `method.kl_coef` |
//!
//! Departures: the mean is over tokens, not over responses (as in DAPO, arXiv 2503.14476, and in verl), and a dual clip (arXiv 1912.09729) bounds
//! the loss of tokens with a negative advantage. GRPO has no settings of its own.

use serde::{Deserialize, Serialize};

use super::Method;
use super::micro_batch::MicroBatch;
use super::policy::{PolicyConfig, policy_terms};
use super::term::Term;

/// GRPO has no settings besides the shared fields of `[method]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grpo {}

impl Method for Grpo {
    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        policy_terms(batch, policy)
    }
}
