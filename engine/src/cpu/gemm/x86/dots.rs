//! Products with few rows, as in decoding: the right side is read once, where it lies, and never packed.
//!
//! A weight `[outputs, inputs]` has the inputs side by side, and so have the rows of the left side. Each output is a dot product along both. A block of them shares
//! loads: `ROWS` registers of the left side and `COLUMNS` of the right give `ROWS · COLUMNS` multiply-adds.

use std::arch::x86_64::_mm_storeu_ps;

use super::vector::{Source, Vector};

/// Columns of the widest block of dot products.
pub(super) const WIDEST: usize = 4;

/// A block of dot products.
pub(super) struct Dots<T> {
    /// Length of the inner axis.
    pub(super) steps: usize,
    pub(super) left: *const f32,
    /// Distance between rows of the left side.
    pub(super) left_row: usize,
    pub(super) right: *const T,
    /// Distance between columns of the right side.
    pub(super) right_column: usize,
    pub(super) out: *mut f32,
    /// Distance between rows of the output.
    pub(super) out_row: usize,
    pub(super) alpha: f32,
    /// As of a [`Tile`](super::tile::Tile).
    pub(super) beta: f32,
}

/// Computes `ROWS` · `COLUMNS` dot products.
///
/// # Safety
/// The processor has the instructions of `V`, and the pointers reach as far as the sizes say.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, T: Source, const ROWS: usize, const COLUMNS: usize>(dots: &Dots<T>) {
    // SAFETY: the caller's
    unsafe {
        let mut sums = [[V::splat(0.0); COLUMNS]; ROWS];
        let mut rows = [dots.left; ROWS];
        for (row, pointer) in rows.iter_mut().enumerate() {
            *pointer = dots.left.add(row * dots.left_row);
        }
        let mut columns = [dots.right; COLUMNS];
        for (column, pointer) in columns.iter_mut().enumerate() {
            *pointer = dots.right.add(column * dots.right_column);
        }
        let whole = dots.steps / V::LANES * V::LANES;
        let mut at = 0;
        while at < whole {
            let mut right = [V::splat(0.0); COLUMNS];
            for (register, column) in right.iter_mut().zip(columns) {
                *register = T::load(column.add(at));
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let left = V::load(rows[row].add(at));
                for (sum, &right) in sums.iter_mut().zip(&right) {
                    *sum = left.mul_add(right, *sum);
                }
            }
            at += V::LANES;
        }
        for (row, sums) in sums.iter().enumerate() {
            let mut four = [V::splat(0.0); WIDEST];
            four[..COLUMNS].copy_from_slice(sums);
            let mut totals = [0.0f32; WIDEST];
            _mm_storeu_ps(totals.as_mut_ptr(), V::sums(four));
            for (column, total) in totals[..COLUMNS].iter_mut().enumerate() {
                for at in whole..dots.steps {
                    *total += *rows[row].add(at) * (*columns[column].add(at)).widened();
                }
                let out = dots.out.add(row * dots.out_row + column);
                let before = if dots.beta == 0.0 { 0.0 } else { dots.beta * *out };
                *out = before + dots.alpha * *total;
            }
        }
    }
}
