//! One forward pass over the responses of a micro-batch, on all their pictures.

use percept_model::image::Patches;
use percept_model::{Model, ModelError, Packing, ResponseRows};

use super::plan::Part;
use crate::methods::micro_batch::{Item, Pass};
use crate::methods::view::{View, ViewUse};
use crate::training::group::Group;

/// Reads the responses of `part` on the original picture and on those of `uses` that they are read on.
///
/// # Panics
/// If perturbed pictures are missing.
#[track_caller]
pub(super) fn forward(model: &Model, groups: &[Group], part: &Part, uses: &[ViewUse], temperature: f32) -> Result<Pass, ModelError> {
    let mut packing = Packing::new(model.config());
    let views: Vec<View> = std::iter::once(View::Original).chain(uses.iter().map(|of| of.view)).collect();
    let mut rows: Vec<Vec<ResponseRows>> = vec![Vec::new(); views.len()];
    let mut items = Vec::new();
    for of_group in part.chunk_by(|a, b| a.0 == b.0) {
        let number = of_group[0].0;
        let group = &groups[number];
        let responses: Vec<usize> = of_group.iter().map(|&(_, response)| response).collect();
        let first = items.len();
        items.extend(responses.iter().map(|&response| {
            let length = group.responses[response].tokens().len();
            Item { group: number, response, length, starts: Vec::new() }
        }));
        let places: Vec<usize> = (first..items.len()).collect();
        pack(&mut packing, group, Some(&group.encoded.tiles), View::Original, &places, &mut items, &mut rows[0])?;
        for (of, rows) in uses.iter().zip(&mut rows[1..]) {
            let reads = |place: &usize| of.seen_by.includes(group.responses[items[*place].response].signal.advantage);
            let seen: Vec<usize> = places.iter().copied().filter(reads).collect();
            let pictures = |place: &usize| {
                let response = items[*place].response;
                let found = group.pictures_of(response, of.view);
                found.unwrap_or_else(|| panic!("the views of group {number} are missing: {:?} for response {response}", of.view))
            };
            let pictures: Vec<usize> = seen.iter().map(pictures).collect();
            // the responses that share pictures share a prompt
            let mut start = 0;
            for shared in pictures.chunk_by(|a, b| a == b) {
                let places = &seen[start..start + shared.len()];
                pack(&mut packing, group, group.views[shared[0]].tiles.as_deref(), of.view, places, &mut items, rows)?;
                start += shared.len();
            }
        }
    }
    let mut ranges = Vec::new();
    let mut first = 0;
    for (view, rows) in views.iter().zip(&rows) {
        let tokens: usize = rows.iter().map(ResponseRows::len).sum();
        ranges.push((*view, first..first + tokens));
        first += tokens;
    }
    let packed_tokens = packing.tokens();
    let hidden = model.hidden(&packing.into_batch(model));
    let rows = ResponseRows::concat(rows.iter().flatten());
    let (log_probs, entropy) = model.log_probs(&hidden, &rows, temperature);
    let head = model.head().clone();
    Ok(Pass { items, views: ranges, log_probs, entropy, hidden, rows: rows.rows, head, temperature, packed_tokens })
}

/// Packs a prompt on some pictures, or with its own hidden, and the responses at `places` of `items` after it.
#[track_caller]
fn pack(
    packing: &mut Packing<'_>,
    group: &Group,
    pictures: Option<&[Patches]>,
    view: View,
    places: &[usize],
    items: &mut [Item],
    rows: &mut Vec<ResponseRows>,
) -> Result<(), ModelError> {
    if places.is_empty() {
        return Ok(());
    }
    let prompt = match pictures {
        Some(pictures) => packing.prompt(&group.encoded.tokens, pictures)?,
        None => packing.prompt_hiding_pictures(&group.encoded.tokens, &group.encoded.tiles)?,
    };
    for &place in places {
        let item = &mut items[place];
        item.starts.push((view, rows.iter().map(ResponseRows::len).sum()));
        rows.push(packing.response(&prompt, group.responses[item.response].tokens())?);
    }
    Ok(())
}
