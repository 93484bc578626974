//! Generation with the shapes of SmolVLM-256M: random weights in bf16, one picture of 512 × 512 pixels.

use percept_engine::ops::Sampling;
use percept_engine::{DType, Device};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelConfig, generate};

use crate::{median, seconds};

/// Words of the prompt, beside the 64 visual tokens.
const WORDS: u32 = 24;
/// Tokens that are written after the first.
const TOKENS: usize = 16;

/// A model and a question about a picture.
pub struct Question {
    model: Model,
    prompt: Vec<u32>,
    picture: Patches,
}

impl Question {
    /// Draws the weights.
    pub fn new(device: &Device) -> Question {
        let config = ModelConfig::smolvlm_256m();
        let own = Idefics3::of(&config);
        let (edge, patch) = (own.vision.image_size, own.vision.patch_size);
        let pixels: Vec<f32> = (0..3 * edge * edge).map(|i| (i * i % 255) as f32 / 127.5 - 1.0).collect();
        let image = std::iter::repeat_n(config.image_token_id, own.image_seq_len());
        Question {
            prompt: image.chain((0..WORDS).map(|i| 20 + 3 * i)).collect(),
            picture: Patches::from_pixels(Tiling::WHOLE, &pixels, [3, edge, edge], patch),
            model: Model::random(&config, device, 1, DType::BF16),
        }
    }

    /// Seconds until the first token is there.
    pub fn first(&self) -> f64 {
        self.draw(1, 1)
    }

    /// Seconds for each further token of `sequences` answers side by side.
    pub fn token(&self, sequences: u32) -> f64 {
        let one = |_| (self.draw(sequences, 1 + TOKENS) - self.draw(sequences, 1)) / TOKENS as f64;
        median(&mut (0..3).map(one).collect::<Vec<_>>())
    }

    fn draw(&self, sequences: u32, tokens: usize) -> f64 {
        let request = GenerationRequest { prompt: &self.prompt, pictures: std::slice::from_ref(&self.picture), streams: 0..sequences };
        let sampling = Sampling::plain(1);
        let options =
            GenerationOptions { max_new_tokens: tokens, sampling, stop_tokens: Vec::new(), check_every: None, kv_cache: DType::F32 };
        seconds(|| drop(generate(&self.model, &[request], &options).expect("the prompt fits")))
    }
}
