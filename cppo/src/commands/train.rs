//! `percept train`: reinforcement learning.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_engine::trace::trace_table;
use percept_engine::{Device, Rates};

use super::arguments::ConfigArgs;
use super::device::open_device;
use super::interrupt;
use super::outcome::{Advised, Outcome};
use super::overview::{overview, print_dry_run};
use super::place::checkpoint_of;
use super::plan::{Available, verdict};
use super::resumed::{AcceptArgs, compare_beginning};
use super::session::{Course, Session, at_step, restore_last};
use super::sources::{Sources, Unseen};
use crate::config::{Config, ConfigError, Settings, changed};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reading::Reader;
use crate::records::run::{Beginning, RunFolder};
use crate::studies::plan::Plan;
use crate::training::evaluate::{Decoding, Measuring, evaluate};
use crate::training::policy::{directory, load_encoder, load_policy};
use crate::training::trainer::{StepOutput, Trainer};

/// Arguments of `percept train`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Resume the run in this folder, from its last checkpoint, with its configuration. With `--set train.steps=N` it becomes longer.
    #[arg(long, value_name = "RUN", conflicts_with = "config")]
    resume: Option<PathBuf>,
    #[command(flatten)]
    accept: AcceptArgs,
    /// Write nothing: say what would be in force, what is trained on what, how long prompts are, and show the first.
    #[arg(long, conflicts_with = "resume")]
    dry_run: bool,
    /// Start without planning, and so also where memory will not be enough; see `percept plan`.
    #[arg(long)]
    no_plan: bool,
}

/// Whether a run is planned before it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Planning {
    /// It is, and one that cannot fit does not start.
    First,
    /// It is not.
    None,
}

/// Trains, measures before, during and after, and writes the report.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let planning = if args.no_plan { Planning::None } else { Planning::First };
    let Some(path) = &args.resume else {
        let mut config = args.config.load()?;
        config.model.path = checkpoint_of(&config.model.path, out)?;
        return if args.dry_run {
            dry_run(&config, &args.config.name(), planning, out)
        } else {
            train_run(&config, None, AcceptArgs::default(), planning, out)
        };
    };
    let folder = RunFolder::open(path)?;
    let config = continued(&folder, &args.config.overrides, args.accept)?;
    train_run(&config, Some(folder), args.accept, planning, out)
}

/// Trains in the folder `old`, from its last checkpoint on, or in a new one.
pub(super) fn train_run(
    config: &Config,
    old: Option<RunFolder>,
    accept: AcceptArgs,
    planning: Planning,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let device = open_device(&config.run.device)?;
    let Start { mut trainer, unseen, beginning, plan: memory } = Start::new(config, &device, planning, out)?;
    // a folder is made when there is something to put into it
    let (folder, before) = match old {
        Some(folder) => {
            let before = folder.config::<Config>()?;
            (folder, before)
        }
        None => (RunFolder::create(config)?, config.clone()),
    };
    let mut beginning = beginning.with_model(Some(&directory(&config.model.path)?))?;
    beginning.config = folder.config_text()?;
    let notices = compare_beginning::<Config>(&folder, &beginning, CHANGEABLE, accept)?;
    restore_last(&folder, |checkpoint| trainer.restore(checkpoint))?;
    let done = trainer.progress().step;
    if done > config.train.steps {
        let problem = format!("train.steps: expected at least {done}, which are done, got {}", config.train.steps);
        return Err(ConfigError::Range { origin: folder.path().display().to_string(), problem }.into());
    }

    beginning.config = config.to_toml();
    folder.note_beginning(&beginning)?;
    let course = Course {
        command: "train",
        steps: config.train.steps,
        save_every: config.train.save_every,
        keep_checkpoints: config.train.keep_checkpoints,
        updates_per_step: config.train.updates_per_step,
    };
    let path = folder.path().display().to_string();
    let mut session = Session::new(folder, course, done, &device, out)?;
    session.say(format_args!("{} on {device}; run folder {path}", config.method.own.name()));
    notices.iter().for_each(|notice| session.say(notice));
    overview(config, &trainer).iter().for_each(|line| session.say(line));
    session.say(measured_on(config, unseen.as_ref()));
    memory.iter().for_each(|line| session.say(line));
    if before.train.steps != config.train.steps {
        session.say(lengthened(&before, config, done));
    }
    session.note_settings(config, &before)?;
    let outcome = train(config, &mut trainer, unseen.as_ref(), &mut session).map_err(|error| session.advise(error))?;
    // under PERCEPT_TRACE=1
    let times = device.take_trace()?;
    if !times.is_empty() {
        session.say(trace_table(&times));
    }
    Ok(outcome)
}

/// The settings of a run that goes on, with those changed that may change.
fn continued(folder: &RunFolder, overrides: &[String], accept: AcceptArgs) -> Result<Config> {
    let before: Config = folder.config()?;
    let config: Config = folder.config_with(overrides)?;
    let key = changed(&before, &config).into_iter().find(|key| !CHANGEABLE.contains(&key.as_str()));
    if let Some(key) = key.filter(|_| !accept.accept_changes) {
        let problem =
            format!("{key}: a run goes on with what it began with; expected one of {}, or --accept-changes", CHANGEABLE.join(", "));
        return Err(ConfigError::Range { origin: format!("--resume {}", folder.path().display()), problem }.into());
    }
    Ok(config)
}

/// What does not change how a step is made from the one before.
const CHANGEABLE: &[&str] = &[
    "train.steps",
    "train.save_every",
    "train.keep_checkpoints",
    "train.sample_prompts",
    "train.sample_every",
    "eval.problems",
    "eval.problems_during_training",
    "eval.every",
    "run.device",
    "run.folder",
    "run.name",
    // what they name is compared
    "model.path",
    "data.path",
    "eval.data.path",
];

/// What another length does to the learning rate.
fn lengthened(before: &Config, config: &Config, done: u64) -> String {
    let (from, to) = (before.train.steps, config.train.steps);
    let rates = |steps: u64| (1..=done).map(|step| config.optim.learning_rate_at(step, steps)).collect::<Vec<_>>();
    let schedule = match rates(from) == rates(to) {
        true => format!("the learning rate is that of a run of {to} steps from the start"),
        false => format!("the learning rate so far fell as in a run of {from} steps; from here on it is that of a run of {to}"),
    };
    format!("train.steps: {from} before, {to} now; {schedule}")
}

/// Says what a run would do, and writes nothing.
fn dry_run(config: &Config, name: &str, planning: Planning, out: &mut dyn Write) -> Result<Outcome> {
    let device = open_device(&config.run.device)?;
    let Start { trainer, unseen, plan, .. } = Start::new(config, &device, planning, out)?;
    let lines: Vec<String> = [measured_on(config, unseen.as_ref())].into_iter().chain(plan).collect();
    print_dry_run(config, name, &trainer, &lines, out)?;
    Ok(Outcome::Done)
}

/// What a run begins with.
pub(super) struct Start {
    pub(super) trainer: Trainer,
    pub(super) unseen: Option<Unseen>,
    beginning: Beginning,
    /// The line that says what memory it needs, if it was planned.
    plan: Option<String>,
}

impl Start {
    /// Reads the problems, plans, and loads the model.
    ///
    /// # Errors
    /// Of the files, or if memory is known not to be enough.
    pub(super) fn new(config: &Config, device: &Device, planning: Planning, out: &mut dyn Write) -> Result<Start> {
        let encoder = load_encoder(&config.model)?;
        let reader = Reader { encoder: &encoder, model: &encoder.files().config, max_new_tokens: config.rollout.max_new_tokens };
        let Sources { training, unseen, beginning } = Sources::open(config, reader, out)?;
        let plan = match planning {
            Planning::First => Some(planned(config, &encoder, &training, device)?),
            Planning::None => None,
        };
        let model = load_policy(&config.model, device, config.run.seed)?;
        Ok(Start { trainer: Trainer::new(model, encoder, training, config.clone())?, unseen, beginning, plan })
    }
}

/// What memory a run needs, in a line.
///
/// # Errors
/// If that is more than there is.
fn planned(config: &Config, encoder: &Encoder, problems: &Problems, device: &Device) -> Result<String> {
    let plan = Plan::new(config, encoder, problems, Rates::INFINITE)?;
    let available = Available::on(device);
    let said = verdict(&plan, config, available);
    match available.fits(&plan) {
        Some(false) => {
            let advice = "percept plan says what needs it; --no-plan starts all the same".to_owned();
            Err(Advised { error: anyhow::anyhow!("memory: {said}"), advice, outcome: Outcome::Failed }.into())
        }
        _ => Ok(format!("memory: {said}")),
    }
}

fn measured_on(config: &Config, unseen: Option<&Unseen>) -> String {
    match unseen {
        Some(_) if config.eval.problems == 0 => "nothing is measured: eval.problems is 0".into(),
        Some(unseen) => format!("measured on {}", unseen.name()),
        None => "nothing is measured: there are no problems that are not trained on; set eval.data to a file of them, or eval.holdout to how many to keep back".into(),
    }
}

fn train(config: &Config, trainer: &mut Trainer, evaluation: Option<&Unseen>, session: &mut Session<'_>) -> Result<Outcome> {
    let (steps, every) = (config.train.steps, config.eval.every);
    if trainer.progress().step == 0 {
        measure(config, trainer, evaluation, config.eval.problems, session)?;
    }
    let mut beginning = FirstSteps::default();
    let mut stop = interrupt::requested();
    while !stop && trainer.progress().step < steps {
        let output = match trainer.step() {
            Err(error @ TrainError::Reward(_)) => {
                save_before(trainer, session);
                return at_step(trainer.progress().step + 1, Err(error));
            }
            output => at_step(trainer.progress().step + 1, output)?,
        };
        let step = output.step;
        for failed in &output.failed_rewards {
            session.say(format_args!("step {step}: {failed}; it counts as 0"));
        }
        at_step(step, session.record(&output.metrics, &summary(&output)))?;
        record_samples(config, trainer, &output, session)?;
        beginning.note(&output, session);
        let is_best = if step == steps {
            measure(config, trainer, evaluation, config.eval.problems, session)?
        } else {
            let is_due = every > 0 && step.is_multiple_of(every);
            is_due && measure(config, trainer, evaluation, config.eval.problems_during_training, session)?
        };
        stop = interrupt::requested();
        if stop || is_best || session.is_save_due(step) {
            let best = trainer.progress().best.map(|best| best.step);
            session.save(step, best, |checkpoint| trainer.save(checkpoint))?;
        }
    }
    session.finish(trainer.progress().step)
}

/// Whether anything can be learnt from the first steps: a run without it is better stopped than waited for.
#[derive(Default)]
struct FirstSteps {
    /// The steps so far, of which in none a response was right, and in none the rewards of a group differed.
    steps: u64,
    none_right: u64,
    none_differ: u64,
}

impl FirstSteps {
    const STEPS: u64 = 10;

    fn note(&mut self, output: &StepOutput, session: &mut Session<'_>) {
        let is = |name: &str, value: f64| u64::from(output.metrics.get(name) == Some(value));
        self.steps += 1;
        self.none_right += is("rewards/accuracy", 0.0);
        self.none_differ += is("frac_reward_zero_std", 1.0);
        if self.steps != FirstSteps::STEPS {
            return;
        }
        if self.none_right == self.steps {
            session.say(format_args!(
                "WARNING: no response was right in {} steps. Does the model know the form of an answer (`percept generate` shows what it says, `percept sft` teaches it), \
                 and do the data's answers have that form? model.instruction can ask for it",
                self.steps
            ));
        }
        if self.none_differ == self.steps {
            session.say(format_args!(
                "WARNING: in {} steps no group had responses of different rewards, so nothing was learnt. More responses (method.group_size), a higher \
                 rollout.temperature, or easier or harder problems would tell them apart",
                self.steps
            ));
        }
    }
}

/// A reward fails before its step has changed anything: what was learnt up to there is whole, and saved.
fn save_before(trainer: &Trainer, session: &mut Session<'_>) {
    let step = trainer.progress().step;
    let best = trainer.progress().best.map(|best| best.step);
    if step > 0
        && !session.is_saved(step)
        && let Err(error) = session.save(step, best, |checkpoint| trainer.save(checkpoint))
    {
        session.say(format_args!("step {step} cannot be saved: {error:#}"));
    }
}

/// The responses to some of the step's prompts, every so often.
fn record_samples(config: &Config, trainer: &Trainer, output: &StepOutput, session: &mut Session<'_>) -> Result<()> {
    let (step, every) = (output.step, config.train.sample_every);
    if every > 0 && (step == 1 || step == config.train.steps || step.is_multiple_of(every)) {
        for group in output.groups.iter().take(config.train.sample_prompts) {
            crate::training::samples::record(session.recorder(), trainer.encoder(), trainer.rewards(), step, group)?;
        }
    }
    Ok(())
}

/// Greedy and sampled accuracy on the first `count` unseen problems, the same each time; whether it is the best so far.
fn measure(config: &Config, trainer: &mut Trainer, source: Option<&Unseen>, count: usize, session: &mut Session<'_>) -> Result<bool> {
    let Some(source) = source.filter(|_| count > 0) else { return Ok(false) };
    let step = trainer.progress().step;
    let prompts = source.prompts(count)?;
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
    let mut accuracy = 0.0;
    for decoding in [Decoding::Greedy, sampled] {
        let (model, encoder) = (trainer.model(), trainer.encoder());
        let how = Measuring { decoding, max_new_tokens: config.rollout.max_new_tokens, step, seed: config.run.seed };
        let measured = evaluate(model, encoder, prompts.clone(), how, |_, _| {});
        let measured = measured.map_err(anyhow::Error::from).map_err(|error| error.context(format!("evaluation after step {step}")))?;
        accuracy = session.evaluation(&measured)?;
    }
    // the last is the sampled one, the headline
    Ok(trainer.note_accuracy(accuracy))
}

fn summary(output: &StepOutput) -> String {
    let value = |name: &str| output.metrics.get(name).unwrap_or(f64::NAN);
    format!("reward {:.3}  accuracy {:.2}  entropy {:.3}", value("reward"), value("rewards/accuracy"), value("entropy"))
}
