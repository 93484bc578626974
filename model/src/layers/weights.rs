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

    /// Lays everything that is trained one behind the other in few blocks of memory: matrices first, then vectors, each in the order of `names`, which are those of all weights, and groups together.
    pub(crate) fn lay_in_blocks(&mut self, names: &[&str], groups: &[Vec<String>]) {
        let places: BTreeMap<&str, usize> = names.iter().copied().zip(0..).collect();
        // a group stands where the first of it does
        let mut keys: BTreeMap<&str, (usize, usize)> = places.iter().map(|(name, place)| (*name, (*place, 0))).collect();
        for group in groups {
            let first = group.iter().map(|name| places[name.as_str()]).min().expect("a group is not empty");
            keys.extend(group.iter().enumerate().map(|(number, name)| (name.as_str(), (first, number))));
        }
        let weights = self.tensors.iter_mut().map(|(name, tensor)| (keys[name.as_str()], tensor));
        let adapters = self.adapters.values_mut().flat_map(|adapter| [&mut adapter.down, &mut adapter.up]);
        let behind = names.len();
        let adapters = adapters.enumerate().map(|(number, tensor)| ((behind + number, 0), tensor));
        let mut trained: Vec<_> = weights.chain(adapters).filter(|(_, tensor)| tensor.requires_grad()).collect();
        trained.sort_by_key(|(key, tensor)| (tensor.rank() < 2, *key));
        let runs = trained.chunk_by(|(a, _), (b, _)| a.0 == b.0).map(|run| run.iter().map(|(_, tensor)| &**tensor).collect::<Vec<_>>());
        let laid = Tensor::laid_in_blocks(&runs.collect::<Vec<_>>());
        for ((_, tensor), laid) in trained.into_iter().zip(laid.into_iter().flatten()) {
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
