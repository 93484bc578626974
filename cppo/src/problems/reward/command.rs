//! A reward that a program computes: one JSON line for each response on its standard input, one number on each line of its standard output.
//!
//! No shell is involved. The program runs in a process group of its own, so that Ctrl-C, which lets the step at hand end, does not end the program in the middle of
//! it; when its time is up, it is killed with all that it has started.

use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Graded, RewardFunction};

pub(super) struct Program {
    command: Vec<String>,
    timeout: Duration,
}

/// What is kept of the standard error.
const LAST_BYTES: usize = 8192;
const LAST_LINES: usize = 10;
/// How long an ended program's output may take to come, while something that it started still holds it open.
const GRACE: Duration = Duration::from_secs(2);

impl Program {
    /// # Errors
    /// If there is no such program.
    pub(super) fn new(command: &[String], timeout_seconds: f64) -> Result<Program, String> {
        find(&command[0])?;
        Ok(Program { command: command.to_vec(), timeout: Duration::from_secs_f64(timeout_seconds) })
    }

    fn output(&self, input: Vec<u8>) -> Result<String, String> {
        let program = &self.command[0];
        let mut command = Command::new(program);
        command.args(&self.command[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn().map_err(|e| format!("{program} cannot be started: {e}"))?;
        let mut stdin = child.stdin.take().expect("it is piped");
        // a program that does not read all of it may be right; whoever is missing lines will say so
        thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = reader(child.stdout.take().expect("it is piped"), usize::MAX);
        let stderr = reader(child.stderr.take().expect("it is piped"), LAST_BYTES);
        let ended = wait(&mut child, self.timeout).map_err(|e| format!("{program}: {e}"))?;
        let text = |of: &Receiver<Vec<u8>>| of.recv_timeout(GRACE).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let Some(status) = ended else {
            kill(&mut child);
            let seconds = self.timeout.as_secs_f64();
            return Err(format!("{program}: stopped after {seconds} seconds (timeout_seconds){}", last_lines(text(&stderr).ok())));
        };
        let output = text(&stdout);
        if !status.success() {
            return Err(format!("{program}: {status}{}", last_lines(text(&stderr).ok())));
        }
        output.map_err(|_| {
            kill(&mut child);
            format!("{program}: it has ended, but something that it started keeps its standard output open")
        })
    }
}

impl RewardFunction for Program {
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
        let input: String = responses.iter().map(line).collect();
        let output = self.output(input.into_bytes())?;
        let lines: Vec<&str> = output.lines().collect();
        if lines.len() != responses.len() {
            return Err(format!("{}: expected {} lines, one for each response, got {}", self.command[0], responses.len(), lines.len()));
        }
        let number = |(at, line): (usize, &&str)| {
            let number = line.trim().parse::<f32>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| {
                let shown: String = line.chars().take(60).collect();
                format!("{}: line {} of its output: expected a finite number, got {shown:?}", self.command[0], at + 1)
            })
        };
        lines.iter().enumerate().map(number).collect()
    }
}

/// A response as a line of JSON, with its end.
fn line(of: &Graded<'_>) -> String {
    let Graded { prompt, response, answer, tokens, prompt_id, problem, place, columns } = of;
    let mut line = json!({ "prompt": prompt, "response": response, "answer": answer, "tokens": tokens, "prompt_id": prompt_id });
    if let Some(problem) = problem {
        line["row"] = json!({
            "family": problem.family,
            "level": problem.level,
            "split": problem.split,
            "index": problem.index,
            "seen": problem.seen(),
            "reference": problem.reference_text(),
        });
    }
    if let Some(place) = place {
        line["row"] = json!({ "file": place.path.display().to_string(), "row": place.row });
    }
    if let Some(columns) = columns.filter(|columns| !columns.is_empty()) {
        line["columns"] = json!(columns);
    }
    format!("{line}\n")
}

/// Reads all of it on a thread; hands over the last `keep` bytes.
fn reader(mut from: impl Read + Send + 'static, keep: usize) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let (mut bytes, mut part) = (Vec::new(), vec![0; 1 << 16]);
        while let Ok(count) = from.read(&mut part) {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&part[..count]);
            if bytes.len() > keep.saturating_mul(2) {
                bytes.drain(..bytes.len() - keep);
            }
        }
        let _ = sender.send(bytes);
    });
    receiver
}

/// Waits until it ends; none if it takes longer.
fn wait(child: &mut Child, timeout: Duration) -> std::io::Result<Option<ExitStatus>> {
    let started = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

/// Ends it and what it has started.
fn kill(child: &mut Child) {
    // it may have ended by itself just now
    #[cfg(unix)]
    let _ = rustix::process::kill_process_group(rustix::process::Pid::from_child(child), rustix::process::Signal::KILL);
    let _ = child.kill();
    let _ = child.wait();
}

fn last_lines(text: Option<String>) -> String {
    let text = text.unwrap_or_default();
    let lines: Vec<&str> = text.trim_end().lines().collect();
    let last = &lines[lines.len().saturating_sub(LAST_LINES)..];
    if last.is_empty() { String::new() } else { format!("; its standard error ends with:\n{}", last.join("\n")) }
}

/// Whether a program can be found, before hours are spent on what it is to judge.
fn find(program: &str) -> Result<(), String> {
    if cfg!(not(unix)) {
        return Ok(()); // other systems add endings to names
    }
    if program.contains('/') {
        return if std::path::Path::new(program).is_file() { Ok(()) } else { Err(format!("{program}: no such program")) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if found { Ok(()) } else { Err(format!("{program}: no such program in PATH")) }
}
