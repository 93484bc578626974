//! Supervised fine-tuning on the tasks' reference responses, with a warm start of the vision tower, or on the responses of data.
//!
//! A small model that is trained through the language model alone learns form and arithmetic within two hundred steps but still
//! guesses what it sees. So training begins with dense labels: each visual token predicts, by a linear map that is thrown away
//! afterwards, which object is centred in its cell of the picture, or that there is none. Then
//! the whole model learns the reference responses:
//!
//! ```text
//! warm start    loss = −mean_cells log softmax(W · visual token)[label]
//! then          loss = −mean_tokens log π(o_t | question, picture, o_<t)
//! ```

mod trainer;

pub use trainer::SftTrainer;

use std::time::Instant;

use percept_engine::{AdamW, Gradients, Head, ParamGroup, Tensor, no_grad, random};
use percept_model::image::{Grid, ImageSplitting, Patches};
use percept_model::{Model, Packing, ResponseRows};
use rayon::prelude::*;

use crate::config::{OptimConfig, Schedule, SftConfig};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems, Prompt};
use crate::problems::tasks::{Family, Problem, Split, Task};
use crate::training::optimise::{adamw, apply, weight_groups};

/// The dense labels' part of the training.
pub struct WarmStart<'a> {
    model: &'a Model,
    encoder: &'a Encoder,
    task: &'a Task,
    config: &'a SftConfig,
    optim: OptimConfig,
    optimizer: AdamW,
    /// One row for each class, of all families one after the other, and one for none. `[classes + 1, hidden]`
    head: Tensor,
    step: u64,
}

impl<'a> WarmStart<'a> {
    /// Begins with a fresh head, drawn with `seed`.
    ///
    /// # Errors
    /// If the model cuts pictures into tiles: its visual tokens then have no place in the picture.
    pub fn new(
        model: &'a Model,
        encoder: &'a Encoder,
        task: &'a Task,
        config: &'a SftConfig,
        optim: &OptimConfig,
        seed: u64,
    ) -> Result<WarmStart<'a>, TrainError> {
        if encoder.files().image_splitting() == ImageSplitting::Tiles {
            return Err(TrainError::Unsupported("sft.warm_start_steps: expected 0 for a model that cuts pictures into tiles".into()));
        }
        let (classes, hidden) = (all_classes(), model.config().text.hidden_size);
        let values = random::normal(seed, 0, (classes + 1) * hidden, 0.02);
        let head = Tensor::from_f32(model.device(), &values, &[classes + 1, hidden], model.arithmetic_dtype()).parameter();
        let optim = OptimConfig {
            learning_rate: config.warm_start_learning_rate,
            schedule: Schedule::Cosine,
            final_fraction: 0.1,
            ..optim.clone()
        };
        let mut groups = weight_groups(model, optim.weight_decay);
        groups.push(ParamGroup { parameters: vec![("warm_start_head".into(), head.clone())], lr_scale: 1.0, weight_decay: 0.0 });
        let optimizer = adamw(groups, &optim);
        Ok(WarmStart { model, encoder, task, config, optim, optimizer, head, step: 0 })
    }

    /// One step: `warm_start/loss`, `warm_start/cell_accuracy` of the cells that show something, `grad_norm`, `lr`, `updates/skipped`,
    /// `time/step`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(&mut self) -> Result<Numbers, TrainError> {
        let clock = Instant::now();
        let count = self.config.warm_start_batch_size as u64;
        // the first problems of the split, from its far end: those of the later steps begin at 0
        let first = WARM_START_PROBLEMS + self.step * count;
        let problems = self.task.problems(Split::Train, first..first + count);
        self.step += 1;
        let tiles: Vec<Patches> =
            problems.par_iter().flat_map_iter(|problem| self.encoder.tiles(std::slice::from_ref(&problem.picture))).collect();
        let labels: Vec<u32> =
            problems.iter().zip(&tiles).flat_map(|(problem, tiles)| labels(problem, self.model.visual_grid(tiles.grids()[0]))).collect();

        let pictures = self.model.patch_batch(&tiles).expect("a step has pictures");
        let features = self.model.image_features(&pictures); // [pictures·visual tokens, hidden]
        let targets = Tensor::from_slice(self.model.device(), &labels, &[labels.len()]);
        let (log_probs, _) = features.linear_log_probs(&Head::new(&self.head), &targets, 1.0);
        let loss = log_probs.mean(&[0]).neg();
        let gradients = loss.backward();
        let lr = self.optim.learning_rate_at(self.step, self.config.warm_start_steps);
        let applied = apply(&mut self.optimizer, &gradients, lr)?;

        let accuracy = self.cell_accuracy(&features, &labels)?;
        let time = clock.elapsed().as_secs_f64();
        let loss = loss.item()?;
        Ok(vec![
            ("warm_start/loss", loss),
            ("warm_start/cell_accuracy", accuracy),
            ("grad_norm", applied.gradient_norm),
            ("lr", lr),
            ("updates/skipped", f64::from(u8::from(applied.is_skipped))),
            ("time/step", time),
        ])
    }

    /// Share of the cells with an object whose class is the most probable.
    fn cell_accuracy(&self, features: &Tensor, labels: &[u32]) -> Result<f64, TrainError> {
        let logits = no_grad(|| features.matmul(&self.head.t())).to_f64_vec()?;
        let classes = self.head.dim(0);
        let none = classes as u32 - 1;
        let best = |row: &[f64]| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("there are classes") as u32;
        let objects: Vec<bool> =
            logits.chunks(classes).zip(labels).filter(|&(_, &label)| label != none).map(|(row, &label)| best(row) == label).collect();
        Ok(objects.iter().filter(|&&right| right).count() as f64 / objects.len().max(1) as f64)
    }
}

/// Names and values of a step.
type Numbers = Vec<(&'static str, f64)>;

/// Where the problems of the warm start begin.
const WARM_START_PROBLEMS: u64 = 1 << 40;

fn all_classes() -> usize {
    Family::ALL.iter().map(|family| family.cell_classes()).sum()
}

/// Labels of the cells of a picture among the classes of all families.
fn labels(problem: &Problem, [rows, cols]: Grid) -> Vec<u32> {
    let before: usize = Family::ALL.iter().take_while(|&&family| family != problem.family).map(|family| family.cell_classes()).sum();
    let none = problem.family.cell_classes();
    let labels = problem.cell_labels(rows, cols).into_iter();
    labels.map(|label| if usize::from(label) == none { all_classes() } else { before + usize::from(label) } as u32).collect()
}

/// The training on reference responses.
pub struct Sft<'a> {
    model: &'a Model,
    encoder: &'a Encoder,
    problems: &'a Problems,
    config: &'a SftConfig,
    optim: &'a OptimConfig,
    optimizer: AdamW,
    seed: u64,
    step: u64,
}

impl<'a> Sft<'a> {
    /// Trains `model` in place. `seed` decides the order of data in each epoch.
    pub fn new(
        model: &'a Model,
        encoder: &'a Encoder,
        problems: &'a Problems,
        config: &'a SftConfig,
        optim: &'a OptimConfig,
        seed: u64,
    ) -> Sft<'a> {
        let optimizer = adamw(weight_groups(model, optim.weight_decay), optim);
        Sft { model, encoder, problems, config, optim, optimizer, seed, step: 0 }
    }

    /// One step: `loss`, `entropy`, `grad_norm`, `lr`, `updates/skipped`, `tokens/trained`, `time/step`.
    ///
    /// # Errors
    /// Those of the tokenizer and the device.
    pub fn step(&mut self) -> Result<Numbers, TrainError> {
        let clock = Instant::now();
        let count = self.config.batch_size as u64;
        let prompts = self.problems.training(self.step * count..(self.step + 1) * count, self.seed)?;
        self.step += 1;
        let examples = prompts.into_par_iter().map(|prompt| self.encode(prompt)).collect::<Result<Vec<_>, _>>()?;
        let tokens: usize = examples.iter().map(|example| example.response.len()).sum();

        let mut gradients = Gradients::new();
        let (mut loss, mut entropy) = (0.0, 0.0);
        for part in micro_batches(&examples, self.config.micro_batch_tokens) {
            let mut packing = Packing::new(self.model.config());
            let mut rows = Vec::new();
            for example in part {
                let prompt = packing.prompt(&example.prompt, &example.tiles)?;
                rows.push(packing.response(&prompt, &example.response)?);
            }
            let hidden = self.model.hidden(&packing.into_batch(self.model));
            let (log_probs, entropies) = self.model.log_probs(&hidden, &ResponseRows::concat(&rows), 1.0);
            let share = log_probs.sum_all().mul_scalar(-1.0 / tokens as f32);
            gradients.accumulate(share.backward());
            loss += share.item()?;
            entropy += entropies.sum_all().item()? / tokens as f64;
        }
        let lr = self.optim.learning_rate_at(self.step, self.config.steps);
        let applied = apply(&mut self.optimizer, &gradients, lr)?;
        let time = clock.elapsed().as_secs_f64();
        Ok(vec![
            ("loss", loss),
            ("entropy", entropy),
            ("grad_norm", applied.gradient_norm),
            ("lr", lr),
            ("updates/skipped", f64::from(u8::from(applied.is_skipped))),
            ("tokens/trained", tokens as f64),
            ("time/step", time),
        ])
    }

    fn encode(&self, prompt: Prompt) -> Result<Example, TrainError> {
        let response = self.encoder.response(prompt.response.as_deref().expect("data for supervised training have responses"))?;
        let encoded = self.encoder.encode(&prompt)?;
        Ok(Example { prompt: encoded.tokens, tiles: encoded.tiles, response })
    }
}

struct Example {
    prompt: Vec<u32>,
    tiles: Vec<Patches>,
    response: Vec<u32>,
}

/// Runs of examples that stay under a token budget; an example that is longer is one by itself.
fn micro_batches(examples: &[Example], budget: usize) -> Vec<&[Example]> {
    let mut parts = Vec::new();
    let (mut start, mut tokens) = (0, 0);
    for (i, example) in examples.iter().enumerate() {
        let length = example.prompt.len() + example.response.len();
        if i > start && tokens + length > budget {
            parts.push(&examples[start..i]);
            (start, tokens) = (i, 0);
        }
        tokens += length;
    }
    parts.push(&examples[start..]);
    parts
}
