//! Pictures on a device: the patches of all of them along one axis, and a grid for each.

use crate::image::{Grid, Patches};
use percept_engine::ops::Segments;
use percept_engine::{DType, Device, Tensor};
use std::ops::Range;
use std::sync::OnceLock;

/// Patches of pictures, packed: those of the first picture row by row, then those of the second, and so on. Pictures may differ in size and aspect.
#[derive(Clone)]
pub struct PatchBatch {
    pictures: Vec<Patches>,
    grids: Vec<Grid>,
    device: Device,
    dtype: DType,
    /// Made when somebody asks: pictures that are known already are never sent to the device.
    patches: OnceLock<Tensor>,
}

/// Neighbours in a batch that have the same grid.
pub(crate) struct Run {
    pub(crate) grid: Grid,
    /// Number of pictures in the run.
    pub(crate) pictures: usize,
    /// Rows of their patches in the batch.
    pub(crate) rows: Range<usize>,
}

impl PatchBatch {
    /// Puts pictures on a device, the tiles of each as pictures of their own. `None` if there are none.
    ///
    /// # Panics
    /// If the patches of two pictures are not of the same width.
    #[track_caller]
    pub(crate) fn new<'p>(pictures: impl IntoIterator<Item = &'p Patches>, device: &Device, dtype: DType) -> Option<Self> {
        Self::of(pictures.into_iter().cloned().collect(), device, dtype)
    }

    #[track_caller]
    fn of(pictures: Vec<Patches>, device: &Device, dtype: DType) -> Option<Self> {
        assert!(dtype != DType::F16, "pictures: the residual stream begins with them, and f16 ends at 65,504");
        let expected = pictures.first()?.width();
        for picture in &pictures {
            assert!(picture.width() == expected, "pictures: patches of {expected} and of {} values in a batch", picture.width());
        }
        let grids = pictures.iter().flat_map(Patches::grids).copied().collect();
        Some(Self { pictures, grids, device: device.clone(), dtype, patches: OnceLock::new() })
    }

    /// A batch of other pictures on the same device. `None` if there are none.
    pub(crate) fn of_same_kind(&self, pictures: Vec<Patches>) -> Option<Self> {
        Self::of(pictures, &self.device, self.dtype)
    }

    /// The pictures, each with all its tiles.
    pub(crate) fn pictures(&self) -> &[Patches] {
        &self.pictures
    }

    /// The values, `[patches, channels·patch²]`.
    pub fn patches(&self) -> &Tensor {
        self.patches.get_or_init(|| {
            let values: Vec<f32> = self.pictures.iter().flat_map(Patches::values).copied().collect();
            let width = self.pictures[0].width();
            let shape = [values.len() / width, width];
            match self.dtype {
                DType::F64 => Tensor::from_f64(&self.device, &values.into_iter().map(f64::from).collect::<Vec<_>>(), &shape, self.dtype),
                _ => Tensor::from_slice(&self.device, &values, &shape),
            }
        })
    }

    /// Rows and columns of patches of each picture.
    pub fn grids(&self) -> &[Grid] {
        &self.grids
    }

    /// Each patch sees all patches of its picture.
    pub(crate) fn segments(&self) -> Segments {
        Segments::bidirectional(&self.grids.iter().map(|[rows, cols]| rows * cols).collect::<Vec<_>>())
    }

    /// Applies `of_run` to the rows of each run of pictures of one grid, and joins what it gives. `x [patches, ..] -> [.., ..]`
    pub(crate) fn by_grid(&self, x: &Tensor, of_run: impl Fn(&Run, &Tensor) -> Tensor) -> Tensor {
        let runs = self.runs();
        match runs.as_slice() {
            [one] => of_run(one, x),
            several => {
                let parts: Vec<Tensor> = several.iter().map(|run| of_run(run, &x.slice(0, run.rows.start, run.rows.len()))).collect();
                Tensor::concat(&parts.iter().collect::<Vec<_>>(), 0)
            }
        }
    }

    fn runs(&self) -> Vec<Run> {
        let mut start = 0;
        let run = |of: &[Grid]| {
            let (grid, pictures) = (of[0], of.len());
            let rows = start..start + pictures * grid[0] * grid[1];
            start = rows.end;
            Run { grid, pictures, rows }
        };
        self.grids.chunk_by(|a, b| a == b).map(run).collect()
    }
}
