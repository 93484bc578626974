//! [`ImageProcessor`]: how the pictures of a model are prepared.

use super::patches::Patches;
use super::resize::size;
use ::image::RgbImage;
use std::sync::Arc;

/// Turns pictures into patches, as a model directory says.
#[derive(Clone)]
pub struct ImageProcessor(Arc<dyn Fn(&RgbImage) -> Patches + Send + Sync>);

/// Whether a picture is cut into tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageSplitting {
    /// It is cut into tiles, and the whole comes after them: more tokens, more detail.
    Tiles,
    /// It is resized to one tile.
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
