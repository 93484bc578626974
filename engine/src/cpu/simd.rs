//! The widest registers of the processor at hand, chosen when the program runs.
//!
//! Kernels are plain loops, and the compiler turns them into vector code. Which instructions it may use is settled for each function when the program is
//! built; a program for every x86-64 processor gets the oldest: registers of four floats, no fused multiply-add. So a kernel's loops are built three times: into
//! a function that may use AVX-512, into one that may use AVX2, and plainly. [`widest`] calls the best one.
//!
//! The compiler builds code for the instructions of the function that it is *inlined* into. So kernels call [`for_each`](super::threads::for_each) and the functions of
//! `parallel.rs` through the macro [`parallel!`](crate::parallel!), which inlines the closure, and what the closure calls in its inner loops is marked
//! `#[inline(always)]`. Inner loops with more than a few operations are written as `for` loops: `Iterator::for_each` is a function of its own, and a large body
//! can be left there.
#![allow(unsafe_code)] // functions that need instructions are called where the processor has them

use std::sync::OnceLock;

/// Splits a kernel's work over the threads, built for the widest registers of the processor: `parallel!(for_row_blocks(y, cols), |first, rows| ..)` is
/// `for_row_blocks(y, cols, |first, rows| ..)` with the closure inlined to where the registers are chosen.
#[macro_export]
macro_rules! parallel {
    ($function:ident($($argument:expr),* $(,)?), |$($name:pat_param),*| $body:expr) => {
        $function($($argument,)* #[inline(always)] |$($name),*| $body)
    };
}

/// The value of a block that is built for the widest registers of the processor: `widest!({ .. })`. See [`widest`].
#[macro_export]
macro_rules! widest {
    ($body:expr) => {
        $crate::cpu::simd::widest(
            #[inline(always)]
            || $body,
        )
    };
}

/// What a processor has, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Simd {
    /// What every processor of its kind has.
    Plain,
    /// Registers of 8 floats, fused multiply-add and conversions of f16 (x86-64 since about 2013).
    Avx2,
    /// Registers of 16 floats.
    Avx512,
}

/// The instructions that kernels use: the most that this processor has, unless `PERCEPT_SIMD` asks for less (`avx2`, or `none` for the plain ones).
pub fn simd() -> Simd {
    static CHOSEN: OnceLock<Simd> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let most = match std::env::var("PERCEPT_SIMD").as_deref() {
            Ok("none") => Simd::Plain,
            Ok("avx2") => Simd::Avx2,
            _ => Simd::Avx512,
        };
        most.min(detected())
    })
}

#[cfg(target_arch = "x86_64")]
macro_rules! has {
    ($($feature:tt)*) => { $(is_x86_feature_detected!($feature))&&* };
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Simd {
    if !has!("avx2" "fma" "f16c" "bmi1" "bmi2" "lzcnt") {
        Simd::Plain
    } else if !has!("avx512f" "avx512bw" "avx512dq" "avx512vl" "avx512cd") {
        Simd::Avx2
    } else {
        Simd::Avx512
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected() -> Simd {
    Simd::Plain
}

/// Calls `f`, built for the widest registers of this processor. `f` and what it calls must be inlined to gain from it.
#[inline(always)]
pub fn widest<R>(f: impl FnOnce() -> R) -> R {
    match simd() {
        // SAFETY: `simd` found the instructions
        #[cfg(target_arch = "x86_64")]
        Simd::Avx512 => unsafe { with_avx512(f) },
        #[cfg(target_arch = "x86_64")]
        Simd::Avx2 => unsafe { with_avx2(f) },
        _ => f(),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c,bmi1,bmi2,lzcnt")]
fn with_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt")]
fn with_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
