//! The reference of all settings says what the program does, and the pages made from it are up to date.

use std::collections::BTreeSet;
use std::path::Path;

use percept_cppo::commands::Outcome;
use percept_cppo::config::{
    CompareConfig, Config, Section, Setting, Settings, SftRunConfig, compare_reference, other_names, reference, reference_pages,
};
use toml::{Table, Value};

use crate::program::percept;

/// Every key that a file may have, tables and what is inside lists left out.
fn keys(table: &Table, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in table {
        match value {
            Value::Table(inner) => found.extend(keys(inner, &format!("{prefix}{name}."))),
            _ => drop(found.insert(format!("{prefix}{name}"))),
        }
    }
    found
}

fn settings(sections: &[Section]) -> Vec<&Setting> {
    sections.iter().filter(|section| !section.is_list).flat_map(|section| &section.settings).collect()
}

/// In both directions: what can be set is explained, and what is explained can be set.
#[track_caller]
fn assert_complete<S: Settings>() {
    let sections = reference::<S>();
    let explained: BTreeSet<String> = settings(&sections).iter().map(|setting| setting.key.clone()).collect();
    assert_eq!(explained, keys(&S::every_key(), ""));
    for section in &sections {
        assert!(section.key.is_empty() || section.about.len() > 10, "[{}] has no comment", section.key);
        for setting in &section.settings {
            assert!(setting.about.len() > 10, "{} has no comment", setting.key);
            let unexplained = setting.choices.iter().find(|(_, about)| about.is_empty());
            assert_eq!(unexplained, None, "{}: a name without a comment", setting.key);
        }
    }
}

#[test]
fn every_setting_is_explained() {
    assert_complete::<Config>();
    assert_complete::<SftRunConfig>();
    let sections = reference::<Config>();
    let of = |key: &str| *settings(&sections).iter().find(|setting| setting.key == key).unwrap_or_else(|| panic!("{key}"));
    let group_size = of("method.group_size");
    assert_eq!(
        (group_size.default.clone(), group_size.about.as_str()),
        (Some(Value::Integer(8)), "Responses per prompt (G), at least 2. Default 8.")
    );
    assert_eq!((of("run.name").default.clone(), of("model.lora.rank").default.clone()), (None, Some(Value::Integer(16))));
    // three enums are called Preset: each setting has its own
    let names = |key: &str| of(key).choices.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(
        (names("method.preset"), names("views.preset")),
        (vec!["default".into(), "paper".into(), "code".into()], vec!["paper".into(), "small_picture".into()])
    );
    assert_eq!(names("task.families"), ["digits", "shapes", "chart"]);
    assert!(names("method.name").len() >= 12);
}

#[test]
fn what_is_accepted_is_what_the_program_refuses_otherwise() {
    let sections = reference::<Config>();
    let accepts = |key: &str| settings(&sections).iter().find(|setting| setting.key == key).unwrap().accepts.clone();
    assert_eq!(accepts("method.group_size"), ["at least 2", "at most 4096"]);
    assert_eq!(accepts("rollout.top_p"), ["above 0 and at most 1"]);
    assert_eq!(accepts("task.level"), ["1 to 5"]);
    assert_eq!(accepts("method.cppo.cpl_temperature"), ["above 0", "at most 1e9"]);
    assert_eq!(accepts("train.save_every"), ["at most 1000000000"]);
    assert_eq!(accepts("run.seed"), [""; 0]);
}

/// Where a comment begins a sentence with `Default` and a number or a name, it is the program's.
#[test]
fn comments_do_not_contradict_the_program() {
    let all = [reference::<Config>(), reference::<SftRunConfig>(), compare_reference()].concat();
    let mut compared = 0;
    for setting in all.iter().flat_map(|section| &section.settings) {
        let (Some(value), Some((_, said))) = (&setting.default, setting.about.split_once("Default ")) else { continue };
        let said = said.split([' ', ';']).next().unwrap().trim_end_matches(['.', ',', ':']).trim_matches('`');
        let is_same = match value {
            Value::Integer(value) => said.parse() == Ok(*value),
            Value::Float(value) => {
                let (above, below) = said.split_once('/').unwrap_or((said, "1"));
                let said = above.parse::<f64>().ok().zip(below.parse::<f64>().ok()).map(|(above, below)| above / below);
                said.is_some_and(|said| (said - value).abs() <= 1e-6 * value.abs())
            }
            Value::Boolean(value) => said == value.to_string(),
            Value::String(value) if !value.is_empty() => said == value,
            _ => continue,
        };
        assert!(is_same, "{}: the comment says {said}, the program {value}", setting.key);
        compared += 1;
    }
    assert!(compared > 50, "{compared} comments compared");
}

#[test]
fn the_file_of_defaults_is_the_default() {
    let (outcome, out, errors) = percept(&["config", "--defaults"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert_eq!(Config::parse(&out, "defaults.toml", &[]).unwrap_or_else(|e| panic!("{e}\n{out}")), Config::default());
    let (_, out, _) = percept(&["config", "--defaults", "--of", "sft"]);
    assert_eq!(SftRunConfig::parse(&out, "defaults.toml", &[]).unwrap_or_else(|e| panic!("{e}\n{out}")), SftRunConfig::default());
    let (_, out, _) = percept(&["config", "--defaults", "--of", "compare"]);
    let read = CompareConfig::parse(&out, "compare.toml", "x", &[]).unwrap_or_else(|e| panic!("{e}\n{out}"));
    assert_eq!(read.compare, CompareConfig::parse("", "compare.toml", "x", &[]).unwrap().compare);
    // what is off by default stands there, too
    let (_, out, _) = percept(&["config", "--defaults"]);
    for line in ["# [data]", "# [model.lora]", "# rank = 16", "# name =", "[method.cppo]", "group_size = 8"] {
        assert!(out.lines().any(|found| found == line), "{line}\n{out}");
    }
}

#[test]
fn one_setting_is_explained() {
    let (outcome, out, errors) = percept(&["config", "--explain", "method.kl_coef"]);
    assert_eq!((outcome, errors.as_str()), (Outcome::Done, ""));
    assert!(out.starts_with("method.kl_coef = 0.01\n") && out.contains("reference policy") && out.contains("0 or more"), "{out}");
    // by its last part, by its name elsewhere, as a section
    assert_eq!(percept(&["config", "--explain", "kl_coef"]).1, out);
    let (_, out, _) = percept(&["config", "--explain", "num_generations"]);
    assert!(out.starts_with("num_generations is TRL's name; here it is method.group_size\n\nmethod.group_size = 8\n"), "{out}");
    let (_, out, _) = percept(&["config", "--explain", "optim"]);
    assert!(out.starts_with("[optim]") && out.contains("optim.schedule") && out.contains("cosine: It falls"), "{out}");
    let (outcome, out, errors) = percept(&["config", "--explain", "method.kl_coeff"]);
    assert_eq!((outcome, out.as_str()), (Outcome::BadInput, ""));
    assert_eq!(errors, "error: --explain: method.kl_coeff: no such key; did you mean method.kl_coef?\n");
}

#[test]
fn names_of_other_projects_are_known() {
    let error = |assignment: &str| Config::parse("", "defaults", &[assignment.to_owned()]).unwrap_err().to_string();
    assert_eq!(
        error("num_generations=4"),
        "--set num_generations=4: num_generations: no such key; num_generations is TRL's name; here it is method.group_size"
    );
    assert!(error("method.beta=0.1").ends_with("beta is TRL's name; here it is method.kl_coef"), "{}", error("method.beta=0.1"));
    assert!(error("actor_rollout_ref.rollout.n=4").ends_with("rollout.n is verl's name; here it is method.group_size"));
    assert!(error("actor.kl_loss_coef=4").ends_with("actor.kl_loss_coef is verl's name; here it is method.kl_coef"));
    assert!(error("use_vllm=true").contains("there is no such setting here: responses are sampled by the trainer itself"));
    // a slip of the pen is nearer
    assert!(error("optim.beta=0.1").ends_with("did you mean optim.betas?"), "{}", error("optim.beta=0.1"));
    let known = keys(&Config::every_key(), "");
    let names = other_names();
    for name in &names {
        assert!(name.ours.is_none_or(|key| known.contains(key)), "{}: there is no {:?}", name.theirs, name.ours);
        assert!(name.ours.is_some() || !name.note.is_empty(), "{}: neither a key nor a reason", name.theirs);
        assert!(!known.contains(name.theirs), "{} is a key of ours", name.theirs);
        assert_eq!(names.iter().filter(|other| other.theirs == name.theirs).count(), 1, "{} twice", name.theirs);
    }
}

#[test]
fn the_pages_are_up_to_date() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for (file, page, argument) in [
        ("configuration.md", reference_pages::page(), "--markdown"),
        ("coming-from-trl.md", reference_pages::other_names_page(), "--names"),
    ] {
        let there = std::fs::read_to_string(docs.join(file)).unwrap_or_default().replace('\r', "");
        assert!(there == page, "docs/{file} is not what the comments say: percept config {argument} > docs/{file}");
        assert_eq!(percept(&["config", argument]).1, page);
    }
}

/// However large a number is, it is refused under its own name, and the reference says what the most is.
#[test]
fn every_number_has_an_upper_bound() {
    fn check<S: Settings>() -> usize {
        let sections = reference::<S>();
        let settings = sections.iter().filter(|section| !section.is_list).flat_map(|section| &section.settings);
        let mut checked = 0;
        for setting in settings.filter(|setting| !setting.key.ends_with("seed")) {
            let values: &[&str] = match setting.kind.as_str() {
                "whole number" => &["9223372036854775807", "4294967296000"],
                "number" => &["1e300", "inf"],
                "two numbers" => &["[1e300, 1e300]"],
                _ => continue,
            };
            let is_of_responses = std::any::type_name::<S>().ends_with("SftRunConfig") && setting.key.starts_with("data.");
            let of_responses = is_of_responses.then(|| "sft.warm_start_steps=0".to_owned());
            let of_method =
                setting.key.strip_prefix("method.").and_then(|rest| rest.split_once('.')).map(|(name, _)| format!("method.name={name}"));
            for value in values {
                let overrides: Vec<String> =
                    of_method.iter().cloned().chain(of_responses.clone()).chain([format!("{}={value}", setting.key)]).collect();
                let error = S::parse("", "defaults", &overrides).map(drop).unwrap_err().to_string();
                let name =
                    setting.key.strip_prefix("method.").and_then(|rest| rest.split_once('.')).map_or(setting.name(), |(_, name)| name);
                assert!(
                    error.contains(&format!("{name}: ")) || error.contains(&format!("{}: ", setting.name())),
                    "{}={value}: {error}",
                    setting.key
                );
            }
            assert!(
                is_of_responses || !setting.accepts.is_empty() || setting.about.contains(" to "),
                "{}: no word about its range",
                setting.key
            );
            checked += 1;
        }
        checked
    }
    assert!(check::<Config>() > 60 && check::<SftRunConfig>() > 15);
}

#[test]
fn types_are_said_in_words_of_toml() {
    for (set, said) in [
        ("optim=3", "optim: invalid type: integer `3`, expected a table"),
        ("train.steps=1.5", "train.steps: invalid type: floating point `1.5`, expected a whole number, 0 or more"),
        ("reward=3", "reward: invalid type: integer `3`, expected a list"),
        ("optim.learning_rate=[1]", "expected a number"),
        ("eval.samples=4294967297", "eval.samples: expected at most 65536, got 4294967297"),
        ("rollout.prompts_per_step=4294967297", "rollout.prompts_per_step: expected at most 65536, got 4294967297"),
    ] {
        let error = Config::parse("", "defaults", &[set.to_owned()]).unwrap_err().to_string();
        assert!(error.ends_with(said), "{error}");
    }
}
