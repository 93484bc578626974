//! What becomes of a group's responses in `samples.jsonl`.

use image::RgbImage;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;
use crate::methods::view::View;
use crate::problems::prompts::Encoder;
use crate::problems::reward::Rewards;
use crate::records::run::{Recorder, RunError, Sample, picture_name, png};
use crate::training::group::{Group, Response};
use crate::training::trainer::Trainer;

/// What is written of a group: its responses, and the pictures that they name.
#[derive(Serialize, Deserialize)]
pub struct Sampled {
    number: u64,
    samples: Vec<Sample>,
    /// Name and PNG.
    pictures: Vec<(String, Vec<u8>)>,
}

/// The first `count` groups of the step, over all ranks; nothing on other ranks than the first.
///
/// # Errors
/// Those of the tokenizer.
pub fn first(count: usize, trainer: &Trainer, step: u64, groups: &[Group]) -> Result<Vec<Sampled>, TrainError> {
    let world = trainer.world();
    let of_group = |group| Sampled::of(group, trainer.encoder(), trainer.rewards(), step);
    let own: Vec<Sampled> = groups.iter().take(count).map(of_group).collect::<Result<_, _>>()?;
    if world.size() == 1 {
        return Ok(own);
    }
    let all = world.gather("the samples of the step", serde_json::to_vec(&own).expect("plain data"));
    if !world.is_first() {
        return Ok(Vec::new());
    }
    let of_rank = |bytes: &Vec<u8>| serde_json::from_slice::<Vec<Sampled>>(bytes).expect("what a rank sends is whole");
    let mut all: Vec<Sampled> = all.iter().flat_map(of_rank).collect();
    all.sort_by_key(|sampled| sampled.number);
    all.truncate(count);
    Ok(all)
}

impl Sampled {
    /// Writes the responses and pictures.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn record(&self, recorder: &mut Recorder) -> Result<(), RunError> {
        self.pictures.iter().try_for_each(|(name, png)| recorder.png(name, png))?;
        self.samples.iter().try_for_each(|sample| recorder.sample(sample))
    }

    fn of(group: &Group, encoder: &Encoder, rewards: &Rewards, step: u64) -> Result<Sampled, TrainError> {
        let prompt = &group.prompt;
        let mut pictures = Vec::new();
        let mut add = |view: &str, picture: &RgbImage| {
            let name = picture_name(&format!("step-{step}-prompt-{}{view}", prompt.id));
            pictures.push((name.clone(), png(picture)));
            name
        };
        let image = prompt.pictures.first().map_or_else(String::new, |picture| add("", picture));
        let more = prompt.pictures.iter().enumerate().skip(1);
        let more_images: Vec<String> = more.map(|(number, picture)| add(&format!("-{}", number + 1), picture)).collect();
        let mut picture_of = |view: View| {
            let picture = group.views.iter().find(|of| of.view == view).and_then(|of| of.pictures.first());
            picture.map(|picture| add(&format!("-{}", view.name()), picture))
        };
        let (image_preserved, image_removed) = (picture_of(View::Preserved), picture_of(View::Removed));
        let sample = |Response { completion, reward, own_rewards, signal, .. }: &Response| {
            let spelling = encoder.spell(&completion.tokens)?;
            let delta_entropy = signal.on(View::Original).zip(signal.on(View::Removed)).map(|(original, removed)| {
                let entropies = removed.entropy.iter().zip(&original.entropy);
                entropies.map(|(removed, entropy)| removed - entropy).collect()
            });
            let weights = &signal.weights.tokens;
            Ok(Sample {
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
            })
        };
        let samples = group.responses.iter().map(sample).collect::<Result<_, TrainError>>()?;
        Ok(Sampled { number: group.number, samples, pictures })
    }
}
