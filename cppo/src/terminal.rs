//! Text from strangers on a terminal: models, data, chat templates, names of runs and files may hold sequences that move the cursor, set the title, fill the clipboard or turn the reading
//! direction. What commands print goes through [`Shown`], which shows such characters and does not send them.

use std::io::{self, Write};

/// A writer of UTF-8 that writes control characters (of C0 all but line break and tab, DEL, C1), line separators and what turns the reading direction as `\u001b`. This is how JSON
/// and TOML write them, too, so output in these languages keeps its meaning.
pub struct Shown<'a> {
    out: &'a mut dyn Write,
    /// The beginning of a character whose end has not come.
    begun: Vec<u8>,
}

impl<'a> Shown<'a> {
    /// Shows what is written in `out`.
    pub fn new(out: &'a mut dyn Write) -> Shown<'a> {
        Shown { out, begun: Vec::new() }
    }
}

impl Write for Shown<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.begun.extend_from_slice(bytes);
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let text = shown(&String::from_utf8_lossy(&self.begun[..whole]));
        self.begun.drain(..whole);
        self.out.write_all(text.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The text as [`Shown`] writes it.
pub fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if commands(c) {
            out += &format!("\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}

/// Whether a terminal may do something else with the character than to draw it where it stands.
fn commands(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'); // embeddings, overrides, isolates
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    turns || breaks || (c.is_control() && !matches!(c, '\n' | '\t'))
}

/// The text with at most about a thousand characters on a line: of longer ones the beginning, the end, and how much is missing between them.
pub fn cut(text: &str) -> String {
    const BEGINNING: usize = 700;
    const END: usize = 300;
    let short = |line: &str| {
        let length = line.chars().count();
        if length <= BEGINNING + END {
            return line.to_owned();
        }
        let beginning: String = line.chars().take(BEGINNING).collect();
        let end: String = line.chars().skip(length - END).collect();
        format!("{beginning} … ({} characters) … {end}", length - BEGINNING - END)
    };
    text.split('\n').map(short).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_commands_a_terminal_is_shown() {
        let hostile = "a\x1b]0;title\x07\x1b[2J\r\u{9b}31m\u{7f}\u{202e}b\u{2066}\u{2028}\tä\n";
        let expected = "a\\u001b]0;title\\u0007\\u001b[2J\\u000d\\u009b31m\\u007f\\u202eb\\u2066\\u2028\tä\n";
        assert_eq!(shown(hostile), expected);
        // in pieces of one byte, too, and in JSON it means the same
        let mut out = Vec::new();
        let mut writer = Shown::new(&mut out);
        hostile.bytes().for_each(|byte| writer.write_all(&[byte]).unwrap());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let json = serde_json::to_string(hostile).unwrap();
        assert_eq!(serde_json::from_str::<String>(&shown(&json)).unwrap(), hostile);
        assert_eq!(shown(&String::from_utf8_lossy(b"\xff\x1b")), "\u{fffd}\\u001b");
    }

    #[test]
    fn long_lines_are_cut() {
        let line = format!("{}{}", "ä".repeat(2_000_000), "end");
        let cut = cut(&format!("file: {line}\nadvice"));
        assert!(cut.chars().count() < 1100 && cut.starts_with("file: ää") && cut.ends_with("end\nadvice"), "{cut}");
        assert!(cut.contains("(1999009 characters)"), "{cut}");
    }
}
