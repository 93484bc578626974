//! Units: what a number counts. Known ones are converted, others are compared as words.

use std::collections::BTreeMap;

use num_bigint::BigInt;
use num_traits::One;

use super::surd::Rational;
use super::token::{Kind, Token};

/// A product of powers of base units, and what one of it is in those.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Measure {
    powers: BTreeMap<String, i32>,
    pub(super) scale: Rational,
}

impl Measure {
    /// Whether a number of `self` can be compared with one of `other`.
    pub(super) fn fits(&self, other: &Measure) -> bool {
        self.powers == other.powers
    }
}

/// (spellings, base unit, numerator and denominator of its size). Kelvin, °C and °F are units of their own: their zeros differ.
const KNOWN: &[(&str, &str, i64, i64)] = &[
    ("mm millimeter millimetre", "m", 1, 1000),
    ("cm centimeter centimetre", "m", 1, 100),
    ("dm decimeter decimetre", "m", 1, 10),
    ("m meter metre", "m", 1, 1),
    ("km kilometer kilometre", "m", 1000, 1),
    ("in inch inche", "m", 254, 10_000),
    ("ft foot feet", "m", 3048, 10_000),
    ("yd yard", "m", 9144, 10_000),
    ("mi mile", "m", 1_609_344, 1000),
    ("mg milligram", "g", 1, 1000),
    ("g gram", "g", 1, 1),
    ("kg kilogram kilo", "g", 1000, 1),
    ("lb lbs pound", "g", 45_359_237, 100_000),
    ("oz ounce", "g", 45_359_237, 1_600_000),
    ("ms millisecond", "s", 1, 1000),
    ("s sec second", "s", 1, 1),
    ("min minute", "s", 60, 1),
    ("h hr hour", "s", 3600, 1),
    ("day", "s", 86_400, 1),
    ("week", "s", 604_800, 1),
    ("month", "month", 1, 1),
    ("year yr", "month", 12, 1),
    ("ml mL milliliter millilitre", "L", 1, 1000),
    ("l L liter litre", "L", 1, 1),
    ("dollar usd", "dollar", 1, 1),
    ("cent", "dollar", 1, 100),
    ("euro eur", "euro", 1, 1),
    ("sterling gbp", "sterling", 1, 1),
    ("yen jpy", "yen", 1, 1),
    ("n N newton", "N", 1, 1),
    ("kN", "N", 1000, 1),
    ("j J joule", "J", 1, 1),
    ("kJ", "J", 1000, 1),
    ("eV", "eV", 1, 1),
    ("w W watt", "W", 1, 1),
    ("kW kw kilowatt", "W", 1000, 1),
    ("MW", "W", 1_000_000, 1),
    ("mW", "W", 1, 1000),
    ("v V volt", "V", 1, 1),
    ("mV", "V", 1, 1000),
    ("A amp ampere", "A", 1, 1),
    ("mA", "A", 1, 1000),
    ("Omega ohm", "ohm", 1, 1),
    ("Pa pa pascal", "Pa", 1, 1),
    ("kPa kpa", "Pa", 1000, 1),
    ("MPa", "Pa", 1_000_000, 1),
    ("Hz hz hertz", "Hz", 1, 1),
    ("kHz khz", "Hz", 1000, 1),
    ("MHz", "Hz", 1_000_000, 1),
    ("mol mole", "mol", 1, 1),
    ("K kelvin", "K", 1, 1),
    ("C celsius", "C", 1, 1),
    ("F fahrenheit", "F", 1, 1),
    ("rad radian", "rad", 1, 1),
];

/// Units that a single letter names; more would take the variables.
const LETTERS: &[&str] = &["m", "s", "g", "h", "l", "L", "N", "J", "W", "V", "A", "K", "C", "F"];

/// Words behind a number that change its value, or are no unit.
const NO_UNITS: &[&str] = &[
    "hundred",
    "thousand",
    "million",
    "billion",
    "trillion",
    "dozen",
    "half",
    "halve",
    "third",
    "quarter",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "hundredth",
    "thousandth",
    "squared",
    "cubed",
    "factorial",
    "or",
    "and",
    "to",
    "not",
    "of",
    "plus",
    "minus",
    "over",
    "by",
    "is",
    "than",
    "remainder",
    "sin",
    "cos",
    "tan",
    "cot",
    "sec",
    "csc",
    "log",
    "ln",
    "exp",
    "sqrt",
    "pi",
    "mod",
    "infinity",
    "base",
];

/// Where the unit begins that ends `tokens`, and what it is. Only behind something that can be a number.
pub(super) fn trailing(tokens: &[Token]) -> Option<(usize, Measure)> {
    let part = |token: &Token| match &token.kind {
        Kind::Word(_) => true,
        Kind::Command(name) => name == "Omega" || name == "ohm",
        Kind::Number(number) => number.value.is_integer(),
        Kind::Symbol(c) => "/*^{}-".contains(*c),
    };
    let mut start = tokens.len() - tokens.iter().rev().take_while(|token| part(token)).count();
    // the first word; what stands before it belongs to the number
    start += tokens[start..].iter().position(|token| matches!(token.kind, Kind::Word(_) | Kind::Command(_)))?;
    if start == 0 || !tokens[start - 1].ends_expression() {
        return None;
    }
    let measure = read(&tokens[start..])?;
    Some((start, measure))
}

fn read(tokens: &[Token]) -> Option<Measure> {
    let mut measure = Measure { powers: BTreeMap::new(), scale: Rational::one() };
    let (mut side, mut power_of_next, mut at) = (1, 1, 0);
    let mut last: Option<(String, Rational)> = None; // the unit that an exponent would belong to
    while at < tokens.len() {
        let token = &tokens[at];
        at += 1;
        let word = match &token.kind {
            Kind::Word(word) | Kind::Command(word) => word.as_str(),
            Kind::Symbol('/') => {
                side = -1;
                last = None;
                continue;
            }
            Kind::Symbol('*') => continue,
            Kind::Symbol('^') => {
                let (base, scale) = last.take()?;
                let (exponent, next) = exponent(tokens, at)?;
                at = next;
                measure.times(&base, &scale, side * (exponent - 1));
                continue;
            }
            _ => return None,
        };
        match word.to_lowercase().as_str() {
            "per" => {
                side = -1;
                continue;
            }
            "square" | "sq" => {
                power_of_next = 2;
                continue;
            }
            "cubic" | "cu" => {
                power_of_next = 3;
                continue;
            }
            "squared" | "cubed" if last.is_some() => {
                let (base, scale) = last.take()?;
                measure.times(&base, &scale, side * if word.eq_ignore_ascii_case("squared") { 1 } else { 2 });
                continue;
            }
            "unit" | "units" => {
                power_of_next = 1; // some unit, whichever
                continue;
            }
            "mph" => {
                measure.times("m", &Rational::new(1_609_344.into(), 1000.into()), side);
                measure.times("s", &Rational::from_integer(3600.into()), -side);
                continue;
            }
            _ => {}
        }
        let apart = token.spaced || at > 1;
        let (base, scale) = known(word, apart).or_else(|| noun(word, apart))?;
        measure.times(&base, &scale, side * power_of_next);
        power_of_next = 1;
        last = Some((base, scale));
    }
    Some(measure)
}

impl Measure {
    fn times(&mut self, base: &str, scale: &Rational, power: i32) {
        // a litre is a cubic decimetre
        let (base, times, scale) = match base {
            "L" => ("m", 3 * power, scale * Rational::new(BigInt::one(), 1000.into())),
            _ => (base, power, scale.clone()),
        };
        let sum = self.powers.entry(base.to_owned()).or_insert(0);
        *sum += times;
        if *sum == 0 {
            self.powers.remove(base);
        }
        self.scale = &self.scale * scale.pow(power);
    }
}

/// `2`, `{2}`, `-1` or `{-1}` from `at` on, up to 9, and what comes after.
fn exponent(tokens: &[Token], mut at: usize) -> Option<(i32, usize)> {
    let symbol = |at: usize, wanted: char| tokens.get(at).is_some_and(|token| token.kind == Kind::Symbol(wanted));
    let braced = symbol(at, '{');
    at += usize::from(braced);
    let sign = if symbol(at, '-') { -1 } else { 1 };
    at += usize::from(sign < 0);
    let Kind::Number(number) = &tokens.get(at)?.kind else { return None };
    let value = (1..=9).find(|value| number.value == Rational::from_integer((*value).into()))?;
    at += 1;
    if braced && !symbol(at, '}') {
        return None;
    }
    Some((sign * value, at + usize::from(braced)))
}

fn known(word: &str, spaced: bool) -> Option<(String, Rational)> {
    if word.chars().count() == 1 && !(spaced && LETTERS.contains(&word)) {
        return None; // `5m` is a product
    }
    let lower = word.to_lowercase();
    let singular = if lower.len() > 3 { lower.trim_end_matches('s') } else { &lower };
    let find = |wanted: &str| KNOWN.iter().find(|(spellings, ..)| spellings.split(' ').any(|spelling| spelling == wanted));
    // MW is not mW: a capital M is never taken for a small one
    let found = find(word).or_else(|| find(singular).filter(|_| word.len() > 3 || !word.starts_with('M')))?;
    Some((found.1.to_owned(), Rational::new(found.2.into(), found.3.into())))
}

/// `5 apples`: whatever is counted.
fn noun(word: &str, spaced: bool) -> Option<(String, Rational)> {
    let lower = word.to_lowercase();
    let singular = lower.strip_suffix('s').filter(|singular| singular.len() > 2).unwrap_or(&lower);
    let counts = spaced
        && lower.len() > 2
        && lower.chars().all(char::is_alphabetic)
        && ![&*lower, singular].iter().any(|word| NO_UNITS.contains(word));
    counts.then(|| (singular.to_owned(), Rational::one()))
}
