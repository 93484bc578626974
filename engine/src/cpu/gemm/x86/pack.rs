//! Packing: the pieces of a matrix that the inner kernel will read, copied into the order in which it reads them.
//!
//! A product reads each number of either side many times. Packed, they come one after the other, in few pages of memory and whatever the strides of the matrix are;
//! halves are widened on the way, and edges filled with zeros, so that the kernel knows nothing of all this.

use std::arch::x86_64::*;

use super::tile::LINE;
use super::vector::{Source, Vector};
use crate::cpu::gemm::matrix::Block;

/// Packs `lines` lines of `steps` elements: `to[step · width + line]`, zeros in the lines up to `width`. The block's rows are the lines.
///
/// # Safety
/// The processor has AVX2 and the instructions of `V`; the block holds the elements, and `to` has `steps · width` of them.
#[inline(always)]
pub(super) unsafe fn pack<V: Vector, T: Source>(from: Block<T>, lines: usize, steps: usize, width: usize, to: *mut f32) {
    // SAFETY: the caller's
    unsafe {
        let source = from.data.as_ptr();
        if from.row_stride == 1 {
            let whole = lines / V::LANES * V::LANES;
            for step in 0..steps {
                let (source, to) = (source.add(step * from.col_stride), to.add(step * width));
                for line in (0..whole).step_by(V::LANES) {
                    T::load::<V>(source.add(line)).store(to.add(line));
                }
                if whole < width {
                    T::copy_first::<V>(source.add(whole), lines - whole, to.add(whole), width - whole);
                }
            }
        } else if from.col_stride == 1 {
            transpose(source, from.row_stride, lines, steps, width, to);
        } else {
            for step in 0..steps {
                let (source, to) = (source.add(step * from.col_stride), to.add(step * width));
                for line in 0..width {
                    *to.add(line) = if line < lines { (*source.add(line * from.row_stride)).widened() } else { 0.0 };
                }
            }
        }
    }
}

/// Copies rows of a left side that are contiguous, to where a tile reads them: [`LINE`] elements apart.
///
/// # Safety
/// As [`pack`], with `rows · LINE` elements in `to`.
#[inline(always)]
pub(super) unsafe fn copy_rows<V: Vector>(from: Block<f32>, rows: usize, steps: usize, to: *mut f32) {
    let whole = steps / V::LANES * V::LANES;
    for row in 0..rows {
        // SAFETY: the caller's
        unsafe {
            let (from, to) = (from.data.as_ptr().add(row * from.row_stride), to.add(row * LINE));
            for step in (0..whole).step_by(V::LANES) {
                V::load(from.add(step)).store(to.add(step));
            }
            if whole < steps {
                V::load_first(from.add(whole), steps - whole).store_first(to.add(whole), steps - whole);
            }
        }
    }
}

/// [`pack`] of lines that are contiguous: squares of eight by eight turned in registers.
#[inline(always)]
unsafe fn transpose<T: Source>(source: *const T, line_stride: usize, lines: usize, steps: usize, width: usize, to: *mut f32) {
    const SIDE: usize = 8;
    // SAFETY: the caller's
    unsafe {
        let squares = steps / SIDE * SIDE;
        for first in (0..width).step_by(SIDE) {
            let (present, places) = (lines.saturating_sub(first).min(SIDE), SIDE.min(width - first));
            for step in (0..squares).step_by(SIDE) {
                let mut rows = [_mm256_setzero_ps(); SIDE];
                for (line, row) in rows.iter_mut().enumerate().take(present) {
                    *row = T::load(source.add((first + line) * line_stride + step));
                }
                for (i, column) in turn(rows).into_iter().enumerate() {
                    let to = to.add((step + i) * width + first);
                    match places {
                        SIDE => column.store(to),
                        4 => _mm_storeu_ps(to, _mm256_castps256_ps128(column)),
                        _ => {
                            let mut lanes = [0.0f32; SIDE];
                            column.store(lanes.as_mut_ptr());
                            to.copy_from_nonoverlapping(lanes.as_ptr(), places);
                        }
                    }
                }
            }
            for step in squares..steps {
                for line in 0..places {
                    let value = if line < present { (*source.add((first + line) * line_stride + step)).widened() } else { 0.0 };
                    *to.add(step * width + first + line) = value;
                }
            }
        }
    }
}

/// The transposed square: pairs, then quads, then halves change places.
#[inline(always)]
unsafe fn turn(r: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller's
    unsafe {
        let pairs = [
            _mm256_unpacklo_ps(r[0], r[1]),
            _mm256_unpackhi_ps(r[0], r[1]),
            _mm256_unpacklo_ps(r[2], r[3]),
            _mm256_unpackhi_ps(r[2], r[3]),
            _mm256_unpacklo_ps(r[4], r[5]),
            _mm256_unpackhi_ps(r[4], r[5]),
            _mm256_unpacklo_ps(r[6], r[7]),
            _mm256_unpackhi_ps(r[6], r[7]),
        ];
        let quads = [
            low(pairs[0], pairs[2]),
            high(pairs[0], pairs[2]),
            low(pairs[1], pairs[3]),
            high(pairs[1], pairs[3]),
            low(pairs[4], pairs[6]),
            high(pairs[4], pairs[6]),
            low(pairs[5], pairs[7]),
            high(pairs[5], pairs[7]),
        ];
        [
            upper(quads[0], quads[4]),
            upper(quads[1], quads[5]),
            upper(quads[2], quads[6]),
            upper(quads[3], quads[7]),
            lower(quads[0], quads[4]),
            lower(quads[1], quads[5]),
            lower(quads[2], quads[6]),
            lower(quads[3], quads[7]),
        ]
    }
}

#[inline(always)]
unsafe fn low(a: __m256, b: __m256) -> __m256 {
    // SAFETY: the caller's, as in the next three
    unsafe { _mm256_shuffle_ps::<0b01_00_01_00>(a, b) }
}

#[inline(always)]
unsafe fn high(a: __m256, b: __m256) -> __m256 {
    unsafe { _mm256_shuffle_ps::<0b11_10_11_10>(a, b) }
}

#[inline(always)]
unsafe fn upper(a: __m256, b: __m256) -> __m256 {
    unsafe { _mm256_permute2f128_ps::<0x20>(a, b) }
}

#[inline(always)]
unsafe fn lower(a: __m256, b: __m256) -> __m256 {
    unsafe { _mm256_permute2f128_ps::<0x31>(a, b) }
}
