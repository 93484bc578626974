//! A run's folder: what is written, what survives a crash, what is said when it cannot be written.

mod events;
pub(crate) mod made_up;

use std::collections::BTreeSet;
use std::fs;

use percept_cppo::config::{Config, Settings};
use percept_cppo::records::run::{Metrics, RunFolder, is_time, metric_names};

fn config(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.run.folder = folder.to_owned();
    config.run.name = Some("r".to_owned());
    config
}

fn step(number: u64) -> Metrics {
    let mut metrics = Metrics::new(number);
    metrics.set("reward", 0.1 * number as f64);
    metrics.set("lr", 1e-4);
    metrics.set("entropy", f64::NAN);
    metrics
}

#[test]
fn metrics_are_one_object_a_step_with_keys_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    let mut recorder = run.record_after(0).unwrap();
    recorder.metrics(&step(1)).unwrap();
    recorder.metrics(&step(2)).unwrap();
    recorder.sync().unwrap();
    let text = fs::read_to_string(run.path().join("metrics.jsonl")).unwrap();
    assert_eq!(
        text,
        "{\"step\":1,\"reward\":0.1,\"lr\":0.0001,\"entropy\":null}\n{\"step\":2,\"reward\":0.2,\"lr\":0.0001,\"entropy\":null}\n"
    );
    let read = run.metrics().unwrap();
    assert_eq!(read[1].get("reward"), Some(0.2));
    assert!(read[0].get("entropy").unwrap().is_nan());
    assert_eq!(read[0].values().iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["reward", "lr", "entropy"]);
    assert_eq!(Config::load(&run.path().join("config.toml"), &[]).unwrap(), config(folder.path()));
}

#[test]
fn names_are_known_once() {
    let names: std::collections::HashSet<&str> = metric_names().iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metric_names().len());
    for name in [
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "rewards/accuracy",
        "completions/clipped_ratio",
        "clip_ratio",
        "kl",
        "rollout/log_prob_gap",
    ] {
        assert!(names.contains(name), "{name}");
    }
    assert!(is_time("time/rollout") && is_time("tokens_per_second") && !is_time("reward"));
}

/// Wherever a kill cuts the file, resuming from step 2 gives the same bytes as never having been killed.
#[test]
fn a_killed_run_resumes_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    let path = run.path().join("metrics.jsonl");
    let mut recorder = run.record_after(0).unwrap();
    for number in 1..=5 {
        recorder.metrics(&step(number)).unwrap();
    }
    drop(recorder);
    let whole = fs::read(&path).unwrap();
    let second_line_ends = whole.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(1).unwrap().0 + 1;
    for cut in second_line_ends..=whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let mut recorder = run.record_after(2).unwrap();
        assert_eq!(fs::read(&path).unwrap(), &whole[..second_line_ends], "cut at {cut}");
        for number in 3..=5 {
            recorder.metrics(&step(number)).unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), whole, "cut at {cut}");
    }
}

#[test]
fn samples_and_evaluations_are_cut_at_the_checkpoint_too() {
    let folder = tempfile::tempdir().unwrap();
    let run = made_up::run(folder.path(), 40);
    let (samples, evaluations) = (run.samples().unwrap(), run.evaluations().unwrap());
    assert!(samples.iter().any(|sample| sample.step > 20) && evaluations.iter().any(|evaluation| evaluation.step > 20));
    drop(run.record_after(20).unwrap());
    assert_eq!(run.samples().unwrap(), samples.into_iter().filter(|sample| sample.step <= 20).collect::<Vec<_>>());
    assert_eq!(run.evaluations().unwrap(), evaluations.into_iter().filter(|evaluation| evaluation.step <= 20).collect::<Vec<_>>());
    assert_eq!(run.metrics().unwrap().last().unwrap().step(), 20);
}

#[test]
fn a_damaged_line_is_named_and_nothing_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    let path = run.path().join("metrics.jsonl");
    let text = "{\"step\":1,\"reward\":0.1}\n{\"step\":2,\"rew\n{\"step\":3,\"reward\":0.1}\n";
    fs::write(&path, text).unwrap();
    let error = run.record_after(3).map(|_| ()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: line 2: ", path.display())), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), text);
    assert!(run.metrics().unwrap_err().to_string().contains("line 2"));
}

#[test]
fn a_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    run.record_after(0).unwrap().metrics(&step(1)).unwrap();
    let error = RunFolder::create(&config(folder.path())).unwrap_err().to_string();
    assert!(error.contains("exists already") && error.contains("--resume"), "{error}");
    assert_eq!(run.metrics().unwrap().len(), 1);
    let error = RunFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("config.toml"), "{error}");
}

#[test]
fn two_starts_never_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let start = |seed: u64, name: Option<&str>| {
        let mut config = config(folder.path());
        (config.run.seed, config.run.name) = (seed, name.map(str::to_owned));
        (seed, RunFolder::create(&config))
    };
    let starts = |name: Option<&'static str>| {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|seed| scope.spawn(move || start(seed, name))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        })
    };
    for round in 0..20 {
        let all = starts(None);
        let paths: BTreeSet<_> = all.iter().map(|(_, run)| run.as_ref().unwrap().path().to_owned()).collect();
        assert_eq!(paths.len(), 8, "round {round}: {paths:?}");
        for (seed, run) in all {
            assert!(run.unwrap().config_text().unwrap().contains(&format!("seed = {seed}\n")), "round {round}: another's configuration");
        }
        let name: &'static str = format!("named-{round}").leak();
        let (made, refused): (Vec<_>, Vec<_>) = starts(Some(name)).into_iter().partition(|(_, run)| run.is_ok());
        assert_eq!((made.len(), refused.len()), (1, 7), "round {round}");
        let (seed, run) = made.into_iter().next().unwrap();
        assert!(run.unwrap().config_text().unwrap().contains(&format!("seed = {seed}\n")), "round {round}: another's configuration");
    }
}

#[test]
fn checkpoints_are_listed_in_order_of_steps() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    assert_eq!(run.checkpoints().unwrap(), Vec::<u64>::new());
    for name in ["step-100", "step-20", "best", ".percept-new-x", "step-x"] {
        fs::create_dir(run.path().join("checkpoints").join(name)).unwrap();
    }
    assert_eq!(run.checkpoints().unwrap(), [20, 100]);
    assert!(run.checkpoint(20).is_dir());
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let error = RunFolder::create(&config(&file)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}", file.join("r").display())), "{error}");
}

/// `/dev/full` is a disk without space.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(&config(folder.path())).unwrap();
    let path = run.path().join("metrics.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    // the device reads as endless zeros: open for appending what is not read
    let error = percept_cppo::records::run::LineWriter::append_to(&path).unwrap().append(&step(1)).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}: ", path.display())) && error.contains("No space left"), "{error}");
}
