//! `percept score`: how probable a model finds each token of a given answer.

use std::io::Write;

use anyhow::Result;
use percept_model::{SpecialTokens, score};
use serde::Serialize;

use super::outcome::Outcome;
use super::question::{Asked, QuestionArgs};

/// Arguments of `percept score`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    question: QuestionArgs,
    /// The answer. Nothing is added to it.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    completion: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The JSON form.
#[derive(Serialize)]
struct Report {
    /// Length of the prompt.
    prompt_tokens: usize,
    /// Ids of the completion.
    tokens: Vec<u32>,
    /// Nats, at temperature 1.
    log_probs: Vec<f32>,
    /// Nats, at temperature 1.
    entropies: Vec<f32>,
}

/// Prints one row per token, or JSON, to `out`.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> Result<Outcome> {
    let Asked { files, model, question } = args.question.ask(errors)?;
    let tokens = files.tokenizer.encode(&args.completion)?;
    let scores = score(&model, &question.tokens, &question.pictures, &tokens)?;
    let (prompt_tokens, log_probs, entropies) = (question.tokens.len(), scores.log_probs, scores.entropies);
    if args.json {
        let report = Report { prompt_tokens, tokens, log_probs, entropies };
        writeln!(out, "{}", serde_json::to_string(&report)?)?;
        return Ok(Outcome::Done);
    }
    let (text, ranges) = files.tokenizer.decode_with_ranges(&tokens, SpecialTokens::Keep)?;
    writeln!(out, "{:>7}  {:>9}  {:>9}  text", "token", "log p", "entropy")?;
    for (((token, log_prob), entropy), range) in tokens.iter().zip(&log_probs).zip(&entropies).zip(ranges) {
        writeln!(out, "{token:>7}  {log_prob:>9.4}  {entropy:>9.4}  {:?}", &text[range])?;
    }
    let sum: f32 = log_probs.iter().sum();
    writeln!(out, "{} tokens after {prompt_tokens} of the prompt; log-probability {sum:.4} nats", tokens.len())?;
    Ok(Outcome::Done)
}
