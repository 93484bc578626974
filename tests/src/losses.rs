//! Losses of a training step and their gradients against values that NumPy computed in f64 (`golden/cppo/make.py`), at f64 and at f32.

use percept_cppo::methods::cppo::{ContrastiveConfig, Objective, contrastive_loss};
use percept_cppo::methods::divergence::{Divergence, full_kl, k1, k3};
use percept_cppo::methods::policy::{PolicyConfig, policy_loss};
use percept_cppo::methods::term::{Counts, Over, Term, total_loss};
use percept_engine::{DType, Device, Gradients, Head, Indices, Tensor};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/cppo/cppo.json")).expect("the golden file is JSON")
}

/// All numbers of a nested array, in order.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        number => vec![number.as_f64().unwrap_or_else(|| panic!("a number, not {number}"))],
    }
}

fn option<T: serde::de::DeserializeOwned>(case: &Value, name: &str) -> T {
    serde_json::from_value(case["options"][name].clone()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A golden group: responses padded to one length, and which tokens are real.
struct Inputs<'a> {
    json: &'a Value,
    responses: usize,
    length: usize,
    vocab: usize,
    /// Flat positions of the real tokens.
    real: Vec<u32>,
}

impl<'a> Inputs<'a> {
    fn new(json: &'a Value) -> Self {
        let lengths = numbers(&json["lengths"]);
        let (responses, length) = (lengths.len(), json["tokens"][0].as_array().unwrap().len());
        let real = (0..responses * length).filter(|i| ((i % length) as f64) < lengths[i / length]).map(|i| i as u32).collect();
        Self { json, responses, length, vocab: json["logits"][0][0].as_array().unwrap().len(), real }
    }

    /// Logits of one policy on all positions, as the input of a head whose weight is the identity.
    fn logits(&self, name: &str, dtype: DType) -> Tensor {
        Tensor::from_f64(&Device::cpu(), &numbers(&self.json[name]), &[self.responses * self.length, self.vocab], dtype).parameter()
    }

    fn log_probs(&self, logits: &Tensor, identity: &Tensor) -> Tensor {
        let tokens: Vec<u32> = numbers(&self.json["tokens"]).iter().map(|&t| t as u32).collect();
        let targets = Tensor::from_slice(&Device::cpu(), &tokens, &[tokens.len()]);
        logits.linear_log_probs(&Head::new(identity), &targets, 1.0).0
    }

    fn pick(&self, x: &Tensor, tokens: &[u32]) -> Tensor {
        x.index_select(&Indices::new(&Device::cpu(), tokens, &[tokens.len()]))
    }
}

/// Distance over the largest magnitude of what is expected, or over `floor`.
#[track_caller]
pub(crate) fn assert_near(got: &[f64], expected: &[f64], tolerance: f64, floor: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(floor, |scale, e| scale.max(e.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * scale, "{what}[{i}]: expected {e}, got {g} (scale {scale})");
    }
}

fn check_case(case: &Value, all_inputs: &Value, dtype: DType, tolerance: f64) {
    let name = case["name"].as_str().unwrap();
    let inputs = Inputs::new(&all_inputs[case["inputs"].as_str().unwrap()]);
    let policy_config = PolicyConfig {
        clip_low: option(case, "clip_low"),
        clip_high: option(case, "clip_high"),
        kl_coef: option(case, "kl_coef"),
        ..PolicyConfig::default()
    };
    let contrastive_config = ContrastiveConfig {
        cpl_coef: option(case, "cpl_coef"),
        cpl_temperature: option(case, "cpl_temperature"),
        divergence: option(case, "divergence"),
        objective: option(case, "objective"),
    };
    let device = Device::cpu();
    let mut eye = vec![0.0; inputs.vocab * inputs.vocab];
    (0..inputs.vocab).for_each(|i| eye[i * inputs.vocab + i] = 1.0);
    let identity = Tensor::from_f64(&device, &eye, &[inputs.vocab, inputs.vocab], dtype);
    let views = ["logits", "logits_preserved", "logits_removed"].map(|view| inputs.logits(view, dtype));
    let [of_old, of_reference] =
        ["logits_old", "logits_reference"].map(|view| inputs.log_probs(&inputs.logits(view, dtype).detach(), &identity));
    // Two passes over the graph: gradients with respect to the logits, and with respect to log-probabilities that are leaves.
    for of_logits in [true, false] {
        if !of_logits && contrastive_config.divergence == Divergence::Full {
            continue; // the loss is no function of the sampled tokens' log-probabilities
        }
        let log_probs = views.each_ref().map(|logits| {
            let log_probs = inputs.log_probs(logits, &identity);
            if of_logits { log_probs } else { log_probs.parameter() }
        });
        let [l, l_preserved, l_removed] = log_probs.each_ref().map(|l| inputs.pick(l, &inputs.real));
        let advantages = numbers(&case["advantages"]);
        let advantages: Vec<f64> = inputs.real.iter().map(|&i| advantages[i as usize / inputs.length]).collect();
        let advantages = Tensor::from_f64(&device, &advantages, &[advantages.len()], dtype);
        let policy = policy_loss(&l, &inputs.pick(&of_old, &inputs.real), &advantages, &policy_config);
        let kl = k3(&l, &inputs.pick(&of_reference, &inputs.real));
        let [d_preserved, d_removed] = match contrastive_config.divergence {
            Divergence::JensenShannon => unreachable!("not among the golden cases"),
            Divergence::K3 => [k3(&l, &l_preserved), k3(&l, &l_removed)],
            Divergence::K1 => [k1(&l, &l_preserved), k1(&l, &l_removed)],
            Divergence::Full => {
                let [h, preserved, removed] = views.each_ref().map(|logits| inputs.pick(logits, &inputs.real));
                let head = Head::new(&identity);
                [full_kl(&h, &preserved, &head, 1.0), full_kl(&h, &removed, &head, 1.0)]
            }
        };
        let cpl = contrastive_loss(&d_preserved, &d_removed, &contrastive_config);
        for (what, tensor) in [
            ("ratio", &policy.ratio),
            ("policy", &policy.loss),
            ("kl", &kl),
            ("d_preserved", &d_preserved),
            ("d_removed", &d_removed),
            ("cpl", &cpl),
        ] {
            let expected = numbers(&case["tokens"][what]);
            let expected: Vec<f64> = inputs.real.iter().map(|&i| expected[i as usize]).collect();
            assert_near(&tensor.to_f64_vec().unwrap(), &expected, tolerance, 1e-2, &format!("{name}: {what}"));
        }
        let mask = numbers(&case["mask"]);
        let masked: Vec<u32> = (0..inputs.real.len() as u32).filter(|&i| mask[inputs.real[i as usize] as usize] != 0.0).collect();
        let perception = (!masked.is_empty()).then(|| inputs.pick(&cpl, &masked));
        let policy_weight = if contrastive_config.objective == Objective::CplOnly { 0.0 } else { 1.0 };
        let term = |name, weight, over, per_token| Term { name, per_token, weight, over, metrics: Vec::new() };
        let terms = [
            term("policy_loss", policy_weight, Over::Tokens, Some(policy.loss)),
            term("kl", policy_config.kl_coef, Over::Tokens, Some(kl)),
            term("cpl_loss", contrastive_config.cpl_coef, Over::Selected, perception),
        ];
        let counts = Counts { tokens: inputs.real.len(), selected: masked.len(), responses: 1 };
        let loss = total_loss(&terms, &counts).expect("there are tokens");
        assert_near(&[loss.item().unwrap()], &[case["loss"].as_f64().unwrap()], tolerance, 1e-2, &format!("{name}: loss"));
        let gradients = loss.backward();
        let (leaves, names) = if of_logits {
            (&views, ["logits", "logits_preserved", "logits_removed"])
        } else {
            (&log_probs, ["log_probs", "log_probs_preserved", "log_probs_removed"])
        };
        for (leaf, what) in leaves.iter().zip(names) {
            if let expected @ Value::Array(_) = &case["gradients"][what] {
                check_gradient(&gradients, leaf, &numbers(expected), tolerance, &format!("{name}: gradient of {what}"));
            }
        }
    }
}

#[track_caller]
fn check_gradient(gradients: &Gradients, leaf: &Tensor, expected: &[f64], tolerance: f64, what: &str) {
    let got = gradients.get(leaf).map_or(vec![0.0; leaf.len()], |gradient| gradient.to_f64_vec().unwrap());
    // central differences of step 1e-5 lose digits below about 1e-10
    assert_near(&got, expected, tolerance, 1e-4, what);
}

#[test]
fn losses_and_gradients_match_numpy() {
    let golden = golden();
    let cases = golden["losses"].as_array().unwrap();
    assert_eq!(cases.len(), 17);
    for case in cases {
        // The golden holds nine digits, and its gradients are central differences of step 1e-5.
        check_case(case, &golden["inputs"], DType::F64, 1e-6);
        check_case(case, &golden["inputs"], DType::F32, 2e-5);
    }
}

/// In f32, where d is far below the rounding of 1 + d: about d²/2, and never negative.
#[test]
fn k3_of_nearly_equal_policies_is_not_rounding() {
    let device = Device::cpu();
    let d = [0.0f32, 1e-2, -1e-2, 1e-4, -1e-4, 3e-7, 2f32.ln()];
    let other = Tensor::from_f32(&device, &d, &[d.len()], DType::F32);
    let got = k3(&other.mul_scalar(0.0), &other).to_f64_vec().unwrap();
    for (got, d) in got.iter().zip(d.map(f64::from)) {
        let expected = d.exp_m1() - d;
        let expected = if d.abs() < 1e-3 { d * d / 2.0 * (1.0 + d / 3.0) } else { expected };
        assert!(*got >= 0.0 && (got - expected).abs() <= 1e-6 * expected, "d = {d}: {got}, expected {expected}");
    }
}

#[test]
fn the_dual_clip_bounds_only_negative_advantages() {
    let row = |values: &[f32]| Tensor::from_slice(&Device::cpu(), values, &[values.len()]);
    // ratio e^2 = 7.389: with Â = −1 the loss would be 7.389, and is at most 3.
    let log_probs = row(&[2.0, 2.0, -2.0, -2.0, 0.0]).parameter();
    let policy = policy_loss(&log_probs, &row(&[0.0; 5]), &row(&[-1.0, 1.0, -1.0, 1.0, 0.0]), &PolicyConfig::default());
    let expected = [3.0, -1.2, 0.8, -(-2f32).exp(), 0.0];
    for (got, expected) in policy.loss.to_vec::<f32>().unwrap().iter().zip(expected) {
        assert!((got - expected).abs() < 1e-6, "{got} {expected}");
    }
    let gradient = policy.loss.sum_all().backward().get(&log_probs).unwrap().to_vec::<f32>().unwrap();
    assert_eq!([gradient[0], gradient[1], gradient[2], gradient[4]], [0.0; 4], "clipped, or without advantage");
    assert!((gradient[3] + (-2f32).exp()).abs() < 1e-6);
}

#[test]
fn the_removed_view_cannot_be_pushed_away_without_end() {
    let row = |values: &[f32]| Tensor::from_slice(&Device::cpu(), values, &[values.len()]);
    let config = ContrastiveConfig { objective: Objective::RemoveOnly, ..ContrastiveConfig::default() };
    let loss = contrastive_loss(&row(&[0.0, 0.0]), &row(&[15.0, 2.0]), &config);
    assert_eq!(loss.to_vec::<f32>().unwrap(), [-10.0, -2.0]);
}

#[test]
#[should_panic(expected = "policy_loss: log_probs and advantages differ in shape: [3] and [2] (3 and 2 tokens)")]
fn advantages_are_per_token() {
    let row = |n: usize| Tensor::zeros(&Device::cpu(), &[n], DType::F32);
    policy_loss(&row(3), &row(3), &row(2), &PolicyConfig::default());
}

#[test]
fn impossible_losses_name_the_field() {
    let config = PolicyConfig { dual_clip: 1.0, ..Default::default() };
    assert!(config.check().unwrap_err().starts_with("dual_clip"));
    let config = ContrastiveConfig { cpl_temperature: 0.0, ..Default::default() };
    assert!(config.check().unwrap_err().starts_with("cpl_temperature"));
    PolicyConfig::default().check().unwrap();
    ContrastiveConfig::default().check().unwrap();
}
