//! Sizes to start from.

use super::{IDEFICS3, Idefics3, VisionConfig};
use crate::config::{Bias, ModelConfig, TextConfig, WeightDtype};
use serde_json::Map;

/// Rows of the embedding table of `tiny` and `small`: the tokens of `assets/tiny-tokenizer`.
const TINY_VOCAB_SIZE: usize = 384;

impl ModelConfig {
    /// About 1.1 million parameters for 64×64 pictures: 16 visual tokens, the vocabulary of `assets/tiny-tokenizer`.
    ///
    /// Patches of 8 pixels, shuffled 2 by 2: patches of 4 pixels cost four times as much (docs/lab-notes.md).
    pub fn tiny() -> Self {
        let text = TextConfig {
            hidden_size: 128,
            intermediate_size: 256,
            num_hidden_layers: 4,
            num_attention_heads: 4,
            num_key_value_heads: 2,
            max_position_embeddings: 2048,
            ..tiny_vocabulary_text()
        };
        let vision = VisionConfig {
            hidden_size: 96,
            intermediate_size: 384,
            num_hidden_layers: 3,
            num_attention_heads: 3,
            image_size: 64,
            patch_size: 8,
            initializer_range: 0.06,
            ..siglip_base()
        };
        Self { image_token_id: 4, tie_word_embeddings: true, ..idefics3(text, Idefics3 { vision, scale_factor: 2 }) }
    }

    /// About 15 million parameters for 128×128 pictures: 16 visual tokens, the vocabulary of `assets/tiny-tokenizer`.
    pub fn small() -> Self {
        let text = TextConfig {
            hidden_size: 384,
            intermediate_size: 960,
            num_hidden_layers: 6,
            num_attention_heads: 6,
            num_key_value_heads: 2,
            head_dim: 64,
            max_position_embeddings: 4096,
            ..tiny_vocabulary_text()
        };
        let vision = VisionConfig {
            hidden_size: 256,
            intermediate_size: 1024,
            num_hidden_layers: 6,
            num_attention_heads: 4,
            image_size: 128,
            patch_size: 8,
            ..siglip_base()
        };
        Self { image_token_id: 4, tie_word_embeddings: true, ..idefics3(text, Idefics3 { vision, scale_factor: 4 }) }
    }

    /// SmolVLM-256M-Instruct: 256,484,928 parameters.
    pub fn smolvlm_256m() -> Self {
        Self { dtype: WeightDtype::Bf16, ..idefics3(smollm2_135m(), smolvlm()) }
    }

    /// SmolVLM-500M-Instruct: 507,482,304 parameters.
    pub fn smolvlm_500m() -> Self {
        let text = TextConfig {
            hidden_size: 960,
            intermediate_size: 2560,
            num_hidden_layers: 32,
            num_attention_heads: 15,
            num_key_value_heads: 5,
            ..smollm2_135m()
        };
        Self { dtype: WeightDtype::Bf16, ..idefics3(text, smolvlm()) }
    }
}

fn idefics3(text: TextConfig, own: Idefics3) -> ModelConfig {
    ModelConfig {
        architecture: IDEFICS3,
        text,
        settings: own.into_settings(),
        image_token_id: 49_190,
        tie_word_embeddings: false,
        dtype: WeightDtype::F32,
        loaded: Map::new(),
    }
}

/// The decoder of SmolVLM-256M.
fn smollm2_135m() -> TextConfig {
    TextConfig {
        vocab_size: 49_280,
        hidden_size: 576,
        intermediate_size: 1536,
        num_hidden_layers: 30,
        num_attention_heads: 9,
        num_key_value_heads: 3,
        head_dim: 64,
        qkv_bias: Bias::No,
        rope_theta: 100_000.0,
        rms_norm_eps: 1e-5,
        max_position_embeddings: 8192,
        initializer_range: 0.02,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        pad_token_id: Some(2),
    }
}

/// Token ids of `assets/tiny-tokenizer`; the layer sizes are the preset's.
fn tiny_vocabulary_text() -> TextConfig {
    TextConfig {
        vocab_size: TINY_VOCAB_SIZE,
        head_dim: 32,
        rope_theta: 10_000.0,
        bos_token_id: Some(1),
        eos_token_ids: vec![2],
        pad_token_id: Some(0),
        ..smollm2_135m()
    }
}

/// The vision side of SmolVLM-256M and -500M.
fn smolvlm() -> Idefics3 {
    Idefics3 { vision: siglip_base(), scale_factor: 4 }
}

/// Their vision tower.
fn siglip_base() -> VisionConfig {
    VisionConfig {
        hidden_size: 768,
        intermediate_size: 3072,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        num_channels: 3,
        image_size: 512,
        patch_size: 16,
        layer_norm_eps: 1e-6,
        initializer_range: 0.02,
    }
}
