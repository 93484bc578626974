//! `report.html`: a run in one file to look at and to pass on. Style, script, curves and pictures are inside; nothing is fetched.
//!
//! In order: what the run achieved, accuracy by category with intervals, what went wrong in wrong answers, curves of all metrics,
//! sampled responses with their tokens coloured by entropy shift, the configuration.

mod accuracy;
mod chart;
mod curves;
mod html;
mod samples;

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::run::{Evaluation, Metrics, RunError, RunFolder, Sample};
use html::{duration, escape};

/// Writes `report.html` into the run's folder from what is recorded there, and returns its path. A run in progress has a report, too.
///
/// # Errors
/// A folder that is no run, a damaged line, a picture of a sample that is not there, or a file that cannot be written.
pub fn write_report(run: &Path) -> Result<PathBuf, RunError> {
    let folder = RunFolder::open(run)?;
    let page = render(&Recorded {
        config_text: folder.config_text()?,
        metrics: folder.metrics()?,
        evaluations: folder.evaluations()?,
        samples: folder.samples()?,
        folder: folder.path().to_owned(),
    })?;
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
}

fn render(run: &Recorded) -> Result<String, RunError> {
    // an older version's configuration may have other keys: the report then goes without what it says
    let config = Config::parse(&run.config_text, "config.toml", &[]).ok();
    let folder_name = run.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let name = config.as_ref().and_then(|config| config.run.name.clone()).unwrap_or(folder_name);
    let sections = [
        accuracy::section(&run.evaluations),
        curves::section(&run.metrics),
        samples::section(&run.samples, &run.folder)?,
        configuration(&run.config_text),
    ]
    .concat();
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title} · Percept</title>\n\
         <style>\n{style}</style>\n</head>\n<body>\n<main>\n{header}{sections}</main>\n<footer>Percept {version}</footer>\n\
         <script>\n{script}</script>\n</body>\n</html>\n",
        title = escape(&name),
        style = include_str!("report/style.css"),
        script = include_str!("report/script.js"),
        header = header(&name, config.as_ref(), run),
        version = env!("CARGO_PKG_VERSION"),
    ))
}

/// The name, what was run, and the headline numbers.
fn header(name: &str, config: Option<&Config>, run: &Recorded) -> String {
    let what = config.map_or_else(String::new, |config| {
        let task = match &config.data {
            Some(data) => data.path.display().to_string(),
            None => {
                let families: Vec<&str> = config.task.families.iter().map(|family| family.name()).collect();
                format!("{}, level {}, {} pixels", families.join(" and "), config.task.level, config.task.size)
            }
        };
        let facts = [
            ("Method", config.method.name.name().to_uppercase()),
            ("Task", task),
            ("Model", config.model.path.display().to_string()),
            ("Batch", format!("{} prompts × {} responses", config.rollout.prompts_per_step, config.method.group_size)),
            ("Learning rate", format!("{:e}", config.optim.learning_rate)),
            ("Seed", config.run.seed.to_string()),
        ];
        let items: String = facts.iter().map(|(term, fact)| format!("<div><dt>{term}</dt><dd>{}</dd></div>", escape(fact))).collect();
        format!("<dl class=\"facts\">{items}</dl>\n")
    });
    let mut tiles = accuracy::tiles(&run.evaluations);
    if let Some(last) = run.metrics.last() {
        let seconds: f64 = run.metrics.iter().filter_map(|step| step.get("time/step")).sum();
        let note = if seconds > 0.0 { format!("{} of training", duration(seconds)) } else { String::new() };
        let of = config.map_or_else(String::new, |config| match config.train.steps {
            steps if steps > last.step() => format!("<small> of {steps}</small>"),
            _ => String::new(),
        });
        tiles += &html::tile("Steps", &format!("{}{of}", last.step()), &note);
    }
    format!("<header>\n<h1>{}</h1>\n{what}<div class=\"tiles\">{tiles}</div>\n</header>\n", escape(name))
}

fn configuration(text: &str) -> String {
    format!("<section id=\"configuration\">\n<h2>Configuration</h2>\n<pre>{}</pre>\n</section>\n", escape(text.trim_end()))
}
