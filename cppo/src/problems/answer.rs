//! Whether two answers are the same, exactly: no tolerance, no floating point.
//!
//! An answer is cleaned of LaTeX dressing and of units, then read as the first of these that fits: a list, tuple or set
//! (compared element by element, in order), a rational number (`0.5` = `1/2` = `\frac{1}{2}` = `50/100`), a choice letter
//! (`(B)` = `B`), or text without regard to case. Two answers are equal if they read as the same thing. A name before the answer
//! (`x=5`) is dropped, unless both have one and they differ.
//!
//! Marks of percent and degree are dropped like units: `50\%` equals `50`, not `0.5`.

mod clean;
mod rational;

pub use rational::Rational;

/// The content of the last `\boxed{…}` whose braces balance; escaped braces (`\{`) do not count.
pub fn boxed_answer(response: &str) -> Option<&str> {
    const OPENING: &str = "\\boxed{";
    response.rmatch_indices(OPENING).find_map(|(at, _)| {
        let content = &response[at + OPENING.len()..];
        balanced_end(content).map(|end| &content[..end])
    })
}

/// Whether `given` and `truth` are the same answer. Both may be dressed in LaTeX; neither should have its box any more.
pub fn answers_equal(given: &str, truth: &str) -> bool {
    let (given, truth) = (Answer::read(given), Answer::read(truth));
    match (&given, &truth) {
        (Some(given), Some(truth)) => given.same(truth),
        _ => false, // nothing given, or nothing to compare with: not right
    }
}

/// Where the brace closes that was open before `content`.
fn balanced_end(content: &str) -> Option<usize> {
    let mut depth = 1;
    let mut escaped = false;
    for (at, c) in content.char_indices() {
        match c {
            '{' if !escaped => depth += 1,
            '}' if !escaped => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

/// An answer, read.
#[derive(Debug, PartialEq)]
struct Answer {
    /// `x` of `x=5`.
    name: Option<String>,
    value: Value,
}

#[derive(Debug, PartialEq)]
enum Value {
    /// Elements and the brackets around them, if any: `(1,2)`, `[0,1)`, `{1,2}`, `1,2`.
    List {
        brackets: Option<(char, char)>,
        elements: Vec<Answer>,
    },
    Number(Rational),
    /// Upper case.
    Choice(char),
    /// Case-folded.
    Text(String),
}

impl Answer {
    fn read(text: &str) -> Option<Answer> {
        Self::read_clean(&clean::clean(text))
    }

    fn read_clean(text: &str) -> Option<Answer> {
        let (name, text) = split_name(text);
        let text = clean::without_unit(text);
        if text.is_empty() {
            return None;
        }
        let value = None
            .or_else(|| clean::number(text).map(Value::Number))
            .or_else(|| choice(text).map(Value::Choice))
            .or_else(|| list(text))
            .unwrap_or_else(|| Value::Text(text.replace(clean::SEPARATOR, ",").to_lowercase()));
        Some(Answer { name, value })
    }

    fn same(&self, other: &Answer) -> bool {
        let names_agree = match (&self.name, &other.name) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        names_agree
            && match (&self.value, &other.value) {
                (Value::List { brackets: a, elements: x }, Value::List { brackets: b, elements: y }) => {
                    (a.is_none() || b.is_none() || a == b) && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x.same(y))
                }
                (a, b) => a == b,
            }
    }
}

/// `x=5` into `x` and `5`. What stands before the sign must look like a name (`x`, `x_1`, `\theta`, `f(x)`, `(x,y)`).
fn split_name(text: &str) -> (Option<String>, &str) {
    let mut parts = text.split('=');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(value), None)
            if name.starts_with(|c: char| c.is_alphabetic() || c == '\\' || c == '(')
                && name.chars().all(|c| c.is_alphanumeric() || "_\\{}()',".contains(c) || c == clean::SEPARATOR) =>
        {
            (Some(name.replace(clean::SEPARATOR, ",")), value)
        }
        _ => (None, text),
    }
}

/// `B`, `(B)`, `B)`, `B.` into `B`.
fn choice(text: &str) -> Option<char> {
    let inner = text.strip_prefix('(').unwrap_or(text);
    let inner = inner.strip_suffix([')', '.', ':']).unwrap_or(inner);
    let mut chars = inner.chars();
    match (chars.next(), chars.next()) {
        (Some(letter), None) if letter.is_ascii_alphabetic() => Some(letter.to_ascii_uppercase()),
        _ => None,
    }
}

/// Elements between commas that are in no bracket of their own; at least two, or one in brackets of its own.
fn list(text: &str) -> Option<Value> {
    let (brackets, inner) = match bracketed(text) {
        Some((brackets, inner)) => (Some(brackets), inner),
        None => (None, text),
    };
    let mut elements = vec![String::new()];
    let mut depth = 0;
    for c in inner.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        match elements.last_mut() {
            Some(element) if depth != 0 || (c != ',' && c != clean::SEPARATOR) => element.push(c),
            _ => elements.push(String::new()),
        }
    }
    if elements.len() < 2 && brackets.is_none_or(|(open, _)| open == '(') {
        // `(5)` is 5 in brackets, `(x+1)` is a term.
        return brackets.and_then(|_| Answer::read_clean(inner)).map(|answer| answer.value);
    }
    let elements = elements.iter().map(|element| Answer::read_clean(element)).collect::<Option<_>>()?;
    Some(Value::List { brackets, elements })
}

/// The outermost brackets and what is between them, if the first bracket closes at the very end.
fn bracketed(text: &str) -> Option<((char, char), &str)> {
    let open = text.chars().next().filter(|c| "([{".contains(*c))?;
    let close = text.chars().next_back().filter(|c| ")]}".contains(*c))?;
    let inner = text.get(1..text.len() - 1)?;
    let mut depth = 0;
    let stays_open = inner.chars().all(|c| {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
        depth >= 0
    });
    (stays_open && depth == 0).then_some(((open, close), inner))
}
