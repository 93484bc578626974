//! Whether a gradient reaches every weight of a model: a layer that is built but not used, or cut off by mistake, trains without a word.

use image::{Rgb, RgbImage};
use percept_engine::Tensor;
use percept_model::{Model, Packing};

use crate::error::TrainError;
use crate::problems::prompts::{Encoder, Prompt};

/// What became of the weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Weights whose gradient has a value other than zero, and none that is no number.
    pub reached: usize,
    /// Names of weights that get no gradient, or one of zeros.
    pub missed: Vec<String>,
    /// Names of weights whose gradient holds NaN or infinity.
    pub not_finite: Vec<String>,
}

impl Reach {
    /// Whether every weight is reached.
    pub fn is_complete(&self) -> bool {
        self.missed.is_empty() && self.not_finite.is_empty()
    }
}

/// Asks a question about two made-up pictures of different form, and follows the gradient of an answer's log-probability to every weight that is trained.
///
/// # Errors
/// If the files of the model do not fit each other, or the device fails.
pub fn reach(model: &Model, encoder: &Encoder) -> Result<Reach, TrainError> {
    let picture =
        |width, height| {
            RgbImage::from_fn(width, height, |x, y| {
                Rgb([7 * x + y * y, 11 * y + 90, (x + 3) * (y + 5)].map(|colour: u32| (colour % 256) as u8))
            })
        };
    let prompt = Prompt { pictures: vec![picture(60, 44), picture(90, 150)], text: "How many are there?".into(), ..Prompt::default() };
    let encoded = encoder.encode(&prompt)?;
    let response = encoder.response("<think>I see 3 and 8.</think>\\boxed{11}")?;
    let mut packing = Packing::new(model.config());
    let rows = packing.row(&encoded.tokens, &encoded.tiles, &response)?;
    let (log_probs, _) = model.log_probs(&model.hidden(&packing.into_batch(model)), &rows, 1.0);
    // tokens of different weight: gradients that cancel in a plain sum are no mistake
    let weights: Vec<f64> = (0..log_probs.len()).map(|t| 1.0 - 0.37 * (t % 5) as f64).collect();
    let loss = log_probs.mul(&Tensor::from_f64(model.device(), &weights, &[weights.len()], log_probs.dtype())).sum_all();
    let gradients = loss.backward();
    let mut reach = Reach::default();
    for (name, tensor) in model.trainable() {
        let values = gradients.get(&tensor).map(|gradient| gradient.to_f64_vec()).transpose()?.unwrap_or_default();
        match () {
            () if values.iter().any(|value| !value.is_finite()) => reach.not_finite.push(name),
            () if values.iter().all(|value| *value == 0.0) => reach.missed.push(name),
            () => reach.reached += 1,
        }
    }
    Ok(reach)
}
