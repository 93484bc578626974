//! What an expression is worth: exactly if that can be, else as a ball; of one with variables at a given place.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::ball::Ball;
use super::expression::{Expression, Factor, Function, Sign};
use super::surd::{Rational, Surd, rational_root};

#[derive(Clone, Debug)]
pub(super) enum Value {
    Exact(Surd),
    Near(Ball),
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoValue {
    /// There is none: 1/0.
    Undefined,
    /// It is too large, or not known well enough.
    Unknown,
}

/// Under which an expression is evaluated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conditions<'a> {
    /// Values of the variables. None: there are none, and numbers may be complex.
    pub(super) place: Option<&'a BTreeMap<String, Rational>>,
    /// Which of the two signs `±` stands for.
    pub(super) sign: Sign,
    /// What `%` and `°` mean.
    pub(super) marks: Marks,
}

/// What `%` and `°` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marks {
    /// Nothing, as units that are left out: 50 % is 50, 30° is 30.
    Dropped,
    /// 50 % is 1/2, 30° is π/6.
    Factors,
}

type Evaluated = Result<Value, NoValue>;

pub(super) fn evaluate(expression: &Expression, conditions: Conditions<'_>) -> Evaluated {
    let value = |of: &Expression| evaluate(of, conditions);
    match expression {
        Expression::Number(number) => Ok(Value::rational(number.value.clone())),
        Expression::Pi => Ok(Value::Exact(Surd::pi())),
        Expression::E => Ball::integer(1).exp().map(Value::Near).ok_or(NoValue::Unknown),
        Expression::I => Ok(Value::Exact(Surd::i())),
        Expression::Variable(name) => {
            let found = conditions.place.and_then(|place| place.get(name));
            found.cloned().map(Value::rational).ok_or(NoValue::Unknown)
        }
        Expression::Negative(of) => Ok(value(of)?.negated()),
        Expression::PlusMinus(sign, of) => Ok(if *sign == conditions.sign { value(of)? } else { value(of)?.negated() }),
        Expression::Sum(terms) => terms.iter().try_fold(Value::integer(0), |sum, term| sum.plus(&value(term)?)),
        Expression::Product(factors) => factors.iter().try_fold(Value::integer(1), |product, (factor, of)| match factor {
            Factor::Times => product.times(&value(of)?),
            Factor::Over => product.over(&value(of)?),
        }),
        Expression::Power(base, exponent) => power(base, &value(exponent)?, conditions),
        Expression::Root(2, of) => root(&value(of)?, conditions),
        Expression::Root(n, of) => nth_root(&value(of)?, *n),
        Expression::Call(function, of) => {
            // the argument of a function is an angle, whatever becomes of the marks outside
            call(*function, &evaluate(of, Conditions { marks: Marks::Factors, ..conditions })?)
        }
        Expression::Logarithm(base, of) => {
            let (base, of) = (value(base)?, value(of)?);
            let (base, of) = (logarithm(&base)?, logarithm(&of)?);
            of.over(&base)
        }
        Expression::Binomial(n, k) => binomial(&value(n)?, &value(k)?),
        Expression::Factorial(of) => {
            let n = value(of)?.small_whole().ok_or(NoValue::Unknown)?;
            Ok(Value::rational(Ratio::from_integer((1..=n).map(BigInt::from).product())))
        }
        Expression::Absolute(of) => {
            let value = value(of)?;
            match value.is_negative() {
                Some(negative) => Ok(if negative { value.negated() } else { value }),
                None => Err(NoValue::Unknown),
            }
        }
        Expression::Degree(of) => match conditions.marks {
            Marks::Dropped => value(of),
            Marks::Factors => value(of)?.times(&Value::Exact(Surd::pi()))?.over(&Value::integer(180)),
        },
        Expression::Percent(of) => match conditions.marks {
            Marks::Dropped => value(of),
            Marks::Factors => value(of)?.over(&Value::integer(100)),
        },
    }
}

impl Value {
    pub(super) fn rational(value: Rational) -> Value {
        Value::Exact(Surd::rational(value))
    }

    pub(super) fn integer(value: i64) -> Value {
        Value::Exact(Surd::integer(value))
    }

    /// Whether the two are equal; false if that cannot be known.
    pub(super) fn same(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Exact(a), Value::Exact(b)) => a == b,
            (a, b) => a.ball().zip(b.ball()).and_then(|(a, b)| a.same(&b)).unwrap_or(false),
        }
    }

    /// Whether it is known to be no rational number, or not known to be one.
    pub(super) fn is_rational(&self) -> bool {
        matches!(self, Value::Exact(surd) if surd.as_rational().is_some())
    }

    /// Whether it lies at most `distance` from `other`.
    pub(super) fn is_within(&self, distance: &Rational, other: &Rational) -> bool {
        let within = || {
            let difference = self.ball()?.minus(&Ball::rational(other)?);
            let distance = Ball::rational(distance)?;
            let outside = difference.minus(&distance).negated().is_negative() || difference.plus(&distance).is_negative();
            Some(!outside)
        };
        within().unwrap_or(false)
    }

    /// The nearest double, of a real number.
    pub(super) fn to_f64(&self) -> Option<f64> {
        self.ball().map(|ball| ball.to_f64()).filter(|value| value.is_finite())
    }

    /// Whether it is less than 0; none if it is not real or that is not known.
    pub(super) fn is_negative(&self) -> Option<bool> {
        match self {
            Value::Exact(surd) => match surd.as_rational() {
                Some(value) => Some(value.is_negative()),
                None => self.ball().filter(|ball| !ball.may_be_zero()).map(|ball| ball.is_negative()),
            },
            Value::Near(ball) => (!ball.may_be_zero()).then(|| ball.is_negative()),
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Value::Exact(surd) if surd.is_zero())
    }

    pub(super) fn negated(&self) -> Value {
        match self {
            Value::Exact(surd) => Value::Exact(surd.negated()),
            Value::Near(ball) => Value::Near(ball.negated()),
        }
    }

    pub(super) fn plus(&self, other: &Value) -> Evaluated {
        self.combined(other, Surd::plus, |a, b| Some(a.plus(b)))
    }

    pub(super) fn times(&self, other: &Value) -> Evaluated {
        if self.is_zero() || other.is_zero() {
            return Ok(Value::integer(0));
        }
        self.combined(other, Surd::times, Ball::times)
    }

    pub(super) fn over(&self, other: &Value) -> Evaluated {
        if other.is_zero() {
            return Err(NoValue::Undefined);
        }
        if self.is_zero() {
            return Ok(Value::integer(0));
        }
        self.combined(other, |a, b| a.times(&b.inverse()?), Ball::over)
    }

    /// Exactly if both are exact and small enough.
    fn combined(&self, other: &Value, exactly: fn(&Surd, &Surd) -> Option<Surd>, nearly: fn(&Ball, &Ball) -> Option<Ball>) -> Evaluated {
        if let (Value::Exact(a), Value::Exact(b)) = (self, other)
            && let Some(value) = exactly(a, b)
        {
            return Ok(Value::Exact(value));
        }
        let (a, b) = self.ball().zip(other.ball()).ok_or(NoValue::Unknown)?;
        nearly(&a, &b).map(Value::Near).ok_or(NoValue::Unknown)
    }

    fn ball(&self) -> Option<Ball> {
        match self {
            Value::Exact(surd) => Ball::surd(surd),
            Value::Near(ball) => Some(ball.clone()),
        }
    }

    /// The value, if it is a whole number from 0 to 500.
    fn small_whole(&self) -> Option<u32> {
        match self {
            Value::Exact(surd) => surd.as_integer()?.to_u32().filter(|n| *n <= 500),
            Value::Near(_) => None,
        }
    }
}

fn power(base: &Expression, exponent: &Value, conditions: Conditions<'_>) -> Evaluated {
    if *base == Expression::E {
        return call(Function::Exp, exponent);
    }
    let base = evaluate(base, conditions)?;
    if let Value::Exact(exponent) = exponent
        && let Some(rational) = exponent.as_rational()
    {
        if base.is_zero() {
            return match rational.is_positive() {
                true => Ok(base),
                false if rational.is_negative() => Err(NoValue::Undefined),
                false => Ok(Value::integer(1)),
            };
        }
        // x^(p/q) is the p-th power of the q-th root
        let of = match rational.denom().to_u32() {
            Some(1) => base,
            Some(2) => root(&base, conditions)?,
            Some(q @ 3..=64) => nth_root(&base, q)?,
            _ => return transcendental(&base, &Value::rational(rational)),
        };
        if let Value::Exact(surd) = &of
            && let Some(value) = surd.power(rational.numer())
        {
            return Ok(Value::Exact(value));
        }
        return match rational.numer().to_i64().filter(|n| n.unsigned_abs() <= 10_000) {
            Some(n) => of.ball().and_then(|ball| ball.power(n)).map(Value::Near).ok_or(NoValue::Unknown),
            None => transcendental(&of, &Value::rational(Ratio::from_integer(rational.numer().clone()))),
        };
    }
    transcendental(&base, exponent)
}

/// `exp(exponent · ln base)`, of a positive base.
fn transcendental(base: &Value, exponent: &Value) -> Evaluated {
    let value = base.ball().zip(exponent.ball()).and_then(|(base, exponent)| base.ln()?.times(&exponent)?.exp());
    value.map(Value::Near).ok_or(NoValue::Unknown)
}

fn root(of: &Value, conditions: Conditions<'_>) -> Evaluated {
    if conditions.place.is_some() && of.is_negative() == Some(true) {
        return Err(NoValue::Undefined); // with variables, all is real
    }
    if let Value::Exact(surd) = of
        && let Some(root) = surd.root()
    {
        return Ok(Value::Exact(root));
    }
    of.ball().and_then(|ball| ball.root(2)).map(Value::Near).ok_or(NoValue::Unknown)
}

fn nth_root(of: &Value, n: u32) -> Evaluated {
    if of.is_zero() {
        return Ok(Value::integer(0));
    }
    if n.is_multiple_of(2) && of.is_negative() == Some(true) {
        return Err(NoValue::Undefined);
    }
    if let Value::Exact(surd) = of
        && let Some(root) = surd.as_rational().and_then(|value| rational_root(&value, n))
    {
        return Ok(Value::rational(root));
    }
    of.ball().and_then(|ball| ball.root(n)).map(Value::Near).ok_or(NoValue::Unknown)
}

fn logarithm(of: &Value) -> Evaluated {
    if of.is_zero() || of.is_negative() == Some(true) {
        return Err(NoValue::Undefined);
    }
    if of.same(&Value::integer(1)) {
        return Ok(Value::integer(0));
    }
    of.ball().and_then(|ball| ball.ln()).map(Value::Near).ok_or(NoValue::Unknown)
}

fn call(function: Function, of: &Value) -> Evaluated {
    let unknown = NoValue::Unknown;
    let one = Value::integer(1);
    let near = |ball: Option<Ball>| ball.map(Value::Near).ok_or(unknown);
    let sin = || exact_sine(of, 0).map_or_else(|| near(of.ball().and_then(|x| x.sin())), Ok);
    let cos = || exact_sine(of, 6).map_or_else(|| near(of.ball().and_then(|x| x.cos())), Ok);
    match function {
        Function::Sin => sin(),
        Function::Cos => cos(),
        Function::Tan => sin()?.over(&cos()?),
        Function::Cot => cos()?.over(&sin()?),
        Function::Sec => one.over(&cos()?),
        Function::Csc => one.over(&sin()?),
        Function::Ln => logarithm(of),
        Function::Exp if of.is_zero() => Ok(one),
        Function::Exp => near(of.ball().and_then(|x| x.exp())),
        Function::Arctan if of.is_zero() => Ok(Value::integer(0)),
        Function::Arctan => near(of.ball().and_then(|x| x.atan())),
        Function::Arcsin => arcsine(of),
        Function::Arccos => Value::Exact(Surd::pi()).over(&Value::integer(2))?.plus(&arcsine(of)?.negated()),
    }
}

/// The sine of a multiple of π/12 = 15°, and `more` such steps.
fn exact_sine(of: &Value, more: i64) -> Option<Value> {
    let Value::Exact(angle) = of else { return None };
    let steps = angle.times(&Surd::integer(12))?.times(&Surd::pi().inverse()?)?.as_integer()? + more;
    let steps = ((steps % 24i64 + 24i64) % 24i64).to_i64()?;
    let root = |n: i64| Surd::integer(n).root();
    let quarter = |sum: Surd| sum.times(&Surd::rational(Rational::new(1.into(), 4.into())));
    // from 0 to 90°; then back, then below 0
    let rising = |steps: i64| match steps {
        0 => Some(Surd::integer(0)),
        1 => quarter(root(6)?.plus(&root(2)?.negated())?),
        2 => quarter(Surd::integer(2)),
        3 => quarter(root(8)?),
        4 => quarter(root(12)?),
        5 => quarter(root(6)?.plus(&root(2)?)?),
        _ => Some(Surd::integer(1)),
    };
    let half = steps % 12;
    let sine = rising(if half <= 6 { half } else { 12 - half })?;
    Some(Value::Exact(if steps >= 12 { sine.negated() } else { sine }))
}

/// `atan(x / √(1 - x²))`, and ±π/2 at ±1.
fn arcsine(of: &Value) -> Evaluated {
    let rest = Value::integer(1).plus(&of.times(of)?.negated())?;
    if rest.is_zero() {
        return Value::Exact(Surd::pi()).over(&Value::integer(2))?.times(of);
    }
    if rest.is_negative() != Some(false) {
        return Err(NoValue::Undefined);
    }
    let ratio = of.ball().zip(rest.ball().and_then(|rest| rest.root(2))).and_then(|(x, y)| x.over(&y));
    match of.is_zero() {
        true => Ok(Value::integer(0)),
        false => ratio.and_then(|ratio| ratio.atan()).map(Value::Near).ok_or(NoValue::Unknown),
    }
}

fn binomial(n: &Value, k: &Value) -> Evaluated {
    let (n, k) = n.small_whole().zip(k.small_whole()).ok_or(NoValue::Unknown)?;
    if k > n {
        return Ok(Value::integer(0));
    }
    let value = (1..=k).fold(BigInt::one(), |product, i| product * (n - k + i) / i);
    Ok(Value::rational(if value.is_zero() { Ratio::zero() } else { Ratio::from_integer(value) }))
}
