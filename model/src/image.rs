//! Pictures: from the bytes of a file to the patches that a vision tower reads.
//!
//! [`open`] and [`decode`] read PNG, JPEG, WebP, GIF, BMP and TIFF as Pillow does, turned upright and laid over white, [`resize()`] is Pillow's
//! `Image.resize` for RGB, and [`Normalisation`] turns bytes into numbers, patch by patch. Which sizes a picture is brought to is a family's
//! business: a model directory's [`ImageProcessor`] does it all.

mod decode;
mod error;
mod file;
mod format;
mod normalise;
mod orientation;
mod patches;
mod processor;
mod resize;

pub use ::image::RgbImage;
pub use decode::{DecodeOptions, Transparency, decode, open, open_with};
pub use error::ImageError;
pub use file::read;
pub use format::Format;
pub use normalise::Normalisation;
pub(crate) use patches::PictureId;
pub use patches::{Grid, Patches, Tiling};
pub use processor::{ImageProcessor, ImageSplitting};
pub use resize::{Filter, resize};
