//! Qwen2.5-VL (Bai et al. 2025, arXiv 2502.13923): pictures in their own size and aspect, a vision tower of which most layers look into windows, squares
//! of patches merged to visual tokens, Qwen2 as the decoder, and positions by time, height and width.
//!
//! Departures from transformers' `Qwen2_5_VLForConditionalGeneration`: pictures only, no video. A still picture is the same frame twice, so the patch
//! embedding adds its two frames' weights instead of reading every pixel twice; the gradient of both is the same.

mod config;
mod processor;
mod prompt;
mod vision;

pub use config::{QWEN2_5_VL, Qwen25Vl, VisionConfig};
pub use processor::smart_resize;

use super::family::{Family, Network};
use super::mrope;
use crate::config::ModelConfig;
use crate::layers::decoder::Decoder;
use crate::layers::scope::Scope;

pub(super) static FAMILY: Family = Family {
    architectures: &[QWEN2_5_VL],
    processor_class: "Qwen2_5_VLProcessor",
    image_token: prompt::IMAGE_TOKEN,
    required_tokens: &[prompt::IMAGE_TOKEN, "<|vision_start|>", "<|vision_end|>"],
    is_only_for_prompts: |token| {
        [prompt::IMAGE_TOKEN, "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>"].contains(&token)
    },
    vision: "visual",
    connector: "visual.merger",
    decoder: "model",
    module_name,
    position_rows: mrope::ROWS,
    read_config: config::read,
    write_config: config::write,
    validate: config::validate,
    image_settings: processor::settings,
    image_processor: processor::from_settings,
    image_seq_len: |_| None,
    visual_grid: |config, [rows, cols]| {
        let merge = Qwen25Vl::of(config).vision.spatial_merge_size;
        [rows / merge, cols / merge]
    },
    expand_prompt: prompt::expand,
    positions: |config, tokens, pictures| {
        mrope::positions(config.image_token_id, tokens, mrope::visual_grids(pictures, Qwen25Vl::of(config).vision.spatial_merge_size))
    },
    rope: |config, device, positions| mrope::rope(config, Qwen25Vl::of(config).mrope_section, device, positions),
    build,
};

fn build(config: &ModelConfig, scope: &Scope) -> Network {
    let own = Qwen25Vl::of(config);
    let scope = scope.drawn_with(config.text.initializer_range);
    let visual = scope.at(FAMILY.vision);
    let orders = vision::Orders::new(&own.vision);
    let tower = vision::VisionTower::new(&own.vision, &orders, &visual);
    let merger = vision::Merger::new(&own.vision, &orders, config.text.hidden_size, &visual.at("merger"));
    let decoder = Decoder::new(config, &scope.at(FAMILY.decoder), (&scope, "lm_head"));
    Network {
        vision_tower: Box::new(move |pictures, activations| tower.forward(pictures, activations)),
        connector: Box::new(move |patches, pictures| merger.forward(patches, pictures)),
        decoder,
    }
}

/// Published files have the names of transformers before 4.52; its modules are called otherwise since.
fn module_name(name: &str) -> String {
    match name.split_once('.').unwrap_or((name, "")) {
        ("visual", _) => format!("model.{name}"),
        ("model", "") => "model.language_model".to_owned(),
        ("model", rest) => format!("model.language_model.{rest}"),
        _ => name.to_owned(),
    }
}
