//! The optimiser of a run, and one step of it.

use percept_engine::{AdamW, AdamWConfig, Gradients, ParamGroup, Result, StepReport, Tensor};
use percept_model::Model;

use crate::config::OptimConfig;

/// What became of a step of the optimiser.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Applied {
    /// Norm of the gradient before it was clipped; 0 if there was none.
    pub gradient_norm: f64,
    /// Whether the step was left out because the gradient was not finite.
    pub is_skipped: bool,
}

/// Moves the weights along `gradients`, if there are any.
///
/// # Errors
/// Those of the device.
pub fn apply(optimizer: &mut AdamW, gradients: &Gradients, learning_rate: f64) -> Result<Applied> {
    match launch(optimizer, gradients, learning_rate) {
        Some(report) => Ok(Applied::of(&report.to_f64_vec()?)),
        None => Ok(Applied::default()),
    }
}

/// [`apply`] without waiting for the device: the numbers from which [`Applied::of`] says what became of the step, unless there was none.
pub fn launch<'a>(optimizer: &'a mut AdamW, gradients: &Gradients, learning_rate: f64) -> Option<&'a Tensor> {
    if gradients.is_empty() {
        return None;
    }
    optimizer.set_lr(learning_rate);
    optimizer.step(gradients);
    Some(optimizer.unread_report())
}

impl Applied {
    /// From the numbers of [`launch`], read.
    pub fn of(numbers: &[f64]) -> Applied {
        let report = StepReport::of(numbers);
        if !report.taken {
            tracing::warn!(gradient_norm = report.gradient_norm, "the gradient is not finite: the update is skipped");
        }
        Applied { gradient_norm: report.gradient_norm, is_skipped: !report.taken }
    }
}

/// All trained weights of a model: matrices with weight decay, norms and biases without.
pub fn weight_groups(model: &Model, weight_decay: f64) -> Vec<ParamGroup> {
    let (matrices, vectors): (Vec<(String, Tensor)>, _) = model.trainable().into_iter().partition(|(_, tensor)| tensor.rank() > 1);
    vec![
        ParamGroup { parameters: matrices, lr_scale: 1.0, weight_decay },
        ParamGroup { parameters: vectors, lr_scale: 1.0, weight_decay: 0.0 },
    ]
}

/// The optimiser of a configuration; the learning rate is set before each step.
pub fn adamw(groups: Vec<ParamGroup>, optim: &OptimConfig) -> AdamW {
    let OptimConfig { learning_rate, betas, epsilon, max_grad_norm, .. } = *optim;
    AdamW::new(groups, AdamWConfig { lr: learning_rate, betas, eps: epsilon, clip_norm: max_grad_norm })
}
