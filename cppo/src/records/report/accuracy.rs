//! Accuracy before and after, by category, and what went wrong.

use super::chart::Plane;
use super::html::{escape, percent, tile};
use crate::records::run::{CategoryResult, Evaluation};
use crate::records::statistics::{Estimate, average_at_n, pass_at_k};

/// A decoding's headline: where it started and where it is.
pub(super) fn tiles(evaluations: &[Evaluation]) -> String {
    let tile_of = |decoding: &str| {
        let [first, last] = ends(evaluations, decoding)?;
        let (before, after) = (accuracy(first.categories.first()?), accuracy(last.categories.first()?));
        let title = match decoding {
            "greedy" => "Greedy accuracy".to_owned(),
            _ => format!("Accuracy, avg@{} at T = {}", last.categories[0].samples, last.temperature),
        };
        if first.step == last.step {
            return Some(tile(&title, &format!("{}<small> %</small>", percent(after.rate)), &interval(&after)));
        }
        let change = 100.0 * (after.rate - before.rate);
        let (before_rate, after_rate) = (percent(before.rate), percent(after.rate));
        let value = format!("<span class=\"before\">{before_rate}</span> → {after_rate}<small> %</small> {}", points(change));
        Some(tile(&title, &value, &format!("95 % intervals {} → {}", interval(&before), interval(&after))))
    };
    decodings(evaluations).iter().filter_map(|decoding| tile_of(decoding)).collect()
}

pub(super) fn section(evaluations: &[Evaluation]) -> String {
    if evaluations.is_empty() {
        return String::new();
    }
    let tables: String = decodings(evaluations).iter().filter_map(|decoding| table(ends(evaluations, decoding)?)).collect();
    let note = "Intervals are 95 %: Wilson's for one response to a problem, from the spread between problems for several. \
                pass@N: at least one of N responses is right.";
    format!("<section id=\"accuracy\">\n<h2>Accuracy</h2>\n{}{tables}<p class=\"note\">{note}</p>\n</section>\n", over_time(evaluations))
}

/// `sampled` before `greedy`, then others.
fn decodings(evaluations: &[Evaluation]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for evaluation in evaluations {
        if !found.contains(&evaluation.decoding) {
            found.push(evaluation.decoding.clone());
        }
    }
    found.sort_by_key(|decoding| decoding == "greedy");
    found
}

/// The first and the last evaluation of a decoding; the last is one on as many problems as the first, if there is one.
fn ends<'a>(evaluations: &'a [Evaluation], decoding: &str) -> Option<[&'a Evaluation; 2]> {
    let of_decoding: Vec<&Evaluation> = evaluations.iter().filter(|e| e.decoding == decoding && !e.categories.is_empty()).collect();
    let first = *of_decoding.first()?;
    let alike = of_decoding.iter().rev().find(|e| e.categories[0].problems() == first.categories[0].problems());
    Some([first, alike.copied().unwrap_or(first)])
}

fn table([first, last]: [&Evaluation; 2]) -> Option<String> {
    let all = last.categories.first()?;
    let changed = first.step != last.step;
    let errors = all.perception_errors.is_some();
    let n = all.samples;
    let mut head = String::from("<th scope=\"col\">Problems</th>");
    for evaluation in if changed { vec![first, last] } else { vec![last] } {
        head += &format!("<th scope=\"col\" class=\"number\">{}</th>", step_name(evaluation.step));
    }
    if changed {
        head += "<th scope=\"col\" class=\"number\">Change</th><th scope=\"col\" class=\"plot\">0 to 100 %</th>";
    }
    if n > 1 {
        head += &format!("<th scope=\"col\" class=\"number\">pass@{n}</th>");
    }
    head += "<th scope=\"col\" class=\"number\">Form</th>";
    if errors {
        head += "<th scope=\"col\" class=\"errors\">Wrong answers</th>";
    }
    let mut rows = String::new();
    for category in last.distinct_categories() {
        let before = first.categories.iter().find(|c| c.name == category.name);
        rows += &row(category, before.filter(|_| changed), Columns { changed, pass: n > 1, errors });
    }
    let title = match last.decoding.as_str() {
        "greedy" => "Greedy: the most likely token each time".to_owned(),
        _ => {
            let responses = if n == 1 { "response" } else { "responses" };
            format!("Sampled: {n} {responses} to each problem at temperature {}", last.temperature)
        }
    };
    let legend = if errors { error_legend(last.distinct_categories()) } else { String::new() };
    Some(format!(
        "<h3>{}</h3>\n<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n{legend}",
        escape(&title)
    ))
}

/// Which columns a table has.
struct Columns {
    changed: bool,
    pass: bool,
    errors: bool,
}

fn row(category: &CategoryResult, before: Option<&CategoryResult>, columns: Columns) -> String {
    let after = accuracy(category);
    let before = before.map(accuracy);
    let rate = |estimate: &Estimate| format!("<b>{}</b> <span class=\"interval\">{}</span>", percent(estimate.rate), interval(estimate));
    let mut cells = format!("<th scope=\"row\">{} <span class=\"interval\">{}</span></th>", escape(&category.name), category.problems());
    if columns.changed {
        cells += &format!("<td class=\"number\">{}</td>", before.as_ref().map_or("–".to_owned(), rate));
    }
    cells += &format!("<td class=\"number\">{}</td>", rate(&after));
    if columns.changed {
        let change = before.map_or("–".to_owned(), |before| points(100.0 * (after.rate - before.rate)));
        cells += &format!("<td class=\"number\">{change}</td><td class=\"plot\">{}</td>", whiskers(before.as_ref(), &after));
    }
    if columns.pass {
        cells += &format!("<td class=\"number\">{}</td>", percent(pass_at_k(&category.correct, category.samples, category.samples)));
    }
    let responses = (category.problems() * category.samples).max(1) as f64;
    cells += &format!("<td class=\"number\">{}</td>", percent(category.well_formed as f64 / responses));
    if columns.errors {
        cells += &format!("<td class=\"errors\">{}</td>", error_bar(category, responses));
    }
    format!("<tr>{cells}</tr>\n")
}

/// A change in points, green or red; one that is shown as zero is neither.
fn points(change: f64) -> String {
    let text = format!("{change:+.1}").replace('-', "−");
    let (direction, text) = match text.trim_start_matches(['+', '−']) {
        "0.0" => ("same", "±0.0".to_owned()),
        _ => (if change < 0.0 { "down" } else { "up" }, text),
    };
    format!("<span class=\"change {direction}\">{text}</span>")
}

/// Both estimates with their intervals on one line from 0 to 100 %.
fn whiskers(before: Option<&Estimate>, after: &Estimate) -> String {
    let mark = |class: &str, top: f64, e: &Estimate| {
        let (low, rate, high) = (200.0 * e.low, 200.0 * e.rate, 200.0 * e.high);
        format!(
            "<line class=\"{class}\" x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{top}\" y2=\"{top}\"/><circle class=\"{class}\" cx=\"{rate:.1}\" cy=\"{top}\" r=\"3.5\"/>"
        )
    };
    let grid: String = (0..=4).map(|i| format!("<line class=\"grid\" x1=\"{0}\" x2=\"{0}\" y1=\"0\" y2=\"24\"/>", 50 * i)).collect();
    let marks = before.map_or_else(String::new, |before| mark("before", 7.0, before)) + &mark("after", 17.0, after);
    format!("<svg class=\"whiskers\" viewBox=\"-4 0 208 24\" aria-hidden=\"true\">{grid}{marks}</svg>")
}

const ERRORS: [(&str, &str); 4] =
    [("perception", "seen wrongly"), ("reasoning", "concluded wrongly"), ("both", "both"), ("unreadable", "does not say what it sees")];

/// Shares of all responses that are wrong, by kind.
fn error_bar(category: &CategoryResult, responses: f64) -> String {
    let counts = [category.perception_errors, category.reasoning_errors, category.both_errors, category.unreadable];
    let mut bar = String::new();
    for ((class, meaning), count) in ERRORS.iter().zip(counts) {
        let share = 100.0 * count.unwrap_or(0) as f64 / responses;
        if share > 0.0 {
            // a wide part carries its number
            let label = if share >= 9.0 { format!("{share:.0}") } else { String::new() };
            bar += &format!(
                "<span class=\"{class}\" style=\"width:{share:.2}%\" title=\"{meaning}: {share:.1} % of all responses\">{label}</span>"
            );
        }
    }
    format!("<div class=\"bar\">{bar}</div>")
}

/// What the colours of the bars mean, of those that there are.
fn error_legend(categories: &[CategoryResult]) -> String {
    let all = &categories[0];
    let counts = [all.perception_errors, all.reasoning_errors, all.both_errors, all.unreadable];
    let there = ERRORS.iter().zip(counts).filter(|(_, count)| count.is_some_and(|count| count > 0));
    let items: String = there.map(|((class, meaning), _)| format!("<li><i class=\"{class}\"></i>{meaning}</li>")).collect();
    if items.is_empty() {
        return String::new();
    }
    format!("<ul class=\"legend\"><li>Wrong answers, per cent of all responses after training:</li>{items}</ul>\n")
}

/// Accuracy of the whole over the run, with intervals.
fn over_time(evaluations: &[Evaluation]) -> String {
    let mut series: Vec<(String, Vec<(f64, Estimate)>)> = Vec::new();
    for decoding in decodings(evaluations) {
        let of_decoding = evaluations.iter().filter(|e| e.decoding == decoding && !e.categories.is_empty());
        let points = of_decoding.map(|e| (e.step as f64, accuracy(&e.categories[0]))).collect();
        series.push((decoding, points));
    }
    series.retain(|(_, points)| points.len() > 1);
    let all = || series.iter().flat_map(|(_, points)| points);
    let Some(last) = all().map(|(x, _)| *x).reduce(f64::max) else { return String::new() };
    let low = all().map(|(_, e)| e.low).fold(1.0, f64::min);
    let high = all().map(|(_, e)| e.high).fold(0.0, f64::max);
    let plane = Plane::new([720.0, 240.0], [0.0, last], [100.0 * low, 100.0 * high]);
    let (mut bands, mut lines, mut legend) = (String::new(), String::new(), String::new());
    for (number, (decoding, points)) in series.iter().enumerate() {
        let class = format!("series-{number}");
        let band: Vec<(f64, f64, f64)> = points.iter().map(|(x, e)| (*x, 100.0 * e.low, 100.0 * e.high)).collect();
        bands += &plane.band(&format!("{class} band"), &band);
        lines += &plane.line(&format!("{class} line"), points.iter().map(|(x, e)| (*x, 100.0 * e.rate)));
        for (x, e) in points {
            let (left, top) = (plane.left(*x), plane.top(100.0 * e.rate));
            let words = format!("{decoding}, step {x}: {} % ({})", percent(e.rate), interval(e));
            lines += &format!(
                "<circle class=\"{class} dot\" cx=\"{left:.1}\" cy=\"{top:.1}\" r=\"3.5\"><title>{}</title></circle>",
                escape(&words)
            );
        }
        legend += &format!("<li><i class=\"{class}\"></i>{}</li>", escape(decoding));
    }
    let svg = plane.svg("Accuracy in per cent by step", &(bands + &lines), "");
    format!(
        "<figure class=\"wide\">\n<ul class=\"legend\"><li>Accuracy in per cent by step, with 95 % intervals:</li>{legend}</ul>\n<div class=\"scroll\">{svg}</div>\n</figure>\n"
    )
}

fn accuracy(category: &CategoryResult) -> Estimate {
    average_at_n(&category.correct, category.samples)
}

fn interval(estimate: &Estimate) -> String {
    format!("{}–{}", percent(estimate.low), percent(estimate.high))
}

fn step_name(step: u64) -> String {
    if step == 0 { "Start".to_owned() } else { format!("Step {step}") }
}
