//! A user's own pictures and questions, from supervised training to the comparison of two models.

use std::path::{Path, PathBuf};

use image::{Rgb, RgbImage};
use percept_cppo::commands::Outcome;
use percept_cppo::records::predictions::{Predicted, Prediction, compare};

use crate::program::{copy_folder, percept, text};

const COLOURS: [(&str, [u8; 3]); 3] = [("red", [220, 30, 30]), ("green", [30, 160, 60]), ("blue", [40, 70, 220])];

/// `count` pictures of a coloured square, one question about each, in a file of JSON lines.
fn own_data(folder: &Path, count: usize) -> PathBuf {
    std::fs::create_dir_all(folder.join("pictures")).unwrap();
    let mut lines = String::new();
    for number in 0..count {
        let (name, colour) = COLOURS[number % 3];
        let mut picture = RgbImage::from_pixel(40, 40, Rgb([250, 250, 250]));
        let corner = (number * 5 % 20) as u32;
        (corner..corner + 20).for_each(|x| (10..30).for_each(|y| picture.put_pixel(x, y, Rgb(colour))));
        picture.save(folder.join(format!("pictures/{number}.png"))).unwrap();
        let response = format!("<think>I see {name}.</think>\\\\boxed{{{name}}}");
        lines += &format!(
            "{{\"image\": \"pictures/{number}.png\", \"question\": \"Which colour?\", \"answer\": \"{name}\", \"response\": \"{response}\"}}\n"
        );
    }
    let path = folder.join("own.jsonl");
    std::fs::write(&path, lines).unwrap();
    path
}

fn tiny_model() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-vlm").to_owned()
}

fn settings(folder: &Path, name: &str) -> Vec<String> {
    let runs = folder.join("runs").display().to_string();
    vec![format!("run.folder={runs}"), format!("run.name={name}"), "run.device=cpu".into(), format!("model.path={}", tiny_model())]
}

fn call(command: &str, first: &[&str], set: &[String]) -> (Outcome, String, String) {
    let set = set.iter().flat_map(|assignment| ["--set", assignment.as_str()]);
    percept(&[command].into_iter().chain(first.iter().copied()).chain(set).collect::<Vec<_>>())
}

fn train(folder: &Path, name: &str, more: &[String]) -> (Outcome, String, String) {
    let short = ["train.steps=2", "rollout.prompts_per_step=2", "method.group_size=2", "rollout.max_new_tokens=8", "eval.samples=1"];
    call("train", &[], &[settings(folder, name), short.map(str::to_owned).to_vec(), more.to_vec()].concat())
}

fn sft(folder: &Path, name: &str, data: &Path, more: &[String]) -> (Outcome, String, String) {
    let file = folder.join("sft.toml");
    let model = folder.join(format!("model-{name}"));
    std::fs::write(&file, format!("out = '{}'\n[data]\npath = '{}'\n[sft]\nsteps = 6\nbatch_size = 4\nsave_every = 3\nwarm_start_steps = 0\n[optim]\nlearning_rate = 2e-3\n", model.display(), data.display())).unwrap();
    call("sft", &[text(&file)], &[settings(folder, name), more.to_vec()].concat())
}

#[test]
fn responses_of_ones_own_are_learnt() {
    let folder = tempfile::tempdir().unwrap();
    let data = own_data(folder.path(), 12);
    let (outcome, out, errors) = sft(folder.path(), "sft", &data, &[]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let metrics = std::fs::read_to_string(folder.path().join("runs/sft/metrics.jsonl")).unwrap();
    let losses: Vec<f64> =
        metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].as_f64().unwrap()).collect();
    assert!(losses.len() == 6 && losses[5] < 0.5 * losses[0], "{losses:?}");

    // the same as a chat
    let chat: String = std::fs::read_to_string(&data)
        .unwrap()
        .lines()
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let user = serde_json::json!({"role": "user", "content": [{"type": "image"}, {"type": "text", "text": row["question"]}]});
            let messages = serde_json::json!([user, {"role": "assistant", "content": row["response"]}]);
            format!("{}\n", serde_json::json!({"images": [row["image"]], "messages": messages}))
        })
        .collect();
    let chat_path = folder.path().join("chat.jsonl");
    std::fs::write(&chat_path, chat).unwrap();
    let (outcome, out, errors) = sft(folder.path(), "chat", &chat_path, &[]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let of_loss = |metrics: &str| {
        metrics.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["loss"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(of_loss(&std::fs::read_to_string(folder.path().join("runs/chat/metrics.jsonl")).unwrap()), of_loss(&metrics));

    // a row without a response is named, and pictures without labels have no warm start
    let lines = std::fs::read_to_string(&data).unwrap().replacen("\"response\"", "\"other\"", 1);
    std::fs::write(folder.path().join("own.jsonl"), lines).unwrap();
    let (outcome, out, _) = sft(folder.path(), "less", &data, &[]);
    assert!(outcome == Outcome::Done && out.contains("own.jsonl: row 1: missing: response or completion or messages"), "{out}");
    let (outcome, _, errors) = sft(folder.path(), "warm", &data, &["sft.warm_start_steps=5".into()]);
    assert!(outcome == Outcome::BadInput && errors.contains("sft.warm_start_steps: expected 0 with data"), "{errors}");
}

#[test]
fn a_prompt_that_is_too_long_is_named_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    let data = own_data(folder.path(), 6);
    let mut lines: Vec<String> = std::fs::read_to_string(&data).unwrap().lines().map(str::to_owned).collect();
    lines[3] = lines[3].replace("Which colour?", &"Which colour? ".repeat(3000));
    std::fs::write(&data, lines.join("\n")).unwrap();
    let of_data = [format!("data.path={}", data.display()), "eval.problems=0".into()];
    let (outcome, out, errors) = train(folder.path(), "long", &of_data);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("5 problems, 1 bad row left out") && out.contains("own.jsonl: row 4: too long: prompt of "), "{out}");
    let refuse = [&of_data[..], &["data.on_bad_row=refuse".into()]].concat();
    let (outcome, _, errors) = train(folder.path(), "refused", &refuse);
    assert!(outcome == Outcome::BadInput && errors.contains("row 4: too long"), "{errors}");
    assert!(!folder.path().join("runs/refused").exists());
}

#[test]
fn a_run_does_not_go_on_with_other_data() {
    let folder = tempfile::tempdir().unwrap();
    let data = own_data(folder.path(), 6);
    let (outcome, out, errors) = train(
        folder.path(),
        "whole",
        &[format!("data.path={}", data.display()), "train.save_every=1".into(), "eval.holdout=2".into(), "eval.every=0".into()],
    );
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("measured on 2 of ") && out.contains("kept back from training"), "{out}");
    assert!(out.contains("on 2 problems"), "{out}");
    let run = folder.path().join("half");
    let resume = || {
        copy_folder(&folder.path().join("runs/whole"), &run);
        std::fs::remove_dir_all(run.join("checkpoints/step-2")).unwrap();
        let result = percept(&["train", "--resume", text(&run)]);
        std::fs::remove_dir_all(&run).unwrap();
        result
    };
    let (outcome, out, errors) = resume();
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    let lines = std::fs::read_to_string(&data).unwrap();
    let picture = std::fs::read(folder.path().join("pictures/1.png")).unwrap();
    let mut repainted = image::open(folder.path().join("pictures/1.png")).unwrap().to_rgb8();
    repainted.put_pixel(0, 0, Rgb([0, 0, 0]));
    let changes: [&dyn Fn(); 4] = [
        &|| std::fs::write(&data, lines.replacen("colour?", "color?", 1)).unwrap(),
        &|| std::fs::write(&data, lines.replacen("\"answer\": \"red\"", "\"answer\": \"rod\"", 1)).unwrap(),
        &|| std::fs::write(&data, lines.lines().rev().collect::<Vec<_>>().join("\n")).unwrap(),
        &|| repainted.save(folder.path().join("pictures/1.png")).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        change();
        let (outcome, _, errors) = resume();
        assert!(
            outcome == Outcome::BadInput && errors.contains("not what this run began with:\n  data: changed: CRC-32"),
            "{number}: {errors}"
        );
        std::fs::write(&data, &lines).unwrap();
        std::fs::write(folder.path().join("pictures/1.png"), &picture).unwrap();
    }
    assert_eq!(resume().0, Outcome::Done);
}

#[test]
fn a_run_that_cannot_learn_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let more = ["train.steps=10", "rollout.max_new_tokens=2", "eval.problems=0", "eval.every=0", "train.sample_every=0"].map(str::to_owned);
    let (outcome, out, errors) = train(folder.path(), "nothing", &more);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("WARNING: no response was right in 10 steps") && out.contains("WARNING: in 10 steps no group had"), "{out}");
}

#[test]
fn more_problems_kept_back_than_there_are_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let data = own_data(folder.path(), 3);
    let (outcome, _, errors) = train(folder.path(), "none", &[format!("data.path={}", data.display()), "eval.holdout=3".into()]);
    assert!(outcome == Outcome::BadInput && errors.contains("eval.holdout: expected fewer than the 3 problems of data, got 3"), "{errors}");
}

#[test]
fn what_a_model_says_is_written_down_and_two_models_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let data = own_data(folder.path(), 8);
    let samples = [folder.path().join("a.jsonl"), folder.path().join("b.jsonl")];
    let eval = |path: &Path, more: &str| {
        let set = [
            format!("data.path={}", data.display()),
            "run.device=cpu".into(),
            "eval.samples=3".into(),
            "rollout.max_new_tokens=12".into(),
            more.into(),
        ];
        let model = tiny_model();
        call("eval", &["--model", &model, "--log-samples", text(path)], &set)
    };
    let (outcome, out, errors) = eval(&samples[0], "run.seed=0");
    assert_eq!(outcome, Outcome::Done, "{errors}");
    assert!(errors.contains("WARNING: these problems are trained on") && out.contains("own.jsonl (training data)"), "{errors}{out}");
    let lines: Vec<Prediction> =
        std::fs::read_to_string(&samples[0]).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 16);
    assert!(
        lines
            .iter()
            .all(|line| line.row.as_deref().is_some_and(|row| row.contains("own.jsonl: row ")) && !line.responses[0].text.is_empty())
    );
    assert_eq!((lines[0].responses.len(), lines[8].responses.len(), lines[8].decoding.as_str()), (1, 3, "sampled"));

    let (_, out, errors) = eval(&samples[1], "eval.holdout=4");
    assert!(errors.is_empty() && out.contains("4 problems: 4 of "), "{out}");
    // another seed measures on the same problems: those that training left out
    let other_seed = folder.path().join("c.jsonl");
    let set = [
        format!("data.path={}", data.display()),
        "run.device=cpu".into(),
        "eval.samples=1".into(),
        "run.seed=5".into(),
        "eval.holdout=4".into(),
    ];
    assert_eq!(call("eval", &["--model", &tiny_model(), "--log-samples", text(&other_seed)], &set).0, Outcome::Done);
    let rows = |path: &Path| -> std::collections::BTreeSet<Option<String>> {
        let lines = std::fs::read_to_string(path).unwrap();
        lines.lines().map(|line| serde_json::from_str::<Prediction>(line).unwrap().row).collect()
    };
    assert_eq!((rows(&samples[1]).len(), rows(&samples[1])), (4, rows(&other_seed)));
    // of the same name, but other problems: those that were kept back
    let (outcome, out, errors) = percept(&["eval", "--compare", text(&samples[0]), text(&samples[0])]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    assert!(out.contains("greedy") && out.contains("sampled") && out.contains("+0.0 [+0.0, +0.0]"), "{out}");
    let (outcome, _, errors) = percept(&["eval", "--compare", text(&samples[0]), text(&samples[1])]);
    assert!(outcome == Outcome::BadInput && errors.contains("expected the same problem in both files"), "{errors}");
}

fn prediction(problem: u64, pictures: u32, responses: &[(Option<&str>, bool)]) -> Prediction {
    let said = |&(answer, correct): &(Option<&str>, bool)| Predicted {
        text: String::new(),
        answer: answer.map(str::to_owned),
        correct,
        well_formed: true,
        tokens: 1,
        clipped: false,
    };
    Prediction {
        model: "m".into(),
        decoding: "sampled".into(),
        problem,
        row: None,
        category: None,
        pictures,
        question: "?".into(),
        answer: "1".into(),
        responses: responses.iter().map(said).collect(),
    }
}

#[test]
fn the_most_frequent_answer_decides() {
    let right = |responses: &[(Option<&str>, bool)]| prediction(0, 0, responses).majority_is_right();
    assert!(right(&[(Some("2"), false), (Some("1"), true), (Some("1.0"), true)]));
    assert!(!right(&[(Some("2"), false), (Some("2.0"), false), (Some("1"), true)]), "2 and 2.0 are one answer");
    assert!(right(&[(Some("1"), true), (Some("2"), false)]), "of equally many the first");
    assert!(!right(&[(Some("2"), false), (Some("1"), true)]));
    assert!(right(&[(None, false), (None, false), (Some("1"), true)]), "no answer, no vote");
    assert!(!right(&[(None, false)]));
}

/// By hand: differences 1, 1, 0, -1 on pictures 1, 1, 2, 3. Mean 1/4; sums of clusters about it 3/2, -1/4, -5/4.
#[test]
fn problems_about_the_same_picture_are_no_independent_evidence() {
    let outcomes = [(1, false, true), (1, false, true), (2, true, true), (3, true, false)];
    let file = |second: bool| -> Vec<Prediction> {
        let of = |(number, &(picture, a, b)): (usize, &(u32, bool, bool))| {
            prediction(number as u64, picture, &[(Some("x"), if second { b } else { a })])
        };
        outcomes.iter().enumerate().map(of).collect()
    };
    let comparison = compare(&file(false), &file(true)).unwrap().remove(0);
    assert_eq!((comparison.problems, comparison.accuracy, comparison.better_and_worse), (4, [0.5, 0.75], [2, 1]));
    assert_eq!((comparison.difference.mean, comparison.difference.count), (0.25, 3));
    let error = (1.5 * (2.25 + 0.0625 + 1.5625_f64)).sqrt() / 4.0;
    assert!((comparison.difference.half - 4.3027 * error).abs() < 1e-12, "{comparison:?}");
    // two of three or more uneven, either way: all of them
    assert!((comparison.p_value - 1.0).abs() < 1e-12);
    // 9 better and 1 worse: 2 · (1 + 10) / 1024
    let many = |second: bool| -> Vec<Prediction> { (0..10).map(|i| prediction(i, i as u32, &[(Some("x"), second == (i > 0))])).collect() };
    assert!((compare(&many(false), &many(true)).unwrap()[0].p_value - 22.0 / 1024.0).abs() < 1e-12);
}
