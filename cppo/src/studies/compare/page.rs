//! A comparison as one page that needs nothing else: what differs and by how much, on which changes, what is said without information, what it costs, and how it was measured.

use super::Cell;
use super::figure::{Lines, colour, forest};
use super::summary::{Comparison, Quantity, Summary, points};
use super::table::{is_told, rate};
use crate::records::report::html::{escape, facts, number, page as whole_page};
use crate::records::statistics::MeanInterval;

/// The page.
pub fn page(comparison: &Comparison) -> String {
    let summaries = comparison.summaries();
    let body = [
        header(comparison, &summaries),
        differences(comparison, &summaries),
        main_table(comparison, &summaries),
        changes(comparison, &summaries),
        sensitivity(comparison, &summaries),
        errors(comparison, &summaries),
        curves(comparison, &summaries),
        detectors(&summaries),
        costs(comparison, &summaries),
        questions(comparison, &summaries),
    ]
    .concat();
    whole_page(&comparison.title, &body)
}

fn header(comparison: &Comparison, summaries: &[Summary]) -> String {
    let cells: usize = summaries.iter().map(|summary| summary.seeds.len()).sum();
    let asked = comparison.rows.len() * comparison.seeds.len();
    let missing =
        if cells < asked { format!("<p class=\"note\">{} of {asked} cells are not made yet.</p>\n", asked - cells) } else { String::new() };
    let findings: String = comparison.findings().iter().map(|finding| format!("<li>{}</li>", escape(finding))).collect();
    format!(
        "<header>\n<h1>{}</h1>\n{}{missing}<ul class=\"findings\">{findings}</ul>\n</header>\n",
        escape(&comparison.title),
        facts(&comparison.facts)
    )
}

fn differences(comparison: &Comparison, summaries: &[Summary]) -> String {
    format!(
        "<section id=\"differences\">\n<h2>Differences to {}</h2>\n<p class=\"lead\">Each row minus the base, seed by seed: the mean and its 95 % interval (Student, over seeds), and each \
         seed as a pale dot. Filled where the interval excludes zero. Every interval is for one comparison; with many of them some exclude zero by chance.</p>\n\
         <figure class=\"wide scroll\">{}</figure>\n</section>\n",
        escape(&comparison.base),
        forest(comparison, summaries)
    )
}

fn main_table(comparison: &Comparison, summaries: &[Summary]) -> String {
    let quantities = [Quantity::Greedy, Quantity::Sampled, Quantity::Robust, Quantity::Consistency];
    let heads: String = quantities.iter().map(|quantity| format!("<th class=\"number\">{}</th>", quantity.title())).collect();
    let mut rows = String::new();
    if let Some(start) = &comparison.start {
        let cells: String = quantities.iter().map(|quantity| value_cell(quantity.of(start))).collect();
        rows += &format!("<tr><th>start</th><td class=\"number\"></td>{cells}</tr>\n");
    }
    for summary in summaries {
        let cells: String = quantities.iter().map(|&quantity| measured_cell(comparison, summary, quantity)).collect();
        rows +=
            &format!("<tr><th>{}</th><td class=\"number\">{}</td>{cells}</tr>\n", row_name(comparison, &summary.row), summary.seeds.len());
    }
    let about: String = comparison
        .rows
        .iter()
        .filter(|(_, about)| !about.is_empty())
        .map(|(name, about)| format!("<li>{}: {}</li>", row_name(comparison, name), escape(about)))
        .collect();
    format!(
        "<section id=\"results\">\n<h2>Results</h2>\n<p class=\"lead\">Per cent, mean ± half of the 95 % interval over seeds; below it the difference to the base in points, bold where its interval \
         excludes zero. Greedy and sampled: right answers on pictures of the test split. Unseen changes: greedy, mean over all changes and strengths of the next section. Consistency: \
         the same answer there as on the original picture, right or wrong.</p>\n<div class=\"scroll\"><table>\n<thead><tr><th>row</th><th class=\"number\">seeds</th>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table></div>\n<ul class=\"legend rows\">{about}</ul>\n</section>\n"
    )
}

fn value_cell(value: Option<f64>) -> String {
    format!("<td class=\"number\">{}</td>", value.map_or("–".into(), |value| format!("{:.1}", 100.0 * value)))
}

fn measured_cell(comparison: &Comparison, summary: &Summary, quantity: Quantity) -> String {
    let measured = summary.of(quantity);
    let difference = match (summary.row == comparison.base, measured.difference.count) {
        (true, _) | (_, 0) => String::new(),
        _ => {
            let better = (measured.difference.mean > 0.0) == quantity.larger_is_better();
            let class = if !is_told(measured) {
                "interval"
            } else if better {
                "interval told up"
            } else {
                "interval told down"
            };
            format!("<br><span class=\"{class}\">{}</span>", points(&measured.difference))
        }
    };
    format!("<td class=\"number\">{}{difference}</td>", rate(&measured.mean))
}

/// A row's name with its colour.
fn row_name(comparison: &Comparison, row: &str) -> String {
    format!("<i class=\"swatch\" style=\"background:{}\"></i>{}", colour(comparison, row), escape(row))
}

fn legend(comparison: &Comparison, summaries: &[Summary]) -> String {
    let items: String = summaries.iter().map(|summary| format!("<li>{}</li>", row_name(comparison, &summary.row))).collect();
    format!("<ul class=\"legend\">{items}</ul>\n")
}

fn changes(comparison: &Comparison, summaries: &[Summary]) -> String {
    let Some(first) = summaries.iter().find(|summary| !summary.changes.is_empty()) else { return String::new() };
    let start = comparison.start.as_ref().and_then(|start| start.robustness.as_ref());
    let figure = |(number, (name, _)): (usize, &(String, Vec<MeanInterval>))| {
        let line = |summary: &Summary| {
            let clean = summary.of(Quantity::Greedy).mean;
            let means = std::iter::once(&clean).chain(&summary.changes[number].1);
            let points = means.enumerate().map(|(strength, mean)| [strength as f64, f64::NAN, mean.mean, f64::NAN]).collect();
            (colour(comparison, &summary.row), summary.row == comparison.base, points)
        };
        let ticks = ["clean", "1", "2", "3"].iter().enumerate().map(|(at, label)| (at as f64, (*label).to_owned())).collect();
        let lines = summaries.iter().filter(|summary| !summary.changes.is_empty()).map(line).collect();
        let drawing = Lines { label: format!("Accuracy under {name} by strength"), ticks, lines }.svg([300.0, 150.0]);
        let before = start.and_then(|of| Some(of.at(name, 2)?.correct as f64 / of.problems as f64));
        let note = before.map_or(String::new(), |rate| format!("<b>start {:.0} % at 2</b>", 100.0 * rate));
        format!("<figure><figcaption><span>{}</span>{note}</figcaption>{drawing}</figure>\n", escape(&name.replace('_', " ")))
    };
    let figures: String = first.changes.iter().enumerate().map(figure).collect();
    format!(
        "<section id=\"changes\">\n<h2>Unseen changes</h2>\n<p class=\"lead\">Greedy accuracy, per cent, on pictures changed in ways that training does not use or uses more mildly, by strength. The \
         information is still there. Every row is tested on the same pictures.</p>\n{}<div class=\"charts\">\n{figures}</div>\n{}</section>\n",
        legend(comparison, summaries),
        change_table(comparison, summaries, first)
    )
}

/// Mean over the strengths of every change, coloured by the difference to the base.
fn change_table(comparison: &Comparison, summaries: &[Summary], first: &Summary) -> String {
    let mean = |strengths: &[MeanInterval]| strengths.iter().map(|of| of.mean).sum::<f64>() / strengths.len() as f64;
    let base = summaries.iter().find(|summary| summary.row == comparison.base);
    let heads: String =
        first.changes.iter().map(|(name, _)| format!("<th class=\"number\">{}</th>", escape(&name.replace('_', " ")))).collect();
    let row = |summary: &Summary| {
        let cell = |(number, (_, strengths)): (usize, &(String, Vec<MeanInterval>))| {
            let value = mean(strengths);
            let reference = base.and_then(|base| base.changes.get(number)).map_or(value, |(_, strengths)| mean(strengths));
            let (shift, name) = (value - reference, if value >= reference { "up" } else { "down" });
            let strength = (100.0 * shift.abs() / 12.0).min(1.0) * 55.0;
            format!(
                "<td class=\"number\" style=\"background:color-mix(in srgb, var(--{name}) {strength:.0}%, transparent)\">{:.1}</td>",
                100.0 * value
            )
        };
        let cells: String = summary.changes.iter().enumerate().map(cell).collect();
        format!("<tr><th>{}</th>{cells}</tr>\n", row_name(comparison, &summary.row))
    };
    let rows: String = summaries.iter().map(row).collect();
    format!(
        "<details open><summary>Mean over the strengths, per cent; green above {}, red below</summary><div class=\"scroll\"><table><thead><tr><th>row</th>{heads}</tr></thead>\
         <tbody>{rows}</tbody></table></div></details>\n",
        escape(&comparison.base)
    )
}

fn sensitivity(comparison: &Comparison, summaries: &[Summary]) -> String {
    let Some(any) = comparison.cells.iter().find_map(|cell| cell.robustness.as_ref()) else { return String::new() };
    let names: Vec<&str> = any.removed.iter().map(|row| row.name.as_str()).collect();
    let heads: String = names.iter().map(|name| format!("<th class=\"number\">{name}</th>")).collect();
    let table = |what: &str, of: &dyn Fn(&crate::studies::robustness::Removed, u64) -> f64, scale: f64| {
        let mut rows = String::new();
        let start: Vec<&Cell> = comparison.start.iter().collect();
        let lines = std::iter::once(("start".to_owned(), start))
            .chain(summaries.iter().map(|summary| (row_name(comparison, &summary.row), comparison.cells_of(&summary.row))));
        for (name, cells) in lines.filter(|(_, cells)| !cells.is_empty()) {
            let value = |removal: usize| {
                let values: Vec<f64> = cells
                    .iter()
                    .filter_map(|cell| cell.robustness.as_ref())
                    .map(|measured| scale * of(&measured.removed[removal], measured.problems))
                    .collect();
                let mean = MeanInterval::of(&values);
                format!(
                    "<td class=\"number\">{}</td>",
                    if mean.mean.is_finite() { format!("{:.*}", if scale > 1.0 { 1 } else { 2 }, mean.mean) } else { "–".into() }
                )
            };
            let cells: String = (0..names.len()).map(value).collect();
            rows += &format!("<tr><th>{name}</th>{cells}</tr>\n");
        }
        format!(
            "<h3>{what}</h3>\n<div class=\"scroll\"><table><thead><tr><th>row</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>\n"
        )
    };
    let sure = table("Responses that the policy is sure of, per cent", &|row, _| row.sure as f64 / row.readable.max(1) as f64, 100.0);
    let entropy = table("Entropy where the response names what it sees, nats", &|row, _| row.entropy, 1.0);
    let right = table("Right answers, per cent", &|row, problems| row.correct as f64 / problems as f64, 100.0);
    format!(
        "<section id=\"sensitivity\">\n<h2>When there is nothing to see</h2>\n<p class=\"lead\">A policy can be robust because it sees more, or because it looks less. Here the information is gone: one \
         colour, squares in random order, or another problem's picture. A policy that looks is unsure, except on a swapped picture, where it should read what is there and so answer the question \
         asked wrongly; always giving the most frequent answer would be right {:.1} % of the time. Sure: sampling, it would name the same things again with a probability above one half.</p>\n\
         {sure}{entropy}{right}</section>\n",
        100.0 * any.chance
    )
}

fn errors(comparison: &Comparison, summaries: &[Summary]) -> String {
    let row = |summary: &Summary| {
        let cells: String = [Quantity::PerceptionErrors, Quantity::ReasoningErrors]
            .iter()
            .map(|&quantity| measured_cell(comparison, summary, quantity))
            .collect();
        format!("<tr><th>{}</th>{cells}</tr>\n", row_name(comparison, &summary.row))
    };
    let rows: String = summaries.iter().map(row).collect();
    format!(
        "<section id=\"errors\">\n<h2>What goes wrong</h2>\n<p class=\"lead\">Share of all sampled responses, per cent. Seen wrongly: the response names something else than there is and concludes rightly from \
         it. Concluded wrongly: it names what there is. The rest of the wrong ones have both errors, or do not say what they see.</p>\n<div class=\"scroll\"><table><thead><tr><th>row</th>\
         <th class=\"number\">seen wrongly</th><th class=\"number\">concluded wrongly</th></tr></thead><tbody>{rows}</tbody></table></div>\n</section>\n"
    )
}

fn curves(comparison: &Comparison, summaries: &[Summary]) -> String {
    let base = comparison.cells_of(&comparison.base);
    let figure = |summary: &Summary| {
        let mut lines = Vec::new();
        if summary.row != comparison.base && !base.is_empty() {
            let means = banded(&base).into_iter().map(|[x, _, y, _]| [x, f64::NAN, y, f64::NAN]).collect();
            lines.push((colour(comparison, &comparison.base), true, means));
        }
        lines.push((colour(comparison, &summary.row), false, banded(&comparison.cells_of(&summary.row))));
        let steps = summary.steps.round();
        let ticks = [0.0, (steps / 2.0).round(), steps].map(|step| (step, format!("{step:.0}"))).into();
        let drawing = Lines { label: format!("Accuracy in training of {} by step", summary.row), ticks, lines }.svg([300.0, 140.0]);
        format!("<figure><figcaption><span>{}</span></figcaption>{drawing}</figure>\n", row_name(comparison, &summary.row))
    };
    let figures: String = summaries.iter().map(figure).collect();
    format!(
        "<section id=\"training\">\n<h2>Training</h2>\n<p class=\"lead\">Right answers among the responses of a step, per cent, running mean over a tenth of the run: mean over seeds, the band is its 95 % \
         interval. Dashed: {}.</p>\n<div class=\"charts\">\n{figures}</div>\n</section>\n",
        escape(&comparison.base)
    )
}

/// Mean and interval over the cells at about forty places of the run: (step, low, mean, high).
fn banded(cells: &[&Cell]) -> Vec<[f64; 4]> {
    let steps = cells.iter().map(|cell| cell.training.accuracy.len()).min().unwrap_or(0);
    let reach = (steps / 20).max(1);
    let smooth = |cell: &Cell, at: usize| {
        let window = &cell.training.accuracy[at.saturating_sub(reach)..(at + reach + 1).min(steps)];
        window.iter().map(|&value| f64::from(value)).sum::<f64>() / window.len() as f64
    };
    let place = |at: usize| {
        let mean = MeanInterval::of(&cells.iter().map(|cell| smooth(cell, at)).collect::<Vec<f64>>());
        [at as f64 + 1.0, mean.low(), mean.mean, mean.high()]
    };
    (0..steps).step_by((steps / 40).max(1)).map(place).collect()
}

fn detectors(summaries: &[Summary]) -> String {
    let Some(first) = summaries.iter().find(|summary| !summary.detectors.is_empty()) else { return String::new() };
    let heads: String = first.detectors.iter().map(|(which, _)| format!("<th class=\"number\">{}</th>", which.name())).collect();
    let row = |summary: &Summary| {
        let value = |auc: &MeanInterval| if auc.count == 0 { "–".to_owned() } else { format!("{:.2}", auc.mean) };
        let cells: String = summary.detectors.iter().map(|(_, auc)| format!("<td class=\"number\">{}</td>", value(auc))).collect();
        format!("<tr><th>{}</th>{cells}</tr>\n", escape(&summary.row))
    };
    let rows: String = summaries.iter().map(row).collect();
    format!(
        "<section id=\"detectors\">\n<h2>Which tokens</h2>\n<p class=\"lead\">Our tasks know which tokens of a response name something seen. How well each score that methods choose tokens by ranks them on \
         the trained policies, as area under the ROC curve: 0.5 is chance, 1 is perfect.</p>\n<div class=\"scroll\"><table><thead><tr><th>row</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>\n</section>\n"
    )
}

fn costs(comparison: &Comparison, summaries: &[Summary]) -> String {
    let base = summaries.iter().find(|summary| summary.row == comparison.base).map_or(f64::NAN, |summary| summary.seconds_per_step);
    let row = |summary: &Summary| {
        format!(
            "<tr><th>{}</th><td class=\"number\">{:.0}</td><td class=\"number\">{}</td><td class=\"number\">{:.2}</td><td class=\"number\">{:.0}</td><td class=\"number\">{:.2}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td></tr>\n",
            row_name(comparison, &summary.row),
            summary.steps,
            number(summary.seconds_per_step),
            summary.seconds_per_step / base,
            summary.peak_bytes as f64 / (1 << 20) as f64,
            summary.policy_weight,
            number(summary.weight_change),
            number(summary.entropy)
        )
    };
    let rows: String = summaries.iter().map(row).collect();
    format!(
        "<section id=\"cost\">\n<h2>What it costs, and how far it goes</h2>\n<p class=\"lead\">Times are those of the machine the cells ran on, with whatever ran beside them: compare methods by the percept \
         benches. Token weight: mean absolute weight of a token in the policy loss; a method that masks tokens takes smaller steps. Change of the weights: its length over that of the starting weights.\
         </p>\n<div class=\"scroll\"><table><thead><tr><th>row</th><th class=\"number\">steps</th><th class=\"number\">s a step</th><th class=\"number\">of base</th><th class=\"number\">MiB</th>\
         <th class=\"number\">token weight</th><th class=\"number\">change of weights</th><th class=\"number\">entropy, nats</th></tr></thead><tbody>{rows}</tbody></table></div>\n</section>\n"
    )
}

fn questions(comparison: &Comparison, summaries: &[Summary]) -> String {
    let seeds: Vec<String> = comparison.seeds.iter().map(u64::to_string).collect();
    let counts: Vec<usize> = summaries.iter().map(|summary| summary.seeds.len()).collect();
    let (least, most) = (counts.iter().min().unwrap_or(&0), counts.iter().max().unwrap_or(&0));
    let answers = [
        ("How many seeds?", format!("Seeds {}; {least} to {most} are done in each row. Intervals are over seeds, so they hold for training again, not only for asking again.", seeds.join(", "))),
        (
            "Paired?",
            format!("Yes. A seed gives every row the same problems, prompts and start; the difference to {} is taken seed by seed, then averaged (Student's interval).", comparison.base),
        ),
        ("What is equal?", format!("{}. Starting weights, learning rate and batch are the same unless a row says otherwise; steps and times of each row stand under cost.", comparison.budget)),
        ("Whose settings?", "Each method's own defaults, which are its paper's, except for what the file of the comparison sets for all.".to_owned()),
        ("Robust to what?", "The changes drawn above. Training sees milder colour, rotation and perspective at most, and only in methods that look at a second picture.".to_owned()),
        ("Robust by blindness?", "See what is said when there is nothing to see.".to_owned()),
        ("Chosen on the test?", "Nothing here can show that: the text that goes with a comparison must say on which problems settings were chosen.".to_owned()),
    ];
    let items: String =
        answers.iter().map(|(question, answer)| format!("<div><dt>{question}</dt><dd>{}</dd></div>", escape(answer))).collect();
    format!("<section id=\"questions\">\n<h2>A reviewer's questions</h2>\n<dl class=\"questions\">{items}</dl>\n</section>\n")
}
