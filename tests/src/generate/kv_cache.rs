//! Caches of f16 and bf16: what they change in what the shipped model says, and the memory that they save.

use std::path::Path;

use percept_cppo::problems::prompts::{EncodedPrompt, Encoder, test_prompts};
use percept_cppo::problems::tasks::{Task, TaskConfig};
use percept_engine::ops::Sampling;
use percept_engine::{DType, Device};
use percept_model::{Completion, GenerationOptions, GenerationRequest, Model, ModelFiles, Precision, generate};

use super::{CACHES, load, options};
use crate::common::{gpu, open};

const PROMPTS: usize = 8;

/// The model that is shipped, and prompts that it can answer.
struct Digits {
    model: Model,
    prompts: Vec<EncodedPrompt>,
    stop_tokens: Vec<u32>,
}

impl Digits {
    fn new(device: &Device) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm");
        let model = Model::load(&path, device, Precision::Float32).unwrap();
        let encoder = Encoder::new(ModelFiles::read(&path).unwrap()).unwrap();
        let problems = test_prompts(&Task::new(&TaskConfig::default()).unwrap(), 0..PROMPTS as u64);
        let prompts = problems.iter().map(|problem| encoder.encode(problem).unwrap()).collect();
        Self { model, prompts, stop_tokens: encoder.end_tokens().to_vec() }
    }

    fn greedy(&self, kv_cache: DType) -> Vec<Completion> {
        let prompts = self.prompts.iter();
        let requests: Vec<GenerationRequest> =
            prompts.map(|prompt| GenerationRequest { prompt: &prompt.tokens, pictures: &prompt.tiles, streams: 0..1 }).collect();
        let options = GenerationOptions { kv_cache, stop_tokens: self.stop_tokens.clone(), ..options(40, Sampling::GREEDY) };
        generate(&self.model, &requests, &options).unwrap().concat()
    }
}

/// The text is that of f32. Log-probabilities move with the rounding of keys and values, at most a part in 2048 or in 256 of each: a score of some nats by as much, and a logit by what that makes of it, layer after
/// layer. Measured are 2.6 and 0.9 such parts; 16 leave room for other devices, and would not for a wrong element or half.
#[test]
fn greedy_text_is_that_of_a_cache_in_f32() {
    for device in [Device::cpu(), gpu()] {
        let digits = Digits::new(&device);
        let [single, half, brain] = CACHES.map(|kv_cache| digits.greedy(kv_cache));
        for (dtype, unit, drawn) in [(DType::F16, 1.0 / 2048.0, half), (DType::BF16, 1.0 / 256.0, brain)] {
            let mut largest = 0.0f32;
            for (drawn, single) in drawn.iter().zip(&single) {
                assert_eq!(drawn.tokens, single.tokens, "{dtype} on {device}");
                let moved = drawn.log_probs.iter().zip(&single.log_probs).map(|(a, b)| (a - b).abs());
                largest = largest.max(moved.fold(0.0, f32::max));
            }
            assert!(largest > 0.0 && largest < 16.0 * unit, "{dtype} on {device}: log-probabilities moved by {largest}");
        }
    }
}

#[test]
fn a_cache_of_halves_takes_half_the_memory() {
    for device in [Device::new_cpu(), open(|selector| selector)] {
        let model = load(&device);
        let [single, half, brain] = CACHES.map(|kv_cache| {
            let before = device.counters().live_bytes;
            let cache = model.new_cache(640, kv_cache);
            assert_eq!((cache.rows(), cache.dtype()), (640, kv_cache));
            device.counters().live_bytes - before
        });
        let text = &model.config().text;
        assert_eq!(single as usize, text.num_hidden_layers * 2 * 640 * text.num_key_value_heads * text.head_dim * 4, "{device}");
        assert_eq!([half, brain], [single / 2; 2], "{device}");
    }
}

#[test]
#[should_panic(expected = "new_cache: expected f32, f16 or bf16, got u32")]
fn a_cache_of_whole_numbers() {
    load(&Device::cpu()).new_cache(4, DType::U32);
}
