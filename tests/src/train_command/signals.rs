//! `kill -9`, Ctrl-C, and a disk that is full: to a process.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use percept_cppo::random::Random;

use super::{arguments, resume_and_compare};
use crate::program::{assert_nothing_is_half_written, command, end, recorded_steps, text, wait_until};

fn start(folder: &Path, name: &str) -> Command {
    let arguments = arguments(folder, name, &[]);
    command(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Whether a checkpoint is being written.
fn is_saving(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with(".percept-new-"))
}

fn has_checkpoint(run: &Path) -> bool {
    let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten();
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("step-"))
}

#[test]
fn a_run_that_is_killed_again_and_again_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("r");
    let resume = || command(&["train", "--resume", text(&run)]).spawn().unwrap();

    let mut child = start(folder.path(), "r").spawn().unwrap();
    wait_until(&mut child, || recorded_steps(&run) >= 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!has_checkpoint(&run), "killed too late: the first checkpoint is that of step 3");

    let mut child = resume();
    wait_until(&mut child, || is_saving(&run));
    child.kill().unwrap();
    child.wait().unwrap();
    // and a line that the kill has torn
    let metrics = run.join("metrics.jsonl");
    let torn = std::fs::read_to_string(&metrics).unwrap() + "{\"step\":4,\"rewa";
    std::fs::write(&metrics, torn).unwrap();

    let mut random = Random::new(0, "kill", 0);
    for _ in 0..2 {
        let mut child = resume();
        std::thread::sleep(Duration::from_millis(random.next_u64() % 1500));
        child.kill().unwrap();
        let (_, _, errors) = end(child);
        assert!(!errors.contains("panicked"), "{errors}");
    }
    resume_and_compare(&run);
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("r");
        let mut child = start(folder.path(), "r").spawn().unwrap();
        wait_until(&mut child, || recorded_steps(&run) >= 1);
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let (code, out, errors) = end(child);
        assert_eq!(code, Some(130), "{out}{errors}");
        assert!(!errors.contains("panicked"), "{errors}");
        let steps = recorded_steps(&run);
        assert!((1..7).contains(&steps), "{steps}");
        assert!(out.contains(&format!("stopped after step {steps}; go on with: percept train --resume {}", run.display())), "{out}");
        assert!(run.join(format!("checkpoints/step-{steps}/model.safetensors")).is_file());
        assert_nothing_is_half_written(&run);
        // the step at which it was stopped has a checkpoint that the undisturbed run lacks; it goes with the next ones
        resume_and_compare(&run);
    }
}

/// A limit on the size of files is met as a full disk is: by a write that fails, wherever it comes.
#[test]
fn a_full_disk_leaves_what_was_there() {
    let whole = std::fs::metadata(super::undisturbed().join("checkpoints/step-7/model.safetensors")).unwrap().len();
    // in blocks of 512 bytes: the model fits, the state of the trainer does not; a page of text does, a run's records do not
    for (blocks, full) in [(whole / 512 + 8, "checkpoints/"), (12, ".jsonl")] {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("r");
        let program = start(folder.path(), "r");
        let mut limited = Command::new("sh");
        // the signal would kill the process before it sees the error
        limited.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\""), "sh"]);
        limited.arg(program.get_program()).args(program.get_args());
        limited.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = limited.output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        let named = errors.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{errors}"));
        assert!(named.contains(text(&run)) && named.contains(full) && named.contains("File too large"), "{errors}");
        assert!(errors.contains(&format!("percept train --resume {}", run.display())) && !errors.contains("panicked"), "{errors}");
        assert!(recorded_steps(&run) >= 1);
        assert_nothing_is_half_written(&run);
        resume_and_compare(&run);
    }
}
