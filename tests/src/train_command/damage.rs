//! What cannot be read or written, and numbers that are none: said clearly, and nothing lost.

use std::fs;
use std::path::Path;

use percept_cppo::commands::Outcome;
use percept_cppo::records::run::RunFolder;
use percept_cppo::training::checkpoint::is_finite;
use percept_engine::safetensors::{Checkpoint, save};
use percept_engine::{Device, Tensor};

use super::{copy, resume_and_compare, train};
use crate::program::{assert_nothing_is_half_written, percept, record, text};
use crate::trainer::start;

#[test]
fn a_damaged_checkpoint_is_named_and_the_older_one_goes_on() {
    let (_folder, run) = copy();
    let last = run.join("checkpoints/step-7");
    type Damage = fn(&mut Vec<u8>);
    let damage: [(&str, Damage); 5] = [
        ("trainer.safetensors", |bytes| bytes.truncate(bytes.len() / 2)),
        ("trainer.safetensors", |bytes| bytes[9] ^= 1),
        ("trainer.safetensors", |bytes| *bytes.last_mut().unwrap() ^= 0x40),
        ("trainer.json", |bytes| *bytes = b"{".to_vec()),
        ("trainer.json", |bytes| bytes.clear()),
    ];
    for (name, damage) in damage {
        let path = last.join(name);
        let whole = fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let before = record(&run);
        let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
        assert_eq!(outcome, Outcome::BadInput, "{errors}");
        assert!(errors.starts_with(&format!("error: {}: ", path.display())), "{errors}");
        assert!(errors.contains(&format!("remove {} to go on from the checkpoint of step 6", last.display())), "{errors}");
        assert_eq!(record(&run), before);
        fs::write(&path, whole).unwrap();
    }
    // as the advice says
    fs::remove_dir_all(&last).unwrap();
    resume_and_compare(&run);
}

#[test]
fn a_run_that_cannot_be_written_or_is_at_work_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let (outcome, _, errors) = train(&file, "r", &[]);
    assert_eq!(outcome, Outcome::Failed);
    assert!(errors.starts_with(&format!("error: {}", file.join("r").display())), "{errors}");

    let (_folder, run) = copy();
    let at_work = RunFolder::open(&run).unwrap().record_after(7).unwrap();
    let (outcome, _, errors) = percept(&["train", "--resume", text(&run)]);
    assert_eq!((outcome, errors), (Outcome::Failed, format!("error: {}: another process is at work on this run\n", run.display())));
    drop(at_work);
    resume_and_compare(&run);
    let (outcome, _, errors) = percept(&["train", "--resume", text(folder.path())]);
    assert!(outcome == Outcome::Failed && errors.contains("config.toml"), "{errors}");
}

/// The start with weights so large that what comes out of them is infinite. (Those that are no numbers themselves are refused when they are read.)
fn with_weights_that_overflow(folder: &Path) {
    let start = start().join("model");
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(&start).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let checkpoint = Checkpoint::open(&start.join("model.safetensors")).unwrap();
    let device = Device::cpu();
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for name in checkpoint.names() {
        tensors.push((name.to_owned(), checkpoint.load(name, checkpoint.shape(name).unwrap(), &device).unwrap()));
    }
    let (_, first) = &mut tensors[0];
    let mut values = first.to_vec::<f32>().unwrap();
    values.fill(f32::MAX);
    *first = Tensor::from_slice(&device, &values, first.shape());
    save(&folder.join("model.safetensors"), &tensors, checkpoint.metadata().clone()).unwrap();
}

#[test]
fn numbers_that_are_none_end_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    with_weights_that_overflow(&model);
    for (name, problems) in [("measured", "eval.problems=4"), ("not-measured", "eval.problems=0")] {
        let (outcome, _, errors) = train(folder.path(), name, &[&format!("model.path={}", text(&model)), problems]);
        assert_eq!(outcome, Outcome::Failed, "{errors}");
        assert!(errors.contains("is not a number") && errors.contains("another model"), "{errors}");
    }
    // weights that overflow after the third step
    let (outcome, _, errors) =
        train(folder.path(), "overflow", &["optim.learning_rate=1e9", "optim.warmup_steps=0", "train.save_every=1", "method.name=grpo"]);
    assert_eq!(outcome, Outcome::Failed, "{errors}");
    assert!(errors.starts_with("error: step ") && errors.contains("is not a number"), "{errors}");
    assert!(errors.contains("lower learning rate"), "{errors}");
    assert_nothing_is_half_written(&folder.path().join("overflow"));
    // what is kept, and what the advice names, can be gone on from
    let run = RunFolder::open(&folder.path().join("overflow")).unwrap();
    for step in run.checkpoints().unwrap() {
        assert!(is_finite(&run.checkpoint(step)).unwrap(), "{step}: {errors}");
    }
}

#[test]
fn data_that_cannot_be_used_are_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data.jsonl");
    let picture = image::RgbImage::from_fn(40, 40, |x, y| image::Rgb([x as u8, y as u8, 7]));
    picture.save(folder.path().join("a.png")).unwrap();
    let png = fs::read(folder.path().join("a.png")).unwrap();
    // the header is whole
    fs::write(folder.path().join("b.png"), &png[..png.len() / 2]).unwrap();
    let row = |image: &str| format!("{{\"image\": \"{image}\", \"problem\": \"How many?\", \"answer\": 3}}\n");
    fs::write(&data, row("a.png") + &row("b.png") + &row("a.png")).unwrap();
    let path = format!("data.path={}", text(&data));

    let (outcome, _, errors) = train(folder.path(), "refused", &[&path, "data.on_bad_row=refuse"]);
    assert!(outcome == Outcome::BadInput && errors.contains("row 2") && errors.contains("b.png"), "{errors}");
    fs::write(folder.path().join("empty.jsonl"), "").unwrap();
    let (outcome, _, errors) = train(folder.path(), "empty", &[&format!("data.path={}", text(&folder.path().join("empty.jsonl")))]);
    assert!(outcome == Outcome::BadInput && errors.contains("empty.jsonl: no problem to use"), "{errors}");
    let (outcome, _, errors) = train(folder.path(), "unknown", &["train.stepz=2"]);
    assert!(outcome == Outcome::BadInput && errors.contains("did you mean train.steps?"), "{errors}");
    for name in ["refused", "empty", "unknown"] {
        assert!(!folder.path().join(name).exists(), "{name}");
    }

    let (outcome, out, errors) = train(folder.path(), "skipped", &[&path]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("2 problems, 1 bad row left out") && out.contains("row 2") && out.contains("b.png"), "{out}");
}
