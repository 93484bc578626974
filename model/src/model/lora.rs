//! LoRA (Hu et al. 2021, arXiv 2106.09685): the weight of a projection stays as it is, and the product of two narrow matrices is learnt beside it. With
//! the weight `W` and the narrow matrices `A` and `B`:
//!
//! ```text
//! y = x Wᵀ + (alpha / rank) · x Aᵀ Bᵀ        A [rank, in], B [out, rank]
//! ```
//!
//! A begins with uniform numbers between −1/√in and 1/√in, as PEFT draws them, and B with zeros, so that the model begins unchanged. Merging replaces
//! the weight by `W + (alpha / rank) · B A`.

use super::Model;
use crate::config::ModelConfig;
use crate::families;
use crate::hf::adapter::layers::Layers;
use crate::layers::lora::Adapter;
use crate::layers::weights::Weights;
use percept_engine::{Result, Tensor, no_grad, random};
use std::collections::BTreeMap;

/// Which projections get an adapter, and how large.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraConfig {
    /// Width of the low-rank product.
    pub rank: usize,
    /// The product is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Last parts of the names of linear layers of the decoder: `q_proj`, `down_proj`, ... Or [`ALL_LINEAR`](Self::ALL_LINEAR) alone: every linear layer but the head, those of vision tower and
    /// connector included.
    pub targets: Vec<String>,
    /// Of the targets, those that get none: what transformers calls them, the last parts of that, or a regular expression for all of it (`model\\.visual\\..*`), as in PEFT's `exclude_modules`.
    pub exclude: Vec<String>,
    /// Seed from which the initial values are drawn.
    pub seed: u64,
}

impl Default for LoraConfig {
    /// Rank 16 and alpha 32 on every projection of the decoder.
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"].map(String::from).to_vec();
        Self { rank: 16, alpha: 32.0, targets, exclude: Vec::new(), seed: 0 }
    }
}

impl LoraConfig {
    /// The target that is every linear layer but the head, as in PEFT.
    pub const ALL_LINEAR: &str = "all-linear";

    /// Whether the layers are chosen in words that mean something, whichever model it is.
    ///
    /// # Errors
    /// Names the field, what it may be, and what it is.
    pub fn check(&self) -> std::result::Result<(), String> {
        let known = Self::default().targets;
        let is_wrong = |(i, target): (usize, &String)| !known.contains(target) || self.targets[..i].contains(target);
        let is_all = self.targets == [Self::ALL_LINEAR];
        if !is_all && (self.targets.is_empty() || self.targets.iter().enumerate().any(is_wrong)) {
            let (known, all) = (known.join(", "), Self::ALL_LINEAR);
            return Err(format!("targets: expected {all} alone, or some of {known}, each once, got {:?}", self.targets));
        }
        self.excluded().map(drop)
    }

    fn excluded(&self) -> std::result::Result<Vec<Layers>, String> {
        let pattern = |text: &String| {
            let matching =
                Layers::matching(text).map_err(|error| format!("exclude: expected names or regular expressions, got {text} ({error})"))?;
            Ok([matching, Layers::Named(vec![text.clone()])])
        };
        Ok(self.exclude.iter().map(pattern).collect::<std::result::Result<Vec<_>, String>>()?.into_iter().flatten().collect())
    }

    /// The layers that get an adapter.
    ///
    /// # Errors
    /// What is wrong.
    fn layers(&self, config: &ModelConfig) -> std::result::Result<Vec<String>, String> {
        let family = families::of(config);
        let linears: Vec<String> = families::declared(config).linears.into_iter().map(|(name, _)| name).collect();
        let mut chosen = Vec::new();
        for target in &self.targets {
            let of_target = |name: &&String| target == Self::ALL_LINEAR || is_of_decoder(name, family.decoder, target);
            let layers: Vec<&String> = linears.iter().filter(of_target).collect();
            if layers.is_empty() {
                return Err(format!("no projection {target} in the decoder"));
            }
            chosen.extend(layers);
        }
        let excluded = self.excluded()?;
        let mut kept = Vec::new();
        for layer in chosen {
            let name = (family.module_name)(layer);
            let mut is_excluded = false;
            for layers in &excluded {
                is_excluded |= layers.contain(&name).map_err(|error| format!("exclude: expected simpler regular expressions ({error})"))?;
            }
            if !is_excluded {
                kept.push(layer.clone());
            }
        }
        match kept.is_empty() {
            true => Err(format!("{:?} without {:?} leaves no layer", self.targets, self.exclude)),
            false => Ok(kept),
        }
    }
}

impl Model {
    /// Puts adapters beside the linear layers that the configuration chooses, and stops training everything else.
    ///
    /// # Panics
    /// If there are adapters already, the rank is 0, a target names no projection of the decoder, or no layer is left.
    #[track_caller]
    pub fn add_lora(&mut self, lora: &LoraConfig) {
        let mut weights = self.weights().clone();
        assert!(weights.adapters.is_empty(), "add_lora: the model has adapters already: merge them first");
        assert!(lora.rank > 0, "add_lora: the rank must be positive");
        let layers = lora.layers(self.config()).unwrap_or_else(|problem| panic!("add_lora: {problem}"));
        for layer in layers {
            let stream = weights.adapters.len() as u64;
            let adapter = self.new_adapter(&weights.tensors[&format!("{layer}.weight")], lora, stream);
            weights.adapters.insert(layer, adapter);
        }
        for tensor in weights.tensors.values_mut() {
            *tensor = tensor.detach();
        }
        self.replace_weights(weights);
    }

    fn new_adapter(&self, weight: &Tensor, lora: &LoraConfig, stream: u64) -> Adapter {
        let (rows, columns, dtype) = (weight.dim(0), weight.dim(1), self.arithmetic_dtype());
        let bound = (columns as f32).powf(-0.5);
        let down = random::uniform(lora.seed, stream, lora.rank * columns, -bound, bound);
        Adapter {
            down: Tensor::from_f32(self.device(), &down, &[lora.rank, columns], dtype).parameter(),
            up: Tensor::zeros(self.device(), &[rows, lora.rank], dtype).parameter(),
            scale: lora.alpha / lora.rank as f64,
        }
    }

    /// Adds the adapters to the weights they stand beside, and removes them. What was frozen stays frozen.
    ///
    /// # Errors
    /// Those of the device.
    pub fn merge_lora(&mut self) -> Result<()> {
        let mut weights = self.weights().clone();
        weights.tensors = self.merged();
        weights.adapters.clear();
        self.replace_weights(weights);
        Ok(())
    }

    /// A copy to draw many tokens with: the adapters are added to the weights, so that a token takes no more products than without them. `None` if there are no adapters, and if the
    /// weights are stored as halves, which would round most of a small adapter away.
    ///
    /// # Errors
    /// Those of the device.
    pub fn merged_for_decoding(&self) -> Result<Option<Model>> {
        if !self.has_lora() || self.dtype().is_half() {
            return Ok(None);
        }
        Ok(Some(self.with_other_adapters(Weights { tensors: self.merged(), adapters: BTreeMap::new() })))
    }

    /// Whether there are adapters.
    pub fn has_lora(&self) -> bool {
        !self.weights().adapters.is_empty()
    }

    /// The model beside which the adapters stand. It shares its weights with this one and trains none of them.
    pub fn without_lora(&self) -> Model {
        let mut weights = self.weights().clone();
        weights.adapters.clear();
        for tensor in weights.tensors.values_mut() {
            *tensor = tensor.detach();
        }
        self.with_other_adapters(weights)
    }

    /// Puts adapters from outside beside the linear layers that they name. Nothing is trained from here on: neither they nor the weights.
    ///
    /// # Panics
    /// If there are adapters already, or one has no layer of its shape: both were checked by the caller.
    #[track_caller]
    pub(crate) fn put_adapters(&mut self, adapters: BTreeMap<String, Adapter>) {
        let mut weights = self.weights().clone();
        assert!(weights.adapters.is_empty(), "put_adapters: the model has adapters already");
        for (layer, adapter) in &adapters {
            let (weight, product) = (weights.tensors[&format!("{layer}.weight")].shape(), [adapter.up.dim(0), adapter.down.dim(1)]);
            assert!(weight == product, "put_adapters: {layer}: {product:?} beside {weight:?}");
        }
        weights.adapters = adapters;
        for tensor in weights.all_mut() {
            *tensor = tensor.detach();
        }
        self.replace_weights(weights);
    }

    /// The same layers around weights that differ by adapters. Pictures stay known if no adapter stands in what they go through.
    fn with_other_adapters(&self, weights: Weights) -> Model {
        let decoder = families::of(self.config()).decoder;
        match self.weights().adapters.keys().all(|layer| layer.starts_with(&format!("{decoder}."))) {
            true => self.with_weights_of_decoder(weights),
            false => self.with_weights(weights),
        }
    }

    /// Every weight by name, with the adapters added.
    fn merged(&self) -> BTreeMap<String, Tensor> {
        self.weights().tensors.keys().map(|name| (name.clone(), self.merged_weight(name))).collect()
    }

    /// The weight of this name, with its adapter added if there is one; a half is rounded once, after the sum.
    pub(crate) fn merged_weight(&self, name: &str) -> Tensor {
        let weight = &self.weights().tensors[name];
        let adapter = name.strip_suffix(".weight").and_then(|layer| self.weights().adapters.get(layer));
        let Some(adapter) = adapter else { return weight.clone() };
        let sum = no_grad(|| match weight.dtype() {
            half if half.is_half() => weight.detach().cast(self.arithmetic_dtype()).add(&adapter.product()).cast(half),
            _ => weight.detach().add(&adapter.product()),
        });
        if weight.requires_grad() { sum.detach().parameter() } else { sum.detach() }
    }
}

/// Whether `layer` is a projection `target` of the decoder.
fn is_of_decoder(layer: &str, decoder: &str, target: &str) -> bool {
    layer.starts_with(&format!("{decoder}.layers.")) && layer.rsplit('.').next() == Some(target) && target.ends_with("_proj")
}
