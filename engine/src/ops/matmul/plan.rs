//! How a product is shared out among the workgroups of a hardware GPU: by its sizes alone, so that it can be counted on a machine that has none.

use super::rows::{RowRule, are_few_by};
use crate::tune::MatmulVariant;

/// A product `[m, k] · [k, n]`, and how its right side lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductSizes {
    /// How many products of these sizes run side by side.
    pub batches: usize,
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// The inner axis, over which is summed.
    pub k: usize,
    /// Whether neighbours of the right side are neighbours along `k` (a weight `[out, in]` that is read transposed) or along `n`.
    pub right: RightAxis,
}

/// The axis of the right side along which numbers lie next to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RightAxis {
    /// The inner axis.
    Inner,
    /// The columns of the result.
    Columns,
}

/// What a GPU is asked to run for a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProductPlan {
    /// Slices of the inner axis, each a product of its own; if there are several, their sum follows.
    pub slices: usize,
    /// The kernel: the tile, or that for few rows.
    pub variant: MatmulVariant,
    /// Rows and columns of the result that a workgroup computes.
    pub tile: [usize; 2],
    /// Workgroups of all slices and batches.
    pub workgroups: usize,
    /// Times that a workgroup goes round its loop over the inner axis.
    pub steps: usize,
    /// Rows of tiles that are walked side by side before the next columns: what is read for them stays in the cache.
    pub band: usize,
}

/// What a hardware GPU without tuned variants runs for a product.
pub fn product_plan(sizes: ProductSizes, rule: RowRule, cut: Cut) -> ProductPlan {
    let slices = if is_thin(rule, sizes) { 1 } else { slices(WORKGROUPS, sizes, cut) };
    let sizes = ProductSizes { batches: sizes.batches * slices, k: sizes.k / slices, ..sizes };
    let is_thin = is_thin(rule, sizes);
    let variant = if is_thin { MatmulVariant::Skinny } else { MatmulVariant::Tile };
    let (tile, step, band) = if is_thin {
        let quads = quads(sizes.right);
        (thin_tile(sizes), 4 * 64 / quads, THIN_BAND)
    } else {
        (tile(sizes), 16, BAND)
    };
    ProductPlan { slices, variant, tile, workgroups: workgroups(sizes, tile), steps: sizes.k.div_ceil(step), band }
}

/// Whether the inner axis of a product may be cut into slices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// No: what else is in the batch must not change the order of a row's sums, or the product is added to something.
    Never,
    /// In a forward pass with a gradient: where tiles are few and the axis is long.
    Forward,
    /// Of a gradient.
    Gradient,
}

/// Processors of the largest GPUs.
const PROCESSORS: usize = 132;
/// Four for each: a processor has others to run while one waits for memory, and none waits long for the last.
pub(super) const WORKGROUPS: usize = 4 * PROCESSORS;
/// `BAND` of shaders/matmul.wgsl and of shaders/matmul_skinny.wgsl.
const BAND: usize = 16;
const THIN_BAND: usize = 64;

/// Into how many slices the inner axis is best cut: so many that `wanted` workgroups with the smallest tiles share the product, and, as far as large tiles are too few, that none
/// has more than 1,024 products of a row and a column to add. Each slice of the result is written and read once more.
pub(super) fn slices(wanted: usize, sizes: ProductSizes, cut: Cut) -> usize {
    const LONGEST: usize = 1024;
    let enough_of = |tile| wanted.div_ceil(workgroups(sizes, tile).max(1));
    let enough = enough_of([32, 32]);
    // shorter slices save no more than the launch of their sum costs
    let (best, shortest) = match cut {
        Cut::Never => return 1,
        Cut::Forward => (enough, 512),
        Cut::Gradient => (enough.max(sizes.k.div_ceil(LONGEST).min(enough_of([64, 64]))), 256),
    };
    let best = best.min(sizes.k / shortest).max(1);
    // slightly more of them if they then are of one length, and nothing is left for a launch of its own
    (best..=best + best / 4).find(|slices| sizes.k.is_multiple_of(16 * slices)).unwrap_or(best)
}

/// The largest tile of which there are enough. The bits do not depend on it: every element is summed along k, one product after the other.
pub(super) fn tile(sizes: ProductSizes) -> [usize; 2] {
    let tiles = [[64, 64], [32, 64], [32, 32]];
    tiles.into_iter().find(|&tile| workgroups(sizes, tile) >= WORKGROUPS).unwrap_or([32, 32])
}

/// The tile of the kernel for few rows: 8 rows and many columns where that gives workgroups enough. Its bits do not depend on it either.
pub(super) fn thin_tile(sizes: ProductSizes) -> [usize; 2] {
    let columns = 4 * quads(sizes.right);
    let tiles = [[8, 4 * columns], [8, columns]];
    let fits = |&tile: &[usize; 2]| sizes.m > 4 && workgroups(sizes, tile) >= WORKGROUPS;
    tiles.into_iter().find(fits).unwrap_or([4, columns])
}

/// [`thin_tile`] of `[rows, inner]` by a weight `[columns, inner]`.
pub(crate) fn few_rows_tile(rows: usize, columns: usize, inner: usize) -> [usize; 2] {
    thin_tile(ProductSizes { batches: 1, m: rows, n: columns, k: inner, right: RightAxis::Inner })
}

/// Quads of columns of the kernel for few rows: along k neighbouring threads share a column, else they share a row.
pub(super) fn quads(right: RightAxis) -> usize {
    if right == RightAxis::Inner { 1 } else { 16 }
}

/// Whether a product takes the kernel for few rows.
pub(super) fn is_thin(rule: RowRule, sizes: ProductSizes) -> bool {
    are_few_by(rule, sizes.m) || (rule == RowRule::Count && starves(sizes))
}

/// Whether tiles would leave most processors without any, so that the kernel for few rows, whose workgroups are many and each of which cuts the inner axis among its
/// threads, is done before the few are through.
fn starves(sizes: ProductSizes) -> bool {
    // of a shorter axis half of those threads would have nothing
    const SHORTEST: usize = 128;
    sizes.right == RightAxis::Inner && sizes.k >= SHORTEST && workgroups(sizes, [32, 32]) < PROCESSORS
}

pub(super) fn workgroups(sizes: ProductSizes, tile: [usize; 2]) -> usize {
    sizes.batches * sizes.m.div_ceil(tile[0]) * sizes.n.div_ceil(tile[1])
}
