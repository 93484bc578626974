//! The model: parity with transformers, packing, checkpointing, adapters, directories.

mod adapters;
mod directory;
mod dispatches;
mod families;
mod packing;
mod parity;
pub(crate) mod qwen2_5_vl;
mod training;

use std::path::{Path, PathBuf};

use percept_engine::{DType, Device, Gradients, Tensor};
use percept_model::image::{Patches, Tiling};
use percept_model::{Model, Packing, Precision};

/// A case of `tests/golden/idefics3`.
fn case_directory(case: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/idefics3").join(case)
}

fn load(case: &str, device: &Device) -> Model {
    Model::load(&case_directory(case), device, Precision::Float32).unwrap()
}

/// The smallest model with everything: pictures, grouped queries, a tied head. In f64.
fn oracle() -> Model {
    load("tied", &Device::cpu()).to(&Device::cpu(), DType::F64).unwrap()
}

/// A picture for [`oracle`] with 16 visual tokens, other for each seed.
fn picture(seed: usize) -> Patches {
    picture_of(seed, [32, 32])
}

/// One of `height` × `width` pixels.
fn picture_of(seed: usize, [height, width]: [usize; 2]) -> Patches {
    let pixels: Vec<f32> = (0..3 * height * width).map(|i| ((i * (2 * seed + 7) + i * i / 11) % 256) as f32 / 127.5 - 1.0).collect();
    Patches::from_pixels(Tiling::WHOLE, &pixels, [3, height, width], 4)
}

/// A prompt with one picture.
fn prompt(seed: u32) -> Vec<u32> {
    let image = std::iter::repeat_n(4, 16);
    [1, 3].into_iter().chain(image).chain([5, 20 + seed, 31]).collect()
}

/// The weighted sum of log-probabilities and entropies that the tests differentiate; the weights differ from token to token.
fn weighted_loss(log_probs: &Tensor, entropies: &Tensor) -> Tensor {
    let count = log_probs.len();
    let weights: Vec<f64> = (0..count).map(|i| ((7 * i) % 11) as f64 / 10.0 - 0.3).collect();
    let weights = Tensor::from_f64(log_probs.device(), &weights, &[count], log_probs.dtype());
    log_probs.add(&entropies.mul_scalar(0.25)).mul(&weights).sum_all()
}

/// Each tensor's gradient, by name; zeros where the loss does not depend on it.
fn gradients_by_name(model: &Model, gradients: &Gradients) -> Vec<(String, Vec<f64>)> {
    let zeros = |tensor: &Tensor| vec![0.0; tensor.len()];
    let values = |tensor: &Tensor| gradients.get(tensor).map_or_else(|| zeros(tensor), |g| g.to_f64_vec().unwrap());
    model.trainable().into_iter().map(|(name, tensor)| (name, values(&tensor))).collect()
}

/// Every trained tensor of a model in f64 has a gradient that is not zero, and together they give what central differences give, along a direction in which all of them move.
#[track_caller]
fn assert_every_weight_has_its_gradient(model: &Model, ids: &[u32], pictures: &[Patches]) {
    let loss = || {
        let mut packing = Packing::new(model.config());
        packing.prompt(ids, pictures).unwrap();
        let hidden = model.hidden(&packing.into_batch(model));
        hidden.mul(&hidden).mul(&hidden).sum_all()
    };
    let (gradients, trained) = (gradients_by_name(model, &loss().backward()), model.trainable());
    let still: Vec<&str> = gradients.iter().filter(|(_, of)| of.iter().all(|&g| g == 0.0)).map(|(name, _)| name.as_str()).collect();
    assert!(!trained.is_empty() && still.is_empty(), "without a gradient: {still:?} of {}", trained.len());

    let direction = |k: usize| ((37 * k + 11) % 101) as f64 / 50.0 - 1.0;
    let slope: f64 = gradients.iter().flat_map(|(_, of)| of.iter().enumerate()).map(|(k, g)| g * direction(k)).sum();
    let start: Vec<Vec<f64>> = trained.iter().map(|(_, tensor)| tensor.to_f64_vec().unwrap()).collect();
    let at = |step: f64| {
        for ((_, tensor), start) in trained.iter().zip(&start) {
            tensor.write_slice(&start.iter().enumerate().map(|(k, x)| x + step * direction(k)).collect::<Vec<f64>>());
        }
        loss().to_f64_vec().unwrap()[0]
    };
    let difference = (at(1e-6) - at(-1e-6)) / 2e-6;
    at(0.0);
    assert!((slope - difference).abs() <= 1e-5 * difference.abs(), "a slope of {slope}, by differences {difference}");
}

/// The largest difference as a fraction of the largest expected value.
fn relative_error(got: &[f64], expected: &[f64]) -> f64 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let error = got.iter().zip(expected).fold(0.0, |error: f64, (a, b)| if a.is_nan() { f64::NAN } else { error.max((a - b).abs()) });
    if error == 0.0 { 0.0 } else { error / scale }
}

/// Every gradient within `tolerance` of the largest gradient of its tensor. A key bias has no gradient but rounding: it is held against the whole.
fn assert_gradients_close(got: &[(String, Vec<f64>)], expected: &[(String, Vec<f64>)], tolerance: f64) {
    assert_eq!(got.len(), expected.len());
    let largest = |values: &[f64]| values.iter().fold(0.0, |scale: f64, x| scale.max(x.abs()));
    let whole = expected.iter().map(|(_, values)| largest(values)).fold(0.0, f64::max);
    for ((name, got), (expected_name, expected)) in got.iter().zip(expected) {
        assert_eq!(name, expected_name);
        assert_eq!(got.len(), expected.len(), "{name}");
        let scale = if name.ends_with("k_proj.bias") { whole } else { largest(expected) };
        let error = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
        assert!(error <= tolerance * scale, "{name}: gradient differs by {error:.1e}, its largest value is {scale:.1e}");
    }
}
