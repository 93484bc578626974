//! `<image>` in the text of a problem.

use super::config::ImageMarks;

const MARK: &str = "<image>";

/// The text without its marks. `parts` is the number of pictures that a chat message lists beside its text: they are marks too.
///
/// # Errors
/// As many marks as pictures are expected, if there are any; and marks that stand where taking them out would change what is said.
pub(super) fn without_marks(text: &str, parts: usize, pictures: usize, marks: ImageMarks) -> Result<String, String> {
    let in_text = if marks == ImageMarks::Keep { 0 } else { text.matches(MARK).count() };
    let count = in_text + parts;
    if count > 0 && count != pictures {
        let s = |count: usize| if count == 1 { "" } else { "s" };
        return Err(format!(
            "expected as many image marks as pictures, got {count} mark{} and {pictures} picture{} \
             (data.image_marks = \"keep\" takes `{MARK}` as text)",
            s(count),
            s(pictures)
        ));
    }
    match marks {
        ImageMarks::Keep => Ok(text.trim().to_owned()),
        ImageMarks::TakeOut => Ok(text.replace(MARK, "").trim().to_owned()),
        ImageMarks::Check => {
            let text = without_outer(text);
            match text.contains(MARK) {
                true => Err(format!(
                    "`{MARK}` stands within a sentence, and pictures go before the text \
                     (data.image_marks = \"take_out\" takes it out all the same, \"keep\" keeps it)"
                )),
                false => Ok(text),
            }
        }
    }
}

/// The text without marks at its beginning, on lines of their own, and at its end after a whole sentence.
fn without_outer(text: &str) -> String {
    let is_mark_line = |line: &&str| line.contains(MARK) && line.replace(MARK, "").trim().is_empty();
    let lines: Vec<&str> = text.split('\n').filter(|line| !is_mark_line(line)).collect();
    let text = lines.join("\n");
    let mut rest = text.trim();
    while let Some(after) = rest.strip_prefix(MARK) {
        rest = after.trim_start();
    }
    while let Some(before) = rest.strip_suffix(MARK).map(str::trim_end) {
        if !(before.ends_with(['.', '?', '!', '。', '？', '！']) || before.ends_with(MARK)) {
            break;
        }
        rest = before;
    }
    rest.to_owned()
}
