//! What a run is about to do: the lines at its start, and `percept train --dry-run`, which says more and writes nothing.

use std::io::Write;

use anyhow::Result;
use percept_model::{Model, SpecialTokens};
use rayon::prelude::*;

use super::words::counted;
use crate::config::shipped;
use crate::config::{Config, reference_pages, wrapped};
use crate::error::TrainError;
use crate::problems::prompts::{EncodedPrompt, Problems};
use crate::training::trainer::Trainer;

/// Prompts whose length is counted.
const COUNTED: u64 = 512;

/// Model, data, batch and length, a line each.
pub(super) fn overview(config: &Config, trainer: &Trainer) -> Vec<String> {
    let Config { model, method, rollout, optim, train, .. } = config;
    let (trained, frozen) = parameters(trainer.model());
    let path = format!("{}{}", model.path.display(), shipped::source(&model.path).note());
    let updates = if train.updates_per_step > 1 { format!(", {} updates", train.updates_per_step) } else { String::new() };
    vec![
        format!("model: {path}, {}", parameters_in_words(trained, frozen)),
        format!("data: {}", data(config, trainer.problems())),
        format!(
            "step: {} prompts × {} responses of at most {} tokens{updates}",
            rollout.prompts_per_step, method.group_size, rollout.max_new_tokens
        ),
        format!("length: {} steps, learning rate {}", train.steps, reference_pages::shown(&optim.learning_rate.into())),
    ]
}

/// Everything that can be known of a run before it begins.
pub(super) fn print_dry_run(config: &Config, name: &str, trainer: &Trainer, further: &[String], out: &mut dyn Write) -> Result<()> {
    writeln!(out, "# {name}: what would be in force\n")?;
    write!(out, "{}", reference_pages::in_force(config))?;
    writeln!(out, "device: {}", trainer.model().device())?;
    for line in overview(config, trainer) {
        write!(out, "{}", wrapped("", "  ", &line))?;
    }
    for line in further {
        write!(out, "{}", wrapped("", "  ", line))?;
    }
    prompts(config, trainer, out)
}

/// Numbers of weights that are trained and that are not.
fn parameters(model: &Model) -> (usize, usize) {
    let trained = model.trainable().iter().map(|(_, tensor)| tensor.len()).sum();
    let frozen = model.parameters().filter(|(_, tensor)| !tensor.requires_grad()).map(|(_, tensor)| tensor.len()).sum();
    (trained, frozen)
}

/// `0.46 M parameters trained, 1.2 M frozen`.
pub(super) fn parameters_in_words(trained: usize, frozen: usize) -> String {
    let frozen = if frozen > 0 { format!(", {} frozen", millions(frozen)) } else { String::new() };
    format!("{} parameters trained{frozen}", millions(trained))
}

fn millions(count: usize) -> String {
    match count {
        10_000_000.. => format!("{:.0} M", count as f64 / 1e6),
        100_000.. => format!("{:.2} M", count as f64 / 1e6),
        _ => count.to_string(),
    }
}

fn data(config: &Config, problems: &Problems) -> String {
    let needed = config.train.steps.saturating_mul(config.rollout.prompts_per_step as u64);
    match problems {
        Problems::Task(_) => {
            format!("drawn {}, level {}; {}, each once", config.task.name(), config.task.level, counted(needed as usize, "problem"))
        }
        Problems::Data(data) => {
            let path = config.data.as_ref().map_or_else(String::new, |data| data.path.to_string());
            let count = data.examples.len();
            let bad = data.bad_rows.len();
            let left_out = if bad == 0 { String::new() } else { format!(" ({} left out)", counted(bad, "bad row")) };
            format!("{path}, {}{left_out}, {:.1} times over", counted(count, "problem"), needed as f64 / count.max(1) as f64)
        }
    }
}

/// How long prompts are, and the first as the model reads it.
fn prompts(config: &Config, trainer: &Trainer, out: &mut dyn Write) -> Result<()> {
    let (problems, encoder) = (trainer.problems(), trainer.encoder());
    let there = match problems {
        Problems::Task(_) => config.train.steps.saturating_mul(config.rollout.prompts_per_step as u64),
        Problems::Data(data) => data.examples.len() as u64,
    };
    let count = there.clamp(1, COUNTED);
    let asked = problems.training(0..count, config.run.seed)?;
    let encoded: Vec<EncodedPrompt> = asked.par_iter().map(|prompt| encoder.encode(prompt)).collect::<Result<_, TrainError>>()?;
    let lengths: Vec<usize> = encoded.iter().map(|prompt| prompt.tokens.len()).collect();
    writeln!(out, "\ntokens of a prompt, the first {count}:")?;
    write!(out, "{}", histogram(&lengths))?;
    let (longest, context) = (lengths.iter().max().copied().unwrap_or(0), trainer.model().config().text.max_position_embeddings);
    let total = longest + config.rollout.max_new_tokens;
    let verdict = if total <= context { "fits" } else { "DOES NOT FIT" };
    writeln!(out, "the longest with its response: {total} tokens; {verdict} the model's {context}")?;
    let Some((first, prompt)) = encoded.first().zip(asked.first()) else { return Ok(()) };
    let (text, _) = encoder.files().tokenizer.decode_with_ranges(&first.tokens, SpecialTokens::Keep)?;
    writeln!(out, "\nthe first prompt; the right answer is {}:", prompt.answer)?;
    for line in shortened(&text).lines() {
        write!(out, "{}", wrapped("  ", "  ", line))?;
    }
    let ids: Vec<String> = first.tokens.iter().map(u32::to_string).collect();
    writeln!(out, "as tokens:")?;
    write!(out, "{}", wrapped("  ", "  ", &shortened_ids(&ids).join(" ")))?;
    Ok(())
}

/// At most ten ranges of equal width, with a bar for each.
fn histogram(values: &[usize]) -> String {
    const RANGES: usize = 10;
    let (low, high) = (values.iter().min().copied().unwrap_or(0), values.iter().max().copied().unwrap_or(0));
    let width = (high - low + 1).div_ceil(RANGES);
    let counts: Vec<usize> =
        (0..(high - low + 1).div_ceil(width)).map(|range| values.iter().filter(|value| (**value - low) / width == range).count()).collect();
    let most = counts.iter().max().copied().unwrap_or(1).max(1);
    let line = |(range, count): (usize, &usize)| {
        let (from, to) = (low + range * width, (low + (range + 1) * width - 1).min(high));
        let name = if from == to { from.to_string() } else { format!("{from} to {to}") };
        format!("  {name:>16} {count:>6}  {}\n", "#".repeat((count * 40).div_ceil(most)))
    };
    counts.iter().enumerate().map(line).collect()
}

/// A text in which a piece that stands many times in a row, as that of a picture does, stands once with its number.
fn shortened(text: &str) -> String {
    let mut shortened = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('<') {
        let Some(length) = rest[start..].find('>') else { break };
        let piece = &rest[start..=start + length];
        let times = rest.as_bytes()[start..].chunks(piece.len()).take_while(|chunk| *chunk == piece.as_bytes()).count();
        shortened += &rest[..start];
        shortened += &if times > 3 { format!("{piece}×{times}") } else { piece.repeat(times) };
        rest = &rest[start + times * piece.len()..];
    }
    shortened + rest
}

fn shortened_ids(ids: &[String]) -> Vec<String> {
    let runs = ids.chunk_by(|a, b| a == b);
    runs.flat_map(|run| if run.len() > 3 { vec![format!("{}×{}", run[0], run.len())] } else { run.to_vec() }).collect()
}
