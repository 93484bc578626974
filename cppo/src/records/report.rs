//! `report.html`: a run in one file to look at and to pass on. Style, script, curves and pictures are inside; nothing is fetched.
//!
//! In order: what the run achieved, accuracy by category with intervals, what went wrong in wrong answers, curves of all metrics,
//! sampled responses with their tokens coloured by entropy shift, the configuration.

mod accuracy;
mod chart;
mod curves;
pub(crate) mod html;
mod samples;
pub(crate) mod tokens;

use std::path::{Path, PathBuf};

use crate::config::{Config, Settings, SftRunConfig};
use crate::problems::tasks::TaskConfig;
use crate::records::run::{Evaluation, Launch, Metrics, RunError, RunFolder, Sample};
use html::{duration, escape};

/// Writes `report.html` into the run's folder from what is recorded there, and returns its path. A run in progress has a report, too.
///
/// # Errors
/// A folder that is no run, a damaged line, or a file that cannot be written. A picture that is missing is named in its place.
pub fn write_report(run: &Path) -> Result<PathBuf, RunError> {
    let folder = RunFolder::open(run)?;
    let page = render(&Recorded {
        config_text: folder.config_text()?,
        metrics: folder.metrics()?,
        evaluations: folder.evaluations()?,
        samples: folder.samples()?,
        starts: folder.starts()?,
        folder: folder.path().to_owned(),
    });
    folder.write(REPORT, page.as_bytes())?;
    Ok(folder.path().join(REPORT))
}

const REPORT: &str = "report.html";

/// All that a report is made of.
struct Recorded {
    folder: PathBuf,
    config_text: String,
    metrics: Vec<Metrics>,
    evaluations: Vec<Evaluation>,
    samples: Vec<Sample>,
    starts: Vec<Launch>,
}

fn render(run: &Recorded) -> String {
    let facts = facts(&run.config_text);
    let folder_name = run.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = facts.as_ref().and_then(|facts| facts.name.clone()).unwrap_or(folder_name);
    let sections = [
        accuracy::section(&run.evaluations),
        curves::section(&run.metrics),
        samples::section(&run.samples, &run.folder),
        configuration(&run.config_text),
    ]
    .concat();
    html::page(&name, &(header(&name, facts.as_ref(), run) + &sections))
}

/// What a report says of a configuration.
struct Facts {
    name: Option<String>,
    steps: u64,
    terms: Vec<(&'static str, String)>,
}

/// None if the text is no configuration of this version: the report then goes without.
fn facts(text: &str) -> Option<Facts> {
    let drawn = |task: &TaskConfig| {
        let families: Vec<&str> = task.families.iter().map(|family| family.name()).collect();
        format!("{}, level {}, {} pixels", families.join(" and "), task.level, task.size)
    };
    if let Ok(config) = Config::parse(text, "config.toml", &[]) {
        let terms = vec![
            ("Method", config.method.own.name().to_uppercase()),
            ("Task", config.data.as_ref().map_or_else(|| drawn(&config.task), |data| data.path.to_string())),
            ("Model", config.model.path.display().to_string()),
            ("Batch", format!("{} prompts × {} responses", config.rollout.prompts_per_step, config.method.group_size)),
            ("Learning rate", format!("{:e}", config.optim.learning_rate)),
            ("Seed", config.run.seed.to_string()),
        ];
        return Some(Facts { name: config.run.name, steps: config.train.steps, terms });
    }
    let SftRunConfig { run, task, sft, optim, .. } = SftRunConfig::parse(text, "config.toml", &[]).ok()?;
    let terms = vec![
        ("Method", "supervised".to_owned()),
        ("Task", drawn(&task)),
        ("Batch", format!("{} problems, {} in the warm start", sft.batch_size, sft.warm_start_batch_size)),
        ("Learning rate", format!("{:e}, {:e} in the warm start", optim.learning_rate, sft.warm_start_learning_rate)),
        ("Seed", run.seed.to_string()),
    ];
    Some(Facts { name: run.name, steps: sft.warm_start_steps + sft.steps, terms })
}

/// The name, what was run, and the headline numbers.
fn header(name: &str, facts: Option<&Facts>, run: &Recorded) -> String {
    let mut terms = facts.map_or_else(Vec::new, |facts| facts.terms.clone());
    terms.extend(circumstances(&run.starts));
    let what = if terms.is_empty() { String::new() } else { html::facts(&terms) };
    let mut tiles = accuracy::tiles(&run.evaluations);
    if let Some(last) = run.metrics.last() {
        let seconds: f64 = run.metrics.iter().filter_map(|step| step.get("time/step")).sum();
        let note = if seconds > 0.0 { format!("{} of training", duration(seconds)) } else { String::new() };
        let planned = facts.map(|facts| facts.steps).filter(|&steps| steps > last.step());
        let of = planned.map_or_else(String::new, |steps| format!("<small> of {steps}</small>"));
        tiles += &html::tile("Steps", &format!("{}{of}", last.step()), &note);
    }
    format!("<header>\n<h1>{}</h1>\n{what}<div class=\"tiles\">{tiles}</div>\n</header>\n", escape(name))
}

/// When and where the run was at work.
fn circumstances(starts: &[Launch]) -> Vec<(&'static str, String)> {
    let Some(first) = starts.first() else { return Vec::new() };
    let distinct = |of: fn(&Launch) -> &str| {
        let mut values: Vec<&str> = Vec::new();
        for value in starts.iter().map(of) {
            if !values.contains(&value) {
                values.push(value);
            }
        }
        values.join(", then ")
    };
    let resumed = match starts.len() - 1 {
        0 => String::new(),
        1 => format!("; resumed after step {}", starts[1].step),
        times => format!("; resumed {times} times, last after step {}", starts[times].step),
    };
    vec![
        ("Device", distinct(|start| &start.device)),
        ("Begun", first.time.replace('T', " ").replace('Z', " UTC") + &resumed),
        ("Command", format!("percept {} ({})", first.command, distinct(|start| &start.version))),
    ]
}

fn configuration(text: &str) -> String {
    format!("<section id=\"configuration\">\n<h2>Configuration</h2>\n<pre>{}</pre>\n</section>\n", escape(text.trim_end()))
}
