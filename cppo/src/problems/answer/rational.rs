//! Exact rational numbers.

/// A rational number in lowest terms, the denominator positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rational {
    numerator: i128,
    denominator: i128,
}

impl Rational {
    /// `numerator / denominator`; none if the denominator is 0 or a value cannot be held.
    pub fn new(numerator: i128, denominator: i128) -> Option<Rational> {
        if denominator == 0 {
            return None;
        }
        let divisor = i128::try_from(gcd(numerator.unsigned_abs(), denominator.unsigned_abs())).ok()?;
        let sign = denominator.signum();
        Some(Rational { numerator: (numerator / divisor).checked_mul(sign)?, denominator: (denominator / divisor).checked_mul(sign)? })
    }

    /// Reads `12`, `-12`, `0.5`, `.5`, `5.`; none for anything else or for more digits than an `i128` holds.
    pub fn decimal(text: &str) -> Option<Rational> {
        let (negative, digits) = match text.strip_prefix(['-', '+']) {
            Some(digits) => (text.starts_with('-'), digits),
            None => (false, text),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if whole.len() + fraction.len() == 0 || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let magnitude: i128 = format!("0{whole}{fraction}").parse().ok()?;
        let denominator = 10i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        Rational::new(if negative { -magnitude } else { magnitude }, denominator)
    }

    /// The quotient; none if `other` is 0 or the result cannot be held.
    pub fn over(self, other: Rational) -> Option<Rational> {
        Rational::new(self.numerator.checked_mul(other.denominator)?, self.denominator.checked_mul(other.numerator)?)
    }

    /// The sum; none if it cannot be held.
    pub fn plus(self, other: Rational) -> Option<Rational> {
        let left = self.numerator.checked_mul(other.denominator)?;
        let right = other.numerator.checked_mul(self.denominator)?;
        Rational::new(left.checked_add(right)?, self.denominator.checked_mul(other.denominator)?)
    }

    /// The negative; none if it cannot be held.
    pub fn negated(self) -> Option<Rational> {
        Rational::new(self.numerator.checked_neg()?, self.denominator)
    }
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}
