//! `percept train`, the whole program: it repeats, and a run that was killed, interrupted or starved of space goes on to the same bits.

mod changed;
mod damage;
mod longer;
mod places;
#[cfg(unix)]
mod signals;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use percept_cppo::commands::Outcome;
use percept_cppo::records::run::RunFolder;
use percept_cppo::training::checkpoint::read_progress;

use crate::program::{Closed, assert_nothing_is_half_written, copy_folder, percept, record, text};
use crate::trainer::start;

/// A run of seven small steps in `folder`, which changes `overrides`.
pub(super) fn arguments(folder: &Path, name: &str, overrides: &[&str]) -> Vec<String> {
    let model = start().join("model");
    let own = [
        format!("run.folder={}", text(folder)),
        format!("run.name={name}"),
        format!("model.path={}", text(&model)),
        "run.device=cpu".into(),
        "task.level=1".into(),
        "method.group_size=4".into(),
        "rollout.prompts_per_step=2".into(),
        "rollout.max_new_tokens=30".into(),
        "optim.learning_rate=1e-3".into(),
        "train.steps=7".into(),
        "train.save_every=3".into(),
        "train.sample_every=2".into(),
        "train.sample_prompts=1".into(),
        "eval.problems=4".into(),
        "eval.problems_during_training=2".into(),
        "eval.every=5".into(),
        "eval.samples=2".into(),
    ];
    let overrides = own.into_iter().chain(overrides.iter().map(|text| (*text).to_owned()));
    ["train".to_owned()].into_iter().chain(overrides.flat_map(|assignment| ["--set".to_owned(), assignment])).collect()
}

/// `percept train` in this process.
pub(super) fn train(folder: &Path, name: &str, overrides: &[&str]) -> (Outcome, String, String) {
    let arguments = arguments(folder, name, overrides);
    percept(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The run that nothing happened to.
pub(super) fn undisturbed() -> &'static Path {
    static RUN: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, run) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (outcome, out, errors) = train(folder.path(), "whole", &[]);
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
        let run = folder.path().join("whole");
        (folder, run)
    });
    run
}

/// Goes on with a run; it ends as the undisturbed one did.
#[track_caller]
pub(super) fn resume_and_compare(run: &Path) {
    let (outcome, out, errors) = percept(&["train", "--resume", text(run)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert_eq!(record(run), record(undisturbed()));
    assert_nothing_is_half_written(run);
    assert!(run.join("report.html").is_file());
}

/// A folder with a copy of the undisturbed run, named `copy`.
pub(super) fn copy() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("copy");
    copy_folder(undisturbed(), &run);
    (folder, run)
}

#[test]
fn the_same_seed_gives_the_same_run_and_another_seed_another() {
    let folder = tempfile::tempdir().unwrap();
    let (outcome, out, _) = train(folder.path(), "again", &[]);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(record(&folder.path().join("again")), record(undisturbed()));
    assert!(out.contains("step 0: greedy accuracy") && out.contains("step 7: sampled accuracy") && out.contains("report.html"), "{out}");
    assert_eq!(train(folder.path(), "other", &["run.seed=1"]).0, Outcome::Done);
    assert_ne!(record(&folder.path().join("other")), record(undisturbed()));
    // every step, both evaluations before, in between and after
    let lines = |name: &str| std::fs::read_to_string(undisturbed().join(name)).unwrap().lines().count();
    assert_eq!([lines("metrics.jsonl"), lines("evaluations.jsonl")], [7, 6]);
    assert_nothing_is_half_written(undisturbed());
}

/// One that is neither the last nor due is kept for what was measured of it.
#[test]
fn the_best_evaluation_has_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = ["train.save_every=0", "train.keep_checkpoints=1", "eval.every=1", "eval.problems_during_training=8", "eval.samples=4"];
    let (outcome, out, _) = train(folder.path(), "r", &overrides);
    assert_eq!(outcome, Outcome::Done);
    let run = folder.path().join("r");
    let best = read_progress(&run.join("checkpoints/step-7")).unwrap().best.unwrap();
    let expected: Vec<u64> = [best.step, 7].into_iter().filter(|&step| step > 0).collect::<BTreeSet<_>>().into_iter().collect();
    assert_eq!(RunFolder::open(&run).unwrap().checkpoints().unwrap(), expected, "{out}");
}

#[test]
fn a_finished_run_has_nothing_to_resume() {
    let (_folder, run) = copy();
    resume_and_compare(&run);
}

/// Output to a pipe that was closed: `percept train | head`.
#[test]
fn a_run_goes_on_when_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["percept".to_owned()].into_iter().chain(arguments(folder.path(), "r", &[]));
    let outcome = percept_cppo::commands::run(arguments.map(Into::into), &mut Closed, &mut Closed);
    assert_eq!(outcome, Outcome::Done);
    assert_eq!(record(&folder.path().join("r")), record(undisturbed()));
}
