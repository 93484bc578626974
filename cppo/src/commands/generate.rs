//! `percept generate`: a model answers a question about pictures, token by token.

use std::io::Write;
use std::ops::ControlFlow;
use std::time::Instant;

use anyhow::Result;
use percept_engine::DType;
use percept_engine::ops::Sampling;
use percept_model::{Finish, GenerationConfig, GenerationOptions, GenerationRequest, stream};

use super::outcome::Outcome;
use super::question::{Asked, QuestionArgs};

/// Length of an answer, tokens, if neither the command line nor the model says.
const MAX_NEW_TOKENS: usize = 512;

/// Arguments of `percept generate`. Defaults are those of the model's generation_config.json.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    question: QuestionArgs,
    /// Longest answer, tokens. Default: the model's, else 512, or what the context has room for.
    #[arg(long, value_name = "N")]
    max_new_tokens: Option<usize>,
    /// Logits are divided by this before drawing; 0 takes the most probable token. Default: the model's, else 0.
    #[arg(long, value_parser = temperature, allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Draw from the K most probable tokens only. Default: the model's, else all.
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Of those, draw from the most probable tokens that together have this probability. Default: the model's, else 1.
    #[arg(long, value_name = "P", value_parser = top_p)]
    top_p: Option<f32>,
    /// Seed of the draws: the same seed gives the same answer.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// The answer goes to `out` as it comes, how long it took to `errors`.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    let Asked { files, mut model, question } = args.question.ask(errors)?;
    model.suppress_tokens(&files.tokens_never_said());
    let prompt_tokens = question.tokens.len();
    let room = model.config().text.max_position_embeddings.saturating_sub(prompt_tokens);
    let default = files.generation.max_new_tokens.unwrap_or(MAX_NEW_TOKENS).min(room.max(1));
    let options = GenerationOptions {
        max_new_tokens: args.max_new_tokens.unwrap_or(default),
        sampling: sampling(args, &files.generation),
        stop_tokens: files.generation.eos_token_ids.clone(),
        check_every: None,
        kv_cache: DType::F32,
    };
    let request = GenerationRequest { prompt: &question.tokens, pictures: &question.pictures, streams: 0..1 };
    let (start, mut failure) = (Instant::now(), None);
    let completion = stream(&model, &files.tokenizer, &request, &options, |text| match write!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => {
            failure = Some(error);
            ControlFlow::Break(())
        }
    })?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    writeln!(out)?;
    let seconds = start.elapsed().as_secs_f64();
    let end = match completion.finish {
        Finish::Length => format!("; cut at {} tokens (--max-new-tokens)", options.max_new_tokens),
        Finish::Stop | Finish::Interrupted => String::new(),
    };
    writeln!(errors, "{prompt_tokens} tokens read, {} written in {seconds:.1} s{end}", completion.tokens.len())?;
    Ok(Outcome::Done)
}

/// The command line over the model's defaults; a model that does not sample by default is greedy unless it is given a temperature.
fn sampling(args: &Args, model: &GenerationConfig) -> Sampling {
    let model_temperature = if model.do_sample { model.temperature.unwrap_or(1.0) as f32 } else { 0.0 };
    let model_top_k = model.top_k.filter(|&k| k > 0).and_then(|k| u32::try_from(k).ok());
    Sampling {
        temperature: args.temperature.unwrap_or(model_temperature),
        top_k: args.top_k.or(model_top_k),
        top_p: args.top_p.unwrap_or(model.top_p.unwrap_or(1.0) as f32),
        seed: args.seed,
    }
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, "a number from 0 up", |x| x >= 0.0 && x.is_finite())
}

fn top_p(text: &str) -> Result<f32, String> {
    number(text, "a number above 0, at most 1", |x| x > 0.0 && x <= 1.0)
}

fn number(text: &str, expected: &str, holds: impl Fn(f32) -> bool) -> Result<f32, String> {
    text.parse().ok().filter(|&x| holds(x)).ok_or_else(|| format!("expected {expected}"))
}
