//! Reads tokens as an expression, with the precedence of mathematics: sums, products (also without a sign between), powers, signs behind.

use num_traits::Signed;

use super::surd::Rational;
use super::token::{Kind, Number, Token};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Expression {
    Number(Number),
    Pi,
    /// The base of natural logarithms.
    E,
    I,
    Variable(String),
    Negative(Box<Expression>),
    /// `±x` is x under the upper sign, `∓x` under the lower.
    PlusMinus(Sign, Box<Expression>),
    Sum(Vec<Expression>),
    /// From left to right; what is divided by is marked.
    Product(Vec<(Factor, Expression)>),
    Power(Box<Expression>, Box<Expression>),
    Root(u32, Box<Expression>),
    Call(Function, Box<Expression>),
    Logarithm(Box<Expression>, Box<Expression>),
    Binomial(Box<Expression>, Box<Expression>),
    Factorial(Box<Expression>),
    Absolute(Box<Expression>),
    Degree(Box<Expression>),
    Percent(Box<Expression>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Upper,
    Lower,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Factor {
    Times,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Arcsin,
    Arccos,
    Arctan,
    Ln,
    Exp,
}

/// Brackets, roots, powers and functions inside each other; deeper ones are text. It bounds what the reader's recursion takes of the stack.
pub(super) const MOST_NESTED: usize = 40;
/// Exponents and signs behind a value: `x!^2`.
const MOST_BEHIND: usize = 4;

impl Expression {
    /// All of `tokens` as one expression.
    pub(super) fn read(tokens: &[Token]) -> Option<Expression> {
        let mut reader = Reader { tokens, at: 0, depth: 0, bars: 0 };
        let expression = reader.sum()?;
        (reader.at == tokens.len()).then_some(expression)
    }

    /// The expressions directly inside.
    pub(super) fn parts(&self) -> Vec<&Expression> {
        use Expression::*;
        match self {
            Number(_) | Pi | E | I | Variable(_) => Vec::new(),
            Negative(x) | PlusMinus(_, x) | Root(_, x) | Call(_, x) | Factorial(x) | Absolute(x) | Degree(x) | Percent(x) => vec![x],
            Sum(terms) => terms.iter().collect(),
            Product(factors) => factors.iter().map(|(_, factor)| factor).collect(),
            Power(a, b) | Logarithm(a, b) | Binomial(a, b) => vec![a, b],
        }
    }

    /// Whether it, or something inside, `is`.
    pub(super) fn any(&self, is: &dyn Fn(&Expression) -> bool) -> bool {
        is(self) || self.parts().iter().any(|part| part.any(is))
    }
}

/// `a - b`.
pub(super) fn difference(a: Expression, b: Expression) -> Expression {
    Expression::Sum(vec![a, Expression::Negative(Box::new(b))])
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    depth: usize,
    /// Open `|`.
    bars: usize,
}

const FUNCTIONS: &[(&str, Function)] = &[
    ("sin", Function::Sin),
    ("cos", Function::Cos),
    ("tan", Function::Tan),
    ("cot", Function::Cot),
    ("sec", Function::Sec),
    ("csc", Function::Csc),
    ("arcsin", Function::Arcsin),
    ("arccos", Function::Arccos),
    ("arctan", Function::Arctan),
    ("ln", Function::Ln),
    ("exp", Function::Exp),
];

const GREEK: &[&str] = &[
    "alpha",
    "beta",
    "gamma",
    "delta",
    "epsilon",
    "varepsilon",
    "zeta",
    "eta",
    "theta",
    "vartheta",
    "kappa",
    "lambda",
    "mu",
    "nu",
    "xi",
    "rho",
    "sigma",
    "tau",
    "phi",
    "varphi",
    "chi",
    "psi",
    "omega",
    "Gamma",
    "Delta",
    "Theta",
    "Lambda",
    "Phi",
    "Psi",
    "ell",
];

impl Reader<'_> {
    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn take(&mut self, symbol: char) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|token| token.is(symbol));
        self.at += usize::from(found);
        found
    }

    fn sum(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return None;
        }
        let mut terms = vec![self.signed(Self::product)?];
        while matches!(self.peek(), Some(Kind::Symbol('+' | '-' | '±' | '∓'))) {
            terms.push(self.signed(Self::product)?);
        }
        self.depth -= 1;
        Some(if terms.len() == 1 { terms.remove(0) } else { Expression::Sum(terms) })
    }

    /// What `inner` reads, with the signs before it.
    fn signed(&mut self, inner: fn(&mut Self) -> Option<Expression>) -> Option<Expression> {
        let (mut negative, mut either) = (false, None);
        while let Some(Kind::Symbol(sign @ ('+' | '-' | '±' | '∓'))) = self.peek() {
            match (sign, either) {
                ('+', _) => {}
                ('-', _) => negative = !negative,
                ('±', None) => either = Some(Sign::Upper),
                ('∓', None) => either = Some(Sign::Lower),
                _ => return None,
            }
            self.at += 1;
        }
        let value = inner(self)?;
        let value = match (negative, value) {
            (false, value) => value,
            (true, Expression::Number(number)) if !number.value.is_negative() => {
                Expression::Number(Number { value: -number.value, ..number })
            }
            (true, value) => Expression::Negative(Box::new(value)),
        };
        Some(either.map_or(value.clone(), |sign| Expression::PlusMinus(sign, Box::new(value))))
    }

    fn product(&mut self) -> Option<Expression> {
        let mut factors = vec![(Factor::Times, self.power()?)];
        loop {
            if self.take('*') {
                factors.push((Factor::Times, self.signed(Self::power)?));
            } else if self.take('/') {
                factors.push((Factor::Over, self.signed(Self::power)?));
            } else if self.begins_factor() {
                let number_follows = matches!(self.peek(), Some(Kind::Number(_)));
                let mixed = self.mixed(&factors);
                match mixed {
                    Some(mixed) => factors = vec![(Factor::Times, mixed)],
                    None if number_follows => return None, // `2 3` is not 6
                    None => factors.push((Factor::Times, self.power()?)),
                }
            } else {
                break;
            }
        }
        Some(if factors.len() == 1 { factors.remove(0).1 } else { Expression::Product(factors) })
    }

    /// `2\frac{1}{3}` and `2 1/3`: a whole number, then a proper fraction of whole numbers. It looks ahead and does not read twice: what is nested could be read
    /// twice at every level.
    fn mixed(&mut self, factors: &[(Factor, Expression)]) -> Option<Expression> {
        let [(Factor::Times, Expression::Number(whole))] = factors else { return None };
        let symbol = |at: usize, wanted| self.tokens.get(at).is_some_and(|token| token.is(wanted));
        let number = |at: usize| match self.tokens.get(at).map(|token| &token.kind) {
            Some(Kind::Number(number)) if number.value.is_integer() && number.decimals.is_none() => Some(number),
            _ => None,
        };
        let argument = |at: usize| match symbol(at, '{') && symbol(at + 2, '}') {
            true => Some((number(at + 1)?, at + 3)),
            false => Some((number(at)?, at + 1)),
        };
        let is_fraction = matches!(self.peek(), Some(Kind::Command(name)) if name == "frac");
        let (numerator, after) = argument(self.at + usize::from(is_fraction))?;
        let slash = usize::from(!is_fraction);
        if slash == 1 && !symbol(after, '/') {
            return None;
        }
        let (denominator, after) = argument(after + slash)?;
        if !whole.value.is_integer() || whole.decimals.is_some() || numerator.value >= denominator.value {
            return None;
        }
        self.at = after;
        let value = &whole.value + &numerator.value / &denominator.value;
        Some(Expression::Number(Number { value, decimals: None, significant: 0 }))
    }

    fn begins_factor(&self) -> bool {
        match self.peek() {
            Some(Kind::Number(_) | Kind::Word(_)) => true,
            Some(Kind::Command(name)) => !name.starts_with("end "),
            Some(Kind::Symbol('|')) => self.bars == 0,
            Some(Kind::Symbol(c)) => "([{".contains(*c),
            None => false,
        }
    }

    fn power(&mut self) -> Option<Expression> {
        let mut base = self.atom()?;
        for _ in 0..MOST_BEHIND {
            if self.take('!') {
                base = Expression::Factorial(Box::new(base));
            } else if self.take('°') {
                base = self.minutes(Expression::Degree(Box::new(base)));
            } else if self.take('%') {
                base = Expression::Percent(Box::new(base));
            } else if self.take('^') {
                let exponent = self.exponent()?;
                base = Expression::Power(Box::new(base), Box::new(exponent));
            } else {
                return Some(base);
            }
        }
        None
    }

    /// `35° 30' 15"`.
    fn minutes(&mut self, degrees: Expression) -> Expression {
        let Expression::Degree(whole) = &degrees else { return degrees };
        let mut sum = vec![(**whole).clone()];
        for (mark, parts) in [('\'', 60), ('"', 3600)] {
            let (Some(Kind::Number(number)), Some(next)) = (self.peek(), self.tokens.get(self.at + 1)) else { break };
            if !next.is(mark) {
                break;
            }
            let value = &number.value / Rational::from_integer(parts.into());
            sum.push(Expression::Number(Number { value, decimals: None, significant: 0 }));
            self.at += 2;
        }
        match sum.len() {
            1 => degrees,
            _ => Expression::Degree(Box::new(Expression::Sum(sum))),
        }
    }

    fn exponent(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return None;
        }
        let exponent = self.signed(Self::power)?;
        self.depth -= 1;
        Some(exponent)
    }

    fn atom(&mut self) -> Option<Expression> {
        let token = self.tokens.get(self.at)?;
        self.at += 1;
        match &token.kind {
            Kind::Number(number) => Some(Expression::Number(number.clone())),
            Kind::Word(word) => self.word(word),
            Kind::Command(name) => self.command(name),
            Kind::Symbol(open @ ('(' | '[' | '{')) => self.inside(match open {
                '(' => ')',
                '[' => ']',
                _ => '}',
            }),
            Kind::Symbol('|') => {
                let bars = std::mem::replace(&mut self.bars, 1);
                let inner = self.sum()?;
                self.bars = bars;
                self.take('|').then(|| Expression::Absolute(Box::new(inner)))
            }
            Kind::Symbol(_) => None,
        }
    }

    /// Up to the bracket that closes; bars outside of it do not count inside.
    fn inside(&mut self, close: char) -> Option<Expression> {
        let bars = std::mem::take(&mut self.bars);
        let inner = self.sum()?;
        self.bars = bars;
        self.take(close).then_some(inner)
    }

    fn word(&mut self, word: &str) -> Option<Expression> {
        match word {
            "pi" | "Pi" => Some(Expression::Pi),
            "sqrt" => self.argument().map(|of| Expression::Root(2, Box::new(of))),
            "e" => Some(Expression::E),
            "i" => Some(Expression::I),
            _ if word.chars().count() == 1 => self.subscript(word),
            // a product of the letters that are always variables, or behind a number mostly are: `xy`, `2ab`
            _ if word.len() <= 4 && word.chars().all(|c| "xyz".contains(c) || self.follows_number() && "abcmnpqr".contains(c)) => {
                Some(Expression::Product(word.chars().map(|letter| (Factor::Times, Expression::Variable(letter.to_string()))).collect()))
            }
            _ => self.function(word),
        }
    }

    /// Whether what was just taken stands directly behind a number.
    fn follows_number(&self) -> bool {
        let before = self.at.checked_sub(2).map(|at| (&self.tokens[at], &self.tokens[at + 1]));
        before.is_some_and(|(before, taken)| matches!(before.kind, Kind::Number(_)) && !taken.spaced)
    }

    fn command(&mut self, name: &str) -> Option<Expression> {
        match name {
            "pi" => Some(Expression::Pi),
            "frac" => {
                let (numerator, denominator) = (self.argument()?, self.argument()?);
                Some(Expression::Product(vec![(Factor::Times, numerator), (Factor::Over, denominator)]))
            }
            "binom" => {
                let (n, k) = (self.argument()?, self.argument()?);
                Some(Expression::Binomial(Box::new(n), Box::new(k)))
            }
            "sqrt" => {
                let mut degree = 2;
                if self.take('[') {
                    let Some(Kind::Number(number)) = self.peek() else { return None };
                    degree = number.value.is_integer().then(|| number.value.to_integer())?.try_into().ok()?;
                    self.at += 1;
                    if !self.take(']') || !(2..=64).contains(&degree) {
                        return None;
                    }
                }
                self.argument().map(|of| Expression::Root(degree, Box::new(of)))
            }
            _ if GREEK.contains(&name) => self.subscript(&format!("\\{name}")),
            _ => self.function(name),
        }
    }

    /// `{…}`, `(…)`, or one number or name.
    fn argument(&mut self) -> Option<Expression> {
        if matches!(self.peek(), Some(Kind::Symbol('{' | '(')) | Some(Kind::Number(_) | Kind::Word(_) | Kind::Command(_))) {
            self.depth += 1;
            if self.depth > MOST_NESTED {
                return None;
            }
            let argument = self.atom()?;
            self.depth -= 1;
            return Some(argument);
        }
        None
    }

    fn function(&mut self, name: &str) -> Option<Expression> {
        if name == "log" || name == "lg" {
            let base = if self.take('_') { self.argument()? } else { whole(10) };
            let of = self.applied()?;
            return Some(Expression::Logarithm(Box::new(base), Box::new(of)));
        }
        let (_, function) = FUNCTIONS.iter().find(|(known, _)| *known == name)?;
        let exponent = if self.take('^') { Some(self.exponent()?) } else { None };
        let call = |function, of| Expression::Call(function, Box::new(of));
        let of = self.applied()?;
        Some(match (exponent, function) {
            (None, function) => call(*function, of),
            // sin⁻¹ is the inverse function, sin² the square of the sine
            (Some(Expression::Number(number)), Function::Sin) if number.value == minus_one() => call(Function::Arcsin, of),
            (Some(Expression::Number(number)), Function::Cos) if number.value == minus_one() => call(Function::Arccos, of),
            (Some(Expression::Number(number)), Function::Tan) if number.value == minus_one() => call(Function::Arctan, of),
            (Some(exponent), function) => Expression::Power(Box::new(call(*function, of)), Box::new(exponent)),
        })
    }

    /// What a function is applied to: brackets, or what is multiplied without a sign, up to the next function: `\sin 2x \cos x`.
    fn applied(&mut self) -> Option<Expression> {
        self.depth += 1;
        if self.depth > MOST_NESTED {
            return None;
        }
        let of = if matches!(self.peek(), Some(Kind::Symbol('(' | '{' | '['))) {
            self.atom()?
        } else {
            let mut factors = vec![(Factor::Times, self.signed(Self::power)?)];
            while self.begins_factor() && !self.function_follows() && !matches!(self.peek(), Some(Kind::Number(_) | Kind::Symbol(_))) {
                factors.push((Factor::Times, self.power()?));
            }
            if factors.len() == 1 { factors.remove(0).1 } else { Expression::Product(factors) }
        };
        self.depth -= 1;
        Some(of)
    }

    fn function_follows(&self) -> bool {
        match self.peek() {
            Some(Kind::Word(name) | Kind::Command(name)) => name == "log" || FUNCTIONS.iter().any(|(known, _)| known == name),
            _ => false,
        }
    }

    /// A variable with what stands below it: `x_1`, `x_{12}`, `v_{max}`.
    fn subscript(&mut self, name: &str) -> Option<Expression> {
        let mut name = name.to_owned();
        if self.take('_') {
            let braced = self.take('{');
            loop {
                match self.peek()? {
                    Kind::Number(number) => name = format!("{name}_{}", number.value),
                    Kind::Word(word) => name = format!("{name}_{word}"),
                    _ => return None,
                }
                self.at += 1;
                if !braced || self.take('}') {
                    break;
                }
            }
        }
        while self.take('\'') {
            name.push('\'');
        }
        Some(Expression::Variable(name))
    }
}

fn whole(value: i64) -> Expression {
    Expression::Number(Number { value: Rational::from_integer(value.into()), decimals: None, significant: 0 })
}

fn minus_one() -> Rational {
    Rational::from_integer((-1).into())
}
