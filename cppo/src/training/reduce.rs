//! How the gradients of an update's groups are added: packed, in whatever order is fastest, or along a fixed tree, to the same bits for any number of ranks.
//!
//! The leaves of the tree are the places of a step's prompts; at a leaf stands the gradient of a group, computed from the group alone. A range of leaves is halved as long as
//! its length is even, and an odd one is added from left to right. Ranks that are a power of two and divide the prompts own a subtree each; what is above those is added by exchange between pairs
//! of ranks at distance 1, 2, 4, …, each time of half of what is left, and the pieces are collected the same way back (Rabenseifner's algorithm, whose order of additions is that of
//! the tree). So every rank sends 2 (n − 1) / n of the gradients, as the best all-reduce does, and the sum is that of one rank, because IEEE addition
//! commutes.

use std::ops::Range;

use percept_engine::ops::with_rows_alike;
use percept_engine::{DType, Gradients, Result, Tensor};

use super::world::World;
use crate::config::{Config, Reduce};

/// How gradients of groups are added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adding {
    /// Groups are packed into micro-batches, whose gradients are added as they come; those of the ranks in an order of MPI's choice.
    Packed,
    /// Every group by itself, along the tree over these leaves.
    Tree(Leaves),
}

impl Adding {
    /// That of a configuration.
    pub fn of(config: &Config) -> Adding {
        match config.train.reduce {
            Reduce::Exact => Adding::Tree(Leaves::new(config.rollout.prompts_per_step, config.train.updates_per_step)),
            Reduce::Auto | Reduce::Fast => Adding::Packed,
        }
    }
}

/// Whether what becomes of a prompt may depend on who else is in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// It may, in the last bits.
    Fastest,
    /// It does not, so that it has the same bits whichever rank has it.
    Alike,
}

impl Rows {
    /// What goes with gradients that are added like this.
    pub fn of(adding: Adding) -> Rows {
        match adding {
            Adding::Packed => Rows::Fastest,
            Adding::Tree(_) => Rows::Alike,
        }
    }

    /// Runs `f` like this.
    pub fn run<T>(self, f: impl FnOnce() -> T) -> T {
        match self {
            Rows::Fastest => f(),
            Rows::Alike => with_rows_alike(f),
        }
    }
}

/// The places of a step's prompts, as the leaves of the tree. Prompts that take the place of others (a refill) have their numbers beyond the first prompts', and the same leaves again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaves {
    prompts: usize,
    updates: usize,
}

impl Leaves {
    /// `prompts` of a step with so many `updates`, each of which has an equal share of them.
    ///
    /// # Panics
    /// If the updates do not divide the prompts.
    #[track_caller]
    pub fn new(prompts: usize, updates: usize) -> Leaves {
        assert!(
            updates > 0 && prompts.is_multiple_of(updates),
            "Leaves::new: {prompts} prompts for {updates} updates: expected a multiple"
        );
        Leaves { prompts, updates }
    }

    /// The leaf of group number `number`. The first group of each update comes first, then the second of each, …: so a block of leaves has as much of one update as of another.
    pub fn of(self, number: u64) -> usize {
        let place = (number % self.prompts as u64) as usize;
        let share = self.prompts / self.updates;
        place % share * self.updates + place / share
    }

    /// The leaves that rank `rank` of `size` owns: whole groups, in aligned blocks.
    ///
    /// # Panics
    /// If the ranks do not divide an update's prompts ([`Leaves::check`]).
    #[track_caller]
    pub fn owned(self, rank: usize, size: usize) -> Range<usize> {
        let share = self.prompts / self.updates;
        assert!(share.is_multiple_of(size), "Leaves::owned: {share} prompts of an update for {size} ranks: expected a multiple");
        let own = self.prompts / size;
        rank * own..(rank + 1) * own
    }

    /// The numbers of the first prompts that rank `rank` of `size` owns, ascending.
    pub fn numbers(self, rank: usize, size: usize) -> Vec<u64> {
        let own = self.owned(rank, size);
        (0..self.prompts as u64).filter(|number| own.contains(&self.of(*number))).collect()
    }

    /// Whether so many ranks can share the leaves, and add them as `reduce` says.
    ///
    /// # Errors
    /// What is wrong with their number, in words.
    pub fn check(self, size: usize, reduce: Reduce) -> std::result::Result<(), String> {
        let share = self.prompts / self.updates;
        if !share.is_multiple_of(size) {
            let updates = if self.updates == 1 { String::new() } else { format!(" / train.updates_per_step, {share},") };
            return Err(format!(
                "rollout.prompts_per_step{updates} must be a multiple of the number of ranks: got {} prompts a step for {size} ranks",
                self.prompts
            ));
        }
        if reduce == Reduce::Exact && !size.is_power_of_two() {
            return Err(format!(
                "train.reduce: \"exact\" adds the gradients of 1, 2, 4, 8, … ranks to the same bits: got {size} ranks; use another number, or train.reduce=fast"
            ));
        }
        Ok(())
    }
}

/// Adds what stands at the leaves of a range: halves first as long as its length is even, else from left to right. A leaf without anything adds nothing.
///
/// # Errors
/// The first of a leaf.
pub fn along_tree<T, E>(
    leaves: Range<usize>,
    leaf: &mut dyn FnMut(usize) -> std::result::Result<Option<T>, E>,
    add: &dyn Fn(T, T) -> T,
) -> std::result::Result<Option<T>, E> {
    let join = |a: Option<T>, b: Option<T>| match (a, b) {
        (Some(a), Some(b)) => Some(add(a, b)),
        (a, b) => a.or(b),
    };
    let length = leaves.len();
    if length > 0 && length.is_multiple_of(2) {
        let middle = leaves.start + length / 2;
        let first = along_tree(leaves.start..middle, leaf, add)?;
        let second = along_tree(middle..leaves.end, leaf, add)?;
        return Ok(join(first, second));
    }
    let mut sum = None;
    for number in leaves {
        sum = join(sum, leaf(number)?);
    }
    Ok(sum)
}

/// The gradients of `parameters` of all ranks, added. Those that no rank has stay away; a rank without any contributes zeros.
///
/// # Errors
/// Those of the device.
pub fn over_ranks(world: &World, adding: Adding, mut own: Gradients, parameters: &[(String, Tensor)]) -> Result<Gradients> {
    if world.size() == 1 && adding == Adding::Packed {
        return Ok(own);
    }
    let has: Vec<u8> = parameters.iter().map(|(_, parameter)| u8::from(own.get(parameter).is_some())).collect();
    let all = world.gather("which gradients there are", has);
    let is_there = |place: &usize| all.iter().any(|of_rank| of_rank[*place] != 0);
    let there: Vec<&Tensor> = (0..parameters.len()).filter(is_there).map(|place| &parameters[place].1).collect();
    let mut sums = Gradients::new();
    for bucket in buckets(&there) {
        let gradients: Vec<Tensor> = bucket.iter().map(|parameter| flat(own.take(parameter), parameter)).collect();
        let length: usize = gradients.iter().map(Tensor::len).sum();
        let device = gradients[0].device().clone();
        let missing = length.next_multiple_of(world.size()) - length;
        let padding = (missing > 0).then(|| Tensor::zeros(&device, &[missing], gradients[0].dtype()));
        let whole = Tensor::concat(&gradients.iter().chain(&padding).collect::<Vec<_>>(), 0);
        drop(gradients);
        let whole = match adding {
            Adding::Tree(_) => exactly(world, whole)?,
            Adding::Packed => fast(world, &whole)?,
        };
        let mut start = 0;
        for parameter in bucket {
            sums.set(parameter, &whole.slice(0, start, parameter.len()).reshape(parameter.shape()));
            start += parameter.len();
        }
    }
    Ok(sums)
}

/// Bytes of gradients that each of `size` ranks sends in an update, of parameters with so many elements each that all have gradients.
pub fn bytes_sent(lengths: &[usize], size: usize) -> u64 {
    let bucket = |bucket: &[usize]| bucket.iter().sum::<usize>().next_multiple_of(size) as u64;
    let elements: u64 = cut(lengths, |length| *length).into_iter().map(bucket).sum();
    2 * 4 * elements / size as u64 * (size as u64 - 1)
}

/// Elements that are added at once: enough that a message's start does not count, few enough that what is sent and received does not either.
const BUCKET: usize = 1 << 24;

fn buckets<'a, 'b>(parameters: &'a [&'b Tensor]) -> Vec<&'a [&'b Tensor]> {
    cut(parameters, |parameter| parameter.len())
}

/// Runs of whole items of at most [`BUCKET`] elements; an item that is larger is a run by itself.
fn cut<T>(items: &[T], length: impl Fn(&T) -> usize) -> Vec<&[T]> {
    let mut runs = Vec::new();
    let (mut start, mut elements) = (0, 0);
    for (place, item) in items.iter().enumerate() {
        if place > start && elements + length(item) > BUCKET {
            runs.push(&items[start..place]);
            (start, elements) = (place, 0);
        }
        elements += length(item);
    }
    if start < items.len() {
        runs.push(&items[start..]);
    }
    runs
}

/// `-> [elements]`
fn flat(gradient: Option<Tensor>, parameter: &Tensor) -> Tensor {
    match gradient {
        Some(gradient) => gradient.contiguous().reshape(&[parameter.len()]),
        None => Tensor::zeros(parameter.device(), &[parameter.len()], gradient_type(parameter)),
    }
}

/// Gradients of halves are f32.
fn gradient_type(parameter: &Tensor) -> DType {
    if parameter.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The sum over all ranks along the tree. The additions are those of the device, as below in the tree. `[elements] -> [elements]`
fn exactly(world: &World, whole: Tensor) -> Result<Tensor> {
    let (rank, size) = (world.rank(), world.size());
    let mut piece = whole;
    let mut distance = 1;
    while distance < size {
        let half = piece.len() / 2;
        let is_lower = rank & distance == 0;
        let (kept, given) = if is_lower { (0, half) } else { (half, 0) };
        let theirs = world.swap(rank ^ distance, bytes_of(&piece.slice(0, given, half))?);
        let own = piece.slice(0, kept, half);
        piece = own.add(&tensor_of(&own, &theirs));
        distance *= 2;
    }
    while distance > 1 {
        distance /= 2;
        let theirs = world.swap(rank ^ distance, bytes_of(&piece)?);
        let theirs = tensor_of(&piece, &theirs);
        piece = if rank & distance == 0 { Tensor::concat(&[&piece, &theirs], 0) } else { Tensor::concat(&[&theirs, &piece], 0) };
    }
    // −0 becomes 0, as it does where a rank has added zeros
    Ok(piece.add_scalar(0.0))
}

/// The sum over all ranks in whatever order. `[elements] -> [elements]`
fn fast(world: &World, whole: &Tensor) -> Result<Tensor> {
    let mut values = match whole.dtype() {
        DType::F32 => whole.to_vec::<f32>()?,
        _ => whole.to_f64_vec()?.into_iter().map(|value| value as f32).collect(),
    };
    world.sum_fast(&mut values);
    Ok(Tensor::from_f32(whole.device(), &values, whole.shape(), whole.dtype()))
}

fn bytes_of(values: &Tensor) -> Result<Vec<u8>> {
    Ok(match values.dtype() {
        DType::F64 => bytemuck::cast_slice(&values.to_vec::<f64>()?).to_vec(),
        _ => bytemuck::cast_slice(&values.to_vec::<f32>()?).to_vec(),
    })
}

/// A tensor of the type and length of `like`.
fn tensor_of(like: &Tensor, bytes: &[u8]) -> Tensor {
    match like.dtype() {
        DType::F64 => Tensor::from_slice(like.device(), &bytemuck::pod_collect_to_vec::<u8, f64>(bytes), like.shape()),
        _ => Tensor::from_slice(like.device(), &bytemuck::pod_collect_to_vec::<u8, f32>(bytes), like.shape()),
    }
}
