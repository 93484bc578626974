//! Finds the final answer in a response, or in a column of a data set.

/// The content of the last `\boxed{…}` whose braces balance; escaped braces (`\{`) do not count. Reads the text once, whatever is nested in it.
pub fn boxed_answer(response: &str) -> Option<&str> {
    let mut open: Vec<(usize, bool)> = Vec::new(); // where the content begins, and whether it is that of a box
    let mut last: Option<(usize, usize)> = None;
    let mut escaped = false;
    for (at, byte) in response.bytes().enumerate() {
        match byte {
            b'{' if !escaped => open.push((at + 1, response[..at].ends_with("\\boxed"))),
            b'}' if !escaped => {
                if let Some((start, true)) = open.pop()
                    && last.is_none_or(|(known, _)| known < start)
                {
                    last = Some((start, at));
                }
            }
            _ => {}
        }
        escaped = byte == b'\\' && !escaped;
    }
    last.map(|(start, end)| &response[start..end])
}

/// The final answer of a text: the last `\boxed{…}`; without one the last `<answer>…</answer>` (open-r1, TRL); without one what follows the last `####` on
/// its line (GSM8K). None if the text marks no answer.
pub fn final_answer(text: &str) -> Option<&str> {
    boxed_answer(text).or_else(|| tagged(text)).or_else(|| after_hashes(text))
}

fn tagged(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("</answer>")?;
    let (_, content) = before.rsplit_once("<answer>")?;
    Some(content.trim())
}

fn after_hashes(text: &str) -> Option<&str> {
    let (_, after) = text.rsplit_once("####")?;
    after.lines().next().map(str::trim).filter(|line| !line.is_empty())
}
