//! Figures of a comparison as SVG. Text and lines take the colour of what is around them, so that one drawing serves a page, light or dark, and a paper.

use std::fmt::Write;

use super::summary::{Comparison, Quantity, Summary};
use super::table::is_told;
use crate::records::report::html::escape;
use crate::records::statistics::MeanInterval;

/// Colours of the rows, in turn; the base is drawn in the colour of the text.
const COLOURS: [&str; 14] = [
    "#2a7fc0", "#d9822b", "#3d9a57", "#c0453b", "#8a63b8", "#8c6d4f", "#d46fa5", "#7a8794", "#a8a12a", "#2fa5b0", "#1f4e9c", "#7d2348",
    "#66c2a0", "#e0b03c",
];

/// The colour of a row.
pub(super) fn colour(comparison: &Comparison, row: &str) -> &'static str {
    if row == comparison.base {
        return "currentColor";
    }
    let others = comparison.rows.iter().filter(|(name, _)| *name != comparison.base);
    others.zip(COLOURS.iter().cycle()).find(|((name, _), _)| name == row).map_or("currentColor", |(_, colour)| colour)
}

/// Differences of every row to the base in what methods are judged by, with intervals: a file by itself.
pub fn standalone(comparison: &Comparison) -> String {
    let drawing = forest(comparison, &comparison.summaries());
    drawing.replacen("<svg ", "<svg xmlns=\"http://www.w3.org/2000/svg\" font-family=\"Helvetica, Arial, sans-serif\" color=\"#1d1c1a\" style=\"background:#fff\" ", 1)
}

/// Width of a character of a row's name, at most, in the mean.
const CHARACTER: f64 = 6.8;
const PANEL: f64 = 250.0;
const GAP: f64 = 20.0;
const LINE: f64 = 24.0;
const HEAD: f64 = 34.0;
const FOOT: f64 = 40.0;

/// A panel for each quantity of the headline, a line for each row: the mean of the paired differences, its interval, and every seed as a pale dot.
pub(super) fn forest(comparison: &Comparison, summaries: &[Summary]) -> String {
    let others: Vec<&Summary> = summaries.iter().filter(|summary| summary.row != comparison.base).collect();
    let height = HEAD + LINE * others.len().max(1) as f64 + FOOT;
    let longest = others.iter().map(|summary| summary.row.chars().count()).max().unwrap_or(0);
    let labels = (CHARACTER * longest as f64 + GAP).max(120.0);
    let width = labels + 3.0 * (PANEL + GAP);
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Differences to {}\" font-size=\"12\" fill=\"currentColor\">",
        escape(&comparison.base)
    );
    for (line, summary) in others.iter().enumerate() {
        let top = HEAD + LINE * (line as f64 + 0.5) + 4.0;
        let _ = write!(svg, "<text x=\"{}\" y=\"{top:.1}\" text-anchor=\"end\">{}</text>", labels - 12.0, escape(&summary.row));
    }
    for (panel, quantity) in Quantity::HEADLINE.into_iter().enumerate() {
        let left = labels + panel as f64 * (PANEL + GAP);
        let reach = reach(comparison, &others, quantity);
        let x = |points: f64| left + PANEL * (0.5 + 0.5 * (points / reach).clamp(-1.0, 1.0));
        let bottom = height - FOOT;
        let _ = write!(svg, "<text x=\"{left}\" y=\"16\" font-weight=\"600\">{}</text>", quantity.title());
        for tick in [-1.0, -0.5, 0.0, 0.5, 1.0] {
            let (at, opacity) = (x(tick * reach), if tick == 0.0 { 0.7 } else { 0.15 });
            let _ = write!(
                svg,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{HEAD}\" y2=\"{bottom:.1}\" stroke=\"currentColor\" stroke-opacity=\"{opacity}\"/>"
            );
            let label = format!("{:+.0}", tick * reach).replace('-', "−").replace("+0", "0").replace("−0", "0");
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" fill-opacity=\"0.7\">{label}</text>",
                bottom + 14.0
            );
        }
        let middle = left + PANEL / 2.0;
        let _ = write!(
            svg,
            "<text x=\"{middle}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" fill-opacity=\"0.7\">points above {}</text>",
            bottom + 30.0,
            escape(&comparison.base)
        );
        for (line, summary) in others.iter().enumerate() {
            let top = HEAD + LINE * (line as f64 + 0.5);
            let measured = summary.of(quantity);
            let colour = colour(comparison, &summary.row);
            for difference in paired(comparison, &summary.row, quantity) {
                let _ =
                    write!(svg, "<circle cx=\"{:.1}\" cy=\"{top:.1}\" r=\"2.2\" fill=\"{colour}\" fill-opacity=\"0.35\"/>", x(difference));
            }
            let MeanInterval { mean, half, .. } = measured.difference;
            if !mean.is_finite() {
                continue;
            }
            if half.is_finite() {
                let (low, high) = (x(100.0 * (mean - half)), x(100.0 * (mean + half)));
                let _ = write!(
                    svg,
                    "<line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{top:.1}\" y2=\"{top:.1}\" stroke=\"{colour}\" stroke-width=\"2\"/>"
                );
            }
            if 100.0 * mean.abs() > reach {
                let (at, anchor) = if mean > 0.0 { (x(reach) - 9.0, "end") } else { (x(-reach) + 9.0, "start") };
                let value = format!("{:+.0}", 100.0 * mean).replace('-', "−");
                let _ = write!(svg, "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\" font-size=\"10\">{value}</text>", top + 3.5);
            }
            // filled where the interval excludes zero
            let fill = if is_told(measured) { colour } else { "none" };
            let _ = write!(
                svg,
                "<circle cx=\"{:.1}\" cy=\"{top:.1}\" r=\"4.5\" fill=\"{fill}\" stroke=\"{colour}\" stroke-width=\"2\"><title>{}</title></circle>",
                x(100.0 * mean),
                escape(&format!("{}: {}", summary.row, super::summary::points(&measured.difference)))
            );
        }
    }
    svg + "</svg>"
}

/// The differences of a row to the base, seed by seed, in points.
fn paired(comparison: &Comparison, row: &str, quantity: Quantity) -> Vec<f64> {
    let base = comparison.cells_of(&comparison.base);
    let difference = |cell: &&super::Cell| {
        let other = base.iter().find(|other| other.seed == cell.seed)?;
        Some(100.0 * (quantity.of(cell)? - quantity.of(other)?))
    };
    comparison.cells_of(row).iter().filter_map(difference).collect()
}

/// How far a panel reaches to either side, points: a round number beyond the means, seeds and intervals of most rows. A row far beyond the others is drawn at the edge, with its value.
fn reach(comparison: &Comparison, others: &[&Summary], quantity: Quantity) -> f64 {
    let wide = |summary: &&Summary| {
        let MeanInterval { mean, half, .. } = summary.of(quantity).difference;
        let interval = 100.0 * (mean.abs() + if half.is_finite() { half.min(2.0 * mean.abs() + 0.05) } else { 0.0 });
        let seeds = paired(comparison, &summary.row, quantity).into_iter().fold(0.0, |most: f64, points| most.max(points.abs()));
        seeds.max(if interval.is_finite() { interval } else { 0.0 })
    };
    let mut widths: Vec<f64> = others.iter().map(wide).collect();
    widths.sort_by(f64::total_cmp);
    let middle = widths.get(widths.len() / 2).copied().unwrap_or(1.0).max(1.0);
    let largest = widths.into_iter().filter(|&wide| wide <= 5.0 * middle).fold(1.0, f64::max);
    [2.0, 4.0, 6.0, 10.0, 16.0, 20.0, 30.0, 40.0, 60.0].into_iter().find(|&round| round >= largest).unwrap_or(100.0)
}

/// Lines over a common axis: of each its colour, whether it is the base, and its points (x, low, y, high); bands where low and high are finite.
pub(super) struct Lines<'a> {
    /// What is drawn, for those who cannot see it.
    pub(super) label: String,
    /// Label and place of the ticks below.
    pub(super) ticks: Vec<(f64, String)>,
    /// The lines.
    pub(super) lines: Vec<(&'a str, bool, Vec<[f64; 4]>)>,
}

impl Lines<'_> {
    /// The drawing, in per cent from bottom to top.
    pub(super) fn svg(&self, size: [f64; 2]) -> String {
        let [width, height] = size;
        let (left, right, top, bottom) = (30.0, 8.0, 8.0, 20.0);
        let points = || self.lines.iter().flat_map(|(_, _, points)| points);
        let xs = self.ticks.iter().map(|(x, _)| *x).chain(points().map(|point| point[0]));
        let (x0, x1) = xs.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let values = points().flat_map(|&[_, low, y, high]| [low, y, high]).filter(|value| value.is_finite());
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), y| (low.min(y), high.max(y)));
        let (y0, y1) = ((10.0 * low - 0.2).floor().max(0.0) / 10.0, (10.0 * high + 0.2).ceil().min(10.0) / 10.0);
        let x = |value: f64| left + (value - x0) / (x1 - x0).max(1e-9) * (width - left - right);
        let y = |value: f64| top + (y1 - value) / (y1 - y0).max(1e-9) * (height - top - bottom);
        let mut svg = format!("<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{}\" fill=\"none\">", escape(&self.label));
        let step = if y1 - y0 > 0.45 { 0.2 } else { 0.1 };
        let mut tick = ((y0 / step - 1e-9).ceil() * step).max(0.0); // not −0
        while tick <= y1 + 1e-9 {
            let at = y(tick);
            let _ = write!(svg, "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>", width - right);
            let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0}</text>", left - 5.0, at + 3.5, 100.0 * tick);
            tick += step;
        }
        for (at, label) in &self.ticks {
            let _ = write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", x(*at), height - 5.0, escape(label));
        }
        for (colour, is_base, points) in &self.lines {
            let banded: Vec<&[f64; 4]> = points.iter().filter(|[_, low, _, high]| low.is_finite() && high.is_finite()).collect();
            if banded.len() > 1 {
                let up = banded.iter().map(|[at, low, ..]| format!("{:.1},{:.1}", x(*at), y(low.max(y0))));
                let back = banded.iter().rev().map(|[at, .., high]| format!("{:.1},{:.1}", x(*at), y(high.min(y1))));
                let corners: Vec<String> = up.chain(back).collect();
                let _ = write!(svg, "<polygon points=\"{}\" fill=\"{colour}\" fill-opacity=\"0.13\"/>", corners.join(" "));
            }
            let path: Vec<String> = points
                .iter()
                .filter(|point| point[2].is_finite())
                .map(|[at, _, value, _]| format!("{:.1} {:.1}", x(*at), y(*value)))
                .collect();
            let dashes = if *is_base { " stroke-dasharray=\"5 3\"" } else { "" };
            let _ =
                write!(svg, "<path d=\"M{}\" stroke=\"{colour}\" stroke-width=\"1.8\" stroke-linejoin=\"round\"{dashes}/>", path.join("L"));
        }
        svg + "</svg>"
    }
}
