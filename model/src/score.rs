//! How probable a given completion is.

use crate::error::ModelError;
use crate::image::Patches;
use crate::model::Model;
use crate::packing::Packing;
use percept_engine::no_grad;

/// The model's view of each token of a completion, in nats, at temperature 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scores {
    /// Log-probability of each token.
    pub log_probs: Vec<f32>,
    /// Entropy of the distribution that each token comes from.
    pub entropies: Vec<f32>,
}

/// Scores a completion under a prompt and its pictures, in one forward pass. No token is appended.
///
/// # Errors
/// As [`Packing::prompt`]; if prompt and completion are longer than the context; those of the device.
pub fn score(model: &Model, prompt: &[u32], pictures: &[Patches], completion: &[u32]) -> Result<Scores, ModelError> {
    let (prompt_tokens, new_tokens) = (prompt.len(), completion.len());
    let context = model.config().text.max_position_embeddings;
    if prompt_tokens + new_tokens > context {
        return Err(ModelError::Context { prompt_tokens, new_tokens, context });
    }
    let mut packing = Packing::new(model.config());
    let rows = packing.row(prompt, pictures, completion)?;
    if rows.is_empty() {
        return Ok(Scores::default());
    }
    no_grad(|| {
        let hidden = model.hidden(&packing.into_batch(model));
        let (log_probs, entropies) = model.log_probs(&hidden, &rows, 1.0);
        Ok(Scores { log_probs: log_probs.to_f32_vec()?, entropies: entropies.to_f32_vec()? })
    })
}
