//! One forward pass over a micro-batch.

use percept_engine::{Indices, Tensor};
use percept_model::image::Tiles;
use percept_model::{Model, ModelError, Packing, ResponseRows};

use super::plan::{Part, is_contrasted, is_seen_in_all_views};
use super::{BatchForm, Group, StepConfig};

/// Log-probabilities and entropies of `[responses on I | contrasted responses on I⁺ | the same on I⁻]`.
pub(super) struct Pass {
    /// The responses, in order.
    pub(super) items: Vec<Item>,
    /// Response tokens on I.
    pub(super) tokens: usize,
    /// Response tokens on I⁺, and as many on I⁻.
    pub(super) contrasted: usize,
    /// Tokens that went through the decoder.
    pub(super) packed_tokens: usize,
    /// `[tokens + 2·contrasted]`
    pub(super) log_probs: Tensor,
    /// Nats. `[tokens + 2·contrasted]`
    pub(super) entropy: Tensor,
    hidden: Tensor,
    rows: ResponseRows,
}

/// Where a response's tokens stand.
pub(super) struct Item {
    pub(super) group: usize,
    pub(super) response: usize,
    /// First of its tokens on I.
    pub(super) start: usize,
    /// Number of its tokens.
    pub(super) length: usize,
    /// First of its tokens on I⁺, counted from the first such token of all; the same on I⁻. None if it is not contrasted.
    pub(super) view_start: Option<usize>,
}

impl Pass {
    /// All passes of a micro-batch at once.
    #[track_caller]
    pub(super) fn forward(model: &Model, groups: &[Group], part: &Part, config: &StepConfig<'_>) -> Result<Pass, ModelError> {
        let mut packing = Packing::new(model.config());
        let mut rows: [Vec<ResponseRows>; 3] = Default::default();
        let mut items = Vec::new();
        for of_group in part.chunk_by(|a, b| a.0 == b.0) {
            let (index, responses): (usize, Vec<usize>) = (of_group[0].0, of_group.iter().map(|&(_, response)| response).collect());
            let group = &groups[index];
            let in_views: Vec<usize> = responses.iter().copied().filter(|&r| is_seen_in_all_views(group, r, config)).collect();
            let on_original = pack(&mut packing, group, &group.original, &responses, config.form)?;
            let [mut on_preserved, mut on_removed] = [Vec::new().into_iter(), Vec::new().into_iter()];
            if !in_views.is_empty() {
                let views = group.views.as_ref().unwrap_or_else(|| panic!("the views of group {index} are missing"));
                on_preserved = pack(&mut packing, group, &views.preserved, &in_views, config.form)?.into_iter();
                on_removed = pack(&mut packing, group, &views.removed, &in_views, config.form)?.into_iter();
            }
            for (&response, on_original) in responses.iter().zip(on_original) {
                let views = if in_views.contains(&response) { on_preserved.next().zip(on_removed.next()) } else { None };
                let start = rows[0].iter().map(ResponseRows::len).sum();
                let views = views.filter(|_| is_contrasted(group, response, config));
                let view_start = views.is_some().then(|| rows[1].iter().map(ResponseRows::len).sum());
                items.push(Item { group: index, response, start, length: on_original.len(), view_start });
                rows[0].push(on_original);
                if let Some((preserved, removed)) = views {
                    rows[1].push(preserved);
                    rows[2].push(removed);
                }
            }
        }
        let [tokens, contrasted, _] = rows.each_ref().map(|rows| rows.iter().map(ResponseRows::len).sum());
        let packed_tokens = packing.tokens();
        let hidden = model.hidden(&packing.into_batch(model));
        let rows = ResponseRows::concat(rows.iter().flatten());
        let (log_probs, entropy) = model.log_probs(&hidden, &rows, config.temperature);
        Ok(Pass { items, tokens, contrasted, packed_tokens, log_probs, entropy, hidden, rows })
    }

    /// ℓ of the same responses on I under another policy. `-> [tokens]`
    #[track_caller]
    pub(super) fn reference(model: &Model, groups: &[Group], part: &Part, config: &StepConfig<'_>) -> Result<Tensor, ModelError> {
        let config = StepConfig { contrast: None, ..*config };
        Ok(Pass::forward(model, groups, part, &config)?.log_probs)
    }

    /// Some of [`log_probs`](Pass::log_probs). `positions [n] -> [n]`
    pub(super) fn log_probs_at(&self, positions: &[u32]) -> Tensor {
        self.log_probs.index_select(&Indices::new(self.log_probs.device(), positions, &[positions.len()]))
    }

    /// The hidden states that predict some of the tokens. `positions [n] -> [n, hidden]`
    pub(super) fn hidden_at(&self, positions: &[u32]) -> Tensor {
        let rows: Vec<u32> = positions.iter().map(|&at| self.rows.rows[at as usize]).collect();
        self.hidden.index_select(&Indices::new(self.hidden.device(), &rows, &[rows.len()]))
    }

    /// Log π_old of the tokens on I, if the responses have them. `-> [tokens]`
    #[track_caller]
    pub(super) fn old_log_probs(&self, groups: &[Group]) -> Option<Tensor> {
        let old: Vec<&Vec<f32>> = self.items.iter().filter_map(|item| item.of(groups).old_log_probs.as_ref()).collect();
        assert!(
            old.is_empty() || old.len() == self.items.len(),
            "compute_gradients: {} of {} responses have old_log_probs: expected all or none",
            old.len(),
            self.items.len()
        );
        let old: Vec<f32> = old.into_iter().flatten().copied().collect();
        assert!(old.is_empty() || old.len() == self.tokens, "compute_gradients: {} old_log_probs for {} tokens", old.len(), self.tokens);
        (!old.is_empty()).then(|| self.constant(&old))
    }

    /// Â of each token on I. `-> [tokens]`
    pub(super) fn advantages(&self, groups: &[Group]) -> Tensor {
        self.constant(&self.host_advantages(groups))
    }

    /// Â of each token on I, on the host.
    pub(super) fn host_advantages(&self, groups: &[Group]) -> Vec<f32> {
        self.items.iter().flat_map(|item| std::iter::repeat_n(item.of(groups).advantage, item.length)).collect()
    }

    fn constant(&self, values: &[f32]) -> Tensor {
        Tensor::from_f32(self.log_probs.device(), values, &[values.len()], self.log_probs.dtype())
    }
}

impl Item {
    pub(super) fn of<'g>(&self, groups: &'g [Group]) -> &'g super::Response {
        &groups[self.group].responses[self.response]
    }
}

/// Packs responses to one prompt on one picture.
#[track_caller]
fn pack(
    packing: &mut Packing<'_>,
    group: &Group,
    pictures: &[Tiles<f32>],
    responses: &[usize],
    form: BatchForm,
) -> Result<Vec<ResponseRows>, ModelError> {
    let tokens = responses.iter().map(|&response| &group.responses[response].tokens);
    match form {
        BatchForm::Packed => {
            let prompt = packing.prompt(&group.prompt, pictures)?;
            tokens.map(|tokens| packing.response(&prompt, tokens)).collect()
        }
        BatchForm::Rows => tokens.map(|tokens| packing.row(&group.prompt, pictures, tokens)).collect(),
    }
}
