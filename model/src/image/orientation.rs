//! How a picture is to be turned before it is shown, as its file says.
//!
//! Cameras store what the sensor saw and write beside it which way was up. transformers' `load_image` and the `datasets` library turn pictures by
//! it (Pillow's `ImageOps.exif_transpose`). As in Pillow the entry comes from EXIF, else from XMP, wherever in the file they stand.

use ::image::metadata::Orientation;

use super::format::Format;

/// The orientation that the bytes of a PNG, JPEG or WebP file ask for. For other formats, and without a valid entry: as stored.
pub(super) fn orientation(bytes: &[u8], format: Format) -> Orientation {
    let blocks = match format {
        Format::Png => png(bytes),
        Format::Jpeg => jpeg(bytes),
        Format::WebP => webp(bytes),
        Format::Gif | Format::Bmp | Format::Tiff => Vec::new(),
    };
    let by_exif = blocks.iter().find_map(|block| match block {
        Block::Exif(exif) => Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif)),
        Block::Xmp(_) => None,
    });
    let by_xmp = || {
        blocks.iter().find_map(|block| match block {
            Block::Exif(_) => None,
            Block::Xmp(text) => from_xmp(text),
        })
    };
    by_exif.or_else(by_xmp).unwrap_or(Orientation::NoTransforms)
}

/// Metadata as they stand in a file.
enum Block<'a> {
    Exif(&'a [u8]),
    Xmp(&'a [u8]),
}

/// Chunks: length, type, data, checksum. EXIF may stand before or after the pixels.
fn png(bytes: &[u8]) -> Vec<Block<'_>> {
    let (mut blocks, mut at) = (Vec::new(), 8);
    while let Some(&[a, b, c, d]) = bytes.get(at..at + 4) {
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        let (Some(kind), Some(data)) = (bytes.get(at + 4..at + 8), bytes.get(at + 8..).and_then(|rest| rest.get(..length))) else { break };
        match kind {
            b"eXIf" => blocks.push(Block::Exif(data)),
            b"iTXt" if data.starts_with(b"XML:com.adobe.xmp\0") => blocks.push(Block::Xmp(data)),
            _ => {}
        }
        at += 12 + length;
    }
    blocks
}

/// Segments: 0xff, marker, length with itself, data. The metadata stand before the start of scan.
fn jpeg(bytes: &[u8]) -> Vec<Block<'_>> {
    const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    let (mut blocks, mut at) = (Vec::new(), 2);
    while let Some(&[0xff, marker]) = bytes.get(at..at + 2) {
        match marker {
            0xff => at += 1, // a fill byte
            0xda => break,
            _ => {
                let Some(&[high, low]) = bytes.get(at + 2..at + 4) else { break };
                let length = usize::from(u16::from_be_bytes([high, low]));
                let Some(data) = bytes.get(at + 4..at + 2 + length) else { break };
                if marker == 0xe1 && data.starts_with(b"Exif\0\0") {
                    blocks.push(Block::Exif(data));
                } else if marker == 0xe1 && data.starts_with(XMP) {
                    blocks.push(Block::Xmp(data));
                }
                at += 2 + length;
            }
        }
    }
    blocks
}

/// RIFF chunks: type, length in little-endian order, data, a byte of padding after an odd length.
fn webp(bytes: &[u8]) -> Vec<Block<'_>> {
    let (mut blocks, mut at) = (Vec::new(), 12);
    while let Some(&[a, b, c, d]) = bytes.get(at + 4..at + 8) {
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        let Some(data) = bytes.get(at + 8..).and_then(|rest| rest.get(..length)) else { break };
        match &bytes[at..at + 4] {
            b"EXIF" => blocks.push(Block::Exif(data)),
            b"XMP " => blocks.push(Block::Xmp(data)),
            _ => {}
        }
        at += 8 + length + length % 2;
    }
    blocks
}

/// `tiff:Orientation="6"` or `<tiff:Orientation>6<`.
fn from_xmp(text: &[u8]) -> Option<Orientation> {
    const KEY: &[u8] = b"tiff:Orientation";
    let after = |at: usize| &text[at + KEY.len()..];
    let rests = (0..text.len().saturating_sub(KEY.len())).filter(|&at| text[at..].starts_with(KEY)).map(after);
    let digits = rests.filter_map(|rest| rest.strip_prefix(b"=\"").or_else(|| rest.strip_prefix(b">"))?.first());
    digits.copied().find(u8::is_ascii_digit).and_then(|digit| Orientation::from_exif(digit - b'0'))
}
