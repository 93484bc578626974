//! Problems with choices, as MathVista (`choices`) and MMMU-Pro (`options`) have them: the choices are put under the question with letters, and the truth is the letter with its text.

/// Whether there are as many choices as letters can name, and something to choose.
pub(super) fn can_be_named(choices: &[String]) -> bool {
    (2..=LETTERS.len()).contains(&choices.len())
}

/// A text that is a list of texts, in JSON or as Python writes it.
pub(super) fn list_in(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok().or_else(|| python_list(text))
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The question with its choices, unless they all stand in it.
pub(super) fn with_choices(question: &str, choices: &[String]) -> String {
    if choices.iter().all(|choice| question.contains(choice.as_str())) {
        return question.to_owned();
    }
    let lines: Vec<String> = LETTERS.chars().zip(choices).map(|(letter, choice)| format!("({letter}) {choice}")).collect();
    format!("{question}\nChoices:\n{}", lines.join("\n"))
}

/// `(B) 5 cm` for an answer `B`, or for `5 cm`; other answers as they are.
pub(super) fn truth(answer: &str, choices: &[String]) -> String {
    let letter = answer.trim().trim_matches(['(', ')', '.']);
    let by_letter = LETTERS.chars().zip(choices).find(|(name, _)| letter.len() == 1 && letter.starts_with(*name));
    let by_text = || LETTERS.chars().zip(choices).find(|(_, choice)| choice.trim() == answer.trim());
    by_letter.or_else(by_text).map_or_else(|| answer.to_owned(), |(letter, choice)| format!("({letter}) {choice}"))
}

/// `['it', "it's"]`.
fn python_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    let mut found = Vec::new();
    while !rest.is_empty() {
        let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
        let (mut item, mut characters) = (String::new(), rest[1..].char_indices());
        let end = loop {
            match characters.next()? {
                (at, c) if c == quote => break at + 2,
                (_, '\\') => item.push(characters.next()?.1),
                (_, c) => item.push(c),
            }
        };
        found.push(item);
        rest = rest[end..].trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(found)
}
