//! What `percept plan` says of a run, against what the run then needs.

use percept_cppo::commands::Outcome;
use percept_cppo::config::{Config, Settings};
use percept_cppo::problems::prompts::Problems;
use percept_cppo::problems::reward::{Graded, RewardFunction};
use percept_cppo::problems::tasks::Task;
use percept_cppo::studies::plan::Plan;
use percept_cppo::training::policy::{load_encoder, load_policy};
use percept_cppo::training::trainer::Trainer;
use percept_engine::{DType, Device, Rates, Tensor};

use crate::model::qwen2_5_vl::whole_directory;
use crate::program::{percept, text};

/// Every other response is right, as a plan has it.
struct EveryOther;

impl RewardFunction for EveryOther {
    fn rewards(&self, responses: &[Graded<'_>]) -> Result<Vec<f32>, String> {
        Ok((0..responses.len()).map(|number| (number % 2) as f32).collect())
    }
}

/// The same step on the CPU needs what the plan says, whatever is trained: a plan is a step that computes nothing.
#[test]
fn a_step_needs_what_its_plan_says() {
    let settings = "model.path = 'assets/tiny-vlm'\n[rollout]\nprompts_per_step = 3\nmax_new_tokens = 12\n[method]\ngroup_size = 4\n[eval]\nproblems = 0\n";
    for changes in [
        &["method.name=cppo"][..],
        &["method.name=cppo", "method.kl_coef=0.1", "train.micro_batch_tokens=300"],
        &["method.name=grpo", "model.gradient_checkpointing=true", "train.micro_batch_tokens=400"],
        &["method.name=vppo", "model.lora.rank=4", "train.updates_per_step=3"],
        &["method.name=dapo", "model.freeze_vision=true", "rollout.sequences_at_once=5"],
        &["method.name=grpo", "rollout.kv_cache=bf16"],
    ] {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        let config = Config::parse(settings, "plan", &changes).unwrap();
        let (encoder, problems) = (load_encoder(&config.model).unwrap(), Problems::Task(Box::new(Task::new(&config.task).unwrap())));
        let plan = Plan::new(&config, &encoder, &problems, Rates::INFINITE).unwrap();

        let device = Device::new_cpu();
        let model = load_policy(&config.model, &device, config.run.seed).unwrap();
        let mut trainer = Trainer::new(model, encoder.without_end().unwrap(), problems, config).unwrap();
        trainer = trainer.with_reward("accuracy", 1.0, EveryOther);
        device.reset_peak();
        let before = device.counters();
        trainer.step().unwrap();
        let after = device.counters();
        let sum = |of: fn(&percept_cppo::studies::plan::Phase) -> u64| plan.phases.iter().map(of).sum::<u64>();
        assert_eq!(sum(|phase| phase.multiply_adds), after.multiply_adds - before.multiply_adds, "{changes:?}");
        // which tokens are selected depends on numbers that a plan does not have
        let pairs = [
            ("launches", sum(|phase| phase.launches), after.launches - before.launches, 0.1),
            ("bytes moved", sum(|phase| phase.moved_bytes), after.tensor_bytes - before.tensor_bytes, 0.02),
            ("peak", plan.peak_bytes, after.peak_bytes, 0.01),
        ];
        for (what, planned, counted, tolerance) in pairs {
            assert!((counted as f64 / planned as f64 - 1.0).abs() < tolerance, "{changes:?}: {what}: {counted} of {planned} planned");
        }
    }
}

/// Ranks are planned by the code that they run: their share of the prompts, of the optimiser, and what they send.
#[test]
fn a_rank_needs_what_its_plan_says() {
    let settings = "[rollout]\nprompts_per_step = 4\nmax_new_tokens = 12\n[method]\nname = 'cppo'\ngroup_size = 4\n[train]\nreduce = 'exact'\n\
                    [eval]\nproblems = 0\n[model]\npath = 'assets/tiny-vlm'\n[optim]\nshard = true\n";
    let config = Config::parse(settings, "plan", &[]).unwrap();
    let encoder = || load_encoder(&config.model).unwrap().without_end().unwrap();
    let problems = Problems::Task(Box::new(Task::new(&config.task).unwrap()));
    for ranks in [1, 2, 4] {
        let plan = Plan::of_rank(ranks, &config, &encoder(), &problems, Rates::INFINITE).unwrap();
        let counted = crate::world::ranks(ranks, |world| {
            let device = Device::new_cpu();
            let model = load_policy(&config.model, &device, config.run.seed).unwrap();
            let trainer = Trainer::of_rank(&world, model, encoder(), problems.clone(), config.clone()).unwrap();
            let mut trainer = trainer.with_reward("accuracy", 1.0, EveryOther);
            device.reset_peak();
            trainer.step().unwrap();
            (device.counters().peak_bytes, world.traffic().gradient_bytes)
        });
        let (peak, sent) = counted[0];
        assert_eq!(sent, plan.sent_bytes, "{ranks} ranks");
        let ratio = peak as f64 / plan.peak_bytes as f64;
        assert!((ratio - 1.0).abs() < 0.02, "{ranks} ranks: peak: {peak} of {} planned", plan.peak_bytes);
    }
}

/// Of a rollout whose peak is the cache and what stands beside it, halves take half of the cache away.
#[test]
fn a_cache_of_halves_is_planned_as_such() {
    let settings = "model.path = 'assets/tiny-vlm'\n[rollout]\nprompts_per_step = 1\nmax_new_tokens = 200\n[method]\nname = 'grpo'\ngroup_size = 64\n[eval]\nproblems = 0\n";
    let plan = |kv_cache: &str| {
        let config = Config::parse(settings, "plan", &[format!("rollout.kv_cache={kv_cache}")]).unwrap();
        let (encoder, problems) = (load_encoder(&config.model).unwrap(), Problems::Task(Box::new(Task::new(&config.task).unwrap())));
        let plan = Plan::new(&config, &encoder, &problems, Rates::INFINITE).unwrap();
        let rollout = plan.phases.iter().find(|phase| phase.name == "rollout").unwrap();
        (rollout.bytes, rollout.moved_bytes, plan.prompt_tokens[0])
    };
    let (single, moved, prompt_tokens) = plan("f32");
    let model = percept_model::ModelFiles::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-vlm").as_path());
    let text = model.unwrap().config.text;
    let rows = prompt_tokens + 64 * 199;
    let cache = (rows * text.num_hidden_layers * 2 * text.num_key_value_heads * text.head_dim * 4) as u64;
    assert!(cache > single / 2, "{cache} of {single}");
    for halves in ["f16", "bf16"] {
        let (bytes, moved_of_halves, _) = plan(halves);
        let saved = (single - bytes) as f64 / cache as f64;
        // the pool rounds sizes up
        assert!((saved - 0.5).abs() < 0.03, "{halves}: {bytes} of {single}, of which the cache is {cache}");
        assert!(moved_of_halves < moved);
    }
}

/// What is measured is decoded as rollouts are: as many sequences side by side, over a cache of the same type.
#[test]
fn a_measurement_decodes_as_rollouts_do() {
    let settings = "model.path = 'assets/tiny-vlm'\n[rollout]\nprompts_per_step = 1\nmax_new_tokens = 40\n[method]\nname = 'grpo'\ngroup_size = 2\n[eval]\nproblems = 16\n";
    let [all, few, halves] = ["rollout.sequences_at_once=1024", "rollout.sequences_at_once=8", "rollout.kv_cache=f16"].map(|change| {
        let config = Config::parse(settings, "plan", &[change.to_owned()]).unwrap();
        let (encoder, problems) = (load_encoder(&config.model).unwrap(), Problems::Task(Box::new(Task::new(&config.task).unwrap())));
        let plan = Plan::new(&config, &encoder, &problems, Rates::INFINITE).unwrap();
        plan.phases.iter().find(|phase| phase.name == "measurement").unwrap().bytes
    });
    assert!(few < all / 4 && halves < all, "{few} and {halves} of {all}");
}

/// The program says what is needed, whether it is there, and if it is not, which settings make it less.
#[test]
fn the_program_plans() {
    let settings = ["--set", "rollout.prompts_per_step=2", "--set", "rollout.max_new_tokens=8", "--set", "run.device=cpu"];
    let plan = |more: &[&str]| percept(&[&["plan", "digits"], &settings[..], more].concat());
    let (outcome, out, errors) = plan(&["--memory", "8"]);
    assert_eq!(outcome, Outcome::Done, "{errors}{out}");
    for part in ["weights", "optimiser", "rollout", "update: activations", "measurement", "as long as they may be: about", "which fits"] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");

    let (outcome, out, _) = plan(&["--memory", "0.001", "--tflops", "10", "--bandwidth", "500", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((outcome, &report["fits"], &report["available_bytes"]), (Outcome::Failed, &false.into(), &1_000_000.into()));
    assert!(report["lower"].as_array().unwrap().iter().any(|setting| setting.as_str().unwrap().contains("now ")), "{out}");
    // half of the prompts, and all gradients once
    let (outcome, of_two, _) = plan(&["--memory", "8", "--ranks", "2", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&of_two).unwrap();
    assert_eq!((outcome, report["sent_bytes"].as_f64().unwrap()), (Outcome::Done, 4.0 * report["trained"].as_f64().unwrap()));
    let (outcome, _, errors) = plan(&["--ranks", "3"]);
    assert_eq!(outcome, Outcome::BadInput);
    assert!(errors.contains("--ranks: expected a divisor of the 2 prompts of an update, got 3"), "{errors}");
    let (_, out, _) = plan(&["--memory", "0.001"]);
    assert!(out.contains("DOES NOT FIT") && out.contains("less:"), "{out}");
}

/// A meta device keeps accounts, and holds nothing: numbers are 0, and a budget is a budget.
#[test]
fn a_meta_device_counts_and_computes_nothing() {
    let rates = Rates { multiply_adds_per_second: 1e9, bytes_per_second: 1e9, seconds_per_launch: 1e-6 };
    let device = Device::meta(rates);
    let (a, b) = (Tensor::full(&device, &[64, 32], 1.0, DType::F32), Tensor::full(&device, &[32, 16], 1.0, DType::F32));
    let before = device.counters();
    let y = a.matmul(&b);
    let after = device.counters();
    assert_eq!(y.to_vec::<f32>().unwrap(), vec![0.0; 64 * 16]);
    assert_eq!(after.multiply_adds - before.multiply_adds, 64 * 32 * 16);
    // 32,768 multiplications take longer than 14,336 bytes; and the launch
    assert_eq!(after.planned_nanoseconds - before.planned_nanoseconds, 32_768 + 1000);
    assert_eq!(after.live_bytes - before.live_bytes, 64 * 16 * 4);
    // far more than any machine has
    let large = [(); 8].map(|()| Tensor::zeros(&device, &[1 << 31], DType::F32));
    assert_eq!(device.counters().live_bytes, after.live_bytes + 8 * (1 << 33));
    device.set_memory_budget(1 << 34);
    drop(large);
    let _tensors = [(); 3].map(|()| Tensor::zeros(&device, &[1 << 31], DType::F32));
    let error = device.check().unwrap_err().to_string();
    assert!(error.contains("meta") && error.contains("out of memory"), "{error}");
}

/// Qwen2.5-VL-3B is planned from its sizes: no weight has to be there. On 24 GB it trains with adapters, not with all its weights.
#[test]
fn a_model_of_billions_of_weights_is_planned_without_one() {
    let directory = whole_directory("flat");
    let path = directory.path();
    let text_of_config = include_str!("model/qwen2_5_vl_3b.json").replace("151655", "4"); // the image token of the small tokenizer
    std::fs::write(path.join("config.json"), text_of_config).unwrap();
    std::fs::remove_file(path.join("model.safetensors")).unwrap();
    let settings = path.join("run.toml");
    let text_of_settings = format!(
        "[model]\npath = '{}'\nprecision = 'as_stored'\ngradient_checkpointing = true\n[method]\nname = 'cppo'\ngroup_size = 2\n\
         [rollout]\nprompts_per_step = 2\nmax_new_tokens = 8\n[eval]\nproblems = 0\n[run]\ndevice = 'cpu'\n",
        text(path)
    );
    std::fs::write(&settings, text_of_settings).unwrap();
    let plan = |more: &[&str]| {
        let asked = [&["plan", text(&settings), "--memory", "24", "--tflops", "50", "--bandwidth", "1000", "--json"], more].concat();
        let (outcome, out, errors) = percept(&asked);
        assert!(!out.is_empty(), "{errors}");
        (outcome, serde_json::from_str::<serde_json::Value>(&out).unwrap())
    };
    let bytes = |report: &serde_json::Value, name: &str| {
        let kinds = report["memory"].as_array().unwrap();
        kinds.iter().find(|kind| kind["name"] == name).map_or(0.0, |kind| kind["bytes"].as_f64().unwrap())
    };
    let (outcome, with_adapters) = plan(&["--set", "model.lora.rank=16"]);
    assert_eq!((outcome, &with_adapters["frozen"]), (Outcome::Done, &3_754_622_976_u64.into()));
    // two bytes each, the adapters, and what sizes are rounded up by
    assert!((7.5e9..8.5e9).contains(&bytes(&with_adapters, "weights")), "{with_adapters}");

    let (outcome, whole) = plan(&["--set", "method.kl_coef=0"]);
    assert_eq!((outcome, &whole["trained"]), (Outcome::Failed, &3_754_622_976_u64.into()));
    // two moments and a master copy in f32
    assert!((44.0e9..49.0e9).contains(&bytes(&whole, "optimiser")), "{whole}");
    assert!(whole["lower"][0].as_str().unwrap().starts_with("model.lora: "), "{whole}");
}
