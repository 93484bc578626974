//! `{% generation %}` blocks, by which transformers marks what the assistant says (`return_assistant_tokens_mask`). In a prompt they are transparent.

use std::borrow::Cow;

/// The template with each `{% generation %}` in the place of a `{% with %}`, which also renders what is in it and keeps the variables that are set there to itself: blanks around the tags
/// are trimmed as before. Comments, raw text and strings stay as they are.
pub(super) fn without_tags(template: &str) -> Cow<'_, str> {
    if !template.contains("generation") {
        return Cow::Borrowed(template);
    }
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = next_code(rest) {
        let (text, opened) = rest.split_at(start);
        out.push_str(text);
        let length = match &opened[..2] {
            "{#" => opened.find("#}").map_or(opened.len(), |end| end + 2),
            "{{" => code_length(opened, "}}"),
            _ => code_length(opened, "%}"),
        };
        let (code, after) = opened.split_at(length);
        rest = after;
        match (&code[..2], tag_name(code)) {
            ("{%", "generation") => out.push_str(&code.replacen("generation", "with", 1)),
            ("{%", "endgeneration") => out.push_str(&code.replacen("endgeneration", "endwith", 1)),
            ("{%", "raw") => {
                out.push_str(code);
                // up to the tag that ends it, which is then found like any other
                let mut end = 0;
                while let Some(tag) = rest[end..].find("{%") {
                    end += tag;
                    if tag_name(&rest[end..]) == "endraw" {
                        break;
                    }
                    end += 2;
                }
                let (raw, after) = rest.split_at(end);
                out.push_str(raw);
                rest = after;
            }
            _ => out.push_str(code),
        }
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// Where the next comment, expression or statement begins. Looked for once: what the rest has none of would be looked for from every tag to the end.
fn next_code(text: &str) -> Option<usize> {
    text.match_indices('{').map(|(at, _)| at).find(|at| matches!(text.as_bytes().get(at + 1), Some(b'#' | b'{' | b'%')))
}

/// Bytes of the code that begins here, with its delimiters; a delimiter within a string ends nothing.
fn code_length(code: &str, end: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, character) in code.char_indices().skip(2) {
        match (quote, character) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if character == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(character),
            (None, _) if code[at..].starts_with(end) => return at + end.len(),
            (None, _) => {}
        }
    }
    code.len()
}

/// The word after `{%`, with or without a sign that trims.
fn tag_name(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    inner.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}
