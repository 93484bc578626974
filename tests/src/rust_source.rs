//! As much of Rust's syntax as the checks of the repository need: which paths a file names, and what it defines.

use std::collections::BTreeSet;

/// What one file says.
#[derive(Default)]
pub(crate) struct Source {
    /// Every path of two names or more, and every single name that is imported, with its line.
    pub(crate) paths: Vec<PathInSource>,
    /// What `use` binds: the name, `*` for a glob, and the path behind it.
    pub(crate) imports: Vec<(String, Vec<String>)>,
    /// Modules of this file that are for tests only.
    pub(crate) test_modules: BTreeSet<String>,
    /// Macros that are exported from here.
    pub(crate) macros: BTreeSet<String>,
    definitions: BTreeSet<String>,
}

/// `crate::tensor::Tensor`, name by name.
pub(crate) struct PathInSource {
    pub(crate) names: Vec<String>,
    pub(crate) line: usize,
}

impl Source {
    /// True if an item of that name is defined here.
    pub(crate) fn defines(&self, name: &str) -> bool {
        self.definitions.contains(name)
    }
}

/// A word or a sign, its line, and how many modules of this file it is in.
#[derive(Clone)]
struct Token {
    text: String,
    line: usize,
    depth: usize,
}

/// Reads a file; comments, texts and modules for tests do not count.
pub(crate) fn parse(text: &str) -> Source {
    let (tokens, test_modules) = without_tests(&tokens(text));
    let mut source = Source { test_modules, ..Source::default() };
    let at = |index: usize| tokens.get(index).map_or("", |token| token.text.as_str());
    let mut index = 0;
    while index < tokens.len() {
        let token = &tokens[index];
        match token.text.as_str() {
            // not the `use<..>` of a return type
            "use" if at(index + 1) != "<" => {
                let mut cursor = index + 1;
                import(&tokens, &mut cursor, &mut Vec::new(), &mut source);
                index = cursor;
                continue;
            }
            "macro_rules" if at(index + 1) == "!" => _ = source.macros.insert(at(index + 2).to_string()),
            "fn" | "struct" | "enum" | "union" | "trait" | "type" | "const" | "static" if is_word(at(index + 1)) => {
                source.definitions.insert(at(index + 1).to_string());
            }
            word if is_word(word) && at(index + 1) == "::" && !["::", "$"].contains(&at(index.wrapping_sub(1))) => {
                let mut names = vec![word.to_string()];
                let mut next = index + 1;
                while at(next) == "::" && is_word(at(next + 1)) {
                    names.push(at(next + 1).to_string());
                    next += 2;
                }
                source.paths.push(PathInSource { names: out_of_inner_modules(names, token.depth), line: token.line });
                index = next;
                continue;
            }
            _ => {}
        }
        index += 1;
    }
    source
}

/// One branch of a `use`: `a::b`, `a::b as c`, `a::*` or `a::{..}`; the cursor ends behind it.
fn import(tokens: &[Token], cursor: &mut usize, prefix: &mut Vec<String>, source: &mut Source) {
    let (before, first) = (prefix.len(), *cursor);
    while let Some(token) = tokens.get(*cursor) {
        *cursor += 1;
        match token.text.as_str() {
            "::" => {}
            "{" => {
                while tokens.get(*cursor).is_some_and(|token| token.text != "}") {
                    import(tokens, cursor, prefix, source);
                    if tokens.get(*cursor).is_some_and(|token| token.text == ",") {
                        *cursor += 1;
                    }
                }
                *cursor += 1;
                prefix.truncate(before);
                return;
            }
            "as" => {
                let name = tokens[*cursor].text.clone();
                *cursor += 1;
                bind(Some(name), prefix, &tokens[first], source);
                prefix.truncate(before);
                return;
            }
            "," | "}" | ";" => {
                *cursor -= usize::from(token.text != ";");
                break;
            }
            word => prefix.push(word.to_string()),
        }
    }
    bind(None, prefix, &tokens[first], source);
    prefix.truncate(before);
}

fn bind(name: Option<String>, path: &[String], at: &Token, source: &mut Source) {
    let mut path = out_of_inner_modules(path.to_vec(), at.depth);
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let Some(last) = path.last().cloned() else { return };
    if last == "*" {
        path.pop();
    }
    source.imports.push((name.unwrap_or(last), path.clone()));
    source.paths.push(PathInSource { names: path, line: at.line });
}

/// In a module inside the file, the first `super` is the file itself.
fn out_of_inner_modules(mut names: Vec<String>, depth: usize) -> Vec<String> {
    if depth > 0 && names[0] == "super" {
        let up = names.iter().take_while(|name| *name == "super").count().min(depth);
        names.splice(..up, ["self".to_string()]);
        if names.get(1).is_some_and(|name| name == "super") {
            names.remove(0);
        }
    }
    names
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Words and signs outside comments and texts.
fn tokens(text: &str) -> Vec<Token> {
    let (bytes, mut tokens, mut line) = (text.as_bytes(), Vec::new(), 1);
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let end = match bytes[at] {
            b'\n' | b' ' | b'\t' | b'\r' => 1,
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            _ if rest.starts_with("r\"") || rest.starts_with("r#\"") => {
                let hashes = usize::from(rest.starts_with("r#"));
                let close = format!("\"{}", "#".repeat(hashes));
                let start = 2 + hashes;
                rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len())
            }
            b'"' => {
                let mut end = 1;
                while end < rest.len() && rest.as_bytes()[end] != b'"' {
                    end += if rest.as_bytes()[end] == b'\\' { 2 } else { 1 };
                }
                end + 1
            }
            b'\'' => literal_or_lifetime(rest),
            _ => {
                let length = match rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len()) {
                    0 if rest.starts_with("::") => 2,
                    0 => rest.chars().next().map_or(1, char::len_utf8),
                    word => word,
                };
                tokens.push(Token { text: rest[..length].to_string(), line, depth: 0 });
                length
            }
        };
        line += text[at..(at + end).min(text.len())].matches('\n').count();
        at += end;
    }
    tokens
}

/// `'x'` and `'\n'` are texts, `'a` is a lifetime.
fn literal_or_lifetime(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => 2 + rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        Some((_, c)) => match chars.next() {
            Some((at, '\'')) => at + 1,
            _ => 1 + c.len_utf8(),
        },
        None => 1,
    }
}

/// Drops modules under `#[cfg(test)]`, and returns their names; counts for the others how many modules of this file a token is in.
fn without_tests(tokens: &[Token]) -> (Vec<Token>, BTreeSet<String>) {
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| token.text == text);
    let starts_test =
        |index: usize| ["#", "[", "cfg", "(", "test", ")", "]", "mod"].iter().enumerate().all(|(i, text)| is(index + i, text));
    let (mut kept, mut dropped) = (Vec::new(), BTreeSet::new());
    // for each open brace, whether it is that of a module
    let mut braces: Vec<bool> = Vec::new();
    let mut index = 0;
    while index < tokens.len() {
        if starts_test(index) {
            dropped.extend(tokens.get(index + 8).map(|name| name.text.clone()));
            let mut open = 0;
            while index < tokens.len() {
                open += i32::from(is(index, "{")) - i32::from(is(index, "}"));
                index += 1;
                if open == 0 && (is(index - 1, "}") || is(index - 1, ";")) {
                    break;
                }
            }
            continue;
        }
        let token = &tokens[index];
        match token.text.as_str() {
            "{" => braces.push(index >= 2 && is(index - 2, "mod")),
            "}" => _ = braces.pop(),
            _ => {}
        }
        kept.push(Token { depth: braces.iter().filter(|is_module| **is_module).count(), ..token.clone() });
        index += 1;
    }
    (kept, dropped)
}
