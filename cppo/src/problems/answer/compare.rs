//! Whether what a response gives is what the truth says, when both are read.

use std::collections::{BTreeMap, BTreeSet};

use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::One;

use super::expression::{Expression, Sign, difference};
use super::reading::{Answer, Bound, Interval, List, Quantity, Reading, Relation, plain_decimal, region};
use super::surd::Rational;
use super::value::{Conditions, Marks, NoValue, Value, evaluate};

/// Longer lists are compared in their order alone: without one every element is compared with every other.
const LONGEST_UNORDERED: usize = 50;

/// A decimal with fewer digits is taken as exact.
const ROUNDED_FROM_DIGITS: usize = 3;

/// Places at which expressions with variables are compared, and at how many of them both must have a value.
const PLACES: usize = 6;
const PLACES_WITH_VALUES: usize = 2;

pub(super) fn same(given: &Answer, truth: &Answer) -> bool {
    if let (Some(a), Some(b)) = (&given.name, &truth.name)
        && a != b
    {
        return as_equation(given).zip(as_equation(truth)).is_some_and(|(a, b)| same_relation(Relation::Equal, &a, &b));
    }
    if given.text == truth.text {
        return true;
    }
    match (&given.reading, &truth.reading) {
        (Reading::Choice { letter: a, text: x }, Reading::Choice { letter: b, text: y }) => {
            a == b && x.as_ref().zip(y.as_ref()).is_none_or(|(x, y)| same(x, y))
        }
        (Reading::Choice { text: Some(described), .. }, _) => same(described, truth),
        (_, Reading::Choice { text: Some(described), .. }) => same(given, described),
        (Reading::Choice { text: None, .. }, Reading::Quantity(b)) => variable(given).is_some_and(|a| same_quantity(&a, b)),
        (Reading::Quantity(a), Reading::Choice { text: None, .. }) => variable(truth).is_some_and(|b| same_quantity(a, &b)),
        (Reading::Quantity(a), Reading::Quantity(b)) => same_quantity(a, b),
        (Reading::Infinity(a), Reading::Infinity(b)) => a == b,
        (Reading::List(a), Reading::List(b)) => same_list(a, b),
        (Reading::Region(_), Reading::Region(_) | Reading::List(_)) | (Reading::List(_), Reading::Region(_)) => {
            region(given).zip(region(truth)).is_some_and(|(a, b)| matched(&a, &b, &same_interval))
        }
        (Reading::Relation(a, x), Reading::Relation(b, y)) => a == b && same_relation(*a, x, y),
        (Reading::Relation(Relation::Equal, x), _) => as_equation(truth).is_some_and(|y| same_relation(Relation::Equal, x, &y)),
        (_, Reading::Relation(Relation::Equal, y)) => as_equation(given).is_some_and(|x| same_relation(Relation::Equal, &x, y)),
        (Reading::Matrix { determinant: a, rows: x }, Reading::Matrix { determinant: b, rows: y }) => {
            let same_row = |(x, y): (&Vec<Answer>, &Vec<Answer>)| x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y));
            a == b && x.len() == y.len() && x.iter().zip(y).all(same_row)
        }
        (Reading::Text, Reading::Text) => given.text.to_lowercase() == truth.text.to_lowercase(),
        _ => false,
    }
}

/// The letter of a choice as a variable, or as e or i.
fn variable(answer: &Answer) -> Option<Quantity> {
    let expression = match answer.text.trim_matches(['(', ')']) {
        "e" => Expression::E,
        "i" => Expression::I,
        letter => Expression::Variable(letter.to_owned()),
    };
    Some(Quantity { expression, measure: None, sign: Sign::Upper })
}

/// `y = 2x + 1`, which reads as the value of y, as an equation; not `x = 5`, which says what x is and not what y is.
fn as_equation(answer: &Answer) -> Option<Expression> {
    let Reading::Quantity(quantity) = &answer.reading else { return None };
    let name = answer.name.as_ref()?;
    let is_letter = name.chars().count() == 1;
    let has_variables = !variables(&[&quantity.expression]).is_empty();
    (is_letter && has_variables).then(|| difference(Expression::Variable(name.clone()), quantity.expression.clone()))
}

fn same_list(given: &List, truth: &List) -> bool {
    let is_set = |list: &List| list.brackets.is_some_and(|(open, _)| open == '{');
    let brackets_agree = given.brackets.is_none() || truth.brackets.is_none() || given.brackets == truth.brackets;
    let (a, b) = (&given.elements, &truth.elements);
    if !brackets_agree {
        return false;
    }
    let short = a.len() <= LONGEST_UNORDERED && b.len() <= LONGEST_UNORDERED;
    // `1 or 2` may be in brackets nowhere but in a set
    let may_be_turned = given.unordered && (truth.unordered || truth.brackets.is_none()) || truth.unordered && given.brackets.is_none();
    if !short || !may_be_turned {
        return a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b));
    }
    if is_set(given) || is_set(truth) {
        // what a set names twice is in it once
        return a.iter().all(|a| b.iter().any(|b| same(a, b))) && b.iter().all(|b| a.iter().any(|a| same(a, b)));
    }
    matched(a, b, &same)
}

/// Whether each of one can be laid on one of the other.
fn matched<T>(a: &[T], b: &[T], same: &dyn Fn(&T, &T) -> bool) -> bool {
    let mut left: Vec<&T> = b.iter().collect();
    let short = a.len() <= LONGEST_UNORDERED;
    a.len() == b.len()
        && short
        && a.iter().all(|a| match left.iter().position(|b| same(a, b)) {
            Some(place) => {
                left.swap_remove(place);
                true
            }
            None => false,
        })
}

fn same_interval(a: &Interval, b: &Interval) -> bool {
    let same_bound = |a: &Bound, b: &Bound| match (&a.at, &b.at) {
        (None, None) => true,
        (Some(x), Some(y)) => a.closed == b.closed && same_quantity(x, y),
        _ => false,
    };
    same_bound(&a.low, &b.low) && same_bound(&a.high, &b.high)
}

fn same_quantity(given: &Quantity, truth: &Quantity) -> bool {
    let Some((of_given, of_truth)) = scales(given, truth) else { return false };
    let names = variables(&[&given.expression, &truth.expression]);
    match names.is_empty() {
        true => same_constant(given, &of_given, truth, &of_truth),
        false => same_everywhere(given, truth, &names),
    }
}

fn same_constant(given: &Quantity, of_given: &Rational, truth: &Quantity, of_truth: &Rational) -> bool {
    readings(given, truth).iter().any(|marks| {
        let Some((a, b)) = scaled(given, of_given, *marks).zip(scaled(truth, of_truth, *marks)) else { return false };
        a.same(&b) || is_rounded(&a, of_given, truth, of_truth, *marks)
    })
}

/// What marks of percent and degree may mean. One that only one of the two has may be left out, or worked in: 50 % is 50 and 1/2.
fn readings(a: &Quantity, b: &Quantity) -> &'static [Marks] {
    let marked = |of: &Quantity| of.expression.any(&|part| matches!(part, Expression::Degree(_) | Expression::Percent(_)));
    if marked(a) == marked(b) { &[Marks::Factors] } else { &[Marks::Dropped, Marks::Factors] }
}

fn scaled(of: &Quantity, scale: &Rational, marks: Marks) -> Option<Value> {
    let value = evaluate(&of.expression, Conditions { place: None, sign: of.sign, marks }).ok()?;
    if scale.is_one() { Some(value) } else { value.times(&Value::rational(scale.clone())).ok() }
}

/// See [`super::relative_error`].
pub(super) fn relative_error(given: &Answer, truth: &Answer) -> Option<f64> {
    let (Reading::Quantity(a), Reading::Quantity(b)) = (&given.reading, &truth.reading) else { return None };
    let (of_a, of_b) = scales(a, b)?;
    let error = |marks: &Marks| {
        let (a, b) = (scaled(a, &of_a, *marks)?.to_f64()?, scaled(b, &of_b, *marks)?.to_f64()?);
        Some(if a == b { 0.0 } else { (a - b).abs() / b.abs() })
    };
    readings(a, b).iter().filter_map(error).min_by(f64::total_cmp)
}

/// What one unit of each is in the same units; none if they measure different things.
fn scales(a: &Quantity, b: &Quantity) -> Option<(Rational, Rational)> {
    match (&a.measure, &b.measure) {
        (Some(x), Some(y)) => x.fits(y).then(|| (x.scale.clone(), y.scale.clone())),
        _ => Some((Ratio::one(), Ratio::one())),
    }
}

/// Whether the truth is a decimal that `given`, which is no decimal and cannot be one, rounds to.
fn is_rounded(given: &Value, of_given: &Rational, truth: &Quantity, of_truth: &Rational, marks: Marks) -> bool {
    let marked = marks == Marks::Factors && truth.expression.any(&|part| matches!(part, Expression::Degree(_) | Expression::Percent(_)));
    let Some(decimal) = plain_decimal(&truth.expression).filter(|_| !given.is_rational() && !marked && of_given == of_truth) else {
        return false;
    };
    let (Some(decimals), true) = (decimal.decimals, decimal.significant >= ROUNDED_FROM_DIGITS) else { return false };
    let half = Ratio::new(BigInt::one(), BigInt::from(2) * num_traits::pow(BigInt::from(10), decimals as usize)) * of_truth;
    given.is_within(&half, &(&decimal.value * of_truth))
}

/// Whether two expressions have the same values wherever they have values, as far as that is tried.
fn same_everywhere(given: &Quantity, truth: &Quantity, names: &BTreeSet<String>) -> bool {
    let mut with_values = 0;
    for place in places(names) {
        let value = |of: &Quantity| evaluate(&of.expression, Conditions { place: Some(&place), sign: of.sign, marks: Marks::Factors });
        match (value(given), value(truth)) {
            (Ok(a), Ok(b)) if a.same(&b) => with_values += 1,
            (Err(NoValue::Undefined), Err(NoValue::Undefined)) => {}
            _ => return false,
        }
    }
    with_values >= PLACES_WITH_VALUES
}

/// Whether two expressions are 0 (or negative) at the same places because one is a multiple of the other.
fn same_relation(relation: Relation, given: &Expression, truth: &Expression) -> bool {
    let names = variables(&[given, truth]);
    let mut first: Option<(Value, Value)> = None;
    let mut with_values = 0;
    for place in places(&names) {
        let value = |of: &Expression| evaluate(of, Conditions { place: Some(&place), sign: Sign::Upper, marks: Marks::Factors });
        let (a, b) = match (value(given), value(truth)) {
            (Ok(a), Ok(b)) => (a, b),
            (Err(NoValue::Undefined), Err(NoValue::Undefined)) => continue,
            _ => return false,
        };
        let zero = Value::integer(0);
        if a.same(&zero) || b.same(&zero) {
            return false; // 0 at a place that means nothing: 0 everywhere, and no relation
        }
        if relation != Relation::Equal && (a.is_negative().is_none() || a.is_negative() != b.is_negative()) {
            return false;
        }
        let (a_first, b_first) = first.get_or_insert_with(|| (a.clone(), b.clone()));
        let in_proportion = a.times(b_first).ok().zip(b.times(a_first).ok()).is_some_and(|(x, y)| x.same(&y));
        if !in_proportion {
            return false;
        }
        with_values += 1;
    }
    with_values >= PLACES_WITH_VALUES
}

fn variables(expressions: &[&Expression]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut left: Vec<&Expression> = expressions.to_vec();
    while let Some(expression) = left.pop() {
        match expression {
            Expression::Variable(name) => drop(names.insert(name.clone())),
            other => left.extend(other.parts()),
        }
    }
    names
}

/// Values for the variables: fractions of large primes, so that no formula meets them by design; positive ones first, then of either sign.
fn places(names: &BTreeSet<String>) -> Vec<BTreeMap<String, Rational>> {
    const NUMERATORS: [i64; 6] = [1_009, 3_511, 1_613, 2_203, 4_409, 907];
    const DENOMINATORS: [i64; 6] = [1_487, 1_123, 2_909, 1_721, 1_303, 3_001];
    let place = |place: usize| {
        let value = |(number, name): (usize, &String)| {
            let (n, d) = (NUMERATORS[(place + number) % 6] + 6 * number as i64, DENOMINATORS[(place + 5 * number) % 6]);
            let negative = place >= PLACES / 2 && (number + place).is_multiple_of(2) || place == PLACES - 1;
            (name.clone(), Rational::new(if negative { -n } else { n }.into(), d.into()))
        };
        names.iter().enumerate().map(value).collect()
    };
    (0..PLACES).map(place).collect::<Vec<BTreeMap<String, Rational>>>()
}

#[cfg(test)]
mod tests {
    use num_traits::Zero;

    use super::*;

    #[test]
    fn places_differ_and_have_both_signs() {
        let names: BTreeSet<String> = ["x", "y", "z"].map(str::to_owned).into();
        let places = places(&names);
        let all: BTreeSet<&Rational> = places.iter().flat_map(BTreeMap::values).collect();
        assert_eq!(all.len(), places.len() * names.len());
        for name in &names {
            assert!(places.iter().any(|place| place[name] < Ratio::zero()) && places.iter().any(|place| place[name] > Ratio::zero()));
        }
    }
}
