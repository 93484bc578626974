//! [`Model`]: pictures and tokens to hidden states, log-probabilities and logits.

mod encoded;
mod few_tokens;
pub(crate) mod lora;

use crate::config::ModelConfig;
use crate::families::family::{Family, Network};
use crate::families::{self, parameters};
use crate::image::{Grid, Patches};
use crate::layers::activations::Activations;
use crate::layers::cache::KvCache;
use crate::layers::patches::PatchBatch;
use crate::layers::scope::{Initial, Scope};
use crate::layers::weights::Weights;
use crate::packing::batch::{PackedBatch, ResponseRows};
use crate::positions::Positions;
use encoded::{EncodedPictures, Stage};
pub use few_tokens::FewTokens;
use percept_engine::ops::Segments;
use percept_engine::{DType, Device, Head, Indices, Result, RopeTable, Tensor, is_grad_enabled, no_grad, random};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A vision-language model on a device: vision tower, connector and decoder of its family, on packed tokens.
pub struct Model {
    config: ModelConfig,
    family: &'static Family,
    device: Device,
    dtype: DType,
    weights: Weights,
    activations: Activations,
    network: Network,
    head: Head,
    suppressed: Arc<[u32]>,
    encoded: Arc<EncodedPictures>,
}

impl Model {
    /// Fresh weights as transformers draws them: normal with the configuration's `initializer_range`, norms 1, biases 0. Matrices are stored in
    /// `dtype`. All are trainable.
    ///
    /// # Panics
    /// For u32, or f64 on a GPU.
    #[track_caller]
    pub fn random(config: &ModelConfig, device: &Device, seed: u64, dtype: DType) -> Model {
        assert!(dtype.is_float(), "random: weights are floats, not {dtype}");
        let mut tensors = BTreeMap::new();
        for (stream, parameter) in parameters(config).into_iter().enumerate() {
            let shape = parameter.shape;
            let dtype = stored_dtype(dtype, &shape);
            let tensor = match parameter.initial {
                Initial::Zeros => Tensor::full(device, &shape, 0.0, dtype),
                Initial::Ones => Tensor::full(device, &shape, 1.0, dtype),
                Initial::Normal(deviation) => {
                    let values = random::normal(seed, stream as u64, shape.iter().product(), deviation as f32);
                    Tensor::from_f32(device, &values, &shape, dtype)
                }
            };
            tensors.insert(parameter.name, tensor);
        }
        Model::of(config.clone(), device, dtype, tensors)
    }

    /// A model on a meta device ([`Device::meta`]), whose weights have a place and no values: to learn what it would need. Matrices are stored in `dtype`. All are trainable.
    ///
    /// # Panics
    /// On another device.
    #[track_caller]
    pub fn planned(config: &ModelConfig, device: &Device, dtype: DType) -> Model {
        assert!(device.is_meta(), "planned: expected a meta device, got {device}");
        let zeros = |shape: &[usize]| Tensor::zeros(device, shape, stored_dtype(dtype, shape));
        let tensors = parameters(config).into_iter().map(|parameter| (parameter.name, zeros(&parameter.shape))).collect();
        Model::of(config.clone(), device, dtype, tensors)
    }

    /// From tensors whose names and shapes are those of [`parameters`], all trainable.
    pub(crate) fn of(config: ModelConfig, device: &Device, dtype: DType, tensors: BTreeMap<String, Tensor>) -> Model {
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.parameter())).collect();
        Model::assemble(config, device.clone(), dtype, Weights { tensors, adapters: BTreeMap::new() }, Activations::Keep)
    }

    /// The same layers around other tensors, of which those of the vision tower and the connector are the same: pictures stay known.
    pub(crate) fn with_weights_of_decoder(&self, weights: Weights) -> Model {
        Model { encoded: self.encoded.clone(), ..self.with_weights(weights) }
    }

    fn assemble(config: ModelConfig, device: Device, dtype: DType, mut weights: Weights, activations: Activations) -> Model {
        let family = families::of(&config);
        for group in families::declared(&config).groups {
            weights.lay_in_order(&group);
        }
        let network = (family.build)(&config, &Scope::load(&weights));
        let head = Head::new(&network.decoder.head);
        Model { config, family, device, dtype, weights, activations, network, head, suppressed: Arc::default(), encoded: Arc::default() }
    }

    /// Hidden states of every token, after the final norm. `-> [tokens, hidden]`
    pub fn hidden(&self, batch: &PackedBatch) -> Tensor {
        let rope = self.rope(batch.positions());
        self.network.decoder.forward(&self.embed(batch), &rope, batch.segments(), self.activations)
    }

    /// Shows `visit` the hidden states of every token, one layer after the other: the decoder's input, what comes out of each layer but the last, and what comes out of the final norm. They
    /// are what transformers calls `hidden_states`, and never all in memory. No gradient. `visit([tokens, hidden])`
    pub fn visit_hidden(&self, batch: &PackedBatch, mut visit: impl FnMut(&Tensor)) {
        no_grad(|| {
            let rope = self.rope(batch.positions());
            self.network.decoder.visit_hidden(&self.embed(batch), &rope, batch.segments(), &mut visit);
        });
    }

    /// Log-probability of each response token and entropy of the distribution it was drawn from, in nats, logits divided by `temperature`. Never
    /// holds the logits of all tokens. Suppressed tokens have no probability. `hidden [tokens, hidden] -> (log_probs [targets], entropy [targets])`
    #[track_caller]
    pub fn log_probs(&self, hidden: &Tensor, response: &ResponseRows, temperature: f32) -> (Tensor, Tensor) {
        let count = [response.len()];
        let hidden = hidden.index_select(&Indices::new(&self.device, &response.rows, &count));
        let targets = Tensor::from_slice(&self.device, &response.targets, &count);
        hidden.linear_log_probs(&self.head, &targets, temperature)
    }

    /// Logits of some hidden states, as the weights give them: suppressed tokens have theirs. `[n, hidden] -> [n, vocab]`
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        hidden.matmul(&self.head.weight().t())
    }

    /// The decoder's input: token embeddings, and visual tokens in the place of image tokens. `-> [tokens, hidden]`
    pub fn embed(&self, batch: &PackedBatch) -> Tensor {
        let text = self.embed_tokens(batch.text_ids()); // [text tokens, hidden]
        match (batch.pictures(), batch.source()) {
            (Some(pictures), Some(source)) => Tensor::concat(&[&text, &self.image_features(pictures)], 0).index_select(source),
            _ => text,
        }
    }

    /// Pictures on the model's device, for [`image_features`](Model::image_features). `None` if there are none.
    ///
    /// # Panics
    /// If the patches of two pictures are not of the same width.
    #[track_caller]
    pub fn patch_batch<'p>(&self, pictures: impl IntoIterator<Item = &'p Patches>) -> Option<PatchBatch> {
        PatchBatch::new(pictures, &self.device, self.arithmetic_dtype())
    }

    /// Visual tokens, in order. Where no gradient is recorded, and as far as nothing is trained, what comes out is kept as long as the pictures are there and the weights stay the same: read again, a picture is not
    /// encoded again. `-> [visual tokens, hidden]`
    pub fn image_features(&self, pictures: &PatchBatch) -> Tensor {
        let Network { vision_tower: tower, connector, .. } = &self.network;
        let area = |grid: Grid| grid[0] * grid[1];
        let without_graph = |pictures: &PatchBatch| no_grad(|| tower(pictures, Activations::Keep));
        let is_tower = |name: &str| is_vision(self.family, name);
        let is_connector = |name: &str| !is_vision(self.family, name) && !is_decoder(self.family, name);
        match self.trains(is_tower) {
            true if is_grad_enabled() => {
                self.encoded.add(pictures);
                connector(&tower(pictures, self.activations), pictures)
            }
            false if self.trains(is_connector) => {
                let patches = |picture: &Patches| picture.grids().iter().map(|&grid| area(grid)).sum();
                connector(&self.encoded.of((Stage::Tower, self.version(is_tower)), pictures, patches, without_graph), pictures)
            }
            _ => {
                let tokens = |picture: &Patches| picture.grids().iter().map(|&grid| area(self.visual_grid(grid))).sum();
                let version = self.version(|name| is_tower(name) || is_connector(name));
                self.encoded.of((Stage::Connector, version), pictures, tokens, |new| no_grad(|| connector(&without_graph(new), new)))
            }
        }
    }

    /// How many pictures have gone through the vision tower since the model was made: those that were known already are not among them.
    pub fn pictures_encoded(&self) -> u64 {
        self.encoded.count()
    }

    /// The grid of visual tokens that a picture with this grid of patches becomes.
    pub fn visual_grid(&self, patches: Grid) -> Grid {
        (self.family.visual_grid)(&self.config, patches)
    }

    /// Rows of the embedding table. `ids [n] -> [n, hidden]`
    pub fn embed_tokens(&self, ids: &Indices) -> Tensor {
        self.network.decoder.embed_tokens.embedding(ids)
    }

    /// Rotations of tokens at these positions.
    pub fn rope(&self, positions: &Positions) -> RopeTable {
        (self.family.rope)(&self.config, &self.device, positions)
    }

    /// Positions of tokens that are text.
    pub fn text_positions(&self, positions: impl IntoIterator<Item = u32>) -> Positions {
        Positions::of_text(self.family.position_rows, positions)
    }

    /// An empty cache for the keys and values of `rows` tokens, stored as f32, f16 or bf16; f32 is f64 in a model of the oracle.
    ///
    /// # Panics
    /// For another type.
    #[track_caller]
    pub fn new_cache(&self, rows: usize, stored: DType) -> KvCache {
        assert!(matches!(stored, DType::F32 | DType::F16 | DType::BF16), "new_cache: expected f32, f16 or bf16, got {stored}");
        let dtype = if stored.is_half() { stored } else { self.arithmetic_dtype() };
        KvCache::new(&self.config.text, rows, &self.device, dtype)
    }

    /// Hidden states of new tokens, after the final norm, with the keys and values of earlier tokens in a cache. The new ones are written into the
    /// cache's rows `rows`; the keys of `segments` are rows of the cache. No gradient. `embeddings [tokens, hidden] -> [tokens, hidden]`
    pub fn hidden_cached(&self, embeddings: &Tensor, rope: &RopeTable, segments: &Segments, cache: &KvCache, rows: &Indices) -> Tensor {
        no_grad(|| self.network.decoder.forward_cached(&embeddings.detach(), rope, segments, cache, rows))
    }

    /// The output head; its weight `[vocab, hidden]` is the embedding table if it is tied.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// From here on these tokens, and no others, have probability 0: they are never sampled, and log-probabilities and entropies are those of the remaining ones.
    /// [`ModelFiles::tokens_never_said`](crate::ModelFiles::tokens_never_said) lists those that only a prompt may have.
    ///
    /// # Panics
    /// If one is not in the vocabulary, or none would be left.
    #[track_caller]
    pub fn suppress_tokens(&mut self, tokens: &[u32]) {
        self.head = Head::new(&self.network.decoder.head).suppressing(tokens);
        self.suppressed = tokens.into();
    }

    /// The tokens that have probability 0.
    pub fn suppressed_tokens(&self) -> &[u32] {
        &self.suppressed
    }

    /// Sizes and token ids.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The device on which the weights are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Number type in which matrices are stored. Norms and biases are f32 where matrices are halves.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Type of hidden states, and of the pixels of a batch: f32, or f64 for the oracle.
    pub fn arithmetic_dtype(&self) -> DType {
        arithmetic_dtype(self.dtype)
    }

    /// Chooses what layers keep for the backward pass.
    pub fn set_activations(&mut self, activations: Activations) {
        self.activations = activations;
    }

    /// Every weight by its Hugging Face name, in the order of the names. A tied head has none of its own. Adapters are not among them.
    pub fn parameters(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// The weights and adapters (`{layer}.lora_A.weight`, `{layer}.lora_B.weight`) that are trained, by name.
    pub fn trainable(&self) -> Vec<(String, Tensor)> {
        let weights = self.weights.tensors.iter().filter(|(_, tensor)| tensor.requires_grad());
        let mut trainable: Vec<_> = weights.map(|(name, tensor)| (name.clone(), tensor.clone())).collect();
        for (layer, adapter) in self.weights.adapters.iter().filter(|(_, adapter)| adapter.down.requires_grad()) {
            trainable.push((format!("{layer}.lora_A.weight"), adapter.down.clone()));
            trainable.push((format!("{layer}.lora_B.weight"), adapter.up.clone()));
        }
        trainable
    }

    /// Stops training the weights whose names `is_frozen` picks.
    pub fn freeze(&mut self, is_frozen: impl Fn(&str) -> bool) {
        let mut weights = self.weights.clone();
        for (name, tensor) in &mut weights.tensors {
            if is_frozen(name) {
                *tensor = tensor.detach();
            }
        }
        self.replace_weights(weights);
    }

    /// Trains every weight from here on.
    pub fn unfreeze(&mut self) {
        let mut weights = self.weights.clone();
        for tensor in weights.tensors.values_mut().filter(|tensor| !tensor.requires_grad()) {
            *tensor = tensor.parameter();
        }
        self.replace_weights(weights);
    }

    /// Lays all that is trained one behind the other in memory, to be called when it is settled what that is: an optimiser then updates it in few launches
    /// ([`Tensor::laid_in_blocks`]). Nothing else changes; tensors of the model that somebody holds from before are no longer the model's.
    pub fn lay_for_training(&mut self) {
        let mut weights = self.weights.clone();
        let declared = families::declared(&self.config);
        let names: Vec<&str> = declared.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        weights.lay_in_blocks(&names, &declared.groups);
        let encoded = self.encoded.clone();
        self.replace_weights(weights);
        self.encoded = encoded;
    }

    /// Stops training the vision tower; the connector is still trained.
    pub fn freeze_vision(&mut self) {
        let family = self.family;
        self.freeze(|name| is_vision(family, name));
    }

    /// A copy that does not change when this model is trained, and trains nothing itself: a reference policy.
    ///
    /// # Errors
    /// Those of the device.
    pub fn frozen_copy(&self) -> Result<Model> {
        let mut weights = self.weights.try_map(|tensor| converted(tensor, &self.device, tensor.dtype()))?;
        for tensor in weights.all_mut() {
            *tensor = tensor.detach();
        }
        Ok(self.assemble_like(self.device.clone(), self.dtype, weights, Activations::Keep))
    }

    /// A copy on a device with its matrices stored in `dtype`; what is trained stays trained. Goes through the host.
    ///
    /// # Errors
    /// Those of the devices.
    ///
    /// # Panics
    /// For u32, or f64 on a GPU.
    #[track_caller]
    pub fn to(&self, device: &Device, dtype: DType) -> Result<Model> {
        let weights = self.weights.try_map(|tensor| converted(tensor, device, stored_dtype(dtype, tensor.shape())))?;
        Ok(self.assemble_like(device.clone(), dtype, weights, self.activations))
    }

    pub(crate) fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Other tensors of the same names and shapes; the layers are built anew of them.
    pub(crate) fn replace_weights(&mut self, weights: Weights) {
        *self = self.with_weights(weights);
    }

    /// The same layers around other tensors.
    pub(crate) fn with_weights(&self, weights: Weights) -> Model {
        self.assemble_like(self.device.clone(), self.dtype, weights, self.activations)
    }

    fn assemble_like(&self, device: Device, dtype: DType, weights: Weights, activations: Activations) -> Model {
        let mut model = Model::assemble(self.config.clone(), device, dtype, weights, activations);
        model.suppress_tokens(&self.suppressed);
        model
    }

    /// A number that grows when a weight whose name `is_meant` picks is written, or an adapter.
    fn version(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        let weights = self.parameters().filter(|(name, _)| is_meant(name)).map(|(_, tensor)| tensor.version());
        let adapters =
            self.weights.adapters.iter().filter(|(layer, _)| is_meant(layer)).flat_map(|(_, adapter)| [&adapter.down, &adapter.up]);
        weights.chain(adapters.map(Tensor::version)).sum()
    }

    /// Whether a weight whose name `is_meant` picks is trained, or an adapter beside it.
    fn trains(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let weights = self.parameters().any(|(name, tensor)| is_meant(name) && tensor.requires_grad());
        weights || self.weights.adapters.iter().any(|(layer, adapter)| is_meant(layer) && adapter.down.requires_grad())
    }
}

/// Whether a weight is the vision tower's.
fn is_vision(family: &Family, name: &str) -> bool {
    is_within(name, family.vision) && !is_within(name, family.connector)
}

/// Whether a weight is the decoder's.
fn is_decoder(family: &Family, name: &str) -> bool {
    is_within(name, family.decoder)
}

/// Whether a weight belongs to a module.
fn is_within(name: &str, module: &str) -> bool {
    name.strip_prefix(module).is_some_and(|rest| rest.starts_with('.'))
}

fn arithmetic_dtype(dtype: DType) -> DType {
    if dtype.is_half() { DType::F32 } else { dtype }
}

/// Norms and biases take part in arithmetic as they are; only matrices may be halves.
pub(crate) fn stored_dtype(dtype: DType, shape: &[usize]) -> DType {
    if shape.len() > 1 { dtype } else { arithmetic_dtype(dtype) }
}

/// A copy, in another type rounded on the host; a parameter stays one.
pub(crate) fn converted(tensor: &Tensor, device: &Device, dtype: DType) -> Result<Tensor> {
    let copy = match (tensor.dtype(), dtype) {
        (from, to) if from == to && tensor.device() == device => tensor.deep_copy(),
        (DType::F32, DType::F32) => Tensor::from_slice(device, &tensor.to_vec::<f32>()?, tensor.shape()),
        _ => Tensor::from_f64(device, &tensor.to_f64_vec()?, tensor.shape(), dtype),
    };
    Ok(if tensor.requires_grad() { copy.parameter() } else { copy })
}
