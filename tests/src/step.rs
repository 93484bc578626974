//! The packed update against the plain one, against finite differences, and against what must not change it.

use percept_cppo::advantages::group_advantages;
use percept_cppo::losses::{ContrastiveConfig, Divergence, Objective, PolicyConfig};
use percept_cppo::random::Random;
use percept_cppo::selection::{Detector, Gate, Selection, SelectionConfig};
use percept_cppo::step::{BatchForm, Contrast, Group, Response, StepConfig, Update, ViewTiles, compute_gradients, log_probs};
use percept_engine::{DType, Device, Tensor};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, ModelConfig};

use crate::common::gpu;

/// A model of a few thousand weights: four visual tokens, a vocabulary of 24.
fn model(dtype: DType, seed: u64) -> Model {
    let mut config = ModelConfig::tiny();
    let text = &mut config.text;
    (text.vocab_size, text.hidden_size, text.intermediate_size, text.num_hidden_layers) = (24, 16, 24, 2);
    (text.num_attention_heads, text.num_key_value_heads, text.head_dim) = (2, 1, 8);
    text.initializer_range = 0.4; // distributions that differ, of a model that is not trained
    Idefics3::change(&mut config, |own| {
        let vision = &mut own.vision;
        (vision.hidden_size, vision.intermediate_size, vision.num_hidden_layers, vision.num_attention_heads) = (8, 16, 1, 2);
        (vision.image_size, vision.patch_size, vision.initializer_range) = (32, 4, 0.4);
        own.scale_factor = 4;
    });
    Model::random(&config, &Device::cpu(), seed, dtype)
}

fn picture(random: &mut Random) -> Vec<Patches> {
    let pixels: Vec<f32> = (0..3 * 32 * 32).map(|_| random.uniform([-1.0, 1.0])).collect();
    vec![Patches::from_pixels(Tiling::WHOLE, &pixels, [3, 32, 32], 4)]
}

/// Three groups of four responses of 1 to 6 tokens, some of them worth nothing, under an old policy.
fn groups(model: &Model) -> Vec<Group> {
    let mut random = Random::new(5, "test/groups", 0);
    let rewards = [[1.0, 0.1, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0]];
    let mut groups: Vec<Group> = rewards
        .iter()
        .enumerate()
        .map(|(i, rewards)| Group {
            prompt: [vec![1, 7 + i as u32], vec![4; 4], vec![8; 1 + i]].concat(),
            original: picture(&mut random),
            views: Some(ViewTiles { preserved: picture(&mut random), removed: picture(&mut random) }),
            responses: group_advantages(rewards, 4)
                .into_iter()
                .map(|advantage| {
                    let length = 1 + random.below(6);
                    let tokens = (0..length).map(|_| 5 + random.below(19) as u32).collect();
                    Response { tokens, old_log_probs: None, advantage }
                })
                .collect(),
        })
        .collect();
    let config = Settings::default();
    let old = log_probs(model, &groups, &config.step()).unwrap();
    for (group, old) in groups.iter_mut().zip(old) {
        for (response, old) in group.responses.iter_mut().zip(old) {
            response.old_log_probs = Some(old.iter().map(|l| l + 0.3 * random.normal()).collect());
        }
    }
    groups
}

#[derive(Clone)]
struct Settings {
    policy: PolicyConfig,
    contrastive: Option<ContrastiveConfig>,
    selection: SelectionConfig,
    micro_batch_tokens: usize,
    form: BatchForm,
}

impl Default for Settings {
    /// CPPO with weights at which each part of the loss counts.
    fn default() -> Self {
        Self {
            policy: PolicyConfig { kl_coef: 0.2, ..PolicyConfig::default() },
            contrastive: Some(ContrastiveConfig { cpl_coef: 0.5, cpl_temperature: 0.5, ..ContrastiveConfig::default() }),
            selection: SelectionConfig::default(),
            micro_batch_tokens: 10_000,
            form: BatchForm::Packed,
        }
    }
}

impl Settings {
    fn grpo() -> Self {
        Self { policy: PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }, contrastive: None, ..Self::default() }
    }

    fn step(&self) -> StepConfig<'_> {
        StepConfig {
            policy: &self.policy,
            contrast: self.contrastive.as_ref().map(|loss| Contrast { loss, selection: &self.selection }),
            temperature: 0.9,
            micro_batch_tokens: self.micro_batch_tokens,
            form: self.form,
            seed: 3,
        }
    }

    fn update(&self, model: &Model, reference: &Model, groups: &[Group]) -> Update {
        compute_gradients(model, Some(reference), groups, &self.step()).unwrap()
    }
}

fn gradients(model: &Model, update: &Update) -> Vec<f64> {
    let of =
        |(_, parameter): (String, Tensor)| update.gradients.get(&parameter).map_or(vec![0.0; parameter.len()], |g| g.to_f64_vec().unwrap());
    model.trainable().into_iter().flat_map(of).collect()
}

/// Norm of the difference over norm.
#[track_caller]
fn assert_same_gradients(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(g, e)| g - e));
    let size = norm(&mut expected.iter().copied());
    assert!(size > 1e-3 && difference <= tolerance * size, "{what}: difference {difference} of {size}");
}

fn variants() -> Vec<(&'static str, Settings)> {
    let base = Settings::default;
    let contrastive = |change: fn(&mut ContrastiveConfig)| {
        let mut settings = Settings::default();
        settings.contrastive.as_mut().map(change);
        settings
    };
    let selecting = |selection| Settings { selection, ..base() };
    vec![
        ("cppo", base()),
        ("grpo", Settings::grpo()),
        ("k1", contrastive(|c| c.divergence = Divergence::K1)),
        ("full", contrastive(|c| c.divergence = Divergence::Full)),
        ("cpl only", contrastive(|c| c.objective = Objective::CplOnly)),
        ("no gate", selecting(SelectionConfig { gate: Gate::None, ..Default::default() })),
        ("random", selecting(SelectionConfig { selection: Selection::Random, ..Default::default() })),
        ("k3 detector", selecting(SelectionConfig { detector: Detector::K3, ..Default::default() })),
        ("full detector", selecting(SelectionConfig { detector: Detector::FullKl, ..Default::default() })),
    ]
}

#[test]
fn packed_equals_a_row_per_response_and_view() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    for (name, packed) in variants() {
        let rows = Settings { form: BatchForm::Rows, ..packed.clone() };
        let (packed, rows) = (packed.update(&model, &reference, &groups), rows.update(&model, &reference, &groups));
        assert!((packed.metrics.loss - rows.metrics.loss).abs() < 1e-5, "{name}: {:?} {:?}", packed.metrics, rows.metrics);
        assert_eq!(packed.metrics.perception_tokens, rows.metrics.perception_tokens, "{name}");
        assert_same_gradients(&gradients(&model, &packed), &gradients(&model, &rows), 1e-3, name);
        assert!(2 * packed.metrics.packed_tokens < rows.metrics.packed_tokens, "{name}: {:?} {:?}", packed.metrics, rows.metrics);
    }
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    for (name, whole) in variants() {
        let cut = Settings { micro_batch_tokens: 20, ..whole.clone() }; // responses of a group come apart
        let (whole, cut) = (whole.update(&model, &reference, &groups), cut.update(&model, &reference, &groups));
        assert!(whole.metrics.micro_batches == 1 && cut.metrics.micro_batches >= 3, "{name}: {:?}", cut.metrics);
        assert!((whole.metrics.loss - cut.metrics.loss).abs() < 1e-5, "{name}: {:?} {:?}", whole.metrics, cut.metrics);
        assert_same_gradients(&gradients(&model, &cut), &gradients(&model, &whole), 1e-4, name);
        for (whole, cut) in whole.traces.iter().flatten().zip(cut.traces.iter().flatten()) {
            assert_eq!(whole.mask, cut.mask, "{name}");
        }
    }
}

/// In f32, on either device, against the f64 model that the weights are copied from.
#[test]
fn both_devices_compute_what_f64_does() {
    let (oracle, oracle_reference) = (model(DType::F64, 1), model(DType::F64, 2));
    let groups = groups(&oracle);
    for device in [Device::cpu(), gpu()] {
        let [model, reference] = [&oracle, &oracle_reference].map(|model| model.to(&device, DType::F32).unwrap());
        for (name, settings) in variants() {
            let expected = settings.update(&oracle, &oracle_reference, &groups);
            let got = settings.update(&model, &reference, &groups);
            let what = format!("{name} on {device}");
            assert_eq!(got.metrics.perception_tokens, expected.metrics.perception_tokens, "{what}");
            assert!((got.metrics.loss - expected.metrics.loss).abs() < 1e-5, "{what}: {:?} {:?}", got.metrics, expected.metrics);
            assert_same_gradients(&gradients(&model, &got), &gradients(&oracle, &expected), 1e-4, &what);
        }
    }
}

/// The gradient of every weight tensor along a random direction, in f64.
#[test]
fn the_whole_loss_passes_finite_differences() {
    let (model, reference) = (model(DType::F64, 1), model(DType::F64, 2));
    let groups = groups(&model);
    const STEP: f64 = 1e-5;
    for (name, settings) in variants() {
        let update = settings.update(&model, &reference, &groups);
        assert_eq!(update.metrics.perception_tokens > 0, name != "grpo", "{name}");
        let mut random = Random::new(1, "test/directions", 0);
        for (parameter_name, parameter) in model.trainable() {
            let values: Vec<f64> = parameter.to_vec().unwrap();
            let direction: Vec<f64> = values.iter().map(|_| f64::from(random.normal())).collect();
            let loss_at = |step: f64| {
                let moved: Vec<f64> = values.iter().zip(&direction).map(|(value, d)| value + step * d).collect();
                parameter.write_slice(&moved);
                let update = settings.update(&model, &reference, &groups);
                parameter.write_slice(&values);
                update.metrics.loss
            };
            let numeric = (loss_at(STEP) - loss_at(-STEP)) / (2.0 * STEP);
            let gradient = update.gradients.get(&parameter).map_or(vec![0.0; values.len()], |g| g.to_vec().unwrap());
            let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
            let scale = gradient.iter().map(|g| g * g).sum::<f64>().sqrt().max(1e-3);
            assert!(
                (numeric - analytic).abs() <= 2e-6 * scale,
                "{name}: {parameter_name}: expected {numeric}, got {analytic} (scale {scale})"
            );
        }
    }
}

#[test]
fn grpo_looks_at_no_view_and_is_cppo_without_its_weight() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let mut groups = groups(&model);
    let mut without = Settings::default();
    without.contrastive.as_mut().unwrap().cpl_coef = 0.0;
    let weightless = without.update(&model, &reference, &groups);
    let with = gradients(&model, &Settings::default().update(&model, &reference, &groups));
    groups.iter_mut().for_each(|group| group.views = None);
    let grpo = Settings { contrastive: None, ..Settings::default() }.update(&model, &reference, &groups);
    assert_eq!((grpo.metrics.contrasted_tokens, grpo.metrics.perception_tokens), (0, 0));
    let grpo = gradients(&model, &grpo);
    assert_same_gradients(&gradients(&model, &weightless), &grpo, 1e-5, "no weight");
    let distance: f64 = with.iter().zip(&grpo).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance > 1e-3, "the contrastive part moves nothing: {distance}");
}

#[test]
fn perturbed_pictures_are_seen_by_rewarded_responses_alone() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    let update = Settings::default().update(&model, &reference, &groups);
    let rewarded: usize = groups.iter().flat_map(|g| &g.responses).filter(|r| r.advantage > 0.0).map(|r| r.tokens.len()).sum();
    assert_eq!(update.metrics.contrasted_tokens, rewarded);
    for (group, traces) in groups.iter().zip(&update.traces) {
        for (response, trace) in group.responses.iter().zip(traces) {
            let seen = if response.advantage > 0.0 { response.tokens.len() } else { 0 };
            assert_eq!([trace.mask.len(), trace.delta_entropy.len()], [seen; 2]);
            assert_eq!(trace.log_probs.len(), response.tokens.len());
        }
    }
}

#[test]
fn responses_without_advantage_only_dilute() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    let grpo = Settings::grpo();
    let both = grpo.update(&model, &reference, &groups);
    let rewarded: Vec<Group> = groups.iter().filter(|g| g.responses.iter().any(|r| r.advantage != 0.0)).cloned().collect();
    assert_eq!(rewarded.len(), 2);
    let alone = grpo.update(&model, &reference, &rewarded);
    let dilution = alone.metrics.tokens as f64 / both.metrics.tokens as f64;
    assert!(dilution < 1.0 && both.metrics.trained_tokens == alone.metrics.tokens, "{:?}", both.metrics);
    let expected: Vec<f64> = gradients(&model, &alone).iter().map(|g| g * dilution).collect();
    assert_same_gradients(&gradients(&model, &both), &expected, 1e-5, "diluted");
    // with a reference they have a gradient of their own
    assert_eq!(Settings::default().update(&model, &reference, &groups).metrics.trained_tokens, both.metrics.tokens);
}

#[test]
fn equal_rewards_teach_nothing() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups: Vec<Group> = groups(&model).into_iter().skip(1).take(1).collect();
    let update = Settings::grpo().update(&model, &reference, &groups);
    assert!(update.gradients.is_empty() && update.metrics.micro_batches == 0 && update.metrics.loss == 0.0);
}

#[test]
fn the_first_update_has_ratio_one() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let mut groups = groups(&model);
    groups.iter_mut().flat_map(|g| &mut g.responses).for_each(|r| r.old_log_probs = None);
    let update = Settings::grpo().update(&model, &reference, &groups);
    let mean_advantage: f64 = groups.iter().flat_map(|g| &g.responses).map(|r| f64::from(r.advantage) * r.tokens.len() as f64).sum::<f64>();
    assert!((update.metrics.policy_loss + mean_advantage / update.metrics.tokens as f64).abs() < 1e-6);
    assert_eq!(update.metrics.clip_ratio, 0.0);
}

#[test]
#[should_panic(expected = "compute_gradients: kl_coef is 0.2 and there is no reference policy")]
fn a_missing_reference_panics() {
    let model = model(DType::F32, 1);
    compute_gradients(&model, None, &groups(&model), &Settings::default().step()).unwrap();
}

#[test]
#[should_panic(expected = "the views of group 0 are missing")]
fn missing_views_panic() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let mut groups = groups(&model);
    groups[0].views = None;
    Settings::default().update(&model, &reference, &groups);
}
