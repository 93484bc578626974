//! Pictures as rows name them: a path, bytes, or base64 text.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use image::RgbImage;
use percept_model::image::{DecodeOptions, Format, ImageError, decode, read};

use super::config::{DataConfig, ImageFiles};

/// An encoded picture, in memory or on disk.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageSource {
    /// The bytes of a picture's file.
    Bytes(Arc<[u8]>),
    /// A picture's file.
    File(PathBuf),
}

impl ImageSource {
    /// The picture that a text of `config`'s data in `folder` stands for: a data URI, base64, or a path.
    pub(super) fn from_text(text: &str, folder: &Path, config: &DataConfig) -> Result<Self, String> {
        if let Some(uri) = strip_scheme(text, "data:") {
            return from_data_uri(uri).map(|bytes| Self::Bytes(bytes.into()));
        }
        if let Some(scheme) =
            ["http://", "https://", "hf://", "s3://", "gs://", "file://"].into_iter().find(|s| strip_scheme(text, s).is_some())
        {
            return Err(format!("expected a path or base64, got an address ({scheme}): nothing is fetched: {}", shorten(text)));
        }
        match picture_in_base64(text) {
            Some(bytes) => Ok(Self::Bytes(bytes.into())),
            None => Ok(Self::File(place(Path::new(text), folder, config.image_files)?)),
        }
    }

    /// The picture, RGB, 8 bits. `-> [height, width, 3]`
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(&self, options: DecodeOptions) -> Result<RgbImage, String> {
        let bytes = self.bytes()?;
        decode(&bytes, &self.to_string(), options).map_err(|e| match e {
            ImageError::TooLarge { width, height, max_pixels, .. } if u64::from(width) * u64::from(height) > max_pixels => {
                format!("{e} (data.max_pixels sets it)")
            }
            e => e.to_string(),
        })
    }

    pub(super) fn bytes(&self) -> Result<Arc<[u8]>, String> {
        match self {
            ImageSource::Bytes(bytes) => Ok(bytes.clone()),
            ImageSource::File(path) => read(path).map(Into::into).map_err(|e| match e {
                ImageError::Read { source, .. } => format!("{self}: {source}"),
                other => other.to_string(),
            }),
        }
    }
}

impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
            ImageSource::File(path) => f.write_str(&shorten(&path.display().to_string())),
        }
    }
}

/// `text`, or its beginning if it is long: a message must not print a whole picture.
pub(super) fn shorten(text: &str) -> String {
    const SHOWN: usize = 200;
    let count = text.chars().count();
    if count <= SHOWN {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN / 2).collect();
    format!("{start}… ({count} characters)")
}

/// What follows `scheme`, in whatever case it is written.
fn strip_scheme<'a>(text: &'a str, scheme: &str) -> Option<&'a str> {
    let start = text.get(..scheme.len())?;
    start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
}

/// The bytes of `image/png;base64,iVBOR…`. What kind of picture they are is seen from the bytes, not from the media type.
fn from_data_uri(uri: &str) -> Result<Vec<u8>, String> {
    let (header, data) = uri.split_once(',').ok_or_else(|| format!("data URI: expected a comma, got none in data:{}", shorten(uri)))?;
    if !header.to_ascii_lowercase().ends_with(";base64") {
        return Err(format!("data URI: expected base64 (`;base64,`), got data:{}", shorten(header)));
    }
    from_base64(data).map_err(|e| format!("data URI: not base64: {e}"))
}

/// The bytes of a base64 text that is a picture; none if it is anything else, a path above all.
///
/// It is taken for base64 only if the bytes begin as a picture does and no path looks like it: there is no dot in base64.
fn picture_in_base64(text: &str) -> Option<Vec<u8>> {
    const SHORTEST: usize = 40; // no picture is smaller
    // the first bytes tell whether the rest, which may be megabytes, is worth a look; twenty letters are fifteen whole bytes
    let start: String = text.chars().filter(|c| !c.is_ascii_whitespace()).take(20).collect();
    if text.len() < SHORTEST || Format::of(&from_base64(&start).ok()?).is_none() {
        return None;
    }
    from_base64(text).ok()
}

/// Both alphabets, with or without padding and line breaks.
fn from_base64(text: &str) -> Result<Vec<u8>, String> {
    let compact: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let alphabet = if compact.iter().any(|byte| matches!(byte, b'-' | b'_')) { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(alphabet, config).decode(compact).map_err(|e| e.to_string())
}

/// The file that `path` means in `folder`, if it may be opened. Links are not looked at.
fn place(path: &Path, folder: &Path, allowed: ImageFiles) -> Result<PathBuf, String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let is_below = || {
        let root = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
        let Ok(below) = (if path.has_root() { path.strip_prefix(&root) } else { Ok(path) }) else { return false };
        let mut depth = 0_i64;
        below.components().all(|component| {
            depth += match component {
                Component::Normal(_) => 1,
                Component::CurDir => 0,
                Component::ParentDir => -1,
                Component::RootDir | Component::Prefix(_) => return false,
            };
            depth >= 0
        })
    };
    match allowed == ImageFiles::Any || is_below() {
        true => Ok(folder.join(path)),
        false => Err(format!(
            "{}: not below the folder {} (data.image_root names another folder, data.image_files = \"any\" opens any file)",
            shorten(&path.display().to_string()),
            folder.display()
        )),
    }
}
