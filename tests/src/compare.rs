//! `percept compare`: rows and cells, cells that go on to the same numbers, paired intervals, and the robustness test.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use percept_cppo::commands::Outcome;
use percept_cppo::config::{CompareConfig, cell_name};
use percept_cppo::problems::views::changes::{Change, Removal, STRENGTHS};
use percept_cppo::records::statistics::MeanInterval;
use percept_cppo::studies::compare::Cell;
use percept_cppo::studies::compare::summary::Quantity;

use crate::program::{command, end, percept, text, wait_until};
use crate::trainer::start;

/// Two methods and a variation, two seeds, a few small steps.
pub(crate) fn file(folder: &Path) -> PathBuf {
    let path = folder.join("small.toml");
    let text = format!(
        r#"
        [compare]
        title = "A small one"
        folder = {folder:?}
        methods = ["grpo", "cppo"]
        seeds = [0, 1]
        problems = 6
        samples = 2
        robustness_problems = 3
        detector_problems = 4
        [[compare.variations]]
        name = "k3"
        methods = ["cppo"]
        set.method.cppo.detector = "k3"
        [run]
        device = "cpu"
        [model]
        path = {model:?}
        [task]
        level = 1
        [method]
        group_size = 4
        [rollout]
        prompts_per_step = 2
        max_new_tokens = 30
        [optim]
        learning_rate = 1e-3
        [train]
        steps = 4
        save_every = 1
        sample_every = 0
        "#,
        folder = folder.join("cells"),
        model = start().join("model"),
    );
    std::fs::write(&path, text).unwrap();
    path
}

pub(crate) fn cell(folder: &Path, name: &str) -> Cell {
    let cell: Cell = serde_json::from_str(&std::fs::read_to_string(folder.join("cells").join(name).join("cell.json")).unwrap()).unwrap();
    // times differ, and the memory is that of the process so far
    let mut cell = cell;
    (cell.training.seconds_per_step, cell.training.peak_bytes) = (0.0, 0);
    cell
}

pub(crate) fn same(a: &Cell, b: &Cell) -> bool {
    serde_json::to_string(a).unwrap() == serde_json::to_string(b).unwrap()
}

#[test]
fn a_comparison_is_made_once_and_can_be_made_again() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [first, second] = folders.each_ref().map(|folder| file(folder.path()));
    let (outcome, out, errors) = percept(&["compare", text(&first)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    for row in ["grpo", "cppo", "cppo+k3", "start"] {
        assert!(out.contains(row), "{row}: {out}");
    }
    let cells = folders[0].path().join("cells");
    for name in ["cells.csv", "results.json", "table.md", "table.tex", "figure.svg", "report.html"] {
        let text = std::fs::read_to_string(cells.join(name)).unwrap();
        assert!(!text.contains("NaN") && text.contains("cppo"), "{name}: {text}");
    }
    assert_eq!(std::fs::read_to_string(cells.join("cells.csv")).unwrap().lines().count(), 1 + 1 + 6);

    // again: nothing is left to do; elsewhere: the same numbers
    let (outcome, out, _) = percept(&["compare", text(&first)]);
    assert!(outcome == Outcome::Done && out.contains("0 of 7 cells to make"), "{out}");
    let (outcome, out, errors) = percept(&["compare", text(&second), "--cell", "cppo+k3-seed1"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let [a, b] = [0, 1].map(|i| cell(folders[i].path(), "cppo+k3-seed1"));
    assert!(same(&a, &b), "{:?}\n{:?}", a.training, b.training);
    // seeds differ, and the paired rows began at the same problems
    assert!(!same(&a, &cell(folders[0].path(), "cppo+k3-seed0")));

    // cells that were made or measured otherwise are not mixed in
    let (outcome, _, errors) = percept(&["compare", text(&first), "--report", "--set", "optim.learning_rate=2e-3"]);
    assert!(outcome == Outcome::BadInput && errors.contains("learning_rate = 0.002") && errors.contains("0.001"), "{errors}");
    let whole = std::fs::read_to_string(&first).unwrap();
    std::fs::write(&first, whole.replace("problems = 6", "problems = 7")).unwrap();
    let (outcome, _, errors) = percept(&["compare", text(&first), "--report"]);
    assert!(outcome == Outcome::BadInput && errors.contains("compare.problems is 7, and it was measured on 6"), "{errors}");
    std::fs::write(&first, whole).unwrap();
    let weights = cells.join("cppo-seed1/start.json");
    let of_start = std::fs::read_to_string(&weights).unwrap();
    std::fs::write(&weights, of_start.replacen("\"model.safetensors\": ", "\"model.safetensors\": 1", 1)).unwrap();
    let (outcome, _, errors) = percept(&["compare", text(&first), "--report"]);
    assert!(outcome == Outcome::BadInput && errors.contains("cppo-seed1") && errors.contains("other weights"), "{errors}");
    std::fs::write(&weights, of_start).unwrap();

    // a policy that has come to grief, with weights of no length and no word about what it sees, is part of the results
    let kept = cells.join("cppo-seed1/cell.json");
    let of_cell = std::fs::read_to_string(&kept).unwrap();
    let mut broken: Cell = serde_json::from_str(&of_cell).unwrap();
    broken.training.weight_change = f64::NAN;
    broken.detectors.iter_mut().for_each(|(_, auc)| *auc = None);
    std::fs::write(&kept, serde_json::to_string(&broken).unwrap()).unwrap();
    let (outcome, out, errors) = percept(&["compare", text(&first), "--report"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    for name in ["cells.csv", "results.json", "table.md", "figure.svg", "report.html"] {
        let text = std::fs::read_to_string(cells.join(name)).unwrap();
        assert!(!text.contains("NaN"), "{name}: {text}");
    }
    std::fs::write(&kept, of_cell).unwrap();

    // a cell that was begun with other settings is not gone on with
    std::fs::remove_file(cells.join("grpo-seed0/cell.json")).unwrap();
    let (outcome, _, errors) = percept(&["compare", text(&first), "--set", "optim.learning_rate=2e-3"]);
    assert!(outcome == Outcome::BadInput && errors.contains("learning_rate = 0.002") && errors.contains("0.001"), "{errors}");
}

/// A run may be given as a model; which checkpoint is meant is decided once for all cells.
#[test]
fn models_are_replaced_wherever_they_are_given() {
    let text = "[model]\npath = 'runs/a'\n[compare]\nmethods = ['grpo']\n[[compare.variations]]\nname = 'b'\nset.model.path = 'runs/b'\n\
                [[compare.variations]]\nname = 'c'\nset.model.instruction = 'x'\n";
    let mut config = CompareConfig::parse(text, "c.toml", "c", &[]).unwrap();
    config.replace_models(|path| Ok::<_, ()>(path.join("checkpoints/best"))).unwrap();
    let paths: Vec<String> =
        config.cells().iter().take(3).map(|(row, _)| config.cell(row, 0).unwrap().model.path.display().to_string()).collect();
    assert_eq!(paths, ["runs/a/checkpoints/best", "runs/b/checkpoints/best", "runs/a/checkpoints/best"]);
    assert_eq!(config.replace_models(|_| Err("no")), Err("no"));
}

#[test]
fn a_cell_that_was_killed_goes_on_to_the_same_numbers() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [whole, killed] = folders.each_ref().map(|folder| file(folder.path()));
    percept(&["compare", text(&whole), "--cell", "cppo-seed0"]);
    let mut child = command(&["compare", text(&killed), "--cell", "cppo-seed0"]).spawn().unwrap();
    let checkpoint = folders[1].path().join("cells/cppo-seed0/checkpoints/step-2");
    wait_until(&mut child, || checkpoint.exists());
    child.kill().unwrap();
    end(child);
    assert!(!folders[1].path().join("cells/cppo-seed0/cell.json").exists(), "it was done before it was killed");
    let (outcome, out, errors) = percept(&["compare", text(&killed), "--cell", "cppo-seed0"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let [a, b] = [0, 1].map(|i| cell(folders[i].path(), "cppo-seed0"));
    assert!(same(&a, &b), "{:?}\n{:?}", a.training, b.training);
}

#[test]
fn equal_time_gives_slower_rows_fewer_steps_and_keeps_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let text_of_file = std::fs::read_to_string(&path).unwrap().replace("seeds = [0, 1]", "seeds = [0]\nbudget = \"time\"");
    std::fs::write(&path, text_of_file).unwrap();
    std::fs::create_dir_all(folder.path().join("cells")).unwrap();
    std::fs::write(folder.path().join("cells/budget.json"), r#"[["grpo",4],["cppo",3],["cppo+k3",2]]"#).unwrap();
    let (outcome, out, errors) = percept(&["compare", text(&path)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let steps = ["grpo-seed0", "cppo-seed0", "cppo+k3-seed0"].map(|name| cell(folder.path(), name).training.steps);
    assert_eq!(steps, [4, 3, 2]);

    std::fs::remove_dir_all(folder.path().join("cells")).unwrap();
    let (outcome, out, _) = percept(&["compare", text(&path), "--cell", "cppo-seed0"]);
    assert!(outcome == Outcome::Done, "{out}");
    let budget = std::fs::read_to_string(folder.path().join("cells/budget.json")).unwrap();
    let budget: Vec<(String, u64)> = serde_json::from_str(&budget).unwrap();
    assert!(budget[0] == ("grpo".into(), 4) && budget.iter().all(|(_, steps)| *steps >= 1), "{budget:?}");
}

#[test]
fn the_file_says_what_is_wrong_with_it() {
    let parse = |text: &str| CompareConfig::parse(text, "c.toml", "c", &[]).map_err(|error| error.to_string());
    let config = parse("[compare]\nseeds = [3, 4]\n[[compare.variations]]\nname = \"slow\"\nset.optim.learning_rate = 1e-6").unwrap();
    let names: Vec<String> = config.cells().into_iter().map(|(row, seed)| cell_name(row, seed)).collect();
    assert_eq!(names[..4], ["grpo-seed3", "cppo-seed3", "grpo+slow-seed3", "cppo+slow-seed3"]);
    let slow = config.cell(config.row("cppo+slow").unwrap(), 4).unwrap();
    assert_eq!((slow.optim.learning_rate, slow.run.seed, slow.method.own.name()), (1e-6, 4, "cppo"));
    assert_eq!(config.compare.folder, Path::new("runs/c"));
    for (text, expected) in [
        ("[compare]\nmethods = [\"grop\"]", "compare.methods: expected names among"),
        ("[compare]\nbase = \"papo\"", "compare.base: expected one of the rows grpo, cppo, got papo"),
        ("[compare]\nseeds = [1, 1]", "compare.seeds: expected at least one, each once"),
        ("[compare]\nseed = [1]", "compare: unknown field `seed`"),
        ("[compare]\nproblems = 0", "compare.problems: expected at least 1, got 0"),
        ("[optim]\nlearning_rat = 1", "optim.learning_rat: no such key; did you mean optim.learning_rate?"),
        ("[[compare.variations]]\nname = \"a/b\"", "variations.name: expected letters"),
        ("[[compare.variations]]\nname = \"x\"\nset.method.cppo.detecto = 1", "row grpo+x: method.cppo.detecto: no such key"),
    ] {
        let got = parse(text).unwrap_err();
        assert!(got.contains(expected), "{text}: {got}");
    }
}

/// By hand: 1, 2, 3 have the mean 2 and the deviation 1; with two degrees of freedom the interval reaches 4.3027 / √3 to either side.
#[test]
fn few_seeds_have_students_interval() {
    let of = MeanInterval::of(&[1.0, 2.0, 3.0]);
    assert!((of.mean - 2.0).abs() < 1e-12 && (of.half - 4.3027 / 3f64.sqrt()).abs() < 1e-9, "{of:?}");
    assert!(!of.excludes_zero() && MeanInterval::of(&[1.9, 2.0, 2.1]).excludes_zero());
    assert!((of.detectable() - (4.3027 + 1.0607) / 3f64.sqrt()).abs() < 1e-9);
    let one = MeanInterval::of(&[1.0]);
    assert!(one.half.is_nan() && !one.excludes_zero() && MeanInterval::of(&[]).mean.is_nan());
    // beyond the table the quantile falls on towards the normal one: 2.021 at 40 degrees, by a table of Student's distribution
    let many: Vec<f64> = (0..41).map(|i| f64::from(i % 2)).collect();
    let of = MeanInterval::of(&many);
    assert!((of.half / (of.deviation / 41f64.sqrt()) - 2.0211).abs() < 2e-3, "{of:?}");
}

/// A bright square on dark ground.
fn picture() -> RgbImage {
    RgbImage::from_fn(64, 64, |x, y| if (20..40).contains(&x) && (24..44).contains(&y) { Rgb([220; 3]) } else { Rgb([20; 3]) })
}

#[test]
fn changes_grow_with_their_strength_and_repeat() {
    let original = picture();
    let distance = |other: &RgbImage| -> f64 {
        original.as_raw().iter().zip(other.as_raw()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / original.as_raw().len() as f64
    };
    for change in Change::ALL {
        let at = |strength: usize, problem: u64| change.apply(&original, strength, problem);
        let distances: Vec<f64> =
            (1..=STRENGTHS).map(|strength| (0..8).map(|problem| distance(&at(strength, problem))).sum::<f64>() / 8.0).collect();
        assert!(distances[0] > 0.0 && distances.is_sorted() && distances[2] < 128.0, "{}: {distances:?}", change.name());
        assert_eq!((at(2, 5), at(2, 5).dimensions()), (at(2, 5), (64, 64)), "{}", change.name());
    }
    assert!(Change::Noise.apply(&original, 1, 0) != Change::Noise.apply(&original, 1, 1), "every problem has the same noise");
}

#[test]
fn removals_leave_nothing_to_read() {
    let (original, other) = (picture(), RgbImage::from_pixel(64, 64, Rgb([9; 3])));
    let blank = Removal::Blank.apply(&original, &other, 0);
    assert!(blank.pixels().all(|pixel| pixel == blank.get_pixel(0, 0)));
    assert_eq!(Removal::Swapped.apply(&original, &other, 0), other);
    let scrambled = Removal::Scrambled.apply(&original, &other, 0);
    let sorted = |picture: &RgbImage| {
        let mut values = picture.as_raw().clone();
        values.sort_unstable();
        values
    };
    assert!(scrambled != original && sorted(&scrambled) == sorted(&original), "the same pixels at other places");
}

/// What is measured of every cell has a name and a value between 0 and 1.
#[test]
fn quantities_are_shares() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path());
    let (outcome, out, errors) = percept(&["compare", text(&path), "--cell", "start"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let start = cell(folder.path(), "start");
    for quantity in Quantity::ALL {
        let value = quantity.of(&start).unwrap();
        assert!((0.0..=1.0).contains(&value), "{}: {value}", quantity.title());
    }
    let robustness = start.robustness.unwrap();
    // ten changes and clutter, three strengths each; the original and three removals
    assert_eq!((robustness.changed.len(), robustness.removed.len(), robustness.problems), (33, 4, 3));
    assert_eq!(robustness.clean.consistent, 3, "an answer is the same as itself");
}
