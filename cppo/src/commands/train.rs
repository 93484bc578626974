//! `percept train`: reinforcement learning.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use percept_engine::trace::trace_table;
use percept_engine::{Device, Rates};

use super::arguments::ConfigArgs;
use super::device::open_device_of;
use super::outcome::{Advised, Outcome};
use super::overview::{overview, print_dry_run};
use super::place::checkpoint_of;
use super::plan::{Available, verdict};
use super::ranks;
use super::resumed::{AcceptArgs, compare_beginning};
use super::session::{Course, Session, at_step, is_stop_requested, restore_last};
use super::sources::{Sources, Unseen};
use crate::config::{Config, ConfigError, Reduce, Settings, changed};
use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Problems};
use crate::problems::reading::Reader;
use crate::records::run::{Beginning, RunFolder};
use crate::studies::plan::Plan;
use crate::training::evaluate::{Decoding, Measuring, evaluate_among};
use crate::training::policy::{directory, load_encoder, load_policy};
use crate::training::reduce::Rows;
use crate::training::samples;
use crate::training::trainer::{StepOutput, Trainer};
use crate::training::world::World;

/// Arguments of `percept train`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Resume the run in this folder, from its last checkpoint, with its configuration. With `--set train.steps=N` it becomes longer. `auto`: with a configuration that has a run.name, resume the run of that name, or
    /// begin it if there is none; the same command then does for a job that is started again and again.
    #[arg(long, value_name = "RUN")]
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
pub(super) fn run(args: &Args, world: &World, out: &mut dyn Write) -> Result<Outcome> {
    // ranks share the memory of their machines: `percept plan` is for one
    let planning = if args.no_plan || world.size() > 1 { Planning::None } else { Planning::First };
    let Some(path) = args.resume.as_ref().filter(|path| *path != Path::new(AUTO)) else {
        let mut config = args.config.load()?;
        config.model.path = checkpoint_of(&config.model.path, out)?;
        if args.dry_run {
            return dry_run(&config, &args.config.name(), planning, world, out);
        }
        let old = match args.resume {
            Some(_) => named_run(&mut config, world)?,
            None => None,
        };
        let config = ranks::resolved(config, world);
        return train_run(&config, old, args.accept, planning, world, out);
    };
    if args.config.is_given() {
        let problem = format!("--resume {}: a run goes on with its own configuration, got {} besides", path.display(), args.config.name());
        return Err(ConfigError::Range { origin: "arguments".into(), problem }.into());
    }
    let (mut folder, mut text) = (None, Vec::new());
    if world.is_first() {
        let run = RunFolder::open(path)?;
        text = continued(&run, &args.config.overrides, args.accept)?.to_toml().into_bytes();
        folder = Some(run);
    }
    // the others need not see the folder
    let text = String::from_utf8(world.from_first("the configuration of the run", || text))?;
    let config = Config::parse(&text, &path.display().to_string(), &[])?;
    train_run(&config, folder, args.accept, planning, world, out)
}

/// The word for a run that is resumed if it is there.
const AUTO: &str = "auto";

/// The run that the configuration names, if it is there; what it began with as for `train.reduce` is in force.
fn named_run(config: &mut Config, world: &World) -> Result<Option<RunFolder>> {
    let Some(name) = &config.run.name else {
        let problem = "--resume auto: expected a run.name, by which the run is found again (--set run.name=NAME)".to_owned();
        return Err(ConfigError::Range { origin: "arguments".into(), problem }.into());
    };
    let mut folder = None;
    if world.is_first() && config.run.folder.join(name).join("config.toml").exists() {
        folder = Some(RunFolder::open(&config.run.folder.join(name))?);
    }
    let found = || folder.as_ref().map(|folder| folder.config::<Config>().map(|before| before.train.reduce)).transpose();
    let before = world.from_first("how the run began", || serde_json::to_vec(&found().ok().flatten()).expect("plain data"));
    if let (Some(before), Reduce::Auto) = (serde_json::from_slice::<Option<Reduce>>(&before)?, config.train.reduce) {
        config.train.reduce = before;
    }
    Ok(folder)
}

/// Trains in the folder `old`, from its last checkpoint on, or in a new one. Folders are the first rank's.
pub(super) fn train_run(
    config: &Config,
    old: Option<RunFolder>,
    accept: AcceptArgs,
    planning: Planning,
    world: &World,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let clock = Instant::now();
    ranks::check(config, world)?;
    let device = open_device_of(&config.run.device, world)?;
    let Start { mut trainer, unseen, beginning, plan: memory } = Start::new(config, &device, planning, world, out)?;
    let mut beginning = beginning.with_model(Some(&directory(&config.model.path)?))?;
    ranks::compare(world, &config.to_toml(), &beginning, &device)?;
    let (mut folder, mut before, mut notices) = (None, config.clone(), Vec::new());
    if world.is_first() {
        // a folder is made when there is something to put into it
        let run = match old {
            Some(run) => {
                before = run.config::<Config>()?;
                run
            }
            None => RunFolder::create(config)?,
        };
        beginning.config = run.config_text()?;
        notices = compare_beginning::<Config>(&run, &beginning, CHANGEABLE, accept)?;
        restore_last(&run, |checkpoint| trainer.restore(checkpoint))?;
        folder = Some(run);
    }
    trainer.share_state()?;
    let done = trainer.progress().step;
    if done > config.train.steps {
        let problem = format!("train.steps: expected at least {done}, which are done, got {}", config.train.steps);
        let origin = folder.map_or_else(String::new, |folder| folder.path().display().to_string());
        return Err(ConfigError::Range { origin, problem }.into());
    }

    beginning.config = config.to_toml();
    if let Some(folder) = &folder {
        folder.note_beginning(&beginning)?;
    }
    let course = Course {
        command: "train",
        steps: config.train.steps,
        save_every: config.train.save_every,
        keep_checkpoints: config.train.keep_checkpoints,
        updates_per_step: config.train.updates_per_step,
    };
    let path = folder.as_ref().map_or_else(String::new, |folder| folder.path().display().to_string());
    let of_ranks = ranks::lines(world, &device, clock);
    let mut session = Session::new(folder, course, done, &device, out)?;
    session.say(format_args!("{} on {device}; run folder {path}", config.method.own.name()));
    of_ranks.iter().for_each(|line| session.say(line));
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
fn dry_run(config: &Config, name: &str, planning: Planning, world: &World, out: &mut dyn Write) -> Result<Outcome> {
    ranks::check(config, world)?;
    let device = open_device_of(&config.run.device, world)?;
    let Start { trainer, unseen, plan, .. } = Start::new(config, &device, planning, world, out)?;
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
    pub(super) fn new(config: &Config, device: &Device, planning: Planning, world: &World, out: &mut dyn Write) -> Result<Start> {
        let encoder = load_encoder(&config.model)?;
        let reader = Reader { encoder: &encoder, model: &encoder.files().config, max_new_tokens: config.rollout.max_new_tokens };
        let Sources { training, unseen, beginning } = Sources::open(config, reader, out)?;
        let plan = match planning {
            Planning::First => Some(planned(config, &encoder, &training, device, world.size())?),
            Planning::None => None,
        };
        let model = load_policy(&config.model, device, config.run.seed)?;
        let trainer = Trainer::of_rank(world, model, encoder, training, config.clone())?;
        Ok(Start { trainer, unseen, beginning, plan })
    }
}

/// What memory a run needs, in a line.
///
/// # Errors
/// If that is more than there is.
fn planned(config: &Config, encoder: &Encoder, problems: &Problems, device: &Device, ranks: usize) -> Result<String> {
    let plan = Plan::of_rank(ranks, config, encoder, problems, Rates::INFINITE)?;
    let available = Available::on(device);
    let said = verdict(&plan, config, available);
    match available.fits(&plan) {
        Some(false) => {
            let advice = "percept plan says what needs it; --no-plan starts all the same".to_owned();
            Err(Advised { error: anyhow::anyhow!("{said}"), advice, outcome: Outcome::Failed }.into())
        }
        _ => Ok(said),
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
    let (steps, every, world) = (config.train.steps, config.eval.every, trainer.world().clone());
    if trainer.progress().step == 0 {
        measure(config, trainer, evaluation, config.eval.problems, session)?;
    }
    let mut beginning = FirstSteps::default();
    let mut stop = is_stop_requested(&world);
    while !stop && trainer.progress().step < steps {
        let output = match trainer.step() {
            Err(error @ (TrainError::Reward(_) | TrainError::Rank { .. })) => {
                save_before(trainer, session)?;
                // the others must not end what the first is writing
                world.gather("the checkpoint before an error", Vec::new());
                return at_step(trainer.progress().step + 1, Err(error));
            }
            output => at_step(trainer.progress().step + 1, output)?,
        };
        let step = output.step;
        for failed in failed_rewards(&output, &world) {
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
        stop = is_stop_requested(&world);
        if stop || is_best || session.is_save_due(step) {
            let best = trainer.progress().best.map(|best| best.step);
            let trained = at_step(step, trainer.trained())?;
            session.save(step, best, |checkpoint| trainer.save_with(checkpoint, &trained))?;
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
fn save_before(trainer: &Trainer, session: &mut Session<'_>) -> Result<()> {
    let step = trainer.progress().step;
    let best = trainer.progress().best.map(|best| best.step);
    let trained = at_step(step, trainer.trained())?;
    if step > 0
        && !session.is_saved(step)
        && let Err(error) = session.save(step, best, |checkpoint| trainer.save_with(checkpoint, &trained))
    {
        session.say(format_args!("step {step} cannot be saved: {error:#}"));
    }
    Ok(())
}

/// The responses to some of the step's prompts, every so often.
fn record_samples(config: &Config, trainer: &Trainer, output: &StepOutput, session: &mut Session<'_>) -> Result<()> {
    let (step, every) = (output.step, config.train.sample_every);
    if every > 0 && (step == 1 || step == config.train.steps || step.is_multiple_of(every)) {
        let sampled = samples::first(config.train.sample_prompts, trainer, step, &output.groups)?;
        if let Some(recorder) = session.recorder() {
            sampled.iter().try_for_each(|of_group| of_group.record(recorder))?;
        }
    }
    Ok(())
}

/// What is to be said of the rewards that failed, on all ranks.
fn failed_rewards(output: &StepOutput, world: &World) -> Vec<String> {
    let own: Vec<String> = output.failed_rewards.iter().map(ToString::to_string).collect();
    let all = world.gather("the rewards that failed", serde_json::to_vec(&own).expect("plain data"));
    all.iter().flat_map(|of_rank| serde_json::from_slice::<Vec<String>>(of_rank).expect("what a rank sends is whole")).collect()
}

/// Greedy and sampled accuracy on the first `count` unseen problems, the same each time; whether it is the best so far.
fn measure(config: &Config, trainer: &mut Trainer, source: Option<&Unseen>, count: usize, session: &mut Session<'_>) -> Result<bool> {
    let Some(source) = source.filter(|_| count > 0) else { return Ok(false) };
    let step = trainer.progress().step;
    let prompts = source.prompts(count)?;
    let sampled = Decoding::Sampled { temperature: config.eval.temperature, samples: config.eval.samples };
    let mut accuracy = 0.0;
    for decoding in [Decoding::Greedy, sampled] {
        let (model, encoder, world, rows) = (trainer.model(), trainer.encoder(), trainer.world(), Rows::of(trainer.adding()));
        let how = Measuring { decoding, rollout: config.rollout, step, seed: config.run.seed };
        let measured = evaluate_among(world, rows, model, encoder, prompts.clone(), how, |_, _| {});
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
