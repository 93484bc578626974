//! The packed update against the plain one, against finite differences, and against what must not change it.

use percept_cppo::config::OptimConfig;
use percept_cppo::methods::advantages::group_advantages;
use percept_cppo::methods::cppo::{ContrastiveConfig, Cppo, Objective};
use percept_cppo::methods::divergence::Divergence;
use percept_cppo::methods::dvrp::Dvrp;
use percept_cppo::methods::grpo::Grpo;
use percept_cppo::methods::papo::Papo;
use percept_cppo::methods::pepo::Pepo;
use percept_cppo::methods::pgpo::Pgpo;
use percept_cppo::methods::policy::{Base, PolicyConfig};
use percept_cppo::methods::selection::{Detector, Gate, Selection, SelectionConfig};
use percept_cppo::methods::tor::Tor;
use percept_cppo::methods::vcpo::Vcpo;
use percept_cppo::methods::vepo::Vepo;
use percept_cppo::methods::view::{Moment, View, ViewGradient};
use percept_cppo::methods::vppo::Vppo;
use percept_cppo::methods::{AnyMethod, Method};
use percept_cppo::problems::prompts::EncodedPrompt;
use percept_cppo::random::Random;
use percept_cppo::training::group::{Group, GroupView, Response, response_number};
use percept_cppo::training::optimise::{Applied, Optimizer, weight_groups};
use percept_cppo::training::reduce::Adding;
use percept_cppo::training::update::{Update, UpdateConfig, compute_update, launch_update, score, views_with};
use percept_cppo::training::world::World;
use percept_engine::{DType, Device, Tensor};
use percept_model::families::idefics3::Idefics3;
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, ModelConfig};

use crate::common::{gpu, open};

/// A model of a few thousand weights: four visual tokens, a vocabulary of 24.
pub(crate) fn model(dtype: DType, seed: u64) -> Model {
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

fn view(view: View, random: &mut Random) -> GroupView {
    GroupView { view, responses: 0..4, how: Vec::new(), pictures: Vec::new(), tiles: Some(picture(random)) }
}

/// Three groups of four responses of 1 to 6 tokens, some of them worth nothing, under an old policy.
pub(crate) fn groups(model: &Model) -> Vec<Group> {
    let mut random = Random::new(5, "test/groups", 0);
    let rewards = [[1.0, 0.1, 0.0, 1.0], [0.1, 0.1, 0.1, 0.1], [0.0, 1.0, 0.0, 0.0]];
    let mut group = |(i, rewards): (usize, &[f32; 4])| {
        let tiles = picture(&mut random);
        let views = vec![view(View::Preserved, &mut random), view(View::Removed, &mut random)];
        let responses = group_advantages(rewards, 4).into_iter().enumerate().map(|(number, advantage)| {
            let length = 1 + random.below(6);
            let mut response = Response::given((0..length).map(|_| 5 + random.below(19) as u32).collect());
            (response.signal.number, response.signal.advantage) = (response_number(i as u64, number), advantage);
            response
        });
        let tokens = [vec![1, 7 + i as u32], vec![4; 4], vec![8; 1 + i]].concat();
        let responses = responses.collect();
        Group { number: i as u64, encoded: EncodedPrompt { tokens, tiles }, views, responses, ..Group::default() }
    };
    let mut groups: Vec<Group> = rewards.iter().enumerate().map(&mut group).collect();
    score(model, &mut groups, &[], &[], TEMPERATURE, 10_000).unwrap();
    for signal in groups.iter_mut().flat_map(|group| &mut group.responses).map(|response| &mut response.signal) {
        let old = signal.on(View::Original).unwrap().log_probs.clone();
        signal.old_log_probs = Some(old.into_iter().map(|l| l + 0.3 * random.normal()).collect());
        signal.readings.clear();
    }
    groups
}

/// The same responses, each in a group of its own: every one has its own prompts.
fn rows(groups: &[Group]) -> Vec<Group> {
    let row = |group: &Group, response: &Response| Group {
        views: group.views.iter().map(|view| GroupView { responses: 0..1, ..view.clone() }).collect(),
        responses: vec![response.clone()],
        ..group.clone()
    };
    groups.iter().flat_map(|group| group.responses.iter().map(move |response| row(group, response))).collect()
}

pub(crate) const TEMPERATURE: f32 = 0.9;
pub(crate) const MOMENT: Moment = Moment { step: 4, steps: 10 };

#[derive(Clone)]
struct Settings {
    method: AnyMethod,
    policy: PolicyConfig,
    micro_batch_tokens: usize,
}

impl Default for Settings {
    /// CPPO with weights at which each part of the loss counts.
    fn default() -> Self {
        let contrastive = ContrastiveConfig { cpl_coef: 0.5, cpl_temperature: 0.5, ..ContrastiveConfig::default() };
        Self {
            method: AnyMethod::Cppo(Cppo { contrastive, selection: SelectionConfig::default() }),
            policy: PolicyConfig { kl_coef: 0.2, ..PolicyConfig::default() },
            micro_batch_tokens: 10_000,
        }
    }
}

impl Settings {
    fn grpo() -> Self {
        Self { policy: PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }, ..Self::default().with_grpo() }
    }

    fn based_on(base: Base) -> Self {
        let grpo = Self::default().with_grpo();
        Self { policy: PolicyConfig { base, ..grpo.policy.clone() }, ..grpo }
    }

    fn with_grpo(self) -> Self {
        Self { method: AnyMethod::Grpo(Grpo {}), ..self }
    }

    fn cppo(change: impl Fn(&mut Cppo)) -> Self {
        let mut settings = Self::default();
        let AnyMethod::Cppo(cppo) = &mut settings.method else { unreachable!("the default") };
        change(cppo);
        settings
    }

    fn papo() -> Self {
        let method = AnyMethod::Papo(Papo { perception_coef: 0.3, entropy_coef: 0.1 });
        Self { method, ..Self::default() }
    }

    fn update(&self, model: &Model, reference: &Model, groups: &[Group]) -> Update {
        self.update_in_place(model, reference, &mut groups.to_vec())
    }

    /// The groups with what is read before the updates: pictures through which no gradient flows.
    fn scored(&self, model: &Model, groups: &[Group]) -> Vec<Group> {
        let (mut groups, uses) = (groups.to_vec(), views_with(ViewGradient::Stops, self.method.as_method(), MOMENT));
        if !uses.is_empty() {
            score(model, &mut groups, &uses, &[], TEMPERATURE, self.micro_batch_tokens).unwrap();
        }
        groups
    }

    fn update_in_place(&self, model: &Model, reference: &Model, groups: &mut [Group]) -> Update {
        compute(self.method.as_method(), &self.policy, self.micro_batch_tokens, model, Some(reference), groups)
    }
}

pub(crate) fn compute(
    method: &dyn Method,
    policy: &PolicyConfig,
    micro_batch_tokens: usize,
    model: &Model,
    reference: Option<&Model>,
    groups: &mut [Group],
) -> Update {
    let world = World::alone();
    compute_update(model, reference, groups, &update_config(method, policy, micro_batch_tokens, &world)).unwrap()
}

fn update_config<'a>(method: &'a dyn Method, policy: &'a PolicyConfig, micro_batch_tokens: usize, world: &'a World) -> UpdateConfig<'a> {
    UpdateConfig { method, policy, temperature: TEMPERATURE, micro_batch_tokens, seed: 3, moment: MOMENT, adding: Adding::Packed, world }
}

/// The tokens of each response that are read on the views.
fn contrasted(groups: &[Group]) -> usize {
    let responses = groups.iter().flat_map(|group| &group.responses);
    responses.filter_map(|response| response.signal.on(View::Removed)).map(|reading| reading.entropy.len()).sum()
}

pub(crate) fn gradients(model: &Model, update: &Update) -> Vec<f64> {
    let of =
        |(_, parameter): (String, Tensor)| update.gradients.get(&parameter).map_or(vec![0.0; parameter.len()], |g| g.to_f64_vec().unwrap());
    model.trainable().into_iter().flat_map(of).collect()
}

/// Norm of the difference over norm.
#[track_caller]
pub(crate) fn assert_same_gradients(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let difference = norm(&mut got.iter().zip(expected).map(|(g, e)| g - e));
    let size = norm(&mut expected.iter().copied());
    assert!(size > 1e-3 && difference <= tolerance * size, "{what}: difference {difference} of {size}");
}

fn variants() -> Vec<(&'static str, Settings)> {
    let selecting = |selection: SelectionConfig| Settings::cppo(|cppo| cppo.selection = selection.clone());
    vec![
        ("cppo", Settings::default()),
        ("grpo", Settings::grpo()),
        ("papo", Settings::papo()),
        (
            "dvrp",
            Settings {
                method: AnyMethod::Dvrp(Dvrp { necessity_coef: 0.3, robustness_coef: 0.2, ..Dvrp::default() }),
                ..Settings::default()
            },
        ),
        ("vppo", Settings { method: AnyMethod::Vppo(Vppo { entropy_coef: 0.1, ..Vppo::default() }), ..Settings::default() }),
        ("pgpo", Settings { method: AnyMethod::Pgpo(Pgpo::default()), ..Settings::default() }),
        ("tor", Settings { method: AnyMethod::Tor(Tor::default()), ..Settings::default() }),
        ("vepo", Settings { method: AnyMethod::Vepo(Vepo::default()), ..Settings::default() }),
        ("pepo", Settings { method: AnyMethod::Pepo(Pepo::default()), ..Settings::default() }),
        ("vcpo", Settings { method: AnyMethod::Vcpo(Vcpo::default()), ..Settings::default() }),
        ("vcpo k3", Settings { method: AnyMethod::Vcpo(Vcpo { divergence: Divergence::K3, ..Vcpo::default() }), ..Settings::default() }),
        ("dr_grpo", Settings::based_on(Base::DrGrpo)),
        ("gspo", Settings::based_on(Base::Gspo)),
        ("cispo", Settings::based_on(Base::Cispo)),
        ("k1", Settings::cppo(|cppo| cppo.contrastive.divergence = Divergence::K1)),
        ("full", Settings::cppo(|cppo| cppo.contrastive.divergence = Divergence::Full)),
        ("cpl only", Settings::cppo(|cppo| cppo.contrastive.objective = Objective::CplOnly)),
        ("no gate", selecting(SelectionConfig { gate: Gate::None, ..Default::default() })),
        ("random", selecting(SelectionConfig { selection: Selection::Random, ..Default::default() })),
        ("k3 detector", selecting(SelectionConfig { detector: Detector::K3, ..Default::default() })),
        ("picture detector", selecting(SelectionConfig { detector: Detector::PictureSimilarity, ..Default::default() })),
        ("full detector", selecting(SelectionConfig { detector: Detector::FullKl, ..Default::default() })),
    ]
}

#[test]
fn packed_equals_a_row_per_response_and_view() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    for (name, settings) in variants() {
        let groups = settings.scored(&model, &groups);
        let packed = settings.update(&model, &reference, &groups);
        let plain = settings.update(&model, &reference, &rows(&groups));
        assert!((packed.metrics.loss - plain.metrics.loss).abs() < 1e-5, "{name}: {:?} {:?}", packed.metrics, plain.metrics);
        assert_eq!(packed.metrics.counts, plain.metrics.counts, "{name}");
        assert_same_gradients(&gradients(&model, &packed), &gradients(&model, &plain), 1e-3, name);
        assert!(3 * packed.metrics.packed_tokens < 2 * plain.metrics.packed_tokens, "{name}: {:?} {:?}", packed.metrics, plain.metrics);
    }
}

/// The number of micro-batches under a budget.
fn cut(settings: &Settings, micro_batch_tokens: usize, model: &Model, reference: &Model, groups: &[Group]) -> usize {
    let settings = Settings { micro_batch_tokens, ..settings.clone() };
    settings.update(model, reference, &settings.scored(model, groups)).metrics.micro_batches
}

#[test]
fn micro_batches_add_up_to_the_update() {
    let (model, reference) = (model(DType::F64, 1), model(DType::F64, 2));
    let groups = groups(&model);
    for (name, whole) in variants() {
        let responses = cut(&whole, 1, &model, &reference, &groups);
        // about three responses each: the smallest budget with a third of the micro-batches
        let of_three = (10..).step_by(5).find(|&budget| cut(&whole, budget, &model, &reference, &groups) <= responses.div_ceil(3)).unwrap();
        let updates = [1, of_three, 10_000].map(|micro_batch_tokens| {
            let settings = Settings { micro_batch_tokens, ..whole.clone() };
            let mut groups = settings.scored(&model, &groups);
            let update = settings.update_in_place(&model, &reference, &mut groups);
            (gradients(&model, &update), update.metrics, groups)
        });
        let [(of_one, one, _), (of_three, three, _), (of_all, all, expected)] = &updates;
        assert_eq!([one.micro_batches, all.micro_batches], [responses, 1], "{name}");
        assert!((2..=responses.div_ceil(3)).contains(&three.micro_batches), "{name}: {three:?}");
        for (gradients, metrics, groups) in &updates {
            assert!((metrics.loss - all.loss).abs() <= 1e-6 * all.loss.abs().max(1e-3), "{name}: {metrics:?} {all:?}");
            assert_eq!(metrics.counts, all.counts, "{name}");
            for (value, (metric, expected)) in metrics.named.iter().zip(&all.named).map(|((_, value), expected)| (value, expected)) {
                assert!((value - expected).abs() <= 1e-6 * expected.abs().max(1e-3), "{name}: {metric}: expected {expected}, got {value}");
            }
            let weights = |groups: &[Group]| -> Vec<_> {
                groups.iter().flat_map(|group| &group.responses).map(|response| response.signal.weights.clone()).collect()
            };
            assert_eq!(weights(groups), weights(expected), "{name}");
            assert_same_gradients(gradients, of_all, 1e-6, name);
        }
        assert!(of_one.len() == of_three.len());
    }
}

/// In f32, on either device, against the f64 model that the weights are copied from.
#[test]
fn an_update_is_read_once_per_phase_however_it_is_cut() {
    // a device of its own: other tests read theirs
    let (cpu_model, device) = (model(DType::F32, 1), open(|selector| selector));
    let (model, groups) = (cpu_model.to(&device, DType::F32).unwrap(), groups(&cpu_model));
    for micro_batch_tokens in [10_000, 40] {
        // CPPO reads the responses before it can weigh their tokens
        for (settings, reads) in [(Settings::grpo(), 1), (Settings::default(), 2)] {
            let settings = Settings { micro_batch_tokens, policy: PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }, ..settings };
            let before = device.counters().read_backs;
            let update = compute(settings.method.as_method(), &settings.policy, micro_batch_tokens, &model, None, &mut groups.clone());
            assert_eq!(update.metrics.micro_batches > 1, micro_batch_tokens == 40);
            assert_eq!(device.counters().read_backs - before, reads, "{micro_batch_tokens} tokens");

            // the optimiser's step included
            let world = World::alone();
            let config = update_config(settings.method.as_method(), &settings.policy, micro_batch_tokens, &world);
            let (mut groups, mut optimizer) =
                (groups.clone(), Optimizer::new(weight_groups(&model, 0.0), &OptimConfig::default(), &world).unwrap());
            let before = device.counters().read_backs;
            let mut launched = launch_update(&model, None, &mut groups, &config).unwrap();
            let report = optimizer.launch(launched.take_gradients(), Adding::Packed, 1e-9).unwrap().unwrap();
            let (metrics, read) = launched.read(&mut groups, &[report]).unwrap();
            assert_eq!(device.counters().read_backs - before, reads, "{micro_batch_tokens} tokens");
            assert_eq!(metrics.loss, update.metrics.loss);
            assert_eq!(read, [report.to_f64_vec().unwrap()]);
            assert!(Applied::of(&read[0]).gradient_norm > 0.0);
        }
    }
}

#[test]
fn both_devices_compute_what_f64_does() {
    let (oracle, oracle_reference) = (model(DType::F64, 1), model(DType::F64, 2));
    let groups = groups(&oracle);
    for device in [Device::cpu(), gpu()] {
        let [model, reference] = [&oracle, &oracle_reference].map(|model| model.to(&device, DType::F32).unwrap());
        for (name, settings) in variants() {
            let expected = settings.update(&oracle, &oracle_reference, &settings.scored(&oracle, &groups));
            let got = settings.update(&model, &reference, &settings.scored(&model, &groups));
            let what = format!("{name} on {device}");
            assert_eq!(got.metrics.counts, expected.metrics.counts, "{what}");
            assert!((got.metrics.loss - expected.metrics.loss).abs() < 1e-5, "{what}: {:?} {:?}", got.metrics, expected.metrics);
            assert_same_gradients(&gradients(&model, &got), &gradients(&oracle, &expected), 1e-4, &what);
        }
    }
}

/// The gradient of every weight tensor along a random direction, in f64.
/// Variants whose loss holds constants that move with the weights: differences of the loss see them, gradients do not.
const HAVE_CONSTANTS: [&str; 4] = ["pepo", "vcpo", "vcpo k3", "cispo"];

#[test]
fn the_whole_loss_passes_finite_differences() {
    let (model, reference) = (model(DType::F64, 1), model(DType::F64, 2));
    let groups = groups(&model);
    const STEP: f64 = 1e-5;
    for (name, settings) in variants().into_iter().filter(|(name, _)| !HAVE_CONSTANTS.contains(name)) {
        let groups = settings.scored(&model, &groups);
        let update = settings.update(&model, &reference, &groups);
        assert_eq!(update.metrics.counts.selected > 0, settings.method.as_method().weighs(), "{name}");
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
    let weightless = Settings::cppo(|cppo| cppo.contrastive.cpl_coef = 0.0).update(&model, &reference, &groups);
    let with = gradients(&model, &Settings::default().update(&model, &reference, &groups));
    groups.iter_mut().for_each(|group| group.views.clear());
    let grpo = Settings::default().with_grpo().update_in_place(&model, &reference, &mut groups);
    assert_eq!((contrasted(&groups), grpo.metrics.counts.selected), (0, 0));
    assert!(grpo.metrics.named.iter().all(|(name, _)| name != "cpl_loss"), "{:?}", grpo.metrics);
    let grpo = gradients(&model, &grpo);
    assert_same_gradients(&gradients(&model, &weightless), &grpo, 1e-5, "no weight");
    let distance: f64 = with.iter().zip(&grpo).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance > 1e-3, "the contrastive part moves nothing: {distance}");
}

#[test]
fn perturbed_pictures_are_seen_by_rewarded_responses_alone() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let mut groups = groups(&model);
    Settings::default().update_in_place(&model, &reference, &mut groups);
    let responses = || groups.iter().flat_map(|group| &group.responses);
    let rewarded: usize = responses().filter(|r| r.signal.advantage > 0.0).map(|r| r.tokens().len()).sum();
    assert_eq!(contrasted(&groups), rewarded);
    for response in responses() {
        let seen = if response.signal.advantage > 0.0 { response.tokens().len() } else { 0 };
        assert_eq!(response.signal.weights.tokens.len(), seen);
        assert_eq!(response.signal.on(View::Original).unwrap().log_probs.len(), response.tokens().len());
        assert_eq!(response.signal.readings.len(), if seen > 0 { 3 } else { 1 });
    }
}

#[test]
fn responses_without_advantage_only_dilute() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let groups = groups(&model);
    let grpo = Settings::grpo();
    let both = grpo.update(&model, &reference, &groups);
    let rewarded: Vec<Group> = groups.iter().filter(|g| g.responses.iter().any(|r| r.signal.advantage != 0.0)).cloned().collect();
    assert_eq!(rewarded.len(), 2);
    let alone = grpo.update(&model, &reference, &rewarded);
    let dilution = alone.metrics.counts.tokens as f64 / both.metrics.counts.tokens as f64;
    assert!(dilution < 1.0 && both.metrics.trained_tokens == alone.metrics.counts.tokens, "{:?}", both.metrics);
    let expected: Vec<f64> = gradients(&model, &alone).iter().map(|g| g * dilution).collect();
    assert_same_gradients(&gradients(&model, &both), &expected, 1e-5, "diluted");
    // with a reference they have a gradient of their own
    assert_eq!(Settings::default().update(&model, &reference, &groups).metrics.trained_tokens, both.metrics.counts.tokens);
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
    groups.iter_mut().flat_map(|g| &mut g.responses).for_each(|r| r.signal.old_log_probs = None);
    let update = Settings::grpo().update(&model, &reference, &groups);
    let mean_advantage: f64 =
        groups.iter().flat_map(|g| &g.responses).map(|r| f64::from(r.signal.advantage) * r.tokens().len() as f64).sum::<f64>();
    assert!((update.metrics.get("policy_loss") + mean_advantage / update.metrics.counts.tokens as f64).abs() < 1e-6);
    assert_eq!(update.metrics.get("clip_ratio"), 0.0);
}

#[test]
#[should_panic(expected = "compute_update: kl_coef is 0.2 and there is no reference policy")]
fn a_missing_reference_panics() {
    let model = model(DType::F32, 1);
    let Settings { method, policy, .. } = Settings::default();
    compute(method.as_method(), &policy, 10_000, &model, None, &mut groups(&model));
}

#[test]
#[should_panic(expected = "the views of group 0 are missing")]
fn missing_views_panic() {
    let (model, reference) = (model(DType::F32, 1), model(DType::F32, 2));
    let mut groups = groups(&model);
    groups[0].views.clear();
    Settings::default().update(&model, &reference, &groups);
}
