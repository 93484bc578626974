//! `shapes`: coloured circles, squares and triangles; count and compare by colour, form and place.

use serde::{Deserialize, Serialize};

use super::scene::{Box2, Canvas, place};
use super::{Drawn, Object, Solution};
use crate::random::Random;

/// Names and colours of shapes and bars, 0 to 1 per channel. Far enough apart to stand a change of light.
pub const COLOURS: [(&str, [f32; 3]); 4] =
    [("red", [0.90, 0.20, 0.18]), ("green", [0.20, 0.75, 0.28]), ("blue", [0.25, 0.45, 1.00]), ("yellow", [0.98, 0.88, 0.25])];

/// What a scene of shapes looks like and what is asked about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShapesConfig {
    /// Number of shapes, 2 to 8. Default 4.
    pub count: usize,
    /// Smallest and largest radius, pixels on a 64-pixel picture, 4 to 12. Default `[5.5, 8.0]`.
    pub radius: [f32; 2],
    /// Standard deviation of the noise, 0 to 0.5; 1 is the whole range. Default 0.04.
    pub noise: f32,
    /// Kinds of question to draw from, all equally likely. Default: all.
    pub questions: Vec<Kind>,
}

impl Default for ShapesConfig {
    fn default() -> Self {
        Self::level(3)
    }
}

impl ShapesConfig {
    /// The scene of difficulty `level`, 1 to 5.
    pub fn level(level: u8) -> Self {
        let scene = |count, radius, noise, questions: &[Kind]| Self { count, radius, noise, questions: questions.to_vec() };
        match level {
            0 | 1 => scene(2, [7.0, 9.0], 0.0, &[Kind::CountColour, Kind::CountForm]),
            2 => scene(3, [6.0, 8.5], 0.02, &[Kind::CountColour, Kind::CountForm, Kind::Place]),
            3 => scene(4, [5.5, 8.0], 0.04, &Kind::ALL),
            4 => scene(5, [5.0, 7.5], 0.08, &Kind::ALL),
            _ => scene(7, [4.5, 6.5], 0.10, &Kind::ALL),
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let [low, high] = self.radius;
        let checks = [
            ((2..=8).contains(&self.count), "count: expected 2 to 8"),
            (4.0 <= low && low <= high && high <= 12.0, "radius: expected 4 ≤ smallest ≤ largest ≤ 12"),
            ((0.0..=0.5).contains(&self.noise), "noise: expected 0 to 0.5"),
            (!self.questions.is_empty(), "questions: expected at least one"),
        ];
        checks.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, message)| Err(format!("{message}, got {self:?}")))
    }
}

/// Outline of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// A disc.
    Circle,
    /// A square, upright.
    Square,
    /// A triangle, point up.
    Triangle,
}

impl Form {
    /// All forms.
    pub const ALL: [Form; 3] = [Form::Circle, Form::Square, Form::Triangle];

    /// The name of one.
    pub fn name(self) -> &'static str {
        match self {
            Form::Circle => "circle",
            Form::Square => "square",
            Form::Triangle => "triangle",
        }
    }

    /// Whether a point, relative to the centre and in radii, is inside. The three have about the same area.
    fn contains(self, x: f32, y: f32) -> bool {
        match self {
            Form::Circle => x * x + y * y <= 1.0,
            Form::Square => x.abs() <= 0.88 && y.abs() <= 0.88,
            Form::Triangle => y <= 0.9 && x.abs() <= (y + 1.1) * 0.55,
        }
    }
}

/// A kind of question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// How many of a colour.
    CountColour,
    /// How many of a form.
    CountForm,
    /// Whether there are more of one form than of another.
    CompareForms,
    /// What is at the left or right end.
    Place,
    /// How many stand to the left of a given one.
    LeftOf,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 5] = [Kind::CountColour, Kind::CountForm, Kind::CompareForms, Kind::Place, Kind::LeftOf];
}

/// A question about shapes. Colours are indices into [`COLOURS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// How many of this colour.
    CountColour(usize),
    /// How many of this form.
    CountForm(Form),
    /// Whether there are more of the first form than of the second.
    MoreForms(Form, Form),
    /// The colour at the left end.
    LeftmostColour,
    /// The form at the right end.
    RightmostForm,
    /// How many stand to the left of the shape of this colour and form, which is the only one.
    LeftOf(usize, Form),
}

impl Question {
    /// The question in words.
    pub fn text(self) -> String {
        match self {
            Question::CountColour(colour) => {
                format!("How many {} shapes are there?", COLOURS[colour].0)
            }
            Question::CountForm(form) => format!("How many {}s are there?", form.name()),
            Question::MoreForms(a, b) => {
                format!("Are there more {}s than {}s?", a.name(), b.name())
            }
            Question::LeftmostColour => "What color is the leftmost shape?".to_owned(),
            Question::RightmostForm => "What form is the rightmost shape?".to_owned(),
            Question::LeftOf(colour, form) => {
                format!("How many shapes are to the left of the {} {}?", COLOURS[colour].0, form.name())
            }
        }
    }

    pub(super) fn order_matters(self) -> bool {
        matches!(self, Question::LeftmostColour | Question::RightmostForm | Question::LeftOf(..))
    }

    /// How to conclude from shapes named like `red circle`; none if a name is no shape or what is asked for is not there.
    pub fn solve(self, seen: &[String]) -> Option<Solution> {
        let shapes: Vec<(usize, Form)> = seen.iter().map(|name| parse(name)).collect::<Option<_>>()?;
        let of_form = |wanted: Form| shapes.iter().filter(|(_, form)| *form == wanted).count();
        let (steps, answer) = match self {
            Question::CountColour(wanted) => {
                let n = shapes.iter().filter(|(colour, _)| *colour == wanted).count();
                (vec![format!("In {}: {n}", COLOURS[wanted].0)], n.to_string())
            }
            Question::CountForm(form) => {
                let n = of_form(form);
                (vec![format!("Number of {}s: {n}", form.name())], n.to_string())
            }
            Question::MoreForms(a, b) => {
                let (n, m) = (of_form(a), of_form(b));
                let sign = match n.cmp(&m) {
                    std::cmp::Ordering::Less => '<',
                    std::cmp::Ordering::Equal => '=',
                    std::cmp::Ordering::Greater => '>',
                };
                let count = |form: Form, n| format!("Number of {}s: {n}", form.name());
                (vec![count(a, n), count(b, m), format!("{n}{sign}{m}")], if n > m { "yes" } else { "no" }.to_owned())
            }
            Question::LeftmostColour => (vec![format!("The leftmost is a {}", seen.first()?)], COLOURS[shapes.first()?.0].0.to_owned()),
            Question::RightmostForm => (vec![format!("The rightmost is a {}", seen.last()?)], shapes.last()?.1.name().to_owned()),
            Question::LeftOf(colour, form) => {
                let n = shapes.iter().position(|shape| *shape == (colour, form))?;
                (vec![format!("Left of it: {n}")], n.to_string())
            }
        };
        Some(Solution { steps, answer })
    }
}

/// Colour and form of `red circle`.
fn parse(name: &str) -> Option<(usize, Form)> {
    let (colour, form) = name.split_once(' ')?;
    let colour = COLOURS.iter().position(|(name, _)| *name == colour)?;
    Some((colour, *Form::ALL.iter().find(|f| f.name() == form)?))
}

/// Draws a scene of `side` pixels.
pub(super) fn draw(config: &ShapesConfig, side: usize, random: &mut Random) -> Drawn {
    let (shapes, places) = placed_shapes(config, side, random);
    let question = ask(config, &shapes, random);
    let background = random.uniform([0.02, 0.12]);
    let mut canvas = Canvas::new(side, [background; 3]);
    let mut objects = Vec::new();
    for (&(colour, form), area) in shapes.iter().zip(&places) {
        let ((x, y), radius) = (area.centre(), area.width / 2.0);
        canvas.fill(*area, COLOURS[colour].1, |px, py| form.contains((px - x) / radius, (py - y) / radius));
        let name = format!("{} {}", COLOURS[colour].0, form.name());
        objects.push(Object { name, class: (colour * Form::ALL.len() + form as usize) as u8, x, y });
    }
    Drawn { picture: canvas.finish(config.noise, random), question: super::Question::Shapes(question), objects }
}

/// Shapes from left to right and where they are. Where they do not fit, new ones are drawn, a little smaller each time.
fn placed_shapes(config: &ShapesConfig, side: usize, random: &mut Random) -> (Vec<(usize, Form)>, Vec<Box2>) {
    let unit = side as f32 / 64.0;
    let min_dx = side as f32 / (3 * config.count) as f32;
    let mut shrink = 1.0;
    loop {
        let diameters: Vec<(f32, f32)> =
            (0..config.count).map(|_| 2.0 * random.uniform(config.radius) * unit * shrink).map(|diameter| (diameter, diameter)).collect();
        if let Some(mut places) = place(&diameters, side, 1.5 * unit, min_dx, random) {
            places.sort_by(|a, b| a.centre().0.total_cmp(&b.centre().0));
            let shapes = places.iter().map(|_| (random.below(COLOURS.len()), *random.choose(&Form::ALL))).collect();
            return (shapes, places);
        }
        shrink *= 0.97;
    }
}

/// A question that these shapes can answer.
fn ask(config: &ShapesConfig, shapes: &[(usize, Form)], random: &mut Random) -> Question {
    let kind = *random.choose(&config.questions);
    // Half of the counts ask for something that is there, so that 0 is not the most frequent answer.
    let some = *random.choose(shapes);
    let present = random.chance(0.5);
    let colour = if present { some.0 } else { random.below(COLOURS.len()) };
    let form = if present { some.1 } else { *random.choose(&Form::ALL) };
    match kind {
        Kind::CountColour => Question::CountColour(colour),
        Kind::CountForm => Question::CountForm(form),
        Kind::CompareForms => {
            let others: Vec<Form> = Form::ALL.into_iter().filter(|other| *other != form).collect();
            Question::MoreForms(form, *random.choose(&others))
        }
        Kind::Place if random.chance(0.5) => Question::LeftmostColour,
        Kind::Place => Question::RightmostForm,
        Kind::LeftOf => {
            let single = |shape: &&(usize, Form)| shapes.iter().filter(|other| other == shape).count() == 1;
            let singles: Vec<&(usize, Form)> = shapes.iter().filter(single).collect();
            match singles.is_empty() {
                true => Question::CountColour(colour), // every shape has a twin: nothing to point at
                false => {
                    let (colour, form) = **random.choose(&singles);
                    Question::LeftOf(colour, form)
                }
            }
        }
    }
}
