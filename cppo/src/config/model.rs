//! The section `model`: which checkpoint, and which part of it is trained.

use std::path::PathBuf;

use percept_model::LoraConfig;
use serde::{Deserialize, Serialize};

/// The starting checkpoint, and which part of it is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelConfig {
    /// A Hugging Face directory, a run (its best checkpoint, else the last), or the directory of a PEFT adapter, which is merged. Default `assets/tiny-vlm`.
    pub path: PathBuf,
    /// How matrices are kept in memory: `float32` or `as_stored`. The latter halves the memory of a checkpoint in bf16 or f16. Arithmetic is in f32
    /// either way, but 16-bit weights lose small updates to rounding, so use `as_stored` together with `lora`. Default `float32`.
    pub precision: WeightPrecision,
    /// Cut large pictures into tiles: more detail, up to seventeen times the tokens. Default: what the checkpoint's preprocessor says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub do_image_splitting: Option<bool>,
    /// Text added after every question, on a line of its own. It tells a pretrained model which form of answer is rewarded.
    /// Default: none.
    pub instruction: String,
    /// Do not train the vision tower. Default false.
    pub freeze_vision: bool,
    /// Keep only the inputs of the layers and compute the rest again in the backward pass: less memory, a third more time. Default false.
    pub gradient_checkpointing: bool,
    /// Train low-rank adapters instead of the weights. The reference policy is then the checkpoint itself, without a copy. What is saved is the merged model, and in `adapter/` the
    /// adapters as PEFT has them.
    /// Default: none, all weights are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraSection>,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            path: "assets/tiny-vlm".into(),
            precision: WeightPrecision::Float32,
            do_image_splitting: None,
            instruction: String::new(),
            freeze_vision: false,
            gradient_checkpointing: false,
            lora: None,
        }
    }
}

/// How matrices are kept in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightPrecision {
    /// As f32.
    Float32,
    /// As in the file.
    AsStored,
}

/// Low-rank adapters (LoRA, arXiv 2106.09685) on projections of the decoder, or on every linear layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraSection {
    /// Width of the low-rank product (r), at least 1. Default 16.
    pub rank: usize,
    /// The product is scaled by `alpha / rank`. Default 32.
    pub alpha: f64,
    /// Projections of the decoder that get an adapter, in every layer. `["all-linear"]`: every linear layer but the head, vision tower and connector included, as in PEFT.
    /// Default: all seven projections, `q_proj` to `down_proj`.
    pub targets: Vec<String>,
    /// Of the targets, layers that get none: names as in transformers, last parts of names, or regular expressions for whole names (`model\\.visual\\..*` is the vision tower of Qwen2.5-VL).
    /// Default: none.
    pub exclude: Vec<String>,
}

impl Default for LoraSection {
    fn default() -> Self {
        let LoraConfig { rank, alpha, targets, exclude, .. } = LoraConfig::default();
        Self { rank, alpha, targets, exclude }
    }
}

impl LoraSection {
    /// The adapters of a run with this seed.
    pub fn adapters(&self, seed: u64) -> LoraConfig {
        let LoraSection { rank, alpha, targets, exclude } = self.clone();
        LoraConfig { rank, alpha, targets, exclude, seed }
    }
}

impl ModelConfig {
    /// A section in which no optional field is left out.
    pub(super) fn with_every_key() -> ModelConfig {
        ModelConfig { do_image_splitting: Some(true), lora: Some(LoraSection::default()), ..ModelConfig::default() }
    }

    /// The first field that is out of range, in words.
    pub fn check(&self) -> Result<(), String> {
        let Some(lora) = &self.lora else { return Ok(()) };
        if lora.rank == 0 {
            return Err("lora.rank: expected at least 1, got 0".into());
        }
        if !(lora.alpha > 0.0 && lora.alpha.is_finite()) {
            return Err(format!("lora.alpha: expected above 0, got {}", lora.alpha));
        }
        lora.adapters(0).check().map_err(|problem| format!("lora.{problem}"))?;
        if self.freeze_vision && lora.targets == [LoraConfig::ALL_LINEAR] {
            return Err("freeze_vision: expected false beside lora.targets = [\"all-linear\"], which chooses layers of the vision tower (lora.exclude leaves them out), got true".into());
        }
        Ok(())
    }
}
