//! Idefics3 (Laurençon et al. 2024, arXiv 2408.12637) and SmolVLM (Marafioti et al. 2025, arXiv 2504.05299), which is computed alike: SigLIP's vision
//! tower on tiles of one size, a connector that joins squares of patches, and Llama as the decoder.

mod config;
mod connector;
mod processor;
mod prompt;
mod tiny_tokenizer;
mod vision;

pub use config::{IDEFICS3, Idefics3, SMOLVLM, VisionConfig};
pub use processor::Processor;
pub use processor::config::{ImageProcessorConfig, ImageSize, LongestEdge};
pub use prompt::{FAKE_TOKEN_AROUND_IMAGE, GLOBAL_IMAGE_TOKEN, IMAGE_TOKEN, expand_image_tokens, image_prompt_tokens};
pub use tiny_tokenizer::tiny_tokenizer_files;

use super::family::{Family, Network};
use crate::config::ModelConfig;
use crate::image::{Grid, Patches};
use crate::layers::decoder::Decoder;
use crate::layers::scope::Scope;
use crate::positions::{Positions, PromptPositions};
use percept_engine::{Device, RopeTable};

pub(super) static FAMILY: Family = Family {
    architectures: &[IDEFICS3, SMOLVLM],
    processor_class: "Idefics3Processor",
    image_token: IMAGE_TOKEN,
    required_tokens: &[IMAGE_TOKEN, FAKE_TOKEN_AROUND_IMAGE],
    is_only_for_prompts: prompt::is_of_pictures,
    vision: "model.vision_model",
    connector: "model.connector",
    decoder: "model.text_model",
    module_name: str::to_owned,
    position_rows: 1,
    read_config: config::read,
    write_config: config::write,
    validate: config::validate,
    image_settings: processor::config::settings,
    image_processor: processor::from_settings,
    image_seq_len: |config| Some(Idefics3::of(config).image_seq_len()),
    visual_grid,
    expand_prompt: prompt::expand,
    positions,
    rope,
    build,
};

fn build(config: &ModelConfig, scope: &Scope) -> Network {
    let own = Idefics3::of(config);
    let vision_scope = scope.drawn_with(own.vision.initializer_range);
    let tower = vision::VisionTower::new(&own.vision, &vision_scope.at(FAMILY.vision));
    let connector = connector::Connector::new(config, &vision_scope.at(FAMILY.connector));
    let text_scope = scope.drawn_with(config.text.initializer_range);
    let decoder = Decoder::new(config, &text_scope.at(FAMILY.decoder), (&text_scope, "lm_head"));
    Network {
        vision_tower: Box::new(move |pictures, activations| tower.forward(pictures, activations)),
        connector: Box::new(move |patches, pictures| connector.forward(patches, pictures)),
        decoder,
    }
}

/// A square of `scale_factor` × `scale_factor` patches becomes one visual token.
fn visual_grid(config: &ModelConfig, [rows, cols]: Grid) -> Grid {
    let scale = Idefics3::of(config).scale_factor;
    [rows / scale, cols / scale]
}

/// Every token stands one further, visual or not.
fn positions(_: &ModelConfig, tokens: &[u32], _: &[Patches]) -> PromptPositions {
    let next = tokens.len() as u32;
    PromptPositions { positions: Positions::of_text(1, 0..next), next }
}

fn rope(config: &ModelConfig, device: &Device, positions: &Positions) -> RopeTable {
    RopeTable::new(device, &positions.rows()[0], config.text.head_dim, config.text.rope_theta)
}
