//! A model's weights by their Hugging Face names, and the adapters beside some of them.

use crate::layers::lora::Adapter;
use percept_engine::{Result, Tensor};
use std::collections::BTreeMap;
use std::ops::Deref;

/// Every weight of a model, and the adapters beside some of them.
#[derive(Clone, Default)]
pub(crate) struct Weights {
    /// The weights by name; those that require a gradient are trained.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// The adapters by the name of the linear layer they stand beside, without `.weight`.
    pub(crate) adapters: BTreeMap<String, Adapter>,
}

impl Weights {
    /// The same names with other tensors.
    pub(crate) fn try_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Weights> {
        let tensors = self.tensors.iter().map(|(name, tensor)| Ok((name.clone(), map(tensor)?)));
        let adapters = self.adapters.iter().map(|(layer, adapter)| {
            let adapter = Adapter { down: map(&adapter.down)?, up: map(&adapter.up)?, scale: adapter.scale };
            Ok((layer.clone(), adapter))
        });
        Ok(Weights { tensors: tensors.collect::<Result<_>>()?, adapters: adapters.collect::<Result<_>>()? })
    }

    /// Lays these weights one behind the other in memory, if kernels can bind them so.
    pub(crate) fn lay_in_order(&mut self, names: &[String]) {
        let tensors: Vec<&Tensor> = names.iter().map(|name| &self.tensors[name]).collect();
        let laid = Tensor::laid_in_order(&tensors);
        self.tensors.extend(names.iter().cloned().zip(laid));
    }

    /// Lays everything that is trained one behind the other in few blocks of memory: matrices first, then vectors, and groups together.
    pub(crate) fn lay_in_blocks(&mut self, groups: &[Vec<String>]) {
        let rank = |tensor: &Tensor| tensor.rank().min(2);
        let group_of = |name: &String| groups.iter().position(|group| group.contains(name));
        let mut trained: Vec<(&String, &mut Tensor)> = self.tensors.iter_mut().filter(|(_, tensor)| tensor.requires_grad()).collect();
        // a group stands where the first of it does
        let mut first = BTreeMap::new();
        for (place, (name, _)) in trained.iter().enumerate() {
            if let Some(group) = group_of(name) {
                first.entry(group).or_insert(place);
            }
        }
        let key = |place: usize, name: &String| match group_of(name) {
            Some(group) => (first[&group], groups[group].iter().position(|other| other == name)),
            None => (place, None),
        };
        let mut keyed: Vec<_> = trained.drain(..).enumerate().map(|(place, (name, tensor))| (key(place, name), tensor)).collect();
        let adapters = self.adapters.values_mut().flat_map(|adapter| [&mut adapter.down, &mut adapter.up]);
        let behind = keyed.len();
        keyed.extend(adapters.filter(|tensor| tensor.requires_grad()).enumerate().map(|(place, tensor)| ((behind + place, None), tensor)));
        keyed.sort_by_key(|(key, tensor)| (std::cmp::Reverse(rank(tensor)), *key));
        let runs: Vec<&[((usize, Option<usize>), &mut Tensor)]> = keyed.chunk_by(|(a, _), (b, _)| a.0 == b.0).collect();
        let laid = Tensor::laid_in_blocks(&runs.iter().map(|run| run.iter().map(|(_, tensor)| &**tensor).collect()).collect::<Vec<_>>());
        for ((_, tensor), laid) in keyed.into_iter().zip(laid.into_iter().flatten()) {
            *tensor = laid;
        }
    }

    /// Every tensor, the adapters' among them.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.tensors.values_mut().chain(self.adapters.values_mut().flat_map(|adapter| [&mut adapter.down, &mut adapter.up]))
    }
}

/// The tensor of a weight. A layer that was built to be recorded has none, and cannot compute.
#[derive(Clone, Default)]
pub(crate) struct Weight(Option<Tensor>);

impl From<&Tensor> for Weight {
    fn from(tensor: &Tensor) -> Self {
        Self(Some(tensor.clone()))
    }
}

impl Deref for Weight {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        self.0.as_ref().expect("a layer that was built to be recorded has no tensors")
    }
}
