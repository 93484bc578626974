//! The trainers: supervised training learns, reinforcement learning repeats and resumes to the same bits, and says what is wrong.

use std::path::Path;
use std::sync::OnceLock;

use percept_cppo::config::{Config, LoraSection, MethodConfig, ModelConfig as ModelSection, OptimConfig, SftConfig};
use percept_cppo::methods::AnyMethod;
use percept_cppo::methods::dapo::Dapo;
use percept_cppo::methods::filter::GroupFilter;
use percept_cppo::methods::view::View;
use percept_cppo::problems::data::{Dataset, Example, ImageSource, RowPlace};
use percept_cppo::problems::prompts::{Encoder, Problems};
use percept_cppo::problems::tasks::{Split, Task, TaskConfig};
use percept_cppo::records::run::Metrics;
use percept_cppo::training::checkpoint::read_progress;
use percept_cppo::training::group::Group;
use percept_cppo::training::policy::{load_encoder, load_policy};
use percept_cppo::training::sft::{Sft, WarmStart};
use percept_cppo::training::trainer::{StepOutput, Trainer};
use percept_cppo::training::world::World;
use percept_engine::{DType, Device};
use percept_model::families::idefics3::Idefics3;
use percept_model::{Model, ModelConfig, ModelFiles, Precision};

use crate::common::gpu;

pub(crate) fn tiny_config() -> ModelConfig {
    let mut config = ModelConfig::tiny();
    config.text.num_hidden_layers = 2;
    Idefics3::change(&mut config, |own| own.vision.num_hidden_layers = 1);
    config
}

pub(crate) fn encoder() -> Encoder {
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/tiny-tokenizer");
    Encoder::new(ModelFiles::read_with_config(&tokenizer, tiny_config()).unwrap()).unwrap()
}

fn task_config() -> TaskConfig {
    TaskConfig { level: 1, ..TaskConfig::default() }
}

pub(crate) fn task() -> Task {
    Task::new(&task_config()).unwrap()
}

fn value(metrics: &Metrics, name: &str) -> f64 {
    metrics.get(name).unwrap_or_else(|| panic!("no metric {name}"))
}

/// The same among the numbers of a supervised step.
fn number(numbers: &[(&str, f64)], name: &str) -> f64 {
    value(&Metrics::of(0, numbers), name)
}

/// A model that has seen a few reference responses: it often keeps their form, so that rewards differ.
pub(crate) fn start() -> &'static Path {
    static START: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = START.get_or_init(|| {
        let (model, encoder, task) = (Model::random(&tiny_config(), &Device::cpu(), 0, DType::F32), encoder(), task());
        let config = SftConfig { steps: 40, batch_size: 8, ..SftConfig::default() };
        let optim = OptimConfig { learning_rate: 3e-3, ..OptimConfig::default() };
        let problems = Problems::Task(Box::new(task));
        let mut sft = Sft::new(&model, &encoder, &problems, &config, &optim, 0, &World::alone()).unwrap();
        let losses: Vec<f64> = (0..40).map(|_| number(&sft.step().unwrap(), "loss")).collect();
        assert!(losses[39] < 0.5 * losses[0], "{losses:?}");
        let folder = tempfile::tempdir().unwrap();
        model.save(&folder.path().join("model"), encoder.files()).unwrap();
        folder
    });
    folder.path()
}

fn small_config(method: &str) -> Config {
    let mut config = Config { task: task_config(), ..Config::default() };
    config.method = MethodConfig::named(method);
    config.method.group_size = 4;
    config.rollout.prompts_per_step = 4;
    config.rollout.max_new_tokens = 30;
    config
}

fn trainer(method: &str, change: impl Fn(&mut Config)) -> Trainer {
    let model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
    let mut config = small_config(method);
    change(&mut config);
    Trainer::new(model, encoder(), Problems::Task(Box::new(task())), config).unwrap()
}

/// Everything but the times and the memory, which other tests of the process share.
fn repeatable(output: &StepOutput) -> Vec<(&str, u64)> {
    let is_repeatable = |name: &str| !name.starts_with("time/") && !name.ends_with("_per_second") && !name.starts_with("memory/");
    output.metrics.values().iter().filter(|(name, _)| is_repeatable(name)).map(|(name, value)| (name.as_str(), value.to_bits())).collect()
}

pub(crate) fn weights(trainer: &Trainer) -> Vec<f32> {
    trainer.model().parameters().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect()
}

/// A policy cannot give a token that only prompts have; nor can a data set ask it to.
#[test]
fn a_policy_in_training_never_says_what_only_prompts_have() {
    let trainer = trainer("cppo", |_| {});
    let never = trainer.encoder().never_said();
    assert!(never.contains(&trainer.model().config().image_token_id));
    assert_eq!(trainer.model().suppressed_tokens(), never);
    let error = trainer.encoder().response("I see a <image>.").unwrap_err().to_string();
    assert_eq!(error, "response: expected text, got <image> (token 4), which only prompts have");
}

#[test]
fn the_warm_start_learns_to_see() {
    let (model, encoder, task) = (Model::random(&tiny_config(), &Device::cpu(), 0, DType::F32), encoder(), task());
    let config = SftConfig { warm_start_steps: 30, warm_start_batch_size: 16, ..SftConfig::default() };
    let mut warm_start = WarmStart::new(&model, &encoder, &task, &config, &OptimConfig::default(), 0, &World::alone()).unwrap();
    let losses: Vec<f64> = (0..30).map(|_| number(&warm_start.step().unwrap(), "warm_start/loss")).collect();
    // ln 50 = 3.9 at first; that most cells are empty is learnt at once
    assert!(losses[0] > 3.0 && losses[29] < 0.8, "{losses:?}");
}

#[test]
fn supervised_steps_see_new_problems() {
    let (model, encoder, task) = (Model::random(&tiny_config(), &Device::cpu(), 0, DType::F32), encoder(), task());
    let config = SftConfig { batch_size: 2, warm_start_batch_size: 2, warm_start_learning_rate: 0.0, ..SftConfig::default() };
    let optim = OptimConfig { learning_rate: 0.0, ..OptimConfig::default() };
    // of weights that stay, the loss changes with the problems alone
    let mut warm_start = WarmStart::new(&model, &encoder, &task, &config, &optim, 0, &World::alone()).unwrap();
    let [first, second] = [(); 2].map(|()| number(&warm_start.step().unwrap(), "warm_start/loss"));
    assert_ne!(first, second);
    let problems = Problems::Task(Box::new(task.clone()));
    let mut sft = Sft::new(&model, &encoder, &problems, &config, &optim, 0, &World::alone()).unwrap();
    let [first, second] = [(); 2].map(|()| number(&sft.step().unwrap(), "loss"));
    assert_ne!(first, second);
}

#[test]
fn steps_repeat_and_resume_to_the_same_bits() {
    for method in ["cppo", "grpo"] {
        let folder = tempfile::tempdir().unwrap();
        let checkpoint = folder.path().join("step-2");
        let mut whole = trainer(method, |_| {});
        let mut outputs = Vec::new();
        for step in 1..=4 {
            outputs.push(whole.step().unwrap());
            assert_eq!(outputs.last().unwrap().step, step);
            if step == 2 {
                assert!(whole.note_accuracy(0.25));
                whole.save(&checkpoint).unwrap();
            }
        }
        assert!(outputs.iter().any(|output| value(&output.metrics, "frac_reward_zero_std") < 1.0), "no group has a signal");
        assert!(outputs.iter().any(|output| value(&output.metrics, "grad_norm") > 0.0));

        let mut again = trainer(method, |_| {});
        assert_eq!(repeatable(&again.step().unwrap()), repeatable(&outputs[0]));

        let mut resumed = trainer(method, |_| {});
        resumed.restore(&checkpoint).unwrap();
        assert_eq!(resumed.progress(), &read_progress(&checkpoint).unwrap());
        assert_eq!(resumed.progress().best.map(|best| (best.step, best.accuracy)), Some((2, 0.25)));
        for output in &outputs[2..] {
            assert_eq!(repeatable(&resumed.step().unwrap()), repeatable(output));
        }
        assert!(weights(&resumed) == weights(&whole), "weights differ");
        // The directory is a model by itself.
        Model::load(&checkpoint, &Device::cpu(), Precision::AsStored).unwrap();
    }
}

#[test]
fn a_step_says_what_users_know_from_other_trainers() {
    let mut cppo = trainer("cppo", |_| {});
    let output = cppo.step().unwrap();
    for name in [
        "reward",
        "reward_std",
        "frac_reward_zero_std",
        "rewards/accuracy",
        "rewards/format",
        "completions/mean_length",
        "completions/clipped_ratio",
        "clip_ratio",
        "entropy",
        "kl",
        "grad_norm",
        "lr",
        "cpl_loss",
        "perception/fraction",
        "perception/delta_entropy",
        "rollout/log_prob_gap",
        "tokens_per_second",
        "time/rollout",
        "time/update",
        "memory/peak_bytes",
    ] {
        assert!(value(&output.metrics, name).is_finite(), "{name}");
    }
    assert!(value(&output.metrics, "rollout/log_prob_gap") < 1e-4, "sampling and training disagree");
    assert_eq!(output.groups.len(), 4);
    for group in &output.groups {
        assert_eq!(group.responses.len(), 4);
        assert!(group.responses.iter().all(|response| response.signal.on(View::Original).is_some()));
        let is_seen_on_views = group.responses.iter().any(|response| response.signal.advantage > 0.0);
        assert_eq!(group.views.len(), if is_seen_on_views { 2 } else { 0 });
    }
    let grpo = trainer("grpo", |_| {}).step().unwrap();
    assert!(grpo.groups.iter().all(|group| group.views.is_empty()));
    assert_eq!(value(&grpo.metrics, "reward"), value(&output.metrics, "reward"), "the first rollout does not depend on the method");
}

#[test]
fn each_step_asks_new_questions_at_its_own_learning_rate() {
    let mut trainer = trainer("grpo", |config| {
        config.rollout.temperature = 1.3;
        config.optim.learning_rate = 1e-2;
        config.optim.warmup_steps = 100;
    });
    let mut asked = Vec::new();
    let mut before = weights(&trainer);
    for step in 1..=3_u64 {
        let output = trainer.step().unwrap();
        asked.extend(output.groups.iter().map(|group| group.prompt.id));
        let after = weights(&trainer);
        // Adam moves a weight by at most about the learning rate
        let moved = before.iter().zip(&after).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        let rate = 1e-4 * step as f64;
        assert!((value(&output.metrics, "lr") - rate).abs() < 1e-12 && moved > 0.5 * rate && moved < 1.5 * rate, "{step}: {moved}");
        // training divides logits by the temperature of sampling
        assert!(value(&output.metrics, "rollout/log_prob_gap") < 1e-4, "{:?}", output.metrics);
        before = after;
    }
    assert_eq!(asked, (0..12).collect::<Vec<u64>>());
}

/// A question that stands in the data twice is answered anew each time, in a step and from step to step.
#[test]
fn every_group_has_draws_of_its_own() {
    let problem = task().problem(Split::Train, 0);
    let mut png = std::io::Cursor::new(Vec::new());
    problem.picture.write_to(&mut png, image::ImageFormat::Png).unwrap();
    let images = vec![ImageSource::Bytes(png.into_inner().into())];
    let place = RowPlace { path: "made.jsonl".into(), row: 1 };
    let example = Example {
        images,
        decoding: Default::default(),
        problem: problem.text,
        answer: problem.answer,
        response: None,
        columns: Default::default(),
        place,
    };
    let data = Dataset { examples: vec![example.clone(), example], ..Dataset::default() };

    let model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
    let mut config = small_config("grpo");
    config.rollout.prompts_per_step = 2;
    config.optim.learning_rate = 0.0;
    let mut trainer = Trainer::new(model, encoder(), Problems::Data(data), config).unwrap();
    let mut drawn: Vec<Vec<Vec<u32>>> = Vec::new();
    for _ in 0..2 {
        let groups = trainer.step().unwrap().groups;
        drawn.extend(groups.iter().map(|group| group.responses.iter().map(|r| r.completion.tokens.clone()).collect()));
    }
    for (i, group) in drawn.iter().enumerate() {
        assert!(!drawn[..i].contains(group), "group {i} repeats an earlier one");
    }
}

/// Sampling, both losses and the optimiser: the first steps are those of the CPU, up to what f32 rounds.
#[test]
fn a_gpu_trains_as_the_cpu_does() {
    let step = |device: &Device| {
        let model = Model::load(&start().join("model"), device, Precision::Float32).unwrap();
        let mut config = small_config("cppo");
        config.rollout.prompts_per_step = 2;
        // of the tokens that are all but impossible, the border between two is so narrow that rounding may move it: with this seed none is drawn there
        config.run.seed = 1;
        let mut trainer = Trainer::new(model, encoder(), Problems::Task(Box::new(task())), config).unwrap();
        [(); 2].map(|()| trainer.step().unwrap().metrics)
    };
    let (cpu, gpu) = (step(&Device::cpu()), step(&gpu()));
    for (cpu, gpu) in cpu.iter().zip(&gpu) {
        for name in ["reward", "completions/mean_length", "entropy", "cpl_loss", "grad_norm", "perception/fraction"] {
            let (expected, got) = (value(cpu, name), value(gpu, name));
            assert!((got - expected).abs() <= 1e-3 * expected.abs().max(1e-2), "{name}: expected {expected}, got {got}");
        }
    }
    assert!(value(&gpu[1], "grad_norm") > 0.0 && value(&gpu[1], "rollout/log_prob_gap") < 1e-4, "{:?}", gpu[1]);
}

/// What is not trained encodes a picture once in a step, for sampling, weighing and training together, however the update is cut. What is trained does it once without a graph, for sampling and
/// weighing, and once with a graph in each micro-batch that reads it.
#[test]
fn a_picture_of_a_step_is_encoded_once_by_a_frozen_tower() {
    let encoded = |is_frozen: bool, micro_batch_tokens: usize| {
        let mut model = Model::load(&start().join("model"), &Device::cpu(), Precision::Float32).unwrap();
        if is_frozen {
            model.freeze_vision();
        }
        let mut config = small_config("cppo");
        config.train.micro_batch_tokens = micro_batch_tokens;
        let mut trainer = Trainer::new(model, encoder(), Problems::Task(Box::new(task())), config).unwrap();
        let output = trainer.step().unwrap();
        let views: usize = output.groups.iter().map(|group| group.views.iter().filter(|view| view.tiles.is_some()).count()).sum();
        assert!(views > 0);
        let is_cut = value(&output.metrics, "tokens/packed") > micro_batch_tokens as f64;
        assert_eq!(is_cut, micro_batch_tokens == 100);
        [trainer.model().pictures_encoded() as usize, output.groups.len(), views]
    };
    for (is_frozen, micro_batch_tokens, of_original) in [(true, 1 << 16, 1), (true, 100, 1), (false, 1 << 16, 2)] {
        let [encoded, prompts, views] = encoded(is_frozen, micro_batch_tokens);
        let most = of_original * prompts + views;
        assert!(encoded <= most && encoded > prompts, "frozen {is_frozen}, {micro_batch_tokens} tokens: {encoded} of {most}");
    }
    // one response a micro-batch: all pictures without a graph, and with one as often as responses with a gradient read them
    let [encoded, prompts, views] = encoded(false, 100);
    assert!(encoded > prompts + views && encoded <= prompts + views + 4 * prompts, "{encoded} of {prompts} prompts and {views} views");
}

#[test]
fn several_updates_of_one_rollout_move_the_ratio() {
    let mut trainer = trainer("grpo", |config| {
        config.train.updates_per_step = 2;
        config.optim.learning_rate = 3e-3;
        config.optim.warmup_steps = 0;
        config.method.policy.kl_coef = 0.0;
        config.method.policy.clip_low = 0.01;
        config.method.policy.clip_high = 0.01;
    });
    let clipped: f64 = (0..4).map(|_| value(&trainer.step().unwrap().metrics, "clip_ratio")).sum();
    assert!(clipped > 0.0);
}

/// A trainer whose model is loaded as the section `model` says.
fn lora_trainer() -> Trainer {
    let lora = LoraSection { rank: 4, alpha: 8.0, targets: vec!["q_proj".into(), "down_proj".into()], ..LoraSection::default() };
    let section = ModelSection { path: start().join("model"), lora: Some(lora), gradient_checkpointing: true, ..ModelSection::default() };
    let mut config = Config { task: task_config(), model: section, ..Config::default() };
    config.method.group_size = 4;
    config.method.policy.kl_coef = 0.1;
    config.rollout.prompts_per_step = 4;
    config.rollout.max_new_tokens = 30;
    config.optim.learning_rate = 1e-2;
    let (model, encoder) = (load_policy(&config.model, &Device::cpu(), 3).unwrap(), load_encoder(&config.model).unwrap());
    Trainer::new(model, encoder, Problems::Task(Box::new(task())), config).unwrap()
}

#[test]
fn adapters_are_trained_against_the_checkpoint_itself() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("step-2");
    let mut whole = lora_trainer();
    let before = weights(&whole);
    let mut outputs = Vec::new();
    for step in 1..=4 {
        outputs.push(whole.step().unwrap());
        if step == 2 {
            whole.save(&checkpoint).unwrap();
        }
    }
    // the reference is the model without its adapters, which begin as nothing
    assert_eq!(value(&outputs[0].metrics, "kl"), 0.0);
    assert!(value(&outputs[3].metrics, "kl") > 1e-6, "{:?}", outputs[3].metrics);
    assert!(weights(&whole) == before, "a weight beside the adapters was trained");

    let mut resumed = lora_trainer();
    resumed.restore(&checkpoint).unwrap();
    for output in &outputs[2..] {
        assert_eq!(repeatable(&resumed.step().unwrap()), repeatable(output));
    }
    // the directory is the merged model, which needs no adapters
    let merged = Model::load(&checkpoint, &Device::cpu(), Precision::Float32).unwrap();
    let merged: Vec<f32> = merged.parameters().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect();
    assert!(merged.len() == before.len() && merged != before, "the adapters are not in what was saved");
    // and beside it the adapters alone, which know their base
    let adapter = checkpoint.join("adapter");
    let mut model = Model::load(&adapter, &Device::cpu(), Precision::Float32).unwrap();
    assert!(model.has_lora() && model.trainable().is_empty());
    model.merge_lora().unwrap();
    let added: Vec<f32> = model.parameters().flat_map(|(_, tensor)| tensor.to_vec::<f32>().unwrap()).collect();
    assert!(added == merged, "the adapters are others than those that were merged");

    let section = |lora| ModelSection { path: adapter.clone(), lora, ..ModelSection::default() };
    let model = load_policy(&section(None), &Device::cpu(), 3).unwrap();
    assert_eq!((model.has_lora(), model.trainable().len()), (false, model.parameters().count()), "all weights are trained on");
    let error = load_policy(&section(Some(LoraSection::default())), &Device::cpu(), 3).err().unwrap().to_string();
    assert!(error.contains("adapter: model.lora: expected the directory of a whole model"), "{error}");
}

#[test]
fn a_checkpoint_that_does_not_fit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = folder.path().join("step-1");
    let mut source = trainer("grpo", |_| {});
    source.step().unwrap();
    source.save(&checkpoint).unwrap();

    let mut trainer = trainer("grpo", |_| {});
    let before = weights(&trainer);
    let tensors = checkpoint.join("trainer.safetensors");
    let whole = std::fs::read(&tensors).unwrap();
    std::fs::write(&tensors, &whole[..whole.len() / 2]).unwrap();
    let error = trainer.restore(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("trainer.safetensors"), "{error}");
    std::fs::remove_file(&tensors).unwrap();
    assert!(trainer.restore(&checkpoint).unwrap_err().to_string().contains("trainer.safetensors"));
    std::fs::write(checkpoint.join("trainer.json"), "{\"progress\": {\"step\": 1}, \"tensors_crc32\": 0}").unwrap();
    let error = trainer.restore(&checkpoint).unwrap_err().to_string();
    assert!(error.contains("trainer.json") && error.contains("problems"), "{error}");
    assert!(weights(&trainer) == before && trainer.progress().step == 0);
}

/// Groups in which all responses are equally right teach DAPO nothing: it asks on, and every problem it asked counts.
#[test]
fn dapo_replaces_groups_without_a_signal() {
    let refills = |max_refills: usize| {
        let mut trainer = trainer("dapo", |config| {
            config.method.own = AnyMethod::Dapo(Dapo { filter: GroupFilter { max_refills, ..GroupFilter::default() }, ..Dapo::default() });
            config.method.group_size = 8;
        });
        let output = trainer.step().unwrap();
        (output, trainer.progress().problems)
    };
    let (some, asked) = refills(0);
    assert!(some.groups.len() < 4 && asked == 4, "{} groups of {asked} problems: nothing to replace", some.groups.len());
    let (more, asked) = refills(6);
    assert!(more.groups.len() > some.groups.len() && more.groups.len() <= 4 && asked > 4 && asked.is_multiple_of(4), "{asked} problems");
    let accuracy = |group: &Group| group.responses.iter().map(|response| response.reward.accuracy).sum::<f32>() / 8.0;
    assert!(more.groups.iter().all(|group| accuracy(group) > 0.0 && accuracy(group) < 1.0));
    assert!(more.groups.is_sorted_by(|a, b| a.number < b.number));
    assert!(value(&more.metrics, "loss").is_finite() && value(&some.metrics, "loss").is_finite());
}

/// The first half of every group is what GRPO samples, to the bit; the second is sampled on noise, and trained on the clean picture like the first.
#[test]
fn half_of_a_noisy_group_is_sampled_on_noise() {
    let sampled = |method: &str| {
        // no reference policy in either, so that all else is equal
        let output = trainer(method, |config| (config.method.policy.kl_coef, config.train.steps) = (0.0, 60)).step().unwrap();
        let of = |group: &Group| group.responses.iter().map(|response| response.completion.clone()).collect::<Vec<_>>();
        (output.groups.iter().map(of).collect::<Vec<_>>(), output)
    };
    let ((clean, grpo), (noisy, output)) = (sampled("grpo"), sampled("noisy_rollout"));
    for (clean, noisy) in clean.iter().zip(&noisy) {
        assert_eq!(clean.len(), noisy.len());
        assert!(clean[..2].iter().zip(&noisy[..2]).all(|(a, b)| (&a.tokens, &a.log_probs) == (&b.tokens, &b.log_probs)), "the clean half");
    }
    let differ = clean.iter().flatten().zip(noisy.iter().flatten()).filter(|(a, b)| a.log_probs != b.log_probs).count();
    assert_eq!(differ, 2 * clean.len(), "responses to noise");
    let off_policy =
        |output: &StepOutput| -> Vec<bool> { output.groups[0].responses.iter().map(|response| response.is_off_policy).collect() };
    assert_eq!((off_policy(&grpo), off_policy(&output)), (vec![false; 4], vec![false, false, true, true]));
    // what is said of the gap between sampling and training is said of the half where there should be none
    assert!(value(&output.metrics, "rollout/log_prob_gap") < 1e-4, "{:?}", output.metrics);
}
