//! A sheet of pictures to look at: one row per picture, its versions side by side, each with a caption.

use std::path::Path;

use font8x8::legacy::BASIC_LEGACY as GLYPHS;
use image::imageops::{FilterType, replace, resize};
use image::{ImageError, Rgb, RgbImage};

/// A picture on the sheet.
#[derive(Clone, Debug)]
pub struct Tile<'a> {
    /// What stands above it, in ASCII; other characters become `?`.
    pub caption: String,
    /// The picture.
    pub picture: &'a RgbImage,
}

/// Between pictures and around them, pixels.
const GAP: u32 = 6;
/// A letter is as wide as it is high, pixels.
const LETTER: u32 = 8;
/// From the top of a caption to the top of its picture.
const CAPTION: u32 = LETTER + 4;
const PAPER: Rgb<u8> = Rgb([64; 3]);
const INK: Rgb<u8> = Rgb([255; 3]);

/// Puts `rows` of pictures on one sheet, each picture enlarged `zoom` times (sharp pixels), its caption above it. Columns are as wide as
/// their widest picture or caption.
///
/// # Panics
/// If `zoom` is 0.
#[track_caller]
pub fn contact_sheet(rows: &[Vec<Tile<'_>>], zoom: u32) -> RgbImage {
    assert!(zoom > 0, "contact_sheet: zoom is 0");
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |tile: &Tile<'_>| (tile.picture.width() * zoom).max(tile.caption.chars().count() as u32 * LETTER);
    let height = |tile: &Tile<'_>| CAPTION + tile.picture.height() * zoom;
    let widths: Vec<u32> = (0..columns).map(|c| rows.iter().filter_map(|row| row.get(c)).map(width).max().unwrap_or(0)).collect();
    let heights: Vec<u32> = rows.iter().map(|row| row.iter().map(height).max().unwrap_or(0)).collect();
    let extent = |lengths: &[u32]| GAP + lengths.iter().map(|length| length + GAP).sum::<u32>();
    let mut sheet = RgbImage::from_pixel(extent(&widths), extent(&heights), PAPER);
    let mut top = GAP;
    for (row, height) in rows.iter().zip(&heights) {
        let mut left = GAP;
        for (Tile { caption, picture }, width) in row.iter().zip(&widths) {
            write(&mut sheet, caption, left, top);
            let enlarged = resize(*picture, picture.width() * zoom, picture.height() * zoom, FilterType::Nearest);
            replace(&mut sheet, &enlarged, i64::from(left), i64::from(top + CAPTION));
            left += width + GAP;
        }
        top += height + GAP;
    }
    sheet
}

/// A letter is eight bytes, one per row, the lowest bit on the left.
fn write(sheet: &mut RgbImage, text: &str, left: u32, top: u32) {
    for (place, letter) in (0..).zip(text.chars()) {
        let glyph = GLYPHS.get(letter as usize).unwrap_or(&GLYPHS[usize::from(b'?')]);
        for (y, row) in (0..).zip(glyph) {
            for x in (0..LETTER).filter(|x| row >> x & 1 == 1) {
                sheet.put_pixel(left + place * LETTER + x, top + y, INK);
            }
        }
    }
}

/// Writes [`contact_sheet`] as a PNG file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_contact_sheet(path: &Path, rows: &[Vec<Tile<'_>>], zoom: u32) -> Result<(), ImageError> {
    contact_sheet(rows, zoom).save_with_format(path, image::ImageFormat::Png)
}
