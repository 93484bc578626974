//! What is known of a model before its weights are read: sizes and token ids.
//!
//! Here stands what the models of all families have. What only one family has, its vision tower above all, is a type of that family's, kept in
//! [`ModelConfig`] as [`FamilySettings`].

use percept_engine::DType;
use serde_json::{Map, Value};
use std::any::Any;
use std::sync::Arc;

/// The sizes and token ids of a vision-language model.
///
/// Keys of the file that Percept does not use are kept and written back.
#[derive(Clone, Debug)]
pub struct ModelConfig {
    /// The class under which transformers loads the model; it decides the family.
    pub architecture: Architecture,
    /// The language model.
    pub text: TextConfig,
    /// What only models of this family have.
    pub settings: FamilySettings,
    /// Id of the token that stands for a visual token; its embedding is never looked up.
    pub image_token_id: u32,
    /// Whether the head's weight is the embedding table.
    pub tie_word_embeddings: bool,
    /// Type of the weights in the checkpoint.
    pub dtype: WeightDtype,
    /// The file this was read from, empty for a preset.
    pub(crate) loaded: Map<String, Value>,
}

/// A model class of transformers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Architecture {
    /// The name in `architectures`.
    pub class_name: &'static str,
    /// The name in `model_type`.
    pub model_type: &'static str,
}

/// The settings that one family has and the others have not. Only that family looks inside.
#[derive(Clone)]
pub struct FamilySettings(Arc<dyn Any + Send + Sync>);

impl FamilySettings {
    /// Wraps the family's own type.
    pub(crate) fn new<T: Send + Sync + 'static>(settings: T) -> Self {
        Self(Arc::new(settings))
    }

    /// The family's own type again.
    ///
    /// # Panics
    /// If these are the settings of another family.
    #[track_caller]
    pub(crate) fn get<T: Send + Sync + 'static>(&self) -> &T {
        self.0.downcast_ref().unwrap_or_else(|| panic!("configuration: expected {}, got another family's", std::any::type_name::<T>()))
    }
}

impl std::fmt::Debug for FamilySettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FamilySettings")
    }
}

/// The decoder: a transformer like Llama, with grouped-query attention, rotary positions, RMSNorm and SwiGLU.
#[derive(Clone, Debug, PartialEq)]
pub struct TextConfig {
    /// Rows of the embedding table.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the SwiGLU.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Whether the projections to queries, keys and values add a bias.
    pub qkv_bias: Bias,
    /// Base wavelength of the rotary positions.
    pub rope_theta: f64,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f64,
    /// Longest sequence the model was made for, in tokens.
    pub max_position_embeddings: usize,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
    /// First token of a prompt.
    pub bos_token_id: Option<u32>,
    /// Tokens that end a response, where `generation_config.json` does not name any.
    pub eos_token_ids: Vec<u32>,
    /// Token that fills rows.
    pub pad_token_id: Option<u32>,
}

/// Whether a linear layer adds a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// It does.
    Yes,
    /// It does not.
    No,
}

/// Number type of the weights in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightDtype {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl From<WeightDtype> for DType {
    fn from(dtype: WeightDtype) -> DType {
        match dtype {
            WeightDtype::F32 => DType::F32,
            WeightDtype::F16 => DType::F16,
            WeightDtype::Bf16 => DType::BF16,
        }
    }
}

impl WeightDtype {
    /// All of them.
    pub(crate) const ALL: [WeightDtype; 3] = [Self::F32, Self::F16, Self::Bf16];

    /// The name in `dtype` and `torch_dtype`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}
