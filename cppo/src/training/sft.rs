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

use std::ops::Range;
use std::time::Instant;

use percept_engine::{Gradients, Head, ParamGroup, Tensor, no_grad, random};
use percept_model::image::{Grid, ImageSplitting, Patches};
use percept_model::{Model, Packing, ResponseRows};
use rayon::prelude::*;

use crate::config::{OptimConfig, Reduce, Schedule, SftConfig};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems, Prompt};
use crate::problems::tasks::{Family, Problem, Split, Task};
use crate::training::optimise::{Optimizer, weight_groups};
use crate::training::reduce::{Adding, Leaves, along_tree};
use crate::training::world::World;

/// The dense labels' part of the training.
pub struct WarmStart<'a> {
    model: &'a Model,
    encoder: &'a Encoder,
    task: &'a Task,
    config: &'a SftConfig,
    optim: OptimConfig,
    optimizer: Optimizer,
    /// One row for each class, of all families one after the other, and one for none. `[classes + 1, hidden]`
    head: Tensor,
    step: u64,
    world: World,
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
        world: &World,
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
        let optimizer = Optimizer::new(groups, &optim, world).map_err(TrainError::Unsupported)?;
        Ok(WarmStart { model, encoder, task, config, optim, optimizer, head, step: 0, world: world.clone() })
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
        let parts = Parts::new(count as usize, self.config, &self.world);
        let own = parts.own();
        let problems = self.task.problems(Split::Train, first + own.start as u64..first + own.end as u64);
        self.step += 1;
        let tiles: Vec<Patches> =
            problems.par_iter().flat_map_iter(|problem| self.encoder.tiles(std::slice::from_ref(&problem.picture))).collect();
        let labels: Vec<Vec<u32>> =
            problems.iter().zip(&tiles).map(|(problem, tiles)| labels(problem, self.model.visual_grid(tiles.grids()[0]))).collect();
        let [cells] = self.world.sum_of("the cells of the step", [labels.iter().map(Vec::len).sum::<usize>() as f64]);

        // read when all is computed: a GPU that is read stands still meanwhile
        let mut rows: Vec<(u64, Tensor, Tensor, Vec<u32>)> = Vec::new();
        let gradients = parts.gradients(|number, part| {
            let (tiles, labels) = (&tiles[part.clone()], labels[part].concat());
            let pictures = self.model.patch_batch(tiles).expect("a step has pictures");
            let features = self.model.image_features(&pictures); // [pictures·visual tokens, hidden]
            let targets = Tensor::from_slice(self.model.device(), &labels, &[labels.len()]);
            let (log_probs, _) = features.linear_log_probs(&Head::new(&self.head), &targets, 1.0);
            let loss = match labels.len() as f64 == cells {
                true => log_probs.mean(&[0]).neg(),
                false => log_probs.sum_all().mul_scalar(-1.0 / cells as f32),
            };
            let gradients = loss.backward();
            rows.push((number, loss.detach(), features.detach(), labels));
            Ok::<_, TrainError>(Some(gradients))
        })?;
        let lr = self.optim.learning_rate_at(self.step, self.config.warm_start_steps);
        let applied = self.optimizer.apply(gradients, parts.adding(), lr)?;

        let row = |(number, loss, features, labels): &(u64, Tensor, Tensor, Vec<u32>)| {
            let [right, objects] = self.right_cells(features, labels)?;
            Ok::<_, TrainError>((*number, vec![loss.item()?, right, objects]))
        };
        let rows = rows.iter().map(row).collect::<Result<_, _>>()?;
        let sums = self.world.sum_rows("the metrics of the step", 3, rows);
        let time = clock.elapsed().as_secs_f64();
        Ok(vec![
            ("warm_start/loss", sums[0]),
            ("warm_start/cell_accuracy", sums[1] / sums[2].max(1.0)),
            ("grad_norm", applied.gradient_norm),
            ("lr", lr),
            ("updates/skipped", f64::from(u8::from(applied.is_skipped))),
            ("time/step", time),
        ])
    }

    /// How many cells with an object have its class as the most probable, and how many have an object.
    fn right_cells(&self, features: &Tensor, labels: &[u32]) -> Result<[f64; 2], TrainError> {
        let logits = no_grad(|| features.matmul(&self.head.t())).to_f64_vec()?;
        let classes = self.head.dim(0);
        let none = classes as u32 - 1;
        let best = |row: &[f64]| (0..classes).max_by(|&a, &b| row[a].total_cmp(&row[b])).expect("there are classes") as u32;
        let objects: Vec<bool> =
            logits.chunks(classes).zip(labels).filter(|&(_, &label)| label != none).map(|(row, &label)| best(row) == label).collect();
        Ok([objects.iter().filter(|&&right| right).count() as f64, objects.len() as f64])
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
    optimizer: Optimizer,
    seed: u64,
    step: u64,
    world: World,
}

impl<'a> Sft<'a> {
    /// Trains `model` in place, as one of the ranks of `world`, each with its own part of a step's problems. `seed` decides the order of data in each epoch.
    ///
    /// # Errors
    /// If ranks cannot share what is trained (`optim.shard`).
    pub fn new(
        model: &'a Model,
        encoder: &'a Encoder,
        problems: &'a Problems,
        config: &'a SftConfig,
        optim: &'a OptimConfig,
        seed: u64,
        world: &World,
    ) -> Result<Sft<'a>, TrainError> {
        let optimizer = Optimizer::new(weight_groups(model, optim.weight_decay), optim, world).map_err(TrainError::Unsupported)?;
        Ok(Sft { model, encoder, problems, config, optim, optimizer, seed, step: 0, world: world.clone() })
    }

    /// One step: `loss`, `entropy`, `grad_norm`, `lr`, `updates/skipped`, `tokens/trained`, `time/step`.
    ///
    /// # Errors
    /// Those of the tokenizer and the device.
    pub fn step(&mut self) -> Result<Numbers, TrainError> {
        let clock = Instant::now();
        let count = self.config.batch_size as u64;
        let parts = Parts::new(count as usize, self.config, &self.world);
        let own = parts.own();
        let first = self.step * count;
        let prompts = self.problems.training(first + own.start as u64..first + own.end as u64, self.seed)?;
        self.step += 1;
        let examples = prompts.into_par_iter().map(|prompt| self.encode(prompt)).collect::<Result<Vec<_>, _>>()?;
        let tokens: usize = examples.iter().map(|example| example.response.len()).sum();
        let [tokens] = self.world.sum_of("the tokens of the step", [tokens as f64]);

        let mut numbers = Vec::new();
        let gradients = parts.gradients(|number, part| {
            let mut gradients = Gradients::new();
            for part in micro_batches(&examples[part], self.config.micro_batch_tokens) {
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
                numbers.push((number, vec![share.item()?, entropies.sum_all().item()? / tokens]));
            }
            Ok::<_, TrainError>(Some(gradients))
        })?;
        let sums = self.world.sum_rows("the metrics of the step", 2, numbers);
        let (loss, entropy) = (sums[0], sums[1]);
        let lr = self.optim.learning_rate_at(self.step, self.config.steps);
        let applied = self.optimizer.apply(gradients, parts.adding(), lr)?;
        let time = clock.elapsed().as_secs_f64();
        Ok(vec![
            ("loss", loss),
            ("entropy", entropy),
            ("grad_norm", applied.gradient_norm),
            ("lr", lr),
            ("updates/skipped", f64::from(u8::from(applied.is_skipped))),
            ("tokens/trained", tokens),
            ("time/step", time),
        ])
    }

    fn encode(&self, prompt: Prompt) -> Result<Example, TrainError> {
        let response = self.encoder.response(prompt.response.as_deref().expect("data for supervised training have responses"))?;
        let encoded = self.encoder.encode(&prompt)?;
        Ok(Example { prompt: encoded.tokens, tiles: encoded.tiles, response })
    }
}

/// How a batch is cut: along the tree into equal parts, else into the ranks' alone.
struct Parts<'a> {
    batch: usize,
    /// Leaves of the tree; none where the order of additions does not matter.
    leaves: Option<usize>,
    world: &'a World,
}

/// The most parts of a batch, and with that the most ranks that come to the same bits.
const MOST_PARTS: usize = 16;

impl<'a> Parts<'a> {
    fn new(batch: usize, config: &SftConfig, world: &'a World) -> Self {
        Parts { batch, leaves: (config.reduce == Reduce::Exact).then(|| leaves(batch)), world }
    }

    /// This rank's part of the batch.
    fn own(&self) -> Range<usize> {
        let own = self.batch / self.world.size();
        self.world.rank() * own..(self.world.rank() + 1) * own
    }

    /// How the gradients of the ranks are added.
    fn adding(&self) -> Adding {
        self.leaves.map_or(Adding::Packed, |leaves| Adding::Tree(Leaves::new(leaves, 1)))
    }

    /// The gradients over this rank's part of the batch. `part` computes those of a range of this rank's examples, and is told the number by which its metrics are added.
    fn gradients(&self, mut part: impl FnMut(u64, Range<usize>) -> Result<Option<Gradients>, TrainError>) -> Result<Gradients, TrainError> {
        let own = self.own();
        let Some(leaves) = self.leaves else {
            return Ok(part(0, 0..own.len())?.unwrap_or_default());
        };
        let (tree, length) = (Leaves::new(leaves, 1), self.batch / leaves);
        let mut leaf = |leaf: usize| part(leaf as u64, leaf * length - own.start..(leaf + 1) * length - own.start);
        let add = |mut a: Gradients, b: Gradients| {
            a.accumulate(b);
            a
        };
        Ok(along_tree(tree.owned(self.world.rank(), self.world.size()), &mut leaf, &add)?.unwrap_or_default())
    }
}

/// The leaves of a batch: the largest power of two that divides it, up to [`MOST_PARTS`].
fn leaves(batch: usize) -> usize {
    1 << batch.trailing_zeros().min(MOST_PARTS.trailing_zeros())
}

/// Whether so many ranks can share the batches.
///
/// # Errors
/// What is wrong with their number, in words.
pub fn check_ranks(config: &SftConfig, size: usize) -> Result<(), String> {
    let warm = (config.warm_start_steps > 0).then_some(("sft.warm_start_batch_size", config.warm_start_batch_size));
    for (name, batch) in [("sft.batch_size", config.batch_size)].into_iter().chain(warm) {
        let most = leaves(batch);
        if config.reduce == Reduce::Exact && !most.is_multiple_of(size) {
            return Err(format!(
                "{name} = {batch} with sft.reduce = \"exact\" can be shared by 1, 2, 4, … up to {most} ranks: got {size}; use another number, or sft.reduce=fast"
            ));
        }
        if !batch.is_multiple_of(size) {
            return Err(format!("{name} must be a multiple of the number of ranks: got {batch} for {size} ranks"));
        }
    }
    Ok(())
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
