//! `digits`: handwritten digits, scaled, turned, among clutter and noise.
//!
//! The default (level 3) is three digits at 0.65 to 1.0 of their 28 pixels, up to 15° off, noise 0.08, three pieces of clutter
//! on 64 × 64, and asks for the sum. Clutter is what the cluttered-MNIST sets use: small windows cut from other digits.

use serde::{Deserialize, Serialize};

use super::mnist::{DIGIT_SIDE, Mnist};
use super::scene::{Box2, Canvas, place};
use super::{Drawn, Object, Solution};
use crate::random::Random;

/// What a scene of digits looks like and what is asked about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigitsConfig {
    /// Number of digits, 2 to 6. Default 3.
    pub count: usize,
    /// Smallest and largest size of a digit, as a factor of 28 pixels on a 64-pixel picture, 0.4 to 1.2. Default `[0.65, 1.0]`.
    pub scale: [f32; 2],
    /// Largest rotation to either side, degrees, 0 to 40 (beyond, a 6 turns into a 9). Default 15.
    pub rotation_degrees: f32,
    /// Standard deviation of the noise, 0 to 0.5; 1 is the whole range from black to white. Default 0.08.
    pub noise: f32,
    /// Number of pieces of clutter, 0 to 20. Default 3.
    pub clutter: usize,
    /// Questions to draw from, all equally likely. Default `["sum"]`.
    pub questions: Vec<Question>,
}

impl Default for DigitsConfig {
    fn default() -> Self {
        Self::level(3)
    }
}

impl DigitsConfig {
    /// The scene of difficulty `level`, 1 to 5.
    pub fn level(level: u8) -> Self {
        let scene = |count, scale, rotation_degrees, noise, clutter, questions: &[Question]| Self {
            count,
            scale,
            rotation_degrees,
            noise,
            clutter,
            questions: questions.to_vec(),
        };
        match level {
            0 | 1 => scene(2, [0.9, 1.0], 0.0, 0.0, 0, &[Question::Sum]),
            2 => scene(2, [0.75, 1.0], 8.0, 0.04, 1, &[Question::Sum]),
            3 => scene(3, [0.65, 1.0], 15.0, 0.08, 3, &[Question::Sum]),
            4 => scene(3, [0.6, 1.0], 20.0, 0.10, 5, &Question::ALL),
            _ => scene(5, [0.55, 0.8], 25.0, 0.12, 6, &Question::ALL),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let [low, high] = self.scale;
        let checks = [
            ((2..=6).contains(&self.count), "count: expected 2 to 6"),
            (0.4 <= low && low <= high && high <= 1.2, "scale: expected 0.4 ≤ smallest ≤ largest ≤ 1.2"),
            ((0.0..=40.0).contains(&self.rotation_degrees), "rotation_degrees: expected 0 to 40"),
            ((0.0..=0.5).contains(&self.noise), "noise: expected 0 to 0.5"),
            (self.clutter <= 20, "clutter: expected at most 20"),
            (!self.questions.is_empty(), "questions: expected at least one"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, message)| Err(format!("{message}, got {self:?}")))
    }
}

/// What can be asked about digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// The sum of all.
    Sum,
    /// The largest minus the smallest.
    Difference,
    /// Whether the leftmost is larger than the rightmost.
    Comparison,
    /// The largest.
    Largest,
}

impl Question {
    /// All questions.
    pub const ALL: [Question; 4] = [Question::Sum, Question::Difference, Question::Comparison, Question::Largest];

    /// The question in words.
    pub fn text(self) -> String {
        match self {
            Question::Sum => "What is the sum of the digits?",
            Question::Difference => "What is the largest digit minus the smallest digit?",
            Question::Comparison => "Is the leftmost digit larger than the rightmost digit?",
            Question::Largest => "What is the largest digit?",
        }
        .to_owned()
    }

    pub(super) fn order_matters(self) -> bool {
        self == Question::Comparison
    }

    /// How to conclude from digits; none if a name is not one digit.
    pub fn solve(self, seen: &[String]) -> Option<Solution> {
        let digits: Vec<u32> = seen.iter().map(|name| one_digit(name)).collect::<Option<_>>()?;
        let (&first, &last) = (digits.first()?, digits.last()?);
        let (smallest, largest) = (digits.iter().min()?, digits.iter().max()?);
        let (steps, answer) = match self {
            Question::Sum => sum_steps(&digits),
            Question::Difference => {
                let difference = largest - smallest;
                let equation = format!("{largest}-{smallest}={difference}");
                let steps = vec![format!("The largest is {largest}"), format!("The smallest is {smallest}"), equation];
                (steps, difference.to_string())
            }
            Question::Comparison => {
                let sign = match first.cmp(&last) {
                    std::cmp::Ordering::Less => '<',
                    std::cmp::Ordering::Equal => '=',
                    std::cmp::Ordering::Greater => '>',
                };
                (vec![format!("{first}{sign}{last}")], if first > last { "yes" } else { "no" }.to_owned())
            }
            Question::Largest => (vec![format!("The largest is {largest}")], largest.to_string()),
        };
        Some(Solution { steps, answer })
    }
}

/// `3+8=11`, `11+5=16`, and `16`. A single number is its own sum, in no step.
pub(super) fn sum_steps(numbers: &[u32]) -> (Vec<String>, String) {
    let mut total = numbers[0];
    let step = |number: &u32| {
        let before = total;
        total += number;
        format!("{before}+{number}={total}")
    };
    let steps = numbers[1..].iter().map(step).collect();
    (steps, total.to_string())
}

/// The digit that `text` is, if it is one.
pub(super) fn one_digit(text: &str) -> Option<u32> {
    let mut chars = text.chars();
    let digit = chars.next()?.to_digit(10)?;
    chars.next().is_none().then_some(digit)
}

/// Draws a scene of `side` pixels with digits from `mnist`.
pub(super) fn draw(config: &DigitsConfig, side: usize, mnist: &Mnist, random: &mut Random) -> Drawn {
    let question = *random.choose(&config.questions);
    let unit = side as f32 / 64.0;
    let (digits, places) = placed_digits(config, side, mnist, random);

    let mut canvas = Canvas::new(side, [0.0; 3]);
    for _ in 0..config.clutter {
        draw_clutter(&mut canvas, mnist, &places, unit, random);
    }
    for (digit, place) in digits.iter().zip(&places) {
        digit.ink.draw(&mut canvas, place.left, place.top, 1.0);
    }
    let mut objects: Vec<Object> = digits
        .iter()
        .zip(&places)
        .map(|(digit, place)| {
            let (x, y) = place.centre();
            Object { name: digit.label.to_string(), class: digit.label, x, y }
        })
        .collect();
    objects.sort_by(|a, b| a.x.total_cmp(&b.x));
    Drawn { picture: canvas.finish(config.noise, random), question: super::Question::Digits(question), objects }
}

struct Digit {
    label: u8,
    ink: Ink,
}

/// Digits and where they go. Where they do not fit, new ones are drawn, a little smaller each time.
fn placed_digits(config: &DigitsConfig, side: usize, mnist: &Mnist, random: &mut Random) -> (Vec<Digit>, Vec<Box2>) {
    let unit = side as f32 / 64.0;
    let min_dx = side as f32 / (4 * config.count) as f32;
    let mut shrink = 1.0;
    loop {
        let digits: Vec<Digit> = (0..config.count)
            .map(|_| {
                let label = random.below(10) as u8;
                let picture = mnist.pixels(*random.choose(mnist.showing(label)));
                let turn = random.uniform([-config.rotation_degrees, config.rotation_degrees]);
                let scale = random.uniform(config.scale) * unit * shrink;
                Digit { label, ink: Ink::turned(picture, scale, turn).trimmed() }
            })
            .collect();
        let sizes: Vec<(f32, f32)> = digits.iter().map(|d| (d.ink.width as f32, d.ink.height as f32)).collect();
        if let Some(places) = place(&sizes, side, unit, min_dx, random) {
            let places = places.iter().map(|p| Box2 { left: p.left.round(), top: p.top.round(), ..*p }).collect();
            return (digits, places);
        }
        shrink *= 0.97;
    }
}

/// A window of 7 × 7 cut from some digit, dimmed, away from the digits. Left out where no place is found.
fn draw_clutter(canvas: &mut Canvas, mnist: &Mnist, digits: &[Box2], unit: f32, random: &mut Random) {
    const WINDOW: usize = 7;
    let picture = mnist.pixels(random.below(mnist.len()));
    let (left, top) = (5 + random.below(12), 5 + random.below(12));
    let scale = random.uniform([0.7, 1.0]) * unit;
    let opacity = random.uniform([0.4, 0.7]);
    let piece = Ink::window(picture, left, top, WINDOW).scaled(scale);
    let sizes = [(piece.width as f32, piece.height as f32)];
    let clear = |area: &Box2| digits.iter().all(|digit| !area.near(digit, unit));
    let spot = (0..30).find_map(|_| place(&sizes, canvas.side(), 0.0, 0.0, random).map(|areas| areas[0]).filter(clear));
    if let Some(area) = spot {
        piece.draw(canvas, area.left.floor(), area.top.floor(), opacity);
    }
}

/// How much ink is where, 0 to 1. `[height, width]`
struct Ink {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Ink {
    /// A digit's picture, scaled and turned about its middle.
    fn turned(picture: &[u8], scale: f32, degrees: f32) -> Ink {
        let whole = Ink::window(picture, 0, 0, DIGIT_SIDE);
        let side = (DIGIT_SIDE as f32 * scale * 1.45).ceil() as usize; // 1.45 > √2: room for any turn
        let (sin, cos) = (libm::sinf(degrees.to_radians()), libm::cosf(degrees.to_radians()));
        let (middle, from) = (side as f32 / 2.0, DIGIT_SIDE as f32 / 2.0);
        let at = |i: usize| {
            let (dx, dy) = ((i % side) as f32 + 0.5 - middle, (i / side) as f32 + 0.5 - middle);
            whole.area_mean(from + (cos * dx + sin * dy) / scale, from + (cos * dy - sin * dx) / scale, scale)
        };
        Ink { width: side, height: side, values: (0..side * side).map(at).collect() }
    }

    /// A square window of a digit's picture.
    fn window(picture: &[u8], left: usize, top: usize, side: usize) -> Ink {
        let at = |i: usize| f32::from(picture[(top + i / side) * DIGIT_SIDE + left + i % side]) / 255.0;
        Ink { width: side, height: side, values: (0..side * side).map(at).collect() }
    }

    fn scaled(&self, scale: f32) -> Ink {
        let (width, height) = ((self.width as f32 * scale).ceil() as usize, (self.height as f32 * scale).ceil() as usize);
        let at = |i: usize| self.area_mean(((i % width) as f32 + 0.5) / scale, ((i / width) as f32 + 0.5) / scale, scale);
        Ink { width, height, values: (0..width * height).map(at).collect() }
    }

    /// Without the rows and columns at the edges that hold next to no ink.
    fn trimmed(&self) -> Ink {
        const TRACE: f32 = 0.15;
        let inked = |i: &usize| self.values[*i] > TRACE;
        let columns: Vec<usize> = (0..self.values.len()).filter(inked).map(|i| i % self.width).collect();
        let rows: Vec<usize> = (0..self.values.len()).filter(inked).map(|i| i / self.width).collect();
        let (Some(&left), Some(&right), Some(&top), Some(&bottom)) =
            (columns.iter().min(), columns.iter().max(), rows.first(), rows.last())
        else {
            return Ink { width: 1, height: 1, values: vec![0.0] };
        };
        let (width, height) = (right - left + 1, bottom - top + 1);
        let at = |i: usize| self.values[(top + i / width) * self.width + left + i % width];
        Ink { width, height, values: (0..width * height).map(at).collect() }
    }

    /// Bilinear samples around (`x`, `y`), averaged over the `1 / scale` pixels that one new pixel covers.
    fn area_mean(&self, x: f32, y: f32, scale: f32) -> f32 {
        let reach = 0.25 / scale.min(1.0);
        let corners = [(-reach, -reach), (reach, -reach), (-reach, reach), (reach, reach)];
        corners.iter().map(|(dx, dy)| self.bilinear(x + dx, y + dy)).sum::<f32>() / 4.0
    }

    fn bilinear(&self, x: f32, y: f32) -> f32 {
        let (left, top) = ((x - 0.5).floor(), (y - 0.5).floor());
        let (fx, fy) = (x - 0.5 - left, y - 0.5 - top);
        let at = |x: f32, y: f32| {
            let inside = x >= 0.0 && y >= 0.0 && x < self.width as f32 && y < self.height as f32;
            if inside { self.values[y as usize * self.width + x as usize] } else { 0.0 }
        };
        (at(left, top) * (1.0 - fx) + at(left + 1.0, top) * fx) * (1.0 - fy)
            + (at(left, top + 1.0) * (1.0 - fx) + at(left + 1.0, top + 1.0) * fx) * fy
    }

    /// Draws in white with the upper left corner on the pixel (`left`, `top`); what hangs over the edge is cut off.
    fn draw(&self, canvas: &mut Canvas, left: f32, top: f32, opacity: f32) {
        for (i, value) in self.values.iter().enumerate() {
            let (x, y) = (left as usize + i % self.width, top as usize + i / self.width);
            if x < canvas.side() && y < canvas.side() {
                canvas.blend(x, y, [1.0; 3], value * opacity);
            }
        }
    }
}
