//! Curves as SVG. Colours come from the page's style, so that they follow light and dark.

use super::html::{escape, number};

/// Where a chart's plane is, and what it spans.
pub(super) struct Plane {
    width: f64,
    height: f64,
    x: [f64; 2],
    y: [f64; 2],
    /// Distance of the ticks, in units of y.
    step: f64,
}

const LEFT: f64 = 46.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 22.0;

impl Plane {
    /// A plane of `width` × `height` units for these values. The vertical range is widened to round numbers.
    pub(super) fn new([width, height]: [f64; 2], x: [f64; 2], y: [f64; 2]) -> Plane {
        let y = match y {
            [low, high] if high > low => [low, high],
            [value, _] => [value.min(0.0) * 2.0, value.max(0.0) * 2.0], // a constant stands in the middle
        };
        let step = tick_step(y[1] - y[0]);
        let y = [(y[0] / step + 1e-9).floor() * step, (y[1] / step - 1e-9).ceil().max((y[0] / step).floor() + 1.0) * step];
        Plane { width, height, x: if x[1] > x[0] { x } else { [x[0], x[0] + 1.0] }, y, step }
    }

    pub(super) fn left(&self, x: f64) -> f64 {
        LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (self.width - LEFT - RIGHT)
    }

    pub(super) fn top(&self, y: f64) -> f64 {
        TOP + (self.y[1] - y) / (self.y[1] - self.y[0]) * (self.height - TOP - BOTTOM)
    }

    /// The SVG element with grid and labels, and `content` over them.
    pub(super) fn svg(&self, label: &str, content: &str, attributes: &str) -> String {
        let mut grid = String::new();
        let step = self.step;
        let ticks = ((self.y[1] - self.y[0]) / step).round() as usize;
        for tick in 0..=ticks {
            let value = self.y[0] + tick as f64 * step;
            let (top, right) = (self.top(value), self.width - RIGHT);
            let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
            grid += &format!("<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{top:.1}\" y2=\"{top:.1}\"/>");
            grid += &format!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, top + 3.5, axis_number(value, step));
        }
        // steps are whole numbers: the middle one stands where it is
        let middle = ((self.x[0] + self.x[1]) / 2.0).floor();
        let ticks = [("start", self.x[0]), ("middle", middle), ("end", self.x[1])];
        for (anchor, value) in ticks.into_iter().filter(|(anchor, value)| *anchor != "middle" || (*value > self.x[0] && *value < self.x[1]))
        {
            let (left, top) = (self.left(value), self.height - 6.0);
            grid += &format!("<text x=\"{left:.1}\" y=\"{top}\" text-anchor=\"{anchor}\">{value:.0}</text>");
        }
        format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" {attributes}>{grid}{content}</svg>",
            self.width,
            self.height,
            escape(label)
        )
    }

    /// A line through the points; NaN breaks it.
    pub(super) fn line(&self, class: &str, points: impl Iterator<Item = (f64, f64)>) -> String {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            if !y.is_finite() {
                pen = 'M';
                continue;
            }
            path += &format!("{pen}{:.1} {:.1}", self.left(x), self.top(y));
            pen = 'L';
        }
        format!("<path class=\"{class}\" d=\"{path}\"/>")
    }

    /// The area between two lines: of each point x, low, high.
    pub(super) fn band(&self, class: &str, points: &[(f64, f64, f64)]) -> String {
        let up = points.iter().map(|&(x, low, _)| (x, low));
        let back = points.iter().rev().map(|&(x, _, high)| (x, high));
        let corners: Vec<String> = up.chain(back).map(|(x, y)| format!("{:.1},{:.1}", self.left(x), self.top(y))).collect();
        format!("<polygon class=\"{class}\" points=\"{}\"/>", corners.join(" "))
    }
}

/// A tick of the axis: as many decimals as the distance between ticks needs.
fn axis_number(value: f64, step: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 1e4 || (size > 0.0 && step < 1e-4) => number(value),
        _ => {
            let decimals = (-(step.log10() + 1e-9).floor()).clamp(0.0, 4.0) as usize;
            format!("{value:.decimals$}").replace('-', "−")
        }
    }
}

/// The distance of about three ticks over `span`: 1, 2 or 5 times a power of ten; 1 for no span.
fn tick_step(span: f64) -> f64 {
    if span <= 0.0 {
        return 1.0;
    }
    let rough = span / 3.0;
    let power = 10f64.powf(rough.log10().floor());
    power
        * match rough / power {
            r if r <= 1.0 => 1.0,
            r if r <= 2.0 => 2.0,
            r if r <= 5.0 => 5.0,
            _ => 10.0,
        }
}
