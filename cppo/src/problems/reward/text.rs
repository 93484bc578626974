//! How similar two texts are.

/// The texts of a truth: those of a JSON list, else itself.
pub(super) fn spellings(truth: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(truth) {
        Ok(texts) if !texts.is_empty() => texts,
        _ => vec![truth.to_owned()],
    }
}

/// 1 less the Levenshtein distance over the length of the longer one, without regard to case and to spaces around; 0 if that is below `threshold`.
pub(super) fn similarity(given: &str, truth: &str, threshold: f64) -> f32 {
    let characters = |text: &str| text.trim().to_lowercase().chars().collect::<Vec<char>>();
    let (given, truth) = (characters(given), characters(truth));
    let longer = given.len().max(truth.len());
    if longer == 0 {
        return 1.0;
    }
    // at least as many edits as one is longer: a response of a megabyte is not compared letter by letter
    let similar = |edits: usize| 1.0 - edits as f64 / longer as f64;
    let at_best = similar(given.len().abs_diff(truth.len()));
    if at_best < threshold || longer > LONGEST {
        return if given == truth { 1.0 } else { 0.0 };
    }
    let similarity = similar(edits(&given, &truth));
    if similarity < threshold { 0.0 } else { similarity as f32 }
}

/// A longer text is only compared as a whole.
const LONGEST: usize = 10_000;

/// Levenshtein's distance: the number of characters to insert, delete or replace.
fn edits(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[to.len()]
}
