//! `percept inspect`: what it computes against `percept score`, what it calls true against the tasks, what it prints, and what it refuses.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use image::RgbImage;
use percept_cppo::commands::{self, Outcome};
use percept_cppo::config::{Config, Settings};
use percept_cppo::methods::divergence::Divergence;
use percept_cppo::methods::selection::{Detector, SelectionConfig};
use percept_cppo::methods::signal::{Measure, Reading, Signal};
use percept_cppo::methods::view::View;
use percept_cppo::problems::prompts::Encoder;
use percept_cppo::problems::tasks::response::Role;
use percept_cppo::problems::tasks::{Family, Split, Task};
use percept_cppo::problems::views::{Removing, draw_views};
use percept_cppo::records::statistics::Detection;
use percept_cppo::studies::inspect::detectors::{Judged, detector_rows};
use percept_cppo::studies::inspect::{Inspection, ResponseSource, inspect, test_problems};
use percept_engine::Device;
use percept_model::{Model, ModelFiles, Precision};
use serde_json::Value;

fn shipped_model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm")
}

fn config(overrides: &[&str]) -> Config {
    Config::parse("", "defaults", &overrides.iter().map(|&text| text.to_owned()).collect::<Vec<_>>()).unwrap()
}

fn inspected(config: &Config, count: u64, source: &ResponseSource) -> Vec<Inspection> {
    let model = Model::load(&shipped_model(), &Device::cpu(), Precision::Float32).unwrap();
    let encoder = Encoder::new(ModelFiles::read(&shipped_model()).unwrap()).unwrap();
    inspect(&model, &encoder, test_problems(config, 0, count).unwrap(), source, config).unwrap()
}

/// Outcome, standard output, standard error of `percept inspect` with the shipped model on the CPU.
fn percept_inspect(arguments: &[&str]) -> (Outcome, String, String) {
    let model = shipped_model().display().to_string();
    percept(&[&["inspect", "--model", &model, "--set", "run.device=cpu"], arguments].concat())
}

fn percept(arguments: &[&str]) -> (Outcome, String, String) {
    let (mut out, mut errors) = (Vec::new(), Vec::new());
    let outcome = commands::run(["percept"].iter().chain(arguments).map(OsString::from), &mut out, &mut errors);
    (outcome, String::from_utf8(out).unwrap(), String::from_utf8(errors).unwrap())
}

#[test]
fn entropies_are_those_that_score_computes_on_each_view() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&["run.seed=5"]);
    let inspection = inspected(&config, 3, &ResponseSource::Reference).pop().unwrap();
    let problem = Task::new(&config.task).unwrap().problem(Split::Test, 2);
    assert_eq!(inspection.views, [draw_views(&problem.picture, &config.views, 5, 2, 0)], "drawn as in training");

    let score = |name: &str, picture: &RgbImage| -> (Vec<f64>, Vec<f64>) {
        let file = folder.path().join(name).display().to_string();
        picture.save(&file).unwrap();
        let (model, text) = (shipped_model().display().to_string(), problem.reference_text());
        let (outcome, out, errors) = percept(&[
            "score",
            "--model",
            &model,
            "--image",
            &file,
            "--prompt",
            &problem.text,
            "--completion",
            &text,
            "--device",
            "cpu",
            "--json",
        ]);
        assert_eq!(outcome, Outcome::Done, "{errors}");
        let report: Value = serde_json::from_str(&out).unwrap();
        let numbers = |name: &str| report[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        (numbers("log_probs"), numbers("entropies"))
    };
    let views = &inspection.views[0];
    let (log_probs, entropy) = score("original.png", &problem.picture);
    let (log_probs_preserved, entropy_preserved) = score("preserved.png", &views.preserved);
    let (log_probs_removed, entropy_removed) = score("removed.png", &views.removed);
    assert_eq!(inspection.tokens.len(), entropy.len() + 1, "one more: the token that ends the response");
    let mut largest: f64 = 0.0;
    for (t, token) in inspection.tokens[..entropy.len()].iter().enumerate() {
        let k3 = (log_probs_removed[t] - log_probs[t]).exp() - (log_probs_removed[t] - log_probs[t]) - 1.0;
        for (got, expected) in [
            (token.log_prob, log_probs[t]),
            (token.log_prob_preserved, log_probs_preserved[t]),
            (token.log_prob_removed, log_probs_removed[t]),
            (token.entropy, entropy[t]),
            (token.entropy_preserved, entropy_preserved[t]),
            (token.entropy_removed, entropy_removed[t]),
            (token.delta_entropy, entropy_removed[t] - entropy[t]),
            (token.k3, k3),
        ] {
            assert!((f64::from(got) - expected).abs() < 1e-4, "token {t} {:?}: {got} and {expected}", token.text);
        }
        largest = largest.max(f64::from(token.delta_entropy).abs());
    }
    assert!(largest > 0.05, "no token moves: {largest}");
}

#[test]
fn perception_tokens_of_a_reference_are_its_perception_spans() {
    for family in Family::ALL {
        let config = config(&[&format!("task.families=[\"{}\"]", family.name())]);
        for (index, inspection) in inspected(&config, 4, &ResponseSource::Reference).into_iter().enumerate() {
            let problem = Task::new(&config.task).unwrap().problem(Split::Test, index as u64);
            let is_perception: Vec<bool> =
                problem.reference.iter().flat_map(|span| vec![span.role == Role::Perception; span.text.len()]).collect();
            assert_eq!((inspection.response, inspection.correct), (problem.reference_text(), Some(true)));
            let mut start = 0;
            for token in &inspection.tokens[..inspection.tokens.len() - 1] {
                let end = start + token.text.len();
                assert_eq!(
                    token.is_perception(),
                    is_perception[start..end].contains(&true),
                    "{family:?} {index} {start}: {:?}",
                    token.text
                );
                start = end;
            }
            assert_eq!(start, is_perception.len());
            assert_eq!(inspection.tokens.last().unwrap().role, Some(Role::Template), "the end of a response is no perception");
        }
    }
}

#[test]
fn detectors_are_measured_over_all_responses() {
    let reading = |view, entropy: &[f32], divergences| Reading {
        view,
        log_probs: vec![0.0; entropy.len()],
        entropy: entropy.to_vec(),
        divergences,
        measures: vec![(Measure::PictureSimilarity, vec![0.0; entropy.len()])],
    };
    let judged = |entropy: &[f32], entropy_removed: &[f32], k3: &[f32], truth: &[bool]| {
        let zeros = || vec![0.0; k3.len()];
        let divergences = vec![(Divergence::K3, k3.to_vec()), (Divergence::Full, zeros()), (Divergence::JensenShannon, zeros())];
        let readings = vec![reading(View::Original, entropy, Vec::new()), reading(View::Removed, entropy_removed, divergences)];
        Judged { signal: Signal { readings, ..Signal::default() }, truth: truth.to_vec() }
    };
    // s = ΔH / H⁻: 0.5, 0.02/1.02, 0, 0.6 and 0.01/0.51, 0.75
    let judged = [
        judged(&[0.5, 1.0, 0.7, 0.4], &[1.0, 1.02, 0.5, 1.0], &[3.0, 0.0, 2.0, 0.1], &[true, false, true, false]),
        judged(&[0.5, 0.1], &[0.51, 0.4], &[0.0, 1.0], &[false, true]),
    ];
    let selection = SelectionConfig { perception_fraction: 0.7, ..SelectionConfig::default() };
    let rows = detector_rows(Some(Removing::NoImage), &judged, &selection);
    let row = |detector, floor| rows.iter().find(|row| row.detector == detector && row.min_delta_entropy == floor).unwrap().detection;
    assert_eq!(rows.len(), 16);
    // Entropy, no floor: of 3 candidates 2 (tokens 0 and 3), of 2 candidates 1 (token 1): two hits in three of three.
    // AUC: positives 0.5, 0, 0.75 against 0.0196, 0.6, 0.0196: 2 + 0 + 3 of 9 pairs.
    // In falling order true, not, true, two that are not, true: precisions 1, 2/3 and 3/6 at the true ones; of the first three two are true.
    let expected = Detection {
        precision: 2.0 / 3.0,
        recall: 2.0 / 3.0,
        auc: 5.0 / 9.0,
        average_precision: (1.0 + 2.0 / 3.0 + 0.5) / 3.0,
        precision_at_equal: 2.0 / 3.0,
        positives: 3,
        negatives: 3,
        chosen: 3,
    };
    assert_close(row(Detector::Entropy, 0.0), expected);
    // With the floor 2 and 1 candidates are left, of which 1 and 1 are kept: tokens 3 and 1.
    assert_close(row(Detector::Entropy, 0.05), Detection { precision: 0.5, recall: 1.0 / 3.0, chosen: 2, ..expected });
    let of_entropy = rows[0];
    let close = |got: f64, expected: f64| (got - expected).abs() < 1e-6;
    assert!(close(of_entropy.shift_of_perception, (0.5 - 0.2 + 0.3) / 3.0) && close(of_entropy.shift_of_others, (0.02 + 0.6 + 0.01) / 3.0));
    // k3: candidates 3.0, 2.0, 0.1, of which 2; and 1.0: all three positives, which lie above all negatives.
    let perfect = Detection { precision: 1.0, recall: 1.0, auc: 1.0, average_precision: 1.0, precision_at_equal: 1.0, ..expected };
    assert_close(row(Detector::K3, 0.0), perfect);
    // Nothing moves: nothing is chosen, and every pair is a tie.
    let nothing = row(Detector::FullKl, 0.0);
    assert!(nothing.precision.is_nan() && nothing.recall == 0.0 && nothing.auc == 0.5 && nothing.chosen == 0);
    assert!(nothing.average_precision == 0.5 && nothing.precision_at_equal == 0.5, "{nothing:?}");
    // A floor of one's own is compared with the others.
    let own = SelectionConfig { min_delta_entropy: 0.3, ..selection };
    assert_eq!(detector_rows(None, &judged, &own).len(), 24);
}

#[track_caller]
fn assert_close(got: Detection, expected: Detection) {
    let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
    assert!(
        close(got.precision, expected.precision)
            && close(got.recall, expected.recall)
            && close(got.auc, expected.auc)
            && close(got.average_precision, expected.average_precision)
            && close(got.precision_at_equal, expected.precision_at_equal),
        "{got:?} and {expected:?}"
    );
    assert_eq!((got.positives, got.negatives, got.chosen), (expected.positives, expected.negatives, expected.chosen));
}

#[test]
fn a_plain_table_has_a_row_a_token() {
    let (outcome, out, errors) = percept_inspect(&["--problem", "4", "--greedy", "--color", "never"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, "on cpu\n"));
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines[0].starts_with("problem 4: What is the sum of the digits?   answer ") && lines[1].starts_with("I⁺ by "), "{out}");
    let rows: Vec<&&str> = lines.iter().filter(|line| line.ends_with('"')).collect();
    assert!(rows[0].ends_with("\"<think>\"") && rows.len() > 10 && out.contains("ΔH") && !out.contains('\x1b'), "{out}");
    // three digits are named: chosen or missed
    assert_eq!(rows.iter().filter(|row| row.contains("* \"") || row.contains("o \"")).count(), 3, "{out}");
    assert_eq!(percept_inspect(&["--problem", "4", "--greedy", "--color", "never"]).1, out, "again the same");
}

#[test]
fn a_terminal_shows_pictures_and_colours_and_cannot_be_commanded() {
    let (outcome, out, errors) = percept_inspect(&["--color", "always", "--response", "I see 3 and \x1b[2J\n8."]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    // what is left without our own colours, which end with an m
    let uncoloured: String =
        out.split("\x1b[").enumerate().map(|(i, part)| if i == 0 { part } else { part.split_once('m').expect("a colour").1 }).collect();
    assert!(uncoloured.contains("I see 3 and \\u001b[2J↵8.<"), "{:?}", uncoloured.lines().last());
    assert!(!uncoloured.contains('\x1b'));
    assert_eq!(out.matches('▀').count(), 3 * 32 * 16, "three pictures of 32 × 32 pixels");
    assert!(out.contains("chosen as perception token") && out.contains("response wrong"));
}

#[test]
fn json_has_every_number() {
    let (outcome, out, errors) = percept_inspect(&["--problems", "2", "--json"]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    let inspections: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(inspections.as_array().unwrap().len(), 2);
    let first = &inspections[0];
    let tokens = first["tokens"].as_array().unwrap();
    let text: String = tokens[..tokens.len() - 1].iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!((text.as_str(), first["prompt_id"].as_u64()), (first["response"].as_str().unwrap(), Some(0)));
    for token in tokens {
        let value = |name: &str| token[name].as_f64().unwrap();
        assert!((value("entropy_removed") - value("entropy") - value("delta_entropy")).abs() < 1e-6);
        assert!(value("score") >= 0.0 && value("full_kl") > -1e-5 && token["role"].is_string() && token["chosen"].is_boolean());
    }
}

#[test]
fn a_page_is_one_file_that_fetches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("page.html");
    let (picture, file) = (folder.path().join("mine.png"), page.display().to_string());
    let (outcome, _, errors) = percept_inspect(&["--problems", "2", "--html", &file]);
    assert!(outcome == Outcome::Done && errors.contains("page.html"), "{errors}");
    let whole = std::fs::read_to_string(&page).unwrap();
    assert_eq!(whole.matches("data:image/png;base64,").count(), 2 * 3);
    for part in ["&lt;think&gt;", "title=\"H ", "class=\"token masked", " seen", "prefers-color-scheme: dark", "ρ = 0.5"] {
        assert!(whole.contains(part), "{part}");
    }
    assert!(!whole.contains("<think>") && !["src=\"/", "<link", "@import", "url("].iter().any(|fetching| whole.contains(fetching)));
    crate::report::well_formed(&whole);

    // a large picture of one's own: no answer, no truth
    RgbImage::from_fn(900, 300, |x, y| image::Rgb([x as u8, y as u8, 7])).save(&picture).unwrap();
    let (outcome, out, errors) = percept_inspect(&["--image", picture.to_str().unwrap(), "--prompt", "How <many>?", "--html", &file]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    assert!(out.contains("problem 0: How <many>?\n") && !out.contains("answer"), "{out}");
    let whole = std::fs::read_to_string(&page).unwrap();
    let articles = &whole[whole.find("<article").unwrap()..];
    assert!(articles.contains("How &lt;many&gt;?") && !articles.contains(" seen") && !articles.contains("verdict"));
    crate::report::well_formed(&whole);
}

#[test]
fn detectors_are_printed_for_each_perturbation() {
    let (outcome, out, errors) =
        percept_inspect(&["--evaluate", "--problems", "6", "--json", "--set", "method.cppo.min_delta_entropy=0.2"]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 3 * 8 * 3, "as in training, occlusion, zoom-crop; eight detectors; three floors");
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(count("problems"), 6);
    // each of three digits is one token
    assert_eq!(count("perception_tokens"), 3 * (6 - count("malformed")));
    for row in rows {
        let sum = row["positives"].as_u64().unwrap() + row["negatives"].as_u64().unwrap();
        assert_eq!(sum, count("tokens"));
    }
    assert_eq!(rows[0]["removing"], Value::Null);
    assert_eq!((&rows[24]["removing"], &rows[24]["detector"]), (&"occlusion".into(), &"entropy".into()));

    let (outcome, out, errors) =
        percept_inspect(&["--evaluate", "--reference", "--problems", "3", "--set", "views.removing=[\"no_image\"]"]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    assert!(out.starts_with("3 responses, 0 malformed ones left out; "), "{out}");
    for part in ["no_image", "entropy", "k3", "full_kl", "0.05", "precision", "AUC"] {
        assert!(out.contains(part), "{part}: {out}");
    }
}

#[test]
fn bad_input_is_named_and_exits_with_2() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |arguments: &[&str], expected: &[&str]| {
        let (outcome, out, errors) = percept_inspect(arguments);
        assert!(outcome == Outcome::BadInput && out.is_empty(), "{arguments:?}: {errors}");
        for text in expected {
            assert!(errors.contains(text), "{errors:?} lacks {text:?}");
        }
    };
    let broken = folder.path().join("broken.png").display().to_string();
    std::fs::write(&broken, b"hello").unwrap();
    refused(&["--image", &broken, "--prompt", "?"], &["broken.png", "expected a PNG, JPEG"]);
    refused(&["--image", "nowhere.png", "--prompt", "?"], &["nowhere.png"]);
    refused(&["--image", &broken], &["--prompt"]);
    refused(&["--image", &broken, "--prompt", "?", "--problem", "1"], &["--problem"]);
    refused(&["--greedy", "--reference"], &["--greedy", "--reference"]);
    refused(&["--problem", "-1"], &["-1"]);
    refused(&["--problems", "0"], &["--problems"]);
    refused(&["--set", "method.cppo.selektion=all"], &["method.cppo.selektion", "did you mean method.cppo.selection?"]);
    refused(&["--response", &"3 ".repeat(1100)], &["max_position_embeddings"]);
    let (outcome, _, errors) = percept(&["inspect", "--model", "nowhere", "--set", "run.device=cpu"]);
    assert!(outcome == Outcome::BadInput && errors.contains("nowhere"), "{errors}");

    // problems from files: as many as there are, and without truth
    let made = folder.path().join("made").display().to_string();
    assert_eq!(percept(&["data", "make", "--to", &made, "--problems", "3"]).0, Outcome::Done);
    let data = format!("data.path={made}");
    refused(&["--set", &data, "--problem", "3"], &["made: problem 3: expected below 3"]);
    refused(&["--set", &data, "--reference"], &["a reference response", "What is the sum of the digits?"]);
    refused(&["--set", &data, "--evaluate", "--problems", "2"], &["the quality of detectors", "expected a problem of a task"]);
    let (outcome, out, errors) = percept_inspect(&["--set", &data, "--problem", "2", "--color", "never"]);
    assert_eq!(outcome, Outcome::Done, "{errors}");
    assert!(out.starts_with("problem 2: What is the sum of the digits?   answer "), "{out}");
    let unwritable = folder.path().join("no/such/page.html").display().to_string();
    let (outcome, _, errors) = percept_inspect(&["--html", &unwritable]);
    assert!(outcome != Outcome::Done && errors.contains("page.html"), "{errors}");
}
