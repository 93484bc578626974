//! Pictures in, tiles out: PNG and JPEG decoding, a resize with Pillow's bytes, and the Idefics3 image processor.
//!
//! [`RgbImage::open`] decodes a file as Pillow's `Image.open(path).convert("RGB")` does, [`resize()`] is Pillow's
//! `Image.resize` for RGB, and [`ImageProcessor`] is transformers' `Idefics3ImageProcessorPil` for one picture.

mod decode;
mod resize;

pub use crate::families::idefics3::processor::config::{ImageProcessorConfig, ImageSize, LongestEdge};
pub use crate::families::idefics3::processor::{ImageProcessor, Tiles};
pub use decode::{DecodeOptions, Transparency};
pub use resize::{Filter, resize};

use thiserror::Error;

/// What can go wrong with a picture or with the settings of its processor.
///
/// `name` is the path, or what the caller of [`RgbImage::decode`] called the bytes.
#[derive(Debug, Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("{name}: cannot read the file")]
    Read {
        /// Path of the file.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The bytes are neither PNG nor JPEG.
    #[error("{name}: expected a PNG or JPEG picture, got {} bytes that start with {start:02x?}", length)]
    Format {
        /// Path, or the caller's name of the bytes.
        name: String,
        /// How many bytes there are.
        length: usize,
        /// The first bytes, at most eight.
        start: Vec<u8>,
    },
    /// The picture is damaged, or uses a feature that is not supported.
    #[error("{name}: cannot decode the picture: {reason}")]
    Decode {
        /// Path, or the caller's name of the bytes.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// The data end before the picture does.
    #[error("{name}: the picture is truncated: {length} bytes without {expected}")]
    Truncated {
        /// Path, or the caller's name of the bytes.
        name: String,
        /// How many bytes there are.
        length: usize,
        /// What should have come.
        expected: &'static str,
    },
    /// The picture is larger than allowed: a decompression bomb, or a legitimate giant (then raise the limits).
    #[error("{name}: {width}x{height} ({} pixels) exceeds the limit of {max_pixels} pixels or {max_side} a side", u64::from(*width) * u64::from(*height))]
    TooLarge {
        /// Path, or the caller's name of the bytes.
        name: String,
        /// Width in pixels.
        width: u32,
        /// Height in pixels.
        height: u32,
        /// [`DecodeOptions::max_pixels`].
        max_pixels: u64,
        /// [`DecodeOptions::max_side`].
        max_side: u32,
    },
    /// A setting of the image processor makes no sense.
    #[error("image processor: {field}: expected {expected}, got {got}")]
    Config {
        /// The setting's key in `preprocessor_config.json`.
        field: &'static str,
        /// What is accepted.
        expected: String,
        /// What was found.
        got: String,
    },
}

/// A picture of 8-bit RGB pixels, `[height, width, 3]` in row-major order.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbImage {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) pixels: Vec<u8>,
}

impl RgbImage {
    /// Wraps `pixels`, `[height, width, 3]`.
    ///
    /// # Panics
    /// If a side is zero or `pixels` has another length than `height * width * 3`.
    #[track_caller]
    pub fn new(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        assert!(width > 0 && height > 0, "RgbImage::new: a side is zero: {width}x{height}");
        assert!(
            pixels.len() == width * height * 3,
            "RgbImage::new: wrong number of bytes: {width}x{height}x3 ({}) against {}",
            width * height * 3,
            pixels.len()
        );
        Self { width, height, pixels }
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The bytes, `[height, width, 3]`, to be written to.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// The bytes, `[height, width, 3]`, without a copy.
    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

impl std::fmt::Debug for RgbImage {
    // Not derived: a failed assertion must not print millions of bytes.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RgbImage({}x{})", self.width, self.height)
    }
}
