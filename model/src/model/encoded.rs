//! Pictures that have been encoded already, without a gradient: what came out is kept as long as the weights stay the same, so that a picture is encoded once however often it is read.

use crate::image::{Patches, PictureId};
use crate::layers::patches::PatchBatch;
use percept_engine::Tensor;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// More than this is not kept: large pictures have millions of numbers after the vision tower.
const MAX_BYTES: usize = 256 << 20;

/// How far a picture has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Through the vision tower: a row for each patch.
    Tower,
    /// Through the connector, too: a row for each visual token.
    Connector,
}

/// Features of pictures, as long as the pictures themselves are alive. Models with the same tower and connector may share them.
#[derive(Default)]
pub(super) struct EncodedPictures {
    known: Mutex<Vec<Known>>,
    /// Pictures that have gone through the vision tower.
    count: AtomicU64,
}

struct Known {
    picture: PictureId,
    stage: Stage,
    /// Of the weights that it has gone through.
    version: u64,
    features: Tensor,
}

impl EncodedPictures {
    /// How many pictures have gone through the vision tower, those that have been counted included.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts pictures that go through a tower which is trained.
    pub(super) fn add(&self, pictures: &PatchBatch) {
        self.count.fetch_add(pictures.pictures().len() as u64, Ordering::Relaxed);
    }

    /// The features of all pictures of a batch, in order, by weights of this version. `encode` is asked for those that are not known, each once; `rows` says how many rows a picture gets. No gradient flows
    /// through `encode`. `-> [rows of all pictures, ..]`
    pub(super) fn of(
        &self,
        (stage, version): (Stage, u64),
        pictures: &PatchBatch,
        rows: impl Fn(&Patches) -> usize,
        encode: impl Fn(&PatchBatch) -> Tensor,
    ) -> Tensor {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|known| known.picture.is_alive() && (known.stage != stage || known.version == version));
        let find = |known: &[Known], picture: &Patches| known.iter().position(|k| k.stage == stage && k.picture == picture.id());

        let mut new: Vec<Patches> = Vec::new();
        for picture in pictures.pictures() {
            if find(&known, picture).is_none() && !new.iter().any(|other| other.id() == picture.id()) {
                new.push(picture.clone());
            }
        }
        let kept = known.len();
        if let Some(batch) = pictures.of_same_kind(new) {
            self.add(&batch);
            let features = encode(&batch).detach();
            let mut start = 0;
            for picture in batch.pictures() {
                let count = rows(picture);
                known.push(Known { picture: picture.id(), stage, version, features: features.slice(0, start, count) });
                start += count;
            }
        }
        let parts = pictures.pictures().iter().map(|picture| &known[find(&known, picture).expect("encoded above")].features);
        let all = Tensor::concat(&parts.collect::<Vec<_>>(), 0);
        let bytes = |known: &Known| known.features.len() * known.features.dtype().size_bytes();
        if known.iter().map(bytes).sum::<usize>() > MAX_BYTES {
            known.truncate(kept);
        }
        all
    }
}
