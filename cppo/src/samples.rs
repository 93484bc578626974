//! What becomes of a group's responses in `samples.jsonl`.

use crate::error::TrainError;
use crate::prompts::Encoder;
use crate::run::{Recorder, RunError, Sample};
use crate::trainer::TrainedGroup;

/// Why samples could not be written.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The disk.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The tokenizer.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// Writes the responses of a group and its pictures.
///
/// # Errors
/// Those of the disk and the tokenizer.
pub fn record(recorder: &mut Recorder, encoder: &Encoder, step: u64, group: &TrainedGroup) -> Result<(), SampleError> {
    let prompt = &group.rollout.prompt;
    let name = |view: &str| format!("step-{step}-prompt-{}{view}", prompt.id);
    let image = match prompt.pictures.first() {
        Some(picture) => recorder.picture(&name(""), picture)?,
        None => String::new(),
    };
    let (mut image_preserved, mut image_removed) = (None, None);
    if let Some(views) = group.views.first() {
        image_preserved = Some(recorder.picture(&name("-preserved"), &views.preserved)?);
        image_removed = Some(recorder.picture(&name("-removed"), &views.removed)?);
    }
    let responses = group.rollout.responses.iter().zip(&group.advantages).zip(&group.traces);
    for ((sampled, &advantage), trace) in responses {
        let spelling = encoder.spell(&sampled.completion.tokens)?;
        let is_traced = !trace.delta_entropy.is_empty();
        let sample = Sample {
            step,
            prompt_id: prompt.id,
            prompt: prompt.text.clone(),
            answer: prompt.answer.clone(),
            image: image.clone(),
            image_preserved: image_preserved.clone(),
            image_removed: image_removed.clone(),
            response: spelling.text().to_owned(),
            tokens: spelling.tokens(),
            roles: prompt.problem.is_some().then(|| spelling.roles()),
            reward: sampled.reward.total,
            accuracy: sampled.reward.accuracy,
            format: sampled.reward.format,
            advantage,
            delta_entropy: is_traced.then(|| trace.delta_entropy.clone()),
            mask: is_traced.then(|| trace.mask.clone()),
        };
        recorder.sample(&sample)?;
    }
    Ok(())
}
