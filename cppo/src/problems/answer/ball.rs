//! Real numbers to about a hundred digits, each with a bound of its error: what is not decided exactly is decided here.
//!
//! A ball is `middle / 2^384`, within `radius / 2^384`. Every operation enlarges the radius by what it may have lost. Own code and no library of
//! big floats, because every loop here has a bound that does not depend on the number: answers come from whoever wants a reward.

use std::sync::LazyLock;

use num_bigint::BigInt;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::surd::{Rational, Surd};

#[derive(Clone, Debug)]
pub(super) struct Ball {
    middle: BigInt,
    radius: BigInt,
}

/// Bits after the point.
const BITS: usize = 384;
/// Bits before the point; a larger number is not computed.
const MOST_BITS: u64 = 4096;
/// Two numbers that agree to this many bits are the same.
const AGREE: usize = 256;

static PI: LazyLock<Ball> = LazyLock::new(|| {
    // Machin: π = 16 atan(1/5) - 4 atan(1/239)
    let inverse = |n: i64| Ball::integer(1).over(&Ball::integer(n)).map(|x| x.small_atan());
    let (a, b) = (inverse(5).expect("not 0"), inverse(239).expect("not 0"));
    a.scaled(16).minus(&b.scaled(4))
});
static LN_2: LazyLock<Ball> = LazyLock::new(|| Ball::integer(1).over(&Ball::integer(3)).expect("not 0").small_atanh().scaled(2));

impl Ball {
    pub(super) fn integer(value: i64) -> Ball {
        Ball { middle: BigInt::from(value) << BITS, radius: BigInt::zero() }
    }

    pub(super) fn rational(value: &Rational) -> Option<Ball> {
        Ball { middle: (value.numer() << BITS) / value.denom(), radius: BigInt::one() }.significant(!value.is_zero())
    }

    /// None if it is not real, or too large or small.
    pub(super) fn surd(value: &Surd) -> Option<Ball> {
        let mut sum = Ball::integer(0);
        for (unit, coefficient) in value.terms() {
            let mut term = Ball::rational(coefficient)?.times(&Ball::rational(&Rational::from_integer(unit.radicand.into()))?.root(2)?)?;
            for _ in 0..unit.pi.abs() {
                term = if unit.pi > 0 { term.times(&PI)? } else { term.over(&PI)? };
            }
            sum = sum.plus(&term);
        }
        value.is_real().then_some(sum)
    }

    pub(super) fn plus(&self, other: &Ball) -> Ball {
        Ball { middle: &self.middle + &other.middle, radius: &self.radius + &other.radius }
    }

    pub(super) fn minus(&self, other: &Ball) -> Ball {
        self.plus(&other.negated())
    }

    pub(super) fn negated(&self) -> Ball {
        Ball { middle: -&self.middle, radius: self.radius.clone() }
    }

    fn scaled(&self, factor: i64) -> Ball {
        Ball { middle: &self.middle * factor, radius: &self.radius * factor.abs() }
    }

    pub(super) fn times(&self, other: &Ball) -> Option<Ball> {
        let (a, b) = (self.middle.abs(), other.middle.abs());
        let lost = a * &other.radius + b * &self.radius + &self.radius * &other.radius;
        let product = Ball { middle: (&self.middle * &other.middle) >> BITS, radius: (lost >> BITS) + 2 };
        product.significant(!self.may_be_zero() && !other.may_be_zero())
    }

    /// None if `other` cannot be told from 0.
    pub(super) fn over(&self, other: &Ball) -> Option<Ball> {
        if other.may_be_zero() {
            return None;
        }
        let middle = (&self.middle << BITS) / &other.middle;
        let least = other.middle.abs() - &other.radius;
        let radius = ((&self.radius << BITS) + middle.abs() * &other.radius) / least + 2;
        Ball { middle, radius }.significant(!self.may_be_zero())
    }

    /// The real `n`-th root of a positive number, and for an odd `n` of a negative one.
    pub(super) fn root(&self, n: u32) -> Option<Ball> {
        if self.may_be_zero() || self.middle.is_negative() && n.is_multiple_of(2) || !(1..=64).contains(&n) {
            return None;
        }
        let magnitude = self.middle.abs();
        let root = (&magnitude << (BITS * (n as usize - 1))).nth_root(n);
        let radius = &root * &self.radius / (magnitude - &self.radius) + 2;
        let root = Ball { middle: root, radius };
        Some(if self.middle.is_negative() { root.negated() } else { root })
    }

    pub(super) fn power(&self, exponent: i64) -> Option<Ball> {
        let (mut result, mut square, mut left) = (Ball::integer(1), self.clone(), exponent.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(&square)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.times(&square)?;
            }
        }
        if exponent < 0 { Ball::integer(1).over(&result) } else { Some(result) }
    }

    pub(super) fn exp(&self) -> Option<Ball> {
        // x = k·ln 2 + r
        let k = self.over(&LN_2)?.rounded().to_i64().filter(|k| k.unsigned_abs() < MOST_BITS)?;
        let r = self.minus(&LN_2.scaled(k));
        let (mut sum, mut term) = (BigInt::one() << BITS, BigInt::one() << BITS);
        for n in 1..200i64 {
            term = ((term * &r.middle) >> BITS) / n;
            sum += &term;
        }
        let radius = ((&sum * &r.radius) >> (BITS - 1)) + 1024;
        let result = match k >= 0 {
            true => Ball { middle: sum << k, radius: radius << k },
            false => Ball { middle: sum >> -k, radius: (radius >> -k) + 2 },
        };
        result.significant(true)
    }

    /// None if it may not be positive.
    pub(super) fn ln(&self) -> Option<Ball> {
        if self.may_be_zero() || self.middle.is_negative() {
            return None;
        }
        // x = m·2^k with m from 1/2 to 1; ln m = 2 atanh((m - 1) / (m + 1))
        let k = i64::try_from(self.middle.bits()).ok()? - BITS as i64;
        let shifted = |of: &BigInt| -> BigInt { if k >= 0 { of >> k } else { of << -k } };
        let m = Ball { middle: shifted(&self.middle), radius: shifted(&self.radius) + 1 };
        let z = m.minus(&Ball::integer(1)).over_any(&m.plus(&Ball::integer(1)))?;
        Some(z.small_atanh().scaled(2).plus(&LN_2.scaled(k)))
    }

    pub(super) fn sin(&self) -> Option<Ball> {
        self.turned(0)
    }

    pub(super) fn cos(&self) -> Option<Ball> {
        self.turned(1)
    }

    /// `sin(x + quarters·π/2)`.
    fn turned(&self, quarters: i64) -> Option<Ball> {
        let half_pi = PI.over(&Ball::integer(2))?;
        let n = self.over_any(&half_pi)?.rounded().to_i64()?;
        let r = Ball { middle: &self.middle - &half_pi.middle * n, radius: &self.radius + &half_pi.radius * n.abs() };
        let square: BigInt = (&r.middle * &r.middle) >> BITS;
        let quadrant = (i128::from(n) + i128::from(quarters)).rem_euclid(4);
        // sin r from r, cos r from 1
        let (mut term, first) = if quadrant % 2 == 0 { (r.middle.clone(), 2i64) } else { (BigInt::one() << BITS, 1) };
        let mut sum = term.clone();
        for n in (first..first + 160).step_by(2) {
            let product: BigInt = (term * &square) >> BITS;
            term = -(product / (n * (n + 1)));
            sum += &term;
        }
        let result = Ball { middle: sum, radius: r.radius + 1024 };
        Some(if quadrant >= 2 { result.negated() } else { result })
    }

    pub(super) fn atan(&self) -> Option<Ball> {
        let one = Ball::integer(1);
        if self.middle.abs() > one.middle {
            let quarter = PI.over(&Ball::integer(2))?;
            let rest = one.over(self)?.atan()?;
            return Some(if self.middle.is_negative() { quarter.negated().minus(&rest) } else { quarter.minus(&rest) });
        }
        // atan x = 2 atan(x / (1 + √(1 + x²))), twice
        let mut x = self.clone();
        for _ in 0..2 {
            let square = Ball { middle: (&x.middle * &x.middle) >> BITS, radius: &x.radius * 2 + 2 };
            x = x.over_any(&one.plus(&one.plus(&square).root(2)?))?;
        }
        Some(x.small_atan().scaled(4))
    }

    /// `x - x³/3 + x⁵/5 - …`, for |x| < 1/2.
    fn small_atan(&self) -> Ball {
        self.odd_series(-1)
    }

    /// `x + x³/3 + x⁵/5 + …`, for |x| < 1/2.
    fn small_atanh(&self) -> Ball {
        self.odd_series(1)
    }

    fn odd_series(&self, sign: i64) -> Ball {
        let square: BigInt = (&self.middle * &self.middle) >> BITS;
        let (mut power, mut sum) = (self.middle.clone(), self.middle.clone());
        for n in (3..500i64).step_by(2) {
            power = ((power * &square) >> BITS) * sign;
            sum += &power / n;
        }
        // the slope is at most 1 / (1 - 1/4)
        Ball { middle: sum, radius: &self.radius * 2 + 1024 }
    }

    /// Whether the two are the same number, as far as anyone can tell; none if that is not far enough.
    pub(super) fn same(&self, other: &Ball) -> Option<bool> {
        let difference = (&self.middle - &other.middle).abs();
        let radius = &self.radius + &other.radius;
        if difference > radius {
            return Some(false);
        }
        let size = self.middle.abs().max(other.middle.abs()).max(BigInt::one() << BITS);
        (radius << AGREE <= size).then_some(true)
    }

    /// Whether it is less than 0 for certain.
    pub(super) fn is_negative(&self) -> bool {
        self.middle.is_negative() && !self.may_be_zero()
    }

    pub(super) fn may_be_zero(&self) -> bool {
        self.middle.abs() <= self.radius
    }

    pub(super) fn to_f64(&self) -> f64 {
        // twice, for 2^384 times a large number may be none that a double holds
        let half = BITS / 2;
        (&self.middle >> half).to_f64().unwrap_or(f64::NAN) / 2f64.powi((BITS - half) as i32)
    }

    /// The nearest integer.
    fn rounded(&self) -> BigInt {
        (&self.middle + (BigInt::one() << (BITS - 1))) >> BITS
    }

    /// A quotient that may well be 0.
    fn over_any(&self, other: &Ball) -> Option<Ball> {
        if !self.middle.is_zero() && !self.may_be_zero() {
            return self.over(other);
        }
        let least = other.middle.abs() - &other.radius;
        least.is_positive().then(|| Ball { middle: BigInt::zero(), radius: ((self.middle.abs() + &self.radius) << BITS) / least + 2 })
    }

    /// None if it is too large, or, though it is not 0, too small to have enough digits here.
    fn significant(self, not_zero: bool) -> Option<Ball> {
        let small = not_zero && self.middle.abs() < &self.radius << 64;
        (!small && self.middle.bits() <= BITS as u64 + MOST_BITS).then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_those_of_f64() {
        let ball = |x: i64| Ball::rational(&Rational::new(x.into(), 7.into())).expect("not too small");
        for n in [-40, -9, -3, -1, 1, 2, 6, 11, 50, 300] {
            let (x, b) = (n as f64 / 7.0, ball(n));
            let cases = [
                ("exp", b.exp(), x.exp()),
                ("sin", b.sin(), x.sin()),
                ("cos", b.cos(), x.cos()),
                ("atan", b.atan(), x.atan()),
                ("root", b.root(3), x.cbrt()),
                ("ln", b.times(&b).and_then(|b| b.ln()), (x * x).ln()),
                ("power", b.power(-3), x.powi(-3)),
            ];
            for (name, near, expected) in cases {
                let near = near.unwrap_or_else(|| panic!("{name} {x}")).to_f64();
                assert!((near - expected).abs() <= 1e-14 * expected.abs().max(1.0), "{name} {x}: {near} {expected}");
            }
            // sin² + cos² = 1 and ln exp x = x, to the last digits that count
            let square = |x: Option<Ball>| x.and_then(|x| x.times(&x)).expect("small");
            assert_eq!(square(b.sin()).plus(&square(b.cos())).same(&Ball::integer(1)), Some(true));
            assert_eq!(b.exp().and_then(|x| x.ln()).and_then(|x| x.same(&b)), Some(true));
        }
    }

    #[test]
    fn what_is_not_known_well_enough_is_not_decided() {
        let vague = Ball { middle: BigInt::zero(), radius: BigInt::one() << BITS };
        assert_eq!(vague.same(&Ball::integer(0)), None);
        assert_eq!(vague.same(&Ball::integer(2)), Some(false));
        assert!(Ball::integer(1).over(&vague).is_none() && vague.ln().is_none() && vague.root(2).is_none());
    }
}
