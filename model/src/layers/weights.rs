//! A model's weights by their Hugging Face names, and the parts that layers are built from: [`Linear`], [`LayerNorm`], [`RmsNorm`].

use crate::model::lora::Adapter;
use percept_engine::{Result, Tensor};
use std::collections::BTreeMap;
use std::fmt::Display;

/// Every weight of a model, and the adapters beside some of them.
#[derive(Clone, Default)]
pub(crate) struct Weights {
    /// By name; what requires a gradient is trained.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// By the name of the linear layer: `model.text_model.layers.0.self_attn.q_proj`.
    pub(crate) adapters: BTreeMap<String, Adapter>,
}

impl Weights {
    /// The weights whose names begin with `prefix` and a dot.
    pub(crate) fn at(&self, prefix: impl Display) -> Scope<'_> {
        Scope { weights: self, prefix: prefix.to_string() }
    }

    /// The same names with other tensors.
    pub(crate) fn try_map(&self, map: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Weights> {
        let tensors = self.tensors.iter().map(|(name, tensor)| Ok((name.clone(), map(tensor)?)));
        let adapters = self.adapters.iter().map(|(layer, adapter)| {
            let adapter = Adapter { down: map(&adapter.down)?, up: map(&adapter.up)?, scale: adapter.scale };
            Ok((layer.clone(), adapter))
        });
        Ok(Weights { tensors: tensors.collect::<Result<_>>()?, adapters: adapters.collect::<Result<_>>()? })
    }

    /// Every tensor, the adapters' among them.
    pub(crate) fn all_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.tensors.values_mut().chain(self.adapters.values_mut().flat_map(|adapter| [&mut adapter.down, &mut adapter.up]))
    }
}

/// The weights of one module.
pub(crate) struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    /// A module within this one.
    pub(crate) fn at(&self, name: impl Display) -> Self {
        Self { weights: self.weights, prefix: format!("{}.{name}", self.prefix) }
    }

    /// A tensor of this module. The names were checked when the model was made: one that is absent is a mistake in the model's code.
    pub(crate) fn tensor(&self, name: &str) -> Tensor {
        self.find(name).unwrap_or_else(|| panic!("model: no weight {}.{name}", self.prefix))
    }

    fn find(&self, name: &str) -> Option<Tensor> {
        self.weights.tensors.get(&format!("{}.{name}", self.prefix)).cloned()
    }

    /// A linear layer, with a bias and an adapter if there are any.
    pub(crate) fn linear(&self, name: &str) -> Linear {
        let module = self.at(name);
        let adapter = self.weights.adapters.get(&module.prefix).cloned();
        Linear { weight: module.tensor("weight"), bias: module.find("bias"), adapter }
    }

    pub(crate) fn layer_norm(&self, name: &str, eps: f64) -> LayerNorm {
        let module = self.at(name);
        LayerNorm { weight: module.tensor("weight"), bias: module.tensor("bias"), eps: eps as f32 }
    }

    pub(crate) fn rms_norm(&self, name: &str, eps: f64) -> RmsNorm {
        RmsNorm { weight: self.at(name).tensor("weight"), eps: eps as f32 }
    }
}

/// `x Wᵀ + b`, plus the adapter's low-rank product. `[tokens, in] -> [tokens, out]`
#[derive(Clone)]
pub(crate) struct Linear {
    /// `[out, ..]`; what follows the first axis is `in`, row-major (the patch embedding is stored as a convolution).
    weight: Tensor,
    bias: Option<Tensor>,
    adapter: Option<Adapter>,
}

impl Linear {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let out = self.weight.dim(0);
        let weight = self.weight.reshape(&[out, self.weight.len() / out]);
        let mut y = x.matmul(&weight.t());
        if let Some(bias) = &self.bias {
            y = y.add(bias);
        }
        if let Some(adapter) = &self.adapter {
            y = y.add(&adapter.forward(x));
        }
        y
    }
}

/// Mean 0 and variance 1 along the last axis, then an affine map. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.layer_norm(&self.weight, &self.bias, self.eps)
    }
}

/// Mean square 1 along the last axis, then a scale. `[tokens, hidden] -> [tokens, hidden]`
#[derive(Clone)]
pub(crate) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        x.rms_norm(&self.weight, self.eps)
    }
}
