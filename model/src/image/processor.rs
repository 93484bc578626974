//! [`ImageProcessor`]: how the pictures of a model are prepared.

use super::error::ImageError;
use super::patches::Patches;
use super::resize::size;
use ::image::RgbImage;
use std::sync::Arc;

/// Turns pictures into patches, as a model directory says.
#[derive(Clone)]
pub struct ImageProcessor {
    process: Arc<dyn Fn(&RgbImage) -> Patches + Send + Sync>,
    /// The longer side may be so many times the shorter.
    max_aspect: Option<usize>,
}

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
        Self { process: Arc::new(process), max_aspect: None }
    }

    /// Takes no picture whose longer side is more than so many times the shorter.
    pub(crate) fn with_aspects_up_to(self, max_aspect: usize) -> Self {
        Self { max_aspect: Some(max_aspect), ..self }
    }

    /// Whether the model takes pictures of this form.
    ///
    /// # Errors
    /// [`ImageError::Aspect`] if one side is too long for the other.
    pub fn check(&self, image: &RgbImage) -> Result<(), ImageError> {
        let (width, height) = size(image);
        match self.max_aspect {
            Some(most) if width.max(height) > most * width.min(height) => Err(ImageError::Aspect { width, height, most }),
            _ => Ok(()),
        }
    }

    /// A picture, ready for the vision tower.
    ///
    /// # Panics
    /// If a side of the picture is zero, or [`check`](ImageProcessor::check) refuses it.
    #[track_caller]
    pub fn process(&self, image: &RgbImage) -> Patches {
        let (width, height) = size(image);
        assert!(width > 0 && height > 0, "process: a side is zero: {width}x{height}");
        if let Err(error) = self.check(image) {
            panic!("process: {error}");
        }
        (self.process)(image)
    }
}

impl std::fmt::Debug for ImageProcessor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ImageProcessor")
    }
}
