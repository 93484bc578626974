//! The first phase of an update: what the policy says of the responses, read back from the device.

use percept_engine::{Tensor, no_grad};
use percept_model::{Model, ModelError};

use super::forward::forward;
use super::plan::{Cut, micro_batches};
use super::similarity::picture_similarity;
use crate::methods::micro_batch::Pass;
use crate::methods::signal::{Measure, Reading};
use crate::methods::view::{View, ViewUse};
use crate::training::group::Group;

/// In micro-batches by `cut` (a number of tokens, up to which groups are packed): reads every response on the original picture, with `measures`, and on those of `uses` that it is read on, without gradients; logits are divided by
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
    cut: impl Into<Cut>,
) -> Result<(), ModelError> {
    let wanted = Wanted { uses, measures };
    let mut passes = Vec::new();
    for part in micro_batches(groups, uses, cut.into(), |_, _| true) {
        let pass = no_grad(|| forward(model, groups, &part, uses, temperature))?;
        passes.push(Unread::new(model, &pass, groups, wanted)?);
    }
    read_all(&passes, groups, wanted)
}

/// What is to be read of a forward pass: its readings, still on the device, and the responses they belong to. The pass's graph and hidden states are not kept.
pub(super) struct Unread {
    pass: Pass,
    /// Of each view and each of its divergences: all tokens on it.
    divergences: Vec<Vec<Tensor>>,
    /// Of each measure: all tokens on the original picture.
    measured: Vec<Tensor>,
}

/// What readings are to be made of a pass.
#[derive(Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) uses: &'a [ViewUse],
    pub(super) measures: &'a [Measure],
}

impl Unread {
    pub(super) fn new(model: &Model, pass: &Pass, groups: &[Group], wanted: Wanted<'_>) -> Result<Self, ModelError> {
        let on_original: Vec<u32> = pass.range(View::Original).map(|at| at as u32).collect();
        let measure = |which: &Measure| match which {
            Measure::NucleusEntropy => Ok(no_grad(|| pass.nucleus_entropy(&on_original))),
            Measure::PictureSimilarity => picture_similarity(model, groups, &pass.items),
        };
        Ok(Self {
            pass: pass.without_graph(),
            divergences: wanted.uses.iter().map(|of| divergences(pass, of)).collect(),
            measured: wanted.measures.iter().map(measure).collect::<Result<_, ModelError>>()?,
        })
    }

    /// The tensors to be read.
    pub(super) fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        [&self.pass.log_probs, &self.pass.entropy].into_iter().chain(self.divergences.iter().flatten()).chain(&self.measured)
    }

    /// Fills in the readings of the responses. `read` gives what was read of [`tensors`](Unread::tensors), in their order.
    pub(super) fn fill(&self, read: &mut impl Iterator<Item = Vec<f64>>, groups: &mut [Group], wanted: Wanted<'_>) {
        let mut next = || read.next().expect("a reading of each tensor").into_iter().map(|value| value as f32).collect::<Vec<f32>>();
        let (log_probs, entropy) = (next(), next());
        let divergences: Vec<Vec<Vec<f32>>> = self.divergences.iter().map(|of| of.iter().map(|_| next()).collect()).collect();
        let measured: Vec<Vec<f32>> = self.measured.iter().map(|_| next()).collect();
        for item in &self.pass.items {
            let signal = &mut groups[item.group].responses[item.response].signal;
            for &(view, start) in &item.starts {
                let tokens = self.pass.at(item, view).expect("the item starts there");
                let of_item = |values: &Vec<f32>| values[start..start + item.length].to_vec();
                let of_view = wanted.uses.iter().zip(&divergences).find(|(of, _)| of.view == view);
                let of_original = if view == View::Original { measured.as_slice() } else { &[] };
                signal.set_reading(Reading {
                    view,
                    log_probs: log_probs[tokens.clone()].to_vec(),
                    entropy: entropy[tokens].to_vec(),
                    divergences: of_view.map_or(Vec::new(), |(of, values)| {
                        of.divergences.iter().zip(values).map(|(&which, values)| (which, of_item(values))).collect()
                    }),
                    measures: wanted.measures.iter().zip(of_original).map(|(&which, values)| (which, of_item(values))).collect(),
                });
            }
        }
    }
}

/// Reads passes back, all at once, and fills in the readings of their responses.
pub(super) fn read_all(passes: &[Unread], groups: &mut [Group], wanted: Wanted<'_>) -> Result<(), ModelError> {
    let mut read = Tensor::to_f64_vecs(&passes.iter().flat_map(Unread::tensors).collect::<Vec<_>>())?.into_iter();
    passes.iter().for_each(|pass| pass.fill(&mut read, groups, wanted));
    Ok(())
}

/// The divergences that a view asks for, of all tokens on it.
fn divergences(pass: &Pass, of: &ViewUse) -> Vec<Tensor> {
    let seen = pass.items.iter().filter(|item| pass.at(item, of.view).is_some());
    let original: Vec<u32> = seen.filter_map(|item| pass.at(item, View::Original)).flatten().map(|at| at as u32).collect();
    let on_view: Vec<u32> = pass.range(of.view).map(|at| at as u32).collect();
    if on_view.is_empty() {
        return of.divergences.iter().map(|_| Tensor::zeros(pass.log_probs.device(), &[0], pass.log_probs.dtype())).collect();
    }
    of.divergences.iter().map(|&which| no_grad(|| pass.divergence(which, &original, &on_view))).collect()
}
