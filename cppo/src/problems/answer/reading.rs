//! Reads an answer as the first of these that fits: a choice, alternatives (`or`), a list, a union of intervals, an equation or inequality, something in
//! brackets (tuple, interval, set), a matrix, a quantity (an expression, perhaps with a unit), text.

mod related;

use std::collections::BTreeSet;

use super::clean::{choice_with_text, clean};
use super::expression::{Expression, Factor, Sign};
use super::token::{Kind, Number, Token, tokens};
use super::unit::{self, Measure};
use related::{both, related};

/// An answer, read.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// `x` of `x=5`.
    pub(super) name: Option<String>,
    pub(super) reading: Reading,
    /// It as text, with spaces only where they part digits.
    pub(super) text: String,
}

#[derive(Clone, Debug)]
pub(super) enum Reading {
    Choice {
        letter: char,
        text: Option<Box<Answer>>,
    },
    Quantity(Quantity),
    Infinity(Infinity),
    List(List),
    /// A union of intervals.
    Region(Vec<Interval>),
    /// An expression that is 0, or less than 0, or at most 0.
    Relation(Relation, Box<Expression>),
    Matrix {
        determinant: bool,
        rows: Vec<Vec<Answer>>,
    },
    Text,
}

#[derive(Clone, Debug)]
pub(super) struct Quantity {
    pub(super) expression: Expression,
    pub(super) measure: Option<Measure>,
    /// Which of the values that `±` has.
    pub(super) sign: Sign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Infinity {
    Positive,
    Negative,
}

#[derive(Clone, Debug)]
pub(super) struct List {
    /// The brackets around it, if any; `{` and `}` of a set.
    pub(super) brackets: Option<(char, char)>,
    pub(super) elements: Vec<Answer>,
    /// Whether it says by itself that the order does not matter: `1 or 2`, `x=1, x=2`, `±1`, `A, C`, a set.
    pub(super) unordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    Less,
    AtMost,
}

#[derive(Clone, Debug)]
pub(super) struct Interval {
    pub(super) low: Bound,
    pub(super) high: Bound,
}

#[derive(Clone, Debug)]
pub(super) struct Bound {
    /// None: without end.
    pub(super) at: Option<Quantity>,
    pub(super) closed: bool,
}

/// A longer answer is compared as text.
const LONGEST: usize = 4096;
/// Lists in lists; deeper ones are text.
const MOST_NESTED: usize = 8;

impl Answer {
    /// None if there is nothing.
    pub(super) fn read(text: &str) -> Option<Answer> {
        let text = clean(text);
        if text.is_empty() {
            return None;
        }
        if text.len() <= LONGEST
            && let Some((letter, described)) = choice_with_text(&text)
        {
            let described = Box::new(Answer::read_clean(described));
            return Some(Answer { name: None, reading: Reading::Choice { letter, text: Some(described) }, text: plain(&text) });
        }
        Some(Answer::read_clean(&text))
    }

    fn read_clean(text: &str) -> Answer {
        let tokens = if text.len() <= LONGEST { tokens(text) } else { None };
        match tokens.filter(|tokens| !tokens.is_empty()) {
            Some(tokens) => read(&tokens, 0),
            None => Answer { name: None, reading: Reading::Text, text: plain(text) },
        }
    }
}

/// Without spaces, but for those between two digits.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut spaced = false;
    for c in text.chars() {
        if c.is_whitespace() {
            spaced = true;
            continue;
        }
        if spaced && c.is_ascii_digit() && out.ends_with(|c: char| c.is_ascii_digit()) {
            out.push(' ');
        }
        spaced = false;
        out.push(c);
    }
    out
}

fn spelled(tokens: &[Token]) -> String {
    let mut out = String::new();
    for token in tokens {
        if token.spaced {
            out.push(' ');
        }
        match &token.kind {
            Kind::Number(number) => out.push_str(&number.value.to_string()),
            Kind::Word(word) => out.push_str(word),
            Kind::Command(name) => {
                out.push('\\');
                out.push_str(name);
            }
            Kind::Symbol(symbol) => out.push(match symbol {
                '⦃' => '{',
                '⦄' => '}',
                symbol => *symbol,
            }),
        }
    }
    plain(&out)
}

fn read(tokens: &[Token], depth: usize) -> Answer {
    let named = structured(tokens, depth);
    let (name, reading) = named.unwrap_or((None, Reading::Text));
    Answer { name, reading, text: spelled(tokens) }
}

type Named = (Option<String>, Reading);

fn structured(tokens: &[Token], depth: usize) -> Option<Named> {
    if depth > MOST_NESTED || tokens.is_empty() {
        return None;
    }
    let reading = |reading: Reading| Some((None, reading));
    if let Some(choice) = choice(tokens) {
        return reading(choice);
    }
    if let Some(found) = alternatives(tokens, depth) {
        return Some(found);
    }
    if let [Token { kind: Kind::Command(begin), .. }, ..] = tokens
        && begin.starts_with("begin ")
    {
        return matrix(tokens, depth).and_then(reading);
    }
    let parts = split(tokens, |token| token.is(',') || token.is(';'));
    if parts.len() > 1 {
        return list(None, &parts, depth).and_then(|list| reading(Reading::List(list)));
    }
    let parts = split(tokens, |token| token.is('∪'));
    if parts.len() > 1 {
        let regions: Option<Vec<_>> = parts.iter().map(|part| region(&read(part, depth + 1))).collect();
        return reading(Reading::Region(regions?.concat()));
    }
    if let Some(found) = related(tokens, depth) {
        return Some(found);
    }
    if let Some(found) = bracketed(tokens, depth) {
        return Some(found);
    }
    if let Some(infinity) = infinity(tokens) {
        return reading(Reading::Infinity(infinity));
    }
    if let [Token { kind: Kind::Command(name), .. }] = tokens {
        let whole = || Interval { low: Bound { at: None, closed: false }, high: Bound { at: None, closed: false } };
        match name.as_str() {
            "emptyset" => return reading(Reading::List(List { brackets: Some(('{', '}')), elements: Vec::new(), unordered: true })),
            "reals" => return reading(Reading::Region(vec![whole()])),
            _ => {}
        }
    }
    quantity(tokens).and_then(reading)
}

/// `B`, `(B)`, `B)`.
fn choice(tokens: &[Token]) -> Option<Reading> {
    let inner = match tokens {
        [open, inner, close] if open.is('(') && close.is(')') => inner,
        [inner, close] if close.is(')') => inner,
        [inner] => inner,
        _ => return None,
    };
    let Kind::Word(word) = &inner.kind else { return None };
    let mut letters = word.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => Some(Reading::Choice { letter: letter.to_ascii_uppercase(), text: None }),
        _ => None,
    }
}

/// The parts between separators that are in no bracket.
fn split(tokens: &[Token], separates: impl Fn(&Token) -> bool) -> Vec<&[Token]> {
    let mut depth = 0;
    tokens
        .split(|token| {
            match &token.kind {
                Kind::Symbol('(' | '[' | '{' | '⦃') => depth += 1,
                Kind::Symbol(')' | ']' | '}' | '⦄') => depth -= 1,
                Kind::Command(name) if name.starts_with("begin ") => depth += 1,
                Kind::Command(name) if name.starts_with("end ") => depth -= 1,
                _ => {}
            }
            depth == 0 && separates(token)
        })
        .collect()
}

/// `1 or 2`, `1, 2 and 3`; of inequalities the union, or what both leave.
fn alternatives(tokens: &[Token], depth: usize) -> Option<Named> {
    let is_or = |token: &Token| token.is_word("or") || matches!(&token.kind, Kind::Command(name) if name == "lor" || name == "vee");
    let is_and = |token: &Token| token.is_word("and") || matches!(&token.kind, Kind::Command(name) if name == "land" || name == "wedge");
    let has = |is: &dyn Fn(&Token) -> bool| tokens.iter().any(is);
    let (or, and) = (has(&is_or), has(&is_and));
    if !or && !and {
        return None;
    }
    let mut parts = split(tokens, |token| is_or(token) || is_and(token) || token.is(',') || token.is(';'));
    parts.retain(|part| !part.is_empty());
    if parts.len() < 2 {
        return None;
    }
    let elements: Vec<Answer> = parts.iter().map(|part| read(part, depth + 1)).collect();
    let regions: Option<Vec<_>> = elements.iter().map(named_region).collect();
    let name = elements[0].name.clone();
    if let Some(regions) = regions.filter(|_| elements.iter().all(|element| element.name == name)) {
        let region = match (or, regions.as_slice()) {
            (true, _) if !and => regions.concat(),
            (false, [a, b]) => vec![both(a, b)?],
            _ => return None,
        };
        return Some((name, Reading::Region(region)));
    }
    if !or && elements.iter().any(|element| matches!(element.reading, Reading::Relation(..) | Reading::Region(_))) {
        return None;
    }
    let same_name = elements.iter().all(|element| element.name.is_none() || element.name == name);
    let list = Reading::List(List { brackets: None, elements, unordered: true });
    Some((name.filter(|_| same_name), list))
}

fn named_region(answer: &Answer) -> Option<Vec<Interval>> {
    match &answer.reading {
        Reading::Region(intervals) if answer.name.is_some() => Some(intervals.clone()),
        _ => None,
    }
}

fn list(brackets: Option<(char, char)>, parts: &[&[Token]], depth: usize) -> Option<List> {
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let is_set = brackets.is_some_and(|(open, _)| open == '{');
    let mut elements: Vec<Answer> = Vec::new();
    for element in parts.iter().map(|part| read(part, depth + 1)) {
        match element.reading {
            // both values of `±`
            Reading::List(List { brackets: None, elements: both, .. }) if is_set => elements.extend(both),
            _ => elements.push(element),
        }
    }
    let names: BTreeSet<&String> = elements.iter().filter_map(|element| element.name.as_ref()).collect();
    let all_named = elements.iter().all(|element| element.name.is_some());
    let choices = elements.iter().all(|element| matches!(element.reading, Reading::Choice { .. }));
    let unordered = is_set || brackets.is_none() && (choices || all_named && names.len() == 1);
    if all_named && names.len() == elements.len() {
        elements.sort_by(|a, b| a.name.cmp(&b.name)); // `y=2, x=1`
    }
    Some(List { brackets, elements, unordered })
}

/// What the outermost brackets enclose, if the first of them closes at the very end.
fn bracketed(tokens: &[Token], depth: usize) -> Option<Named> {
    let [first, inner @ .., last] = tokens else { return None };
    let (Kind::Symbol(open), Kind::Symbol(close)) = (&first.kind, &last.kind) else { return None };
    if !"([{⦃".contains(*open) || !")]}⦄".contains(*close) {
        return None;
    }
    let mut level = 0;
    let stays_open = inner.iter().all(|token| {
        match &token.kind {
            Kind::Symbol('(' | '[' | '{' | '⦃') => level += 1,
            Kind::Symbol(')' | ']' | '}' | '⦄') => level -= 1,
            _ => {}
        }
        level >= 0
    });
    if !stays_open || level != 0 {
        return None;
    }
    let as_set = |c: char| match c {
        '⦃' => '{',
        '⦄' => '}',
        c => c,
    };
    let brackets = (as_set(*open), as_set(*close));
    if inner.is_empty() {
        return (brackets == ('{', '}'))
            .then(|| (None, Reading::List(List { brackets: Some(brackets), elements: Vec::new(), unordered: true })));
    }
    let parts = split(inner, |token| token.is(',') || token.is(';'));
    match parts.len() {
        1 if "({".contains(*open) => structured(inner, depth + 1), // `(5)` is 5 in brackets
        _ => list(Some(brackets), &parts, depth).map(|list| (None, Reading::List(list))),
    }
}

/// A list of two in round or square brackets as an interval, and what is a region already.
pub(super) fn region(answer: &Answer) -> Option<Vec<Interval>> {
    let list = match &answer.reading {
        Reading::Region(intervals) => return Some(intervals.clone()),
        Reading::List(list) => list,
        _ => return None,
    };
    let ((open @ ('(' | '['), close @ (')' | ']')), [low, high]) = (list.brackets?, list.elements.as_slice()) else { return None };
    let bound = |of: &Answer, without_end: Infinity, closed: bool| match &of.reading {
        Reading::Quantity(quantity) => Some(Bound { at: Some(quantity.clone()), closed }),
        Reading::Infinity(infinity) if *infinity == without_end => Some(Bound { at: None, closed: false }),
        _ => None,
    };
    let (low, high) = (bound(low, Infinity::Negative, open == '[')?, bound(high, Infinity::Positive, close == ']')?);
    Some(vec![Interval { low, high }])
}

fn infinity(tokens: &[Token]) -> Option<Infinity> {
    let is_infinite = |token: &Token| token.is('∞') || token.is_word("infinity") || token.is_word("inf");
    match tokens {
        [one] if is_infinite(one) => Some(Infinity::Positive),
        [sign, one] if sign.is('+') && is_infinite(one) => Some(Infinity::Positive),
        [sign, one] if sign.is('-') && is_infinite(one) => Some(Infinity::Negative),
        _ => None,
    }
}

fn matrix(tokens: &[Token], depth: usize) -> Option<Reading> {
    let [Token { kind: Kind::Command(begin), .. }, inner @ .., Token { kind: Kind::Command(end), .. }] = tokens else { return None };
    let environment = begin.strip_prefix("begin ")?;
    if end.strip_prefix("end ")? != environment || !environment.ends_with("matrix") {
        return None;
    }
    let rows: Vec<&[Token]> = split(inner, |token| token.is('⏎')).into_iter().filter(|row| !row.is_empty()).collect();
    let cells = |row: &&[Token]| split(row, |token| token.is('&')).into_iter().map(|cell| read(cell, depth + 1)).collect();
    Some(Reading::Matrix { determinant: environment.starts_with(['v', 'V']), rows: rows.iter().map(cells).collect() })
}

/// An expression, perhaps with a unit; both values of one with `±`.
fn quantity(tokens: &[Token]) -> Option<Reading> {
    let with_unit = || {
        let (start, measure) = unit::trailing(tokens)?;
        let expression = Expression::read(&tokens[..start])?;
        let is_constant = !expression.any(&|part| matches!(part, Expression::Variable(_)));
        is_constant.then_some((expression, Some(measure)))
    };
    let (expression, measure) = with_unit().or_else(|| Some((Expression::read(tokens)?, None)))?;
    // a word that stands alone is no variable, and `x y` as an answer is
    let quantity = |sign| Quantity { expression: expression.clone(), measure: measure.clone(), sign };
    if expression.any(&|part| matches!(part, Expression::PlusMinus(..))) {
        let text = spelled(tokens);
        let element = |sign, mark: char| Answer { name: None, reading: Reading::Quantity(quantity(sign)), text: format!("{mark}{text}") };
        let elements = vec![element(Sign::Upper, '⁺'), element(Sign::Lower, '⁻')];
        return Some(Reading::List(List { brackets: None, elements, unordered: true }));
    }
    Some(Reading::Quantity(quantity(Sign::Upper)))
}

/// The number that a truth writes as a plain decimal: its digits say how far it was rounded.
pub(super) fn plain_decimal(expression: &Expression) -> Option<&Number> {
    match expression {
        Expression::Number(number) if number.decimals.is_some() => Some(number),
        Expression::Product(factors) => match factors.as_slice() {
            [(Factor::Times, only)] => plain_decimal(only),
            _ => None,
        },
        Expression::Degree(inner) | Expression::Percent(inner) => plain_decimal(inner),
        _ => None,
    }
}
