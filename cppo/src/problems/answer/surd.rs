//! Exact numbers: sums of rational multiples of square roots, of powers of π, and of i.
//!
//! A number is a table from (power of π, imaginary or not, square-free radicand) to a rational coefficient. Square roots of different square-free numbers are
//! linearly independent over the rationals, and π is transcendental, so two numbers are equal exactly if their tables are.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_integer::{Integer, Roots};
use num_rational::Ratio;
use num_traits::{One, Signed, ToPrimitive, Zero};

pub(super) type Rational = Ratio<BigInt>;

/// What a coefficient multiplies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Unit {
    pub(super) pi: i32,
    pub(super) imaginary: bool,
    /// Square-free; 1 if there is no root.
    pub(super) radicand: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Surd(BTreeMap<Unit, Rational>);

/// Beyond these an answer is no longer computed exactly: whoever writes one does not get to choose how long that takes.
const MOST_TERMS: usize = 32;
const MOST_BITS: u64 = 4096;

const RATIONAL: Unit = Unit { pi: 0, imaginary: false, radicand: 1 };

impl Surd {
    pub(super) fn rational(value: Rational) -> Surd {
        Surd::of(RATIONAL, value)
    }

    pub(super) fn integer(value: i64) -> Surd {
        Surd::rational(Rational::from_integer(value.into()))
    }

    pub(super) fn pi() -> Surd {
        Surd::of(Unit { pi: 1, ..RATIONAL }, Rational::one())
    }

    pub(super) fn i() -> Surd {
        Surd::of(Unit { imaginary: true, ..RATIONAL }, Rational::one())
    }

    fn of(unit: Unit, value: Rational) -> Surd {
        Surd([(unit, value)].into_iter().filter(|(_, value)| !value.is_zero()).collect())
    }

    pub(super) fn terms(&self) -> impl Iterator<Item = (&Unit, &Rational)> {
        self.0.iter()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_real(&self) -> bool {
        self.0.keys().all(|unit| !unit.imaginary)
    }

    /// The value, if it is a rational.
    pub(super) fn as_rational(&self) -> Option<Rational> {
        match self.single() {
            Some((RATIONAL, value)) => Some(value.clone()),
            None if self.is_zero() => Some(Rational::zero()),
            _ => None,
        }
    }

    pub(super) fn as_integer(&self) -> Option<BigInt> {
        self.as_rational().filter(Rational::is_integer).map(|value| value.to_integer())
    }

    fn single(&self) -> Option<(Unit, &Rational)> {
        let mut terms = self.0.iter();
        let first = terms.next();
        first.filter(|_| terms.next().is_none()).map(|(unit, value)| (*unit, value))
    }

    pub(super) fn plus(&self, other: &Surd) -> Option<Surd> {
        let mut sum = self.clone();
        for (unit, value) in &other.0 {
            sum.add(*unit, value.clone());
        }
        sum.bounded()
    }

    pub(super) fn times(&self, other: &Surd) -> Option<Surd> {
        let mut product = Surd(BTreeMap::new());
        for (a, x) in &self.0 {
            for (b, y) in &other.0 {
                let (unit, factor) = a.times(*b)?;
                product.add(unit, x * y * Rational::from_integer(factor));
            }
        }
        product.bounded()
    }

    pub(super) fn negated(&self) -> Surd {
        Surd(self.0.iter().map(|(unit, value)| (*unit, -value)).collect())
    }

    /// `1 / self`, of sums of up to two terms; none for others, and for 0.
    pub(super) fn inverse(&self) -> Option<Surd> {
        let mut terms = self.0.iter();
        match (terms.next(), terms.next(), terms.next()) {
            (Some((unit, value)), None, _) => {
                // 1 / √d = √d / d, 1 / i = -i
                let radicand = Rational::from_integer(unit.radicand.into());
                let sign = Rational::from_integer(if unit.imaginary { -1 } else { 1 }.into());
                Surd::of(Unit { pi: -unit.pi, ..*unit }, sign / (value * radicand)).bounded()
            }
            (Some((a, x)), Some((b, y)), None) => {
                // 1 / (s + t) = (s - t) / (s² - t²)
                let (s, t) = (Surd::of(*a, x.clone()), Surd::of(*b, -y.clone()));
                let squares = s.times(&s)?.plus(&t.times(&t)?.negated())?;
                squares.single()?;
                s.plus(&t)?.times(&squares.inverse()?)
            }
            _ => None,
        }
    }

    /// The square root of a rational times an even power of π, an imaginary one of a negative number; none of others.
    pub(super) fn root(&self) -> Option<Surd> {
        if self.is_zero() {
            return Some(self.clone());
        }
        let (unit, value) = self.single()?;
        if unit.imaginary || unit.radicand != 1 || unit.pi % 2 != 0 {
            return None;
        }
        let (outside, radicand) = square_free(value.numer().abs() * value.denom())?;
        let value_outside = Rational::new(outside, value.denom().clone());
        Some(Surd::of(Unit { pi: unit.pi / 2, imaginary: value.is_negative(), radicand }, value_outside))
    }

    pub(super) fn power(&self, exponent: &BigInt) -> Option<Surd> {
        if self.is_sign() {
            return Some(if exponent.is_odd() { self.clone() } else { Surd::integer(1) });
        }
        let of = if exponent.is_negative() { self.inverse()? } else { self.clone() };
        let mut exponent = exponent.abs().to_u64()?; // a larger power has too many bits, and stops there
        let (mut result, mut square) = (Surd::integer(1), of);
        while exponent > 0 {
            if exponent & 1 == 1 {
                result = result.times(&square)?;
            }
            exponent >>= 1;
            if exponent > 0 {
                square = square.times(&square)?;
            }
        }
        Some(result)
    }

    fn is_sign(&self) -> bool {
        self.as_rational().is_some_and(|value| value.abs().is_one())
    }

    fn add(&mut self, unit: Unit, value: Rational) {
        let sum = self.0.entry(unit).or_insert_with(Rational::zero);
        *sum += value;
        if sum.is_zero() {
            self.0.remove(&unit);
        }
    }

    fn bounded(self) -> Option<Surd> {
        let small = |value: &Rational| value.numer().bits() + value.denom().bits() <= MOST_BITS;
        (self.0.len() <= MOST_TERMS && self.0.iter().all(|(unit, value)| small(value) && unit.pi.abs() <= 64)).then_some(self)
    }
}

impl Unit {
    /// The product, and a factor that comes out of the root.
    fn times(self, other: Unit) -> Option<(Unit, BigInt)> {
        let common = self.radicand.gcd(&other.radicand);
        let radicand = (self.radicand / common).checked_mul(other.radicand / common)?;
        let factor = if self.imaginary && other.imaginary { -BigInt::from(common) } else { common.into() };
        let pi = self.pi.checked_add(other.pi)?;
        Some((Unit { pi, imaginary: self.imaginary != other.imaginary, radicand }, factor))
    }
}

/// `n = outside² · radicand` with a square-free radicand; none if `n` is too large to be sure of that.
fn square_free(n: BigInt) -> Option<(BigInt, u64)> {
    const LARGEST_DIVISOR: u64 = 10_000;
    let root = n.sqrt();
    if &root * &root == n {
        return Some((root, 1));
    }
    let (mut outside, mut radicand, mut rest) = (BigInt::one(), 1u64, n);
    for divisor in 2..=LARGEST_DIVISOR {
        if rest.bits() <= 64 && rest.to_u64()? < divisor * divisor {
            break; // the rest is a prime, or 1
        }
        while (&rest % divisor).is_zero() {
            rest /= divisor;
            if radicand.is_multiple_of(divisor) {
                radicand /= divisor;
                outside *= divisor;
            } else {
                radicand = radicand.checked_mul(divisor)?;
            }
        }
    }
    // without divisors up to 10⁴, a number below 10¹² has at most two prime factors
    let rest = rest.to_u64().filter(|rest| *rest < LARGEST_DIVISOR.pow(3))?;
    let root = rest.sqrt();
    match root * root == rest {
        true => Some((outside * root, radicand)),
        false => Some((outside, radicand.checked_mul(rest)?)),
    }
}

/// The exact `n`-th root of a rational, if it is rational.
pub(super) fn rational_root(value: &Rational, n: u32) -> Option<Rational> {
    if value.is_negative() && n.is_multiple_of(2) {
        return None;
    }
    let root = |of: &BigInt| {
        let root = of.nth_root(n);
        (num_traits::pow(root.clone(), n as usize) == *of).then_some(root)
    };
    Some(Rational::new(root(value.numer())?, root(value.denom())?))
}
