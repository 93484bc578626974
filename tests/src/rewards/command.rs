//! Programs as rewards: what they get, what they may answer, and what happens when they do not.

use std::os::unix::process::CommandExt;
use std::process::Command;

use percept_cppo::commands::Outcome;
use percept_cppo::problems::data::RowPlace;
use percept_cppo::problems::reward::{Graded, Rewards, Values};
use percept_cppo::problems::tasks::Split;
use percept_cppo::records::run::RunFolder;

use super::{entries, graded};
use crate::program::{command, end, percept, text, wait_until};
use crate::train_command::arguments;
use crate::trainer::task;

/// The entry of a program that `sh` runs: a shell of the test's own, for none comes with the reward.
fn shell(script: &str, more: &str) -> String {
    format!("[[reward]]\nname = 'judge'\nkind = 'command'\ncommand = ['sh', '-c', '''{script}''']\n{more}\n")
}

fn values(script: &str, more: &str, responses: &[Graded<'_>]) -> Result<Values, String> {
    Rewards::new(&entries(&shell(script, more))).unwrap().values(responses).map_err(|e| e.to_string())
}

fn problem(script: &str, more: &str) -> String {
    values(script, more, &[graded("a", "1"), graded("b", "2")]).unwrap_err()
}

#[test]
fn a_program_gets_a_json_line_for_each_response_and_answers_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let seen = folder.path().join("seen");
    let drawn = task().problem(Split::Train, 3);
    let response = "it's \"1\"\n\\boxed{1}";
    let of_task = Graded { problem: Some(&drawn), prompt: &drawn.text, prompt_id: 3, ..graded("ü", &drawn.answer) };
    let place = RowPlace { path: "rows.jsonl".into(), row: 12 };
    let columns = serde_json::from_str(r#"{"unit": "cm", "level": 2}"#).unwrap();
    let of_file = Graded { place: Some(&place), columns: Some(&columns), ..graded("c", "1") };
    let script = format!("tee {} | while read -r line; do echo 0.25; done", text(&seen));
    let values = values(&script, "weight = 2", &[graded(response, "1"), of_task, of_file]).unwrap();
    assert_eq!((values.of, values.totals), (vec![vec![0.25; 3]], vec![0.5; 3]));
    let lines = std::fs::read_to_string(&seen).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let first = serde_json::json!({ "prompt": "How many?", "response": response, "answer": "1", "tokens": 7, "prompt_id": 5 });
    assert_eq!((lines.len(), &lines[0]), (3, &first));
    assert_eq!((&lines[1]["response"], &lines[1]["row"]["seen"]), (&"ü".into(), &serde_json::json!(drawn.seen())));
    let fields: Vec<&String> = lines[1]["row"].as_object().unwrap().keys().collect();
    assert_eq!(lines[2]["columns"], serde_json::json!({ "unit": "cm", "level": 2 }));
    assert_eq!(lines[2]["row"], serde_json::json!({ "file": "rows.jsonl", "row": 12 }));
    assert_eq!(fields, ["family", "index", "level", "reference", "seen", "split"]);
}

/// Numbers on lines of their own, in the forms of most languages; the last line needs no end.
#[test]
fn answers_are_numbers() {
    let of = |script: &str| values(script, "", &[graded("a", "1"), graded("b", "2")]).unwrap().totals;
    assert_eq!(of("printf ' 1 \\n-2.5e-1'"), [1.0, -0.25]);
    assert_eq!(of("printf '1\\r\\n0\\r\\n'"), [1.0, 0.0]);
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(problem("echo 1", ""), "reward judge: sh: expected 2 lines, one for each response, got 1");
    assert_eq!(problem("echo 1; echo 2; echo 3", ""), "reward judge: sh: expected 2 lines, one for each response, got 3");
    assert_eq!(problem("echo 1; echo nan", ""), "reward judge: sh: line 2 of its output: expected a finite number, got \"nan\"");
    assert_eq!(problem("echo good; echo 1", ""), "reward judge: sh: line 1 of its output: expected a finite number, got \"good\"");
    let lines = (3..13).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
    assert_eq!(
        problem("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo line $i >&2; done; exit 3", ""),
        format!("reward judge: sh: exit status: 3; its standard error ends with:\n{lines}")
    );
    assert!(problem("kill -9 $$", "").starts_with("reward judge: sh: signal: 9"));
}

#[test]
fn a_program_that_does_not_exist_is_found_before_the_run() {
    for program in ["no-such-program", "./no/such/program"] {
        let entry = entries(&format!("[[reward]]\nname = 'judge'\nkind = 'command'\ncommand = ['{program}']\n"));
        let wrong = Rewards::new(&entry).map(drop).unwrap_err().to_string();
        assert!(wrong.starts_with(&format!("reward judge: {program}: no such program")), "{wrong}");
    }
}

/// With what it has started, or its standard error would not be at its end.
#[test]
fn a_program_that_takes_too_long_is_ended() {
    let wrong = problem("echo thinking >&2; sleep 60 & sleep 60", "timeout_seconds = 0.3");
    assert_eq!(wrong, "reward judge: sh: stopped after 0.3 seconds (timeout_seconds); its standard error ends with:\nthinking");
    let wrong = problem("sleep 60 & echo 1; echo 2", "");
    assert_eq!(wrong, "reward judge: sh: it has ended, but something that it started keeps its standard output open");
}

/// More than a pipe holds, in both directions, and to a program that does not read at all.
#[test]
fn large_batches_pass_through() {
    let response = "x".repeat(10_000);
    let responses = vec![graded(&response, "1"); 500];
    assert_eq!(values("cat >&2; yes 1 | head -500", "", &responses).unwrap().totals, [1.0; 500]);
    assert_eq!(values("yes 1 | head -500", "", &responses).unwrap().totals, [1.0; 500]);
    let wrong = values("cat", "", &responses).unwrap_err();
    assert!(wrong.starts_with("reward judge: sh: line 1 of its output: expected a finite number, got \"{") && wrong.len() < 200, "{wrong}");
}

#[test]
fn a_failure_counts_as_0_where_that_is_wanted() {
    let text = shell("exit 1", "on_error = 'zero'") + "[[reward]]\nkind = 'regex'\npattern = 'a'\n";
    let values = Rewards::new(&entries(&text)).unwrap().values(&[graded("a", "1"), graded("b", "2")]).unwrap();
    assert_eq!(values.totals, [1.0, 0.0]);
    assert_eq!(values.failed.iter().map(ToString::to_string).collect::<Vec<_>>(), ["reward judge: sh: exit status: 1"]);
}

/// `percept train` with a program that fails at the fifth step: what was learnt is saved, and the run goes on as if nothing had happened when the program is mended.
#[test]
fn a_run_stops_with_what_it_has_learnt_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (script, count) = (folder.path().join("judge.sh"), folder.path().join("count"));
    let body = |fails_at: usize| {
        let count = text(&count);
        format!(
            "echo >> {count}\nif [ $(wc -l < {count}) -eq {fails_at} ]; then echo out of order >&2; exit 7; fi\n\
             while read -r line; do echo ${{#line}}; done\n"
        )
    };
    let run = |name: &str| {
        let judge = format!("{{kind = \"command\", name = \"judge\", weight = 0.001, command = [\"sh\", \"{}\"]}}", text(&script));
        let rewards = format!("reward=[{{kind = \"accuracy\", weight = 0.5}}, {judge}, {{kind = \"tag_count\", weight = 0}}]");
        let overrides = ["train.save_every=0", "eval.problems=0", "eval.problems_during_training=0", "method.name=grpo", &rewards];
        let arguments = arguments(folder.path(), name, &overrides);
        percept(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    std::fs::write(&script, body(5)).unwrap();
    let (outcome, out, errors) = run("stopped");
    assert_eq!(outcome, Outcome::Failed, "{out}{errors}");
    assert!(errors.contains("step 5: reward judge: sh: exit status: 7; its standard error ends with:\nout of order"), "{errors}");
    assert!(errors.contains("saved up to step 4; go on with: percept train --resume"), "{errors}");
    let path = folder.path().join("stopped");
    assert_eq!(RunFolder::open(&path).unwrap().checkpoints().unwrap(), [4]);

    let (outcome, out, errors) = percept(&["train", "--resume", text(&path)]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""), "{out}");
    std::fs::write(&script, body(0)).unwrap();
    assert_eq!(run("whole").0, Outcome::Done);
    let metrics = |name: &str| {
        let of = RunFolder::open(&folder.path().join(name)).unwrap().metrics().unwrap();
        let names = ["reward", "rewards/accuracy", "rewards/judge", "rewards/tag_count", "policy_loss", "grad_norm"];
        of.iter().map(|step| names.map(|name| step.get(name).unwrap_or_else(|| panic!("no metric {name}")))).collect::<Vec<_>>()
    };
    let (stopped, whole) = (metrics("stopped"), metrics("whole"));
    assert_eq!((stopped.len(), &stopped), (7, &whole));
    for [reward, accuracy, judge, tags, ..] in whole {
        let sum = 0.5 * accuracy + 0.001 * judge;
        assert!((reward - sum).abs() < 1e-5 && judge > 50.0 && (0.0..=1.0).contains(&tags), "{reward} {accuracy} {judge} {tags}");
    }
}

/// Ctrl-C in a terminal goes to all processes of the foreground group; the program is in a group of its own, and the step ends as any other.
#[test]
fn ctrl_c_lets_the_program_finish() {
    let folder = tempfile::tempdir().unwrap();
    let (script, waits) = (folder.path().join("judge.sh"), folder.path().join("waits"));
    let body = format!("touch {}\nsleep 2\nwhile read -r line; do echo ${{#line}}; done\n", text(&waits));
    std::fs::write(&script, body).unwrap();
    let rewards = format!("reward=[{{kind = \"command\", command = [\"sh\", \"{}\"]}}]", text(&script));
    let arguments = arguments(folder.path(), "r", &["eval.problems=0", "eval.problems_during_training=0", &rewards]);
    let mut train = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let mut child = train.process_group(0).spawn().unwrap();
    wait_until(&mut child, || waits.exists());
    assert!(Command::new("kill").args(["-INT", "--", &format!("-{}", child.id())]).status().unwrap().success());
    let (code, out, errors) = end(child);
    assert_eq!(code, Some(130), "{out}{errors}");
    assert!(out.contains("stopped after step 1; go on with"), "{out}{errors}");
}
