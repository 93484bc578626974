//! A packed batch as the model reads it.

use crate::layers::patches::PatchBatch;
use crate::positions::Positions;
use percept_engine::Indices;
use percept_engine::ops::Segments;

/// Where the tokens of one or more responses are predicted: the hidden state at `rows[i]` gives the distribution of `targets[i]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseRows {
    /// Rows of the packed hidden states.
    pub rows: Vec<u32>,
    /// Token ids of the responses.
    pub targets: Vec<u32>,
}

impl ResponseRows {
    /// Number of response tokens.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Several responses, one after the other.
    pub fn concat<'r>(responses: impl IntoIterator<Item = &'r ResponseRows>) -> ResponseRows {
        let mut all = ResponseRows::default();
        for response in responses {
            all.rows.extend(&response.rows);
            all.targets.extend(&response.targets);
        }
        all
    }
}

/// Tokens, positions, pictures, and who sees whom.
#[derive(Clone)]
pub struct PackedBatch {
    /// Ids of the tokens that are not visual, in order.
    pub(super) text_ids: Indices,
    /// For each token, its row in `[text embeddings | visual tokens]`; `None` if there are no pictures.
    pub(super) source: Option<Indices>,
    pub(super) pictures: Option<PatchBatch>,
    pub(super) positions: Positions,
    pub(super) segments: Segments,
}

impl PackedBatch {
    /// Number of tokens.
    pub fn tokens(&self) -> usize {
        self.positions.tokens()
    }

    /// All pictures, if there are any.
    pub fn pictures(&self) -> Option<&PatchBatch> {
        self.pictures.as_ref()
    }

    /// Each token's position in its sequence.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Who sees whom.
    pub fn segments(&self) -> &Segments {
        &self.segments
    }

    pub(crate) fn text_ids(&self) -> &Indices {
        &self.text_ids
    }

    pub(crate) fn source(&self) -> Option<&Indices> {
        self.source.as_ref()
    }
}
