//! The comparisons: backward against central differences, devices against the f64 oracle.

use crate::autograd::run_backward;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;

use super::sample::{Rng, Sample};

/// The worst disagreement between the f64 backward and central differences.
#[derive(Clone, Debug)]
pub struct GradientError {
    /// The difference of the two, divided by the size of the numeric one plus 1e-3 of the largest gradient of that input.
    pub relative: f64,
    /// Where it is: the input, the element, the gradient of the backward pass, the central difference.
    pub at: (usize, usize, f64, f64),
}

/// The worst disagreement of a device with the oracle.
#[derive(Clone, Debug)]
pub struct DeviceError {
    /// The largest difference of an output or gradient, divided by the oracle's largest magnitude in it.
    pub relative: f64,
    /// Where it is: `output 0` or `gradient of input 1`, the element, the device's value, the oracle's value.
    pub at: (String, usize, f64, f64),
}

/// At most this many elements of an input are moved: central differences cost two forward passes each.
const MAX_PROBES: usize = 48;

/// Compares the f64 backward of `sum(outputs · random weights)` with central differences of the f64 forward, element by element.
///
/// # Errors
/// Those of the device (out of memory).
pub fn gradient_error(sample: &Sample) -> Result<GradientError> {
    let mut worst = GradientError { relative: 0.0, at: (0, 0, 0.0, 0.0) };
    if !sample.differentiable {
        return Ok(worst);
    }
    let mut values: Vec<Vec<f64>> = sample.inputs.iter().map(|input| input.rounded()).collect();
    let analytic = gradients(sample, &oracle_inputs(sample, &values), 1.0)?;
    let mut rng = Rng::new(7);
    for (index, input) in sample.inputs.iter().enumerate().filter(|(_, input)| input.grad) {
        let analytic = &analytic[index];
        let scale = analytic.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
        let probes: Vec<usize> = match input.values.len() {
            len if len <= MAX_PROBES => (0..len).collect(),
            len => (0..MAX_PROBES).map(|_| rng.below(len)).collect(),
        };
        for element in probes {
            let middle = values[index][element];
            let numeric = derivative(
                |x| {
                    values[index][element] = x;
                    let terms = loss_terms(sample, &oracle_inputs(sample, &values));
                    values[index][element] = middle;
                    terms
                },
                middle,
            )?;
            let difference = (analytic[element] - numeric).abs();
            // a gradient of exactly zero on both sides agrees
            let relative = if difference == 0.0 { 0.0 } else { difference / (numeric.abs() + 1e-3 * scale) };
            if relative > worst.relative || relative.is_nan() {
                worst = GradientError { relative, at: (index, element, analytic[element], numeric) };
            }
        }
    }
    Ok(worst)
}

/// Compares outputs and gradients of a device with those of f64 on the CPU. No error where the sample does not run.
///
/// # Errors
/// Those of the device.
pub fn device_error(sample: &Sample, device: &Device) -> Result<DeviceError> {
    let mut worst = DeviceError { relative: 0.0, at: (String::new(), 0, 0.0, 0.0) };
    if !sample.runs_on(device) {
        return Ok(worst);
    }
    let rounded: Vec<Vec<f64>> = sample.inputs.iter().map(|input| input.rounded()).collect();
    let oracle_inputs = oracle_inputs(sample, &rounded);
    let inputs: Vec<Tensor> = sample.inputs.iter().map(|input| input.tensor(device)).collect();
    let (expected, got) = ((sample.apply)(&oracle_inputs), (sample.apply)(&inputs));
    assert_eq!(expected.len(), got.len(), "{}: number of outputs", sample.label);
    for (index, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert_eq!(expected.shape(), got.shape(), "{}: shape of output {index}", sample.label);
        worst.absorb(format!("output {index}"), &got.to_f64_vec()?, &expected.to_f64_vec()?);
    }
    drop((expected, got));
    worst.absorb_gradients(sample, &oracle_inputs, &inputs, 1.0)?;
    Ok(worst)
}

/// Compares the gradients alone, those of the outputs being of the order of `upstream` rather than 1: those of a policy's weights are as small as 1e-9, where an f16 has no number.
/// No error where the sample does not run.
///
/// # Errors
/// Those of the device.
pub fn gradient_error_at(sample: &Sample, device: &Device, upstream: f64) -> Result<DeviceError> {
    let mut worst = DeviceError { relative: 0.0, at: (String::new(), 0, 0.0, 0.0) };
    if sample.runs_on(device) {
        let rounded: Vec<Vec<f64>> = sample.inputs.iter().map(|input| input.rounded()).collect();
        let inputs: Vec<Tensor> = sample.inputs.iter().map(|input| input.tensor(device)).collect();
        worst.absorb_gradients(sample, &oracle_inputs(sample, &rounded), &inputs, upstream)?;
    }
    Ok(worst)
}

impl DeviceError {
    fn absorb_gradients(&mut self, sample: &Sample, oracle_inputs: &[Tensor], inputs: &[Tensor], upstream: f64) -> Result<()> {
        if !sample.differentiable {
            return Ok(());
        }
        let (expected, got) = (gradients(sample, oracle_inputs, upstream)?, gradients(sample, inputs, upstream)?);
        for (index, _) in sample.inputs.iter().enumerate().filter(|(_, input)| input.grad) {
            self.absorb(format!("gradient of input {index}"), &got[index], &expected[index]);
        }
        Ok(())
    }

    fn absorb(&mut self, what: String, got: &[f64], expected: &[f64]) {
        let scale = expected.iter().filter(|v| v.is_finite()).fold(1e-30, |m: f64, v| m.max(v.abs()));
        for (element, (&got, &expected)) in got.iter().zip(expected).enumerate() {
            let same = got == expected || (got.is_nan() && expected.is_nan());
            let relative = if same { 0.0 } else { (got - expected).abs() / scale };
            if relative > self.relative || (relative.is_nan() && !self.relative.is_nan()) {
                *self = DeviceError { relative, at: (what.clone(), element, got, expected) };
            }
        }
    }
}

fn oracle_inputs(sample: &Sample, values: &[Vec<f64>]) -> Vec<Tensor> {
    sample.inputs.iter().zip(values).map(|(input, values)| input.oracle(values)).collect()
}

/// Weights of an output in the loss: fixed, of order 1, different for every element.
fn weights(index: usize, like: &Tensor) -> Tensor {
    let dtype = if like.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let values = Rng::new(100 + index as u64).input(like.shape(), 0.5, 1.5).rounded();
    let signed: Vec<f64> = values.iter().enumerate().map(|(i, v)| if i % 3 == 0 { -v } else { *v }).collect();
    Tensor::from_f64(like.device(), &signed, like.shape(), dtype)
}

/// The terms of the loss, one per output element: their sum is what backward differentiates.
fn loss_terms(sample: &Sample, inputs: &[Tensor]) -> Result<Vec<f64>> {
    let outputs = crate::no_grad(|| (sample.apply)(inputs));
    let mut terms = Vec::new();
    for (index, output) in outputs.iter().enumerate().filter(|(_, y)| y.dtype().is_float()) {
        let weights = weights(index, output).to_f64_vec()?;
        terms.extend(output.to_f64_vec()?.iter().zip(weights).map(|(y, w)| y * w));
    }
    Ok(terms)
}

fn gradients(sample: &Sample, inputs: &[Tensor], upstream: f64) -> Result<Vec<Vec<f64>>> {
    let outputs = (sample.apply)(inputs);
    let upstream: Vec<Tensor> = outputs.iter().enumerate().map(|(index, y)| weights(index, y).mul_scalar(upstream as f32)).collect();
    let roots: Vec<(&Tensor, &Tensor)> = outputs.iter().zip(&upstream).collect();
    let gradients = run_backward(&roots);
    let of = |(input, x): (&super::Input, &Tensor)| match input.grad.then(|| gradients.get(x)).flatten() {
        Some(gradient) => {
            assert_eq!(gradient.shape(), x.shape(), "{}: shape of a gradient", sample.label);
            gradient.to_f64_vec()
        }
        None => Ok(vec![0.0; input.values.len()]),
    };
    sample.inputs.iter().zip(inputs).map(of).collect()
}

/// Central difference with one Richardson step, error O(h⁴). Terms are subtracted before they are summed: those that do not depend on `x` vanish
/// exactly, instead of drowning the difference in the rounding of a large sum.
fn derivative(mut loss_terms: impl FnMut(f64) -> Result<Vec<f64>>, x: f64) -> Result<f64> {
    let mut slope = |h: f64| -> Result<f64> {
        let (above, below) = (loss_terms(x + h)?, loss_terms(x - h)?);
        Ok(above.iter().zip(&below).map(|(a, b)| a - b).sum::<f64>() / (2.0 * h))
    };
    let h = 1e-4 * x.abs().max(1.0);
    Ok((4.0 * slope(h / 2.0)? - slope(h)?) / 3.0)
}
