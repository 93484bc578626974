//! Curves of all metrics, small and many.

use super::chart::Plane;
use super::html::{escape, number};
use crate::records::run::{Metrics, metric_names};

pub(super) fn section(steps: &[Metrics]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let (constant, varying): (Vec<String>, Vec<String>) =
        names(steps).into_iter().partition(|name| steps.len() > 1 && is_constant(name, steps));
    let charts: String = varying.iter().map(|name| figure(name, steps)).collect();
    let constant = match constant.is_empty() {
        true => String::new(),
        false => {
            let charts: String = constant.iter().map(|name| figure(name, steps)).collect();
            format!(
                "<details>\n<summary>The same in every step <span class=\"note\">{}</span></summary>\n<div class=\"charts\">\n{charts}</div>\n</details>\n",
                values(&constant, steps)
            )
        }
    };
    format!(
        "<section id=\"curves\">\n<h2>Curves</h2>\n<p class=\"lead\">One value a step, pale; the line is their running mean. \
         The number is the mean of the last tenth.</p>\n<div class=\"charts\">\n{charts}</div>\n{constant}</section>\n"
    )
}

/// One finite value in every step.
fn is_constant(name: &str, steps: &[Metrics]) -> bool {
    let first = steps[0].get(name);
    first.is_some_and(f64::is_finite) && steps.iter().all(|step| step.get(name) == first)
}

/// Names and values of what does not vary.
fn values(names: &[String], steps: &[Metrics]) -> String {
    let one = |name: &String| format!("{} {}", escape(name), number(steps[0].get(name).unwrap_or(f64::NAN)));
    names.iter().map(one).collect::<Vec<_>>().join(" · ")
}

/// Names that were recorded: the known ones in their order, then others in theirs. Evaluations have a section of their own.
fn names(steps: &[Metrics]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for (name, _) in steps.iter().flat_map(Metrics::values) {
        if !found.contains(name) && !name.starts_with("eval/") {
            found.push(name.clone());
        }
    }
    let rank = |name: &String| metric_names().iter().position(|known| known.name == name).unwrap_or(usize::MAX);
    found.sort_by_key(rank); // stable
    found
}

fn figure(name: &str, steps: &[Metrics]) -> String {
    let points: Vec<(f64, f64)> = steps.iter().filter_map(|step| Some((step.step() as f64, step.get(name)?))).collect();
    let finite = || points.iter().map(|(_, y)| *y).filter(|y| y.is_finite());
    let known = metric_names().iter().find(|known| known.name == name);
    let (title, meaning) = known.map_or((name, ""), |known| (known.title, known.meaning));
    let tail = &points[points.len() - points.len().div_ceil(10)..];
    let recent: Vec<f64> = tail.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).collect();
    let latest = recent.iter().sum::<f64>() / recent.len() as f64;
    let chart = if finite().next().is_none() {
        "<p class=\"note\">no finite value</p>".to_owned()
    } else {
        let (low, high) = finite().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| (low.min(y), high.max(y)));
        // a curve near zero is read against zero
        let low = if low > 0.0 && low < 0.4 * high { 0.0 } else { low };
        let ends = [points[0].0, points[points.len() - 1].0];
        let plane = Plane::new([320.0, 130.0], ends, [low, high]);
        // a schedule has no noise to take out
        let reach = if name == "lr" { 0 } else { points.len() / 20 };
        let smooth = running_mean(&points, reach);
        let content = plane.line("raw", points.iter().copied()) + &plane.line("smooth", smooth.iter().copied());
        let values: Vec<String> =
            points.iter().map(|(x, y)| format!("{x},{:.1},{:.1},{}", plane.left(*x), plane.top(*y), number(*y))).collect();
        plane.svg(&format!("{title} by step"), &content, &format!("data-points=\"{}\"", escape(&values.join(";"))))
    };
    format!(
        "<figure>\n<figcaption><span>{}</span><b>{}</b><code>{}</code></figcaption>\n{chart}\n<p class=\"note\">{}</p>\n</figure>\n",
        escape(title),
        number(latest),
        escape(name),
        escape(meaning)
    )
}

/// The mean of the points up to `reach` to either side.
fn running_mean(points: &[(f64, f64)], reach: usize) -> Vec<(f64, f64)> {
    let mean = |i: usize| {
        let window = &points[i.saturating_sub(reach)..(i + reach + 1).min(points.len())];
        let values: Vec<f64> = window.iter().map(|(_, y)| *y).filter(|y| y.is_finite()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    points.iter().enumerate().map(|(i, &(x, _))| (x, mean(i))).collect()
}
