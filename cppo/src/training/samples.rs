//! What becomes of a group's responses in `samples.jsonl`.

use crate::error::TrainError;
use crate::methods::view::View;
use crate::problems::prompts::Encoder;
use crate::problems::reward::Rewards;
use crate::records::run::{Recorder, RunError, Sample};
use crate::training::group::{Group, Response};

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
pub fn record(recorder: &mut Recorder, encoder: &Encoder, rewards: &Rewards, step: u64, group: &Group) -> Result<(), SampleError> {
    let prompt = &group.prompt;
    let name = |view: &str| format!("step-{step}-prompt-{}{view}", prompt.id);
    let image = match prompt.pictures.first() {
        Some(picture) => recorder.picture(&name(""), picture)?,
        None => String::new(),
    };
    let more = prompt.pictures.iter().enumerate().skip(1);
    let more_images =
        more.map(|(number, picture)| recorder.picture(&name(&format!("-{}", number + 1)), picture)).collect::<Result<Vec<_>, _>>()?;
    let picture_of = |view: View| match group.views.iter().find(|of| of.view == view).and_then(|of| of.pictures.first()) {
        Some(picture) => recorder.picture(&name(&format!("-{}", view.name())), picture).map(Some),
        None => Ok(None),
    };
    let (image_preserved, image_removed) = (picture_of(View::Preserved)?, picture_of(View::Removed)?);
    for Response { completion, reward, own_rewards, signal, .. } in &group.responses {
        let spelling = encoder.spell(&completion.tokens)?;
        let delta_entropy = signal.on(View::Original).zip(signal.on(View::Removed)).map(|(original, removed)| {
            let entropies = removed.entropy.iter().zip(&original.entropy);
            entropies.map(|(removed, entropy)| removed - entropy).collect()
        });
        let weights = &signal.weights.tokens;
        let sample = Sample {
            step,
            prompt_id: prompt.id,
            prompt: prompt.text.clone(),
            answer: prompt.answer.clone(),
            image: image.clone(),
            more_images: more_images.clone(),
            image_preserved: image_preserved.clone(),
            image_removed: image_removed.clone(),
            response: spelling.text().to_owned(),
            tokens: spelling.tokens(),
            roles: prompt.problem.is_some().then(|| spelling.roles()),
            reward: reward.total,
            accuracy: reward.accuracy,
            format: reward.format,
            rewards: rewards.names().map(str::to_owned).zip(own_rewards.iter().copied()).collect(),
            advantage: signal.advantage,
            delta_entropy,
            mask: (!weights.is_empty()).then(|| weights.iter().map(|weight| *weight != 0.0).collect()),
        };
        recorder.sample(&sample)?;
    }
    Ok(())
}
