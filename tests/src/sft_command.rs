//! `percept sft`, the whole program: stopped in the warm start, between the phases or after, it ends with the same weights.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use percept_cppo::commands::Outcome;
use percept_cppo::records::run::RunFolder;
use percept_engine::Device;
use percept_model::{Model, Precision};

use crate::program::{assert_nothing_is_half_written, copy_folder, percept, record, text};
#[cfg(unix)]
use crate::program::{command, end, recorded_steps, wait_until};

/// Four steps of warm start and four of reference responses, with a checkpoint of every second.
pub(crate) fn arguments(folder: &Path, name: &str, overrides: &[&str]) -> Vec<String> {
    let file = folder.join("sft.toml");
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    let sft = "steps = 4\nbatch_size = 4\nwarm_start_steps = 4\nwarm_start_batch_size = 4\nsave_every = 2\nkeep_checkpoints = 9\n";
    let top = format!("tokenizer = '{}'\nout = '{}'\neval_problems = 2\n", tokenizer.display(), folder.join("model").display());
    let run = format!("[run]\nfolder = '{}'\nname = '{name}'\ndevice = 'cpu'\n", folder.display());
    std::fs::write(&file, format!("{top}{run}[task]\nlevel = 1\n[sft]\n{sft}")).unwrap();
    let overrides = overrides.iter().flat_map(|assignment| ["--set".to_owned(), (*assignment).to_owned()]);
    ["sft".to_owned(), text(&file).to_owned()].into_iter().chain(overrides).collect()
}

fn sft(folder: &Path, name: &str, overrides: &[&str]) -> (Outcome, String, String) {
    let arguments = arguments(folder, name, overrides);
    percept(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The run that nothing happened to, and the folder that it is in.
pub(crate) fn undisturbed() -> &'static (PathBuf, PathBuf) {
    static RUN: OnceLock<(tempfile::TempDir, (PathBuf, PathBuf))> = OnceLock::new();
    let (_, paths) = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let (outcome, out, errors) = sft(folder.path(), "whole", &[]);
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
        assert!(out.contains("step 8: greedy accuracy") && out.contains(text(&folder.path().join("model"))), "{out}");
        let paths = (folder.path().join("whole"), folder.path().to_owned());
        (folder, paths)
    });
    paths
}

pub(crate) fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model/model.safetensors")).unwrap()
}

/// Goes on with a run; it ends as the undisturbed one did.
#[track_caller]
fn resume_and_compare(run: &Path) {
    let (outcome, out, errors) = percept(&["sft", "--resume", text(run)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert_nothing_is_half_written(run);
    let (whole, folder) = undisturbed();
    assert_eq!(metrics(run), metrics(whole));
    assert!(weights(run.parent().unwrap()) == weights(folder), "the weights differ");
    assert!(run.join("report.html").is_file());
}

/// All that is recorded but the list of checkpoints: one that was interrupted has one more.
pub(crate) fn metrics(run: &Path) -> String {
    record(run).rsplit_once('[').unwrap().0.to_owned()
}

#[test]
fn every_checkpoint_of_either_phase_leads_to_the_same_weights() {
    let (whole, _) = undisturbed();
    let checkpoints = RunFolder::open(whole).unwrap().checkpoints().unwrap();
    assert_eq!(checkpoints, [2, 4, 6, 8]);
    let lines = std::fs::read_to_string(whole.join("metrics.jsonl")).unwrap();
    let is_warm_start: Vec<bool> = lines.lines().map(|line| line.contains("\"warm_start/loss\"")).collect();
    assert_eq!(is_warm_start, [true, true, true, true, false, false, false, false]);
    // after step 4 the warm start is over, and nothing of what follows exists
    for last in checkpoints {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("copy");
        copy_folder(whole, &run);
        for step in RunFolder::open(&run).unwrap().checkpoints().unwrap().into_iter().filter(|&step| step > last) {
            std::fs::remove_dir_all(run.join(format!("checkpoints/step-{step}"))).unwrap();
        }
        // the folder of the model is part of what was in force
        let config = std::fs::read_to_string(run.join("config.toml")).unwrap();
        let out = |folder: &Path| format!("out = \"{}\"", folder.join("model").display());
        assert!(config.contains(&out(whole.parent().unwrap())), "{config}");
        std::fs::write(run.join("config.toml"), config.replace(&out(whole.parent().unwrap()), &out(folder.path()))).unwrap();
        resume_and_compare(&run);
    }
}

#[cfg(unix)]
#[test]
fn killed_or_interrupted_in_either_phase_it_ends_with_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("r");
    let resume = || command(&["sft", "--resume", text(&run)]).spawn().unwrap();
    let arguments = arguments(folder.path(), "r", &[]);

    let mut child = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).spawn().unwrap();
    wait_until(&mut child, || recorded_steps(&run) >= 1);
    let interrupt = |child: &std::process::Child| std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt(&child).unwrap().success());
    let (code, out, errors) = end(child);
    assert_eq!(code, Some(130), "{out}{errors}");
    assert!(out.contains(&format!("percept sft --resume {}", run.display())) && !errors.contains("panicked"), "{out}{errors}");
    assert!(!folder.path().join("model").exists());

    let mut child = resume();
    wait_until(&mut child, || recorded_steps(&run) >= 5);
    child.kill().unwrap();
    child.wait().unwrap();
    resume_and_compare(&run);
}

#[test]
fn what_cannot_be_is_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |overrides: &[&str], said: &str, expected: Outcome| {
        let (outcome, _, errors) = sft(folder.path(), "r", overrides);
        assert!(outcome == expected && errors.contains(said), "{errors}");
        assert!(!folder.path().join("r").exists());
    };
    fails(&["sft.warmstart_steps=2"], "did you mean sft.warm_start_steps?", Outcome::BadInput);
    fails(&["tokenizer=no/such"], "no/such", Outcome::BadInput);
    // the model would replace all of it
    fails(&[&format!("out={}", text(folder.path()))], "expected a model directory, an empty or a new one", Outcome::BadInput);
    let below_a_file = folder.path().join("sft.toml/model");
    fails(&[&format!("out={}", text(&below_a_file))], text(&below_a_file), Outcome::Failed);
    let (outcome, _, errors) = percept(&["sft"]);
    assert!(outcome == Outcome::BadInput && errors.contains("<CONFIG>"), "{errors}");
}

/// What somebody has is not replaced unasked; a run may replace what it has written itself.
#[test]
fn a_model_that_is_there_is_kept() {
    let (whole, parent) = undisturbed();
    let before = weights(parent);
    let folder = tempfile::tempdir().unwrap();
    let out = format!("out={}", text(&parent.join("model")));
    let (outcome, _, errors) = sft(folder.path(), "r", &[&out]);
    assert!(outcome == Outcome::BadInput && errors.contains("not empty; --force replaces it"), "{errors}");
    assert!(!folder.path().join("r").exists() && weights(parent) == before);
    let (outcome, said, errors) = percept(&["sft", "--resume", text(whole)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{said}");
    // another's model in its place is another's
    copy_folder(whole, &folder.path().join("copy"));
    let config = std::fs::read_to_string(whole.join("config.toml")).unwrap();
    let elsewhere = folder.path().join("model");
    copy_folder(&parent.join("model"), &elsewhere);
    let mut bytes = std::fs::read(elsewhere.join("model.safetensors")).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(elsewhere.join("model.safetensors"), bytes).unwrap();
    std::fs::write(folder.path().join("copy/config.toml"), config.replace(text(&parent.join("model")), text(&elsewhere))).unwrap();
    let resume = ["sft", "--resume", text(&folder.path().join("copy"))].map(str::to_owned);
    let resume: Vec<&str> = resume.iter().map(String::as_str).collect();
    let (outcome, _, errors) = percept(&resume);
    assert!(outcome == Outcome::BadInput && errors.contains("not empty"), "{errors}");
    assert_eq!(percept(&[&resume[..], &["--force"]].concat()).0, Outcome::Done);
    assert!(weights(folder.path()) == before);
}

#[test]
fn a_loss_that_is_no_number_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let overrides = ["sft.warm_start_learning_rate=1e9", "optim.warmup_steps=0", "sft.save_every=1"];
    let (outcome, _, errors) = sft(folder.path(), "r", &overrides);
    assert_eq!(outcome, Outcome::Failed, "{errors}");
    assert!(errors.contains("error: step ") && errors.contains("loss is not a number") && errors.contains("checkpoints/step-"), "{errors}");
}

#[test]
fn a_checkpoint_can_be_gone_on_from() {
    let (_, whole) = undisturbed();
    let folder = tempfile::tempdir().unwrap();
    let start = format!("model.path='{}'", whole.join("model").display());
    let no_warm_start = "sft.warm_start_steps=0";
    let (outcome, out, errors) = sft(folder.path(), "more", &[&start, "model.freeze_vision=true", no_warm_start]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let load = |folder: &Path| Model::load(&folder.join("model"), &Device::cpu(), Precision::Float32).unwrap();
    let (before, after) = (load(whole), load(folder.path()));
    for ((name, before), (_, after)) in before.parameters().zip(after.parameters()) {
        let is_same = before.to_vec::<f32>().unwrap() == after.to_vec::<f32>().unwrap();
        assert_eq!(is_same, name.starts_with("model.vision_model."), "{name}");
    }
    let (outcome, _, errors) = sft(folder.path(), "none", &["model.path=nowhere", "out=another", no_warm_start]);
    assert!(outcome == Outcome::BadInput && errors.contains("nowhere"), "{errors}");
}
