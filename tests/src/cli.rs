//! The command line, called as a library: what it writes, what it says, and how it ends.

use std::path::Path;

use percept_cppo::commands::Outcome;

use crate::program::{percept, text};
use crate::run::made_up;

#[test]
fn usage_is_explained() {
    let (outcome, out, errors) = percept(&["--help"]);
    assert!(outcome == Outcome::Done && out.contains("data") && out.contains("report") && errors.is_empty(), "{out}");
    let (outcome, out, errors) = percept(&["reprot"]);
    assert!(outcome == Outcome::BadInput && out.is_empty() && errors.contains("report"), "{errors}");
    assert_eq!(percept(&[]).0, Outcome::BadInput);
}

#[test]
fn made_data_import_again() {
    let folder = tempfile::tempdir().unwrap();
    let (made, imported) = (folder.path().join("made"), folder.path().join("imported"));
    let (outcome, out, errors) =
        percept(&["data", "make", "--to", text(&made), "--problems", "5", "--split", "test", "--set", "task.families=[\"shapes\"]"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert!(out.starts_with("5 problems"), "{out}");
    let (outcome, out, errors) = percept(&["data", "import", text(&made), "--to", text(&imported), "--json"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert!(out.contains("\"problems\":5") && out.contains("\"bad_rows\":[]"), "{out}");
    // pictures are copied to the byte, problems and answers to the letter
    let original = std::fs::read(made.join("images/000004.png")).unwrap();
    assert_eq!(std::fs::read(imported.join("images/000004-0.png")).unwrap(), original);
    let again = folder.path().join("again");
    assert_eq!(percept(&["data", "import", text(&imported), "--to", text(&again)]).0, Outcome::Done);
    let lines = |folder: &Path| std::fs::read_to_string(folder.join("data.jsonl")).unwrap();
    assert_eq!(lines(&imported), lines(&again));
    assert_eq!(lines(&again).lines().count(), 5);
}

#[test]
fn a_folder_that_is_not_empty_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data.jsonl"), "mine").unwrap();
    let arguments = ["data", "make", "--problems", "1", "--to", text(folder.path())];
    let (outcome, _, errors) = percept(&arguments);
    assert!(outcome == Outcome::BadInput && errors.contains("not empty; --force writes into it"), "{errors}");
    assert_eq!(std::fs::read_to_string(folder.path().join("data.jsonl")).unwrap(), "mine");
    assert_eq!(percept(&[&arguments[..], &["--force"]].concat()).0, Outcome::Done);
    let (outcome, _, errors) = percept(&["data", "import", text(folder.path()), "--to", text(folder.path())]);
    assert!(outcome == Outcome::BadInput && errors.contains("not empty"), "{errors}");
}

#[test]
fn bad_rows_are_named_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data.jsonl");
    image::RgbImage::new(2, 2).save(folder.path().join("a.png")).unwrap();
    let good = "{\"image\": \"a.png\", \"problem\": \"How many?\", \"answer\": 3}\n";
    std::fs::write(&path, format!("{good}{{\"image\": \"b.png\", \"problem\": \"q\", \"answer\": 1}}\n")).unwrap();
    let (outcome, out, _) = percept(&["data", "import", text(&path)]);
    assert!(
        outcome == Outcome::Done && out.starts_with("1 problem, 1 bad row left out") && out.contains("row 2") && out.contains("b.png"),
        "{out}"
    );
    let (outcome, _, errors) = percept(&["data", "import", text(&path), "--set", "data.on_bad_row=refuse"]);
    assert!(outcome == Outcome::BadInput && errors.contains("row 2"), "{errors}");
    std::fs::write(&path, "").unwrap();
    let (outcome, _, errors) = percept(&["data", "import", text(&path)]);
    assert!(outcome == Outcome::BadInput && errors.contains("no problem to use: 0 rows"), "{errors}");
}

#[test]
fn show_writes_a_sheet_of_views() {
    let folder = tempfile::tempdir().unwrap();
    let sheet = folder.path().join("sheet.png");
    let (outcome, out, errors) = percept(&["data", "show", "--views", "--problems", "2", "--to", text(&sheet)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert!(out.contains("1. ") && out.contains("2. ") && out.contains("<think>") && !out.contains("3. What"), "{out}");
    // 64 pixels enlarged three times, three views, two problems, a caption of 12 above each, gaps of 6
    assert_eq!(image::open(&sheet).unwrap().to_rgb8().dimensions(), (3 * 192 + 4 * 6, 2 * (12 + 192) + 3 * 6));
    // without the views, from data
    let made = folder.path().join("made");
    percept(&["data", "make", "--to", text(&made), "--problems", "3"]);
    let data = format!("data.path={}", text(&made));
    let (outcome, out, _) = percept(&["data", "show", "--set", &data, "--to", text(&sheet)]);
    assert!(outcome == Outcome::Done && out.contains("3. ") && !out.contains("<think>"), "{out}");
    assert_eq!(image::open(&sheet).unwrap().to_rgb8().dimensions(), (192 + 2 * 6, 3 * (12 + 192) + 4 * 6));
    // several pictures of a problem stand side by side, with views below each other
    let rows = std::fs::read_to_string(made.join("data.jsonl"))
        .unwrap()
        .replace("\"images/000000.png\"", "[\"images/000000.png\", \"images/000001.png\"]");
    std::fs::write(made.join("data.jsonl"), rows).unwrap();
    for (more, (columns, rows)) in [(&["--problems", "1"][..], (2, 1)), (&["--problems", "2", "--views"], (3, 3))] {
        let of_two = ["data", "show", "--set", &data, "--set", "data.max_images=2", "--to", text(&sheet)];
        let (outcome, _, errors) = percept(&[&of_two[..], more].concat());
        assert_eq!(outcome, Outcome::Done, "{errors}");
        assert_eq!(image::open(&sheet).unwrap().to_rgb8().dimensions(), (columns * 198 + 6, rows * (12 + 192 + 6) + 6));
    }
}

#[test]
fn wrong_configurations_end_with_bad_input() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("c.toml");
    std::fs::write(&file, "[task]\nlevle = 3\n").unwrap();
    let (outcome, _, errors) = percept(&["data", "show", text(&file)]);
    assert_eq!(
        (outcome, errors),
        (Outcome::BadInput, format!("error: {}: task.levle: no such key; did you mean task.level?\n", file.display()))
    );
}

#[test]
fn report_is_rebuilt() {
    let folder = tempfile::tempdir().unwrap();
    let made_up = made_up::run(folder.path(), 4);
    let (outcome, out, errors) = percept(&["report", text(made_up.path())]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert_eq!(out.trim(), text(&made_up.path().join("report.html")));
    let (outcome, _, errors) = percept(&["report", text(folder.path())]);
    assert!(outcome == Outcome::Failed && errors.contains("config.toml"), "{errors}");
}
