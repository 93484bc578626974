//! From `config.json`, in the layouts of transformers 4.4x to 5.x.

use super::{Idefics3, VisionConfig};
use crate::config::{Architecture, Bias, ModelConfig, TextConfig, WeightDtype};
use crate::error::ModelError;
use crate::families::limits::{MAX_EDGE, MAX_LAYERS, MAX_POSITIONS, MAX_VOCAB, MAX_WIDTH};
use crate::hf::json::Fields;
use serde_json::Map;
use std::path::Path;

/// A configuration from a file; its number type is read elsewhere.
pub(crate) fn read(architecture: Architecture, top: &Fields) -> Result<ModelConfig, ModelError> {
    let empty = Map::new();
    let text = top.section("text_config")?;
    let vision = top.section("vision_config")?.unwrap_or(Fields::new(top.path(), &empty));
    Ok(ModelConfig {
        architecture,
        image_token_id: top.token_id("image_token_id")?.unwrap_or(128_257),
        tie_word_embeddings: top.flag("tie_word_embeddings")?.unwrap_or(false),
        text: match &text {
            Some(text) => read_text_config(text)?,
            // transformers' own text defaults for Idefics3 differ from Llama's in this one value
            None => TextConfig { rms_norm_eps: 1e-5, ..read_text_config(&Fields::new(top.path(), &empty))? },
        },
        settings: Idefics3 { scale_factor: top.size("scale_factor", MAX_EDGE)?.unwrap_or(2), vision: read_vision_config(&vision)? }
            .into_settings(),
        dtype: WeightDtype::F32,
        loaded: Map::new(),
    })
}

/// Visual tokens of a tile.
const MAX_IMAGE_TOKENS: usize = 1 << 14;

/// Checks that the sizes fit each other; errors name the field as it is called in `path`.
pub(crate) fn validate(config: &ModelConfig, path: &Path) -> Result<(), ModelError> {
    let check = |holds: bool, field: &str, expected: String, got: usize| {
        if holds { Ok(()) } else { Err(ModelError::field(path, field, expected, got)) }
    };
    let (text, own) = (&config.text, Idefics3::of(config));
    let vision = &own.vision;
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
        vision.image_size >= vision.patch_size,
        "vision_config.image_size",
        format!("at least patch_size ({})", vision.patch_size),
        vision.image_size,
    )?;
    check(
        multiple(vision.patches_per_side(), own.scale_factor),
        "scale_factor",
        format!("a divisor of the patches per side ({})", vision.patches_per_side()),
        own.scale_factor,
    )?;
    check(
        own.image_seq_len() <= MAX_IMAGE_TOKENS,
        "scale_factor",
        format!("one that leaves at most {MAX_IMAGE_TOKENS} visual tokens of a tile"),
        own.scale_factor,
    )?;
    check(
        text.num_attention_heads * text.head_dim <= MAX_WIDTH,
        "text_config.head_dim",
        format!("a number that times num_attention_heads is at most {MAX_WIDTH}"),
        text.head_dim,
    )?;
    check(
        (config.image_token_id as usize) < text.vocab_size,
        "image_token_id",
        format!("an id below text_config.vocab_size ({})", text.vocab_size),
        config.image_token_id as usize,
    )
}

fn read_text_config(text: &Fields) -> Result<TextConfig, ModelError> {
    text.supports("model_type", "llama", |value| value == "llama")?;
    text.supports("hidden_act", "silu", |value| value == "silu")?;
    text.supports("attention_bias", "false", |value| value == false)?;
    text.supports("mlp_bias", "false", |value| value == false)?;
    let hidden_size = text.size("hidden_size", MAX_WIDTH)?.unwrap_or(4096);
    let num_attention_heads = text.size("num_attention_heads", MAX_WIDTH)?.unwrap_or(32);
    let head_dim = match text.size("head_dim", MAX_WIDTH)? {
        Some(head_dim) => head_dim,
        None if hidden_size % num_attention_heads == 0 => hidden_size / num_attention_heads,
        None => {
            let expected = format!("a multiple of num_attention_heads ({num_attention_heads})");
            return Err(text.error("hidden_size", &expected, hidden_size));
        }
    };
    Ok(TextConfig {
        vocab_size: text.size("vocab_size", MAX_VOCAB)?.unwrap_or(32_000),
        hidden_size,
        intermediate_size: text.size("intermediate_size", MAX_WIDTH)?.unwrap_or(11_008),
        num_hidden_layers: text.size("num_hidden_layers", MAX_LAYERS)?.unwrap_or(32),
        num_attention_heads,
        num_key_value_heads: text.size("num_key_value_heads", MAX_WIDTH)?.unwrap_or(num_attention_heads),
        head_dim,
        qkv_bias: Bias::No,
        rope_theta: read_rope_theta(text)?,
        rms_norm_eps: text.positive_number("rms_norm_eps")?.unwrap_or(1e-6),
        max_position_embeddings: text.size("max_position_embeddings", MAX_POSITIONS)?.unwrap_or(2048),
        initializer_range: text.positive_number("initializer_range")?.unwrap_or(0.02),
        bos_token_id: text.token_id_or("bos_token_id", Some(1))?,
        eos_token_ids: match text.map().contains_key("eos_token_id") {
            true => text.token_ids("eos_token_id")?,
            false => vec![2],
        },
        pad_token_id: text.token_id_or("pad_token_id", None)?,
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
        if let Some(theta) = rope.positive_number("rope_theta")? {
            return Ok(theta);
        }
    }
    Ok(text.positive_number("rope_theta")?.unwrap_or(10_000.0))
}

fn read_vision_config(vision: &Fields) -> Result<VisionConfig, ModelError> {
    vision.supports("hidden_act", "gelu_pytorch_tanh", |value| value == "gelu_pytorch_tanh")?;
    vision.supports("num_channels", "3 (red, green, blue)", |value| value == 3)?;
    Ok(VisionConfig {
        hidden_size: vision.size("hidden_size", MAX_WIDTH)?.unwrap_or(1152),
        intermediate_size: vision.size("intermediate_size", MAX_WIDTH)?.unwrap_or(3072),
        num_hidden_layers: vision.size("num_hidden_layers", MAX_LAYERS)?.unwrap_or(12),
        num_attention_heads: vision.size("num_attention_heads", MAX_WIDTH)?.unwrap_or(16),
        num_channels: 3,
        image_size: vision.size("image_size", MAX_EDGE)?.unwrap_or(224),
        patch_size: vision.size("patch_size", MAX_EDGE)?.unwrap_or(32),
        layer_norm_eps: vision.positive_number("layer_norm_eps")?.unwrap_or(1e-6),
        initializer_range: vision.positive_number("initializer_range")?.unwrap_or(0.02),
    })
}
