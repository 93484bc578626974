//! The float type a CPU kernel is generic over: f32 is the device, f64 the oracle.

use std::ops::{AddAssign, Div, DivAssign, MulAssign, Neg, Sub, SubAssign};

use crate::cpu::math::Math;
use crate::dtype::Element;

/// What a CPU kernel computes in: f32 or f64.
pub trait Float:
    Element
    + Math
    + Sub<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + std::iter::Sum
{
    /// The number 0.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;

    /// The value, rounded to this type.
    fn of(value: f64) -> Self;
    /// The same value in f64.
    fn to_f64(self) -> f64;
    /// The sine of an angle in radians.
    fn sin(self) -> Self;
    /// The cosine of an angle in radians.
    fn cos(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The larger of two values. What comes out of NaN is not promised.
    fn max(self, other: Self) -> Self;
    /// The smaller of two values. What comes out of NaN is not promised.
    fn min(self, other: Self) -> Self;
    /// True if the value is neither NaN nor infinite.
    fn is_finite(self) -> bool;
}

macro_rules! float {
    ($t:ident) => {
        impl Float for $t {
            const ZERO: $t = 0.0;
            const ONE: $t = 1.0;

            #[inline(always)]
            fn of(value: f64) -> $t {
                value as $t
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn sin(self) -> $t {
                $t::sin(self)
            }
            #[inline(always)]
            fn cos(self) -> $t {
                $t::cos(self)
            }
            #[inline(always)]
            fn sqrt(self) -> $t {
                $t::sqrt(self)
            }
            #[inline(always)]
            fn abs(self) -> $t {
                $t::abs(self)
            }
            #[inline(always)]
            fn max(self, other: $t) -> $t {
                // a comparison, not f32::max: it vectorises to one instruction
                if self > other { self } else { other }
            }
            #[inline(always)]
            fn min(self, other: $t) -> $t {
                if self < other { self } else { other }
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
        }
    };
}

float!(f32);
float!(f64);
