//! Cuts a cleaned answer into numbers, words, LaTeX commands and signs.

use num_bigint::BigInt;

use super::clean::THOUSANDS;
use super::surd::Rational;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// Whether a space stands before it.
    pub(super) spaced: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Number(Number),
    /// Letters.
    Word(String),
    /// The name of a LaTeX command; of an environment `begin pmatrix` and `end pmatrix`.
    Command(String),
    /// A sign; `⦃` and `⦄` are the braces of a set, `⏎` is `\\`.
    Symbol(char),
}

/// A number as it is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Number {
    pub(super) value: Rational,
    /// Digits after the point, of a plain decimal.
    pub(super) decimals: Option<u32>,
    /// Digits from the first that is not 0.
    pub(super) significant: usize,
}

impl Token {
    /// Whether a number, a name or a closing bracket can end here.
    pub(super) fn ends_expression(&self) -> bool {
        match &self.kind {
            Kind::Number(_) => true,
            Kind::Command(name) => name == "pi",
            Kind::Symbol(c) => ")}]°%".contains(*c),
            Kind::Word(_) => false,
        }
    }

    pub(super) fn is(&self, symbol: char) -> bool {
        self.kind == Kind::Symbol(symbol)
    }

    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(&self.kind, Kind::Word(word) if word.eq_ignore_ascii_case(wanted))
    }
}

/// Larger exponents of `1e9` are not numbers here.
const LARGEST_EXPONENT: i64 = 1000;

/// The tokens of `text`; none if it has a character that mathematics has not.
pub(super) fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let (mut rest, mut spaced, mut depth) = (text, true, 0i32);
    loop {
        let trimmed = rest.trim_start();
        spaced |= trimmed.len() < rest.len();
        rest = trimmed;
        let Some(first) = rest.chars().next() else { break };
        let (kind, after) = match first {
            // an abbreviation: `sq. cm`
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit())
                && matches!(tokens.last(), Some(Token { kind: Kind::Word(_), .. })) =>
            {
                (rest, spaced) = (&rest[1..], true);
                continue;
            }
            '0'..='9' | '.' => {
                let (number, after) = number(rest, depth == 0, takes_one_digit(&tokens))?;
                (Kind::Number(number), after)
            }
            '\\' => match command(&rest[1..])? {
                (Some(kind), after) => (kind, after),
                (None, after) => {
                    (rest, spaced) = (after, true);
                    continue;
                }
            },
            c if c.is_alphabetic() => {
                let end = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
                (Kind::Word(rest[..end].to_owned()), &rest[end..])
            }
            _ => symbol(rest)?,
        };
        match &kind {
            Kind::Symbol('(' | '[' | '{' | '⦃') => depth += 1,
            Kind::Symbol(')' | ']' | '}' | '⦄') => depth -= 1,
            _ => {}
        }
        tokens.push(Token { kind, spaced });
        (rest, spaced) = (after, false);
    }
    Some(with_multiples(with_degrees(tokens)))
}

/// `\frac12` is 1/2 and `\sqrt23` is √2·3: a command without braces takes one digit.
fn takes_one_digit(tokens: &[Token]) -> bool {
    let is = |at: usize, names: &[&str]| {
        let token = tokens.len().checked_sub(at).map(|at| &tokens[at]);
        token.is_some_and(|token| matches!(&token.kind, Kind::Command(name) if names.contains(&name.as_str())))
    };
    let fractions = ["frac", "binom"];
    is(1, &["sqrt", "frac", "binom"]) || is(2, &fractions) && matches!(tokens[tokens.len() - 1].kind, Kind::Number(_))
}

/// A number at the beginning of `text`, and what follows.
fn number(text: &str, separates_thousands: bool, one_digit: bool) -> Option<(Number, &str)> {
    if one_digit && text.starts_with(|c: char| c.is_ascii_digit()) {
        return Some((written(&text[..1], "", 0)?, &text[1..]));
    }
    let digits_end = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let mut end = digits_end(text);
    // 1,234,567: groups of three, and nothing that speaks against it; a list in brackets has commas of its own
    let separators: &[&str] = if separates_thousands { &[",", THOUSANDS, " ", "\\,"] } else { &[THOUSANDS, " ", "\\,"] };
    if (1..=3).contains(&end) && !text.starts_with('0') {
        let groups_end = separators.iter().filter_map(|separator| {
            let mut at = end;
            while let Some(group) = text[at..].strip_prefix(separator).filter(|rest| digits_end(rest) == 3) {
                at = text.len() - group.len() + 3;
            }
            let ends_there = !text[at..].starts_with(separator) || text[at + separator.len()..].starts_with(|c: char| !c.is_ascii_digit());
            (at > end && ends_there).then_some(at)
        });
        end = groups_end.max().unwrap_or(end);
    }
    let whole: String = text[..end].chars().filter(char::is_ascii_digit).collect();
    let mut rest = &text[end..];
    let mut fraction = "";
    if let Some(after) = rest.strip_prefix('.') {
        fraction = &after[..digits_end(after)];
        rest = &after[fraction.len()..];
    }
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut exponent = 0;
    if let Some(after) = rest.strip_prefix(['e', 'E']) {
        let digits = after.strip_prefix(['+', '-']).unwrap_or(after);
        let length = digits_end(digits);
        if length > 0 && !digits[length..].starts_with(|c: char| c.is_alphanumeric()) {
            exponent = digits[..length].parse::<i64>().ok().filter(|exponent| *exponent <= LARGEST_EXPONENT)?;
            exponent = if after.starts_with('-') { -exponent } else { exponent };
            rest = &digits[length..];
        }
    }
    Some((written(&whole, fraction, exponent)?, rest))
}

fn written(whole: &str, fraction: &str, exponent: i64) -> Option<Number> {
    let digits = format!("{whole}{fraction}");
    let mut value = Rational::from_integer(digits.parse::<BigInt>().ok()?);
    let shift = exponent - i64::try_from(fraction.len()).ok()?;
    let power = Rational::from_integer(num_traits::pow(BigInt::from(10), usize::try_from(shift.unsigned_abs()).ok()?));
    value = if shift < 0 { value / power } else { value * power };
    let decimals = (exponent == 0 && !fraction.is_empty()).then_some(fraction.len() as u32);
    Some(Number { value, decimals, significant: digits.trim_start_matches('0').len() })
}

/// What stands behind a backslash; none for a space.
fn command(text: &str) -> Option<(Option<Kind>, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    if name.is_empty() {
        let first = text.chars().next()?;
        let after = &text[first.len_utf8()..];
        let kind = match first {
            '\\' => Some(Kind::Symbol('⏎')),
            '{' => Some(Kind::Symbol('⦃')),
            '}' => Some(Kind::Symbol('⦄')),
            '%' | '|' | '&' => Some(Kind::Symbol(first)),
            ',' | ';' | ':' | '!' | '>' | ' ' | '(' | ')' | '[' | ']' => None,
            _ => return None,
        };
        return Some((kind, after));
    }
    let symbol = match name {
        "quad" | "qquad" | "thinspace" | "big" | "Big" | "bigl" | "bigr" | "Bigl" | "Bigr" | "limits" | "textstyle" => {
            return Some((None, after));
        }
        "le" | "leq" | "leqslant" => '≤',
        "ge" | "geq" | "geqslant" => '≥',
        "ne" | "neq" => '≠',
        "lt" => '<',
        "gt" => '>',
        "approx" | "equiv" => '=',
        "cdot" | "times" | "ast" => '*',
        "div" => '/',
        "pm" => '±',
        "mp" => '∓',
        "infty" => '∞',
        "cup" | "bigcup" => '∪',
        "in" => '∈',
        "circ" | "degree" => '°',
        "prime" => '\'',
        "langle" => '(',
        "rangle" => ')',
        "lbrace" => '⦃',
        "rbrace" => '⦄',
        "vert" | "lvert" | "rvert" | "mid" => '|',
        "begin" | "end" => {
            let (environment, after) = after.trim_start().strip_prefix('{')?.split_once('}')?;
            return Some((Some(Kind::Command(format!("{name} {}", environment.trim_end_matches('*')))), after));
        }
        "dfrac" | "tfrac" | "cfrac" => return Some((Some(Kind::Command("frac".into())), after)),
        "varnothing" => return Some((Some(Kind::Command("emptyset".into())), after)),
        _ => return Some((Some(Kind::Command(name.to_owned())), after)),
    };
    Some((Some(Kind::Symbol(symbol)), after))
}

fn symbol(text: &str) -> Option<(Kind, &str)> {
    const DOUBLE: &[(&str, char)] = &[("**", '^'), ("<=", '≤'), (">=", '≥'), ("!=", '≠'), ("==", '='), ("+/-", '±'), ("''", '"')];
    if let Some((spelling, symbol)) = DOUBLE.iter().find(|(spelling, _)| text.starts_with(spelling)) {
        return Some((Kind::Symbol(*symbol), &text[spelling.len()..]));
    }
    let first = text.chars().next()?;
    let symbol = match first {
        '≈' => '=',
        '+' | '-' | '*' | '/' | '^' | '_' | '(' | ')' | '[' | ']' | '{' | '}' | ',' | ';' | '=' | '<' | '>' | '≤' | '≥' | '≠' | '±'
        | '∓' | '∞' | '∪' | '∈' | '°' | '%' | '\'' | '"' | '|' | '!' | '&' => first,
        _ => return None,
    };
    Some((Kind::Symbol(symbol), &text[first.len_utf8()..]))
}

/// `^\circ` and `^{\circ}` become `°`; `°C` and `°F` become units.
fn with_degrees(tokens: Vec<Token>) -> Vec<Token> {
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    let mut at = 0;
    let is = |at: usize, symbol: char| tokens.get(at).is_some_and(|token| token.is(symbol));
    while at < tokens.len() {
        let degree = match () {
            () if is(at, '°') => 1,
            () if is(at, '^') && is(at + 1, '°') => 2,
            () if is(at, '^') && is(at + 1, '{') && is(at + 2, '°') && is(at + 3, '}') => 4,
            () => {
                out.push(tokens[at].clone());
                at += 1;
                continue;
            }
        };
        at += degree;
        match tokens.get(at) {
            Some(Token { kind: Kind::Word(word), .. }) if word == "C" || word == "F" => {
                out.push(Token { kind: Kind::Word(word.clone()), spaced: true });
                at += 1;
            }
            _ => out.push(Token { kind: Kind::Symbol('°'), spaced: false }),
        }
    }
    out
}

/// `3 million` becomes `3 * 1000000`.
fn with_multiples(tokens: Vec<Token>) -> Vec<Token> {
    const MULTIPLES: &[(&str, i64)] = &[
        ("dozen", 12),
        ("hundred", 100),
        ("thousand", 1000),
        ("million", 1_000_000),
        ("billion", 1_000_000_000),
        ("trillion", 1_000_000_000_000),
    ];
    let mut out: Vec<Token> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let multiple = MULTIPLES.iter().find(|(word, _)| token.is_word(word));
        match (multiple, out.last().map(|last| &last.kind)) {
            (Some((_, value)), Some(Kind::Number(_))) => {
                out.push(Token { kind: Kind::Symbol('*'), spaced: true });
                let number = Number { value: Rational::from_integer((*value).into()), decimals: None, significant: 0 };
                out.push(Token { kind: Kind::Number(number), spaced: true });
            }
            _ => out.push(token),
        }
    }
    out
}
