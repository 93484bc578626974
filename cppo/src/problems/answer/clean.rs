//! Takes the dressing off an answer before it is cut into tokens: characters of other scripts and styles, Markdown, LaTeX that only sets type, a sentence
//! around the answer, a currency in front. Every pass reads the text once.

/// One line without dressing; spaces are kept, since `3 1/2` is not `31/2`.
pub(super) fn clean(text: &str) -> String {
    let mut text = without_wrappers(&characters(text.trim()));
    for (from, to) in REPLACED {
        text = text.replace(from, to);
    }
    let mut text = text.trim().trim_start_matches(['≈', '=']).trim_end_matches(['.', ',', ';']).trim();
    for mark in ["**", "__", "*", "`", "\"", "''"] {
        if text.len() > 2 * mark.len()
            && let Some(inner) = text.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark))
        {
            text = inner.trim();
        }
    }
    currency(sentence(text).trim_end_matches('.').trim())
}

/// The letter of `(B) 5 cm`, `B. 5 cm`, `D) 12`, `**C**: red`, and the text behind it.
pub(super) fn choice_with_text(text: &str) -> Option<(char, &str)> {
    let (opened, rest) = match text.strip_prefix('(') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let letter = rest.chars().next().filter(char::is_ascii_alphabetic)?;
    let rest = rest[1..].trim_start_matches('*');
    let after = rest.strip_prefix(if opened { &[')'][..] } else { &[')', '.', ':'][..] })?;
    let described = after.trim_start();
    // `(x) 5`, `f: R` and `(n)!` are not choices; nor is `C.5`
    let likely = matches!(letter, 'A'..='J' | 'a'..='e') && (opened || after.starts_with(char::is_whitespace));
    let is_text = described.starts_with(|c: char| c.is_alphanumeric() || "-\\$([{.".contains(c));
    (likely && is_text).then_some((letter.to_ascii_uppercase(), described))
}

/// What is replaced everywhere, in this order.
const REPLACED: &[(&str, &str)] =
    &[("\\left", ""), ("\\right", ""), ("\\displaystyle", ""), ("{,}", THOUSANDS), ("\\$", " \\dollar "), ("$", " ")];

/// A comma that is certainly inside a number.
pub(super) const THOUSANDS: &str = "\u{1}";

/// Other spellings of characters: full-width forms, signs of Unicode, small digits.
fn characters(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut raised = false;
    for c in text.chars() {
        let small = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻".chars().position(|small| small == c);
        if let Some(small) = small {
            if !raised {
                out.push('^');
            }
            out.push(char::from(b"0123456789-"[small]));
            raised = true;
            continue;
        }
        raised = false;
        match c {
            // full-width forms of ASCII
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(c as u32 - 0xfee0)),
            '\u{2212}' | '\u{2013}' | '\u{2014}' | '\u{2010}' | '\u{2011}' => out.push('-'),
            '\u{a0}' | '\u{2009}' | '\u{202f}' | '\u{3000}' | '\n' | '\r' | '\t' => out.push(' '),
            '×' | '·' | '⋅' | '∗' => out.push('*'),
            '÷' => out.push('/'),
            '⁄' | '∕' => out.push('/'),
            'π' => out.push_str("\\pi "),
            '\u{2126}' | '\u{3a9}' => out.push_str("\\Omega "),
            '√' => out.push_str(" sqrt "), // the word takes a whole number, the command one digit
            '½' => out.push_str("\\frac{1}{2}"),
            '¼' => out.push_str("\\frac{1}{4}"),
            '¾' => out.push_str("\\frac{3}{4}"),
            '′' | '’' => out.push('\''),
            '″' | '”' | '“' => out.push('"'),
            'º' => out.push('°'),
            '~' => out.push(' '),
            '∅' => out.push_str("\\emptyset "),
            'ℝ' => out.push_str("\\reals "),
            c => out.push(c),
        }
    }
    out
}

/// Commands whose braces only set type; `\text{ cm}` becomes ` cm `.
const WRAPPERS: &[&str] = &[
    "text",
    "textbf",
    "textit",
    "textrm",
    "textsf",
    "texttt",
    "textnormal",
    "emph",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mathtt",
    "mathcal",
    "boldsymbol",
    "bm",
    "mbox",
    "hbox",
    "fbox",
    "boxed",
    "operatorname",
    "underline",
    "ensuremath",
    "displaylines",
];

/// Takes away the commands that only set type, with their braces, in one pass.
fn without_wrappers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = Vec::new(); // for each open brace, whether it is a wrapper's
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '{', '}']) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(command) = rest.strip_prefix('\\') {
            let name = &command[..command.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(command.len())];
            let after = command[name.len()..].trim_start();
            if name == "mathbb" {
                let content = after.trim_start_matches('{');
                if let Some(content) = content.strip_prefix('R') {
                    out.push_str("\\reals ");
                    rest = content.strip_prefix('}').unwrap_or(content);
                    continue;
                }
            }
            if WRAPPERS.contains(&name)
                && let Some(content) = after.strip_prefix('{')
            {
                open.push(true);
                out.push(' ');
                rest = content;
                continue;
            }
            // the command, or the character that a backslash escapes
            let length = 1 + if name.is_empty() { command.chars().next().map_or(0, char::len_utf8) } else { name.len() };
            out.push_str(&rest[..length]);
            rest = &rest[length..];
            continue;
        }
        let is_wrapper = match &rest[..1] {
            "{" => {
                open.push(false);
                false
            }
            _ => open.pop().unwrap_or(false),
        };
        out.push_str(if is_wrapper { " " } else { &rest[..1] });
        rest = &rest[1..];
    }
    out + rest
}

/// `The answer is 5` into `5`, `Option B` into `B`.
fn sentence(text: &str) -> &str {
    const BEGINNINGS: &[&str] = &[
        "so",
        "thus",
        "therefore",
        "hence",
        ",",
        "the",
        "correct",
        "right",
        "final",
        "answer",
        "option",
        "choice",
        "is",
        ":",
        "=",
        "equals",
        "would be",
    ];
    let mut rest = text;
    let mut found = false;
    loop {
        let next = BEGINNINGS.iter().find_map(|word| {
            let head = rest.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
            let after = &rest[head.len()..];
            let ends = !word.ends_with(char::is_alphabetic) || after.starts_with(|c: char| !c.is_alphanumeric());
            ends.then_some((word, after.trim_start()))
        });
        match next {
            Some((word, after)) if !after.is_empty() => {
                found |= ["answer", "option", "choice"].contains(word);
                rest = after;
            }
            _ => break,
        }
    }
    // `the blue one` is an answer and no sentence around one
    if found { rest } else { text }
}

/// `$5` and `€5` into `5 dollar` and `5 euro`.
fn currency(text: &str) -> String {
    const SIGNS: &[(&str, &str)] = &[("\\dollar", "dollar"), ("€", "euro"), ("£", "sterling"), ("¥", "yen")];
    for (sign, name) in SIGNS {
        let (minus, amount) = text.strip_prefix('-').map_or(("", text), |amount| ("-", amount.trim_start()));
        if let Some(amount) = amount.strip_prefix(sign) {
            let amount = amount.trim();
            let is_amount = amount.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '\\' || c == '-');
            if is_amount && !amount.contains(char::is_whitespace) {
                return format!("{minus}{amount} {name}");
            }
        }
    }
    text.replace("\\dollar", " dollar ").replace('€', " euro ").replace('£', " sterling ").replace('¥', " yen ")
}
