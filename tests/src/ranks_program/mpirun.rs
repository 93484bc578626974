//! Processes that `mpirun` starts on this machine.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use percept_cppo::random::Random;
use percept_cppo::training::checkpoint::read_progress;
use serde_json::Value;

use crate::program::{ARGUMENTS, assert_nothing_is_half_written, end, record, recorded_steps, text, wait_until};
use crate::{sft_command, train_command};

/// `percept` on so many ranks, each with one thread; a rank may have arguments of its own.
fn mpirun(ranks: &[(usize, Vec<String>)]) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["--oversubscribe", "--bind-to", "none"]);
    for (number, (count, arguments)) in ranks.iter().enumerate() {
        command.args(if number > 0 { &[":"][..] } else { &[] }).args(["-n", &count.to_string(), "env"]);
        command.arg(format!("{ARGUMENTS}={}", serde_json::to_string(arguments).unwrap()));
        command.arg(std::env::current_exe().unwrap()).args(["--exact", "program::acts_as_percept", "--nocapture"]);
    }
    for (name, value) in [
        ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
        ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
        ("OMPI_MCA_mpi_yield_when_idle", "1"),
        ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
        ("RAYON_NUM_THREADS", "1"),
    ] {
        command.env(name, value);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Whether there is an `mpirun`; without one the tests say so and end.
fn is_there() -> bool {
    let is_there = Command::new("mpirun").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !is_there {
        println!("skipped: there is no mpirun (Debian: apt-get install openmpi-bin libopenmpi-dev libclang-dev)");
    }
    is_there
}

fn arguments(folder: &Path, name: &str, overrides: &[&str]) -> Vec<String> {
    let own = ["train.reduce=exact", "rollout.prompts_per_step=4"];
    train_command::arguments(folder, name, &own.iter().chain(overrides).copied().collect::<Vec<_>>())
}

/// A run's record but for what it sent.
fn record_of_ranks(run: &Path) -> String {
    let text = record(run);
    let line = |line: &str| match serde_json::from_str::<Value>(line) {
        Ok(Value::Object(mut fields)) => {
            fields.remove("bytes/communicated");
            serde_json::to_string(&fields).unwrap()
        }
        _ => line.to_owned(),
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

#[track_caller]
fn assert_same_run(run: &Path, expected: &Path) {
    assert_eq!(record_of_ranks(run), record_of_ranks(expected));
    let state = |run: &Path| std::fs::read(run.join("checkpoints/last/trainer.safetensors")).unwrap();
    assert!(state(run) == state(expected), "{}: other weights", run.display());
    assert_nothing_is_half_written(run);
}

#[test]
fn ranks_do_what_one_process_does_also_when_their_number_changes() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (outcome, out, errors) =
        crate::program::percept(&arguments(folder.path(), "alone", &[]).iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(outcome.code(), 0, "{out}{errors}");
    let run = |command: &mut Command| {
        let (code, out, errors) = end(command.spawn().unwrap());
        assert_eq!(code, Some(0), "{out}{errors}");
        out
    };
    let out = run(&mut mpirun(&[(2, arguments(folder.path(), "two", &[]))]));
    assert!(out.contains("rank 0 of 2: cpu with 1 threads") && out.contains("rank 1 of 2: cpu"), "{out}");
    assert_eq!(out.matches("run folder").count(), 1, "only the first rank speaks: {out}");
    assert_same_run(&at("two"), &at("alone"));
    // three steps on one rank, the others on two
    run(&mut mpirun(&[(1, arguments(folder.path(), "changing", &["train.steps=3"]))]));
    let resume = ["train", "--resume", text(&at("changing")), "--set", "train.steps=7"].map(str::to_owned).to_vec();
    run(&mut mpirun(&[(2, resume)]));
    let state = |name: &str| std::fs::read(at(name).join("checkpoints/step-7/trainer.safetensors")).unwrap();
    assert!(state("changing") == state("alone"), "other weights after a change of the number of ranks");
}

#[test]
fn supervised_training_and_measuring_are_shared_too() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut home = Vec::new();
    for (name, ranks) in [("one", 1), ("two", 2)] {
        let own = folder.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let (code, out, errors) = end(mpirun(&[(ranks, sft_command::arguments(&own, "r", &[]))]).spawn().unwrap());
        assert_eq!(code, Some(0), "{out}{errors}");
        home.push((sft_command::metrics(&own.join("r")), sft_command::weights(&own)));
    }
    assert_eq!(home[0].0, home[1].0);
    assert!(home[0].1 == home[1].1, "other weights");

    let model = crate::trainer::start().join("model");
    let table = |ranks| {
        let arguments =
            ["eval", "--model", text(&model), "--csv", "--set", "run.device=cpu", "--set", "eval.problems=9", "--set", "eval.samples=2"];
        let (code, out, errors) = end(mpirun(&[(ranks, arguments.map(str::to_owned).to_vec())]).spawn().unwrap());
        assert_eq!(code, Some(0), "{out}{errors}");
        let table: String = out.lines().filter(|line| line.contains(',')).map(|line| format!("{line}\n")).collect();
        table
    };
    let (one, two) = (table(1), table(2));
    assert!(one.lines().count() >= 3, "{one}");
    assert_eq!(one, two);
}

#[test]
fn what_ranks_cannot_do_together_is_an_error_of_all_of_them() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let failed = |ranks: &[(usize, Vec<String>)], expected: &str| {
        let (code, out, errors) = end(mpirun(ranks).spawn().unwrap());
        assert!(code == Some(2) && errors.contains(expected), "{code:?} {out}{errors}");
        assert_eq!(errors.matches("error: rank").count(), 1, "it is said once: {errors}");
    };
    let given = |overrides: &[&str]| arguments(folder.path(), "r", overrides);
    failed(&[(3, given(&[]))], "rollout.prompts_per_step must be a multiple of the number of ranks: got 4 prompts a step for 3 ranks");
    failed(
        &[(1, given(&[])), (1, given(&["optim.learning_rate=2e-3"]))],
        "settings of rank 1: expected `learning_rate = 0.001`, as rank 0 has, got `learning_rate = 0.002`",
    );
    // a rank that fails while the others wait for it ends them
    failed(&[(1, given(&[])), (1, given(&["model.path=/nowhere"]))], "rank 1 of 2: /nowhere");
    assert!(!folder.path().join("r").join("metrics.jsonl").exists());
}

/// The second rank is killed at work: the first ends, too, and the run goes on from its last checkpoint. An interrupt is heard by both.
#[test]
fn a_rank_that_is_killed_ends_the_others_and_the_run_goes_on() {
    if !is_there() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    assert_eq!(end(mpirun(&[(2, arguments(folder.path(), "whole", &[]))]).spawn().unwrap()).0, Some(0));
    let mut child = mpirun(&[(2, arguments(folder.path(), "killed", &[]))]).spawn().unwrap();
    wait_until(&mut child, || recorded_steps(&at("killed")) >= 4);
    signal("KILL", ranks_of(child.id())[1]);
    assert_ne!(end(child).0, Some(0));
    let resume =
        |name: &str, steps: &str| mpirun(&[(2, ["train", "--resume", text(&at(name)), "--set", steps].map(str::to_owned).to_vec())]);
    let (code, out, errors) = end(resume("killed", "train.steps=7").spawn().unwrap());
    assert_eq!(code, Some(0), "{out}{errors}");
    assert_same_run(&at("killed"), &at("whole"));

    let mut child = mpirun(&[(2, arguments(folder.path(), "stopped", &["train.steps=400"]))]).spawn().unwrap();
    wait_until(&mut child, || recorded_steps(&at("stopped")) >= 1);
    // mpirun hands it on at once; after Ctrl-C it gives its processes a second
    signal("USR1", child.id());
    let (code, out, errors) = end(child);
    assert!(code == Some(130) && out.contains("stopped after step"), "{code:?} {out}{errors}");
    let saved = read_progress(&at("stopped").join("checkpoints/last")).unwrap().step;
    assert_eq!(saved as usize, recorded_steps(&at("stopped")));
    let (code, out, errors) = end(resume("stopped", &format!("train.steps={}", saved + 1)).spawn().unwrap());
    assert_eq!(code, Some(0), "{out}{errors}");
}

/// Too long for every day: `cargo test -p percept-tests --features mpi -- --ignored --exact ranks_program::mpirun::thirty_kills_of_a_rank_leave_the_same_bits --nocapture`
#[test]
#[ignore = "minutes"]
fn thirty_kills_of_a_rank_leave_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(11, "kills of ranks", 0);
    assert_eq!(end(mpirun(&[(2, arguments(folder.path(), "whole", &[]))]).spawn().unwrap()).0, Some(0));
    let (mut kills, mut runs, mut longest) = (0, 0, Duration::ZERO);
    while kills < 30 {
        let (name, whole) = (format!("r{runs}"), folder.path().join("whole"));
        let run = folder.path().join(&name);
        loop {
            let arguments = match run.join("config.toml").exists() {
                true => ["train", "--resume", text(&run)].map(str::to_owned).to_vec(),
                false => arguments(folder.path(), &name, &[]),
            };
            let child = mpirun(&[(2, arguments)]).spawn().unwrap();
            std::thread::sleep(Duration::from_millis(random.next_u64() % 2500));
            let ranks = ranks_of(child.id());
            let killed = ranks.get((random.next_u64() % 2) as usize).is_some_and(|rank| is_signalled("KILL", *rank));
            let clock = Instant::now();
            let (code, out, errors) = end(child);
            if code == Some(0) {
                break;
            }
            assert!(killed, "{out}{errors}");
            while ranks.iter().any(|rank| is_at_work(*rank)) {
                assert!(clock.elapsed() < Duration::from_secs(60), "a rank is left");
                std::thread::sleep(Duration::from_millis(20));
            }
            longest = longest.max(clock.elapsed());
            kills += 1;
        }
        assert_same_run(&run, &whole);
        runs += 1;
    }
    println!("{kills} kills in {runs} runs, the same bits; all ranks ended within {:.1} s", longest.as_secs_f64());
    assert!(longest < Duration::from_secs(10));
}

/// Whether there is such a process, and not only what it leaves until somebody asks for it.
fn is_at_work(process: u32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{process}/stat"));
    state.is_ok_and(|state| state.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X'])))
}

fn is_signalled(name: &str, process: u32) -> bool {
    Command::new("kill").args(["-s", name, &process.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

fn signal(name: &str, process: u32) {
    assert!(is_signalled(name, process));
}

/// The processes that `mpirun` has started, in order.
fn ranks_of(mpirun: u32) -> Vec<u32> {
    let children = Command::new("pgrep").args(["-P", &mpirun.to_string()]).output().unwrap().stdout;
    let mut children: Vec<u32> = String::from_utf8(children).unwrap().split_whitespace().map(|id| id.parse().unwrap()).collect();
    children.sort_unstable();
    children
}
