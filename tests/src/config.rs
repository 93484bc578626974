//! Configurations: defaults, files, overrides, and what is wrong with them.

use std::path::Path;

use percept_cppo::config::{CompareConfig, Config, Schedule, Settings, SftRunConfig};
use percept_cppo::methods::AnyMethod;
use percept_cppo::methods::cppo::Objective;
use percept_cppo::methods::divergence::Divergence;
use percept_cppo::methods::selection::{Gate, Selection};
use percept_cppo::problems::tasks::Family;

fn parse(text: &str) -> Config {
    Config::parse(text, "test.toml", &[]).unwrap_or_else(|e| panic!("{e}"))
}

fn error(text: &str) -> String {
    Config::parse(text, "test.toml", &[]).unwrap_err().to_string()
}

fn set(overrides: &[&str]) -> Result<Config, String> {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    Config::parse("", "defaults", &overrides).map_err(|e| e.to_string())
}

#[test]
fn an_empty_file_is_the_default_and_all_in_force_reads_back() {
    assert_eq!(parse(""), Config::default());
    assert_eq!(parse(&Config::default().to_toml()), Config::default());
    let config = parse(
        "run = { name = 'x', seed = 7 }\n\
         [task]\nfamilies = ['digits', 'chart']\ndigits = { count = 4, noise = 0.12 }\n\
         [data]\npath = 'rows.jsonl'\nlimit = 10\n\
         [views]\npreset = 'paper'\nrotation_degrees = 3\n\
         [method]\nname = 'cppo'\ngroup_size = 5\nclip_high = 0.28\n\
         [method.cppo]\ncpl_coef = 0.02\ndivergence = 'full'\nselection = 'ceil'\ngate = 'none'\n\
         [optim]\nlearning_rate = 1e-6\nschedule = 'cosine'\n\
         [eval.data]\npath = 'test.parquet'\n",
    );
    assert_eq!(parse(&config.to_toml()), config, "{}", config.to_toml());
    assert_eq!((config.method.own.name(), config.method.group_size, config.method.policy.clip_high), ("cppo", 5, 0.28));
    let AnyMethod::Cppo(cppo) = &config.method.own else { panic!("{:?}", config.method) };
    assert_eq!((cppo.contrastive.cpl_coef, cppo.contrastive.divergence), (0.02, Divergence::Full));
    assert_eq!((cppo.selection.selection, cppo.selection.gate), (Selection::Ceil, Gate::None));
    assert_eq!((cppo.contrastive.objective, config.optim.schedule), (Objective::Contrastive, Schedule::Cosine));
    // what is not given in a preset, or in a scene, has its default
    assert_eq!((config.views.rotation_degrees, config.views.occlusion_count), (3.0, 50));
    assert_eq!(config.task.digits.as_ref().map(|digits| (digits.count, digits.clutter)), Some((4, 3)));
}

#[test]
fn an_unknown_key_names_the_file_the_key_and_the_nearest_key() {
    assert_eq!(error("[method]\ngroup_sise = 4\n"), "test.toml: method.group_sise: no such key; did you mean method.group_size?");
    assert_eq!(error("[method]\nclip_hi = 4\n"), "test.toml: method.clip_hi: no such key; did you mean method.clip_high?");
    assert_eq!(error("[train]\nlearning_rate = 4\n"), "test.toml: train.learning_rate: no such key; did you mean optim.learning_rate?");
    assert_eq!(error("[views]\nbrightnes = [1, 1]\n"), "test.toml: views.brightnes: no such key; did you mean views.brightness?");
    assert_eq!(error("[task.digits]\ncuont = 3\n"), "test.toml: task.digits.cuont: no such key; did you mean task.digits.count?");
    assert_eq!(error("[zebra]\nstripes = 3\n"), "test.toml: zebra.stripes: no such key");
    assert_eq!(error("[method.group_size]\nx = 3\n"), "test.toml: method.group_size.x: no such key");
    assert_eq!(set(&["metod.name=grpo"]).unwrap_err(), "--set metod.name=grpo: metod.name: no such key; did you mean method.name?");
}

#[test]
fn a_method_has_its_own_table() {
    // one file serves several methods: what is not in force is checked, and not used
    let config = set(&["method.name=grpo", "method.cppo.cpl_coef=0.5"]).unwrap();
    assert_eq!(config.method.own, AnyMethod::named("grpo").unwrap());
    assert!(!config.to_toml().contains("cpl_coef"), "{}", config.to_toml());
    let wrong = set(&["method.name=grpo", "method.cppo.cpl_coef=large"]).unwrap_err();
    assert!(wrong.starts_with("--set method.cppo.cpl_coef=large: method.cppo.cpl_coef: ") && wrong.contains("large"), "{wrong}");
    assert_eq!(error("[method]\ncpl_coef = 0.02\n"), "test.toml: method.cpl_coef: no such key; it is method.cppo.cpl_coef now");
    assert_eq!(
        error("[method.cppo]\ncpl_coeff = 0.02\n"),
        "test.toml: method.cppo.cpl_coeff: no such key; did you mean method.cppo.cpl_coef?"
    );
    assert_eq!(error("[method.grpo]\nx = 0.02\n"), "test.toml: method.grpo.x: no such key");
}

#[test]
fn every_optional_key_is_known() {
    let config = set(&[
        "run.name=x",
        "model.lora.rank=8",
        "model.do_image_splitting=false",
        "task.digits.count=3",
        "task.shapes={}",
        "task.chart={}",
        "data.path=x",
        "data.image_root=x",
        "data.limit=1",
        "data.image_column=a",
        "data.problem_column=b",
        "data.answer_column=c",
        "eval.data.path=y",
        "eval.data.limit=2",
    ])
    .unwrap();
    assert_eq!(config.data.as_ref().and_then(|data| data.answer_column.as_deref()), Some("c"));
    assert_eq!(parse(&config.to_toml()), config);
}

#[test]
fn a_wrong_type_names_its_key() {
    let wrong = error("[method.cppo]\ncpl_coef = 'large'\n");
    assert!(wrong.starts_with("test.toml: method.cppo.cpl_coef: ") && wrong.contains("large"), "{wrong}");
    let wrong = error("[method]\nname = 'ppo'\n");
    assert!(wrong.starts_with("test.toml: method.name: ") && wrong.contains("grpo"), "{wrong}");
    let wrong = error("method = 3\n");
    assert!(wrong.starts_with("test.toml: method: "), "{wrong}");
    let wrong = error("[train]\nsteps = -1\n");
    assert!(wrong.starts_with("test.toml: train.steps: "), "{wrong}");
    let wrong = error("[task]\nfamilies = ['digits', 'letters']\n");
    assert!(wrong.starts_with("test.toml: task.families: ") && wrong.contains("letters"), "{wrong}");
    let wrong = error("[train\nsteps = 1\n");
    assert!(wrong.starts_with("test.toml: ") && wrong.contains("line 1"), "{wrong}");
}

#[test]
fn values_out_of_range_are_refused() {
    let range = |assignment: &str| set(&[assignment]).unwrap_err();
    let ends = |assignment: &str, end: &str| {
        let wrong = range(assignment);
        assert_eq!(wrong, format!("defaults with --set {assignment}: {end}"));
    };
    ends("model.lora.rank=0", "model.lora.rank: expected at least 1, got 0");
    let projections = "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj";
    ends(
        "model.lora.targets=['q_proj', 'qproj']",
        &format!("model.lora.targets: expected all-linear alone, or some of {projections}, each once, got [\"q_proj\", \"qproj\"]"),
    );
    ends("method.group_size=1", "method.group_size: expected at least 2, got 1");
    ends("method.cppo.cpl_temperature=0", "method.cppo.cpl_temperature: expected above 0, got 0");
    ends("task.level=9", "task.level: expected 1 to 5, got 9");
    ends("train.updates_per_step=5", "train.updates_per_step: expected a divisor of rollout.prompts_per_step, got 5 for 32 prompts");
    ends("rollout.temperature=0", "rollout.temperature: expected above 0, got 0");
    ends("run.name=a/b", "run.name: expected the name of a folder, got a/b");
    assert!(range("optim.max_grad_norm=nan").contains("optim.max_grad_norm: expected above 0"));
}

#[test]
fn overrides_are_toml_values_or_bare_words() {
    let config = set(&[
        "method.name=grpo",
        "method.group_size = 4",
        "optim.learning_rate=3e-5",
        "run.name=2026-11-23",
        "task.families=[\"shapes\", \"chart\"]",
        "views.preset=paper",
        "model.path=../models/smol vlm",
        "method.group_size=6",
    ])
    .unwrap();
    assert_eq!((config.method.own.name(), config.method.group_size, config.optim.learning_rate), ("grpo", 6, 3e-5));
    assert_eq!(config.run.name.as_deref(), Some("2026-11-23"));
    assert_eq!(config.task.families, [Family::Shapes, Family::Chart]);
    assert_eq!((config.views.occlusion_count, config.model.path.to_str()), (50, Some("../models/smol vlm")));
    assert!(set(&["task.families=[\"shapes\""]).unwrap_err().starts_with("--set task.families=[\"shapes\": "));
    assert_eq!(set(&["steps"]).unwrap_err(), "--set steps: expected key=value");
    // an override wins over the file
    let both = Config::parse("[train]\nsteps = 3\nsave_every = 2\n", "f", &["train.steps=5".to_owned()]).unwrap();
    assert_eq!((both.train.steps, both.train.save_every), (5, 2));
}

/// An adapter may be called 0, and a run 42: what text is expected for is taken as it was written.
#[test]
fn text_may_look_like_a_number() {
    let config = set(&["run.device=0", "run.name=42", "model.instruction=5", "model.path=1.50", "data.answer_column=true"]).unwrap();
    assert_eq!((config.run.device.as_str(), config.run.name.as_deref(), config.model.instruction.as_str()), ("0", Some("42"), "5"));
    assert_eq!((config.model.path.to_str(), config.data.unwrap().answer_column.as_deref()), (Some("1.50"), Some("true")));
    let config = parse("run = { device = 1, name = true }\nmodel.instruction = 2026-11-23\n");
    assert_eq!(
        (config.run.device.as_str(), config.run.name.as_deref(), config.model.instruction.as_str()),
        ("1", Some("true"), "2026-11-23")
    );
    // elsewhere it is still a mistake, and a list is no text
    assert!(error("[method]\nname = 3\n").starts_with("test.toml: method.name: "));
    assert!(error("[train]\nsteps = true\n").starts_with("test.toml: train.steps: "));
    assert!(error("[run]\ndevice = [0]\n").starts_with("test.toml: run.device: "));
    assert!(set(&["task.families=3"]).unwrap_err().starts_with("--set task.families=3: task.families: "));
}

#[test]
fn a_missing_file_is_named() {
    let wrong = Config::load("no/such.toml".as_ref(), &[]).unwrap_err().to_string();
    assert!(wrong.starts_with("no/such.toml: "), "{wrong}");
}

#[test]
fn runs_are_named_after_method_task_and_time() {
    let config = Config::default();
    assert_eq!(config.run_name(0), "cppo-digits-19700101-000000");
    // `date -u -d @951782399` and its neighbours: the end of a leap day
    assert_eq!(config.run_name(951_868_799), "cppo-digits-20000229-235959");
    assert_eq!(config.run_name(951_868_800), "cppo-digits-20000301-000000");
    assert_eq!(config.run_name(1_795_456_509), "cppo-digits-20261123-175509");
    assert_eq!(set(&["data.path=sets/geo.parquet", "method.name=grpo"]).unwrap().run_name(0), "grpo-geo-19700101-000000");
    assert_eq!(set(&["run.name=mine"]).unwrap().run_name(0), "mine");
}

#[test]
fn the_learning_rate_warms_up_and_falls() {
    let mut optim = Config::default().optim;
    (optim.learning_rate, optim.warmup_steps) = (1.0, 4);
    let rates = |optim: &percept_cppo::config::OptimConfig| [1, 2, 4, 5, 9, 14].map(|step| optim.learning_rate_at(step, 14));
    assert_eq!(rates(&optim), [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]);
    (optim.schedule, optim.final_fraction) = (Schedule::Cosine, 0.2);
    let expected = [0.25, 0.5, 1.0, 0.2 + 0.4 * (1.0 + (std::f64::consts::PI * 0.1).cos()), 0.6, 0.2];
    for (rate, expected) in rates(&optim).iter().zip([expected[0], expected[1], expected[2], expected[3], 0.2 + 0.4, expected[5]]) {
        assert!((rate - expected).abs() < 1e-12, "{rate} {expected}");
    }
    optim.warmup_steps = 0;
    assert_eq!((optim.learning_rate_at(1, 1), optim.learning_rate_at(1, 10)), (1.0, 1.0));
}

#[test]
fn every_shipped_configuration_can_be_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    names.sort();
    let expected = [
        "compare-ablations.toml",
        "compare-digits.toml",
        "compare-miniature.toml",
        "compare-shapes.toml",
        "compare-shift.toml",
        "digits-full.toml",
        "digits.toml",
        "qwen2.5-vl-3b-geometry3k-lora.toml",
        "qwen2.5-vl-3b-geometry3k.toml",
        "sft-digits-65.toml",
        "sft-digits-80.toml",
        "sft-digits-clean.toml",
        "sft-digits.toml",
        "sft-shapes.toml",
        "smolvlm-256m-lora.toml",
        "smolvlm2-500m-lora.toml",
    ];
    assert_eq!(names, expected);
    for name in names {
        let path = folder.join(&name);
        let read = match name.split('-').next() {
            Some("sft") => SftRunConfig::load(&path, &[]).map(drop),
            Some("compare") => CompareConfig::load(&path, &[]).map(drop),
            _ => Config::load(&path, &[]).map(drop),
        };
        read.unwrap_or_else(|e| panic!("{e}"));
    }
}

#[test]
fn the_file_of_sft_is_checked_the_same_way() {
    let sft = |text: &str, overrides: &[&str]| {
        let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
        SftRunConfig::parse(text, "sft.toml", &overrides).map_err(|e| e.to_string())
    };
    assert_eq!(sft("", &[]).unwrap(), SftRunConfig::default());
    let config = sft("out = 'x'\n[sft]\nsteps = 3\n", &["run.name=mine", "task.digits.count=2", "optim.schedule=cosine"]).unwrap();
    assert_eq!((config.sft.steps, config.run.name.as_deref(), config.optim.schedule), (3, Some("mine"), Schedule::Cosine));
    assert_eq!(sft(&config.to_toml(), &[]).unwrap(), config);
    assert_eq!(sft("", &[]).unwrap().run_name(0), "sft-digits-19700101-000000");
    assert_eq!(
        sft("[sft]\nwarm_start_step = 3\n", &[]).unwrap_err(),
        "sft.toml: sft.warm_start_step: no such key; did you mean sft.warm_start_steps?"
    );
    assert_eq!(sft("", &["model.path=here", "model.lora.rank=4"]).unwrap().model.map(|model| model.path), Some("here".into()));
    assert_eq!(sft("", &["seed=3"]).unwrap_err(), "--set seed=3: seed: no such key; did you mean run.seed?");
    assert!(sft("", &["preset=huge"]).unwrap_err().starts_with("--set preset=huge: preset: "));
    assert!(sft("", &["sft.batch_size=0"]).unwrap_err().contains("sft.batch_size: expected at least 1"));
    assert!(sft("", &["sft.steps=0", "sft.warm_start_steps=0"]).unwrap_err().contains("sft.steps: expected at least 1"));
}
