//! Pictures that a part of the model which is not trained has seen already: what it gave is kept, so that a picture is encoded once however often it is read.

use crate::image::{Patches, PictureId};
use crate::layers::patches::PatchBatch;
use percept_engine::Tensor;
use std::sync::{Mutex, PoisonError};

/// More than this is not kept: large pictures have millions of numbers after the vision tower.
const MAX_BYTES: usize = 1 << 30;

/// Features of pictures, as long as the pictures themselves are alive.
#[derive(Default)]
pub(super) struct EncodedPictures(Mutex<Vec<(PictureId, Tensor)>>);

impl EncodedPictures {
    /// The features of all pictures of a batch, in order. `encode` is asked for those that are not known, each once; `rows` says how many rows a picture gets. No gradient flows through
    /// `encode`. `-> [rows of all pictures, ..]`
    pub(super) fn of(&self, pictures: &PatchBatch, rows: impl Fn(&Patches) -> usize, encode: impl Fn(&PatchBatch) -> Tensor) -> Tensor {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(picture, _)| picture.is_alive());
        let place = |known: &[(PictureId, Tensor)], picture: &Patches| known.iter().position(|(id, _)| *id == picture.id());

        let mut new: Vec<Patches> = Vec::new();
        for picture in pictures.pictures() {
            if place(&known, picture).is_none() && !new.iter().any(|other| other.id() == picture.id()) {
                new.push(picture.clone());
            }
        }
        let kept = known.len();
        if let Some(batch) = pictures.of_same_kind(new) {
            let features = encode(&batch).detach();
            let mut start = 0;
            for picture in batch.pictures() {
                let count = rows(picture);
                known.push((picture.id(), features.slice(0, start, count)));
                start += count;
            }
        }
        let parts: Vec<&Tensor> =
            pictures.pictures().iter().map(|picture| &known[place(&known, picture).expect("encoded above")].1).collect();
        let all = Tensor::concat(&parts, 0);
        let bytes = |(_, features): &(PictureId, Tensor)| features.len() * features.dtype().size_bytes();
        if known.iter().map(bytes).sum::<usize>() > MAX_BYTES {
            known.truncate(kept);
        }
        all
    }
}
