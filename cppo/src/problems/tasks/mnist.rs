//! Handwritten digits: a subset of MNIST (see `data/mnist/README.md` for source and licence), part of the program.
//!
//! The files are embedded, so that the program works from any directory; they are unpacked once, on first use.

use std::io::Read;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use super::Split;

/// Side of a digit's picture, in pixels.
pub const DIGIT_SIDE: usize = 28;

/// The digits of one split.
#[derive(Debug)]
pub struct Mnist {
    /// Ink, 0 (paper) to 255. `[digits, 28, 28]`
    pixels: Vec<u8>,
    /// What each picture shows, 0 to 9. `[digits]`
    labels: Vec<u8>,
    /// Indices of the pictures of each digit. `[10][..]`
    by_label: [Vec<usize>; 10],
}

impl Mnist {
    /// The training digits (14,000) or the test digits (4,000). They share no picture.
    pub fn embedded(split: Split) -> &'static Mnist {
        static TRAIN: OnceLock<Mnist> = OnceLock::new();
        static TEST: OnceLock<Mnist> = OnceLock::new();
        let (cell, images, labels): (_, &[u8], &[u8]) = match split {
            Split::Train => (
                &TRAIN,
                include_bytes!(concat!(env!("SHIPPED_FOLDER"), "/data/mnist/train-images-idx3-ubyte.gz")),
                include_bytes!(concat!(env!("SHIPPED_FOLDER"), "/data/mnist/train-labels-idx1-ubyte.gz")),
            ),
            Split::Test => (
                &TEST,
                include_bytes!(concat!(env!("SHIPPED_FOLDER"), "/data/mnist/test-images-idx3-ubyte.gz")),
                include_bytes!(concat!(env!("SHIPPED_FOLDER"), "/data/mnist/test-labels-idx1-ubyte.gz")),
            ),
        };
        cell.get_or_init(|| Mnist::read(images, labels).expect("the embedded digits are intact"))
    }

    /// Digits from two gzipped IDX files: pictures `[digits, 28, 28]` and labels `[digits]`.
    ///
    /// # Errors
    /// What is wrong with which of the two files.
    pub fn read(images_gz: &[u8], labels_gz: &[u8]) -> Result<Mnist, String> {
        let (shape, pixels) = read_idx(images_gz).map_err(|e| format!("images: {e}"))?;
        let (label_shape, labels) = read_idx(labels_gz).map_err(|e| format!("labels: {e}"))?;
        if shape.len() != 3 || shape[1..] != [DIGIT_SIDE, DIGIT_SIDE] {
            return Err(format!("images: expected shape [digits, 28, 28], got {shape:?}"));
        }
        if label_shape != shape[..1] {
            return Err(format!("labels: expected shape {:?}, got {label_shape:?}", &shape[..1]));
        }
        let mut by_label: [Vec<usize>; 10] = Default::default();
        for (index, &label) in labels.iter().enumerate() {
            by_label.get_mut(usize::from(label)).ok_or(format!("labels: digit {index} is labelled {label}"))?.push(index);
        }
        Ok(Mnist { pixels, labels, by_label })
    }

    /// Number of digits.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no digit at all.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Ink of picture `index`. `-> [28, 28]`
    pub fn pixels(&self, index: usize) -> &[u8] {
        &self.pixels[index * DIGIT_SIDE * DIGIT_SIDE..][..DIGIT_SIDE * DIGIT_SIDE]
    }

    /// What picture `index` shows.
    pub fn label(&self, index: usize) -> u8 {
        self.labels[index]
    }

    /// Indices of all pictures that show `label`.
    pub fn showing(&self, label: u8) -> &[usize] {
        &self.by_label[usize::from(label)]
    }
}

/// Shape and content of a gzipped IDX file of bytes.
fn read_idx(gz: &[u8]) -> Result<(Vec<usize>, Vec<u8>), String> {
    let mut data = Vec::new();
    GzDecoder::new(gz).read_to_end(&mut data).map_err(|e| format!("not readable as gzip: {e}"))?;
    let &[0, 0, 8, dimensions] = data.first_chunk::<4>().ok_or("shorter than a header")? else {
        return Err(format!("expected the header of an IDX file of bytes (0, 0, 8, n), got {:?}", &data[..4]));
    };
    let header = 4 + 4 * usize::from(dimensions);
    let sizes = data.get(4..header).ok_or("shorter than its header")?;
    let shape: Vec<usize> = sizes.as_chunks::<4>().0.iter().map(|&bytes| u32::from_be_bytes(bytes) as usize).collect();
    let body = data.split_off(header);
    if body.len() != shape.iter().product::<usize>() {
        return Err(format!("expected {shape:?} bytes, got {}", body.len()));
    }
    Ok((shape, body))
}
