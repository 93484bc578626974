//! The sizes that only this family has, and its `config.json`.
//!
//! Reads what transformers 4.4x, 4.5x and 5.x write, with the defaults those have for absent keys (`Idefics3Config`, `LlamaConfig`), and writes one
//! layout that all of them load.

mod presets;
mod read;
mod write;

pub(super) use read::{read, validate};
pub(super) use write::write;

use crate::config::{Architecture, FamilySettings, ModelConfig};

/// SmolVLM-256M, SmolVLM-500M and Idefics3 itself.
pub const IDEFICS3: Architecture = Architecture { class_name: "Idefics3ForConditionalGeneration", model_type: "idefics3" };

/// SmolVLM2.
pub const SMOLVLM: Architecture = Architecture { class_name: "SmolVLMForConditionalGeneration", model_type: "smolvlm" };

/// What this family's configuration has beside the decoder's sizes.
#[derive(Clone, Debug, PartialEq)]
pub struct Idefics3 {
    /// The vision tower.
    pub vision: VisionConfig,
    /// Pixel-shuffle factor of the connector: `scale_factor`² neighbouring patches become one visual token.
    pub scale_factor: usize,
}

impl Idefics3 {
    /// The part of a configuration that is this family's.
    ///
    /// # Panics
    /// If the model is of another family.
    #[track_caller]
    pub fn of(config: &ModelConfig) -> &Self {
        config.settings.get()
    }

    /// Changes that part.
    ///
    /// # Panics
    /// As [`of`](Idefics3::of).
    #[track_caller]
    pub fn change(config: &mut ModelConfig, change: impl FnOnce(&mut Self)) {
        let mut own = Self::of(config).clone();
        change(&mut own);
        config.settings = own.into_settings();
    }

    /// These sizes as part of a configuration.
    pub(super) fn into_settings(self) -> FamilySettings {
        FamilySettings::new(self)
    }

    /// Visual tokens of one picture or tile: `(image_size / patch_size / scale_factor)²`.
    pub fn image_seq_len(&self) -> usize {
        (self.vision.patches_per_side() / self.scale_factor).pow(2)
    }

    /// Width of a pixel-shuffled vector, the connector's input: vision hidden × `scale_factor`².
    pub fn connector_in_features(&self) -> usize {
        self.vision.hidden_size * self.scale_factor.pow(2)
    }
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
    /// Side of a patch, pixels. What patches leave over at the right and at the bottom of a tile is not seen.
    pub patch_size: usize,
    /// Added to the variance in LayerNorm.
    pub layer_norm_eps: f64,
    /// Standard deviation of freshly drawn weights.
    pub initializer_range: f64,
}

impl VisionConfig {
    /// Patches along one side of a picture, rounded down as in a convolution without padding.
    pub fn patches_per_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Width of an attention head.
    pub fn head_dim(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}
