//! The first phase of an update: what the policy says of the responses, read back from the device.

use percept_engine::no_grad;
use percept_model::{Model, ModelError};

use super::forward::forward;
use super::plan::micro_batches;
use super::similarity::picture_similarity;
use crate::methods::divergence::Divergence;
use crate::methods::micro_batch::Pass;
use crate::methods::signal::{Measure, Reading};
use crate::methods::view::{View, ViewUse};
use crate::training::group::Group;

/// Reads every response on the original picture, with `measures`, and on those of `uses` that it is read on, without gradients; logits are divided by
/// `temperature`. Fills in the responses' readings.
///
/// # Errors
/// If a prompt does not fit its pictures or the model's context, or the device fails.
///
/// # Panics
/// If a response is empty, or perturbed pictures are missing.
#[track_caller]
pub fn score(
    model: &Model,
    groups: &mut [Group],
    uses: &[ViewUse],
    measures: &[Measure],
    temperature: f32,
    micro_batch_tokens: usize,
) -> Result<(), ModelError> {
    for part in micro_batches(groups, uses, micro_batch_tokens, |_, _| true) {
        let pass = no_grad(|| forward(model, groups, &part, uses, temperature))?;
        read(model, &pass, groups, uses, measures)?;
    }
    Ok(())
}

/// Fills in the readings of the responses of a pass, with `measures` of the original picture.
pub(super) fn read(model: &Model, pass: &Pass, groups: &mut [Group], uses: &[ViewUse], measures: &[Measure]) -> Result<(), ModelError> {
    let (log_probs, entropy) = (pass.log_probs.to_f32_vec()?, pass.entropy.to_f32_vec()?);
    let divergences = uses.iter().map(|of| divergences(pass, of)).collect::<Result<Vec<_>, ModelError>>()?;
    let on_original: Vec<u32> = pass.range(View::Original).map(|at| at as u32).collect();
    let measure = |which: Measure| match which {
        Measure::NucleusEntropy => Ok(no_grad(|| pass.nucleus_entropy(&on_original))),
        Measure::PictureSimilarity => picture_similarity(model, groups, &pass.items),
    };
    let measured = measures.iter().map(|&which| Ok((which, measure(which)?.to_f32_vec()?)));
    let measured = measured.collect::<Result<Vec<_>, ModelError>>()?;
    for item in &pass.items {
        let signal = &mut groups[item.group].responses[item.response].signal;
        for &(view, start) in &item.starts {
            let tokens = pass.at(item, view).expect("the item starts there");
            let of_view = uses.iter().zip(&divergences).find(|(of, _)| of.view == view);
            let of_item = |(which, values): &(Divergence, Vec<f32>)| (*which, values[start..start + item.length].to_vec());
            let of_original = |(which, values): &(Measure, Vec<f32>)| (*which, values[start..start + item.length].to_vec());
            signal.set_reading(Reading {
                view,
                log_probs: log_probs[tokens.clone()].to_vec(),
                entropy: entropy[tokens].to_vec(),
                divergences: of_view.map_or(Vec::new(), |(_, divergences)| divergences.iter().map(of_item).collect()),
                measures: if view == View::Original { measured.iter().map(of_original).collect() } else { Vec::new() },
            });
        }
    }
    Ok(())
}

/// The divergences that a view asks for, of all tokens on it.
fn divergences(pass: &Pass, of: &ViewUse) -> Result<Vec<(Divergence, Vec<f32>)>, ModelError> {
    let seen = pass.items.iter().filter(|item| pass.at(item, of.view).is_some());
    let original: Vec<u32> = seen.filter_map(|item| pass.at(item, View::Original)).flatten().map(|at| at as u32).collect();
    let on_view: Vec<u32> = pass.range(of.view).map(|at| at as u32).collect();
    if on_view.is_empty() {
        return Ok(of.divergences.iter().map(|which| (*which, Vec::new())).collect());
    }
    of.divergences.iter().map(|&which| Ok((which, no_grad(|| pass.divergence(which, &original, &on_view)).to_f32_vec()?))).collect()
}
