//! A training loop in sixty lines: two interleaved half-circles, a network of two layers, SGD.
//! `cargo run --example two_moons`, or `-- gpu` on the first hardware GPU, or `-- lavapipe` on any adapter by name.

use percept_engine::random;
use percept_engine::{DType, Device, GpuSelector, Result, Tensor};

const POINTS: usize = 256;
const HIDDEN: usize = 32;
const STEPS: usize = 300;
const LEARNING_RATE: f32 = 0.5;

fn main() -> Result<()> {
    let device = match std::env::args().nth(1).as_deref() {
        None => Device::cpu(),
        Some("gpu") => Device::gpu(&GpuSelector::hardware())?,
        Some(name) => Device::gpu(&name.parse().expect("any text is a selector"))?,
    };
    println!("training on {device}");
    let (points, labels) = two_moons(&device);

    let normal = |stream, shape: &[usize], deviation| {
        Tensor::from_slice(&device, &random::normal(1, stream, shape.iter().product(), deviation), shape).parameter()
    };
    let zeros = |shape: &[usize]| Tensor::zeros(&device, shape, DType::F32).parameter();
    let parameters = [normal(1, &[2, HIDDEN], 1.0), zeros(&[HIDDEN]), normal(2, &[HIDDEN, 1], 0.2), zeros(&[1])];
    let [w1, b1, w2, b2] = &parameters;

    for step in 0..=STEPS {
        let hidden = points.matmul(w1).add(b1).tanh(); // [points, hidden]
        let logits = hidden.matmul(w2).add(b2); // [points, 1]
        // binary cross-entropy: softplus(z) - y z
        let loss = logits.softplus().sub(&labels.mul(&logits)).mean(&[0, 1]);
        let gradients = loss.backward();
        for parameter in &parameters {
            let gradient = gradients.get(parameter).expect("the loss depends on every parameter");
            parameter.copy_from_(&parameter.detach().sub(&gradient.mul_scalar(LEARNING_RATE)));
        }
        if step % 50 == 0 {
            let logits = logits.to_vec::<f32>()?;
            let labels = labels.to_vec::<f32>()?;
            let correct = logits.iter().zip(&labels).filter(|(z, y)| (**z > 0.0) == (**y > 0.5)).count();
            println!("step {step:3}  loss {:.4}  accuracy {:.1} %", loss.item()?, 100.0 * correct as f64 / POINTS as f64);
        }
    }
    Ok(())
}

/// Points on two half-circles with a little noise, `[points, 2]`, and which of them each is on, `[points, 1]`.
fn two_moons(device: &Device) -> (Tensor, Tensor) {
    let angles = random::uniform(2, 0, POINTS, 0.0, std::f32::consts::PI);
    let noise = random::normal(2, 1, 2 * POINTS, 0.1);
    let mut points = Vec::new();
    for (i, angle) in angles.iter().enumerate() {
        let (x, y) = if i % 2 == 0 { (angle.cos(), angle.sin()) } else { (1.0 - angle.cos(), 0.5 - angle.sin()) };
        points.extend([x + noise[2 * i], y + noise[2 * i + 1]]);
    }
    let labels: Vec<f32> = (0..POINTS).map(|i| (i % 2) as f32).collect();
    (Tensor::from_slice(device, &points, &[POINTS, 2]), Tensor::from_slice(device, &labels, &[POINTS, 1]))
}
