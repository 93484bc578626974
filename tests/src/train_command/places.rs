//! A run as a model: its best checkpoint, or else its last, and the links to both.

use std::fs;
use std::path::Path;

use percept_cppo::commands::Outcome;
use percept_cppo::records::run::RunFolder;
use percept_cppo::training::checkpoint::read_progress;
use serde_json::{Value, json};

use super::{copy, undisturbed};
use crate::program::{percept, text};

/// `percept score` of some model. Outcome, standard output, standard error.
fn score(model: &Path) -> (Outcome, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(16, 16, |x, y| image::Rgb([9 * x as u8, 7 * y as u8, 50])).save(&picture).unwrap();
    let question = ["--image", text(&picture), "--prompt", "?", "--completion", "3", "--json", "--device", "cpu"];
    percept(&[&["score", "--model", text(model)], &question[..]].concat())
}

/// The run's last checkpoint says that this step was the best.
fn set_best(run: &Path, best: Value) {
    let path = run.join("checkpoints/step-7/trainer.json");
    let mut saved: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    saved["progress"]["best"] = best;
    saved.as_object_mut().unwrap().remove("progress_crc32");
    fs::write(&path, saved.to_string()).unwrap();
}

#[test]
fn a_run_stands_for_its_best_checkpoint_or_its_last() {
    let (_folder, run) = copy();
    let checkpoint = |step: u64| run.join(format!("checkpoints/step-{step}"));
    let other = *RunFolder::open(&run).unwrap().checkpoints().unwrap().first().unwrap();
    assert!(other < 7);
    let cases = [
        (json!({ "step": other, "accuracy": 0.5 }), other, "the best checkpoint of the run"),
        (json!({ "step": 0, "accuracy": 0.5 }), 7, "the last checkpoint of the run, whose best evaluation was before the training"),
        (json!(null), 7, "the last checkpoint of the run"),
    ];
    for (best, step, said) in cases {
        set_best(&run, best);
        let (outcome, out, errors) = score(&run);
        assert_eq!(outcome, Outcome::Done, "{errors}");
        assert!(errors.contains(&format!("model: {}, {said}\n", checkpoint(step).display())), "{errors}");
        assert_eq!(out, score(&checkpoint(step)).1);
    }
    let empty = tempfile::tempdir().unwrap();
    fs::create_dir(empty.path().join("checkpoints")).unwrap();
    fs::write(empty.path().join("config.toml"), "").unwrap();
    let (outcome, _, errors) = score(empty.path());
    assert!(outcome == Outcome::BadInput && errors.contains("the run has no checkpoint yet"), "{errors}");
}

#[test]
fn links_name_the_best_checkpoint_and_the_last() {
    #[cfg(unix)]
    {
        let link = |name: &str| fs::read_link(undisturbed().join("checkpoints").join(name)).ok();
        let best = read_progress(&undisturbed().join("checkpoints/step-7")).unwrap().best.unwrap().step;
        assert_eq!(link("last"), Some("step-7".into()));
        assert_eq!(link("best"), (best > 0).then(|| format!("step-{best}").into()));
    }
    // where there are no links, a file does
    let (_folder, run) = copy();
    let path = run.join("checkpoints/named");
    fs::write(&path, "step-7\n").unwrap();
    let (outcome, out, errors) = score(&path);
    assert_eq!((outcome, out), (Outcome::Done, score(&run.join("checkpoints/step-7")).1), "{errors}");
}

#[test]
fn links_follow_the_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["step-3", "step-6"] {
        fs::create_dir_all(folder.path().join("checkpoints").join(name)).unwrap();
    }
    fs::write(folder.path().join("config.toml"), "").unwrap();
    let run = RunFolder::open(folder.path()).unwrap();
    let is = |name: &str, expected: Option<&str>| {
        let path = folder.path().join("checkpoints").join(name);
        let found = percept_cppo::records::run::followed(&path).canonicalize().ok();
        let expected = expected.map(|expected| folder.path().join("checkpoints").join(expected).canonicalize().unwrap());
        assert_eq!(found, expected, "{name}");
    };
    run.link_checkpoints(Some(3)).unwrap();
    is("best", Some("step-3"));
    is("last", Some("step-6"));
    fs::create_dir(folder.path().join("checkpoints/step-9")).unwrap();
    run.link_checkpoints(Some(9)).unwrap();
    is("best", Some("step-9"));
    is("last", Some("step-9"));
    run.link_checkpoints(Some(0)).unwrap();
    is("best", None);
    assert_eq!(run.checkpoints().unwrap(), [3, 6, 9], "links are no checkpoints");
    // a copy of the run that followed the links
    fs::create_dir(folder.path().join("checkpoints/best")).unwrap();
    run.link_checkpoints(Some(3)).unwrap();
    assert!(folder.path().join("checkpoints/best").is_dir());
}
