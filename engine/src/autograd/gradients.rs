//! [`Gradients`]: what a backward pass returns.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use super::blocks::{Block, Home};
use super::{Edge, no_grad};
use crate::layout::Layout;
use crate::tensor::Tensor;

/// Gradients of the parameters of one or more backward passes. Those of parameters that lie in blocks ([`Tensor::laid_in_blocks`]) lie alike.
#[derive(Default)]
pub struct Gradients {
    /// Those of parameters that lie by themselves.
    loose: HashMap<u64, Tensor>,
    blocks: BTreeMap<u64, Held>,
    /// What came for parameters while somebody was still writing in its place.
    waiting: Vec<(u64, Home, Tensor)>,
}

/// A row of parameters one behind the other: those of a block, or one by itself.
#[derive(Clone)]
pub struct FlatRow {
    /// Their memory. `[elements]`
    pub values: Tensor,
    /// The number of each parameter among those that were asked for, and its elements, in their order.
    pub members: Vec<(usize, Range<usize>)>,
}

/// The gradients of a block: zeros where there is none.
struct Held {
    values: Tensor,
    /// The parameters that have a gradient, and where.
    present: BTreeMap<u64, Layout>,
    /// The parts that somebody has written, or was promised to write, while a pass runs.
    claimed: Vec<Range<usize>>,
}

impl Held {
    fn new(block: &Arc<Block>) -> Held {
        let values = no_grad(|| Tensor::zeros(&block.device, &[block.elements], block.dtype));
        Held { values, present: BTreeMap::new(), claimed: Vec::new() }
    }

    fn place(&self, layout: &Layout) -> Tensor {
        self.values.view(layout.clone())
    }

    /// Whether the part was free until now.
    fn claim(&mut self, layout: &Layout) -> bool {
        let range = layout.offset..layout.offset + layout.len();
        let is_free = self.claimed.iter().all(|other| other.end <= range.start || range.end <= other.start);
        if is_free {
            self.claimed.push(range);
        }
        is_free
    }

    fn is_at(&self, gradient: &Tensor, layout: &Layout) -> bool {
        let own = gradient.layout();
        let is_there = own.is_contiguous() && (own.offset, own.len()) == (layout.offset, layout.len());
        is_there && std::ptr::eq(gradient.storage(), self.values.storage())
    }
}

impl Gradients {
    /// No gradients yet.
    pub fn new() -> Gradients {
        Gradients::default()
    }

    /// The gradient of a parameter, in its shape; `None` if the loss does not depend on it.
    ///
    /// # Panics
    /// If the tensor is not a parameter ([`Tensor::parameter`]).
    #[track_caller]
    pub fn get(&self, parameter: &Tensor) -> Option<Tensor> {
        let id = leaf_of(parameter).id();
        let in_block = || self.blocks.values().find_map(|held| Some(held.place(held.present.get(&id)?)));
        self.loose.get(&id).cloned().or_else(in_block)
    }

    /// Takes the gradient of a parameter out.
    ///
    /// # Panics
    /// If the tensor is not a parameter.
    #[track_caller]
    pub fn take(&mut self, parameter: &Tensor) -> Option<Tensor> {
        let id = leaf_of(parameter).id();
        let in_block = || self.blocks.values_mut().find_map(|held| Some(held.values.view(held.present.remove(&id)?)));
        self.loose.remove(&id).or_else(in_block)
    }

    /// Sets the gradient of a parameter: one that was computed elsewhere.
    ///
    /// # Panics
    /// If the tensor is not a parameter, or the shapes differ.
    #[track_caller]
    pub fn set(&mut self, parameter: &Tensor, gradient: &Tensor) {
        assert!(parameter.shape() == gradient.shape(), "gradients: {:?} for a parameter {:?}", gradient.shape(), parameter.shape());
        let leaf = leaf_of(parameter);
        match leaf.home() {
            None => drop(self.loose.insert(leaf.id(), gradient.detach())),
            Some(Home { block, layout }) => {
                let held = self.held(&block);
                held.place(&layout).copy_from_(gradient);
                held.present.insert(leaf.id(), layout);
            }
        }
    }

    /// Adds the gradients of another pass (a micro-batch).
    pub fn accumulate(&mut self, other: Gradients) {
        for (id, theirs) in other.blocks {
            match self.blocks.get_mut(&id) {
                None => drop(self.blocks.insert(id, theirs)),
                Some(own) => {
                    own.values = no_grad(|| own.values.add(&theirs.values));
                    own.present.extend(theirs.present);
                }
            }
        }
        let mut loose: Vec<_> = other.loose.into_iter().collect();
        loose.sort_by_key(|(id, _)| *id);
        loose.into_iter().for_each(|(id, gradient)| self.add_loose(id, gradient));
    }

    /// Has `f` replace the gradients of these parameters, laid one behind the other in few tensors: those of each block, which other parameters may be in, too, and those
    /// of every other parameter by itself. A gradient that is not there is zeros before, and there afterwards. `f([elements]) -> [elements]`
    ///
    /// # Errors
    /// The first of `f`.
    ///
    /// # Panics
    /// If a tensor is not a parameter, or `f` changes a length.
    #[track_caller]
    pub fn replace_flat<E>(&mut self, parameters: &[&Tensor], mut f: impl FnMut(Tensor) -> Result<Tensor, E>) -> Result<(), E> {
        for run in runs(parameters) {
            let first = leaf_of(run[0]);
            let before = match first.home() {
                Some(Home { block, .. }) => self.held(&block).values.clone(),
                None => match self.loose.get(&first.id()) {
                    Some(gradient) => gradient.contiguous().reshape(&[gradient.len()]),
                    None => Tensor::zeros(run[0].device(), &[run[0].len()], run[0].dtype().of_gradients()),
                },
            };
            let after = f(before.clone())?;
            assert!(after.shape() == before.shape(), "replace_flat: {:?} in the place of {:?}", after.shape(), before.shape());
            match first.home() {
                Some(Home { block, .. }) => {
                    let held = self.held(&block);
                    held.values = after.detach();
                    held.present.extend(run.iter().map(|parameter| {
                        let leaf = leaf_of(parameter);
                        (leaf.id(), leaf.home().expect("a run of several is a block's").layout)
                    }));
                }
                None => drop(self.loose.insert(first.id(), after.detach().reshape(run[0].shape()))),
            }
        }
        Ok(())
    }

    /// Takes out the gradients of these parameters, which are all of a row of [`flat_parameters`](Gradients::flat_parameters). Where there is none are zeros. `-> [elements]`
    ///
    /// # Panics
    /// If a tensor is not a parameter, or they are not of one row.
    #[track_caller]
    pub fn take_flat(&mut self, parameters: &[&Tensor]) -> Tensor {
        let mut taken = None;
        let take = |row: Tensor| {
            taken = Some(row.clone());
            Ok::<_, std::convert::Infallible>(row)
        };
        self.replace_flat(parameters, take).unwrap_or_else(|never| match never {});
        assert!(runs(parameters).len() == 1, "take_flat: parameters of several rows");
        match leaf_of(parameters[0]).home() {
            Some(Home { block, .. }) => drop(self.blocks.remove(&block.id)),
            None => drop(self.take(parameters[0])),
        }
        taken.expect("there is a row")
    }

    /// The memory of these parameters as the rows in which [`replace_flat`](Gradients::replace_flat) has their gradients.
    ///
    /// # Panics
    /// If a tensor is not a parameter.
    #[track_caller]
    pub fn flat_parameters(parameters: &[&Tensor]) -> Vec<FlatRow> {
        let mut rows = Vec::new();
        for run in runs(parameters) {
            let number =
                |parameter: &Tensor| parameters.iter().position(|other| std::ptr::eq(*other, parameter)).expect("it is from there");
            let (values, start) = match leaf_of(run[0]).home() {
                Some(Home { block, .. }) => (run[0].view(Layout::contiguous(&[block.elements])), 0),
                None => (run[0].detach().reshape(&[run[0].len()]), run[0].layout().offset),
            };
            let place = |parameter: &Tensor| parameter.layout().offset - start..parameter.layout().offset - start + parameter.len();
            let mut members: Vec<_> = run.iter().map(|parameter| (number(parameter), place(parameter))).collect();
            members.sort_by_key(|(_, place)| place.start);
            rows.push(FlatRow { values, members });
        }
        rows
    }

    /// The number of parameters that have a gradient.
    pub fn len(&self) -> usize {
        self.loose.len() + self.blocks.values().map(|held| held.present.len()).sum::<usize>()
    }

    /// True if no parameter has a gradient.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Everything in few tensors: whole blocks, then the others in the order in which their parameters were made.
    pub(crate) fn parts(&self) -> Vec<Tensor> {
        let mut loose: Vec<_> = self.loose.iter().collect();
        loose.sort_by_key(|(id, _)| **id);
        self.blocks.values().map(|held| &held.values).chain(loose.into_iter().map(|(_, gradient)| gradient)).cloned().collect()
    }

    /// True if both tensors are the same leaf.
    #[track_caller]
    pub(crate) fn is_same_parameter(a: &Tensor, b: &Tensor) -> bool {
        leaf_of(a).id() == leaf_of(b).id()
    }

    /// Memory, still zeros, where the gradient of a parameter belongs, or that of a view of one. Whoever is given it writes that gradient there, and nobody else is given it.
    pub(super) fn place(&mut self, Home { block, layout }: Home) -> Option<Tensor> {
        let held = self.held(&block);
        held.claim(&layout).then(|| held.place(&layout))
    }

    /// Adds what arrived for a parameter.
    pub(super) fn add(&mut self, leaf: &Edge, gradient: Tensor) {
        let Some(home) = leaf.home() else { return self.add_loose(leaf.id(), gradient) };
        let held = self.held(&home.block);
        if held.is_at(&gradient, &home.layout) {
            held.present.insert(leaf.id(), home.layout);
        } else if held.present.contains_key(&leaf.id()) {
            held.place(&home.layout).add_(&gradient);
        } else if held.claim(&home.layout) {
            held.place(&home.layout).copy_from_(&gradient);
            held.present.insert(leaf.id(), home.layout);
        } else {
            self.waiting.push((leaf.id(), home, gradient));
        }
    }

    /// Puts what had to wait in its place: at the end of a pass nobody writes any more, and nobody will ask for a place.
    pub(super) fn settle(&mut self) {
        self.blocks.values_mut().for_each(|held| held.claimed.clear());
        for (id, home, gradient) in std::mem::take(&mut self.waiting) {
            let held = self.held(&home.block);
            let place = held.place(&home.layout);
            match held.present.insert(id, home.layout) {
                Some(_) => place.add_(&gradient),
                None => place.copy_from_(&gradient),
            }
        }
    }

    fn add_loose(&mut self, id: u64, gradient: Tensor) {
        let sum = match self.loose.remove(&id) {
            Some(before) => no_grad(|| before.add(&gradient)),
            None => gradient,
        };
        self.loose.insert(id, sum);
    }

    fn held(&mut self, block: &Arc<Block>) -> &mut Held {
        self.blocks.entry(block.id).or_insert_with(|| Held::new(block))
    }
}

/// Parameters by the block in which they lie, in the order of the first of each; the others one by one.
#[track_caller]
fn runs<'a>(parameters: &[&'a Tensor]) -> Vec<Vec<&'a Tensor>> {
    let mut runs: Vec<(Option<u64>, Vec<&Tensor>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for &parameter in parameters {
        let leaf = leaf_of(parameter);
        assert!(seen.insert(leaf.id()), "gradients: the parameter {:?} stands twice", parameter.shape());
        let block = leaf.home().map(|home| home.block.id);
        match runs.iter_mut().find(|(of, _)| block.is_some() && *of == block) {
            Some((_, run)) => run.push(parameter),
            None => runs.push((block, vec![parameter])),
        }
    }
    runs.into_iter().map(|(_, run)| run).collect()
}

#[track_caller]
fn leaf_of(parameter: &Tensor) -> &Edge {
    match parameter.edge() {
        Some(edge) if edge.is_leaf() => edge,
        _ => panic!("gradients: the tensor {:?} is not a parameter; make it one with .parameter()", parameter.shape()),
    }
}
