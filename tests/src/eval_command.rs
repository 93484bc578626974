//! `percept eval`: its table, its JSON and its CSV say the same.

use std::path::Path;

use percept_cppo::commands::Outcome;
use percept_cppo::config::RolloutConfig;
use percept_cppo::problems::prompts::{Encoder, test_prompts};
use percept_cppo::problems::tasks::{Task, TaskConfig};
use percept_cppo::training::evaluate::{Decoding, Measuring, evaluate};
use percept_engine::Device;
use percept_model::{Model, ModelFiles, Precision};

use crate::program::percept;

fn eval(more: &[&str]) -> (Outcome, String, String) {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../assets/tiny-vlm");
    let set = ["run.device=cpu", "eval.problems=12", "eval.samples=3", "task.families=['digits', 'shapes']", "task.level=1"];
    let mut arguments = vec!["eval"];
    arguments.extend(set.iter().flat_map(|assignment| ["--set", assignment]));
    if !more.contains(&"--model") {
        arguments.extend(["--model", model]);
    }
    arguments.extend(more);
    percept(&arguments)
}

#[test]
fn every_family_and_level_has_a_row_and_the_counts_add_up() {
    let (outcome, json, errors) = eval(&["--json"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    let measured: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&measured["problems"], &measured["seed"], &measured["device"]), (&12.into(), &0.into(), &"cpu".into()));
    assert_eq!(measured["data"], "digits-shapes level 1, test split");
    let rows = measured["rows"].as_array().unwrap();
    for (decoding, samples) in [("greedy", 1), ("sampled", 3)] {
        let of = |category: &str| {
            let row = rows.iter().find(|row| row["decoding"] == decoding && row["category"] == category);
            row.unwrap_or_else(|| panic!("no row {decoding} {category}: {json}"))
        };
        let number = |category: &str, field: &str| of(category)[field].as_f64().unwrap_or_else(|| panic!("{field}: {json}"));
        assert_eq!(number("all", "problems"), 12.0);
        assert_eq!(number("digits 1", "problems") + number("shapes 1", "problems"), 12.0);
        for category in ["all", "digits 1", "shapes 1"] {
            let responses = number(category, "problems") * f64::from(samples);
            let right = (of(category)["accuracy"]["rate"].as_f64().unwrap() * responses).round();
            let wrong: f64 =
                ["perception_errors", "reasoning_errors", "both_errors", "unreadable"].map(|kind| number(category, kind)).iter().sum();
            assert_eq!(right + wrong, responses, "{decoding} {category}: every response is right or wrong for one reason");
            let pass = |k: &str| of(category)["pass_at_k"][k].as_f64().unwrap();
            assert_eq!((pass("1") * responses).round(), right);
            assert!(pass(&samples.to_string()) >= pass("1"));
        }
    }

    let (_, csv, _) = eval(&["--csv"]);
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + rows.len());
    assert!(lines.iter().all(|cells| cells.len() == lines[0].len()), "{csv}");
    assert_eq!(lines[0][4..11], ["accuracy", "accuracy_low", "accuracy_high", "pass@1", "pass@2", "pass@3", "majority"]);
    for (row, cells) in rows.iter().zip(&lines[1..]) {
        assert_eq!((row["decoding"].as_str(), row["category"].as_str()), (Some(cells[0]), Some(cells[1])));
        assert_eq!(row["accuracy"]["rate"].as_f64().unwrap(), cells[4].parse::<f64>().unwrap());
    }
    // three samples do not say what pass@2 of one response is
    assert_eq!(lines[1][8], "");

    let (_, table, _) = eval(&[]);
    // two tables, after two lines that say what is measured
    assert_eq!(table.lines().count(), 3 + 1 + rows.len() + 4 + rows.len(), "{table}");
    assert!(table.contains("assets/tiny-vlm on cpu\n12 problems: digits-shapes level 1, test split; seed 0\n"), "{table}");
}

/// Problems are taken 128 at a time; what is drawn must not begin again with them.
#[test]
fn draws_do_not_repeat_from_one_part_to_the_next() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm");
    let model = Model::load(&path, &Device::cpu(), Precision::Float32).unwrap();
    let encoder = Encoder::new(ModelFiles::read(&path).unwrap()).unwrap();
    let task = Task::new(&TaskConfig::default()).unwrap();
    // a problem that is sometimes solved
    let prompts = vec![test_prompts(&task, 0..1).remove(0); 256];
    let decoding = Decoding::Sampled { temperature: 1.0, samples: 1 };
    let how = Measuring { decoding, rollout: RolloutConfig::default(), step: 0, seed: 0 };
    let measured = evaluate(&model, &encoder, prompts, how, |_, _| {}).unwrap();
    let correct = &measured.categories[0].correct;
    assert_eq!(correct.len(), 256);
    assert!(correct.contains(&0) && correct.contains(&1), "{correct:?}");
    assert_ne!(correct[..128], correct[128..]);
}

#[test]
fn what_cannot_be_measured_is_said() {
    let (outcome, out, errors) = eval(&["--model", "nowhere/at/all"]);
    assert_eq!((outcome, out.as_str()), (Outcome::BadInput, ""));
    assert!(errors.contains("nowhere/at/all"), "{errors}");
    let (outcome, _, errors) = eval(&["--set", "eval.problem=3"]);
    assert!(outcome == Outcome::BadInput && errors.contains("did you mean eval.problems?"), "{errors}");
    let (outcome, _, errors) = eval(&["--set", "data.path=nowhere.jsonl"]);
    assert!(outcome == Outcome::BadInput && errors.contains("nowhere.jsonl"), "{errors}");
}
