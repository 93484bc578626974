//! What can be wrong with a picture: [`ImageError`].

use thiserror::Error;

use super::format::Format;

/// What can go wrong with a picture or with the settings of its processor.
///
/// `name` is the path, or what the caller of [`decode`](super::decode()) called the bytes.
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
    /// The bytes are no picture of a format that is read.
    #[error("{name}: expected a {} picture, got {found}", Format::NAMES)]
    Format {
        /// Path, or the caller's name of the bytes.
        name: String,
        /// The name of what is there, or its first bytes.
        found: String,
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
        /// Number of bytes that are there.
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
        /// [`DecodeOptions::max_pixels`](super::DecodeOptions::max_pixels).
        max_pixels: u64,
        /// [`DecodeOptions::max_side`](super::DecodeOptions::max_side).
        max_side: u32,
    },
    /// A side is too long for the other: the model was not made for such forms.
    #[error("expected a picture whose longer side is at most {most} times the shorter, got {width}x{height} pixels")]
    Aspect {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
        /// How many times the shorter side the longer may be.
        most: usize,
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
