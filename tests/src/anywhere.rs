//! The program in an empty folder, with nothing beside it: what it needs it brings along. And what it prints, to whom, and how wide.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use percept_cppo::commands::{Outcome, run};
use percept_cppo::config::{shipped, wrapped};

use crate::program::{Closed, command, end, percept, text};

/// `percept arguments` in `folder`, whose user has nothing at home.
fn percept_in(folder: &Path, home: &Path, arguments: &[&str]) -> Command {
    let mut command = command(arguments);
    command.current_dir(folder).env("HOME", home).env_remove("XDG_CACHE_HOME").env_remove("PERCEPT_CACHE").env_remove("PERCEPT_ADAPTER");
    command
}

/// A step that takes a second.
const SMALL: [&str; 14] = [
    "--set",
    "run.device=cpu",
    "--set",
    "train.steps=1",
    "--set",
    "rollout.prompts_per_step=2",
    "--set",
    "method.group_size=2",
    "--set",
    "eval.problems=0",
    "--set",
    "rollout.max_new_tokens=8",
    "--set",
    "run.name=r",
];

#[test]
fn training_works_in_an_empty_folder() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let arguments = [&["train"][..], &SMALL].concat();
    let (code, out, errors) = end(percept_in(folder.path(), home.path(), &arguments).spawn().unwrap());
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("model: assets/tiny-vlm (part of the program), 1.05 M parameters trained"), "{out}");
    let run = folder.path().join("runs/r");
    assert!(run.join("checkpoints/step-1/model.safetensors").is_file());
    // what is written down holds on every machine
    assert!(std::fs::read_to_string(run.join("config.toml")).unwrap().contains("path = \"assets/tiny-vlm\""));
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["runs"], "nothing but the run");
    // it goes on in another place, and a home that cannot be written does not matter
    let (code, out, errors) = end(percept_in(home.path(), Path::new("/dev/null"), &["train", "--resume", text(&run)]).spawn().unwrap());
    assert_eq!(code, Some(0), "{out}{errors}");
    // a configuration by its short name
    let (code, out, errors) = end(percept_in(folder.path(), home.path(), &["train", "digits-full", "--dry-run"]).spawn().unwrap());
    assert!(code == Some(0) && out.contains("# digits-full (part of the program): what would be in force"), "{out}{errors}");
    let (code, _, errors) = end(percept_in(folder.path(), home.path(), &["train", "configs/none.toml"]).spawn().unwrap());
    assert!(code == Some(2) && errors.contains("configs/none.toml: ") && errors.matches("No such file").count() == 1, "{errors}");
}

#[test]
fn a_file_on_disk_comes_first() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::fs::create_dir(folder.path().join("configs")).unwrap();
    std::fs::write(folder.path().join("configs/digits.toml"), "[train]\nstepz = 3\n").unwrap();
    let (code, _, errors) = end(percept_in(folder.path(), home.path(), &["train"]).spawn().unwrap());
    assert!(code == Some(2) && errors.contains("configs/digits.toml: train.stepz: no such key"), "{errors}");
    std::fs::remove_dir_all(folder.path().join("configs")).unwrap();
    // a model that is damaged is not replaced behind one's back
    std::fs::create_dir_all(folder.path().join("assets/tiny-vlm")).unwrap();
    let (code, _, errors) = end(percept_in(folder.path(), home.path(), &["train"]).spawn().unwrap());
    assert!(code == Some(2) && errors.contains("assets/tiny-vlm"), "{errors}");
}

#[test]
fn what_is_shipped_is_what_stands_in_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let names: Vec<&str> = shipped::configurations().collect();
    assert_eq!(names.len(), std::fs::read_dir(root.join("configs")).unwrap().count());
    for name in names {
        let there = std::fs::read_to_string(root.join(name)).unwrap();
        assert_eq!(shipped::configuration(Path::new(name)), Some(there.as_str()), "{name}");
        assert_eq!(shipped::configuration(&Path::new("./").join(name)), Some(there.as_str()), "{name}");
    }
    assert_eq!(shipped::configuration(Path::new("../configs/digits.toml")), None);
    // nothing is taken for a directory of ours that only begins like one
    for path in ["assets", "assets/", "assets/tiny", "assets/tiny-vlm/config.json", "configs"] {
        assert_eq!(shipped::locate(Path::new(path)).unwrap(), Path::new(path));
    }
}

/// Packages hold all that they are built from: nothing is included from beside them, and the links lead where they should.
#[test]
fn packages_are_whole() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (link, target) in [("engine/shaders", "shaders"), ("cppo/assets", "assets"), ("cppo/configs", "configs"), ("cppo/data", "data")] {
        // a plain file with the path in it where links were not checked out
        let is_link = std::fs::canonicalize(root.join(link)).unwrap() == std::fs::canonicalize(root.join(target)).unwrap();
        assert!(is_link || std::fs::read_to_string(root.join(link)).unwrap().trim() == format!("../{target}"), "{link}");
    }
    let mut open = ["engine/src", "model/src", "cppo/src"].map(|folder| root.join(folder)).to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap_or_default();
        for call in ["include_str!(\"../", "include_bytes!(\"../", "\"/../"] {
            assert!(!source.contains(call), "{}: {call}", path.display());
        }
    }
}

/// An adapter that is not there is never replaced by the CPU.
#[test]
fn a_mistyped_adapter_is_an_error_everywhere() {
    let (folder, home) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    image::RgbImage::new(8, 8).save(folder.path().join("a.png")).unwrap();
    let question = ["--model", "assets/tiny-vlm", "--image", "a.png", "--prompt", "How many?"];
    let ask = [&["generate"][..], &question].concat();
    let score = [&["score"][..], &question, &["--completion", "3"]].concat();
    // what takes no time, should it begin
    let sft = ["sft.steps=1", "sft.warm_start_steps=0", "sft.batch_size=1", "eval_problems=0"].map(|assignment| ["--set", assignment]);
    let sft = [&["sft", "sft-digits"][..], sft.as_flattened()].concat();
    let eval = ["eval", "--set", "eval.problems=1", "--set", "rollout.max_new_tokens=2"];
    let with_setting: [&[&str]; 5] = [&["train", "--dry-run"], &eval, &["inspect"], &["bench", "--counts"], &sft];
    for (arguments, advice) in with_setting
        .map(|arguments| (arguments, "--set run.device=cpu"))
        .into_iter()
        .chain([(&ask[..], "--device cpu"), (&score[..], "--device cpu")])
    {
        let (code, out, errors) = end(percept_in(folder.path(), home.path(), arguments).env("PERCEPT_ADAPTER", "NVIDA").spawn().unwrap());
        assert_eq!(code, Some(1), "{arguments:?}: {out}{errors}");
        assert!(errors.contains("no GPU matches `NVIDA`; adapters found: "), "{arguments:?}: {errors}");
        assert!(errors.contains(advice) && errors.contains("--device") == (advice == "--device cpu"), "{arguments:?}: {errors}");
    }
    let (outcome, _, errors) = percept(&["train", "--set", "run.device=nvida"]);
    assert!(outcome == Outcome::Failed && errors.contains("no GPU matches `nvida`; adapters found: "), "{errors}");
    // the words are words in any case
    for device in ["CPU", "Cpu"] {
        let set = format!("run.device={device}");
        let (outcome, out, errors) = percept(&["train", "--dry-run", "--set", &set]);
        assert!(outcome == Outcome::Done && out.contains("device: cpu"), "{out}{errors}");
    }
    let (code, out, errors) =
        end(percept_in(folder.path(), home.path(), &["train", "--dry-run", "--set", "run.device=Auto"]).spawn().unwrap());
    assert_eq!(code, Some(0), "{out}{errors}");
}

/// `percept ... | head`: whoever has read enough is told nothing more.
#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    for arguments in [
        &["config"][..],
        &["config", "--defaults"],
        &["config", "--explain", "method"],
        &["train", "--help"],
        &["doctor"],
        &["completions", "bash"],
        &["data", "show", "--problems", "1", "--to", text(&sheet)],
        &["train", "--dry-run", "--set", "run.device=cpu"],
    ] {
        let mut errors = Vec::new();
        let outcome = run(["percept"].iter().chain(arguments).map(OsString::from), &mut Closed, &mut errors);
        assert_eq!((outcome, String::from_utf8(errors).unwrap()), (Outcome::Done, String::new()), "{arguments:?}");
    }
}

#[test]
fn an_error_is_said_once() {
    let (_, _, errors) = percept(&["train", "no/such.toml"]);
    assert_eq!(errors.matches("No such file").count() + errors.matches("cannot find").count(), 1, "{errors}");
    let (_, _, errors) = percept(&["train", "--resume", "no/such"]);
    assert_eq!(errors.matches("No such file").count() + errors.matches("cannot find").count(), 1, "{errors}");
    let (_, _, errors) = percept(&["eval", "--model", "no/such", "--set", "run.device=cpu"]);
    assert!(errors.starts_with("error: no/such") && errors.lines().count() == 1, "{errors}");
}

/// What is not a path or a number that somebody chose fits 80 columns.
#[test]
fn what_is_printed_fits_a_terminal() {
    let small = ["--set", "run.device=cpu", "--set", "eval.problems=2", "--set", "eval.samples=2", "--set", "rollout.max_new_tokens=8"];
    let robust = [&["eval", "--robustness"][..], &small].concat();
    let measured = [&["eval"][..], &small].concat();
    let commands: [&[&str]; 8] = [
        &["--help"],
        &["train", "--help"],
        &["inspect", "--help"],
        &["config"],
        &["config", "--of", "sft"],
        &["train", "--dry-run", "--set", "run.device=cpu"],
        &robust,
        &measured,
    ];
    for arguments in commands {
        let (outcome, out, errors) = percept(arguments);
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{arguments:?}");
        for line in out.lines().filter(|line| !line.contains("# default")) {
            assert!(line.chars().count() <= 80, "{arguments:?}: {} columns: {line}", line.chars().count());
        }
    }
    assert_eq!(wrapped("- ", "  ", &"word ".repeat(20)), format!("- {}\n  {}\n", "word ".repeat(14) + "word", "word ".repeat(4) + "word"));
}

#[test]
fn shells_get_their_scripts() {
    for (shell, word) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef percept"),
        ("fish", "complete -c percept"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let (outcome, out, errors) = percept(&["completions", shell]);
        assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
        assert!(out.contains(word) && out.contains("doctor") && out.contains("dry-run"), "{shell}: {out}");
    }
    assert_eq!(percept(&["completions", "tcsh"]).0, Outcome::BadInput);
}
