//! The engine in twenty lines: `cargo run --example hello` (or `-- gpu`).

use percept_engine::{Device, GpuSelector, Result, Tensor};

fn main() -> Result<()> {
    let device = match std::env::args().nth(1).as_deref() {
        Some("gpu") => Device::gpu(&GpuSelector::from_env_or_hardware())?,
        _ => Device::cpu(),
    };
    let x = Tensor::from_slice(&device, &[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3]);
    let w = Tensor::from_slice(&device, &[0.1f32, 0.2, 0.3], &[3, 1]).parameter();

    let y = x.matmul(&w).tanh(); // [2, 1]
    let loss = y.square().mean(&[0, 1]);
    let gradients = loss.backward();

    println!("on {device}: loss {:.4}", loss.item()?);
    println!("dloss/dw = {:?}", gradients.get(&w).expect("the loss depends on w").to_vec::<f32>()?);
    Ok(())
}
