//! A run that is done is made longer, and what a run would do is said beforehand.

use percept_cppo::commands::Outcome;
use percept_cppo::records::run::RunFolder;

use super::{train, undisturbed};
use crate::program::{assert_nothing_is_half_written, percept, record, text};

/// Measurements that are the same at the end of a run and in its midst.
const EVEN: [&str; 3] = ["eval.every=4", "eval.problems_during_training=4", "train.save_every=1"];

#[test]
fn a_lengthened_run_is_the_long_one_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let run = |name: &str, steps: &str| {
        let (outcome, out, errors) = train(folder.path(), name, &[&EVEN[..], &[steps]].concat());
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
        folder.path().join(name)
    };
    let (short, long) = (run("short", "train.steps=4"), run("long", "train.steps=8"));
    let (outcome, out, errors) = percept(&["train", "--resume", text(&short), "--set", "train.steps=8"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("train.steps: 4 before, 8 now; the learning rate is that of a run of 8 steps from the start"), "{out}");
    assert_eq!(record(&short), record(&long));
    assert_nothing_is_half_written(&short);
    let weights = |run: &std::path::Path| std::fs::read(run.join("checkpoints/step-8/trainer.safetensors")).unwrap();
    assert!(weights(&short) == weights(&long));
    // it is as long from now on
    assert!(RunFolder::open(&short).unwrap().config_text().unwrap().contains("steps = 8"));
    assert_eq!(percept(&["train", "--resume", text(&short)]).0, Outcome::Done);
    // steps that are done cannot be undone
    let (outcome, _, errors) = percept(&["train", "--resume", text(&short), "--set", "train.steps=5"]);
    assert!(outcome == Outcome::BadInput && errors.contains("train.steps: expected at least 8, which are done, got 5"), "{errors}");
    assert!(RunFolder::open(&short).unwrap().config_text().unwrap().contains("steps = 8"));
    // nor can what steps are made of change under way
    for (assignment, key) in [("optim.learning_rate=1e-2", "optim.learning_rate"), ("method.name=grpo", "method.")] {
        let (outcome, _, errors) = percept(&["train", "--resume", text(&short), "--set", assignment]);
        assert!(
            outcome == Outcome::BadInput && errors.contains(key) && errors.contains("a run goes on with what it began with"),
            "{errors}"
        );
    }
}

#[test]
fn a_schedule_that_depends_on_the_length_is_said_to() {
    let folder = tempfile::tempdir().unwrap();
    let cosine = ["optim.schedule=cosine", "optim.warmup_steps=1", "train.steps=2", "eval.problems=0"];
    assert_eq!(train(folder.path(), "r", &cosine).0, Outcome::Done);
    let (outcome, out, errors) = percept(&["train", "--resume", text(&folder.path().join("r")), "--set", "train.steps=3"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("the learning rate so far fell as in a run of 2 steps; from here on it is that of a run of 3"), "{out}");
}

#[test]
fn a_dry_run_says_everything_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = super::arguments(folder.path(), "r", &["model.lora.rank=4"]);
    arguments.push("--dry-run".into());
    let (outcome, out, errors) = percept(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let has = |said: &str| assert!(out.contains(said), "{said}\n{out}");
    // what differs from the defaults is marked, what does not is not
    let line = |name: &str| out.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{out}"));
    assert!(line("prompts_per_step = 2 ").ends_with("# default 32") && line("temperature = 1.0") == "temperature = 1.0", "{out}");
    assert!(line("rank = 4 ").ends_with("# default 16"), "{out}");
    has("device: cpu");
    has(" parameters trained, ");
    has("data: drawn digits, level 1; 14 problems, each once");
    has("step: 2 prompts × 4 responses of at most 30 tokens");
    has("measured on digits level 1, test split");
    has("tokens of a prompt, the first 14:");
    has("the longest with its response: ");
    has("fits the model's");
    has("<image>×");
    has("What is the sum");
    // the ids are those of the text: as many as the range that they are counted in
    let ids = out.split("as tokens:\n").nth(1).unwrap().split_whitespace();
    let count: usize = ids.map(|id| id.split_once('×').map_or(1, |(_, times)| times.parse().unwrap())).sum();
    let longest: usize = line("the longest").split_whitespace().nth(5).unwrap().parse().unwrap();
    assert!(count > 16 && count + 30 <= longest, "{count} {longest}\n{out}");
}

/// The lines at a run's start.
#[test]
fn a_run_says_what_it_is_about() {
    let folder = tempfile::tempdir().unwrap();
    let (_, out, _) = train(folder.path(), "r", &["train.steps=1", "eval.problems=0"]);
    for said in [
        " on cpu",
        "model: ",
        " parameters trained",
        "data: drawn digits, level 1; 2 problems",
        "step: 2 prompts × 4 responses",
        "length: 1 steps",
    ] {
        assert!(out.contains(said), "{said}: {out}");
    }
    assert!(undisturbed().is_dir());
}
