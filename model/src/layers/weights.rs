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
