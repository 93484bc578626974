//! Generation against the uncached forward pass and against itself with other company in the batch; scores against transformers.

#[cfg(feature = "cppo")]
mod commands;
#[cfg(feature = "cppo")]
mod kv_cache;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use percept_engine::ops::{MatmulVariant, Sampling};
use percept_engine::tune::Tuning;
use percept_engine::{DType, Device, no_grad};
use percept_model::image::{self, ImageSplitting, Patches, Tiling};
use percept_model::{
    Completion, Finish, GenerationOptions, GenerationRequest, Model, ModelFiles, Packing, Precision, Question, SpecialTokens, generate,
    score, stream,
};

use crate::common::{gpu, open};

/// The case of `tests/golden/idefics3` whose vocabulary is the tiny tokenizer's.
fn case_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/idefics3/tied")
}

fn load(device: &Device) -> Model {
    Model::load(&case_directory(), device, Precision::Float32).unwrap()
}

/// In f64, where caching and packing change no digit that matters.
fn oracle() -> Model {
    load(&Device::cpu()).to(&Device::cpu(), DType::F64).unwrap()
}

fn picture(seed: usize) -> Patches {
    let pixels: Vec<f32> = (0..3 * 32 * 32).map(|i| ((i * (2 * seed + 7) + i * i / 11) % 256) as f32 / 127.5 - 1.0).collect();
    Patches::from_pixels(Tiling::WHOLE, &pixels, [3, 32, 32], 4)
}

/// A prompt with one picture, and `words` tokens of text.
fn prompt(words: u32) -> Vec<u32> {
    let image = std::iter::repeat_n(4, 16);
    [1, 3].into_iter().chain(image).chain((0..words).map(|i| 20 + 7 * i)).collect()
}

/// How a cache can be stored.
const CACHES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn options(max_new_tokens: usize, sampling: Sampling) -> GenerationOptions {
    GenerationOptions { max_new_tokens, sampling, stop_tokens: Vec::new(), check_every: None, kv_cache: DType::F32 }
}

/// Prompts of different lengths and pictures, with three and two sequences.
struct Batch {
    prompts: [Vec<u32>; 2],
    pictures: [[Patches; 1]; 2],
}

impl Batch {
    fn new() -> Self {
        Self { prompts: [prompt(3), prompt(6)], pictures: [[picture(0)], [picture(1)]] }
    }

    fn requests(&self) -> [GenerationRequest<'_>; 2] {
        [0, 1].map(|i| self.request(i, [0..3, 3..5][i].clone()))
    }

    fn request(&self, index: usize, streams: std::ops::Range<u32>) -> GenerationRequest<'_> {
        GenerationRequest { prompt: &self.prompts[index], pictures: &self.pictures[index], streams }
    }
}

fn assert_close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!((got - expected).abs() <= tolerance, "log-probability {i}: {got}, expected {expected}");
    }
}

fn assert_same(got: &[Completion], expected: &[Completion], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(expected) {
        assert_eq!((&got.tokens, got.finish), (&expected.tokens, expected.finish));
        assert_close(&got.log_probs, &expected.log_probs, tolerance);
    }
}

/// Greedy decoding without a cache: the whole sequence is read anew for each token.
fn greedy_uncached(model: &Model, prompt: &[u32], pictures: &[Patches], new_tokens: usize) -> (Vec<u32>, Vec<f32>) {
    let (mut tokens, mut log_probs) = (Vec::new(), Vec::new());
    for _ in 0..new_tokens {
        let mut packing = Packing::new(model.config());
        // the response's last token is not read, so any token will do for the one to come
        let rows = packing.row(prompt, pictures, &[&tokens[..], &[0]].concat()).unwrap();
        let row = *rows.rows.last().unwrap() as usize;
        let logits = no_grad(|| model.logits(&model.hidden(&packing.into_batch(model)).slice(0, row, 1))).to_f64_vec().unwrap();
        let (token, largest) = logits.iter().enumerate().fold((0, f64::MIN), |best, (i, &x)| if x > best.1 { (i, x) } else { best });
        tokens.push(token as u32);
        log_probs.push(-logits.iter().map(|x| (x - largest).exp()).sum::<f64>().ln() as f32);
    }
    (tokens, log_probs)
}

/// What a sampler draws is what the loss sees: tokens that are suppressed never come, and the others have the probability that they had among themselves.
#[test]
fn suppressed_tokens_are_never_drawn_and_have_no_probability() {
    let batch = Batch::new();
    for (mut model, tolerance) in [(oracle(), 1e-6), (load(&Device::cpu()), 2e-5), (load(&gpu()), 2e-5)] {
        let sampling = Sampling { temperature: 0.8, ..Sampling::plain(3) };
        let free = generate(&model, &batch.requests(), &options(10, sampling)).unwrap().concat();
        let mut suppressed: Vec<u32> = free.iter().flat_map(|completion| completion.tokens.clone()).collect();
        suppressed.push(model.config().text.vocab_size as u32 - 1); // the last id of the vocabulary too
        suppressed.sort_unstable();
        suppressed.dedup();
        model.suppress_tokens(&suppressed);

        for sampling in [sampling, Sampling::GREEDY, Sampling { top_k: Some(5), ..sampling }, Sampling { top_p: 0.7, ..sampling }] {
            let drawn = generate(&model, &batch.requests(), &options(10, sampling)).unwrap();
            for (i, completion) in drawn.iter().enumerate().flat_map(|(i, completions)| completions.iter().map(move |of| (i, of))) {
                assert!(!completion.tokens.iter().any(|token| suppressed.contains(token)), "{:?} of {suppressed:?}", completion.tokens);
                let mut packing = Packing::new(model.config());
                let rows = packing.row(&batch.prompts[i], &batch.pictures[i], &completion.tokens).unwrap();
                let hidden = no_grad(|| model.hidden(&packing.into_batch(&model)));
                let temperature = if sampling.temperature == 0.0 { 1.0 } else { sampling.temperature };
                let log_probs = no_grad(|| model.log_probs(&hidden, &rows, temperature)).0.to_f32_vec().unwrap();
                assert_close(&completion.log_probs, &log_probs, tolerance);

                // the definition: the softmax of the logits of all other tokens
                let at: Vec<f64> = no_grad(|| model.logits(&hidden.slice(0, rows.rows[0] as usize, 1))).to_f64_vec().unwrap();
                let total: f64 = (0..at.len() as u32)
                    .filter(|token| !suppressed.contains(token))
                    .map(|token| (at[token as usize] / f64::from(temperature)).exp())
                    .sum();
                let first = at[completion.tokens[0] as usize] / f64::from(temperature) - total.ln();
                assert_close(&completion.log_probs[..1], &[first as f32], tolerance);
            }
        }

        // copies do not forget
        let copies = [model.frozen_copy().unwrap(), model.to(&Device::cpu(), DType::F32).unwrap()];
        assert!(copies.iter().all(|copy| copy.suppressed_tokens() == suppressed));
    }
}

/// Pictures stand in prompts, and so do their marks; what is left of the vocabulary can be said.
#[test]
fn marks_of_pictures_and_ids_without_a_token_are_never_said() {
    let of = |directory: &str| {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
        let files = ModelFiles::read(&directory).unwrap();
        let never = files.tokens_never_said();
        let name = |id: &u32| files.tokenizer.id_to_token(*id);
        let named: Vec<String> = never.iter().filter_map(name).collect();
        let nameless = never.iter().filter(|id| name(id).is_none()).count();
        (named, nameless, files)
    };
    let (named, nameless, files) = of("../assets/tiny-vlm");
    assert_eq!(named[..3], ["<fake_token_around_image>", "<image>", "<global-img>"]);
    assert!(named.len() == 3 + 16 && named[3..].iter().all(|name| name.starts_with("<row_")), "{named:?}");
    assert_eq!(nameless, files.config.text.vocab_size - files.tokenizer.vocab_size());
}

#[test]
fn cached_decoding_is_the_uncached_forward() {
    let batch = Batch::new();
    for (model, tolerance) in [(oracle(), 1e-6), (load(&Device::cpu()), 2e-5), (load(&gpu()), 2e-5)] {
        let generated = generate(&model, &batch.requests(), &options(10, Sampling::GREEDY)).unwrap();
        for (i, completions) in generated.iter().enumerate() {
            let (tokens, log_probs) = greedy_uncached(&model, &batch.prompts[i], &batch.pictures[i], 10);
            for completion in completions {
                assert_eq!(completion.tokens, tokens);
                assert_close(&completion.log_probs, &log_probs, tolerance);
                assert_eq!(completion.finish, Finish::Length);
            }
        }
    }
}

#[test]
fn returned_log_probs_are_those_of_the_training_forward() {
    let batch = Batch::new();
    let temperature = 0.8;
    let sampling = Sampling { temperature, top_k: Some(50), top_p: 0.9, seed: 11 };
    for model in [load(&Device::cpu()), load(&gpu())] {
        let generated = generate(&model, &batch.requests(), &options(9, sampling)).unwrap();
        let mut packing = Packing::new(model.config());
        let prompts = [0, 1].map(|i| packing.prompt(&batch.prompts[i], &batch.pictures[i]).unwrap());
        let mut responses = Vec::new();
        for (prompt, completions) in prompts.iter().zip(&generated) {
            for completion in completions {
                responses.push(packing.response(prompt, &completion.tokens).unwrap());
            }
        }
        let hidden = model.hidden(&packing.into_batch(&model));
        for (rows, completion) in responses.iter().zip(generated.iter().flatten()) {
            let (log_probs, _) = model.log_probs(&hidden, rows, temperature);
            assert_close(&completion.log_probs, &log_probs.to_vec::<f32>().unwrap(), 1e-4);
        }
    }
}

#[test]
fn sequences_of_a_batch_are_those_drawn_alone() {
    let (model, batch) = (oracle(), Batch::new());
    for kv_cache in CACHES {
        let options = GenerationOptions { kv_cache, ..options(12, Sampling::plain(5)) };
        let together = generate(&model, &batch.requests(), &options).unwrap();
        for (i, completions) in together.iter().enumerate() {
            for (stream, completion) in batch.requests()[i].streams.clone().zip(completions) {
                let alone = generate(&model, &[batch.request(i, stream..stream + 1)], &options).unwrap();
                assert_same(&alone[0], std::slice::from_ref(completion), 1e-6);
            }
        }
        let tokens: std::collections::BTreeSet<&Vec<u32>> = together.iter().flatten().map(|completion| &completion.tokens).collect();
        assert_eq!(tokens.len(), 5, "five streams draw five sequences");
    }
}

/// On software Vulkan one kernel does all products; hardware takes one for few rows and another for many.
#[test]
fn a_sequence_has_the_same_bits_alone_and_among_300() {
    let device = open(|selector| selector);
    device.set_tuning(Tuning { thin: Some(MatmulVariant::Skinny), wide: Some(MatmulVariant::Tile) });
    let (model, batch) = (load(&device), Batch::new());
    let some = [2, 8, 9, 17, 70, 300];
    for (kv_cache, sequences) in some.map(|sequences| (DType::F32, sequences)).into_iter().chain([(DType::F16, 70), (DType::BF16, 17)]) {
        let options = GenerationOptions { kv_cache, ..options(4, Sampling::plain(5)) };
        let drawn = |requests: &[GenerationRequest]| generate(&model, requests, &options).unwrap();
        let alone = |request, stream| drawn(&[batch.request(request, stream..stream + 1)]).remove(0).remove(0);
        let together = drawn(&[batch.request(0, 0..sequences - 1), batch.request(1, 3..4)]);
        for stream in [0, (sequences - 1) / 2, sequences - 2] {
            assert_eq!(together[0][stream as usize], alone(0, stream), "stream {stream} of {sequences}");
        }
        assert_eq!(together[1][0], alone(1, 3), "the other prompt, beside {sequences}");
    }
}

#[test]
fn a_seed_draws_the_same_again_and_another_seed_something_else() {
    let (model, batch) = (load(&Device::cpu()), Batch::new());
    let draw = |seed| generate(&model, &batch.requests(), &options(8, Sampling::plain(seed))).unwrap();
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn stop_tokens_end_a_sequence_and_leave_the_others_alone() {
    let (model, batch) = (oracle(), Batch::new());
    let free = options(14, Sampling::plain(3));
    let unstopped = generate(&model, &batch.requests(), &free).unwrap();
    // tokens from the middle of two sequences, so that sequences leave at different steps
    let stop_tokens = vec![unstopped[0][1].tokens[4], unstopped[1][0].tokens[9]];
    let cut = |completion: &Completion| match completion.tokens.iter().position(|token| stop_tokens.contains(token)) {
        None => completion.clone(),
        Some(at) => {
            Completion { tokens: completion.tokens[..=at].to_vec(), log_probs: completion.log_probs[..=at].to_vec(), finish: Finish::Stop }
        }
    };
    let expected: Vec<Completion> = unstopped.iter().flatten().map(cut).collect();
    assert!(expected.iter().filter(|completion| completion.finish == Finish::Stop).count() >= 2);
    for check_every in [1, 3, 20] {
        let stopping = GenerationOptions { stop_tokens: stop_tokens.clone(), check_every: NonZeroUsize::new(check_every), ..free.clone() };
        let stopped: Vec<Completion> = generate(&model, &batch.requests(), &stopping).unwrap().into_iter().flatten().collect();
        assert_same(&stopped, &expected, 1e-6);
        let first_stopped = stopped.iter().find(|completion| completion.finish == Finish::Stop).unwrap();
        assert_eq!(first_stopped.content().len() + 1, first_stopped.tokens.len());
    }
}

#[test]
fn sequences_leave_the_batch_on_a_gpu() {
    let (model, batch) = (load(&gpu()), Batch::new());
    let free = options(8, Sampling::plain(3));
    let unstopped = generate(&model, &batch.requests(), &free).unwrap();
    let stop_tokens = vec![unstopped[0][1].tokens[2]];
    let stopping = GenerationOptions { stop_tokens: stop_tokens.clone(), check_every: NonZeroUsize::new(2), ..free };
    let stopped = generate(&model, &batch.requests(), &stopping).unwrap();
    for (stopped, unstopped) in stopped.iter().flatten().zip(unstopped.iter().flatten()) {
        let kept = unstopped.tokens.iter().position(|token| stop_tokens.contains(token)).map_or(8, |at| at + 1);
        assert_eq!(stopped.tokens, unstopped.tokens[..kept]);
        assert_close(&stopped.log_probs, &unstopped.log_probs[..kept], 2e-5);
    }
}

#[test]
fn nothing_to_draw_draws_nothing() {
    let (model, batch) = (oracle(), Batch::new());
    assert!(generate(&model, &[], &options(4, Sampling::GREEDY)).unwrap().is_empty());
    assert_eq!(generate(&model, &[batch.request(0, 0..0)], &options(4, Sampling::GREEDY)).unwrap(), [vec![]]);
    let empty = generate(&model, &[batch.request(0, 0..2)], &options(0, Sampling::GREEDY)).unwrap();
    assert!(empty[0].iter().all(|completion| completion.tokens.is_empty() && completion.finish == Finish::Length));
}

#[test]
fn a_prompt_without_room_for_its_answer_is_an_error() {
    let (model, batch) = (oracle(), Batch::new());
    let room = model.config().text.max_position_embeddings - batch.prompts[0].len();
    let error = generate(&model, &[batch.request(0, 0..1)], &options(room + 1, Sampling::GREEDY)).unwrap_err();
    assert_eq!(error.to_string(), format!("prompt of 21 tokens + {} new exceeds max_position_embeddings (512)", room + 1));
    let error = score(&model, &batch.prompts[0], &batch.pictures[0], &vec![9; room + 1]).unwrap_err();
    assert_eq!(error.to_string(), format!("prompt of 21 tokens + {} new exceeds max_position_embeddings (512)", room + 1));
}

#[test]
fn a_stream_is_the_text_of_its_completion() {
    let (model, batch) = (load(&Device::cpu()), Batch::new());
    let tokenizer =
        percept_model::Tokenizer::from_directory(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer")).unwrap();
    let (request, options) = (batch.request(0, 7..8), options(30, Sampling::plain(9)));
    let mut pieces = Vec::new();
    let streamed = stream(&model, &tokenizer, &request, &options, |text| {
        pieces.push(text.to_string());
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(streamed, generate(&model, std::slice::from_ref(&request), &options).unwrap()[0][0]);
    assert_eq!(pieces.concat(), tokenizer.decode(&streamed.tokens, SpecialTokens::Skip).unwrap());
    assert!(pieces.len() > 2, "in pieces: {pieces:?}");

    let mut heard = 0;
    let interrupted = stream(&model, &tokenizer, &request, &options, |_| {
        heard += 1;
        if heard == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert_eq!((heard, interrupted.finish), (2, Finish::Interrupted));
    assert_eq!(interrupted.tokens, streamed.tokens[..interrupted.tokens.len()]);
}

/// The case's directory with the tiny tokenizer's files in it.
fn whole_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for from in [case_directory(), Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer")] {
        for file in std::fs::read_dir(from).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), directory.path().join(file.file_name())).unwrap();
        }
    }
    directory
}

#[test]
fn scores_are_those_of_transformers() {
    let directory = whole_directory();
    let files = ModelFiles::read(directory.path()).unwrap();
    let image = image::open(directory.path().join("picture.png")).unwrap();
    let golden: serde_json::Value = serde_json::from_slice(&std::fs::read(directory.path().join("score.json")).unwrap()).unwrap();
    for device in [Device::cpu(), gpu()] {
        let model = Model::load(directory.path(), &device, Precision::AsStored).unwrap();
        for case in golden.as_array().unwrap() {
            let splitting = if case["split"] == true { ImageSplitting::Tiles } else { ImageSplitting::Whole };
            let processor = files.clone().with_image_splitting(splitting).image_processor().unwrap();
            let question = Question::new(&files, &processor, std::slice::from_ref(&image), case["prompt"].as_str().unwrap()).unwrap();
            let completion = files.tokenizer.encode(case["completion"].as_str().unwrap()).unwrap();
            assert_eq!(question.tokens.len() as u64, case["prompt_tokens"].as_u64().unwrap());
            assert_eq!(serde_json::json!(completion), case["tokens"]);
            let scores = score(&model, &question.tokens, &question.pictures, &completion).unwrap();
            let numbers = |name: &str| case[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect::<Vec<_>>();
            assert_close(&scores.log_probs, &numbers("log_probs"), 1e-4);
            assert_close(&scores.entropies, &numbers("entropies"), 1e-4);
        }
    }
}
