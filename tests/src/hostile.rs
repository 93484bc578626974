//! What strangers write does nothing but stand there: on the terminal, and in a report.

use std::fs;
use std::path::Path;

use percept_cppo::commands::Outcome;

use crate::program::{percept, text};

/// Sets the title, clears the screen, writes over the line, colours (C1), turns the reading direction.
const HOSTILE: &str = "x\u{1b}]0;pwned\u{7}\u{1b}[2J\r\u{9b}31m\u{202e}y";
const SHOWN: &str = "x\\u001b]0;pwned\\u0007\\u001b[2J\\u000d\\u009b31m\\u202ey";

#[track_caller]
fn commands_nothing(said: &str) {
    let bad = |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!said.contains(bad), "{said:?}");
}

fn model() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm").display().to_string()
}

/// Data whose problem, answer and further fields hold `text`, and one row that is bad in these words.
fn data(folder: &Path, hostile: &str) -> std::path::PathBuf {
    image::RgbImage::new(16, 16).save(folder.join("a.png")).unwrap();
    let row = |image: &str| serde_json::json!({ "image": image, "problem": hostile, "answer": hostile, "category": hostile }).to_string();
    let path = folder.join("data.jsonl");
    fs::write(&path, format!("{}\n{}\n", row("a.png"), row(&format!("{hostile}.png")))).unwrap();
    path
}

#[test]
fn data_and_their_errors_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = data(folder.path(), HOSTILE);
    let sheet = folder.path().join("sheet.png");
    let (outcome, out, errors) = percept(&["data", "show", "--set", &format!("data.path={}", text(&path)), "--to", text(&sheet)]);
    assert!(outcome == Outcome::Done && out.contains(&format!("1. {SHOWN}\n   answer {SHOWN}\n")), "{out}{errors}");
    commands_nothing(&out);
    let (outcome, out, _) = percept(&["data", "import", text(&path)]);
    assert!(outcome == Outcome::Done && out.contains(&format!("{SHOWN}.png")), "{out}");
    commands_nothing(&out);
    // as JSON it is what it was
    let (_, out, _) = percept(&["data", "import", text(&path), "--json"]);
    commands_nothing(&out);
    let parsed: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert!(parsed["bad_rows"][0]["reason"].as_str().unwrap().contains(HOSTILE), "{parsed}");
    let (outcome, _, errors) = percept(&["data", "import", text(&path), "--set", "data.on_bad_row=refuse"]);
    assert!(outcome == Outcome::BadInput && errors.contains(SHOWN), "{errors}");
    commands_nothing(&errors);
}

#[test]
fn arguments_names_and_templates_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [&[HOSTILE][..], &["train", "--set", HOSTILE], &["config", HOSTILE], &["report", HOSTILE], &["train", HOSTILE]] {
        let (outcome, out, errors) = percept(arguments);
        assert!(outcome != Outcome::Done && errors.contains("\\u009b31m"), "{arguments:?}: {errors}");
        commands_nothing(&(out + &errors));
    }
    // a template that raises what it likes
    let model = folder.path().join("model");
    crate::program::copy_folder(Path::new(&self::model()), &model);
    fs::write(model.join("chat_template.jinja"), format!("{{{{ raise_exception('{}') }}}}", HOSTILE.replace('\r', ""))).unwrap();
    let picture = folder.path().join("a.png");
    image::RgbImage::new(16, 16).save(&picture).unwrap();
    let question = ["--image", text(&picture), "--prompt", "?", "--device", "cpu"];
    let (outcome, out, errors) = percept(&[&["generate", "--model", text(&model)], &question[..]].concat());
    assert!(outcome == Outcome::BadInput && errors.contains("chat_template.jinja") && errors.contains("\\u001b]0;pwned"), "{errors}");
    commands_nothing(&(out + &errors));
}

#[test]
fn what_a_model_says_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let picture = folder.path().join("a.png");
    image::RgbImage::new(16, 16).save(&picture).unwrap();
    let model = model();
    let asked = ["--model", &model, "--image", text(&picture), "--prompt", HOSTILE];
    let (outcome, out, errors) = percept(&[&["score", "--completion", HOSTILE, "--device", "cpu"], &asked[..]].concat());
    assert_eq!(outcome, Outcome::Done, "{errors}");
    commands_nothing(&(out + &errors));
    for (colour, json) in [("never", false), ("never", true), ("always", false)] {
        let json: &[&str] = if json { &["--json"] } else { &[] };
        let (outcome, out, errors) =
            percept(&[&["inspect", "--set", "run.device=cpu", "--color", colour, "--response", HOSTILE], &asked[..], json].concat());
        assert_eq!(outcome, Outcome::Done, "{errors}");
        // the colours of the program are the only sequences
        let quoted: String =
            out.split("\u{1b}[").enumerate().map(|(n, part)| if n == 0 { part } else { part.split_once('m').unwrap().1 }).collect();
        commands_nothing(&(quoted + &errors));
        assert!(colour == "always" || !out.contains('\u{1b}'), "{out}");
        assert!(!out.contains("\u{1b}[2J") && !out.contains("\u{1b}]"), "{out}");
    }
}

#[test]
fn long_values_are_cut() {
    let long = "A".repeat(1_000_000);
    for set in [format!("train.stepz={long}"), format!("train.steps={long}"), format!("{long}=1"), format!("task.families=[\"{long}\"]")] {
        let (outcome, _, errors) = percept(&["train", "--dry-run", "--set", &set]);
        assert!(outcome == Outcome::BadInput && errors.len() < 8000, "{} bytes: {}", errors.len(), &errors[..1000]);
    }
}

/// Whatever a run's files say is text in its report, in the titles of its figures, too.
#[test]
fn a_report_runs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let run = crate::run::made_up::run(folder.path(), 8);
    const SCRIPT: &str = "<script>alert(1)</script>\"'&";
    let quoted = serde_json::to_string(SCRIPT).unwrap();
    for (file, old) in [("evaluations.jsonl", "\"sampled\""), ("samples.jsonl", "\"How many"), ("metrics.jsonl", "\"reward\"")] {
        let path = run.path().join(file);
        let lines = fs::read_to_string(&path).unwrap();
        fs::write(path, lines.replace(old, &quoted)).unwrap();
    }
    let (outcome, _, errors) = percept(&["report", text(run.path())]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    let page = fs::read_to_string(run.path().join("report.html")).unwrap();
    assert!(page.contains("<title>&lt;script&gt;alert(1)") && !page.contains("<script>alert"), "an evaluation's name stands in a title");
    crate::report::well_formed(&page);
}

/// Opened, a pipe would wait for somebody who writes into it.
#[cfg(unix)]
#[test]
fn pipes_in_a_run_are_refused() {
    for name in ["config.toml", "metrics.jsonl", "evaluations.jsonl", "samples.jsonl", "starts.jsonl"] {
        let folder = tempfile::tempdir().unwrap();
        let run = crate::run::made_up::run(folder.path(), 4);
        let path = run.path().join(name);
        let _ = fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (outcome, _, errors) = percept(&["report", text(run.path())]);
        assert!(outcome != Outcome::Done && errors.contains(&format!("{name}: expected a regular file, got a pipe")), "{errors}");
    }
    let (outcome, _, errors) = percept(&["eval", "--compare", "/dev/zero", "/dev/zero"]);
    assert!(outcome != Outcome::Done && errors.contains("/dev/zero: expected a regular file"), "{errors}");
}

/// A folder that is written into may be a stranger's, and its links lead anywhere.
#[cfg(unix)]
#[test]
fn nothing_is_written_through_links() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let (path, target, outside) = (data(folder.path(), "q"), folder.path().join("target"), folder.path().join("outside"));
    fs::create_dir_all(target.join("images")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), "mine").unwrap();
    let import = || percept(&["data", "import", text(&path), "--to", text(&target), "--force"]);
    let make = || percept(&["data", "make", "--problems", "1", "--to", text(&target), "--force"]);
    symlink(outside.join("mine"), target.join("images/000000-0.png")).unwrap();
    symlink(outside.join("mine"), target.join("images/000000.png")).unwrap();
    symlink(outside.join("mine"), target.join("data.jsonl")).unwrap();
    for (outcome, _, errors) in [import(), make()] {
        assert!(outcome == Outcome::BadInput && errors.contains("images/000000") && errors.contains("a link"), "{errors}");
    }
    fs::remove_dir_all(target.join("images")).unwrap();
    symlink(&outside, target.join("images")).unwrap();
    for (outcome, _, errors) in [import(), make()] {
        assert!(outcome == Outcome::BadInput && errors.contains("target/images: a link"), "{errors}");
    }
    // the table replaces a link
    fs::remove_file(target.join("images")).unwrap();
    assert_eq!(import().0, Outcome::Done);
    assert_eq!(fs::read_to_string(outside.join("mine")).unwrap(), "mine");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}
