//! The order in which a product is computed, so that what is read again is still in a near cache (Goto and van de Geijn 2008).
//!
//! ```text
//! for a slice of the inner axis            STEPS steps: a panel of the right side fits the first-level cache
//!   for a slice of the columns             COLUMNS columns: the packed right side fits the second-level caches
//!     pack the right side, panel by panel
//!     for a block of rows                  a task of its own; its left side fits the second-level cache
//!       for a panel
//!         for a tile of the block's rows   registers (tile.rs)
//! ```
//!
//! An element of the product is always the sum over the same slices in the same order, whatever the tiles and whoever computes it: the result depends on the
//! sizes alone, not on threads, and that of a row not on the other rows.

use std::cell::RefCell;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::dots::{Dots, WIDEST as DOT_COLUMNS};
use super::instructions::{Kernels, Stored};
use super::tile::{BY_ROWS, BY_STEPS, LINE, STEPS, Tile};
use crate::cpu::disjoint::Disjoint;
use crate::cpu::gemm::matrix::{Block, Order, Threads};
use crate::cpu::threads::for_each;
use crate::parallel;

/// Most columns of a packed right side.
const COLUMNS: usize = 1024;
/// Most rows of a packed left side.
const ROWS: usize = 192;
/// Multiply-adds of a task.
const TASK: usize = 1 << 19;
/// Up to so many rows, tasks take columns, and pack their own.
const FEW_ROWS: usize = 64;
/// Up to so many rows, a right side with contiguous rows is not packed.
const ROWS_IN_PLACE: usize = 96;
/// Up to so many rows, and from so many steps on, the product is computed as dot products.
const DOT_ROWS: usize = 12;
const DOT_STEPS: usize = 64;
/// Elements of the right side of a task of dot products: reading them is what takes the time.
const DOT_TASK: usize = 1 << 16;
/// So few rows are dot products with any number of steps.
const VERY_FEW_ROWS: usize = 4;
/// From so many steps on, and up to so many elements of the result, tasks take slices of the inner axis, and their results are added.
const DEEP_STEPS: usize = 1024;
const DEEP_RESULT: usize = 128 * 1024;

/// A product `out = alpha left right + beta out`.
#[derive(Clone, Copy)]
pub(super) struct Product<'a, T> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) steps: usize,
    pub(super) alpha: f32,
    pub(super) left: Block<'a, f32>,
    pub(super) right: Block<'a, T>,
    pub(super) beta: f32,
    /// Distance between rows of the output.
    pub(super) out_row: usize,
    pub(super) order: Order,
}

/// Computes a product whose matrices lie in their slices.
pub(super) fn multiply<T: Stored>(kernels: &Kernels, threads: Threads, product: Product<T>, out: &mut [f32]) {
    let Product { rows, columns, steps, .. } = product;
    let size = rows * columns * steps;
    let out = Out { all: &Disjoint::new(out), start: 0 };
    let tasks = if threads == Threads::One { 1 } else { size.div_ceil(TASK).max(1) };
    let few = match product.order {
        Order::OfRow => 0,
        Order::Fastest if steps >= DOT_STEPS => DOT_ROWS,
        Order::Fastest => VERY_FEW_ROWS,
    };
    if rows <= few && product.left.col_stride == 1 && product.right.row_stride == 1 {
        let quads = columns.div_ceil(DOT_COLUMNS);
        let tasks = if threads == Threads::One { 1 } else { (columns * steps).div_ceil(DOT_TASK).max(1) };
        split(quads, tasks.min(quads), |part| {
            let first = part.start * DOT_COLUMNS;
            product.of_columns(first, columns.min(part.end * DOT_COLUMNS) - first).dots(kernels, out.at(first));
        });
    } else if tasks == 1 {
        product.serial(kernels, out);
    } else if product.order == Order::Fastest && steps >= DEEP_STEPS && rows * columns <= DEEP_RESULT {
        product.deep(kernels, out);
    } else if rows <= FEW_ROWS {
        product.few_rows(kernels, tasks, out);
    } else {
        product.shared(kernels, tasks, out);
    }
}

/// Calls `f` with `parts` ranges that together are `0..total`.
fn split(total: usize, parts: usize, f: impl Fn(Range<usize>) + Sync) {
    parallel!(for_each(parts), |part| f(total * part / parts..total * (part + 1) / parts));
}

/// Slices of at most `most`, as equal as can be; of nothing, one.
fn slices(total: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let count = total.div_ceil(most).max(1);
    (0..count).map(move |i| (total * i / count, total * (i + 1) / count - total * i / count))
}

/// An output that tasks write pieces of, from an element on.
#[derive(Clone, Copy)]
struct Out<'a> {
    all: &'a Disjoint<'a, f32>,
    start: usize,
}

impl Out<'_> {
    fn at(self, offset: usize) -> Self {
        Out { start: self.start + offset, ..self }
    }

    /// A pointer to its start, from which `rows` rows of `columns` elements may be written.
    fn pointer(self, rows: usize, columns: usize, stride: usize) -> *mut f32 {
        self.all.pointer(self.start, (rows - 1) * stride + columns)
    }
}

/// Where the tiles find the right side.
#[derive(Clone, Copy)]
enum Right<'a> {
    /// Panel by panel.
    Packed(&'a [f32]),
    /// With the distance between its rows.
    InPlace(&'a [f32], usize),
}

impl<T: Stored> Product<'_, T> {
    fn of_rows(self, first: usize, rows: usize) -> Self {
        Product { rows, left: self.left.rows_from(first), ..self }
    }

    fn of_columns(self, first: usize, columns: usize) -> Self {
        Product { columns, right: self.right.columns_from(first), ..self }
    }

    fn of_steps(self, first: usize, steps: usize) -> Self {
        let beta = if first == 0 { self.beta } else { 1.0 };
        Product { steps, left: self.left.columns_from(first), right: self.right.rows_from(first), beta, ..self }
    }

    /// On this thread alone.
    fn serial(self, kernels: &Kernels, out: Out) {
        for (first, steps) in slices(self.steps, STEPS) {
            let product = self.of_steps(first, steps);
            if let Some(right) = product.right_in_place(kernels) {
                product.over_rows(kernels, right, out);
                continue;
            }
            for (first, columns) in slices(self.columns, COLUMNS) {
                let product = product.of_columns(first, columns);
                RIGHT.with_borrow_mut(|packed| {
                    let packed = packed.of(kernels.padded(columns) * steps);
                    product.pack_panels(kernels, 0..product.panels(kernels), &Disjoint::new(packed));
                    product.over_rows(kernels, Right::Packed(packed), out.at(first));
                });
            }
        }
    }

    /// On all threads, which take panels and pack them, with all of the left side packed before.
    fn few_rows(self, kernels: &Kernels, tasks: usize, out: Out) {
        let mut scratch = ALL_LEFT.take();
        let slice_len = self.rows * if self.left_form() == BY_ROWS { LINE } else { STEPS };
        let left = scratch.of(slice_len * self.steps.div_ceil(STEPS).max(1));
        for ((first, steps), left) in slices(self.steps, STEPS).zip(left.chunks_mut(slice_len)) {
            let product = self.of_steps(first, steps);
            product.pack_tiles(kernels, 0..product.tiles(kernels), &Disjoint::new(left));
        }
        let panel = 2 * kernels.lanes;
        split(self.panels(kernels), tasks.min(self.panels(kernels)), |panels| {
            RIGHT.with_borrow_mut(|right| {
                for ((first, steps), left) in slices(self.steps, STEPS).zip(left.chunks(slice_len)) {
                    let product = self.of_steps(first, steps);
                    for first in panels.clone().map(|index| index * panel) {
                        let product = product.of_columns(first, panel.min(self.columns - first));
                        let right = right.of(kernels.padded(product.columns) * steps);
                        product.pack_panels(kernels, 0..1, &Disjoint::new(right));
                        product.over_tiles(kernels, left, Right::Packed(right), out.at(first));
                    }
                }
            });
        });
        ALL_LEFT.set(scratch);
    }

    /// On all threads, which pack the right side together and then take blocks of rows.
    fn shared(self, kernels: &Kernels, tasks: usize, out: Out) {
        let mut scratch = RIGHT.take();
        for (first, steps) in slices(self.steps, STEPS) {
            let product = self.of_steps(first, steps);
            for (first, columns) in slices(self.columns, COLUMNS) {
                let product = product.of_columns(first, columns);
                let packed = scratch.of(kernels.padded(columns) * steps);
                let panels = product.panels(kernels);
                {
                    let packed = Disjoint::new(packed);
                    split(panels, panels.min((steps * columns).div_ceil(TASK / 16)), |part| product.pack_panels(kernels, part, &packed));
                }
                let tiles = self.rows.div_ceil(kernels.tiles.len());
                let blocks = tiles.min(tasks.div_ceil(self.steps.div_ceil(STEPS) * self.columns.div_ceil(COLUMNS)));
                split(tiles, blocks, |part| {
                    let [from, to] = [part.start, part.end].map(|tile| self.rows * tile / tiles);
                    product.of_rows(from, to - from).over_rows(kernels, Right::Packed(packed), out.at(from * self.out_row + first));
                });
            }
        }
        RIGHT.set(scratch);
    }

    /// On all threads, which take slices of a long inner axis; the results, small ones, are added in order.
    fn deep(self, kernels: &Kernels, out: Out) {
        let Product { rows, columns, .. } = self;
        let parts: Vec<_> = slices(self.steps, DEEP_STEPS.min(self.steps / 8)).collect();
        let mut scratch = SUMS.take();
        let results = Disjoint::new(scratch.of(parts.len() * rows * columns));
        parallel!(for_each(parts.len()), |part| {
            let (first, steps) = parts[part];
            let product = Product { beta: 0.0, out_row: columns, ..self.of_steps(first, steps) };
            product.serial(kernels, Out { all: &results, start: part * rows * columns });
        });
        results.anew();
        split(rows, rows.min((parts.len() * rows * columns).div_ceil(TASK / 16)), |some| {
            for row in some {
                // SAFETY: a row is added by one task
                let target = unsafe { out.all.piece(out.start + row * self.out_row, columns) };
                match self.beta {
                    0.0 => target.fill(0.0),
                    1.0 => (),
                    beta => target.iter_mut().for_each(|x| *x *= beta),
                }
                for part in 0..parts.len() {
                    // SAFETY: no result is written any more
                    let result = unsafe { results.piece((part * rows + row) * columns, columns) };
                    target.iter_mut().zip(result).for_each(|(sum, x)| *sum += *x);
                }
            }
        });
        SUMS.set(scratch);
    }

    /// The right side where it lies, if its rows are contiguous and reach to the end of a register, and it is read too few times for packing to pay.
    fn right_in_place(&self, kernels: &Kernels) -> Option<Right<'_>> {
        let block = T::as_f32(self.right)?;
        let reach = self.steps.saturating_sub(1) * block.row_stride + kernels.padded(self.columns);
        let fits = block.col_stride == 1 && self.rows <= ROWS_IN_PLACE && reach <= block.data.len();
        fits.then_some(Right::InPlace(block.data, block.row_stride))
    }

    fn panels(&self, kernels: &Kernels) -> usize {
        self.columns.div_ceil(2 * kernels.lanes)
    }

    /// Packs some panels of the right side: `steps` rows of two registers each, of the last panel one if that is enough.
    fn pack_panels(&self, kernels: &Kernels, panels: Range<usize>, packed: &Disjoint<f32>) {
        let panel = 2 * kernels.lanes;
        for first in panels.map(|index| index * panel) {
            let columns = panel.min(self.columns - first);
            let width = kernels.padded(columns);
            let to = packed.pointer(first * self.steps, width * self.steps);
            // SAFETY: the processor has the kernel's instructions, the block holds the panel, and no other panel is written here
            unsafe { (T::of(kernels).pack)(self.right.columns_from(first).t(), columns, self.steps, width, to) };
        }
    }

    /// All rows, block by block, whose left sides are packed.
    fn over_rows(&self, kernels: &Kernels, right: Right, out: Out) {
        for (first, rows) in slices(self.rows, ROWS) {
            LEFT.with_borrow_mut(|left| {
                let block = self.of_rows(first, rows);
                let left = left.of(rows * block.left_width());
                block.pack_tiles(kernels, 0..block.tiles(kernels), &Disjoint::new(left));
                block.over_tiles(kernels, left, right, out.at(first * self.out_row));
            });
        }
    }

    fn tiles(&self, kernels: &Kernels) -> usize {
        self.rows.div_ceil(kernels.tiles.len())
    }

    /// First row of a tile, and its number of rows.
    fn tile(&self, kernels: &Kernels, index: usize) -> (usize, usize) {
        let tiles = self.tiles(kernels);
        let first = self.rows * index / tiles;
        (first, self.rows * (index + 1) / tiles - first)
    }

    /// How the left side is packed: a copy where its rows are contiguous, else by steps.
    fn left_form(&self) -> usize {
        if self.left.col_stride == 1 { BY_ROWS } else { BY_STEPS }
    }

    /// Elements of a packed row.
    fn left_width(&self) -> usize {
        if self.left_form() == BY_ROWS { LINE } else { self.steps }
    }

    /// Packs some tiles of the left side.
    fn pack_tiles(&self, kernels: &Kernels, tiles: Range<usize>, packed: &Disjoint<f32>) {
        for (first, rows) in tiles.map(|index| self.tile(kernels, index)) {
            let width = self.left_width();
            let to = packed.pointer(first * width, rows * width);
            let from = self.left.rows_from(first);
            // SAFETY: as for panels
            unsafe {
                match self.left_form() {
                    BY_ROWS => (kernels.copy_rows)(from, rows, self.steps, to),
                    _ => (f32::of(kernels).pack)(from, rows, self.steps, rows, to),
                }
            };
        }
    }

    /// The tiles of all rows, panel by panel, with the left side packed.
    fn over_tiles(&self, kernels: &Kernels, left: &[f32], right: Right, out: Out) {
        let left_width = self.left_width();
        let panel = 2 * kernels.lanes;
        for first_column in (0..self.columns).step_by(panel) {
            let columns = panel.min(self.columns - first_column);
            let width = kernels.padded(columns);
            let (right, right_step) = match right {
                Right::Packed(data) => (data[first_column * self.steps..][..width * self.steps].as_ptr(), width),
                Right::InPlace(data, step) => (data[first_column..][..self.steps.saturating_sub(1) * step + width].as_ptr(), step),
            };
            for (first, rows) in (0..self.tiles(kernels)).map(|index| self.tile(kernels, index)) {
                let tile = Tile {
                    steps: self.steps,
                    left: left[first * left_width..][..rows * left_width].as_ptr(),
                    right,
                    right_step,
                    out: out.at(first * self.out_row + first_column).pointer(rows, columns, self.out_row),
                    out_row: self.out_row,
                    columns,
                    alpha: self.alpha,
                    beta: self.beta,
                };
                // SAFETY: the processor has the kernel's instructions; both sides and the output reach as far as the sizes say
                unsafe { kernels.tiles[rows - 1][width / kernels.lanes - 1][self.left_form()](&tile) };
            }
        }
    }

    /// Dot products, without packing.
    fn dots(&self, kernels: &Kernels, out: Out) {
        let by_rows = T::of(kernels).dots;
        for (first_column, columns) in (0..self.columns).step_by(DOT_COLUMNS).map(|first| (first, DOT_COLUMNS.min(self.columns - first))) {
            for (first, rows) in slices(self.rows, by_rows.len()) {
                let step = if columns == DOT_COLUMNS { DOT_COLUMNS } else { 1 };
                for column in (first_column..first_column + columns).step_by(step) {
                    let dots = Dots {
                        steps: self.steps,
                        left: self.left.rows_from(first).data.as_ptr(),
                        left_row: self.left.row_stride,
                        right: self.right.columns_from(column).data.as_ptr(),
                        right_column: self.right.col_stride,
                        out: out.at(first * self.out_row + column).pointer(rows, step, self.out_row),
                        out_row: self.out_row,
                        alpha: self.alpha,
                        beta: self.beta,
                    };
                    // SAFETY: as for tiles
                    unsafe { by_rows[rows - 1][usize::from(step == 1)](&dots) };
                }
            }
        }
    }
}

impl Kernels {
    /// Columns filled up to whole registers.
    fn padded(&self, columns: usize) -> usize {
        columns.next_multiple_of(self.lanes)
    }
}

/// Memory for packed sides, aligned to cache lines; it grows and never shrinks.
#[derive(Default)]
struct Scratch(Vec<Line>);

#[repr(C, align(64))]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Line([f32; 16]);

impl Scratch {
    /// `len` elements of any content.
    fn of(&mut self, len: usize) -> &mut [f32] {
        let lines = len.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
        &mut bytemuck::cast_slice_mut(&mut self.0[..lines])[..len]
    }
}

thread_local! {
    static LEFT: RefCell<Scratch> = RefCell::default();
    static ALL_LEFT: RefCell<Scratch> = RefCell::default();
    static RIGHT: RefCell<Scratch> = RefCell::default();
    static SUMS: RefCell<Scratch> = RefCell::default();
}
