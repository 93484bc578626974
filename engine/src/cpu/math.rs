//! Elementary functions for CPU kernels, written so that loops over them vectorise.
//!
//! The f32 versions are branch-free (range reduction, a polynomial, selects), so LLVM turns a plain loop such as
//! `for v in row { *v = v.fast_exp() }` into vector code. The f64 versions call the standard library and `libm`:
//! f64 is the oracle of the tests, where accuracy matters and speed does not.
//!
//! Every polynomial was fitted for this file (weighted minimax, coefficients rounded to f32 one by one); the errors stated
//! in the trait are the largest seen by the tests below. They assume fused multiply-add.

use std::ops::{Add, Mul};

/// Elementary functions of f32 (vectorisable) and f64 (the oracle). What is not a number stays not a number. Errors are in ulp: the distance
/// between neighbouring numbers at the result.
pub trait Math: Copy + Default + PartialOrd + Add<Output = Self> + Mul<Output = Self> {
    /// Minus infinity, where a running maximum starts.
    const MINUS_INFINITY: Self;

    /// The product with `factor` plus `addend`, rounded once where the processor has the instruction.
    fn multiply_add(self, factor: Self, addend: Self) -> Self;

    /// The exponential function `eˣ` to 1 ulp, denormal results included. 0 below -104, `∞` above 88.8.
    fn fast_exp(self) -> Self;

    /// The natural logarithm to 1 ulp. `-∞` at ±0, not a number below.
    fn fast_ln(self) -> Self;

    /// The hyperbolic tangent to 2 ulp.
    fn fast_tanh(self) -> Self;

    /// The Gauss error function to 2 ulp.
    fn fast_erf(self) -> Self;

    /// The logistic function `1 / (1 + e⁻ˣ)` to 3 ulp, on both tails.
    fn sigmoid(self) -> Self;

    /// Softplus, `ln(1 + eˣ)`, to 3 ulp, on both tails.
    fn softplus(self) -> Self;

    /// The standard normal distribution function `(1 + erf(x/√2)) / 2` to 6 ulp, on both tails.
    fn normal_cdf(self) -> Self;

    /// SiLU, `x · sigmoid(x)`, to 4 ulp; -0 at `-∞`.
    fn silu(self) -> Self;

    /// GELU in its tanh form, as `x · sigmoid(2u)` with `u = √(2/π) (x + 0.044715 x³)`: the same as `x/2 · (1 + tanh u)`, without its cancellation.
    /// To 4 ulp above -1; below, the rounding of `u` is magnified by `2|u|`.
    fn gelu_tanh(self) -> Self;

    /// GELU, `x · normal_cdf(x)`, to 6 ulp, on both tails; -0 at `-∞`.
    fn gelu_erf(self) -> Self;
}

/// Whether kernels have fused multiply-add. On x86-64 `simd.rs` switches it on where kernels run; only processors from before 2013 lack it, and are slow then.
const HAS_FMA: bool = cfg!(any(target_feature = "fma", target_arch = "x86_64", target_arch = "aarch64"));

const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// `ln 2` in two parts; the first has so few bits that its product with any exponent is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// `√(2/π)`.
const GELU_SCALE: f64 = 0.797_884_560_802_865_4;
const GELU_CUBIC: f64 = 0.044_715;

impl Math for f32 {
    const MINUS_INFINITY: f32 = f32::NEG_INFINITY;

    #[inline(always)]
    fn multiply_add(self, factor: f32, addend: f32) -> f32 {
        // Where the instruction is missing `mul_add` is a call into the C library, a hundred times slower.
        if HAS_FMA { self.mul_add(factor, addend) } else { self * factor + addend }
    }

    #[inline(always)]
    fn fast_exp(self) -> f32 {
        // x = n ln 2 + r, |r| <= ln 2 / 2. Adding 1.5 · 2²³ rounds to an integer and leaves it in the low bits.
        const ROUNDER: f32 = 12_582_912.0;
        const P: [f32; 5] = [0.499_999_94, 0.166_665_21, 0.041_668_262, 0.008_368_675, 0.001_382_105_8];
        let x = at_least(at_most(self, 89.0), -104.0);
        let shifted = x.multiply_add(LOG2_E, ROUNDER);
        let n = shifted - ROUNDER;
        let r = n.multiply_add(-LN_2_LOW, n.multiply_add(-LN_2_HIGH, x));
        let mantissa = (r * r).multiply_add(polynomial(r, P), r) + 1.0;
        // Two factors, since 2ⁿ alone leaves the normal range at both ends.
        let exponent = (shifted.to_bits() as i32).wrapping_sub(ROUNDER.to_bits() as i32);
        let half = exponent >> 1;
        mantissa * power_of_two(half) * power_of_two(exponent.wrapping_sub(half))
    }

    #[inline(always)]
    fn fast_ln(self) -> f32 {
        const SQRT_HALF_BITS: i32 = 0x3f35_04f3;
        const P: [f32; 9] = [
            0.333_333_13,
            -0.250_000_1,
            0.200_020_72,
            -0.166_679_9,
            0.142_203_63,
            -0.124_062_08,
            0.118_834_71,
            -0.116_701_83,
            0.067_495_39,
        ];
        let denormal = self < f32::MIN_POSITIVE;
        let x = if denormal { self * 8_388_608.0 } else { self };
        let bias = if denormal { -23.0 } else { 0.0 };
        // x = 2ⁿ (1 + f), √½ <= 1 + f < √2.
        let offset = (x.to_bits() as i32).wrapping_sub(SQRT_HALF_BITS);
        let n = (offset >> 23) as f32 + bias;
        let f = f32::from_bits((offset & 0x007f_ffff).wrapping_add(SQRT_HALF_BITS) as u32) - 1.0;
        let square = f * f;
        let tail = (square * f).multiply_add(polynomial(f, P), n * LN_2_LOW);
        let ln = n.multiply_add(LN_2_HIGH, square.multiply_add(-0.5, tail) + f);
        let ln = if self == 0.0 { f32::NEG_INFINITY } else { ln };
        let ln = if self < f32::INFINITY { ln } else { self };
        if self < 0.0 { f32::NAN } else { ln }
    }

    #[inline(always)]
    fn fast_tanh(self) -> f32 {
        const P: [f32; 5] = [-0.333_332_8, 0.133_314_09, -0.053_737_063, 0.020_630_904, -0.005_696_339_5];
        let x = self.abs();
        let square = x * x;
        let near = (x * square).multiply_add(polynomial(square, P), x);
        let far = 1.0 - 2.0 / ((2.0 * x).fast_exp() + 1.0);
        (if x < 0.625 { near } else { far }).copysign(self)
    }

    #[inline(always)]
    fn fast_erf(self) -> f32 {
        const P: [f32; 7] = [0.128_379_17, -0.376_126_26, 0.112_835_79, -0.026_853_347, 0.005_187_162_7, -0.000_799_786_53, 7.806_981e-5];
        let x = self.abs();
        let square = x * x;
        let near = x.multiply_add(polynomial(square, P), x);
        let far = (-2.0_f32).multiply_add(upper_tail(x * std::f32::consts::SQRT_2), 1.0);
        (if x < 1.0 { near } else { far }).copysign(self)
    }

    #[inline(always)]
    fn sigmoid(self) -> f32 {
        // The exponential of a negative number never overflows, and the small tail keeps its relative accuracy.
        let e = (-self.abs()).fast_exp();
        let upper = 1.0 / (1.0 + e);
        if self < 0.0 { e * upper } else { upper }
    }

    #[inline(always)]
    fn softplus(self) -> f32 {
        let e = (-self.abs()).fast_exp();
        let u = 1.0 + e;
        // ln(1 + e) with the part of e that the sum rounded away put back.
        let ln_1p = u.fast_ln() + (e - (u - 1.0)) / u;
        at_least(self, 0.0) + ln_1p
    }

    #[inline(always)]
    fn normal_cdf(self) -> f32 {
        let tail = upper_tail(self.abs());
        if self < 0.0 { tail } else { 1.0 - tail }
    }

    #[inline(always)]
    fn silu(self) -> f32 {
        at_least(self, f32::MIN) * self.sigmoid()
    }

    #[inline(always)]
    fn gelu_tanh(self) -> f32 {
        let cubic = (self * self).multiply_add(GELU_CUBIC as f32, 1.0);
        at_least(self, f32::MIN) * (self * cubic * (2.0 * GELU_SCALE) as f32).sigmoid()
    }

    #[inline(always)]
    fn gelu_erf(self) -> f32 {
        at_least(self, f32::MIN) * self.normal_cdf()
    }
}

impl Math for f64 {
    const MINUS_INFINITY: f64 = f64::NEG_INFINITY;

    #[inline(always)]
    fn multiply_add(self, factor: f64, addend: f64) -> f64 {
        if HAS_FMA { self.mul_add(factor, addend) } else { self * factor + addend }
    }

    fn fast_exp(self) -> f64 {
        self.exp()
    }

    fn fast_ln(self) -> f64 {
        self.ln()
    }

    fn fast_tanh(self) -> f64 {
        self.tanh()
    }

    fn fast_erf(self) -> f64 {
        libm::erf(self)
    }

    fn sigmoid(self) -> f64 {
        let e = (-self.abs()).exp();
        (if self < 0.0 { e } else { 1.0 }) / (1.0 + e)
    }

    fn softplus(self) -> f64 {
        let positive = if self < 0.0 { 0.0 } else { self };
        positive + (-self.abs()).exp().ln_1p()
    }

    fn normal_cdf(self) -> f64 {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }

    fn silu(self) -> f64 {
        if self == f64::NEG_INFINITY { -0.0 } else { self * self.sigmoid() }
    }

    fn gelu_tanh(self) -> f64 {
        let u = GELU_SCALE * self * (1.0 + GELU_CUBIC * self * self);
        if self == f64::NEG_INFINITY { -0.0 } else { self * (2.0 * u).sigmoid() }
    }

    fn gelu_erf(self) -> f64 {
        if self == f64::NEG_INFINITY { -0.0 } else { self * self.normal_cdf() }
    }
}

/// `½ erfc(a/√2)`, the normal probability above `a >= 0`: `e^(-a²/2)` times a polynomial in `1 / (1 + 0.3 a)`.
#[inline(always)]
fn upper_tail(a: f32) -> f32 {
    const P: [f32; 11] = [
        7.522_024e-7,
        0.119_669_29,
        0.119_745_806,
        0.109_244_496,
        0.081_954_196,
        0.087_680_064,
        -0.065_900_59,
        0.177_464_57,
        -0.218_559_77,
        0.108_686_39,
        -0.019_985_208,
    ];
    let a = at_most(a, 14.4); // the result is 0 from here on, the square would overflow
    let square = a * a;
    let lost = a.multiply_add(a, -square); // rounded away in the square; at 14 worth 100 ulp of the exponential
    let e = (-0.5 * square).fast_exp();
    e.multiply_add(-0.5 * lost, e) * polynomial(1.0 / 0.3_f32.multiply_add(a, 1.0), P)
}

/// `Σ cᵢ xⁱ` by Horner's rule.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut value = coefficients[N - 1];
    for i in (0..N - 1).rev() {
        value = value.multiply_add(x, coefficients[i]);
    }
    value
}

/// `2ⁿ` for `n` in -126..=127.
#[inline(always)]
fn power_of_two(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

// Comparisons rather than `f32::min` and `max`: these keep what is not a number, and are one instruction.
#[inline(always)]
fn at_most(x: f32, limit: f32) -> f32 {
    if x > limit { limit } else { x }
}

#[inline(always)]
fn at_least(x: f32, limit: f32) -> f32 {
    if x < limit { limit } else { x }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distance in units of the last place of the correctly rounded result; ULPs of the smallest normal below it.
    fn ulps(got: f32, expected: f64) -> f64 {
        if got == expected as f32 || (got.is_nan() && expected.is_nan()) {
            return 0.0;
        }
        let nearest = expected as f32;
        if !nearest.is_finite() || !got.is_finite() {
            return f64::INFINITY;
        }
        let next = f32::from_bits(nearest.abs().to_bits() + 1);
        (f64::from(got) - expected).abs() / f64::from(next - nearest.abs())
    }

    /// Largest error of `f` against `exact` over a sweep of `range`, in ULPs, with the argument where it occurs.
    fn worst(range: std::ops::Range<f32>, f: fn(f32) -> f32, exact: fn(f64) -> f64) -> (f64, f32) {
        const STEPS: usize = 200_000;
        let mut worst = (0.0, 0.0);
        for step in 0..STEPS {
            let x = range.start + (range.end - range.start) * (step as f32 / STEPS as f32);
            let error = ulps(f(x), exact(f64::from(x)));
            if error > worst.0 {
                worst = (error, x);
            }
        }
        worst
    }

    #[track_caller]
    fn check(range: std::ops::Range<f32>, limit: f64, f: fn(f32) -> f32, exact: fn(f64) -> f64) {
        let (error, x) = worst(range, f, exact);
        assert!(error <= limit, "{error} ulp at {x:e}: got {:e}, expected {:e}", f(x), exact(f64::from(x)));
    }

    fn erf_exact(x: f64) -> f64 {
        libm::erf(x)
    }

    #[test]
    fn exp_is_accurate_to_the_denormals() {
        check(-87.0..88.7, 1.0, f32::fast_exp, f64::exp);
        check(-104.5..-87.0, 1.0, f32::fast_exp, f64::exp);
        check(-1e-3..1e-3, 1.0, f32::fast_exp, f64::exp);
        for (x, y) in [(f32::INFINITY, f32::INFINITY), (f32::NEG_INFINITY, 0.0), (-0.0, 1.0), (1e-45, 1.0), (89.0, f32::INFINITY)] {
            assert_eq!(x.fast_exp(), y, "exp({x})");
        }
        assert_eq!(f32::MAX.fast_exp(), f32::INFINITY);
        assert_eq!(f32::MIN.fast_exp().to_bits(), 0);
        assert!(f32::NAN.fast_exp().is_nan());
    }

    #[test]
    fn ln_is_accurate_from_the_denormals() {
        check(0.5..2.0, 1.0, f32::fast_ln, f64::ln);
        check(1e-3..1e3, 1.0, f32::fast_ln, f64::ln);
        check(1e30..f32::MAX, 1.0, f32::fast_ln, f64::ln);
        check(1e-45..2e-38, 1.0, f32::fast_ln, f64::ln);
        assert_eq!(0.0_f32.fast_ln(), f32::NEG_INFINITY);
        assert_eq!((-0.0_f32).fast_ln(), f32::NEG_INFINITY);
        assert_eq!(f32::INFINITY.fast_ln(), f32::INFINITY);
        assert_eq!(1.0_f32.fast_ln().to_bits(), 0);
        for x in [-1.0, -1e-45, f32::NEG_INFINITY, f32::NAN] {
            assert!(x.fast_ln().is_nan(), "ln({x})");
        }
    }

    #[test]
    fn tanh_and_erf_are_accurate_and_odd() {
        for (limit, f, exact) in [(2.0, f32::fast_tanh as fn(f32) -> f32, f64::tanh as fn(f64) -> f64), (2.0, f32::fast_erf, erf_exact)] {
            for range in [-1e-4..1e-4, -1.1..1.1, -12.0..12.0, 1e-44..1e-37, 80.0..1e30] {
                check(range, limit, f, exact);
            }
            assert_eq!(f(f32::INFINITY), 1.0);
            assert_eq!(f(f32::NEG_INFINITY), -1.0);
            assert_eq!(f(-0.0).to_bits(), (-0.0_f32).to_bits());
            assert!(f(f32::NAN).is_nan());
        }
    }

    #[test]
    fn sigmoid_softplus_and_normal_cdf_keep_both_tails() {
        for (limit, f, exact, at_infinity) in [
            (3.0, f32::sigmoid as fn(f32) -> f32, f64::sigmoid as fn(f64) -> f64, 1.0),
            (3.0, f32::softplus, f64::softplus, f32::INFINITY),
            (6.0, f32::normal_cdf, f64::normal_cdf, 1.0),
        ] {
            for range in [-1e-4..1e-4, -1.0..1.0, -13.0..13.0, 13.0..100.0] {
                check(range, limit, f, exact);
            }
            assert_eq!(f(f32::INFINITY), at_infinity);
            assert_eq!(f(f32::NEG_INFINITY), 0.0);
            assert!(f(f32::NAN).is_nan());
        }
        check(-104.0..-13.0, 3.0, f32::sigmoid, f64::sigmoid);
        check(-104.0..-13.0, 3.0, f32::softplus, f64::softplus);
    }

    #[test]
    fn activations_keep_both_tails() {
        for (lower, limit, f, exact) in [
            (-86.0, 4.0, f32::silu as fn(f32) -> f32, f64::silu as fn(f64) -> f64),
            (-12.0, 6.0, f32::gelu_erf, f64::gelu_erf),
            (-1.0, 4.0, f32::gelu_tanh, f64::gelu_tanh),
            // The argument of the sigmoid reaches 42 at x = -7.
            (-7.0, 100.0, f32::gelu_tanh, f64::gelu_tanh),
        ] {
            check(lower..1.0, limit, f, exact);
            check(-1e-4..1e-4, limit, f, exact);
            check(1.0..100.0, limit, f, exact);
            assert_eq!(f(f32::INFINITY), f32::INFINITY);
            assert_eq!(f(f32::MAX), f32::MAX);
            assert_eq!(f(f32::MIN), 0.0);
            assert_eq!(f(f32::NEG_INFINITY), 0.0);
            assert_eq!(f(-0.0).to_bits(), (-0.0_f32).to_bits());
            assert!(f(f32::NAN).is_nan());
        }
    }
}
