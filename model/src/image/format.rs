//! Which kind of file some bytes are, by how they begin: the picture formats that are read, and names for what is not.

use ::image::ImageFormat;

/// A picture format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// PNG; of an animated one the first frame.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP, lossy or lossless; of an animated one the first frame.
    WebP,
    /// GIF, the first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// TIFF, the first page.
    Tiff,
}

impl Format {
    /// The formats by name, as errors list them.
    pub(super) const NAMES: &str = "PNG, JPEG, WebP, GIF, BMP or TIFF";

    /// The format of a file that begins with `bytes`; none if it is not among those that are read.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let riff = |kind: &[u8]| bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(kind);
        match bytes {
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => Some(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Some(Self::Jpeg),
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Self::Gif),
            // two letters are a weak sign; the four reserved bytes after the size are zero in what writers make
            [b'B', b'M', _, _, _, _, 0, 0, 0, 0, ..] => Some(Self::Bmp),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => Some(Self::Tiff),
            _ => riff(b"WEBP").then_some(Self::WebP),
        }
    }

    /// The usual extension of a file's name, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Jpeg => "jpg",
            Self::WebP => "webp",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::Tiff => "tif",
        }
    }

    pub(super) fn decoder(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::WebP => ImageFormat::WebP,
            Self::Gif => ImageFormat::Gif,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
        }
    }
}

/// What a file is that is none of the formats above: its name where it is known, else its first bytes.
pub(super) fn describe(bytes: &[u8]) -> String {
    if let Some(name) = other_name(bytes) {
        return name.to_owned();
    }
    match bytes.len() {
        0 => "an empty file".to_owned(),
        length => format!("{length} bytes that start with {:02x?}", &bytes[..length.min(8)]),
    }
}

/// Formats that are met in place of pictures, and what a failed download leaves.
fn other_name(bytes: &[u8]) -> Option<&'static str> {
    // an ISO media file: its brand says which
    if bytes.get(4..8) == Some(b"ftyp") {
        return Some(match bytes.get(8..12)? {
            b"avif" | b"avis" => "AVIF",
            b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => "HEIC (HEIF)",
            b"crx " => "a raw photograph (CR3)",
            _ => "a video (MP4 or QuickTime)",
        });
    }
    let signatures: [(&[u8], &'static str); 14] = [
        (b"%PDF-", "PDF"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"8BPS", "Photoshop (PSD)"),
        (b"\0\0\x01\0", "a Windows icon (ICO)"),
        (b"II\x2b\0", "BigTIFF"),
        (b"MM\0\x2b", "BigTIFF"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1f\x8b", "gzip"),
        (b"DDS ", "DDS"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"version https://git-lfs", "a Git LFS pointer, not the file itself (`git lfs pull` fetches it)"),
    ];
    let known = signatures.iter().find(|(start, _)| bytes.starts_with(start)).map(|(_, name)| *name);
    known.or_else(|| markup(bytes))
}

/// SVG, and the web page that came in place of a picture.
fn markup(bytes: &[u8]) -> Option<&'static str> {
    let start = &bytes[..bytes.len().min(4096)];
    let text = String::from_utf8_lossy(start).trim_start_matches('\u{feff}').trim_start().to_ascii_lowercase();
    if !text.starts_with('<') {
        return None;
    }
    // an SVG may stand after a declaration and comments; a web page may have one inside
    match (text.starts_with("<!doctype html") || text.starts_with("<html"), text.contains("<svg")) {
        (true, _) => Some("a web page (HTML)"),
        (false, true) => Some("SVG"),
        _ => Some("XML or HTML"),
    }
}
