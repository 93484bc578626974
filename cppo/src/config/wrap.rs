//! Sentences in lines that fit a terminal.

use std::fmt::Write;

/// Columns of what is printed.
pub const WIDTH: usize = 80;

/// `first` and the words of `sentence`, in lines of at most [`WIDTH`] columns; every line but the first begins with `next`. The last line ends, too.
pub fn wrapped(first: &str, next: &str, sentence: &str) -> String {
    let mut text = String::new();
    let mut line = first.to_owned();
    let mut is_empty = true;
    for word in sentence.split_whitespace().flat_map(|word| pieces(word, WIDTH - next.chars().count())) {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            writeln!(text, "{}", line.trim_end()).expect("memory");
            line = next.to_owned();
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += &word;
        is_empty = false;
    }
    writeln!(text, "{}", line.trim_end()).expect("memory");
    text
}

/// A word that is longer than a line, in pieces.
fn pieces(word: &str, longest: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    letters.chunks(longest.max(1)).map(|piece| piece.iter().collect()).collect()
}
