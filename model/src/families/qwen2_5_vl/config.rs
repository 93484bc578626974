//! The sizes that only this family has, and its `config.json`, in both layouts: that of the published files, where the decoder's keys stand at the top,
//! and that of transformers ≥ 4.52, where they stand in `text_config`.

use crate::config::{Architecture, Bias, FamilySettings, ModelConfig, TextConfig, WeightDtype};
use crate::error::ModelError;
use crate::families::limits::{MAX_EDGE, MAX_LAYERS, MAX_POSITIONS, MAX_VOCAB, MAX_WIDTH};
use crate::hf::json::Fields;
use serde_json::{Map, Value};
use std::path::Path;

/// Qwen2.5-VL-3B, -7B, -32B and -72B.
pub const QWEN2_5_VL: Architecture = Architecture { class_name: "Qwen2_5_VLForConditionalGeneration", model_type: "qwen2_5_vl" };

/// What this family's configuration has beside the decoder's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Qwen25Vl {
    /// The vision tower.
    pub vision: VisionConfig,
    /// Rotary angles of a head that turn by time, by height and by width; together half the head's width.
    pub mrope_section: [usize; 3],
}

impl Qwen25Vl {
    /// The part of a configuration that is this family's.
    ///
    /// # Panics
    /// If the model is of another family.
    #[track_caller]
    pub fn of(config: &ModelConfig) -> &Self {
        config.settings.get()
    }
}

/// The vision tower: a transformer with RMSNorm, SwiGLU and rotary positions along height and width.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// Layers.
    pub depth: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the SwiGLU.
    pub intermediate_size: usize,
    /// Attention heads; divides `hidden_size`.
    pub num_heads: usize,
    /// Side of a patch, pixels.
    pub patch_size: usize,
    /// Frames of a patch. A picture is the same frame so many times.
    pub temporal_patch_size: usize,
    /// Patches along one side of a visual token.
    pub spatial_merge_size: usize,
    /// Side of the windows in which most layers look, pixels.
    pub window_size: usize,
    /// Numbers of the layers that look at the whole picture.
    pub fullatt_block_indexes: Vec<usize>,
    /// Base wavelength of the rotary positions.
    pub rope_theta: f64,
}

impl VisionConfig {
    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_heads
    }

    /// Visual tokens along one side of a window.
    pub fn window_side(&self) -> usize {
        self.window_size / self.spatial_merge_size / self.patch_size
    }

    /// Pixels along one side of a visual token: the sides of pictures are multiples of it.
    pub fn factor(&self) -> usize {
        self.patch_size * self.spatial_merge_size
    }
}

/// A configuration from a file; its number type is read elsewhere.
pub(super) fn read(architecture: Architecture, top: &Fields) -> Result<ModelConfig, ModelError> {
    let empty = Map::new();
    let vision = top.section("vision_config")?.unwrap_or(Fields::new(top.path(), &empty));
    let nested = top.section("text_config")?;
    let text = nested.as_ref().unwrap_or(top);
    let is_tied = |fields: &Fields| Ok::<_, ModelError>(fields.flag("tie_word_embeddings")?.unwrap_or(false));
    let config = read_text(text)?;
    let out = vision.size("out_hidden_size", MAX_WIDTH)?.unwrap_or(3584);
    if out != config.hidden_size {
        return Err(vision.error("out_hidden_size", &format!("{} (hidden_size of the decoder)", config.hidden_size), out));
    }
    Ok(ModelConfig {
        architecture,
        image_token_id: top.token_id("image_token_id")?.unwrap_or(151_655),
        tie_word_embeddings: is_tied(top)? || is_tied(text)?,
        settings: FamilySettings::new(Qwen25Vl { vision: read_vision(&vision)?, mrope_section: read_rope(text)?.1 }),
        text: config,
        dtype: WeightDtype::F32,
        loaded: Map::new(),
    })
}

/// Every configuration of this family comes from a file, whose layout stays as it is; no size of it is ever changed.
pub(super) fn write(config: &ModelConfig, top: &mut Map<String, Value>) {
    debug_assert!(!config.loaded.is_empty(), "a configuration without a file");
    if let Some(Value::Object(text)) = top.get_mut("text_config") {
        // transformers asks the section, too
        for key in ["dtype", "torch_dtype"] {
            text.entry(key).and_modify(|value| *value = config.dtype.name().into());
        }
    }
}

/// Checks that the sizes fit each other.
pub(super) fn validate(config: &ModelConfig, path: &Path) -> Result<(), ModelError> {
    let section = if config.loaded.contains_key("text_config") { "text_config." } else { "" };
    let check = |holds: bool, field: &str, expected: String, got: &dyn ToString| match holds {
        true => Ok(()),
        false => Err(ModelError::field(path, field, expected, got.to_string())),
    };
    let (text, own) = (&config.text, Qwen25Vl::of(config));
    let vision = &own.vision;
    let of_text = |name: &str| format!("{section}{name}");
    check(
        text.num_attention_heads.is_multiple_of(text.num_key_value_heads),
        &of_text("num_attention_heads"),
        format!("a multiple of num_key_value_heads ({})", text.num_key_value_heads),
        &text.num_attention_heads,
    )?;
    check(
        2 * own.mrope_section.iter().sum::<usize>() == text.head_dim,
        &of_text("rope_parameters.mrope_section"),
        format!("three numbers with the sum {} (half a head)", text.head_dim / 2),
        &format!("{:?}", own.mrope_section),
    )?;
    check(
        vision.hidden_size.is_multiple_of(4 * vision.num_heads),
        "vision_config.hidden_size",
        format!("a multiple of 4 · num_heads ({}): angles of height and width turn pairs", vision.num_heads),
        &vision.hidden_size,
    )?;
    check(
        vision.window_side() > 0,
        "vision_config.window_size",
        format!("at least the side of a visual token ({})", vision.factor()),
        &vision.window_size,
    )?;
    check(
        vision.fullatt_block_indexes.iter().all(|&layer| layer < vision.depth),
        "vision_config.fullatt_block_indexes",
        format!("numbers of layers below depth ({})", vision.depth),
        &format!("{:?}", vision.fullatt_block_indexes),
    )?;
    check(
        (config.image_token_id as usize) < text.vocab_size,
        "image_token_id",
        format!("an id below vocab_size ({})", text.vocab_size),
        &config.image_token_id,
    )
}

fn read_text(text: &Fields) -> Result<TextConfig, ModelError> {
    text.supports("hidden_act", "silu", |value| value == "silu")?;
    text.supports("use_sliding_window", "false", |value| value == false)?;
    let is_full = |value: &Value| value.as_array().is_some_and(|layers| layers.iter().all(|layer| layer == "full_attention"));
    text.supports("layer_types", "full_attention for every layer", is_full)?;
    let hidden_size = text.size("hidden_size", MAX_WIDTH)?.unwrap_or(8192);
    let num_attention_heads = text.size("num_attention_heads", MAX_WIDTH)?.unwrap_or(64);
    if !hidden_size.is_multiple_of(2 * num_attention_heads) {
        let expected = format!("a multiple of 2 · num_attention_heads ({num_attention_heads})");
        return Err(text.error("hidden_size", &expected, hidden_size));
    }
    Ok(TextConfig {
        vocab_size: text.size("vocab_size", MAX_VOCAB)?.unwrap_or(152_064),
        hidden_size,
        intermediate_size: text.size("intermediate_size", MAX_WIDTH)?.unwrap_or(29_568),
        num_hidden_layers: text.size("num_hidden_layers", MAX_LAYERS)?.unwrap_or(80),
        num_attention_heads,
        num_key_value_heads: match text.map().contains_key("num_key_value_heads") {
            true => text.size("num_key_value_heads", MAX_WIDTH)?.unwrap_or(num_attention_heads),
            false => 8,
        },
        head_dim: hidden_size / num_attention_heads,
        qkv_bias: Bias::Yes,
        rope_theta: read_rope(text)?.0,
        rms_norm_eps: text.positive_number("rms_norm_eps")?.unwrap_or(1e-5),
        max_position_embeddings: text.size("max_position_embeddings", MAX_POSITIONS)?.unwrap_or(32_768),
        initializer_range: text.positive_number("initializer_range")?.unwrap_or(0.02),
        bos_token_id: text.token_id("bos_token_id")?,
        eos_token_ids: text.token_ids("eos_token_id")?,
        pad_token_id: text.token_id("pad_token_id")?,
    })
}

/// Base wavelength and sections. They stand in `rope_parameters` (transformers 5), or in `rope_scaling` with the wavelength beside it (4).
fn read_rope(text: &Fields) -> Result<(f64, [usize; 3]), ModelError> {
    let (mut theta, mut sections) = (text.positive_number("rope_theta")?, None);
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(rope) = text.section(key)? else { continue };
        for type_key in ["rope_type", "type"] {
            rope.supports(type_key, "mrope or default", |value| value == "mrope" || value == "default")?;
        }
        theta = rope.positive_number("rope_theta")?.or(theta);
        let expected = "three whole numbers";
        if let Some(value) = rope.map().get("mrope_section").filter(|value| !value.is_null()) {
            let numbers: Option<Vec<usize>> = value.as_array().and_then(|numbers| {
                numbers.iter().map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n <= MAX_WIDTH)).collect()
            });
            let three = numbers.and_then(|numbers| <[usize; 3]>::try_from(numbers).ok());
            sections = Some(three.ok_or_else(|| rope.error("mrope_section", expected, value))?);
        }
    }
    Ok((theta.unwrap_or(1e6), sections.unwrap_or([16, 24, 24])))
}

fn read_vision(vision: &Fields) -> Result<VisionConfig, ModelError> {
    vision.supports("hidden_act", "silu", |value| value == "silu")?;
    for key in ["in_channels", "in_chans"] {
        vision.supports(key, "3 (red, green, blue)", |value| value == 3)?;
    }
    let theta = match vision.section("rope_parameters")? {
        Some(rope) => rope.positive_number("rope_theta")?,
        None => None,
    };
    // without the key the default list, not none: a tower of windows alone reads text badly, and no test of logits would tell
    let full = match vision.map().get("fullatt_block_indexes") {
        None | Some(Value::Null) => vec![7, 15, 23, 31],
        Some(value) => {
            let layers =
                value.as_array().and_then(|layers| layers.iter().map(|layer| layer.as_u64().map(|layer| layer as usize)).collect());
            layers.ok_or_else(|| vision.error("fullatt_block_indexes", "a list of whole numbers", value))?
        }
    };
    Ok(VisionConfig {
        depth: vision.size("depth", MAX_LAYERS)?.unwrap_or(32),
        hidden_size: vision.size("hidden_size", MAX_WIDTH)?.unwrap_or(3584),
        intermediate_size: vision.size("intermediate_size", MAX_WIDTH)?.unwrap_or(3420),
        num_heads: vision.size("num_heads", MAX_WIDTH)?.unwrap_or(16),
        patch_size: vision.size("patch_size", MAX_EDGE)?.unwrap_or(14),
        temporal_patch_size: vision.size("temporal_patch_size", MAX_EDGE)?.unwrap_or(2),
        spatial_merge_size: vision.size("spatial_merge_size", MAX_EDGE)?.unwrap_or(2),
        window_size: vision.size("window_size", MAX_WIDTH)?.unwrap_or(112),
        fullatt_block_indexes: full,
        rope_theta: theta.unwrap_or(10_000.0),
    })
}
