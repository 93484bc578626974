//! Takes the dressing off an answer: LaTeX layout, spaces, thousands separators, units; and reads numbers.

use super::Rational;

/// Stands for a comma with a space after it, which separates elements and never thousands.
pub(super) const SEPARATOR: char = ';';

/// One plain line: no layout commands, no spaces, fractions as `a/b`, a mixed number as `2&1/3`.
pub(super) fn clean(text: &str) -> String {
    let mut text = text.trim().replace(['\u{2212}', '\u{2013}'], "-");
    for (from, to) in REPLACED {
        text = text.replace(from, to);
    }
    text = text_commands(&text);
    text = text.trim().trim_end_matches('.').to_owned();
    text = mark_units(&text);
    let mut separated = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            ',' if chars.peek().is_some_and(|next| next.is_whitespace()) => separated.push(SEPARATOR),
            c if c.is_whitespace() => {}
            c => separated.push(c),
        }
    }
    roots(&fractions(&separated))
}

/// What is replaced everywhere, in this order.
const REPLACED: &[(&str, &str)] = &[
    ("\\$", ""),
    ("$", ""),
    ("\\(", ""),
    ("\\)", ""),
    ("\\left", ""),
    ("\\right", ""),
    ("{,}", ","),
    ("\\,", ""),
    ("\\!", ""),
    ("\\;", " "),
    ("\\:", " "),
    ("\\ ", " "),
    ("\\quad", " "),
    ("~", " "),
    ("\\{", "{"),
    ("\\}", "}"),
    ("\\lbrace", "{"),
    ("\\rbrace", "}"),
    ("\\dfrac", "\\frac"),
    ("\\tfrac", "\\frac"),
    ("\\cfrac", "\\frac"),
    ("^{\\circ}", ""),
    ("^\\circ", ""),
    ("\\circ", ""),
    ("\\degree", ""),
    ("°", ""),
    ("\\%", ""),
    ("%", ""),
    ("\\cdot", "*"),
    ("\\times", "*"),
    ("×", "*"),
    ("π", "\\pi"),
];

/// Marks where a unit begins.
const UNIT: char = '\u{1}';

/// `\text{B}` becomes `B`; at the end and after a number, `5\text{ cm}`, its words are units and get the mark.
fn text_commands(text: &str) -> String {
    const COMMANDS: [&str; 7] = ["\\text{", "\\textbf{", "\\textit{", "\\textrm{", "\\mathrm{", "\\mathbf{", "\\mbox{"];
    let mut text = text.to_owned();
    while let Some((at, command)) =
        COMMANDS.iter().filter_map(|command| text.rfind(command).map(|at| (at, *command))).max_by_key(|found| found.0)
    {
        let content_at = at + command.len();
        let Some(end) = super::balanced_end(&text[content_at..]) else {
            break;
        };
        let content = text[content_at..content_at + end].to_owned();
        let before = text[..at].trim_end();
        let last = matches!(text[content_at + end + 1..].trim(), "" | "." | "^2" | "^3" | "^{2}" | "^{3}");
        let unit = last && (before.ends_with(|c: char| c.is_ascii_digit()) || before.ends_with('}') && content.trim().len() > 1);
        let joined = if unit { format!("{UNIT}{}", content.trim()) } else { content };
        text.replace_range(at..content_at + end + 1, &joined);
    }
    text
}

/// Words that are units when they follow a number. Single letters only with a space between (`5 m`; `5m` is a product).
const UNITS: &[&str] = &[
    "mm",
    "cm",
    "dm",
    "km",
    "inch",
    "inches",
    "in",
    "ft",
    "feet",
    "foot",
    "yd",
    "yards",
    "mile",
    "miles",
    "meter",
    "meters",
    "metre",
    "metres",
    "centimeters",
    "centimetres",
    "kilometers",
    "kilometres",
    "mg",
    "kg",
    "gram",
    "grams",
    "lb",
    "lbs",
    "pounds",
    "oz",
    "sec",
    "second",
    "seconds",
    "min",
    "minute",
    "minutes",
    "hour",
    "hours",
    "hr",
    "hrs",
    "day",
    "days",
    "week",
    "weeks",
    "month",
    "months",
    "year",
    "years",
    "deg",
    "degree",
    "degrees",
    "unit",
    "units",
    "square",
    "sq",
    "cubic",
    "dollar",
    "dollars",
    "cent",
    "cents",
    "percent",
    "ml",
    "liter",
    "liters",
    "litre",
    "litres",
    "mph",
    "km/h",
    "m/s",
    "m/s^2",
    "hz",
    "ohm",
    "ohms",
    "volts",
    "watts",
    "joules",
    "newtons",
    "people",
    "points",
    "students",
    "times",
];
const UNITS_AFTER_SPACE: &[&str] = &["m", "s", "g", "h", "l", "n", "j", "w", "v", "a", "k", "c", "f", "pa"];

/// Puts the unit mark before trailing words that are units.
fn mark_units(text: &str) -> String {
    let number_end = text.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
    // An exponent belongs to the unit: `cm^2`, `m^{2}`.
    let body = text.trim_end_matches('}').trim_end_matches(['2', '3']).trim_end_matches('{');
    let (body, number_end) = match body.strip_suffix('^') {
        Some(body) => (body, body.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1)),
        None => (text, number_end),
    };
    if number_end == 0 {
        return text.to_owned();
    }
    let tail = &body[number_end..];
    let tail = tail.strip_prefix(['}', ')']).unwrap_or(tail);
    let spaced = tail.starts_with(char::is_whitespace);
    let words: Vec<String> = tail.split_whitespace().map(str::to_lowercase).collect();
    let is_unit = |word: &String| {
        let word = word.trim_end_matches('.');
        UNITS.contains(&word) || spaced && UNITS_AFTER_SPACE.contains(&word)
    };
    match !words.is_empty() && words.iter().all(is_unit) {
        true => format!("{}{UNIT}", &body[..body.len() - tail.len()]),
        false => text.to_owned(),
    }
}

/// What stands before the unit mark.
pub(super) fn without_unit(text: &str) -> &str {
    text.split(UNIT).next().unwrap_or(text)
}

/// `\frac{a}{b}` and `\frac12` become `a/b`; after a digit it is the second part of a mixed number: `2&1/3`.
fn fractions(text: &str) -> String {
    let mut text = text.to_owned();
    // From the right, so that what is inside a fraction is done before it.
    while let Some(at) = text.rfind("\\frac") {
        let rest = &text[at + "\\frac".len()..];
        let Some((numerator, after)) = argument(rest) else {
            break;
        };
        let Some((denominator, after)) = argument(after) else {
            break;
        };
        let mixed = text[..at].ends_with(|c: char| c.is_ascii_digit());
        let fraction = format!("{}{}/{}", if mixed { "&" } else { "" }, term(numerator), term(denominator));
        text = format!("{}{fraction}{after}", &text[..at]);
    }
    text
}

/// `\sqrt2` becomes `\sqrt{2}`.
fn roots(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\sqrt") {
        out += before;
        out += "\\sqrt";
        rest = after;
        if let Some(digit) = after.chars().next().filter(char::is_ascii_alphanumeric) {
            out += &format!("{{{digit}}}");
            rest = &after[1..];
        }
    }
    out + rest
}

/// The argument of a command: `{…}` or one character.
fn argument(text: &str) -> Option<(&str, &str)> {
    match text.strip_prefix('{') {
        Some(content) => super::balanced_end(content).map(|end| (&content[..end], &content[end + 1..])),
        None => text.chars().next().map(|c| text.split_at(c.len_utf8())),
    }
}

/// In brackets if it is a sum or a quotient.
fn term(text: &str) -> String {
    let compound = text.char_indices().any(|(at, c)| "+/*".contains(c) || c == '-' && at > 0);
    if compound { format!("({text})") } else { text.to_owned() }
}

/// Reads a cleaned number: a decimal, with thousands separators, a fraction, a mixed number, a power of ten times one.
pub(super) fn number(text: &str) -> Option<Rational> {
    if let Some(inner) = text.strip_prefix("-(").and_then(|rest| rest.strip_suffix(')')) {
        return number(inner)?.negated();
    }
    if let Some((whole, fraction)) = text.split_once('&') {
        let (whole_value, fraction) = (plain(whole)?, number(fraction)?);
        return whole_value.plus(if whole.starts_with('-') { fraction.negated()? } else { fraction });
    }
    if let Some((factor, power)) = text.split_once("*10^") {
        let power: i32 = power.trim_matches(['{', '}']).parse().ok()?;
        let scale = Rational::new(10i128.checked_pow(power.unsigned_abs())?, 1)?;
        let scale = if power < 0 { Rational::new(1, 1)?.over(scale)? } else { scale };
        return plain(factor)?.over(Rational::new(1, 1)?.over(scale)?);
    }
    match text.split_once('/') {
        Some((numerator, denominator)) => plain(numerator)?.over(plain(denominator)?),
        None => plain(text),
    }
}

/// A decimal, with or without thousands separators.
fn plain(text: &str) -> Option<Rational> {
    if !text.contains(',') {
        return Rational::decimal(text);
    }
    let digits = text.trim_start_matches(['-', '+']);
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut groups = whole.split(',');
    let first = groups.next()?;
    let well_formed =
        (1..=3).contains(&first.len()) && !first.starts_with('0') && !fraction.contains(',') && groups.all(|group| group.len() == 3);
    well_formed.then(|| Rational::decimal(&text.replace(',', "")))?
}
