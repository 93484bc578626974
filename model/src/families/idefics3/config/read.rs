//! From `config.json`, in the layouts of transformers 4.4x to 5.x.

use crate::config::{Architecture, ModelConfig, TextConfig, VisionConfig, WeightDtype};
use crate::error::ModelError;
use crate::hf::json::{self, Fields};
use serde_json::{Map, Value};
use std::path::Path;

impl ModelConfig {
    /// Reads a `config.json`.
    ///
    /// Absent keys take transformers' defaults, unknown keys are kept for saving. Errors name the field that is of
    /// the wrong type, that Percept does not support, or that does not fit the others.
    pub fn from_file(path: &Path) -> Result<Self, ModelError> {
        let map = json::read_object(path)?
            .ok_or_else(|| ModelError::Missing { path: path.to_path_buf(), needed_for: "the model's configuration" })?;
        Self::from_map(path, map)
    }

    /// Reads the text of a `config.json`; `path` is where it came from, for the errors.
    pub fn from_json(path: &Path, text: &str) -> Result<Self, ModelError> {
        Self::from_map(path, json::parse_object(path, text)?)
    }

    fn from_map(path: &Path, loaded: Map<String, Value>) -> Result<Self, ModelError> {
        let top = Fields::new(path, &loaded);
        let empty = Map::new();
        let text = top.section("text_config")?;
        let vision = top.section("vision_config")?.unwrap_or(Fields::new(path, &empty));
        let config = Self {
            architecture: read_architecture(&top)?,
            scale_factor: top.positive("scale_factor")?.unwrap_or(2),
            image_token_id: top.token_id("image_token_id")?.unwrap_or(128_257),
            tie_word_embeddings: top.flag("tie_word_embeddings")?.unwrap_or(false),
            dtype: read_dtype(&top)?,
            text: match &text {
                Some(text) => read_text_config(text)?,
                // transformers' own text defaults for Idefics3 differ from Llama's in this one value
                None => TextConfig { rms_norm_eps: 1e-5, ..read_text_config(&Fields::new(path, &empty))? },
            },
            vision: read_vision_config(&vision)?,
            loaded: Map::new(),
        };
        config.validate(path)?;
        Ok(Self { loaded, ..config })
    }

    /// Checks that the sizes fit each other; errors name the field as it is called in `path`.
    pub fn validate(&self, path: &Path) -> Result<(), ModelError> {
        let check = |holds: bool, field: &str, expected: String, got: usize| {
            if holds { Ok(()) } else { Err(ModelError::field(path, field, expected, got)) }
        };
        let (text, vision) = (&self.text, &self.vision);
        let multiple = |number: usize, of: usize| of != 0 && number.is_multiple_of(of);
        check(
            multiple(text.num_attention_heads, text.num_key_value_heads),
            "text_config.num_attention_heads",
            format!("a multiple of num_key_value_heads ({})", text.num_key_value_heads),
            text.num_attention_heads,
        )?;
        check(multiple(text.head_dim, 2), "text_config.head_dim", "an even number (rotary positions turn pairs)".into(), text.head_dim)?;
        check(
            multiple(vision.hidden_size, vision.num_attention_heads),
            "vision_config.hidden_size",
            format!("a multiple of num_attention_heads ({})", vision.num_attention_heads),
            vision.hidden_size,
        )?;
        check(
            multiple(vision.image_size, vision.patch_size),
            "vision_config.image_size",
            format!("a multiple of patch_size ({})", vision.patch_size),
            vision.image_size,
        )?;
        check(
            multiple(vision.patches_per_side(), self.scale_factor),
            "scale_factor",
            format!("a divisor of the patches per side ({})", vision.patches_per_side()),
            self.scale_factor,
        )?;
        check(
            (self.image_token_id as usize) < text.vocab_size,
            "image_token_id",
            format!("an id below text_config.vocab_size ({})", text.vocab_size),
            self.image_token_id as usize,
        )
    }
}

fn read_architecture(top: &Fields) -> Result<Architecture, ModelError> {
    const EXPECTED: &str = "Idefics3ForConditionalGeneration or SmolVLMForConditionalGeneration";
    let both = [Architecture::Idefics3, Architecture::SmolVlm];
    if let Some(classes) = top.map().get("architectures").filter(|value| !value.is_null()) {
        return both
            .into_iter()
            .find(|architecture| *classes == serde_json::json!([architecture.class_name()]))
            .ok_or_else(|| top.error("architectures", EXPECTED, classes));
    }
    let model_type = top.text("model_type")?;
    both.into_iter()
        .find(|architecture| model_type == Some(architecture.model_type()))
        .ok_or_else(|| top.error("model_type", "idefics3 or smolvlm", model_type.unwrap_or("nothing")))
}

/// `dtype` (transformers ≥ 4.56) or `torch_dtype`; absent means float32.
fn read_dtype(top: &Fields) -> Result<WeightDtype, ModelError> {
    for key in ["dtype", "torch_dtype"] {
        if let Some(name) = top.text(key)? {
            return [WeightDtype::F32, WeightDtype::F16, WeightDtype::Bf16]
                .into_iter()
                .find(|dtype| dtype.name() == name)
                .ok_or_else(|| top.error(key, "float32, float16 or bfloat16", name));
        }
    }
    Ok(WeightDtype::F32)
}

fn read_text_config(text: &Fields) -> Result<TextConfig, ModelError> {
    text.supports("model_type", "llama", |value| value == "llama")?;
    text.supports("hidden_act", "silu", |value| value == "silu")?;
    text.supports("attention_bias", "false", |value| value == false)?;
    text.supports("mlp_bias", "false", |value| value == false)?;
    let hidden_size = text.positive("hidden_size")?.unwrap_or(4096);
    let num_attention_heads = text.positive("num_attention_heads")?.unwrap_or(32);
    let head_dim = match text.positive("head_dim")? {
        Some(head_dim) => head_dim,
        None if hidden_size % num_attention_heads == 0 => hidden_size / num_attention_heads,
        None => {
            let expected = format!("a multiple of num_attention_heads ({num_attention_heads})");
            return Err(text.error("hidden_size", &expected, hidden_size));
        }
    };
    Ok(TextConfig {
        vocab_size: text.positive("vocab_size")?.unwrap_or(32_000),
        hidden_size,
        intermediate_size: text.positive("intermediate_size")?.unwrap_or(11_008),
        num_hidden_layers: text.positive("num_hidden_layers")?.unwrap_or(32),
        num_attention_heads,
        num_key_value_heads: text.positive("num_key_value_heads")?.unwrap_or(num_attention_heads),
        head_dim,
        rope_theta: read_rope_theta(text)?,
        rms_norm_eps: positive_number(text, "rms_norm_eps")?.unwrap_or(1e-6),
        max_position_embeddings: text.positive("max_position_embeddings")?.unwrap_or(2048),
        initializer_range: positive_number(text, "initializer_range")?.unwrap_or(0.02),
        bos_token_id: token_id_or(text, "bos_token_id", Some(1))?,
        eos_token_ids: match text.map().contains_key("eos_token_id") {
            true => text.token_ids("eos_token_id")?,
            false => vec![2],
        },
        pad_token_id: token_id_or(text, "pad_token_id", None)?,
    })
}

/// `rope_theta` stands in the section itself (transformers 4) or in `rope_parameters` (5), which wins as it does
/// there. Scaled rotary positions (`rope_type` other than `default`) are refused.
fn read_rope_theta(text: &Fields) -> Result<f64, ModelError> {
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = text.section(key)? else {
            continue;
        };
        for type_key in ["rope_type", "type"] {
            rope.supports(type_key, "default", |value| value == "default")?;
        }
        if let Some(theta) = positive_number(&rope, "rope_theta")? {
            return Ok(theta);
        }
    }
    Ok(positive_number(text, "rope_theta")?.unwrap_or(10_000.0))
}

fn read_vision_config(vision: &Fields) -> Result<VisionConfig, ModelError> {
    vision.supports("hidden_act", "gelu_pytorch_tanh", |value| value == "gelu_pytorch_tanh")?;
    vision.supports("num_channels", "3 (red, green, blue)", |value| value == 3)?;
    Ok(VisionConfig {
        hidden_size: vision.positive("hidden_size")?.unwrap_or(1152),
        intermediate_size: vision.positive("intermediate_size")?.unwrap_or(3072),
        num_hidden_layers: vision.positive("num_hidden_layers")?.unwrap_or(12),
        num_attention_heads: vision.positive("num_attention_heads")?.unwrap_or(16),
        num_channels: 3,
        image_size: vision.positive("image_size")?.unwrap_or(224),
        patch_size: vision.positive("patch_size")?.unwrap_or(32),
        layer_norm_eps: positive_number(vision, "layer_norm_eps")?.unwrap_or(1e-6),
        initializer_range: positive_number(vision, "initializer_range")?.unwrap_or(0.02),
    })
}

/// An absent key is `default`, an explicit `null` is none: transformers makes the same difference.
fn token_id_or(section: &Fields, name: &str, default: Option<u32>) -> Result<Option<u32>, ModelError> {
    match section.map().contains_key(name) {
        true => section.token_id(name),
        false => Ok(default),
    }
}

fn positive_number(section: &Fields, name: &str) -> Result<Option<f64>, ModelError> {
    match section.number(name)? {
        Some(number) if number <= 0.0 => Err(section.error(name, "a number above 0", number)),
        number => Ok(number),
    }
}
