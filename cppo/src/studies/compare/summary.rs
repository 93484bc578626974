//! From cells to means, paired differences and their intervals.

use serde::Serialize;

use super::cell::Cell;
use crate::methods::selection::Detector;
use crate::records::statistics::MeanInterval;

/// All cells that there are, with what they were asked to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Title of reports.
    pub title: String,
    /// What is equal for all rows, in words.
    pub budget: String,
    /// The row that the others are compared with.
    pub base: String,
    /// The rows and what each is, in order.
    pub rows: Vec<(String, String)>,
    /// The seeds that were asked for.
    pub seeds: Vec<u64>,
    /// The policy before training.
    pub start: Option<Cell>,
    /// The cells that are done.
    pub cells: Vec<Cell>,
    /// Terms and what they are here: task, model, batch, commit.
    pub facts: Vec<(&'static str, String)>,
}

/// Something that is measured of every cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Greedy accuracy on the original pictures.
    Greedy,
    /// Sampled accuracy on the original pictures.
    Sampled,
    /// Mean greedy accuracy over all changes of the robustness test and their strengths.
    Robust,
    /// Mean share of greedy answers that stay the same under these changes.
    Consistency,
    /// Share of responses that the policy is sure of although the information is gone; lower is better.
    SureWithoutInformation,
    /// Share of sampled responses that are wrong because something was seen wrongly.
    PerceptionErrors,
    /// Share of sampled responses that saw everything rightly and are wrong.
    ReasoningErrors,
}

impl Quantity {
    /// All of them, in the order of tables.
    pub const ALL: [Quantity; 7] = [
        Quantity::Greedy,
        Quantity::Sampled,
        Quantity::Robust,
        Quantity::Consistency,
        Quantity::SureWithoutInformation,
        Quantity::PerceptionErrors,
        Quantity::ReasoningErrors,
    ];

    /// Those of the headline: what a method is judged by.
    pub const HEADLINE: [Quantity; 3] = [Quantity::Greedy, Quantity::Sampled, Quantity::Robust];

    /// A short title.
    pub fn title(self) -> &'static str {
        match self {
            Quantity::Greedy => "Greedy",
            Quantity::Sampled => "Sampled",
            Quantity::Robust => "Unseen changes",
            Quantity::Consistency => "Consistency",
            Quantity::SureWithoutInformation => "Sure of nothing",
            Quantity::PerceptionErrors => "Seen wrongly",
            Quantity::ReasoningErrors => "Concluded wrongly",
        }
    }

    /// Key in files.
    pub fn key(self) -> &'static str {
        match self {
            Quantity::Greedy => "greedy",
            Quantity::Sampled => "sampled",
            Quantity::Robust => "unseen_changes",
            Quantity::Consistency => "consistency",
            Quantity::SureWithoutInformation => "sure_without_information",
            Quantity::PerceptionErrors => "perception_errors",
            Quantity::ReasoningErrors => "reasoning_errors",
        }
    }

    /// Whether a larger value is better.
    pub fn larger_is_better(self) -> bool {
        matches!(self, Quantity::Greedy | Quantity::Sampled | Quantity::Robust | Quantity::Consistency)
    }

    /// The value for a cell, 0 to 1; none if it was not measured.
    pub fn of(self, cell: &Cell) -> Option<f64> {
        let share = |count: u64| Some(count as f64 / cell.sampled.responses.max(1) as f64);
        match self {
            Quantity::Greedy => Some(cell.greedy.rate),
            Quantity::Sampled => Some(cell.sampled.rate),
            Quantity::Robust => cell.robustness.as_ref().map(|measured| measured.robust_accuracy()),
            Quantity::Consistency => cell.robustness.as_ref().map(|measured| measured.consistency()),
            Quantity::SureWithoutInformation => cell.robustness.as_ref().map(|measured| measured.sure_without_information()),
            Quantity::PerceptionErrors => share(cell.sampled.perception_errors),
            Quantity::ReasoningErrors => share(cell.sampled.reasoning_errors),
        }
    }
}

/// A row's numbers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The row's name.
    pub row: String,
    /// The seeds of its cells.
    pub seeds: Vec<u64>,
    /// For each quantity: the mean over seeds, and the difference to the base row seed by seed.
    pub quantities: Vec<Measured>,
    /// For each change of the robustness test: its name, and for strengths 1 to 3 the accuracy.
    pub changes: Vec<(String, Vec<MeanInterval>)>,
    /// Mean area under the ROC curve of each detector on the trained policies, of those that name what they see.
    pub detectors: Vec<(Detector, MeanInterval)>,
    /// Mean number of steps.
    pub steps: f64,
    /// Median over the cells of the time of a step, seconds.
    pub seconds_per_step: f64,
    /// Largest memory of a cell, bytes.
    pub peak_bytes: u64,
    /// Mean absolute weight of a token in the policy loss.
    pub policy_weight: f64,
    /// Mean relative change of the weights.
    pub weight_change: f64,
    /// Mean entropy at the end, nats.
    pub entropy: f64,
}

/// A quantity of a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Which.
    pub quantity: Quantity,
    /// Over the seeds.
    pub mean: MeanInterval,
    /// This row minus the base, for each seed that both have; of the base itself, zero.
    pub difference: MeanInterval,
}

impl Summary {
    /// The numbers of a quantity.
    ///
    /// # Panics
    /// If there is none, which cannot be: all are summarised.
    pub fn of(&self, quantity: Quantity) -> &Measured {
        self.quantities.iter().find(|measured| measured.quantity == quantity).expect("all quantities are summarised")
    }
}

impl Comparison {
    /// The cells of a row, by seed.
    pub fn cells_of(&self, row: &str) -> Vec<&Cell> {
        let mut cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.row == row).collect();
        cells.sort_by_key(|cell| cell.seed);
        cells
    }

    /// A summary of each row that has a cell.
    pub fn summaries(&self) -> Vec<Summary> {
        self.rows.iter().filter_map(|(row, _)| self.summary(row)).collect()
    }

    fn summary(&self, row: &str) -> Option<Summary> {
        let (cells, base) = (self.cells_of(row), self.cells_of(&self.base));
        if cells.is_empty() {
            return None;
        }
        let mean = |of: &dyn Fn(&Cell) -> f64| cells.iter().map(|cell| of(cell)).sum::<f64>() / cells.len() as f64;
        let quantity = |quantity: Quantity| {
            let values: Vec<f64> = cells.iter().filter_map(|cell| quantity.of(cell)).collect();
            let paired = cells.iter().filter_map(|cell| {
                let other = base.iter().find(|other| other.seed == cell.seed)?;
                Some(quantity.of(cell)? - quantity.of(other)?)
            });
            let differences: Vec<f64> = paired.collect();
            Measured { quantity, mean: MeanInterval::of(&values), difference: MeanInterval::of(&differences) }
        };
        let mut seconds: Vec<f64> = cells.iter().map(|cell| cell.training.seconds_per_step).collect();
        seconds.sort_by(f64::total_cmp);
        Some(Summary {
            row: row.to_owned(),
            seeds: cells.iter().map(|cell| cell.seed).collect(),
            quantities: Quantity::ALL.map(quantity).into(),
            changes: changes(&cells),
            detectors: detectors(&cells),
            steps: mean(&|cell| cell.training.steps as f64),
            seconds_per_step: seconds[seconds.len() / 2],
            peak_bytes: cells.iter().map(|cell| cell.training.peak_bytes).max().unwrap_or(0),
            policy_weight: mean(&|cell| cell.training.policy_weight),
            weight_change: mean(&|cell| cell.training.weight_change),
            entropy: mean(&|cell| cell.training.entropy),
        })
    }

    /// What follows, in sentences: which differences exclude zero, and what could have been seen.
    pub fn findings(&self) -> Vec<String> {
        let summaries = self.summaries();
        let mut findings = Vec::new();
        let others = || summaries.iter().filter(|summary| summary.row != self.base);
        for quantity in Quantity::HEADLINE {
            let of = |summary: &&Summary| summary.of(quantity).difference;
            let told: Vec<String> = others()
                .filter(|summary| of(summary).count > 1 && of(summary).excludes_zero())
                .map(|summary| format!("{} {}", summary.row, points(&of(&summary))))
                .collect();
            let comparisons = others().filter(|summary| of(summary).count > 1).count();
            let mut detectable: Vec<f64> = others().map(|summary| of(&summary).detectable()).filter(|value| value.is_finite()).collect();
            detectable.sort_by(f64::total_cmp);
            let Some(typical) = detectable.get(detectable.len() / 2) else { continue };
            let name = quantity.title().to_lowercase();
            let told = if told.is_empty() {
                "no row differs from the base with an interval that excludes zero".to_owned()
            } else {
                told.join("; ")
            };
            findings.push(format!(
                "{name}: {told}. {comparisons} comparisons at 95 %: about {:.1} would exclude zero by chance. Detectable with a power of 80 %, in the median: {:.1} points.",
                0.05 * comparisons as f64,
                100.0 * typical
            ));
        }
        findings
    }
}

/// `+3.1 [1.2, 5.0]`, in points.
pub fn points(difference: &MeanInterval) -> String {
    match difference.half.is_finite() {
        true => format!("{:+.1} [{:+.1}, {:+.1}]", 100.0 * difference.mean, 100.0 * difference.low(), 100.0 * difference.high())
            .replace('-', "−"),
        false => format!("{:+.1}", 100.0 * difference.mean).replace('-', "−"),
    }
}

fn changes(cells: &[&Cell]) -> Vec<(String, Vec<MeanInterval>)> {
    let Some(first) = cells.iter().find_map(|cell| cell.robustness.as_ref()) else { return Vec::new() };
    let at = |name: &str, strength: usize| {
        let rate = |cell: &&Cell| {
            let measured = cell.robustness.as_ref()?;
            Some(measured.at(name, strength)?.correct as f64 / measured.problems as f64)
        };
        MeanInterval::of(&cells.iter().filter_map(rate).collect::<Vec<f64>>())
    };
    let strengths = |name: &str| (1..=crate::problems::views::changes::STRENGTHS).map(|strength| at(name, strength)).collect();
    first.change_names().into_iter().map(|name| (name.to_owned(), strengths(name))).collect()
}

fn detectors(cells: &[&Cell]) -> Vec<(Detector, MeanInterval)> {
    let of = |which: Detector| {
        let found = |cell: &&Cell| cell.detectors.iter().find(|(detector, _)| *detector == which).and_then(|(_, auc)| *auc);
        MeanInterval::of(&cells.iter().filter_map(found).collect::<Vec<f64>>())
    };
    cells[0].detectors.iter().map(|&(which, _)| (which, of(which))).collect()
}
