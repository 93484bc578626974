//! A sheet of pictures to look at: one row per picture, its versions side by side.

use std::path::Path;

use image::imageops::{FilterType, replace, resize};
use image::{ImageError, Rgb, RgbImage};

/// Puts `rows` of pictures on one sheet, each picture enlarged `zoom` times (sharp pixels), a grey gap between them. Columns are
/// as wide as their widest picture. For views, a row is original, preserved, removed.
///
/// # Panics
/// If `zoom` is 0.
#[track_caller]
pub fn contact_sheet(rows: &[Vec<&RgbImage>], zoom: u32) -> RgbImage {
    assert!(zoom > 0, "contact_sheet: zoom is 0");
    const GAP: u32 = 6;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<u32> =
        (0..columns).map(|c| rows.iter().filter_map(|row| row.get(c)).map(|p| p.width() * zoom).max().unwrap_or(0)).collect();
    let heights: Vec<u32> = rows.iter().map(|row| row.iter().map(|picture| picture.height() * zoom).max().unwrap_or(0)).collect();
    let extent = |lengths: &[u32]| GAP + lengths.iter().map(|length| length + GAP).sum::<u32>();
    let mut sheet = RgbImage::from_pixel(extent(&widths), extent(&heights), Rgb([128; 3]));
    let mut top = GAP;
    for (row, height) in rows.iter().zip(&heights) {
        let mut left = GAP;
        for (picture, width) in row.iter().zip(&widths) {
            let enlarged = resize(*picture, picture.width() * zoom, picture.height() * zoom, FilterType::Nearest);
            replace(&mut sheet, &enlarged, i64::from(left), i64::from(top));
            left += width + GAP;
        }
        top += height + GAP;
    }
    sheet
}

/// Writes [`contact_sheet`] as a PNG file.
///
/// # Errors
/// If the file cannot be written.
pub fn write_contact_sheet(path: &Path, rows: &[Vec<&RgbImage>], zoom: u32) -> Result<(), ImageError> {
    contact_sheet(rows, zoom).save_with_format(path, image::ImageFormat::Png)
}
