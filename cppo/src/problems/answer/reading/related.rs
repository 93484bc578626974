//! Equations and inequalities: what a name is said to be, intervals, and relations between expressions.

use super::super::expression::{Expression, Sign, difference};
use super::super::token::{Kind, Token};
use super::super::value::{Conditions, Marks, Value, evaluate};
use super::{Bound, Interval, Named, Quantity, Reading, Relation, infinity, quantity, spelled, split, structured};

/// None if there is no relation, or none that can be read.
pub(super) fn related(tokens: &[Token], depth: usize) -> Option<Named> {
    let relation = |token: &Token| match token.kind {
        Kind::Symbol(c @ ('=' | '<' | '>' | '≤' | '≥' | '≠' | '∈')) => Some(c),
        _ => None,
    };
    let parts = split(tokens, |token| relation(token).is_some());
    if parts.len() < 2 || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let mut at = 0;
    let mut signs = Vec::new();
    for part in &parts[..parts.len() - 1] {
        at += part.len();
        signs.push(relation(&tokens[at])?);
        at += 1;
    }
    match (&signs[..], &parts[..]) {
        (['∈'], [name, set]) => Some((Some(spelled(name)), structured(set, depth + 1)?.1)),
        (['='], [left, right]) => equation(left, right, depth),
        (signs, _) if signs.iter().all(|sign| *sign == '=') => {
            // x = 2+3 = 5
            let (name, rest) = if is_name(parts[0]) { (Some(spelled(parts[0])), &parts[1..]) } else { (None, &parts[..]) };
            let values: Option<Vec<Value>> = rest.iter().map(|part| constant(part)).collect();
            let values = values?;
            values.iter().all(|value| value.same(&values[0])).then(|| Some((name, quantity(rest[rest.len() - 1])?)))?
        }
        ([sign], [left, right]) => inequality(*sign, left, right),
        ([first, second], [left, middle, right]) => {
            let (Reading::Region(a), Reading::Region(b)) = (inequality(*first, left, middle)?.1, inequality(*second, middle, right)?.1)
            else {
                return None;
            };
            let (below, above) = match ("<≤".contains(*first), "<≤".contains(*second), ">≥".contains(*first), ">≥".contains(*second))
            {
                (true, true, ..) => (a, b),
                (.., true, true) => (b, a),
                _ => return None, // 1 < x > 2
            };
            let ([below], [above]) = (below.as_slice(), above.as_slice()) else { return None };
            Some((Some(spelled(middle)), Reading::Region(vec![Interval { low: below.low.clone(), high: above.high.clone() }])))
        }
        _ => None,
    }
}

fn equation(left: &[Token], right: &[Token], depth: usize) -> Option<Named> {
    if is_name(left) {
        return Some((Some(spelled(left)), structured(right, depth + 1).map_or(Reading::Text, |(_, reading)| reading)));
    }
    if let Some(Expression::Variable(_)) = Expression::read(right) {
        return Some((Some(spelled(right)), quantity(left)?));
    }
    if let (Some(a), Some(b)) = (constant(left), constant(right)) {
        return if a.same(&b) { Some((None, quantity(right)?)) } else { None }; // 2+3 = 5
    }
    Some((None, Reading::Relation(Relation::Equal, Box::new(difference(Expression::read(left)?, Expression::read(right)?)))))
}

/// What may stand before `=` as the name of a value: `x`, `x_1`, `\theta`, `f(x)`, `(x,y)`, `m\angle A`, `\overline{AB}`; nothing that is computed.
fn is_name(tokens: &[Token]) -> bool {
    let begins = matches!(&tokens[0].kind, Kind::Word(_) | Kind::Command(_) | Kind::Symbol('(' | '⦃'));
    let names = tokens.iter().any(|token| matches!(token.kind, Kind::Word(_) | Kind::Command(_)));
    let fits = |token: &Token| match &token.kind {
        Kind::Word(_) | Kind::Command(_) => true,
        Kind::Number(number) => number.value.is_integer(),
        Kind::Symbol(symbol) => "_{}()',".contains(*symbol),
    };
    begins && names && tokens.iter().all(fits) && constant(tokens).is_none()
}

fn constant(tokens: &[Token]) -> Option<Value> {
    let expression = Expression::read(tokens)?;
    evaluate(&expression, Conditions { place: None, sign: Sign::Upper, marks: Marks::Dropped }).ok()
}

fn inequality(sign: char, left: &[Token], right: &[Token]) -> Option<Named> {
    let variable = |tokens: &[Token]| matches!(Expression::read(tokens), Some(Expression::Variable(_) | Expression::I | Expression::E));
    let flipped = |sign: char| match sign {
        '<' => '>',
        '>' => '<',
        '≤' => '≥',
        '≥' => '≤',
        sign => sign,
    };
    let (name, sign, other) = match (variable(left), variable(right)) {
        (true, false) => (left, sign, right),
        (false, true) => (right, flipped(sign), left),
        _ => return general_inequality(sign, left, right),
    };
    let Some(at) = endpoint(other) else { return general_inequality(sign, name, other) };
    let end = |closed| Bound { at: at.clone(), closed };
    let open = || Bound { at: None, closed: false };
    let region = match sign {
        '<' => vec![Interval { low: open(), high: end(false) }],
        '≤' => vec![Interval { low: open(), high: end(true) }],
        '>' => vec![Interval { low: end(false), high: open() }],
        '≥' => vec![Interval { low: end(true), high: open() }],
        '≠' => vec![Interval { low: open(), high: end(false) }, Interval { low: end(false), high: open() }],
        _ => return None,
    };
    Some((Some(spelled(name)), Reading::Region(region)))
}

fn general_inequality(sign: char, left: &[Token], right: &[Token]) -> Option<Named> {
    let (left, right) = (Expression::read(left)?, Expression::read(right)?);
    let (relation, difference) = match sign {
        '<' => (Relation::Less, difference(left, right)),
        '≤' => (Relation::AtMost, difference(left, right)),
        '>' => (Relation::Less, difference(right, left)),
        '≥' => (Relation::AtMost, difference(right, left)),
        _ => return None,
    };
    Some((None, Reading::Relation(relation, Box::new(difference))))
}

/// The end of an interval: a constant, or none of what has no end. No end at all if it is neither.
fn endpoint(tokens: &[Token]) -> Option<Option<Quantity>> {
    if infinity(tokens).is_some() {
        return Some(None);
    }
    match quantity(tokens) {
        Some(Reading::Quantity(quantity)) if constant(tokens).is_some() || quantity.measure.is_some() => Some(Some(quantity)),
        _ => None,
    }
}

/// `x > 1` and `x < 3`.
pub(super) fn both(a: &[Interval], b: &[Interval]) -> Option<Interval> {
    let ([a], [b]) = (a, b) else { return None };
    let (upward, downward) = if a.high.at.is_none() { (a, b) } else { (b, a) };
    let fits = upward.high.at.is_none() && downward.low.at.is_none() && upward.low.at.is_some() && downward.high.at.is_some();
    fits.then(|| Interval { low: upward.low.clone(), high: downward.high.clone() })
}
