//! Asks a model about a picture, and how probable it finds an answer.
//!
//! ```sh
//! cargo run --release -p percept-model --example answer -- DIRECTORY PICTURE "How many dogs?" "Two."
//! ```
//!
//! DIRECTORY is a Hugging Face directory of SmolVLM or another Idefics3 model; `assets/tiny-vlm` reads handwritten digits.

use std::error::Error;
use std::path::Path;

use percept_engine::ops::Sampling;
use percept_engine::{DType, Device};
use percept_model::{GenerationOptions, GenerationRequest, Model, ModelFiles, Precision, Question, SpecialTokens, generate, image, score};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, picture, question, answer] = &arguments[..] else {
        return Err("expected a directory, a picture, a question and an answer".into());
    };
    let directory = Path::new(directory);
    let files = ModelFiles::read(directory)?; // tokenizer, chat template, image processor
    let mut model = Model::load(directory, &Device::best(), Precision::AsStored)?;
    model.suppress_tokens(&files.tokens_never_said()); // marks of pictures are for prompts
    let question = Question::new(&files, &files.image_processor()?, &[image::open(Path::new(picture))?], question)?;

    let options = GenerationOptions {
        max_new_tokens: 64,
        sampling: Sampling { temperature: 0.0, top_k: None, top_p: 1.0, seed: 0 }, // the most probable token each time
        stop_tokens: files.generation.eos_token_ids.clone(),
        check_every: None,
        kv_cache: DType::F32,
    };
    // one sequence for each number of `streams`, all after one encoding of the prompt
    let request = GenerationRequest { prompt: &question.tokens, pictures: &question.pictures, streams: 0..1 };
    let completions = generate(&model, &[request], &options)?; // [requests][streams]
    println!("{}", files.tokenizer.decode(completions[0][0].content(), SpecialTokens::Skip)?);

    let tokens = files.tokenizer.encode(answer)?;
    let scores = score(&model, &question.tokens, &question.pictures, &tokens)?;
    println!("log p({answer}) = {:.4} nats over {} tokens", scores.log_probs.iter().sum::<f32>(), tokens.len());
    Ok(())
}
