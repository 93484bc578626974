//! `config.json`: the sizes of a SmolVLM/Idefics3 model.
//!
//! Reads what transformers 4.4x, 4.5x and 5.x write, with the defaults those have for absent keys
//! (`Idefics3Config`, `LlamaConfig`), and writes one layout that all of them load.

use serde_json::{Map, Value};

/// The sizes and token ids of a vision-language model: vision tower, connector and text decoder.
///
/// Keys of the file that Percept does not use are kept and written back.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The class name under which transformers loads the model.
    pub architecture: Architecture,
    /// The language model.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Pixel-shuffle factor of the connector: `scale_factor`² neighbouring patches become one visual token.
    pub scale_factor: usize,
    /// Id of `<image>`, whose embeddings are replaced by the visual tokens.
    pub image_token_id: u32,
    /// Whether the head's weight is the embedding table.
    pub tie_word_embeddings: bool,
    /// Type of the weights in the checkpoint.
    pub dtype: WeightDtype,
    /// The file this was read from, empty for a preset.
    pub(crate) loaded: Map<String, Value>,
}

impl ModelConfig {
    /// Visual tokens of one picture or tile: `(image_size / patch_size / scale_factor)²`.
    pub fn image_seq_len(&self) -> usize {
        (self.vision.patches_per_side() / self.scale_factor).pow(2)
    }

    /// Width of a pixel-shuffled vector, the connector's input: vision hidden × `scale_factor`².
    pub fn connector_in_features(&self) -> usize {
        self.vision.hidden_size * self.scale_factor.pow(2)
    }
}

/// The class names Percept reads; their computation is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// `Idefics3ForConditionalGeneration` (SmolVLM-256M, SmolVLM-500M).
    Idefics3,
    /// `SmolVLMForConditionalGeneration` (SmolVLM2).
    SmolVlm,
}

impl Architecture {
    /// The name in `architectures`.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Idefics3 => "Idefics3ForConditionalGeneration",
            Self::SmolVlm => "SmolVLMForConditionalGeneration",
        }
    }

    /// The name in `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Idefics3 => "idefics3",
            Self::SmolVlm => "smolvlm",
        }
    }
}

/// The decoder: Llama with grouped-query attention, rotary positions, RMSNorm and SwiGLU.
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

/// The vision tower: SigLIP's ViT with learned positions and tanh GELU.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the MLP.
    pub intermediate_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Colour channels of a picture.
    pub num_channels: usize,
    /// Side of a picture or tile, pixels.
    pub image_size: usize,
    /// Side of a patch, pixels; divides `image_size`.
    pub patch_size: usize,
    /// Added to the variance in LayerNorm.
    pub layer_norm_eps: f64,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
}

impl VisionConfig {
    /// Patches along one side of a picture.
    pub fn patches_per_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
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

impl WeightDtype {
    /// The name in `dtype` and `torch_dtype`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }
}
