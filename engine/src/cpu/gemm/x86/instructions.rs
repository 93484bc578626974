//! Which kernels this processor runs: chosen when the program starts, not when it is built.

use std::arch::x86_64::{__m256, __m512};

use half::{bf16, f16};

use super::dots::{self, Dots, WIDEST};
use super::pack;
use super::tile::{self, BY_ROWS, BY_STEPS, Tile};
use super::vector::{Source, Vector};
use crate::cpu::gemm::matrix::Block;
use crate::cpu::simd::{Simd, simd};

/// The kernels of one set of instructions.
pub(super) struct Kernels {
    /// Floats in a register.
    pub(super) lanes: usize,
    /// By rows of a tile and its registers, each less one, and by how the left side is packed.
    pub(super) tiles: &'static [[[TileKernel; 2]; 2]],
    /// Copies rows of a left side.
    pub(super) copy_rows: unsafe fn(Block<f32>, usize, usize, *mut f32),
    f32: Typed<f32>,
    bf16: Typed<bf16>,
    f16: Typed<f16>,
}

/// The kernels that read a right side of one storage type.
pub(super) struct Typed<T: 'static> {
    pub(super) pack: Pack<T>,
    /// By rows less one; for [`WIDEST`] columns, and for one.
    pub(super) dots: &'static [[DotsKernel<T>; 2]],
}

type TileKernel = unsafe fn(&Tile);
type DotsKernel<T> = unsafe fn(&Dots<T>);
type Pack<T> = unsafe fn(Block<T>, usize, usize, usize, *mut f32);

/// A storage type, and where its kernels stand.
pub(super) trait Stored: Source + 'static {
    fn of(kernels: &Kernels) -> &Typed<Self>;

    /// The matrix, if its elements need no widening.
    fn as_f32(_: Block<Self>) -> Option<Block<f32>> {
        None
    }
}

impl Stored for f32 {
    fn of(kernels: &Kernels) -> &Typed<f32> {
        &kernels.f32
    }

    fn as_f32(block: Block<f32>) -> Option<Block<f32>> {
        Some(block)
    }
}

impl Stored for bf16 {
    fn of(kernels: &Kernels) -> &Typed<bf16> {
        &kernels.bf16
    }
}

impl Stored for f16 {
    fn of(kernels: &Kernels) -> &Typed<f16> {
        &kernels.f16
    }
}

/// The kernels for the instructions in use; none if they are the plain ones.
pub(super) fn kernels() -> Option<&'static Kernels> {
    match simd() {
        Simd::Avx512 => Some(&AVX512),
        Simd::Avx2 => Some(&AVX2),
        Simd::Plain => None,
    }
}

macro_rules! kernels {
    ($name:ident, $module:ident, $vector:ty, $features:literal, tiles: [$($rows:literal)*], dots: [$($dots:literal)*]) => {
        mod $module {
            use super::*;

            #[target_feature(enable = $features)]
            pub(super) unsafe fn tile<const ROWS: usize, const VECTORS: usize, const LEFT: usize>(tile: &Tile) {
                // SAFETY: the caller's; the instructions are switched on
                unsafe { tile::multiply::<$vector, ROWS, VECTORS, LEFT>(tile) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn dots<T: Source, const ROWS: usize, const COLUMNS: usize>(dots: &Dots<T>) {
                // SAFETY: as above
                unsafe { dots::multiply::<$vector, T, ROWS, COLUMNS>(dots) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn pack<T: Source>(from: Block<T>, lines: usize, steps: usize, width: usize, to: *mut f32) {
                // SAFETY: as above
                unsafe { pack::pack::<$vector, T>(from, lines, steps, width, to) }
            }

            #[target_feature(enable = $features)]
            pub(super) unsafe fn copy_rows(from: Block<f32>, rows: usize, steps: usize, to: *mut f32) {
                // SAFETY: as above
                unsafe { pack::copy_rows::<$vector>(from, rows, steps, to) }
            }
        }

        static $name: Kernels = Kernels {
            lanes: <$vector as Vector>::LANES,
            tiles: &[$([
                [$module::tile::<$rows, 1, BY_STEPS>, $module::tile::<$rows, 1, BY_ROWS>],
                [$module::tile::<$rows, 2, BY_STEPS>, $module::tile::<$rows, 2, BY_ROWS>],
            ]),*],
            copy_rows: $module::copy_rows,
            f32: Typed { pack: $module::pack::<f32>, dots: &[$([$module::dots::<f32, $dots, WIDEST>, $module::dots::<f32, $dots, 1>]),*] },
            bf16: Typed { pack: $module::pack::<bf16>, dots: &[$([$module::dots::<bf16, $dots, WIDEST>, $module::dots::<bf16, $dots, 1>]),*] },
            f16: Typed { pack: $module::pack::<f16>, dots: &[$([$module::dots::<f16, $dots, WIDEST>, $module::dots::<f16, $dots, 1>]),*] },
        };
    };
}

kernels!(AVX512, avx512, __m512, "avx512f,avx2,fma,f16c", tiles: [1 2 3 4 5 6 7 8 9 10 11 12], dots: [1 2 3 4 5 6]);
kernels!(AVX2, avx2, __m256, "avx2,fma,f16c", tiles: [1 2 3 4 5 6], dots: [1 2]);
