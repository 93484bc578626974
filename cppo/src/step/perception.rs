//! The perception tokens of a micro-batch (step 7), and where they stand in its pass.

use percept_engine::{Tensor, no_grad};
use percept_model::{Model, ModelError};

use super::pass::Pass;
use super::{Group, StepConfig, Update};
use crate::losses::{full_kl, k3};
use crate::random::Random;
use crate::selection::{Detector, Shift, perception_mask};

/// The perception tokens.
pub(super) struct Perception {
    /// Their positions in the pass on I, on I⁺ and on I⁻.
    positions: [Vec<u32>; 3],
    /// H of all tokens of the pass, nats.
    entropy: Vec<f32>,
    log_probs: Vec<f32>,
    /// m of each response; empty if it is not contrasted.
    masks: Vec<Vec<bool>>,
}

impl Perception {
    /// Reads the entropies back from the device and chooses on the host. Nothing is chosen without a contrastive part.
    pub(super) fn choose(pass: &Pass, model: &Model, groups: &[Group], config: &StepConfig<'_>) -> Result<Perception, ModelError> {
        let (entropy, log_probs) = (host(&pass.entropy)?, host(&pass.log_probs)?);
        let mut perception = Perception { positions: Default::default(), entropy, log_probs, masks: vec![Vec::new(); pass.items.len()] };
        let Some(contrast) = config.contrast.filter(|_| pass.contrasted > 0) else {
            return Ok(perception);
        };
        let divergences = match contrast.selection.detector {
            Detector::Entropy => Vec::new(),
            Detector::K3 | Detector::FullKl => host(&divergences(pass, model, contrast.selection.detector, config.temperature))?,
        };
        for (i, item) in pass.items.iter().enumerate() {
            let Some(view_start) = item.view_start else { continue };
            let on_removed = pass.tokens + pass.contrasted + view_start;
            let shift = match contrast.selection.detector {
                Detector::Entropy => {
                    let entropy = |start: usize| &perception.entropy[start..start + item.length];
                    Shift::of_entropies(entropy(item.start), entropy(on_removed))
                }
                Detector::K3 | Detector::FullKl => Shift::of_divergences(&divergences[view_start..view_start + item.length]),
            };
            // by group and response, so that the draw does not depend on the micro-batches
            let mut random = Random::new(config.seed, "selection", (item.group as u64) << 32 | item.response as u64);
            let mask = perception_mask(&shift, item.of(groups).advantage, contrast.selection, &mut random);
            for token in (0..item.length).filter(|&token| mask[token]) {
                let starts = [item.start, pass.tokens + view_start, on_removed];
                perception.positions.iter_mut().zip(starts).for_each(|(at, start)| at.push((start + token) as u32));
            }
            perception.masks[i] = mask;
        }
        Ok(perception)
    }

    /// Positions in the pass on I, on I⁺ and on I⁻.
    pub(super) fn positions(&self) -> [&[u32]; 3] {
        self.positions.each_ref().map(Vec::as_slice)
    }

    /// Σ m of the micro-batch.
    pub(super) fn len(&self) -> usize {
        self.positions[0].len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds to the sums of the update's metrics, and fills in the traces.
    pub(super) fn record(self, pass: &Pass, update: &mut Update) {
        let metrics = &mut update.metrics;
        metrics.entropy += self.entropy[..pass.tokens].iter().map(|&h| f64::from(h)).sum::<f64>();
        metrics.perception_tokens += self.len();
        let shifts = self.positions[0].iter().zip(&self.positions[2]);
        metrics.delta_entropy +=
            shifts.map(|(&on, &removed)| f64::from(self.entropy[removed as usize] - self.entropy[on as usize])).sum::<f64>();
        for (item, mask) in pass.items.iter().zip(self.masks) {
            let trace = &mut update.traces[item.group][item.response];
            let tokens = item.start..item.start + item.length;
            trace.log_probs = self.log_probs[tokens.clone()].to_vec();
            trace.entropy = self.entropy[tokens].to_vec();
            if let Some(view_start) = item.view_start {
                let removed = &self.entropy[pass.tokens + pass.contrasted + view_start..][..item.length];
                trace.delta_entropy = trace.entropy.iter().zip(removed).map(|(h, removed)| removed - h).collect();
                trace.mask = mask;
            }
        }
    }
}

/// D⁻ of the contrasted tokens, without gradient. `-> [contrasted]`
pub(super) fn divergences(pass: &Pass, model: &Model, detector: Detector, temperature: f32) -> Tensor {
    let contrasted = pass.items.iter().filter(|item| item.view_start.is_some());
    let anchor: Vec<u32> = contrasted.flat_map(|item| item.start as u32..(item.start + item.length) as u32).collect();
    let first = (pass.tokens + pass.contrasted) as u32;
    let removed: Vec<u32> = (first..first + pass.contrasted as u32).collect();
    no_grad(|| match detector {
        Detector::FullKl => full_kl(&pass.hidden_at(&anchor), &pass.hidden_at(&removed), model.head_weight(), temperature),
        Detector::Entropy | Detector::K3 => k3(&pass.log_probs_at(&anchor), &pass.log_probs_at(&removed)),
    })
}

/// Read back from the device.
pub(super) fn host(x: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(x.to_f32_vec()?)
}
