//! The methods against values that can be computed by hand, and the seam against a method that is not in the list.

use percept_cppo::methods::dapo::Dapo;
use percept_cppo::methods::divergence::{Divergence, jensen_shannon, nucleus_entropy};
use percept_cppo::methods::dvrp::Dvrp;
use percept_cppo::methods::micro_batch::MicroBatch;
use percept_cppo::methods::noisy_rollout::NoisyRollout;
use percept_cppo::methods::papo::Papo;
use percept_cppo::methods::pgpo::{Pgpo, Threshold};
use percept_cppo::methods::policy::{Base, PolicyConfig, policy_terms};
use percept_cppo::methods::signal::{Measure, Reading, Signal, Weights};
use percept_cppo::methods::term::Term;
use percept_cppo::methods::tor::Tor;
use percept_cppo::methods::vcpo::Vcpo;
use percept_cppo::methods::vepo::Vepo;
use percept_cppo::methods::view::{Drawn, Moment, SeenBy, Shown, View, ViewGradient, ViewUse};
use percept_cppo::methods::vppo::Vppo;
use percept_cppo::methods::{AnyMethod, Method, Preset};
use percept_cppo::problems::reward::Reward;
use percept_cppo::training::group::{Group, GroupView, Response, set_advantages};
use percept_cppo::training::update::{score, views_with};
use percept_engine::{DType, Device, Head, Tensor};

use crate::update::{MOMENT, TEMPERATURE, assert_same_gradients, compute, gradients, groups, model};

/// Without a reference policy.
fn policy() -> PolicyConfig {
    PolicyConfig { kl_coef: 0.0, ..PolicyConfig::default() }
}

/// The groups with a mask for every response, read by the policy that sampled them.
fn with_own_views(method: &dyn Method, budget: usize) -> Vec<Group> {
    let model = model(DType::F64, 1);
    let mut groups = groups(&model);
    for group in &mut groups {
        let [preserved, removed] = [&group.views[0], &group.views[1]].map(|view| view.tiles.clone());
        let own = |response: usize| GroupView {
            view: View::Removed,
            responses: response..response + 1,
            how: Vec::new(),
            pictures: Vec::new(),
            tiles: if response.is_multiple_of(2) { removed.clone() } else { preserved.clone() },
        };
        group.views = (0..group.responses.len()).map(own).collect();
    }
    score(&model, &mut groups, &views_with(ViewGradient::Stops, method, MOMENT), &[], TEMPERATURE, budget).unwrap();
    groups
}

/// VPPO's factors need the smallest and largest mean dependency of the whole update; together they have the mean 1.
#[test]
fn a_method_that_needs_the_whole_update_does_not_depend_on_micro_batches() {
    let (model, method) = (model(DType::F64, 1), Vppo { entropy_coef: 0.0, ..Vppo::default() });
    let updates = [1, 60, 10_000].map(|budget| {
        let mut groups = with_own_views(&method, budget);
        let update = compute(&method, &policy(), budget, &model, None, &mut groups);
        let factors: Vec<f32> = groups.iter().flat_map(|group| &group.responses).map(|response| response.signal.weights.factor).collect();
        (gradients(&model, &update), update.metrics, factors)
    });
    let [(_, one, _), _, (expected, all, factors)] = &updates;
    assert!(one.micro_batches > 6 && all.micro_batches == 1, "{one:?}");
    let mean = factors.iter().sum::<f32>() / factors.len() as f32;
    assert!(factors.contains(&0.9) && (mean - 1.0).abs() < 1e-5, "{factors:?}");
    for (gradients, metrics, factors_here) in &updates {
        assert_same_gradients(gradients, expected, 1e-6, "the whole update");
        assert_eq!((metrics.counts, factors_here), (all.counts, factors));
        let dependency = metrics.get("perception/dependency");
        assert!((dependency - all.get("perception/dependency")).abs() < 1e-9 && dependency > 0.0, "{dependency}");
    }
}

#[test]
fn responses_are_read_on_pictures_of_their_own() {
    let method = Vppo::default();
    let own = with_own_views(&method, 10_000);
    let readings = |groups: &[Group]| -> Vec<Vec<f32>> {
        groups.iter().flat_map(|group| &group.responses).map(|r| r.signal.on(View::Removed).unwrap().log_probs.clone()).collect()
    };
    // the same with one picture for the whole group, which every other response had anyway
    let model = model(DType::F64, 1);
    let mut shared = groups(&model);
    shared.iter_mut().for_each(|group| drop(group.views.remove(0)));
    score(&model, &mut shared, &views_with(ViewGradient::Stops, &method, MOMENT), &[], TEMPERATURE, 10_000).unwrap();
    for (number, (own, shared)) in readings(&own).iter().zip(&readings(&shared)).enumerate() {
        let largest = own.iter().zip(shared).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert_eq!(largest < 1e-6, number.is_multiple_of(2), "response {number}: {largest}");
    }
}

/// The gradient of the perception term is γ·(e^{ℓ⁻ − ℓ} − 1), so that nothing happens where the mask changes nothing.
#[test]
fn papo_without_a_difference_is_grpo() {
    let model = model(DType::F64, 1);
    let papo = Papo { perception_coef: 0.5, entropy_coef: 0.0 };
    let uses = views_with(ViewGradient::Stops, &papo, MOMENT);
    let mut groups = groups(&model);
    let original = |group: &Group| GroupView { view: View::Removed, tiles: Some(group.encoded.tiles.clone()), ..group.views[1].clone() };
    let same: Vec<Group> = groups.iter().map(|group| Group { views: vec![original(group)], ..group.clone() }).collect();
    let update = |method: &dyn Method, groups: &[Group]| {
        let mut groups = groups.to_vec();
        score(&model, &mut groups, &uses, &[], TEMPERATURE, 10_000).unwrap();
        gradients(&model, &compute(method, &policy(), 10_000, &model, None, &mut groups))
    };
    let grpo = AnyMethod::named("grpo").unwrap();
    let expected = update(grpo.as_method(), &same);
    // what was read is f32
    assert_same_gradients(&update(&papo, &same), &expected, 1e-6, "the same picture");
    groups.iter_mut().for_each(|group| drop(group.views.remove(0)));
    let other = update(&papo, &groups);
    let distance: f64 = other.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance > 1e-3, "the perception term moves nothing: {distance}");
}

/// Under the policy that sampled them all tokens of a response have the loss −Â. Of the masked ones nothing is left, and the divisor stays the number of all tokens.
#[test]
fn a_mask_does_not_change_the_divisor() {
    let model = model(DType::F64, 1);
    let update = |method: &dyn Method| {
        let mut groups = with_own_views(method, 10_000);
        groups.iter_mut().flat_map(|group| &mut group.responses).for_each(|response| response.signal.old_log_probs = None);
        let update = compute(method, &policy(), 10_000, &model, None, &mut groups);
        (update, groups)
    };
    let masked = |token_fraction| Vppo { token_fraction, lowest_factor: 1.0, entropy_coef: 0.0, ..Vppo::default() };
    for share in [0.4, 1.0] {
        let (update, groups) = update(&masked(share));
        let responses = || groups.iter().flat_map(|group| &group.responses);
        let length = |response: &Response| response.completion.tokens.len() as f64;
        let of = |response: &Response| -f64::from(response.signal.advantage) * (share * length(response)).ceil();
        let expected = responses().map(of).sum::<f64>() / responses().map(length).sum::<f64>();
        assert!(expected.abs() > 1e-3 && (update.metrics.loss - expected).abs() < 1e-6, "{share}: {} not {expected}", update.metrics.loss);
    }
    let grpo = AnyMethod::named("grpo").unwrap();
    let expected = gradients(&model, &update(grpo.as_method()).0);
    assert_same_gradients(&gradients(&model, &update(&masked(1.0)).0), &expected, 1e-9, "all tokens");
}

/// A view on which the visual tokens are hidden.
struct Blind;

impl Method for Blind {
    fn views(&self, _: Moment) -> Vec<ViewUse> {
        let shown = Shown::Hidden;
        let (drawn, gradient, seen_by) = (Drawn::PerPrompt, ViewGradient::Stops, SeenBy::All);
        vec![ViewUse { view: View::Removed, shown, drawn, gradient, seen_by, divergences: Vec::new() }]
    }

    fn terms(&self, batch: &MicroBatch<'_>, policy: &PolicyConfig) -> Vec<Term> {
        policy_terms(batch, policy)
    }
}

#[test]
fn hidden_pictures_change_nothing_that_is_read() {
    let model = model(DType::F64, 1);
    let read = |shift: usize| {
        let mut groups = groups(&model);
        let pictures: Vec<_> = groups.iter().map(|group| group.encoded.tiles.clone()).collect();
        for (number, group) in groups.iter_mut().enumerate() {
            group.encoded.tiles = pictures[(number + shift) % pictures.len()].clone();
            let empty = GroupView { tiles: None, ..group.views[1].clone() };
            group.views = vec![empty];
        }
        score(&model, &mut groups, &views_with(ViewGradient::Stops, &Blind, MOMENT), &[], TEMPERATURE, 10_000).unwrap();
        let responses = groups.iter().flat_map(|group| &group.responses);
        let of = |view: View| responses.clone().map(|r| r.signal.on(view).unwrap().log_probs.clone()).collect::<Vec<_>>();
        [of(View::Original), of(View::Removed)]
    };
    let ([original, hidden], [other_original, other_hidden]) = (read(0), read(1));
    assert_eq!(hidden, other_hidden, "a picture that nobody sees");
    assert!(original != other_original && original != hidden, "the pictures make no difference at all");

    // the tokens after a hidden picture stay where they were: not where a prompt without one would have them
    let mut without = groups(&model);
    for group in &mut without {
        group.encoded.tokens.retain(|token| *token != model.config().image_token_id);
        group.encoded.tiles.clear();
    }
    score(&model, &mut without, &[], &[], TEMPERATURE, 10_000).unwrap();
    let responses = without.iter().flat_map(|group| &group.responses);
    let without: Vec<Vec<f32>> = responses.map(|r| r.signal.on(View::Original).unwrap().log_probs.clone()).collect();
    assert!(without != hidden, "the picture's places are gone");
}

/// A response whose tokens depend on the picture by these amounts.
fn depending(dependency: &[f32]) -> Signal {
    let values = || vec![0.0; dependency.len()];
    let divergences = vec![(Divergence::K3, dependency.to_vec())];
    let reading = Reading { view: View::Removed, log_probs: values(), entropy: values(), divergences, measures: Vec::new() };
    Signal { readings: vec![reading], advantage: 1.0, ..Signal::default() }
}

fn weigh(method: &dyn Method, dependencies: &[&[f32]]) -> Vec<Weights> {
    let signals: Vec<Signal> = dependencies.iter().map(|dependency| depending(dependency)).collect();
    method.weigh(&signals.iter().collect::<Vec<_>>(), MOMENT, 0).responses
}

/// By hand: means 0, 1, 2 are 0, ½, 1 of the way, ½ on average, so the highest factor is 0.9 + 0.1 / 0.5.
#[test]
fn vppo_masks_tokens_and_scales_responses() {
    let weights = weigh(&Vppo::default(), &[&[0.0, 0.0], &[0.5, 2.0, 0.5, 1.5, 0.5], &[2.0, 2.0, 2.0]]);
    for (weights, expected) in weights.iter().zip([0.9, 1.0, 1.1]) {
        assert!((weights.factor - expected).abs() < 1e-6, "{weights:?}");
    }
    // ceil(0.4 n) of the largest; of equal ones the first
    let masks: [&[f32]; 3] = [&[1.0, 0.0], &[0.0, 1.0, 0.0, 1.0, 0.0], &[1.0, 1.0, 0.0]];
    assert_eq!(weights.iter().map(|weights| weights.tokens.as_slice()).collect::<Vec<_>>(), masks);

    // a single response, and responses that depend equally, have nothing to be scaled by
    assert_eq!(weigh(&Vppo::default(), &[&[0.3, 0.1]])[0].factor, 1.0);
    assert!(weigh(&Vppo::default(), &[&[0.3, 0.1], &[0.2, 0.2]]).iter().all(|weights| weights.factor == 1.0));
    assert!(weigh(&Vppo::default(), &[]).is_empty());
}

/// Dependencies of e^x − 1 have the scores x.
#[test]
fn pgpo_weights_follow_its_curve() {
    let of = |method: &Pgpo, scores: &[f32]| method.weights(&scores.iter().map(|score| score.exp_m1()).collect::<Vec<_>>());
    let close = |got: &[f32], expected: &[f32]| {
        assert!(got.len() == expected.len() && got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?}, not {expected:?}");
    };
    let plain = Pgpo { conserve: false, ..Pgpo::default() };
    // importances 0, 0.2, 0.4, 0.7, 1: below the threshold I/τ, above 1 + 2 (I − 0.4) / 0.6
    let scores = [0.5, 0.6, 0.7, 0.85, 1.0];
    close(&of(&plain, &scores), &[0.0, 0.5, 1.0, 2.0, 3.0]);
    close(&of(&Pgpo::default(), &scores), &[0.0, 5.0 / 13.0, 10.0 / 13.0, 20.0 / 13.0, 30.0 / 13.0]);
    close(&of(&Pgpo { lowest_weight: 0.1, ..plain.clone() }, &scores), &[0.1, 0.5, 1.0, 2.0, 3.0]);
    // of five in ascending order number 0.3 · 5, rounded down, is the threshold: 0.2
    let quantile = Pgpo { threshold_is: Threshold::Quantile, threshold: 0.3, ..plain.clone() };
    close(&of(&quantile, &scores), &[0.0, 1.0, 1.5, 2.25, 3.0]);
    // continuous at the threshold
    let [below, above] = [0.399_999, 0.400_001].map(|importance| of(&plain, &[0.0, importance, 1.0])[1]);
    assert!((below - 1.0).abs() < 1e-4 && (above - 1.0).abs() < 1e-4, "{below} {above}");

    // equal tokens weigh 1 each, whatever they depend on; a lone one too; without tokens there are no weights
    for scores in [&[0.3f32; 4][..], &[0.0; 3], &[1.0]] {
        close(&of(&Pgpo::default(), scores), &vec![1.0; scores.len()]);
    }
    assert!(of(&Pgpo::default(), &[]).is_empty());
    let sum: f32 = of(&Pgpo::default(), &[0.0, 0.1, 3.0, 0.2, 0.2, 0.9, 0.05]).iter().sum();
    assert!((sum - 7.0).abs() < 1e-4, "{sum}");
}

/// The two divergences have opposite signs, so that on one and the same picture they cancel; on different ones they do not.
#[test]
fn dvrp_with_equal_views_is_its_base() {
    let model = model(DType::F64, 1);
    let dvrp = Dvrp { necessity_coef: 0.5, robustness_coef: 0.5, entropy_coef: 0.0, ..Dvrp::default() };
    let uses = views_with(ViewGradient::Stops, &dvrp, MOMENT);
    let update = |method: &dyn Method, mut groups: Vec<Group>| {
        score(&model, &mut groups, &uses, &[], TEMPERATURE, 10_000).unwrap();
        gradients(&model, &compute(method, &policy(), 10_000, &model, None, &mut groups))
    };
    let same = |mut group: Group| {
        group.views[0].tiles = group.views[1].tiles.clone();
        group
    };
    let same: Vec<Group> = groups(&model).into_iter().map(same).collect();
    let base = AnyMethod::named("grpo").unwrap();
    let expected = update(base.as_method(), same.clone());
    assert_same_gradients(&update(&dvrp, same), &expected, 1e-9, "one picture for both");
    let other = update(&dvrp, groups(&model));
    let distance: f64 = other.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance > 1e-3, "the divergences move nothing: {distance}");
}

/// At steepness 30, 40 of 60 steps before the midpoint the sigmoid is 2e-9: the stage is one below its start, rounded down. Half-way it is half.
#[test]
fn the_noise_of_dvrp_falls_over_the_run() {
    let dvrp = Dvrp { noise_midpoint: 40.0, ..Dvrp::default() };
    let stage = |step: u64| dvrp.stage(Moment { step, steps: 60 });
    assert_eq!([stage(1), stage(41)], [499, 250]);
    assert!((1..60).all(|step| stage(step) >= stage(step + 1)) && stage(60) == 0, "{}", stage(60));
}

/// METHODS' trap: at the midpoint's 20 half-widths the sigmoid is 2e-9, so that the stage, rounded down, is one below its start in both published settings.
#[test]
fn the_noise_of_noisy_rollout_begins_one_stage_below_its_start() {
    let geometry = NoisyRollout::default();
    let k12 = NoisyRollout { noise_start: 450, noise_midpoint: 1.0 / 3.0, noise_steepness: 60.0, ..geometry.clone() };
    let at = |method: &NoisyRollout, step: u64, steps: u64| method.stage(Moment { step, steps });
    assert_eq!([at(&geometry, 1, 60), at(&geometry, 41, 60), at(&geometry, 60, 60)], [499, 250, 0]);
    assert_eq!([at(&k12, 1, 120), at(&k12, 41, 120), at(&k12, 120, 120)], [449, 225, 0]);
}

pub(crate) fn reading(view: View, log_probs: &[f32], entropy: &[f32]) -> Reading {
    Reading { view, log_probs: log_probs.to_vec(), entropy: entropy.to_vec(), divergences: Vec::new(), measures: Vec::new() }
}

/// Ten tokens in two responses: three with the largest cut entropy, three with the largest shift without the picture, of which one is among the former.
#[test]
fn tor_takes_its_shares_of_the_whole_update() {
    let response = |nucleus: &[f32], shift: &[f32]| {
        let zeros = vec![0.0; nucleus.len()];
        let mut original = reading(View::Original, &zeros, &zeros);
        original.measures = vec![(Measure::NucleusEntropy, nucleus.to_vec())];
        Signal { readings: vec![original, reading(View::Removed, shift, &zeros)], advantage: 1.0, ..Signal::default() }
    };
    let signals = [
        response(&[0.9, 0.1, 0.0, 0.8], &[0.0, -3.0, 0.5, 2.0]),
        response(&[0.0, 0.2, 0.7, 0.1, 0.0, 0.0], &[0.0, 0.0, 0.0, 0.1, 0.0, 0.0]),
    ];
    let weighed = Tor::default().weigh(&signals.iter().collect::<Vec<_>>(), MOMENT, 0).responses;
    assert_eq!(weighed[0].tokens, [1.0, 0.5, 0.5, 1.0]);
    assert_eq!(weighed[1].tokens, [0.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
}

/// By hand, with α = 0.7: scores 0, (1 − 0.5^0.7 · 0.5^0.3) · 1 = 0.5, (1 − 0 · …) · 0.5 = 0.5, 0; one in five tokens, of equal ones the first.
#[test]
fn vepo_scores_what_changes_where_it_hesitates() {
    let signal = |divergence: &[f32], entropy: &[f32], noisy: &[f32]| {
        let zeros = vec![0.0; entropy.len()];
        let mut removed = reading(View::Removed, &zeros, noisy);
        removed.divergences = vec![(Divergence::JensenShannon, divergence.to_vec())];
        Signal { readings: vec![reading(View::Original, &zeros, entropy), removed], advantage: 1.0, ..Signal::default() }
    };
    let one = signal(&[0.0, 0.3, 0.6, 0.0], &[0.0, 1.0, 0.5, 0.2], &[0.0, 1.5, 1.5, 0.2]);
    let weighed = |method: &Vepo| method.weigh(&[&one], MOMENT, 0).responses[0].tokens.clone();
    assert_eq!(weighed(&Vepo::default()), [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(weighed(&Vepo { token_fraction: 0.5, ..Vepo::default() }), [0.0, 1.0, 1.0, 0.0]);
    // where nothing differs there is nothing to divide by
    let flat = signal(&[0.2; 3], &[0.1; 3], &[0.1; 3]);
    assert_eq!(Vepo::default().weigh(&[&flat], MOMENT, 0).responses[0].tokens, [1.0, 0.0, 0.0]);
}

/// Half of a length of 40 is room: nothing up to 20 tokens, a quarter at 25, all at 40 and beyond. The advantages follow, the recorded rewards do not.
#[test]
fn dapo_punishes_long_responses() {
    let dapo = Dapo { overlong_share: 0.5, ..Dapo::default() };
    let got = [1, 20, 25, 40, 60].map(|tokens| dapo.reward_of_length(tokens, 40));
    assert_eq!(got, [0.0, 0.0, -0.25, -1.0, -1.0]);
    assert_eq!(Dapo::default().reward_of_length(60, 40), 0.0);
    let response =
        |tokens: usize| Response { reward: Reward { total: 1.0, accuracy: 1.0, format: 1.0 }, ..Response::given(vec![1; tokens]) };
    let mut group = [Group { responses: vec![response(20), response(40)], ..Group::default() }];
    let policy = PolicyConfig { longest_length: 40, ..policy() };
    set_advantages(&mut group, &Dapo::default(), &policy);
    assert_eq!(group[0].responses[0].signal.advantage, 0.0);
    set_advantages(&mut group, &dapo, &policy);
    let advantages: Vec<f32> = group[0].responses.iter().map(|response| response.signal.advantage).collect();
    assert!(advantages[0] > 0.7 && advantages[1] < -0.7, "{advantages:?}");
    assert_eq!(group[0].responses[1].reward.total, 1.0);
}

/// Distributions (½, ½, 0) and (0, ½, ½), so m = (¼, ½, ¼): the divergence is ½ ln 2, and that of equal ones 0. Logits of 40 below stand for zero.
#[test]
fn jensen_shannon_and_the_nucleus_are_those_of_small_distributions() {
    let device = Device::cpu();
    let rows = |values: &[f64]| Tensor::from_f64(&device, values, &[values.len() / 3, 3], DType::F64);
    let eye = Head::new(&rows(&[1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]));
    let (p, q) = (rows(&[0.0, 0.0, -40.0, 1.0, 2.0, 3.0]), rows(&[-40.0, 0.0, 0.0, 1.0, 2.0, 3.0]));
    let got = jensen_shannon(&p, &q, &eye, 1.0).to_f64_vec().unwrap();
    assert!((got[0] - 0.5 * 2f64.ln()).abs() < 1e-6 && got[1].abs() < 1e-9, "{got:?}");

    // 0.6, 0.36, 0.04: at 95 % the last is cut, and 5/8, 3/8 are left; of equal probabilities none is more probable than another
    let p = [0.6f64, 0.36, 0.04].map(f64::ln);
    let got = nucleus_entropy(&rows(&[p[0], p[1], p[2], 0.0, 0.0, 0.0]), &eye, 1.0, 0.95).to_f64_vec().unwrap();
    let expected = -(0.625f64 * 0.625f64.ln() + 0.375 * 0.375f64.ln());
    assert!((got[0] - expected).abs() < 1e-5 && (got[1] - 3f64.ln()).abs() < 1e-5, "{got:?} {expected}");
}

/// With one update a step, ratios are 1: GSPO's gradient is the mean over responses of GRPO's means, and CISPO's is GRPO's.
#[test]
fn base_losses_are_related_where_the_policy_has_not_moved() {
    let model = model(DType::F64, 1);
    let update = |base: Base| {
        let mut groups = groups(&model);
        groups.iter_mut().flat_map(|group| &mut group.responses).for_each(|response| response.signal.old_log_probs = None);
        let grpo = AnyMethod::named("grpo").unwrap();
        let update = compute(grpo.as_method(), &PolicyConfig { base, ..policy() }, 10_000, &model, None, &mut groups);
        (gradients(&model, &update), update.metrics.loss, groups)
    };
    let ((grpo, ..), (cispo, ..)) = (update(Base::Token), update(Base::Cispo));
    assert_same_gradients(&cispo, &grpo, 1e-9, "cispo");
    let (_, loss, groups) = update(Base::Gspo);
    let advantages: Vec<f64> =
        groups.iter().flat_map(|group| &group.responses).map(|response| f64::from(response.signal.advantage)).collect();
    let expected = -advantages.iter().sum::<f64>() / advantages.len() as f64;
    assert!((loss - expected).abs() < 1e-9, "gspo: {loss} not {expected}");
    let (_, loss, groups) = update(Base::DrGrpo);
    let sum: f64 = groups.iter().flat_map(|g| &g.responses).map(|r| f64::from(r.signal.advantage) * r.tokens().len() as f64).sum();
    let expected = -sum / (advantages.len() as f64 * 48.0);
    assert!((loss - expected).abs() < 1e-9, "dr_grpo: {loss} not {expected}");
}

/// On one and the same picture the policy agrees with itself: the consistency loss is 0 and so is its gradient. The picture it learns from takes none in any case.
#[test]
fn vcpo_teaches_the_changed_picture_alone() {
    let model = model(DType::F64, 1);
    let vcpo = |consistency_coef| Vcpo { consistency_coef, imitation_coef: 0.0, ..Vcpo::default() };
    let update = |method: &dyn Method, mut groups: Vec<Group>| {
        groups.iter_mut().for_each(|group| group.views.retain(|of| of.view == View::Preserved));
        let update = compute(method, &policy(), 10_000, &model, None, &mut groups);
        (gradients(&model, &update), update.metrics)
    };
    let same = |mut group: Group| {
        group.views[0].tiles = Some(group.encoded.tiles.clone());
        group
    };
    let (base, _) = update(&vcpo(0.0), groups(&model));
    let (on_same, metrics) = update(&vcpo(0.7), groups(&model).into_iter().map(same).collect());
    assert!(metrics.get("consistency_loss").abs() < 1e-9, "{metrics:?}");
    assert_same_gradients(&on_same, &base, 1e-9, "one picture");
    let (on_other, metrics) = update(&vcpo(0.7), groups(&model));
    let distance: f64 = on_other.iter().zip(&base).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(distance > 1e-3 && metrics.get("consistency_loss") > 0.0, "the term moves nothing: {distance} {metrics:?}");
}

/// A preset is a method's settings as a configuration would write them, and what is written beside it has the last word.
#[test]
fn presets_are_settings_that_a_configuration_could_hold() {
    use percept_cppo::config::{Config, Settings};
    for name in AnyMethod::NAMES {
        for preset in ["default", "paper", "code"] {
            let config = Config::parse("", "test", &[format!("method.name={name}"), format!("method.preset={preset}")]);
            let config = config.unwrap_or_else(|error| panic!("{name}, {preset}: {error}"));
            assert_eq!(Config::parse(&config.to_toml(), "again", &[]).unwrap(), config, "{name}, {preset}");
        }
        for preset in [Preset::Paper, Preset::Code] {
            let of_preset = AnyMethod::preset(name, preset);
            assert!(
                of_preset.keys().all(|key| key == name || ["group_size", "kl_coef", "clip_low", "clip_high"].contains(&key.as_str())),
                "{of_preset:?}"
            );
        }
    }
    let config = Config::parse("", "test", &["method.name=noisy_rollout".into(), "method.preset=paper".into()]).unwrap();
    assert_eq!(config.method.group_size, 12);
    let given = ["method.name=noisy_rollout", "method.preset=paper", "method.group_size=4"].map(str::to_owned);
    assert_eq!(Config::parse("", "test", &given).unwrap().method.group_size, 4);
}
