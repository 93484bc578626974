//! A run goes on with what it began with: any byte of model, data or settings that was changed is noticed, and so is what is missing of the records.

use std::fs;
use std::path::{Path, PathBuf};

use percept_cppo::commands::Outcome;
use percept_cppo::training::checkpoint::read_progress;

use super::{arguments, copy, record, resume_and_compare, undisturbed};
use crate::program::{copy_folder, percept, text};
use crate::trainer::start;

/// A run of two steps on data and a model of its own, in a folder with both.
fn own_run() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&start().join("model"), &folder.path().join("model"));
    let data = folder.path().join("data");
    assert_eq!(percept(&["data", "make", "--to", text(&data), "--problems", "6", "--set", "task.level=1"]).0, Outcome::Done);
    let own = [
        format!("model.path={}", text(&folder.path().join("model"))),
        format!("data.path={}", text(&data)),
        "train.steps=2".into(),
        "train.save_every=1".into(),
        "eval.problems=0".into(),
        "eval.every=0".into(),
    ];
    let arguments = arguments(folder.path(), "run", &own.each_ref().map(String::as_str));
    let (outcome, out, errors) = percept(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let run = folder.path().join("run");
    fs::remove_dir_all(run.join("checkpoints/step-2")).unwrap();
    (folder, run)
}

/// All files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

/// A byte in the beginning, the middle and the end of each file; the run is neither gone on with in silence nor touched.
#[test]
fn a_changed_byte_is_noticed() {
    let (folder, run) = own_run();
    let inputs = [files(&folder.path().join("model")), files(&folder.path().join("data")), vec![run.join("config.toml")]].concat();
    assert!(inputs.len() > 10, "{inputs:?}");
    let before = (fs::read(run.join("metrics.jsonl")).unwrap(), fs::read(run.join("start.json")).unwrap());
    for path in inputs {
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            let (outcome, out, errors) = percept(&["train", "--resume", text(&run)]);
            // what changes nothing that is read is said
            let is_said = outcome == Outcome::Done && out.contains("changed since the run began: ");
            assert!(outcome != Outcome::Done || is_said, "{}, byte {at}: {out}{errors}", path.display());
            fs::write(&path, &whole).unwrap();
            if is_said {
                fs::remove_dir_all(run.join("checkpoints/step-2")).unwrap();
                fs::write(run.join("start.json"), &before.1).unwrap();
            } else {
                assert!(errors.contains(path.file_name().unwrap().to_str().unwrap()) || errors.contains("data: changed"), "{errors}");
                assert!((fs::read(run.join("metrics.jsonl")).unwrap(), fs::read(run.join("start.json")).unwrap()) == before);
            }
        }
    }
    let (outcome, out, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::Done && !out.contains("changed"), "{out}{errors}");
}

#[test]
fn each_difference_is_named_and_may_be_accepted() {
    let (folder, run) = own_run();
    let weights = folder.path().join("model/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    fs::write(folder.path().join("model/more.json"), "{}").unwrap();
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    let changed = config.replace("learning_rate = 0.001\n", "learning_rate = 0.002\n").replace("save_every = 1\n", "save_every = 2\n");
    fs::write(run.join("config.toml"), changed).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
    assert_eq!(outcome, Outcome::BadInput, "{errors}");
    for said in [
        ": not what this run began with:\n",
        "\n  model/model.safetensors: changed: CRC-32 ",
        "\n  model/more.json: new\n",
        "\n  config.toml: optim.learning_rate: 0.001 before, 0.002 now\n",
        "go on all the same with --accept-changes",
    ] {
        assert!(errors.contains(said), "{said}\n{errors}");
    }
    let (outcome, out, errors) = percept(&["train", "--resume", text(&run), "--accept-changes"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("WARNING: accepted: config.toml: optim.learning_rate: 0.001 before, 0.002 now"), "{out}");
    assert!(out.contains("changed since the run began: config.toml: train.save_every: 1 before, 2 now"), "{out}");
    // from now on it is what the run goes on with
    let (outcome, out, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::Done && !out.contains("before, "), "{out}{errors}");
    // what is noted cannot be done away with
    fs::remove_file(run.join("start.json")).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::BadInput && errors.contains("start.json: missing"), "{errors}");
}

#[test]
fn what_is_missing_of_the_records_is_said() {
    let (_folder, run) = copy();
    fs::remove_dir_all(run.join("checkpoints/step-7")).unwrap();
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let without: String = lines.split_inclusive('\n').enumerate().filter(|(n, _)| ![1, 3].contains(n)).map(|(_, line)| line).collect();
    fs::write(run.join("metrics.jsonl"), without).unwrap();
    let (outcome, out, errors) = percept(&["train", "--resume", text(&run)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("metrics.jsonl: nothing is recorded of 2 of 6 steps, the first step 2"), "{out}");
    fs::remove_file(run.join("metrics.jsonl")).unwrap();
    let (outcome, out, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::Failed || out.contains("nothing is recorded of 7 of 7 steps, the first step 1"), "{out}{errors}");
    fs::write(run.join("metrics.jsonl"), lines).unwrap();
    resume_and_compare(&run);
}

#[test]
fn a_checkpoint_under_another_name_or_with_another_progress_is_refused() {
    let (_folder, run) = copy();
    let (last, other) = (run.join("checkpoints/step-7"), run.join("checkpoints/step-9"));
    fs::rename(&last, &other).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run), "--set", "train.steps=12"]);
    assert!(outcome == Outcome::BadInput && errors.contains("progress.step: expected 9, as the folder is named, got 7"), "{errors}");
    fs::rename(&other, &last).unwrap();
    let path = last.join("trainer.json");
    let saved = fs::read_to_string(&path).unwrap();
    let problems = read_progress(&last).unwrap().problems;
    fs::write(&path, saved.replace(&format!("\"problems\": {problems}"), &format!("\"problems\": {}", problems + 1))).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::BadInput && errors.contains("trainer.json: progress: damaged: expected CRC-32"), "{errors}");
    fs::write(&path, saved).unwrap();
    resume_and_compare(&run);
    assert_eq!(record(&run), record(undisturbed()));
}

#[test]
fn a_run_whose_updates_were_all_skipped_is_no_success() {
    let (_folder, run) = copy();
    let lines = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(lines.contains("\"updates/skipped\":0.0"));
    let skipped = |lines: &str| lines.replace("\"updates/skipped\":0.0", "\"updates/skipped\":1.0");
    fs::write(run.join("metrics.jsonl"), skipped(&lines)).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
    assert!(outcome == Outcome::Failed && errors.contains("every update was skipped, nothing was learnt"), "{errors}");
    assert!(errors.contains("checkpoints/step-7: start from it with a lower learning rate"), "{errors}");
    // one that was not
    let (first, rest) = lines.split_once('\n').unwrap();
    fs::write(run.join("metrics.jsonl"), format!("{first}\n{}", skipped(rest))).unwrap();
    assert_eq!(percept(&["train", "--resume", text(&run)]).0, Outcome::Done);
}
