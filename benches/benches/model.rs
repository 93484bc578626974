//! The preset `small` (15 million parameters): reading a prompt, decoding at several group sizes, a training step and its memory.
//!
//! What to quote stands in the lines before criterion's: the cost of decoding eight sequences over that of one, measured in turn, and the peak memory
//! of a training step beside its count.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group};
use percept_benches::{median, seconds};
use percept_engine::ops::Sampling;
use percept_engine::{AdamW, AdamWConfig, DType, Device, GpuSelector, ParamGroup, tune};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelConfig, Packing, ResponseRows, generate, parameter_count, score};

/// Tokens of each completion.
const NEW_TOKENS: usize = 32;
/// Tokens of the prompt's text, beside the 16 visual tokens.
const WORDS: usize = 24;
/// Prompts of a training step, and responses to each.
const PROMPTS: usize = 2;
const GROUP: usize = 8;
const ROUNDS: usize = 7;

fn main() {
    compare_group_sizes();
    compare_memory();
    benches();
    Criterion::default().configure_from_args().final_summary();
}

criterion_group!(benches, bench_prefill, bench_decode, bench_training_step);

fn bench_prefill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model/prefill");
    for device in devices() {
        let question = Question::new(&device);
        group.throughput(Throughput::Elements(question.prompt.len() as u64)).sample_size(10).warm_up_time(Duration::from_millis(500));
        group.bench_function(device.to_string(), |b| b.iter(|| question.score()));
    }
    group.finish();
}

fn bench_decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model/decode");
    for device in devices() {
        let question = Question::new(&device);
        for sequences in [1, 8, 64] {
            let tokens = (sequences as usize * NEW_TOKENS) as u64;
            group.throughput(Throughput::Elements(tokens)).sample_size(10).warm_up_time(Duration::from_millis(500));
            group.bench_function(format!("{device} G = {sequences}"), |b| b.iter(|| question.draw(sequences)));
        }
    }
    group.finish();
}

fn bench_training_step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("model/training_step");
    for device in devices() {
        let mut training = Training::new(&device);
        group.throughput(Throughput::Elements(training.tokens() as u64)).sample_size(10).warm_up_time(Duration::from_millis(500));
        group.bench_function(device.to_string(), |b| b.iter(|| training.step()));
    }
    group.finish();
}

/// The CPU, and a GPU if `PERCEPT_ADAPTER` names one or there is a hardware one.
fn devices() -> Vec<Device> {
    [Some(Device::cpu()), Device::gpu(&GpuSelector::from_env_or_hardware()).inspect(tune::load).ok()].into_iter().flatten().collect()
}

/// Decoding one and eight sequences in turn; the prompt, which both read once, is taken off.
fn compare_group_sizes() {
    for device in devices() {
        let question = Question::new(&device);
        let (mut prompt, mut one, mut eight) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let times = [seconds(|| question.score()), seconds(|| question.draw(1)), seconds(|| question.draw(8))];
            // the first round warms up
            if round > 0 {
                prompt.push(times[0]);
                one.push(times[1]);
                eight.push(times[2]);
            }
        }
        let prompt = median(&mut prompt);
        let [one, eight] = [one, eight].map(|mut times| (median(&mut times) - prompt) / NEW_TOKENS as f64 * 1e3);
        println!(
            "decode on {device}: {one:.2} ms a step at G = 1, {eight:.2} ms at G = 8; ratio {:.2} (contract: 3 on the CPU)",
            eight / one
        );
    }
}

/// Peak of a training step, from before the forward pass, beside the count of what has to be there.
fn compare_memory() {
    for device in devices() {
        let mut training = Training::new(&device);
        training.step();
        device.reset_peak();
        training.step();
        let (peak, counted) = (device.counters().peak_bytes, training.counted_bytes());
        println!(
            "training step on {device}: {} tokens, peak {:.1} MiB; counted {:.1} MiB; ratio {:.2}",
            training.tokens(),
            peak as f64 / (1 << 20) as f64,
            counted as f64 / (1 << 20) as f64,
            peak as f64 / counted as f64
        );
    }
}

/// A picture and a prompt.
struct Question {
    model: Model,
    prompt: Vec<u32>,
    picture: Patches,
}

impl Question {
    fn new(device: &Device) -> Self {
        let config = ModelConfig::small();
        let model = Model::random(&config, device, 1, DType::F32);
        let own = Idefics3::of(&config);
        let image = std::iter::repeat_n(config.image_token_id, own.image_seq_len());
        let prompt = image.chain((0..WORDS as u32).map(|i| 20 + 3 * i)).collect();
        let (edge, patch) = (own.vision.image_size, own.vision.patch_size);
        let pixels: Vec<f32> = (0..3 * edge * edge).map(|i| (i * i % 255) as f32 / 127.5 - 1.0).collect();
        Self { model, prompt, picture: Patches::from_pixels(Tiling::WHOLE, &pixels, [3, edge, edge], patch) }
    }

    /// Reads the picture and the prompt.
    fn score(&self) {
        score(&self.model, &self.prompt, std::slice::from_ref(&self.picture), &[7]).expect("the prompt fits");
    }

    /// Draws completions that do not stop early.
    fn draw(&self, sequences: u32) {
        let pictures = std::slice::from_ref(&self.picture);
        let request = GenerationRequest { prompt: &self.prompt, pictures, streams: 0..sequences };
        let options = GenerationOptions {
            max_new_tokens: NEW_TOKENS,
            sampling: Sampling::plain(1),
            stop_tokens: Vec::new(),
            check_every: None,
            kv_cache: DType::F32,
        };
        generate(&self.model, &[request], &options).expect("the prompt fits");
    }
}

/// The update of a policy gradient: prompts with shared responses, mean log-probability, AdamW over everything.
struct Training {
    question: Question,
    optimiser: AdamW,
}

impl Training {
    fn new(device: &Device) -> Self {
        let question = Question::new(device);
        let group = ParamGroup { parameters: question.model.trainable(), lr_scale: 1.0, weight_decay: 0.0 };
        Self { optimiser: AdamW::new(vec![group], AdamWConfig::default()), question }
    }

    fn step(&mut self) {
        let Question { model, prompt, picture } = &self.question;
        let mut packing = Packing::new(model.config());
        let mut responses = Vec::new();
        for _ in 0..PROMPTS {
            let prompt = packing.prompt(prompt, std::slice::from_ref(picture)).expect("the prompt fits");
            for response in 0..GROUP as u32 {
                let tokens: Vec<u32> = (0..NEW_TOKENS as u32).map(|i| 20 + (i * i + response) % 300).collect();
                responses.push(packing.response(&prompt, &tokens).expect("the response fits"));
            }
        }
        let hidden = model.hidden(&packing.into_batch(model));
        let (log_probs, _) = model.log_probs(&hidden, &ResponseRows::concat(&responses), 1.0);
        let gradients = log_probs.mean(&[0]).mul_scalar(-1.0).backward();
        self.optimiser.step(&gradients);
        model.device().synchronize().expect("the step");
    }

    /// Rows of the decoder.
    fn tokens(&self) -> usize {
        PROMPTS * (self.question.prompt.len() + GROUP * (NEW_TOKENS - 1))
    }

    /// Weights, gradients and both moments, and what each layer keeps for its gradient; all at once, though the layers' share is freed while the
    /// gradients come into being.
    fn counted_bytes(&self) -> usize {
        let config = self.question.model.config();
        let (text, vision) = (&config.text, &Idefics3::of(config).vision);
        // input, its norm, queries, keys, values, mixed values, sum, its norm, gate, up, their product
        let queries = text.num_attention_heads * text.head_dim;
        let keys = text.num_key_value_heads * text.head_dim;
        let text_row = 4 * text.hidden_size + 2 * queries + 2 * keys + 3 * text.intermediate_size;
        // input, its norm, queries, keys, values, mixed values, sum, its norm, before and after GELU
        let vision_row = 8 * vision.hidden_size + 2 * vision.intermediate_size;
        let patches = PROMPTS * vision.patches_per_side().pow(2);
        let kept = self.tokens() * text.num_hidden_layers * text_row + patches * vision.num_hidden_layers * vision_row;
        (4 * parameter_count(config) + kept) * size_of::<f32>()
    }
}
