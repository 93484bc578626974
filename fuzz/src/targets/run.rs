//! The folder of a run, and a checkpoint.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use flate2::Crc;
use image::RgbImage;
use percept_cppo::config::{Config, OptimConfig, Settings};
use percept_cppo::records::report::write_report;
use percept_cppo::records::run::{Beginning, CategoryResult, Evaluation, Metrics, RunFolder, Sample};
use percept_cppo::training::checkpoint::{is_finite, restore};
use percept_cppo::training::optimise::Optimizer;
use percept_cppo::training::world::World;
use percept_engine::safetensors::save;
use percept_engine::{Device, ParamGroup, Tensor};

use super::{Reader, Target, Verdict, write};

/// What a run wrote down, read for a report and to go on.
pub(super) const RUN: Target = Target { name: "run", seeds: records, open: read_run };
/// The state of training.
pub(super) const CHECKPOINT: Target = Target { name: "checkpoint", seeds: state, open: read_state };

const FILES: &[&str] = &["config.toml", "metrics.jsonl", "evaluations.jsonl", "samples.jsonl", "starts.jsonl", "start.json"];

/// A run of three steps.
fn make_run(folder: &Path) -> RunFolder {
    let mut config = Config::default();
    (config.run.folder, config.run.name) = (folder.to_owned(), Some("run".into()));
    let run = RunFolder::create(&config).expect("an empty folder");
    let mut recorder = run.record_after(0).expect("a new run");
    for step in 1..=3 {
        let values = [("reward", 0.5), ("loss", 0.1), ("updates/skipped", 0.0), ("time/step", 1.5), ("kl", f64::NAN)];
        recorder.metrics(&Metrics::of(step, &values)).expect("a line");
    }
    for (step, decoding) in [(0, "greedy"), (0, "sampled"), (3, "greedy"), (3, "sampled")] {
        let category = |name: &str| CategoryResult {
            correct: vec![1, 0, 2],
            well_formed: 3,
            perception_errors: Some(1),
            reasoning_errors: Some(1),
            both_errors: Some(0),
            unreadable: Some(0),
            tokens: 99,
            ..CategoryResult::empty(name, 2)
        };
        let categories = vec![category("all"), category("digits"), category("shapes")];
        recorder.evaluation(&Evaluation { step, decoding: decoding.into(), temperature: 1.0, categories }).expect("a line");
    }
    let image = recorder.picture("a", &RgbImage::new(4, 4)).expect("a picture");
    let sample = Sample {
        step: 1,
        prompt_id: 4,
        prompt: "How many?".into(),
        answer: "3".into(),
        more_images: Vec::new(),
        image_preserved: Some(image.clone()),
        image_removed: None,
        image,
        response: "it is 3".into(),
        tokens: ["it", " is", " 3"].map(str::to_owned).into(),
        reward: 1.0,
        accuracy: 1.0,
        rewards: Default::default(),
        format: 0.0,
        advantage: 0.5,
        delta_entropy: Some(vec![0.1, -0.2, 3.0]),
        mask: Some(vec![false, false, true]),
        roles: None,
    };
    recorder.sample(&sample).expect("a line");
    run.note_start(0, "train", "cpu").expect("a line");
    let mut beginning = Beginning { config: config.to_toml(), ..Beginning::default() };
    beginning.model.insert("config.json".into(), 7);
    run.note_beginning(&beginning).expect("a file");
    run
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = make_run(folder.path());
    FILES.iter().map(|name| (*name, fs::read(run.path().join(name)).expect("a file of the run"))).collect()
}

fn read_run(folder: &Path) -> Reader {
    let run = make_run(folder);
    let good: Vec<(&str, Vec<u8>)> =
        FILES.iter().map(|name| (*name, fs::read(run.path().join(name)).expect("a file of the run"))).collect();
    Box::new(move |name, bytes| {
        good.iter().for_each(|(name, bytes)| write(&run.path().join(name), bytes));
        write(&run.path().join(name), bytes);
        let read = || -> anyhow::Result<()> {
            let run = RunFolder::open(run.path())?;
            run.config::<Config>()?;
            run.changes::<Config>(3, &Beginning { config: run.config_text()?, ..Beginning::default() }, &[])?;
            run.missing_steps(3)?;
            write_report(run.path())?;
            drop(run.record_after(2)?);
            Ok(())
        };
        let verdict = Verdict::of(read(), name);
        for entry in fs::read_dir(run.path()).expect("the run").flatten() {
            if entry.file_name().to_string_lossy().starts_with("events") {
                fs::remove_file(entry.path()).expect("a file of it");
            }
        }
        verdict
    })
}

const TENSORS: &str = "trainer.safetensors";
const PROGRESS: &str = "trainer.json";

fn optimizer(shard: bool) -> Optimizer {
    let tensor = || Tensor::from_slice(&Device::cpu(), &[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).parameter();
    let parameters = vec![("a".to_owned(), tensor()), ("b".to_owned(), tensor())];
    let groups = vec![ParamGroup { parameters, lr_scale: 1.0, weight_decay: 0.0 }];
    Optimizer::new(groups, &OptimConfig { shard, ..OptimConfig::default() }, &World::alone()).expect("one rank has all")
}

fn state() -> Vec<(&'static str, Vec<u8>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (path, optimizer) = (folder.path().join(TENSORS), optimizer(false));
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    tensors.extend(optimizer.parameters().into_iter().map(|(name, tensor)| (format!("weights.{name}"), tensor)));
    tensors.extend(
        optimizer.state().expect("a state that can be read").into_iter().map(|(name, tensor)| (format!("optimizer.{name}"), tensor)),
    );
    save(&path, &tensors, HashMap::new()).expect("a state that can be written");
    let bytes = fs::read(path).expect("what was written");
    let progress = progress(&bytes);
    vec![(TENSORS, bytes), (PROGRESS, progress)]
}

fn progress(tensors: &[u8]) -> Vec<u8> {
    let mut crc = Crc::new();
    crc.update(tensors);
    format!(r#"{{"progress": {{"step": 3, "problems": 12, "best": {{"step": 2, "accuracy": 0.5}}}}, "tensors_crc32": {}}}"#, crc.sum())
        .into_bytes()
}

fn read_state(folder: &Path) -> Reader {
    let (directory, good) = (folder.join("step-3"), state());
    let (mut optimizer, mut sharded) = (optimizer(false), optimizer(true));
    fs::create_dir(&directory).expect("an empty folder");
    Box::new(move |name, bytes| {
        good.iter().for_each(|(name, bytes)| write(&directory.join(name), bytes));
        write(&directory.join(name), bytes);
        // as whoever means harm would
        if name == TENSORS && bytes.len() % 8 != 0 {
            write(&directory.join(PROGRESS), &progress(bytes));
        }
        let finite = is_finite(&directory).map(drop);
        let shared = restore(&directory, &mut sharded).and_then(|_| Ok(sharded.share(&World::alone())?));
        Verdict::of(restore(&directory, &mut optimizer).map(drop).and(shared).and(finite), "trainer.")
    })
}
