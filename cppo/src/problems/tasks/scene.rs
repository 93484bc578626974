//! Drawing: a canvas, things placed on it without overlap, anti-aliased figures, small numerals, noise.

use image::{Rgb, RgbImage};

use crate::random::Random;

/// A picture that is being drawn. Channels are 0 to 1 until [`Canvas::finish`].
#[derive(Clone, Debug)]
pub struct Canvas {
    side: usize,
    /// `[side, side, 3]`
    pixels: Vec<[f32; 3]>,
}

impl Canvas {
    /// A square canvas of `side` pixels filled with `colour`.
    pub fn new(side: usize, colour: [f32; 3]) -> Self {
        Self { side, pixels: vec![colour; side * side] }
    }

    /// Side in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Paints `colour` wherever `inside` holds, with 4 × 4 samples per pixel. `inside` gets coordinates in pixels.
    pub fn fill(&mut self, area: Box2, colour: [f32; 3], inside: impl Fn(f32, f32) -> bool) {
        const SAMPLES: usize = 4;
        let clip = |v: f32| v.clamp(0.0, self.side as f32) as usize;
        let (left, top) = (clip(area.left.floor()), clip(area.top.floor()));
        let (right, bottom) = (clip(area.right().ceil()), clip(area.bottom().ceil()));
        for y in top..bottom {
            for x in left..right {
                let offset = |i: usize| (i as f32 + 0.5) / SAMPLES as f32;
                let hits =
                    (0..SAMPLES * SAMPLES).filter(|i| inside(x as f32 + offset(i % SAMPLES), y as f32 + offset(i / SAMPLES))).count();
                self.blend(x, y, colour, hits as f32 / (SAMPLES * SAMPLES) as f32);
            }
        }
    }

    /// Mixes `colour` into a pixel: `opacity` 0 leaves it, 1 replaces it.
    pub fn blend(&mut self, x: usize, y: usize, colour: [f32; 3], opacity: f32) {
        let pixel = &mut self.pixels[y * self.side + x];
        for (channel, target) in pixel.iter_mut().zip(colour) {
            *channel += (target - *channel) * opacity;
        }
    }

    /// Paints a rectangle.
    pub fn rectangle(&mut self, area: Box2, colour: [f32; 3]) {
        self.fill(area, colour, |x, y| (area.left..area.right()).contains(&x) && (area.top..area.bottom()).contains(&y));
    }

    /// Paints the numeral `digit`, 3 × 5 dots of `dot` pixels, with its upper left corner at (`left`, `top`).
    pub fn numeral(&mut self, digit: usize, left: f32, top: f32, dot: f32, colour: [f32; 3]) {
        for (row, bits) in NUMERALS[digit].iter().enumerate() {
            for column in (0..3).filter(|column| bits >> (2 - column) & 1 == 1) {
                let area = Box2 { left: left + column as f32 * dot, top: top + row as f32 * dot, width: dot, height: dot };
                self.rectangle(area, colour);
            }
        }
    }

    /// The picture, after Gaussian noise of standard deviation `noise` (1 is the whole range), equal in all channels.
    pub fn finish(self, noise: f32, random: &mut Random) -> RgbImage {
        let mut picture = RgbImage::new(self.side as u32, self.side as u32);
        for (pixel, colour) in picture.pixels_mut().zip(self.pixels) {
            let shift = if noise > 0.0 { noise * random.normal() } else { 0.0 };
            *pixel = Rgb(colour.map(|channel| ((channel + shift).clamp(0.0, 1.0) * 255.0).round() as u8));
        }
        picture
    }
}

/// A rectangle, in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Box2 {
    /// Left edge.
    pub left: f32,
    /// Upper edge.
    pub top: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

impl Box2 {
    /// Right edge.
    pub fn right(&self) -> f32 {
        self.left + self.width
    }

    /// Lower edge.
    pub fn bottom(&self) -> f32 {
        self.top + self.height
    }

    /// Centre, (x, y).
    pub fn centre(&self) -> (f32, f32) {
        (self.left + self.width / 2.0, self.top + self.height / 2.0)
    }

    /// Whether the two are nearer to each other than `gap`.
    pub fn near(&self, other: &Box2, gap: f32) -> bool {
        self.left < other.right() + gap
            && other.left < self.right() + gap
            && self.top < other.bottom() + gap
            && other.top < self.bottom() + gap
    }
}

/// Places boxes of the given (width, height) at random, `gap` apart and from the edges, so that their centres differ by
/// `min_dx` horizontally: "from left to right" must have one meaning. None if they do not fit in a fair number of trials.
pub fn place(sizes: &[(f32, f32)], side: usize, gap: f32, min_dx: f32, random: &mut Random) -> Option<Vec<Box2>> {
    let mut placed: Vec<Box2> = Vec::new();
    for &(width, height) in sizes {
        let free = (side as f32 - 2.0 * gap - width, side as f32 - 2.0 * gap - height);
        if free.0 < 0.0 || free.1 < 0.0 {
            return None;
        }
        let found = (0..60).find_map(|_| {
            let area = Box2 { left: gap + random.uniform([0.0, free.0]), top: gap + random.uniform([0.0, free.1]), width, height };
            let clear = |other: &Box2| !area.near(other, gap) && (area.centre().0 - other.centre().0).abs() >= min_dx;
            placed.iter().all(clear).then_some(area)
        })?;
        placed.push(found);
    }
    Some(placed)
}

/// Rows of 3 dots, the leftmost is the highest bit.
const NUMERALS: [[u8; 5]; 10] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b010, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
];
