//! The methods besides CPPO against values that NumPy computed in f64 from the papers' formulas (`golden/methods/make.py`): weights, losses, gradients.

use std::collections::BTreeMap;

use percept_cppo::methods::divergence::{Divergence, full_kl, jensen_shannon, nucleus_entropy};
use percept_cppo::methods::dvrp::Dvrp;
use percept_cppo::methods::filter::GroupFilter;
use percept_cppo::methods::micro_batch::{Item, MicroBatch, Pass};
use percept_cppo::methods::noisy_rollout::NoisyRollout;
use percept_cppo::methods::policy::{Base, PolicyConfig};
use percept_cppo::methods::signal::{Measure, NUCLEUS, Reading, Signal};
use percept_cppo::methods::term::{Counts, total_loss};
use percept_cppo::methods::view::{Moment, View, ViewGradient};
use percept_cppo::methods::{AnyMethod, Method};
use percept_cppo::problems::reward::Reward;
use percept_cppo::problems::views::diffusion::kept_variance;
use percept_cppo::training::group::{Group, Response, set_advantages};
use percept_cppo::training::update::views_with;
use percept_engine::{DType, Device, Head, Indices, Tensor};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::losses::{assert_near, numbers};
use crate::update::MOMENT;

#[derive(Deserialize)]
struct Golden {
    defaults: BTreeMap<String, Defaults>,
    filter: Vec<Kept>,
    noise: Noise,
    distributions: Vec<Distributions>,
    inputs: BTreeMap<String, Inputs>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Defaults {
    settings: Map<String, Value>,
    policy: Map<String, Value>,
}

#[derive(Deserialize)]
struct Kept {
    right: usize,
    responses: usize,
    keeps: bool,
}

#[derive(Deserialize)]
struct Noise {
    /// Stage and share.
    kept_variance: Vec<(u16, f64)>,
    schedules: Vec<Schedule>,
}

#[derive(Deserialize)]
struct Schedule {
    method: String,
    settings: Value,
    steps: u64,
    stages: Vec<u16>,
}

#[derive(Deserialize)]
struct Distributions {
    temperature: f32,
    logits: Value,
    others: Value,
    full: Vec<f64>,
    jensen_shannon: Vec<f64>,
    nucleus_entropy: Vec<f64>,
}

/// An update: groups of responses whose tokens stand one after the other.
#[derive(Deserialize)]
struct Inputs {
    /// Of each group.
    rewards: Vec<Vec<f32>>,
    lengths: Vec<usize>,
    tokens: Vec<u32>,
    logits: Value,
    logits_preserved: Value,
    old_log_probs: Vec<f32>,
    reference_log_probs: Vec<f32>,
    /// By view, then by what was read.
    readings: BTreeMap<String, BTreeMap<String, Vec<f32>>>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    method: String,
    settings: Map<String, Value>,
    policy: PolicyConfig,
    inputs: String,
    /// Whether the policy is another than the one that sampled the responses.
    moved: bool,
    advantages: Vec<f32>,
    loss: f64,
    weights: Option<Vec<f64>>,
    #[serde(default)]
    factors: Vec<f64>,
    gradients: BTreeMap<String, Value>,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../golden/methods/methods.json")).expect("the golden file is what `make.py` writes")
}

/// Of each response.
fn split<'a, T>(values: &'a [T], lengths: &'a [usize]) -> impl Iterator<Item = &'a [T]> {
    lengths.iter().scan(values, |rest, &length| {
        let (first, others) = rest.split_at(length);
        *rest = others;
        Some(first)
    })
}

fn measured(which: Measure) -> &'static str {
    match which {
        Measure::NucleusEntropy => "nucleus_entropy",
        Measure::PictureSimilarity => "picture_similarity",
    }
}

impl Inputs {
    /// What the method knows of each response before it weighs them.
    fn signals(&self, case: &Case, method: &dyn Method) -> Vec<Signal> {
        let starts = self.lengths.iter().scan(0, |next, length| Some(std::mem::replace(next, *next + length)));
        let of = |(number, (start, &advantage)): (usize, (usize, &f32))| {
            let tokens = start..start + self.lengths[number];
            let reading = |view: View, divergences: &[Divergence], measures: &[Measure]| {
                let all = &self.readings[view.name()];
                let read = |what: &str| all.get(what).map_or(Vec::new(), |values| values[tokens.clone()].to_vec());
                let name = |which: Divergence| serde_json::to_value(which).unwrap().as_str().unwrap().to_owned();
                Reading {
                    view,
                    log_probs: read("log_probs"),
                    entropy: read("entropy"),
                    divergences: divergences.iter().map(|&which| (which, read(&name(which)))).collect(),
                    measures: measures.iter().map(|&which| (which, read(measured(which)))).collect(),
                }
            };
            let mut signal = Signal { number: number as u64, advantage, ..Signal::default() };
            signal.old_log_probs = case.moved.then(|| self.old_log_probs[tokens.clone()].to_vec());
            signal.set_reading(reading(View::Original, &[], &method.measures()));
            for of in method.views(MOMENT).iter().filter(|of| of.seen_by.includes(advantage)) {
                signal.set_reading(reading(of.view, &of.divergences, &[]));
            }
            signal
        };
        starts.zip(&case.advantages).enumerate().map(of).collect()
    }

    /// Logits on the original picture and below them those on the preserved one, as the input of a head whose weight is the identity. `-> [2 · tokens, vocab]`
    fn hidden(&self) -> Tensor {
        let values = [numbers(&self.logits), numbers(&self.logits_preserved)].concat();
        let rows = 2 * self.tokens.len();
        Tensor::from_f64(&Device::cpu(), &values, &[rows, values.len() / rows], DType::F64).parameter()
    }

    /// Log-probabilities of the sampled tokens on both pictures. `hidden [2 · tokens, vocab] -> [2 · tokens]`
    fn log_probs(&self, hidden: &Tensor) -> Tensor {
        let targets = self.tokens.repeat(2);
        hidden
            .linear_log_probs(&Head::new(&identity(hidden.dim(1))), &Tensor::from_slice(&Device::cpu(), &targets, &[targets.len()]), 1.0)
            .0
    }

    /// The forward pass of some responses, from log-probabilities and hidden states of all.
    fn pass(&self, responses: &[usize], signals: &[Signal], method: &dyn Method, hidden: &Tensor, log_probs: &Tensor) -> Pass {
        let flowing = views_with(ViewGradient::Flows, method, MOMENT);
        let mut items: Vec<Item> =
            responses.iter().map(|&response| Item { group: 0, response, length: self.lengths[response], starts: Vec::new() }).collect();
        let (mut rows, mut views) = (Vec::new(), Vec::new());
        for view in [View::Original, View::Preserved] {
            let first = rows.len();
            let sees = |response: usize| {
                view == View::Original || flowing.iter().any(|of| of.view == view && of.seen_by.includes(signals[response].advantage))
            };
            for item in items.iter_mut().filter(|item| sees(item.response)) {
                item.starts.push((view, rows.len() - first));
                let start =
                    self.lengths[..item.response].iter().sum::<usize>() + if view == View::Original { 0 } else { self.tokens.len() };
                rows.extend((start..start + item.length).map(|row| row as u32));
            }
            views.push((view, first..rows.len()));
        }
        let log_probs = log_probs.index_select(&Indices::new(&Device::cpu(), &rows, &[rows.len()]));
        let (entropy, head) = (log_probs.detach(), Head::new(&identity(hidden.dim(1))));
        let packed_tokens = hidden.dim(0);
        Pass { items, views, log_probs, entropy, hidden: hidden.clone(), rows, head, temperature: 1.0, packed_tokens }
    }
}

fn identity(n: usize) -> Tensor {
    let values: Vec<f64> = (0..n * n).map(|i| if i % (n + 1) == 0 { 1.0 } else { 0.0 }).collect();
    Tensor::from_f64(&Device::cpu(), &values, &[n, n], DType::F64)
}

impl Case {
    fn method(&self) -> AnyMethod {
        let method = AnyMethod::read(&self.method, self.settings.clone()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        method.as_method().check().unwrap_or_else(|error| panic!("{}: {error}", self.name));
        method
    }

    /// The responses' signals with the weights that the method gives them, and the counts of the update.
    fn weighed(&self, inputs: &Inputs, method: &dyn Method) -> (Vec<Signal>, Counts) {
        let mut signals = inputs.signals(self, method);
        let weights = method.weigh(&signals.iter().collect::<Vec<_>>(), MOMENT, 0).responses;
        assert_eq!(weights.len(), signals.len(), "{}", self.name);
        signals.iter_mut().zip(weights).for_each(|(signal, weights)| signal.weights = weights);
        let selected = signals.iter().map(|signal| signal.weights.selected()).sum();
        (signals, Counts { tokens: inputs.tokens.len(), selected, responses: inputs.lengths.len() })
    }
}

#[test]
fn defaults_are_the_published_settings() {
    let golden = golden();
    for (name, Defaults { settings, policy }) in &golden.defaults {
        let method = AnyMethod::named(name).unwrap();
        assert_eq!(&method.table(), settings, "{name}");
        let Ok(Value::Object(of_method)) = serde_json::to_value(method.as_method().policy_defaults()) else { unreachable!("a table") };
        policy.iter().for_each(|(key, value)| assert_eq!(of_method[key], *value, "{name}: {key}"));
    }
    let missing: Vec<&&str> = AnyMethod::NAMES.iter().filter(|name| !golden.defaults.contains_key(**name)).collect();
    assert_eq!(missing, [&"cppo"], "cppo has a golden file of its own");
}

#[test]
fn groups_that_teach_something_are_kept() {
    for Kept { right, responses, keeps } in golden().filter {
        let accuracy = |number| if number < right { 1.0 } else { 0.0 };
        let rewards: Vec<Reward> = (0..responses).map(|i| Reward { total: 0.1, accuracy: accuracy(i), format: 1.0 }).collect();
        assert_eq!(GroupFilter::default().keeps(&rewards), keeps, "{right} of {responses}");
    }
}

#[test]
fn noise_falls_as_published() {
    let noise = golden().noise;
    for (stage, expected) in noise.kept_variance {
        assert_near(&[kept_variance(stage)], &[expected], 1e-8, 0.0, &format!("stage {stage}"));
    }
    for Schedule { method, settings, steps, stages } in noise.schedules {
        let at = |stage: &dyn Fn(Moment) -> u16| (1..=steps).map(|step| stage(Moment { step, steps })).collect::<Vec<u16>>();
        let got = match method.as_str() {
            "dvrp" => at(&|moment| serde_json::from_value::<Dvrp>(settings.clone()).unwrap().stage(moment)),
            "noisy_rollout" => at(&|moment| serde_json::from_value::<NoisyRollout>(settings.clone()).unwrap().stage(moment)),
            other => panic!("{other} has no schedule"),
        };
        assert_eq!(got, stages, "{method}: {settings}");
    }
}

#[test]
fn divergences_and_nucleus_entropies_match_numpy() {
    for of in golden().distributions {
        let tokens = of.full.len();
        let [p, q] = [&of.logits, &of.others].map(|logits| {
            let values = numbers(logits);
            Tensor::from_f64(&Device::cpu(), &values, &[tokens, values.len() / tokens], DType::F64)
        });
        let (head, t) = (Head::new(&identity(p.dim(1))), of.temperature);
        for (got, expected, what) in [
            (full_kl(&p, &q, &head, t), &of.full, "full_kl"),
            (jensen_shannon(&p, &q, &head, t), &of.jensen_shannon, "jensen_shannon"),
            (nucleus_entropy(&p, &head, t, NUCLEUS), &of.nucleus_entropy, "nucleus_entropy"),
        ] {
            for (token, (got, expected)) in got.to_f64_vec().unwrap().into_iter().zip(expected).enumerate() {
                assert_near(&[got], &[*expected], 1e-6, 1e-3, &format!("{what} of token {token} at temperature {t}"));
            }
        }
    }
}

#[test]
fn advantages_of_every_base_match_numpy() {
    let golden = golden();
    for case in &golden.cases {
        let group = |rewards: &Vec<f32>| {
            let of = |&total| Response { reward: Reward { total, accuracy: 0.0, format: 0.0 }, ..Response::given(vec![0]) };
            Group { responses: rewards.iter().map(of).collect(), ..Group::default() }
        };
        let mut groups: Vec<Group> = golden.inputs[&case.inputs].rewards.iter().map(group).collect();
        set_advantages(&mut groups, case.method().as_method(), &case.policy);
        let got: Vec<f64> = groups.iter().flat_map(|g| &g.responses).map(|response| f64::from(response.signal.advantage)).collect();
        let expected: Vec<f64> = case.advantages.iter().map(|&advantage| f64::from(advantage)).collect();
        assert_near(&got, &expected, 1e-6, 0.0, &case.name);
    }
}

#[test]
fn weights_and_factors_match_numpy() {
    let golden = golden();
    for case in &golden.cases {
        let (inputs, method) = (&golden.inputs[&case.inputs], case.method());
        let (signals, _) = case.weighed(inputs, method.as_method());
        assert_eq!(method.as_method().weighs(), case.weights.is_some(), "{}", case.name);
        let Some(weights) = &case.weights else { continue };
        for ((signal, expected), factor) in signals.iter().zip(split(weights, &inputs.lengths)).zip(&case.factors) {
            let what = format!("{}: response {}", case.name, signal.number);
            let mut got: Vec<f64> = signal.weights.tokens.iter().map(|&weight| f64::from(weight)).collect();
            if got.is_empty() {
                got = vec![0.0; expected.len()]; // not weighed
            }
            assert_near(&got, expected, 1e-6, 1.0, &what);
            assert_near(&[f64::from(signal.weights.factor)], &[*factor], 1e-6, 1.0, &what);
        }
    }
}

/// In one micro-batch, in two, and in one without the responses that have no gradient, as an update leaves them out.
#[test]
fn losses_and_gradients_match_numpy() {
    let golden = golden();
    for case in &golden.cases {
        let (inputs, method) = (&golden.inputs[&case.inputs], case.method());
        let method = method.as_method();
        let (signals, counts) = case.weighed(inputs, method);
        let all: Vec<usize> = (0..signals.len()).collect();
        let flowing = views_with(ViewGradient::Flows, method, MOMENT);
        let trains = |&response: &usize| {
            let is_read = flowing.iter().any(|of| of.seen_by.includes(signals[response].advantage));
            case.policy.kl_coef > 0.0 || is_read || method.trains(&signals[response])
        };
        let cuts = [
            ("one micro-batch", vec![all.clone()]),
            ("two micro-batches", all.chunks(all.len().div_ceil(2)).map(<[usize]>::to_vec).collect()),
            ("those with a gradient", vec![all.iter().copied().filter(trains).collect()]),
        ];
        for (cut, micro_batches) in cuts {
            for leaf_name in ["log_probs", "logits"] {
                if case.gradients.contains_key(leaf_name) {
                    let (loss, gradients) = summed(case, inputs, method, &signals, &counts, &micro_batches, leaf_name);
                    let what = format!("{}, {cut}", case.name);
                    // coefficients are f32, and gradients central differences of step 1e-5
                    assert_near(&[loss], &[case.loss], 1e-6, 1e-2, &format!("{what}: loss"));
                    let (of_original, of_preserved) = gradients.split_at(gradients.len() / 2);
                    for (got, name) in [(of_original, leaf_name.to_owned()), (of_preserved, format!("{leaf_name}_preserved"))] {
                        let expected = case.gradients.get(&name).map_or(vec![0.0; got.len()], numbers);
                        assert_near(got, &expected, 1e-5, 1e-4, &format!("{what}: gradient of {name}"));
                    }
                }
            }
        }
    }
}

/// The loss of an update, and its gradients with respect to the logits, or to the log-probabilities as leaves, on both pictures.
fn summed(
    case: &Case,
    inputs: &Inputs,
    method: &dyn Method,
    signals: &[Signal],
    counts: &Counts,
    micro_batches: &[Vec<usize>],
    leaf_name: &str,
) -> (f64, Vec<f64>) {
    let hidden = inputs.hidden();
    let of_log_probs = (leaf_name == "log_probs").then(|| inputs.log_probs(&hidden).parameter());
    let leaf = of_log_probs.as_ref().unwrap_or(&hidden);
    let (mut sum, mut gradients) = (0.0, vec![0.0; leaf.len()]);
    for responses in micro_batches {
        let log_probs = of_log_probs.clone().unwrap_or_else(|| inputs.log_probs(&hidden));
        let pass = inputs.pass(responses, signals, method, &hidden, &log_probs);
        let reference: Vec<f32> = {
            let of_responses: Vec<&[f32]> = split(&inputs.reference_log_probs, &inputs.lengths).collect();
            responses.iter().flat_map(|&response| of_responses[response]).copied().collect()
        };
        let reference = Tensor::from_f32(&Device::cpu(), &reference, &[reference.len()], DType::F64);
        let batch = MicroBatch {
            pass: &pass,
            signals: responses.iter().map(|&response| &signals[response]).collect(),
            reference_log_probs: (case.policy.kl_coef > 0.0).then_some(reference),
        };
        let Some(loss) = total_loss(&method.terms(&batch, &case.policy), counts) else { continue };
        sum += loss.item().unwrap();
        if let Some(gradient) = loss.backward().get(leaf) {
            gradient.to_f64_vec().unwrap().iter().zip(&mut gradients).for_each(|(g, sum)| *sum += g);
        }
    }
    (sum, gradients)
}

#[test]
fn the_cases_cover_every_method_and_base() {
    let golden = golden();
    assert_eq!(golden.cases.len(), 50);
    for name in AnyMethod::NAMES.iter().filter(|name| **name != "cppo") {
        assert!(golden.cases.iter().any(|case| case.method == *name), "{name}");
    }
    for base in [Base::Token, Base::DrGrpo, Base::Gspo, Base::Cispo] {
        assert!(golden.cases.iter().any(|case| case.policy.base == base), "{base:?}");
    }
}
