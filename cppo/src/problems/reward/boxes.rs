//! Boxes, and how far they overlap.

/// Left, top, right, bottom.
pub(super) type Corners = [f64; 4];

/// The first four numbers in brackets of their own, `[x1, y1, x2, y2]` or `(x1, y1, x2, y2)`, or the text if it is four numbers. The corners may be given in either
/// order. None if there are none.
pub(super) fn read(text: &str) -> Option<Corners> {
    let mut opened = None;
    for (at, c) in text.char_indices() {
        match c {
            '[' | '(' => opened = Some(at + 1),
            ']' | ')' => {
                if let Some(corners) = opened.take().and_then(|start| four(&text[start..at])) {
                    return Some(corners);
                }
            }
            _ => {}
        }
    }
    four(text)
}

fn four(text: &str) -> Option<Corners> {
    let numbers: Vec<f64> = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let [x1, y1, x2, y2] = numbers.try_into().ok()?;
    let corners: Corners = [x1, y1, x2, y2];
    corners.iter().all(|x| x.is_finite()).then(|| [x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)])
}

/// Intersection over union, 0 to 1; 0 if both are empty.
pub(super) fn overlap(a: &Corners, b: &Corners) -> f64 {
    let area = |of: &Corners| (of[2] - of[0]) * (of[3] - of[1]);
    let width = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0);
    let height = (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let union = area(a) + area(b) - width * height;
    // areas of numbers near the largest ones are infinite
    if union > 0.0 && union.is_finite() { width * height / union } else { 0.0 }
}
