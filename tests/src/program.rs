//! The program `percept`: called as a library, and as a process that can be killed, interrupted and limited.

use std::ffi::OsString;
use std::io::{stderr, stdout};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use percept_cppo::commands::{Outcome, run};
use percept_cppo::records::run::{RunFolder, is_time};
use serde_json::{Map, Value};

/// Outcome, standard output, standard error of `percept arguments`.
pub(crate) fn percept(arguments: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let outcome = run(["percept"].iter().chain(arguments).map(OsString::from), &mut out, &mut errors);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

pub(crate) const ARGUMENTS: &str = "PERCEPT_TEST_ARGUMENTS";

/// `percept arguments` as a process: this binary once more, of which only [`acts_as_percept`] runs.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "program::acts_as_percept", "--nocapture"]);
    command.env(ARGUMENTS, serde_json::to_string(arguments).unwrap());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// No test but the process of [`command`]; without its arguments there is nothing to do.
#[test]
fn acts_as_percept() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let arguments = ["percept".to_owned()].into_iter().chain(arguments).map(OsString::from);
    let outcome = run(arguments, &mut stdout(), &mut stderr());
    std::process::exit(i32::from(outcome.code()));
}

/// Waits until `holds`; a process that ends before that is a failure.
#[track_caller]
pub(crate) fn wait_until(child: &mut Child, holds: impl Fn() -> bool) {
    while !holds() {
        assert!(child.try_wait().unwrap().is_none(), "the process has ended");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the process said after it was asked to stop by `signal`, or had ended by itself. `-> (exit code, standard output, standard error)`
pub(crate) fn end(child: Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A pipe that was closed by whoever read it.
pub(crate) struct Closed;

impl std::io::Write for Closed {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Lines of `metrics.jsonl`, whole or not.
pub(crate) fn recorded_steps(run: &Path) -> usize {
    std::fs::read_to_string(run.join("metrics.jsonl")).map_or(0, |text| text.lines().count())
}

/// All that a run recorded but times and memory (of which other tests of the process have their share), and the steps it has checkpoints of.
pub(crate) fn record(run: &Path) -> String {
    let read = |name: &str| std::fs::read_to_string(run.join(name)).unwrap_or_else(|e| panic!("{}: {name}: {e}", run.display()));
    let is_repeatable = |name: &str| !is_time(name) && !name.starts_with("memory/");
    let mut record = String::new();
    for line in read("metrics.jsonl").lines() {
        let metrics: Map<String, Value> = serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let metrics: Map<String, Value> = metrics.into_iter().filter(|(name, _)| is_repeatable(name)).collect();
        record += &format!("{}\n", Value::Object(metrics));
    }
    let checkpoints = RunFolder::open(run).unwrap().checkpoints().unwrap();
    format!("{record}{}{}{checkpoints:?}", read("evaluations.jsonl"), read("samples.jsonl"))
}

/// Nothing is left of a write that did not come to its end.
#[track_caller]
pub(crate) fn assert_nothing_is_half_written(run: &Path) {
    for folder in [run.to_owned(), run.join("checkpoints"), run.join("images")] {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let hidden: Vec<String> = names.filter(|name| name.starts_with('.') && name != ".lock").collect();
        assert!(hidden.is_empty(), "{}: {hidden:?}", folder.display());
    }
    for name in ["metrics.jsonl", "evaluations.jsonl", "samples.jsonl"] {
        let text = std::fs::read_to_string(run.join(name)).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "{name} ends within a line");
        text.lines().for_each(|line| drop(serde_json::from_str::<Value>(line).unwrap()));
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.path().is_dir() {
            true => copy_folder(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}
