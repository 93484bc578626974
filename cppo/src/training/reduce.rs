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

use super::tensors::{bytes_of, tensor_of};
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
    let there: Vec<&Tensor> = present(world, &own, parameters).into_iter().map(|place| &parameters[place].1).collect();
    own.replace_flat(&there, |whole| sum_of(world, adding, &whole))?;
    Ok(own)
}

/// The places of the parameters of which any rank has a gradient, ascending.
pub(super) fn present(world: &World, own: &Gradients, parameters: &[(String, Tensor)]) -> Vec<usize> {
    let has: Vec<u8> = parameters.iter().map(|(_, parameter)| u8::from(own.get(parameter).is_some())).collect();
    let all = world.gather("which gradients there are", has);
    (0..parameters.len()).filter(|place| all.iter().any(|of_rank| of_rank[*place] != 0)).collect()
}

/// The sum over all ranks, piece by piece. `[elements] -> [elements]`
fn sum_of(world: &World, adding: Adding, whole: &Tensor) -> Result<Tensor> {
    let sum = |place: Range<usize>| {
        let piece = whole.slice(0, place.start, place.len());
        if adding == Adding::Packed {
            return fast(world, &piece);
        }
        let share = scattered(world, &piece, piece.len().div_ceil(world.size()))?;
        if world.size() == 1 {
            return Ok(share);
        }
        let all = collected(world, bytes_of(&share)?);
        Ok(tensor_of(&piece, &all[..piece.len() * piece.dtype().size_bytes()]))
    };
    let sums = pieces(whole.len()).map(sum).collect::<Result<Vec<_>>>()?;
    Ok(Tensor::concat(&sums.iter().collect::<Vec<_>>(), 0))
}

/// Bytes of gradients that each of `size` ranks sends in an update, if all of these parameters have gradients.
pub fn bytes_sent(parameters: &[&Tensor], size: usize) -> u64 {
    let rows = Gradients::flat_parameters(parameters).into_iter().map(|row| row.values.len());
    let elements: usize = rows.flat_map(pieces).map(|piece| piece.len().next_multiple_of(size)).sum();
    2 * 4 * (elements / size * (size - 1)) as u64
}

/// A row cut into what is added at once: enough that a message's start does not count, few enough that what is sent and received does not either.
pub(super) fn pieces(length: usize) -> impl Iterator<Item = Range<usize>> {
    const PIECE: usize = 1 << 24;
    (0..length).step_by(PIECE).map(move |start| start..(start + PIECE).min(length))
}

/// Which share of a piece a rank is left with by [`scattered`]: the bits of its number from behind. Of ranks that are no power of two it is its number.
pub(super) fn share_of(rank: usize, size: usize) -> usize {
    if size == 1 || !size.is_power_of_two() {
        return rank;
    }
    rank.reverse_bits() >> (usize::BITS - size.trailing_zeros())
}

/// This rank's share of the sum over all ranks: `share` elements of a piece that is filled up with zeros. Of ranks that are a power of two it is added along the tree, by additions of the device, as
/// below in the tree.
/// `[elements] -> [share]`
pub(super) fn scattered(world: &World, piece: &Tensor, share: usize) -> Result<Tensor> {
    let (rank, size) = (world.rank(), world.size());
    let padding = share * size - piece.len();
    let mut piece = match padding {
        0 => piece.clone(),
        missing => Tensor::concat(&[piece, &Tensor::zeros(piece.device(), &[missing], piece.dtype())], 0),
    };
    if !size.is_power_of_two() {
        return Ok(fast(world, &piece)?.slice(0, share_of(rank, size) * share, share));
    }
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
    // −0 becomes 0, as it does where a rank has added zeros
    Ok(piece.add_scalar(0.0))
}

/// The shares of all ranks, one behind the other, of which each is as long.
pub(super) fn collected(world: &World, own: Vec<u8>) -> Vec<u8> {
    let (rank, size) = (world.rank(), world.size());
    if !size.is_power_of_two() {
        return world.gather("the weights", own).concat();
    }
    let mut all = own;
    let mut distance = size;
    while distance > 1 {
        distance /= 2;
        let theirs = world.swap(rank ^ distance, all.clone());
        all = if rank & distance == 0 { [all, theirs].concat() } else { [theirs, all].concat() };
    }
    all
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
