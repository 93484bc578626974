//! A picture's file to RGB: the one decoder, whoever asks (training, `generate`, `score`, `inspect`).
//!
//! The pixels are those of Pillow's `convert("RGB")` (Pillow 13, checked by the goldens), after two steps of transformers: the picture is turned
//! upright, as its EXIF or XMP says (`load_image`, and the `datasets` library), and what is transparent is laid over white (the image processors'
//! `convert_to_rgb`; see [`Transparency`]). Kind by kind:
//! - palettes are looked up, an index past the palette is black;
//! - grey of 1, 2 and 4 bits is stretched to 0..=255;
//! - **16-bit grey is clipped at 255, not scaled** (Pillow's mode `I;16`): almost any such picture turns white. This is
//!   what a user of transformers gets, so it is what we give; rescale such files beforehand;
//! - all other 16-bit kinds keep the high byte of each sample;
//! - floating-point samples are refused;
//! - of an animation the first frame is taken, of a TIFF with several pages the first page; what a first frame leaves of its GIF is transparent
//!   (in Pillow it has the first colour of the palette);
//! - alpha in a TIFF is taken as unassociated;
//! - ICC profiles and gamma are ignored.
//!
//! PNG, GIF, BMP, TIFF and lossless WebP give Pillow's bytes. JPEG decoders differ in rounding and chroma upsampling: on a 640x480 picture of
//! quality 90 by at most 4/255 (0.4/255 on average) with 4:2:0 chroma, 3/255 (0.02/255) with 4:4:4; lossy WebP likewise.

use std::io::{Cursor, ErrorKind};
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};
use serde::{Deserialize, Serialize};

use super::error::ImageError;
use super::file::read;
use super::format::{Format, describe};
use super::orientation::orientation;
use crate::foreign;

/// What becomes of transparency: an alpha channel, a transparent colour, a palette with transparent entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Transparency {
    /// The picture is laid over white: transformers' image processors, given an RGBA `PIL.Image`, as the `datasets` library hands it out.
    #[default]
    #[serde(rename = "white")]
    OverWhite,
    /// It is dropped, and the colours stored under transparent pixels appear, often black: Pillow's `convert("RGB")`.
    #[serde(rename = "drop")]
    Drop,
}

/// Limits and choices in decoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Pictures of more pixels are refused before their pixels are read. Default: 89,478,485, Pillow's
    /// `MAX_IMAGE_PIXELS`, above which Pillow warns of a decompression bomb (it refuses above twice as many).
    pub max_pixels: u64,
    /// Pictures with a longer side, in pixels, are refused: the memory of a resize grows with the side. Default: 65,535,
    /// the longest side of a JPEG.
    pub max_side: u32,
    /// What becomes of transparency.
    pub transparency: Transparency,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { max_pixels: 89_478_485, max_side: 65_535, transparency: Transparency::OverWhite }
    }
}

/// Reads and decodes a picture's file with the default options.
///
/// # Errors
/// [`ImageError`], naming the path.
pub fn open(path: impl AsRef<Path>) -> Result<RgbImage, ImageError> {
    open_with(path, DecodeOptions::default())
}

/// Reads and decodes a picture's file.
///
/// # Errors
/// Those of [`read`] and [`decode`], naming the path.
pub fn open_with(path: impl AsRef<Path>, options: DecodeOptions) -> Result<RgbImage, ImageError> {
    let name = path.as_ref().display().to_string();
    decode(&read(path)?, &name, options)
}

/// Decodes the bytes of a picture's file; `name` is what errors call them.
///
/// # Errors
/// Not one of the formats that are read; damaged or truncated; larger than the limits in `options`.
pub fn decode(bytes: &[u8], name: &str, options: DecodeOptions) -> Result<RgbImage, ImageError> {
    let format = Format::of(bytes).ok_or_else(|| ImageError::Format { name: name.to_owned(), found: describe(bytes) })?;
    let decoded = foreign::contain(|| decode_format(bytes, format, name, options));
    decoded.unwrap_or_else(|panic| Err(ImageError::Decode { name: name.to_owned(), reason: panic }))
}

fn decode_format(bytes: &[u8], format: Format, name: &str, options: DecodeOptions) -> Result<RgbImage, ImageError> {
    let DecodeOptions { max_pixels, max_side, transparency } = options;
    let check_size = |width: u32, height: u32| {
        if u64::from(width) * u64::from(height) <= max_pixels && width.max(height) <= max_side {
            return Ok(());
        }
        Err(ImageError::TooLarge { name: name.to_owned(), width, height, max_pixels, max_side })
    };
    let truncated = |expected| ImageError::Truncated { name: name.to_owned(), length: bytes.len(), expected };
    let broken = |reason: String| ImageError::Decode { name: name.to_owned(), reason };
    let failed = |error| match error {
        ::image::ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => truncated("the rest of the picture"),
        error => broken(error.to_string()),
    };

    let mut grey16 = false;
    match format {
        Format::Png => {
            let header = PngHeader::read(bytes).ok_or_else(|| truncated("the PNG header"))?;
            // Before the decoder sees it: it allocates its row buffers while it reads the header.
            check_size(header.width, header.height)?;
            grey16 = header.is_grey16();
        }
        // The decoder would fill what is missing with grey.
        Format::Jpeg if !jpeg_has_end(bytes) => return Err(truncated("the end-of-image marker")),
        _ => {}
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.decoder());
    let mut limits = Limits::no_limits();
    // eight bytes a pixel are the most that samples take; the rest is for tables and metadata
    limits.max_alloc = Some(max_pixels.saturating_mul(8).saturating_add(64 << 20));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(width, height)?;
    if width == 0 || height == 0 {
        return Err(broken("the picture is empty".to_owned()));
    }
    let upright = match format {
        Format::Tiff => decoder.orientation().map_err(failed)?,
        _ => orientation(bytes, format),
    };
    let picture = DynamicImage::from_decoder(decoder).map_err(failed)?;
    let pixels = match picture {
        DynamicImage::ImageLuma16(grey) => grey.as_raw().iter().flat_map(|&value| clip(value)).collect(),
        DynamicImage::ImageLumaA16(grey) if grey16 => flatten(grey.pixels().map(|p| with_alpha(clip(p[0]), p[1])), transparency),
        picture => to_rgb8(picture, transparency).map_err(broken)?,
    };
    let mut picture = DynamicImage::ImageRgb8(RgbImage::from_raw(width, height, pixels).expect("three bytes a pixel"));
    picture.apply_orientation(upright);
    Ok(picture.into_rgb8())
}

/// The fields of a PNG's IHDR chunk that the `image` crate does not pass on unchanged.
struct PngHeader {
    width: u32,
    height: u32,
    bit_depth: u8,
    color_type: u8,
}

impl PngHeader {
    /// IHDR is the first chunk: signature (8), length (4), type (4), width (4), height (4), bit depth, colour type.
    fn read(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(16..26)?;
        let side = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().expect("four bytes"));
        Some(Self { width: side(0), height: side(4), bit_depth: header[8], color_type: header[9] })
    }

    /// Grey without an alpha channel; a tRNS chunk makes the decoder report alpha, but not Pillow.
    fn is_grey16(&self) -> bool {
        self.bit_depth == 16 && self.color_type == 0
    }
}

/// Whether a JPEG's end-of-image marker is there, as Pillow demands. Segments with a length are stepped over, so that
/// the marker of an embedded thumbnail does not count.
fn jpeg_has_end(bytes: &[u8]) -> bool {
    let mut at = 2; // after start-of-image
    while let Some(&[first, marker]) = bytes.get(at..at + 2) {
        at += match (first, marker) {
            (0xff, 0xd9) => return true,
            (0xff, 0xff) => 1,                      // a fill byte
            (0xff, 0x00 | 0x01 | 0xd0..=0xd8) => 2, // a stuffed 0xff in the data, or a marker without a length
            (0xff, _) => match bytes.get(at + 2..at + 4) {
                Some(&[high, low]) => 2 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
            _ => 1, // entropy-coded data
        };
    }
    false
}

/// Pillow's `I;16` to `RGB`: clipped at 255.
fn clip(value: u16) -> [u8; 3] {
    [value.min(255) as u8; 3]
}

fn with_alpha([r, g, b]: [u8; 3], alpha: u16) -> [u8; 4] {
    [r, g, b, (alpha >> 8) as u8]
}

/// RGB of any kind of picture but 16-bit grey; 16-bit samples keep their high byte.
fn to_rgb8(picture: DynamicImage, transparency: Transparency) -> Result<Vec<u8>, String> {
    let high = |value: u16| (value >> 8) as u8;
    Ok(match picture {
        DynamicImage::ImageRgb8(rgb) => rgb.into_raw(),
        DynamicImage::ImageLuma8(grey) => grey.as_raw().iter().flat_map(|&value| [value; 3]).collect(),
        DynamicImage::ImageRgb16(rgb) => rgb.as_raw().iter().map(|&value| high(value)).collect(),
        DynamicImage::ImageLumaA8(grey) => flatten(grey.pixels().map(|p| [p[0], p[0], p[0], p[1]]), transparency),
        DynamicImage::ImageRgba8(rgba) => flatten(rgba.pixels().map(|p| p.0), transparency),
        DynamicImage::ImageLumaA16(grey) => {
            let rgba = grey.pixels().map(|p| [p[0], p[0], p[0], p[1]].map(high));
            flatten(rgba, transparency)
        }
        DynamicImage::ImageRgba16(rgba) => flatten(rgba.pixels().map(|p| p.0.map(high)), transparency),
        other => return Err(format!("samples of the kind {:?} are not supported", other.color())),
    })
}

/// RGBA to RGB.
fn flatten(rgba: impl Iterator<Item = [u8; 4]>, transparency: Transparency) -> Vec<u8> {
    match transparency {
        Transparency::Drop => rgba.flat_map(|[r, g, b, _]| [r, g, b]).collect(),
        Transparency::OverWhite => rgba.flat_map(|[r, g, b, a]| [r, g, b].map(|value| over_white(value, a))).collect(),
    }
}

/// One channel of Pillow's `alpha_composite` over opaque white: value·α + 255·(1 − α), divided by 255 in fixed point
/// with 7 fractional bits.
fn over_white(value: u8, alpha: u8) -> u8 {
    let (value, alpha) = (u32::from(value), u32::from(alpha));
    let sum = ((value * alpha + 255 * (255 - alpha)) << 7) + (0x80 << 7);
    ((((sum >> 8) + sum) >> 8) >> 7) as u8
}
