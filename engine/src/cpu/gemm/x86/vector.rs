//! The vector registers that the kernels are written for: AVX-512 and AVX2 with fused multiply-add.
//!
//! The kernels are generic over [`Vector`] and inlined into functions that switch the instructions on (`#[target_feature]`), so that a program built for
//! any x86-64 processor uses what it finds when it runs. They are written with loops, not with closures: a closure that is not inlined is built without the
//! instructions.

use std::arch::x86_64::*;

use half::{bf16, f16};

/// A register of floats. Every function needs the instructions of its type; pointers need as many elements as are touched.
pub(super) trait Vector: Copy {
    /// Floats in a register.
    const LANES: usize;

    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `count` elements, zeros in the other lanes.
    unsafe fn load_first(from: *const f32, count: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// The first `count` lanes.
    unsafe fn store_first(self, to: *mut f32, count: usize);
    /// `self · factor + sum`, rounded once.
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self;
    unsafe fn mul(self, factor: Self) -> Self;
    /// The sums of all lanes of four registers: halves onto halves, then neighbours.
    unsafe fn sums(four: [Self; 4]) -> __m128;
    unsafe fn load_bf16(from: *const bf16) -> Self;
    unsafe fn load_f16(from: *const f16) -> Self;
}

impl Vector for __m512 {
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { _mm512_maskz_loadu_ps(first_lanes(count), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm512_mask_storeu_ps(to, first_lanes(count), self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        unsafe { _mm512_fmadd_ps(self, factor, sum) }
    }
    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        unsafe { _mm512_mul_ps(self, factor) }
    }
    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> __m128 {
        unsafe {
            let mut halves = [_mm256_setzero_ps(); 4];
            for (half, register) in halves.iter_mut().zip(four) {
                let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(register)));
                *half = _mm256_add_ps(_mm512_castps512_ps256(register), upper);
            }
            __m256::sums(halves)
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.cast())) }
    }
}

#[inline(always)]
fn first_lanes(count: usize) -> __mmask16 {
    ((1u32 << count) - 1) as __mmask16
}

impl Vector for __m256 {
    const LANES: usize = 8;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        unsafe { _mm256_set1_ps(value) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, count: usize) -> Self {
        unsafe { _mm256_maskload_ps(from, first_lanes_of_eight(count)) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm256_storeu_ps(to, self) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, count: usize) {
        unsafe { _mm256_maskstore_ps(to, first_lanes_of_eight(count), self) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, sum: Self) -> Self {
        unsafe { _mm256_fmadd_ps(self, factor, sum) }
    }
    #[inline(always)]
    unsafe fn mul(self, factor: Self) -> Self {
        unsafe { _mm256_mul_ps(self, factor) }
    }
    #[inline(always)]
    unsafe fn sums(four: [Self; 4]) -> __m128 {
        unsafe {
            let mut halves = [_mm_setzero_ps(); 4];
            for (half, register) in halves.iter_mut().zip(four) {
                *half = _mm_add_ps(_mm256_castps256_ps128(register), _mm256_extractf128_ps::<1>(register));
            }
            let [a, b, c, d] = halves;
            _mm_hadd_ps(_mm_hadd_ps(a, b), _mm_hadd_ps(c, d))
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(from: *const bf16) -> Self {
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))) }
    }
    #[inline(always)]
    unsafe fn load_f16(from: *const f16) -> Self {
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
}

#[inline(always)]
unsafe fn first_lanes_of_eight(count: usize) -> __m256i {
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

/// An element of a matrix that widens to f32 in registers.
pub(super) trait Source: Copy + Send + Sync {
    unsafe fn load<V: Vector>(from: *const Self) -> V;
    fn widened(self) -> f32;

    /// Widens `count` elements, less than a register holds, and fills up to `len` with zeros.
    #[inline(always)]
    unsafe fn copy_first<V: Vector>(from: *const Self, count: usize, to: *mut f32, len: usize) {
        for i in 0..len {
            unsafe { *to.add(i) = if i < count { (*from.add(i)).widened() } else { 0.0 } };
        }
    }
}

impl Source for f32 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f32) -> V {
        unsafe { V::load(from) }
    }
    #[inline(always)]
    unsafe fn copy_first<V: Vector>(from: *const f32, count: usize, to: *mut f32, len: usize) {
        unsafe { V::load_first(from, count).store_first(to, len) }
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }
}

impl Source for bf16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const bf16) -> V {
        unsafe { V::load_bf16(from) }
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Source for f16 {
    #[inline(always)]
    unsafe fn load<V: Vector>(from: *const f16) -> V {
        unsafe { V::load_f16(from) }
    }
    #[inline(always)]
    fn widened(self) -> f32 {
        self.to_f32()
    }
}
