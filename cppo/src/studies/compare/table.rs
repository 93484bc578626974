//! A comparison as text: for the terminal, Markdown, LaTeX, and one line a cell as comma-separated values.

use super::summary::{Comparison, Measured, Quantity, Summary, points};
use crate::records::statistics::MeanInterval;

/// Columns of the main table.
const COLUMNS: [Quantity; 5] =
    [Quantity::Greedy, Quantity::Sampled, Quantity::Robust, Quantity::Consistency, Quantity::SureWithoutInformation];

/// The main table for a terminal.
pub fn terminal(comparison: &Comparison) -> String {
    let mut text = format!(
        "{:<22} {:>5}  {:>14} {:>14} {:>14}   {:<28} {:<28} {:>7}\n",
        "row", "seeds", "greedy %", "sampled %", "unseen %", "sampled − base, points", "unseen − base, points", "s/step"
    );
    if let Some(start) = &comparison.start {
        let value = |quantity: Quantity| quantity.of(start).map_or("–".into(), |value| format!("{:.1}", 100.0 * value));
        let [greedy, sampled, robust] = Quantity::HEADLINE.map(value);
        text += &format!("{:<22} {:>5}  {greedy:>14} {sampled:>14} {robust:>14}\n", "start", "");
    }
    for summary in comparison.summaries() {
        let of = |quantity| summary.of(quantity);
        let [greedy, sampled, robust] = Quantity::HEADLINE.map(|quantity| rate(&of(quantity).mean));
        let difference = |quantity| if summary.row == comparison.base { "".to_owned() } else { marked(of(quantity)) };
        let (d_sampled, d_robust) = (difference(Quantity::Sampled), difference(Quantity::Robust));
        text += &format!(
            "{:<22} {:>5}  {greedy:>14} {sampled:>14} {robust:>14}   {d_sampled:<28} {d_robust:<28} {:>7.2}\n",
            summary.row,
            summary.seeds.len(),
            summary.seconds_per_step
        );
    }
    text
}

/// The main table in Markdown, with the differences to the base below each value.
pub fn markdown(comparison: &Comparison) -> String {
    let mut text = "| row | seeds |".to_owned();
    COLUMNS.iter().for_each(|quantity| text += &format!(" {}, % |", quantity.title().to_lowercase()));
    text += &format!("\n|---|---|{}\n", "---|".repeat(COLUMNS.len()));
    if let Some(start) = &comparison.start {
        text += "| start | |";
        COLUMNS.iter().for_each(|quantity| text += &quantity.of(start).map_or(" – |".into(), |value| format!(" {:.1} |", 100.0 * value)));
        text += "\n";
    }
    for summary in comparison.summaries() {
        text += &format!("| `{}` | {} |", summary.row, summary.seeds.len());
        for quantity in COLUMNS {
            let measured = summary.of(quantity);
            let difference = if summary.row == comparison.base { String::new() } else { format!(" ({})", marked(measured)) };
            text += &format!(" {}{difference} |", rate(&measured.mean));
        }
        text += "\n";
    }
    text += &format!(
        "\nMean ± half of the 95 % interval over seeds; in parentheses the difference to `{}` in points, paired by seed, with its 95 % interval; bold where it excludes zero.\n",
        comparison.base
    );
    text
}

/// The main table in LaTeX (`booktabs`).
pub fn latex(comparison: &Comparison) -> String {
    let mut text = format!("\\begin{{tabular}}{{l{}}}\n\\toprule\n", "r".repeat(COLUMNS.len()));
    text += &format!("row & {} \\\\\n\\midrule\n", COLUMNS.map(Quantity::title).join(" & "));
    for summary in comparison.summaries() {
        let cell = |quantity: Quantity| {
            let measured = summary.of(quantity);
            let value = rate(&measured.mean).replace('±', "$\\pm$");
            match summary.row != comparison.base && is_told(measured) {
                true => format!("\\textbf{{{value}}}"),
                false => value,
            }
        };
        text += &format!("{} & {} \\\\\n", summary.row.replace('_', "\\_"), COLUMNS.map(cell).join(" & "));
    }
    text + &format!(
        "\\bottomrule\n\\end{{tabular}}\n% Mean and half of the 95 % interval over seeds; bold: the difference to {}, paired by seed, excludes zero at 95 %.\n",
        comparison.base
    )
}

/// One line a cell, everything that tables and figures are made of.
pub fn csv(comparison: &Comparison) -> String {
    let changes = comparison.cells.iter().find_map(|cell| cell.robustness.as_ref());
    let changes: Vec<(String, usize)> =
        changes.map_or(Vec::new(), |measured| measured.changed.iter().map(|row| (row.name.clone(), row.strength)).collect());
    let detectors: Vec<_> = comparison.cells.first().map_or(Vec::new(), |cell| cell.detectors.iter().map(|(which, _)| *which).collect());
    let mut text = "row,seed,steps".to_owned();
    Quantity::ALL.iter().for_each(|quantity| text += &format!(",{}", quantity.key()));
    text += ",seconds_per_step,peak_bytes,policy_weight,weight_change,entropy";
    changes.iter().for_each(|(name, strength)| text += &format!(",{name}_{strength}"));
    detectors.iter().for_each(|which| text += &format!(",auc_{}", which.name()));
    text += "\n";
    for cell in comparison.start.iter().chain(&comparison.cells) {
        let training = &cell.training;
        text += &format!("{},{},{}", cell.row, cell.seed, training.steps);
        let mut add =
            |value: Option<f64>| text += &value.filter(|value| value.is_finite()).map_or(",".into(), |value| format!(",{value:.4}"));
        Quantity::ALL.iter().for_each(|quantity| add(quantity.of(cell)));
        add(Some(training.seconds_per_step));
        add(Some(training.peak_bytes as f64));
        [training.policy_weight, training.weight_change, training.entropy].iter().for_each(|&value| add(Some(value)));
        for (name, strength) in &changes {
            add(cell.robustness.as_ref().and_then(|of| Some(of.at(name, *strength)?.correct as f64 / of.problems as f64)));
        }
        for which in &detectors {
            add(cell.detectors.iter().find(|(known, _)| known == which).and_then(|(_, auc)| *auc));
        }
        text += "\n";
    }
    text
}

/// `61.2 ± 1.3`, in per cent.
pub(super) fn rate(mean: &MeanInterval) -> String {
    match (mean.count, mean.half.is_finite()) {
        (0, _) => "–".into(),
        (_, true) => format!("{:.1} ± {:.1}", 100.0 * mean.mean, 100.0 * mean.half),
        (_, false) => format!("{:.1}", 100.0 * mean.mean),
    }
}

/// The difference to the base, bold where its interval excludes zero.
fn marked(measured: &Measured) -> String {
    match (measured.difference.count, is_told(measured)) {
        (0, _) => "–".into(),
        (_, true) => format!("**{}**", points(&measured.difference)),
        (_, false) => points(&measured.difference),
    }
}

/// Whether the difference to the base is told from zero.
pub(super) fn is_told(measured: &Measured) -> bool {
    measured.difference.count > 1 && measured.difference.excludes_zero()
}

/// JSON with everything: summaries, cells, start.
pub fn json(comparison: &Comparison) -> String {
    let summaries: Vec<Summary> = comparison.summaries();
    let whole = serde_json::json!({
        "title": comparison.title,
        "budget": comparison.budget,
        "base": comparison.base,
        "rows": comparison.rows,
        "findings": comparison.findings(),
        "summaries": summaries,
        "start": comparison.start,
        "cells": comparison.cells,
    });
    serde_json::to_string_pretty(&whole).expect("plain data can be written")
}
