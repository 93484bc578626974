//! Tasks that know the truth: each draws a picture, asks a question about it, and knows the answer, the reference response,
//! and which part of a response names something *seen* and which part *follows* from it.
//!
//! - `digits` ([`digits`]): handwritten digits among clutter; sum, difference, comparison, largest.
//! - `shapes` ([`shapes`]): coloured shapes; count and compare by colour, form and place.
//! - `chart` ([`chart`]): a bar chart; read the bars, then compute.
//!
//! A response looks like `<think>I see 3, 8 and 5. 3+8=11. 11+5=16.</think>\boxed{16}` ([`response`]). Because a question can
//! be answered for *any* list of things seen ([`Question::solve`]), a wrong answer is traced to what was read wrongly or to what
//! was concluded wrongly ([`grade`]).
//!
//! Problems are unlimited and seeded: problem `index` of a split is a function of (seed, `task/train` or `task/test`, index),
//! see [`crate::random`]. Both splits draw from the same distribution; their digits come from disjoint sets of handwriting.

pub mod chart;
pub mod digits;
pub mod grade;
pub mod mnist;
pub mod response;
pub mod scene;
pub mod shapes;

use image::RgbImage;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::random::Random;
use chart::ChartConfig;
use digits::DigitsConfig;
use response::Span;
use shapes::ShapesConfig;

/// Which problems are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TaskConfig {
    /// Families to draw from, all equally likely. Default: `["digits"]`.
    pub families: Vec<Family>,
    /// Difficulty, 1 (easiest) to 5. Default 3.
    pub level: u8,
    /// Side of the square picture, pixels, 32 to 1024. Everything in it grows with it. Default 64.
    pub size: u32,
    /// Seed of all problems. Default 0.
    pub seed: u64,
    /// Digits scenes in place of the level's. Default: none, the level decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digits: Option<DigitsConfig>,
    /// Shapes scenes in place of the level's. Default: none, the level decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shapes: Option<ShapesConfig>,
    /// Charts in place of the level's. Default: none, the level decides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chart: Option<ChartConfig>,
}

impl Default for TaskConfig {
    fn default() -> Self {
        Self { families: vec![Family::Digits], level: 3, size: 64, seed: 0, digits: None, shapes: None, chart: None }
    }
}

impl TaskConfig {
    /// The names of the families.
    pub fn name(&self) -> String {
        self.families.iter().map(|family| family.name()).collect::<Vec<_>>().join("-")
    }

    /// With no optional field left out.
    pub(crate) fn with_every_key() -> TaskConfig {
        TaskConfig {
            digits: Some(DigitsConfig::default()),
            shapes: Some(ShapesConfig::default()),
            chart: Some(ChartConfig::default()),
            ..TaskConfig::default()
        }
    }
}

/// A family of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Handwritten digits.
    Digits,
    /// Coloured shapes.
    Shapes,
    /// Bar charts.
    Chart,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 3] = [Family::Digits, Family::Shapes, Family::Chart];

    /// The name used in configurations and reports.
    pub fn name(self) -> &'static str {
        match self {
            Family::Digits => "digits",
            Family::Shapes => "shapes",
            Family::Chart => "chart",
        }
    }

    /// Number of kinds of thing that can be centred in a cell; the label of an empty cell is this number.
    pub fn cell_classes(self) -> usize {
        match self {
            Family::Digits => 10,
            Family::Shapes => shapes::COLOURS.len() * shapes::Form::ALL.len(),
            Family::Chart => chart::MAX_VALUE + 1,
        }
    }
}

/// Training or evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Split {
    /// Problems to learn from.
    Train,
    /// Problems to be measured on; their handwriting is never trained on.
    Test,
}

/// A source of problems.
#[derive(Clone, Debug)]
pub struct Task {
    config: TaskConfig,
    digits: DigitsConfig,
    shapes: ShapesConfig,
    chart: ChartConfig,
}

impl Task {
    /// The task that `config` describes.
    ///
    /// # Errors
    /// The first field that is out of range: its name, what is expected and what was given.
    pub fn new(config: &TaskConfig) -> Result<Task, TaskError> {
        let error = |field: &str, problem: String| TaskError(format!("task.{field}: {problem}"));
        if config.families.is_empty() {
            return Err(error("families", "expected at least one family, got none".into()));
        }
        if !(1..=5).contains(&config.level) {
            return Err(error("level", format!("expected 1 to 5, got {}", config.level)));
        }
        if !(32..=1024).contains(&config.size) {
            return Err(error("size", format!("expected 32 to 1024 pixels, got {}", config.size)));
        }
        let task = Task {
            config: config.clone(),
            digits: config.digits.clone().unwrap_or_else(|| DigitsConfig::level(config.level)),
            shapes: config.shapes.clone().unwrap_or_else(|| ShapesConfig::level(config.level)),
            chart: config.chart.clone().unwrap_or_else(|| ChartConfig::level(config.level)),
        };
        task.digits.check().map_err(|e| error("digits", e))?;
        task.shapes.check().map_err(|e| error("shapes", e))?;
        task.chart.check().map_err(|e| error("chart", e))?;
        Ok(task)
    }

    /// The configuration this task was made from.
    pub fn config(&self) -> &TaskConfig {
        &self.config
    }

    /// What scenes of digits look like.
    pub fn digits(&self) -> &DigitsConfig {
        &self.digits
    }

    /// Problem `index` of `split`.
    pub fn problem(&self, split: Split, index: u64) -> Problem {
        let stream = match split {
            Split::Train => "task/train",
            Split::Test => "task/test",
        };
        let mut random = Random::new(self.config.seed, stream, index);
        let family = *random.choose(&self.config.families);
        let size = self.config.size as usize;
        let drawn = match family {
            Family::Digits => digits::draw(&self.digits, size, mnist::Mnist::embedded(split), &mut random),
            Family::Shapes => shapes::draw(&self.shapes, size, &mut random),
            Family::Chart => chart::draw(&self.chart, size, &mut random),
        };
        let seen: Vec<String> = drawn.objects.iter().map(|object| object.name.clone()).collect();
        let solution = drawn.question.solve(&seen).expect("a task can solve its own problem");
        Problem {
            family,
            level: self.config.level,
            split,
            index,
            picture: drawn.picture,
            text: drawn.question.text(),
            reference: response::compose(&drawn.question.listed(&seen), &solution),
            answer: solution.answer,
            question: drawn.question,
            objects: drawn.objects,
        }
    }

    /// Problems `indices` of `split`, drawn in parallel.
    pub fn problems(&self, split: Split, indices: std::ops::Range<u64>) -> Vec<Problem> {
        indices.into_par_iter().map(|index| self.problem(split, index)).collect()
    }
}

/// A task that cannot be: which field, what was expected and what was given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TaskError(String);

/// A picture with a question whose answer is known, and how.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The family it comes from.
    pub family: Family,
    /// The level it was drawn at.
    pub level: u8,
    /// The split it belongs to.
    pub split: Split,
    /// Its number in the split.
    pub index: u64,
    /// The picture, RGB, 8 bits. `[size, size, 3]`
    pub picture: RgbImage,
    /// The question in words.
    pub text: String,
    /// The answer, as it stands in the box.
    pub answer: String,
    /// The reference response, cut into spans by role.
    pub reference: Vec<Span>,
    /// The question as a function of what is seen.
    pub question: Question,
    /// What there is to see, from left to right.
    pub objects: Vec<Object>,
}

impl Problem {
    /// The reference response as text.
    pub fn reference_text(&self) -> String {
        self.reference.iter().map(|span| span.text.as_str()).collect()
    }

    /// Names of what there is to see, from left to right.
    pub fn seen(&self) -> Vec<String> {
        self.objects.iter().map(|object| object.name.clone()).collect()
    }

    /// Dense labels for a grid of visual tokens: the class of the object centred in each cell, or
    /// [`Family::cell_classes`] for none. Of two objects in a cell, the one nearer to its middle counts. `-> [rows · columns]`
    ///
    /// # Panics
    /// If `rows` or `columns` is 0.
    #[track_caller]
    pub fn cell_labels(&self, rows: usize, columns: usize) -> Vec<u8> {
        assert!(rows > 0 && columns > 0, "cell_labels: the grid is empty: [{rows}, {columns}]");
        let none = self.family.cell_classes() as u8;
        let mut labels = vec![none; rows * columns];
        let mut distances = vec![f32::INFINITY; rows * columns];
        for object in &self.objects {
            let column = object.x / self.picture.width() as f32 * columns as f32;
            let row = object.y / self.picture.height() as f32 * rows as f32;
            let (c, r) = ((column as usize).min(columns - 1), (row as usize).min(rows - 1));
            let distance = (column - c as f32 - 0.5).hypot(row - r as f32 - 0.5);
            if distance < distances[r * columns + c] {
                distances[r * columns + c] = distance;
                labels[r * columns + c] = object.class;
            }
        }
        labels
    }
}

/// Something to see in a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// How a response names it.
    pub name: String,
    /// Its class among the family's [`Family::cell_classes`].
    pub class: u8,
    /// Horizontal centre, pixels from the left edge.
    pub x: f32,
    /// Vertical centre, pixels from the top edge.
    pub y: f32,
}

/// A question, as a function of what is seen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// About digits.
    Digits(digits::Question),
    /// About shapes.
    Shapes(shapes::Question),
    /// About a bar chart.
    Chart(chart::Question),
}

impl Question {
    /// The question in words.
    pub fn text(&self) -> String {
        match self {
            Question::Digits(question) => question.text(),
            Question::Shapes(question) => question.text(),
            Question::Chart(question) => question.text(),
        }
    }

    /// How to conclude from `seen` (names from left to right), right or wrong as that may be; none if it cannot be answered.
    pub fn solve(&self, seen: &[String]) -> Option<Solution> {
        match self {
            Question::Digits(question) => question.solve(seen),
            Question::Shapes(question) => question.solve(seen),
            Question::Chart(question) => question.solve(seen),
        }
    }

    /// Whether the answer depends on the order of what is seen, not only on what it is.
    pub fn order_matters(&self) -> bool {
        match self {
            Question::Digits(question) => question.order_matters(),
            Question::Shapes(question) => question.order_matters(),
            Question::Chart(_) => false,
        }
    }

    /// Names as a response lists them: with an article where the family's English wants one.
    fn listed(&self, seen: &[String]) -> Vec<String> {
        match self {
            Question::Shapes(_) => seen.iter().map(|name| format!("a {name}")).collect(),
            _ => seen.to_vec(),
        }
    }
}

/// The way from what is seen to the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Solution {
    /// Sentences without their full stops.
    pub steps: Vec<String>,
    /// The answer.
    pub answer: String,
}

/// What a family hands back for one problem.
struct Drawn {
    picture: RgbImage,
    question: Question,
    objects: Vec<Object>,
}
