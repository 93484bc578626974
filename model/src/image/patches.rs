//! A picture as a vision tower reads it: [`Patches`].

use std::sync::{Arc, Weak};

/// Rows and columns of patches.
pub type Grid = [usize; 2];

/// The tiles into which a picture was cut: `rows` × `cols` of them, row by row, followed by the picture as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Rows of tiles; 0 if the picture is not cut.
    pub rows: usize,
    /// Columns of tiles; 0 if the picture is not cut.
    pub cols: usize,
}

impl Tiling {
    /// Not cut.
    pub const WHOLE: Tiling = Tiling { rows: 0, cols: 0 };

    /// Number of tiles: `rows · cols`, and one that shows the whole picture.
    pub fn tiles(self) -> usize {
        self.rows * self.cols + 1
    }
}

/// A picture, preprocessed: its tiles (one, if it is not cut) in order, each a grid of square patches. A clone shares the values.
#[derive(Clone, PartialEq)]
pub struct Patches {
    tiling: Tiling,
    grids: Vec<Grid>,
    width: usize,
    values: Arc<Vec<f32>>,
}

impl Patches {
    /// From the patches of all tiles, one after the other, each row by row: `values [patches, width]`. The numbers of a patch stand as the weight of the
    /// vision tower's patch embedding has them, mostly as (channel, y, x).
    ///
    /// # Panics
    /// If there is not one grid for each tile, or the values do not fill the grids.
    #[track_caller]
    pub fn new(tiling: Tiling, grids: Vec<Grid>, width: usize, values: Vec<f32>) -> Self {
        let patches: usize = grids.iter().map(|[rows, cols]| rows * cols).sum();
        assert!(grids.len() == tiling.tiles(), "patches: {} grids for {} tiles", grids.len(), tiling.tiles());
        assert!(values.len() == patches * width, "patches: {} values for [{patches}, {width}] ({})", values.len(), patches * width);
        Self { tiling, grids, width, values: Arc::new(values) }
    }

    /// Cuts tiles of one size into patches of `patch` × `patch` pixels. What they leave over at the right and at the bottom is not read, as in a convolution without padding.
    /// `pixels [tiles, channels, height, width]`
    ///
    /// # Panics
    /// If a tile is smaller than a patch, or the pixels do not fill their shape.
    #[track_caller]
    pub fn from_pixels(tiling: Tiling, pixels: &[f32], [channels, height, width]: [usize; 3], patch: usize) -> Self {
        assert!(patch > 0 && height >= patch && width >= patch, "patches: patches of {patch} in {height} × {width} pixels");
        let (rows, cols) = (height / patch, width / patch);
        let mut values = Vec::with_capacity(pixels.len());
        for tile in pixels.chunks(channels * height * width) {
            for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
                for (channel, y) in (0..channels).flat_map(|channel| (0..patch).map(move |y| (channel, y))) {
                    values.extend_from_slice(&tile[(channel * height + row * patch + y) * width + col * patch..][..patch]);
                }
            }
        }
        Self::new(tiling, vec![[rows, cols]; tiling.tiles()], channels * patch * patch, values)
    }

    /// Which picture this is: clones are the same one, another with the same values is not.
    pub(crate) fn id(&self) -> PictureId {
        PictureId(Arc::downgrade(&self.values))
    }

    /// The tiles into which the picture was cut.
    pub fn tiling(&self) -> Tiling {
        self.tiling
    }

    /// The grid of each tile.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// Number of values in a patch.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values of all patches, `[patches, width]`.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Which picture it is, without keeping it alive.
#[derive(Clone)]
pub(crate) struct PictureId(Weak<Vec<f32>>);

impl PictureId {
    /// Whether the picture, or a clone of it, still exists.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }
}

impl PartialEq for PictureId {
    fn eq(&self, other: &Self) -> bool {
        self.0.ptr_eq(&other.0)
    }
}

impl std::fmt::Debug for Patches {
    // Not derived: a failed assertion must not print millions of values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patches({:?}, {:?} of {})", self.tiling, self.grids, self.width)
    }
}
