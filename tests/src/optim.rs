//! The optimisers against their definitions and against PyTorch.

use std::collections::BTreeMap;
use std::path::Path;

use percept_engine::optim::{AdamW, AdamWConfig, ParamGroup, Sgd, SgdConfig};
use percept_engine::{DType, Device, Gradients, Tensor, random};

const START: [f32; 4] = [0.5, -1.25, 2.0, 0.0];
const GRADIENTS: [[f32; 4]; 5] =
    [[0.1, -0.2, 0.3, 0.4], [1.0, 0.5, -0.25, 0.0], [-3.0, 2.0, 1.0, 0.5], [0.01, 0.02, -0.03, 0.04], [0.7, -0.7, 0.7, -0.7]];
const NORMS: [f64; 5] = [0.547722578048706, 1.145643949508667, 3.7749171257019043, 0.054772257804870605, 1.399999976158142];

fn gradients(parameter: &Tensor, values: &[f32]) -> Gradients {
    let mut gradients = Gradients::new();
    gradients.set(parameter, &Tensor::from_slice(parameter.device(), values, parameter.shape()));
    gradients
}

fn group(name: &str, parameter: &Tensor, weight_decay: f64) -> ParamGroup {
    ParamGroup { parameters: vec![(name.into(), parameter.clone())], lr_scale: 1.0, weight_decay }
}

fn assert_close(got: &[f32], expected: &[f64], tolerance: f64, what: &str) {
    for (i, (&got, &expected)) in got.iter().zip(expected).enumerate() {
        assert!((f64::from(got) - expected).abs() <= tolerance, "{what}: element {i}: {got}, expected {expected}");
    }
}

/// Printed by PyTorch 2.15: lr 0.01, defaults otherwise, `clip_grad_norm_(1.0)` before each step (which divides by norm + 1e-6, ours by the norm).
#[test]
fn five_steps_are_those_of_pytorch() {
    // weight_decay 0.1
    const ADAMW: [[f64; 4]; 5] = [
        [0.489500016, -1.23874998, 1.98800004, -0.0100000007],
        [0.480855167, -1.24148643, 1.98497307, -0.0166905839],
        [0.479986697, -1.24704266, 1.97862029, -0.0236003175],
        [0.479140133, -1.25152433, 1.97345352, -0.0297749229],
        [0.476252258, -1.25111175, 1.96563411, -0.0289595276],
    ];
    // momentum 0.9, no weight decay
    const SGD: [[f64; 4]; 5] = [
        [0.499000013, -1.24800003, 1.99699998, -0.00400000019],
        [0.4893713, -1.25056434, 1.99648213, -0.00760000013],
        [0.488652647, -1.25817037, 1.99336708, -0.0121645322],
        [0.48790586, -1.26521575, 1.99086344, -0.0166726112],
        [0.482233763, -1.26655662, 1.98361015, -0.0157298855],
    ];
    for device in [Device::cpu(), crate::common::gpu()] {
        let fresh = || Tensor::from_slice(&device, &START, &[4]).parameter();
        let (a, s) = (fresh(), fresh());
        let mut adamw = AdamW::new(vec![group("w", &a, 0.1)], AdamWConfig { lr: 0.01, clip_norm: 1.0, ..AdamWConfig::default() });
        let mut sgd = Sgd::new(vec![group("w", &s, 0.0)], SgdConfig { lr: 0.01, momentum: 0.9, clip_norm: 1.0 });
        for step in 0..5 {
            let norm = adamw.step(&gradients(&a, &GRADIENTS[step])).item().unwrap();
            sgd.step(&gradients(&s, &GRADIENTS[step]));
            assert!((norm - NORMS[step]).abs() < 1e-6 * NORMS[step], "norm of step {step} on {device}: {norm}");
            assert_close(&a.to_vec().unwrap(), &ADAMW[step], 4e-7, &format!("adamw step {step} on {device}"));
            assert_close(&s.to_vec().unwrap(), &SGD[step], 4e-7, &format!("sgd step {step} on {device}"));
        }
    }
}

/// Algorithm 2 of arXiv 1711.05101 in f64, with two groups.
#[test]
fn five_steps_are_those_of_the_paper() {
    let cpu = Device::cpu();
    let parameters = [0.1, 0.0].map(|decay| (decay, Tensor::from_slice(&cpu, &START, &[4]).parameter()));
    let (lr, [beta1, beta2], eps) = (0.02, [0.8, 0.99], 1e-3);
    let groups = vec![group("decayed", &parameters[0].1, 0.1), ParamGroup { lr_scale: 0.5, ..group("plain", &parameters[1].1, 0.0) }];
    let mut optimiser = AdamW::new(groups, AdamWConfig { lr, betas: [beta1, beta2], eps, clip_norm: f64::INFINITY });
    let mut expected = [START.map(f64::from), START.map(f64::from)];
    let mut moments = [[[0.0; 4]; 2]; 2];
    for (t, values) in GRADIENTS.iter().enumerate() {
        let mut both = gradients(&parameters[0].1, values);
        both.accumulate(gradients(&parameters[1].1, values));
        optimiser.step(&both);
        for (which, lr) in [(0, lr), (1, 0.5 * lr)] {
            let decay = parameters[which].0;
            for i in 0..4 {
                let g = f64::from(values[i]);
                let [m, v] = [0, 1].map(|kind| moments[which][kind][i]);
                let (m, v) = (beta1 * m + (1.0 - beta1) * g, beta2 * v + (1.0 - beta2) * g * g);
                moments[which][0][i] = m;
                moments[which][1][i] = v;
                let (m_hat, v_hat) = (m / (1.0 - beta1.powi(t as i32 + 1)), v / (1.0 - beta2.powi(t as i32 + 1)));
                expected[which][i] -= lr * (m_hat / (v_hat.sqrt() + eps) + decay * expected[which][i]);
            }
            assert_close(&parameters[which].1.to_vec().unwrap(), &expected[which], 5e-7, &format!("group {which}, step {t}"));
        }
    }
}

#[test]
fn a_gradient_that_is_not_finite_changes_nothing_but_the_count() {
    for device in [Device::cpu(), crate::common::gpu()] {
        let w = Tensor::from_slice(&device, &START, &[4]).parameter();
        let mut optimiser = AdamW::new(vec![group("w", &w, 0.1)], AdamWConfig::default());
        optimiser.step(&gradients(&w, &GRADIENTS[0]));
        let snapshot = |optimiser: &AdamW| -> Vec<Vec<f32>> {
            let state = optimiser.state();
            [&w, &state["w.m"], &state["w.v"]].map(|x| x.to_vec().unwrap()).into()
        };
        let before = snapshot(&optimiser);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            optimiser.step(&gradients(&w, &[1.0, bad, 0.0, 0.0]));
            assert_eq!(snapshot(&optimiser), before, "{bad} on {device}");
        }
        let report = optimiser.report().unwrap();
        assert_eq!((report.steps, report.skipped, report.taken), (1, 3, false));
    }
}

/// Steps smaller than half a unit of bf16 add up in the master copy.
#[test]
fn half_weights_follow_their_master_copy() {
    use half::bf16;
    for device in [Device::cpu(), crate::common::gpu()] {
        let w = Tensor::from_f64(&device, &[1.0, -1.0, 1.0], &[3], DType::BF16).parameter();
        let mut optimiser = AdamW::new(vec![group("w", &w, 0.0)], AdamWConfig { lr: 1e-4, ..AdamWConfig::default() });
        for _ in 0..100 {
            optimiser.step(&gradients(&w, &[1.0, -1.0, 1.0]));
        }
        let master: Vec<f32> = optimiser.state()["w.master"].to_vec().unwrap();
        assert_close(&master, &[0.99, -0.99, 0.99], 1e-5, &format!("master on {device}"));
        let rounded: Vec<bf16> = master.iter().map(|&x| bf16::from_f32(x)).collect();
        assert_eq!(w.to_vec::<bf16>().unwrap(), rounded, "on {device}");
    }
}

#[test]
fn a_restored_optimiser_goes_on_to_the_same_bits() {
    for device in [Device::cpu(), crate::common::gpu()] {
        let config = AdamWConfig { clip_norm: 1.0, ..AdamWConfig::default() };
        let w = Tensor::from_slice(&device, &START, &[4]).parameter();
        let mut first = AdamW::new(vec![group("w", &w, 0.1)], config);
        GRADIENTS[..3].iter().for_each(|g| drop(first.step(&gradients(&w, g))));
        let saved_w = w.to_vec::<f32>().unwrap();
        let saved: BTreeMap<String, Tensor> = first
            .state()
            .into_iter()
            .map(|(name, x)| (name, Tensor::from_slice(&Device::cpu(), &x.to_vec::<f32>().unwrap(), x.shape())))
            .collect();
        GRADIENTS[3..].iter().for_each(|g| drop(first.step(&gradients(&w, g))));

        let again = Tensor::from_slice(&device, &saved_w, &[4]).parameter();
        let mut second = AdamW::new(vec![group("w", &again, 0.1)], config);
        second.load_state(Path::new("trainer.safetensors"), &saved).unwrap();
        GRADIENTS[3..].iter().for_each(|g| drop(second.step(&gradients(&again, g))));
        assert_eq!(again.to_vec::<f32>().unwrap(), w.to_vec::<f32>().unwrap(), "on {device}");
        assert_eq!(second.report().unwrap(), first.report().unwrap());
    }
}

#[test]
fn a_state_that_does_not_fit_is_an_error_that_names_the_tensor() {
    let cpu = Device::cpu();
    let w = Tensor::from_slice(&cpu, &START, &[4]).parameter();
    let mut optimiser = AdamW::new(vec![group("w", &w, 0.1)], AdamWConfig::default());
    let error = |optimiser: &mut AdamW, change: &dyn Fn(&mut BTreeMap<String, Tensor>)| {
        let mut state = optimiser.state();
        change(&mut state);
        optimiser.load_state(Path::new("trainer.safetensors"), &state).unwrap_err().to_string()
    };
    let text = error(&mut optimiser, &|state| drop(state.remove("w.v")));
    assert_eq!(text, "trainer.safetensors: w.v: expected f32 [4], got no such tensor");
    let text = error(&mut optimiser, &|state| drop(state.insert("w.m".into(), Tensor::zeros(&Device::cpu(), &[5], DType::F32))));
    assert_eq!(text, "trainer.safetensors: w.m: expected f32 [4], got f32 [5]");
    let text = error(&mut optimiser, &|state| drop(state.insert("x.m".into(), Tensor::zeros(&Device::cpu(), &[4], DType::F32))));
    assert!(text.starts_with("trainer.safetensors: x.m: expected no such tensor"), "{text}");
}

/// Queries, keys and values, say: their gradients come from one product, as slices of one tensor.
#[test]
fn parameters_that_lie_in_order_are_updated_together_to_the_same_bits() {
    for device in [Device::new_cpu(), crate::common::open(|selector| selector)] {
        for dtype in [DType::F32, DType::BF16] {
            let values = |stream: u64, len: usize| -> Vec<f64> { random::normal(9, stream, len, 1.0).iter().map(|&x| x.into()).collect() };
            let sizes = [[4, 64], [2, 64], [2, 64], [3, 64]];
            let parameter = |i: usize| Tensor::from_f64(&device, &values(i as u64, sizes[i][0] * 64), &sizes[i], dtype).parameter();
            let apart: Vec<Tensor> = (0..4).map(parameter).collect();
            let mut together = Tensor::laid_in_order(&apart[..3].iter().collect::<Vec<_>>());
            together.push(parameter(3));
            assert!(Tensor::lie_in_order(&together[..3].iter().collect::<Vec<_>>()));
            let all = Tensor::from_f64(&device, &values(7, 8 * 64), &[8, 64], DType::F32);
            let last = Tensor::from_f64(&device, &values(8, 3 * 64), &[3, 64], DType::F32);
            let step = |parameters: &[Tensor]| {
                let named = parameters.iter().enumerate().map(|(i, parameter)| (format!("p{i}"), parameter.clone())).collect();
                let groups = vec![ParamGroup { parameters: named, lr_scale: 1.0, weight_decay: 0.1 }];
                let mut optimiser = AdamW::new(groups, AdamWConfig { lr: 0.1, clip_norm: 1.0, ..AdamWConfig::default() });
                let mut gradients = Gradients::new();
                for (parameter, [first, count]) in parameters.iter().zip([[0, 4], [4, 2], [6, 2]]) {
                    gradients.set(parameter, &all.slice(0, first, count));
                }
                gradients.set(&parameters[3], &last);
                let before = device.counters().launches;
                (0..3).for_each(|_| drop(optimiser.step(&gradients)));
                let launches = device.counters().launches - before;
                let state: Vec<Vec<f64>> = optimiser.state().values().map(|x| x.to_f64_vec().unwrap()).collect();
                let weights: Vec<Vec<f64>> = parameters.iter().map(|x| x.to_f64_vec().unwrap()).collect();
                (state, weights, launches)
            };
            let (state, weights, many) = step(&apart);
            let (joined_state, joined_weights, few) = step(&together);
            assert_eq!((joined_state, joined_weights), (state, weights), "{device} {dtype}");
            assert_eq!(many - few, 3 * 2, "{device} {dtype}: {few} launches of {many}");
        }
    }
}
