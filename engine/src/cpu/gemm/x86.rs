//! Matrix products for x86-64 with AVX2 or AVX-512. To read in this order:
//!
//! 1. `tile.rs`: the inner kernel, a tile of the result in registers.
//! 2. `pack.rs`: how both sides are laid out for it.
//! 3. `blocked.rs`: the loops around it, by cache, and how they are split over threads.
//! 4. `dots.rs`: products of few rows, which only the memory's speed bounds.
//! 5. `vector.rs`, `instructions.rs`: registers, and the choice of instructions when the program runs.
#![allow(unsafe_code)] // kernels take pointers; every matrix was checked to lie in its slice

mod blocked;
mod dots;
mod instructions;
mod pack;
mod tile;
mod vector;

use half::{bf16, f16};
use instructions::Stored;

use super::matrix::{Block, Form, Threads};
use crate::dtype::{DType, Element};

/// Computes a product whose matrices lie in their slices; false if this processor has no kernels here for elements of this type.
pub(super) fn multiply<T: Element>(threads: Threads, form: &Form<f32>, a: Block<f32>, b: Block<T>, c: &mut [f32]) -> bool {
    match T::DTYPE {
        DType::F32 => multiply_stored(threads, form, a, b.cast::<f32>(), c),
        DType::BF16 => multiply_stored(threads, form, a, b.cast::<bf16>(), c),
        DType::F16 => multiply_stored(threads, form, a, b.cast::<f16>(), c),
        DType::F64 | DType::U32 => false,
    }
}

fn multiply_stored<T: Stored>(threads: Threads, form: &Form<f32>, left: Block<f32>, right: Block<T>, out: &mut [f32]) -> bool {
    let Some(kernels) = instructions::kernels() else { return false };
    let &Form { m, n, k, alpha, beta, c_stride, order } = form;
    let product = blocked::Product { rows: m, columns: n, steps: k, alpha, left, right, beta, out_row: c_stride, order };
    blocked::multiply(kernels, threads, product, out);
    true
}
