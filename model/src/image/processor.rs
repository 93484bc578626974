//! [`ImageProcessor`]: how the pictures of a model are prepared.

use super::{Patches, RgbImage, size};
use std::sync::Arc;

/// Turns pictures into patches, as a model directory says.
#[derive(Clone)]
pub struct ImageProcessor(Arc<dyn Fn(&RgbImage) -> Patches + Send + Sync>);

/// What becomes of a picture that is larger than a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSplitting {
    /// It is cut into tiles, and the whole comes after them: more tokens, more detail.
    Tiles,
    /// It is made as small as one tile.
    Whole,
}

impl ImageProcessor {
    pub(crate) fn new(process: impl Fn(&RgbImage) -> Patches + Send + Sync + 'static) -> Self {
        Self(Arc::new(process))
    }

    /// A picture, ready for the vision tower.
    ///
    /// # Panics
    /// If a side of the picture is zero.
    #[track_caller]
    pub fn process(&self, image: &RgbImage) -> Patches {
        let (width, height) = size(image);
        assert!(width > 0 && height > 0, "process: a side is zero: {width}x{height}");
        (self.0)(image)
    }
}

impl std::fmt::Debug for ImageProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImageProcessor")
    }
}
