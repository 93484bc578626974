//! The inner kernel: a tile of the product that stays in registers while the inner axis is walked.
//!
//! ```text
//!                      right: VECTORS registers a step
//!                      ┌────────┬────────┐
//!   left: a number     │ b0     │ b1     │
//!   a row and step     ├────────┼────────┤
//!        ┌───┐         │        │        │
//!   row 0│ a0│ splat → │ += a0b0│ += a0b1│    ROWS · VECTORS registers of sums
//!   row 1│ a1│ splat → │ += a1b0│ += a1b1│
//!        └───┘         └────────┴────────┘
//! ```
//!
//! A step loads VECTORS + ROWS registers and does ROWS · VECTORS fused multiply-adds, so that more rows mean fewer loads for each. What bounds the tile is
//! the number of registers: 12 · 2 sums of the 32 of AVX-512, 6 · 2 of the 16 of AVX2; the rest hold the right side and the number
//! in hand. 24 or 12 sums are also enough that no multiply-add waits for the one before (latency 4, two a cycle).

use super::vector::Vector;

/// Most steps of a tile.
pub(super) const STEPS: usize = 256;
/// Elements from row to row of a left side packed by rows: enough for all steps, and no multiple of what brings cache lines into each other's way. It is known
/// when the kernel is built, so that all rows have one pointer.
pub(super) const LINE: usize = STEPS + 16;

/// The left side is packed by steps: at each the numbers of all rows, one after the other.
pub(super) const BY_STEPS: usize = 0;
/// The left side is packed by rows, [`LINE`] elements apart: a copy, where the rows are contiguous.
pub(super) const BY_ROWS: usize = 1;

/// Where a tile finds its numbers, and where its sums go.
pub(super) struct Tile {
    /// Steps along the inner axis.
    pub(super) steps: usize,
    /// The left side, in either of its packed forms.
    pub(super) left: *const f32,
    /// The right side: at each step whole registers. What stands past the last column does not matter.
    pub(super) right: *const f32,
    /// Distance between steps of the right side.
    pub(super) right_step: usize,
    pub(super) out: *mut f32,
    /// Distance between rows of the output.
    pub(super) out_row: usize,
    /// Columns that are written.
    pub(super) columns: usize,
    /// The sums are scaled by this.
    pub(super) alpha: f32,
    /// What was in the output is scaled by this and added; at 0 it is not read.
    pub(super) beta: f32,
}

/// Computes a tile of `ROWS` rows and `VECTORS` registers.
///
/// # Safety
/// The processor has the instructions of `V`, and the pointers reach as far as the sizes say.
#[inline(always)]
pub(super) unsafe fn multiply<V: Vector, const ROWS: usize, const VECTORS: usize, const LEFT: usize>(tile: &Tile) {
    const UNROLLED: usize = 4;
    let (row_stride, step_stride) = if LEFT == BY_ROWS { (LINE, 1) } else { (1, ROWS) };
    // SAFETY: the caller's
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let (mut left, mut right) = (tile.left, tile.right);
        for _ in 0..tile.steps / UNROLLED {
            for _ in 0..UNROLLED {
                step(&mut sums, left, row_stride, right);
                (left, right) = (left.add(step_stride), right.add(tile.right_step));
            }
        }
        for _ in 0..tile.steps % UNROLLED {
            step(&mut sums, left, row_stride, right);
            (left, right) = (left.add(step_stride), right.add(tile.right_step));
        }
        let alpha = V::splat(tile.alpha);
        let last = tile.columns - (VECTORS - 1) * V::LANES;
        for (row, sums) in sums.iter().enumerate() {
            for (vector, &sum) in sums.iter().enumerate() {
                let out = tile.out.add(row * tile.out_row + vector * V::LANES);
                let is_whole = vector + 1 < VECTORS || last == V::LANES;
                let mut result = sum.mul(alpha);
                if tile.beta != 0.0 {
                    let before = if is_whole { V::load(out) } else { V::load_first(out, last) };
                    result = before.mul_add(V::splat(tile.beta), result);
                }
                if is_whole { result.store(out) } else { result.store_first(out, last) }
            }
        }
    }
}

/// Adds the products of one step.
#[inline(always)]
unsafe fn step<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    left: *const f32,
    row_stride: usize,
    right: *const f32,
) {
    // SAFETY: the caller's
    unsafe {
        let mut registers = [V::splat(0.0); VECTORS];
        for (vector, register) in registers.iter_mut().enumerate() {
            *register = V::load(right.add(vector * V::LANES));
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let number = V::splat(*left.add(row * row_stride));
            for (sum, &register) in sums.iter_mut().zip(&registers) {
                *sum = number.mul_add(register, *sum);
            }
        }
    }
}
