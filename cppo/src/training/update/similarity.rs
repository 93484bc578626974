//! How alike the hidden states of a response's tokens are to those of the picture's visual tokens.

use percept_engine::{Indices, Tensor, no_grad};
use percept_model::{Model, ModelError, Packing};

use crate::methods::micro_batch::Item;
use crate::training::group::Group;

/// The rows of a packed batch that hold a prompt's visual tokens and its responses' tokens.
struct Rows {
    picture: Vec<u32>,
    responses: Vec<u32>,
}

/// [`PictureSimilarity`](crate::methods::signal::Measure::PictureSimilarity) of every token of the responses `items`. It takes a forward pass of its own, on the original picture: in the pass of an update the
/// last token of a response does not stand, and no layer but the last is kept. `-> [tokens]`
pub(super) fn picture_similarity(model: &Model, groups: &[Group], items: &[Item]) -> Result<Tensor, ModelError> {
    let mut packing = Packing::new(model.config());
    let mut rows = Vec::new();
    for of_group in items.chunk_by(|a, b| a.group == b.group) {
        let group = &groups[of_group[0].group];
        let prompt = packing.prompt(&group.encoded.tokens, &group.encoded.tiles)?;
        let is_visual = |row: &usize| group.encoded.tokens[row - prompt.rows.start] == model.config().image_token_id;
        let picture = prompt.rows.clone().filter(is_visual).map(|row| row as u32).collect();
        let mut responses = Vec::new();
        for item in of_group {
            // the last token is not packed: so one more, whichever, is put after it
            let tokens = group.responses[item.response].tokens();
            let longer = [tokens, &tokens[..1]].concat();
            responses.extend(&packing.response(&prompt, &longer)?.rows[1..]);
        }
        rows.push(Rows { picture, responses });
    }
    let batch = packing.into_batch(model);
    let (mut sum, mut layers) = (None::<Tensor>, 0);
    model.visit_hidden(&batch, |hidden| {
        let of_layer = of_layer(hidden, &rows);
        sum = Some(sum.take().map_or(of_layer.clone(), |sum| sum.add(&of_layer)));
        layers += 1;
    });
    let sum = sum.expect("every model has a final norm");
    Ok(no_grad(|| sum.mul_scalar(1.0 / layers as f32)))
}

/// The mean over visual tokens of the cosine to each, for every token of the responses: the product with the mean of the visual tokens' directions. `hidden [packed tokens, hidden] -> [tokens]`
fn of_layer(hidden: &Tensor, rows: &[Rows]) -> Tensor {
    let length = hidden.square().sum(&[1]).sqrt().add_scalar(1e-8);
    let direction = hidden.div(&length.reshape(&[hidden.dim(0), 1]));
    let at = |rows: &[u32]| direction.index_select(&Indices::new(hidden.device(), rows, &[rows.len()]));
    let of_prompt = |rows: &Rows| {
        let tokens = at(&rows.responses);
        match rows.picture.as_slice() {
            [] => tokens.sum(&[1]).mul_scalar(0.0),
            picture => tokens.mul(&at(picture).mean(&[0]).reshape(&[1, hidden.dim(1)])).sum(&[1]),
        }
    };
    let of_prompts: Vec<Tensor> = rows.iter().map(of_prompt).collect();
    Tensor::concat(&of_prompts.iter().collect::<Vec<_>>(), 0)
}
