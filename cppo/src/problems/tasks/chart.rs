//! `chart`: a bar chart with values 0 to 9; read the bars, then compute.

use serde::{Deserialize, Serialize};

use super::digits::{one_digit, sum_steps};
use super::scene::{Box2, Canvas};
use super::shapes::COLOURS;
use super::{Drawn, Object, Solution};
use crate::random::Random;

/// The highest bar.
pub const MAX_VALUE: usize = 9;

/// What a chart looks like and what is asked about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ChartConfig {
    /// Number of bars, each of its own colour, 2 to 4. Default 3.
    pub bars: usize,
    /// Which lines help to read the bars. Default `every_unit`.
    pub grid: Grid,
    /// Standard deviation of the noise, 0 to 0.5; 1 is the whole range. Default 0.02.
    pub noise: f32,
    /// Kinds of question to draw from, all equally likely. Default: all.
    pub questions: Vec<Kind>,
}

/// Lines across a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grid {
    /// One at each whole number, the one at 5 brighter.
    EveryUnit,
    /// One at 5 and one at 9.
    Sparse,
}

impl Default for ChartConfig {
    fn default() -> Self {
        Self::level(3)
    }
}

impl ChartConfig {
    /// The chart of difficulty `level`, 1 to 5.
    pub fn level(level: u8) -> Self {
        let chart = |bars, grid, noise, questions: &[Kind]| Self { bars, grid, noise, questions: questions.to_vec() };
        match level {
            0 | 1 => chart(2, Grid::EveryUnit, 0.0, &[Kind::Total]),
            2 => chart(2, Grid::EveryUnit, 0.02, &[Kind::Total, Kind::Tallest]),
            3 => chart(3, Grid::EveryUnit, 0.02, &Kind::ALL),
            4 => chart(4, Grid::EveryUnit, 0.06, &Kind::ALL),
            _ => chart(4, Grid::Sparse, 0.06, &Kind::ALL),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let checks = [
            ((2..=COLOURS.len()).contains(&self.bars), "bars: expected 2 to 4"),
            ((0.0..=0.5).contains(&self.noise), "noise: expected 0 to 0.5"),
            (!self.questions.is_empty(), "questions: expected at least one"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, message)| Err(format!("{message}, got {self:?}")))
    }
}

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The sum of all bars.
    Total,
    /// The sum of two bars.
    Pair,
    /// The highest minus the lowest.
    Spread,
    /// The colour of the highest.
    Tallest,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 4] = [Kind::Total, Kind::Pair, Kind::Spread, Kind::Tallest];
}

/// A question about a chart. Colours are indices into [`COLOURS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The sum of all bars.
    Total,
    /// The sum of the bars of these two colours.
    Pair(usize, usize),
    /// The highest minus the lowest.
    Spread,
    /// The colour of the highest bar, of which there is one.
    Tallest,
}

impl Question {
    /// The question in words.
    pub fn text(self) -> String {
        match self {
            Question::Total => "What is the sum of all bars?".to_owned(),
            Question::Pair(a, b) => {
                format!("What is the {} bar plus the {} bar?", COLOURS[a].0, COLOURS[b].0)
            }
            Question::Spread => "What is the tallest bar minus the shortest bar?".to_owned(),
            Question::Tallest => "What color is the tallest bar?".to_owned(),
        }
    }

    /// How to conclude from bars named like `red 4`; none if a name is no bar or a bar asked for is not there.
    pub fn solve(self, seen: &[String]) -> Option<Solution> {
        let bars: Vec<(usize, u32)> = seen.iter().map(|name| parse(name)).collect::<Option<_>>()?;
        let values: Vec<u32> = bars.iter().map(|bar| bar.1).collect();
        let (&smallest, &largest) = (values.iter().min()?, values.iter().max()?);
        let (steps, answer) = match self {
            Question::Total => sum_steps(&values),
            Question::Pair(a, b) => {
                let value = |wanted| bars.iter().find(|(colour, _)| *colour == wanted).map(|bar| bar.1);
                sum_steps(&[value(a)?, value(b)?])
            }
            Question::Spread => {
                let difference = largest - smallest;
                let equation = format!("{largest}-{smallest}={difference}");
                let steps = vec![format!("The largest is {largest}"), format!("The smallest is {smallest}"), equation];
                (steps, difference.to_string())
            }
            Question::Tallest => {
                let (colour, _) = bars.iter().find(|bar| bar.1 == largest)?;
                (vec![format!("The largest is {largest}")], COLOURS[*colour].0.to_owned())
            }
        };
        Some(Solution { steps, answer })
    }
}

/// Colour and value of `red 4`.
fn parse(name: &str) -> Option<(usize, u32)> {
    let (colour, value) = name.split_once(' ')?;
    Some((COLOURS.iter().position(|(name, _)| *name == colour)?, one_digit(value)?))
}

/// Draws a chart of `side` pixels.
pub(super) fn draw(config: &ChartConfig, side: usize, random: &mut Random) -> Drawn {
    let kind = *random.choose(&config.questions);
    let mut colours: Vec<usize> = (0..COLOURS.len()).collect();
    random.shuffle(&mut colours);
    colours.truncate(config.bars);
    let values = loop {
        let values: Vec<usize> = (0..config.bars).map(|_| 1 + random.below(MAX_VALUE)).collect();
        let highest = values.iter().max();
        if kind != Kind::Tallest || values.iter().filter(|value| Some(*value) == highest).count() == 1 {
            break values;
        }
    };
    let question = match kind {
        Kind::Total => Question::Total,
        Kind::Pair => {
            let first = random.below(config.bars);
            let second = (first + 1 + random.below(config.bars - 1)) % config.bars;
            Question::Pair(colours[first], colours[second])
        }
        Kind::Spread => Question::Spread,
        Kind::Tallest => Question::Tallest,
    };
    let (canvas, objects) = draw_bars(config, side, &colours, &values);
    Drawn { picture: canvas.finish(config.noise, random), question: super::Question::Chart(question), objects }
}

/// Axis, grid and bars. A unit of value is 6 pixels of 64.
fn draw_bars(config: &ChartConfig, side: usize, colours: &[usize], values: &[usize]) -> (Canvas, Vec<Object>) {
    let unit = side as f32 / 64.0;
    let (left, base, step) = (8.0 * unit, 60.0 * unit, 6.0 * unit);
    let mut canvas = Canvas::new(side, [0.05; 3]);
    let level = |value: usize| (base - value as f32 * step).round();
    let line = |value: usize, height: f32| Box2 {
        left: left.round(),
        top: level(value),
        width: side as f32 - left - 2.0 * unit,
        height: height.round().max(1.0),
    };
    for value in 1..=MAX_VALUE {
        match (config.grid, value) {
            (_, 5) | (Grid::Sparse, MAX_VALUE) => canvas.rectangle(line(value, unit), [0.55; 3]),
            (Grid::EveryUnit, _) => canvas.rectangle(line(value, unit), [0.22; 3]),
            (Grid::Sparse, _) => {}
        }
    }
    let slot = (side as f32 - left - 2.0 * unit) / values.len() as f32;
    let mut objects = Vec::new();
    for (place, (&colour, &value)) in colours.iter().zip(values).enumerate() {
        let (top, width) = (level(value), (slot * 0.6).round());
        let bar = Box2 { left: (left + (place as f32 + 0.2) * slot).round(), top, width, height: level(0) - top };
        canvas.rectangle(bar, COLOURS[colour].1);
        let name = format!("{} {value}", COLOURS[colour].0);
        objects.push(Object { name, class: value as u8, x: bar.left + width / 2.0, y: top });
    }
    canvas.rectangle(line(0, unit), [0.8; 3]);
    for value in [0, 5, 9] {
        let dot = unit.round().max(1.0);
        canvas.numeral(value, (2.0 * unit).round(), level(value) - 2.0 * dot, dot, [0.8; 3]);
    }
    (canvas, objects)
}
