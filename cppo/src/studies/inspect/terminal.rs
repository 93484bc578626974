//! Inspections in a terminal: small pictures and coloured tokens, or a plain table.

use std::io::{self, Write};

use image::imageops::{FilterType, resize};
use image::{Rgb, RgbImage};

use super::{InspectedToken, Inspection};
use crate::records::report::tokens::shift_scale;
use crate::terminal::shown;

/// How much a terminal can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// 256 colours, by ANSI escapes.
    Colour,
    /// Text only, one row per token.
    Plain,
}

/// Prints inspections and what the marks mean.
///
/// # Errors
/// Those of `out`.
pub fn print(inspections: &[Inspection], style: Style, out: &mut dyn Write) -> io::Result<()> {
    let scale = shift_scale(inspections.iter().flat_map(|inspection| &inspection.tokens).map(|token| token.delta_entropy));
    for inspection in inspections {
        heading(inspection, out)?;
        match style {
            Style::Colour => {
                pictures(inspection, out)?;
                paragraph(&inspection.tokens, scale, out)?;
            }
            Style::Plain => table(&inspection.tokens, out)?,
        }
        writeln!(out)?;
    }
    match style {
        Style::Colour => legend(scale, out),
        Style::Plain => writeln!(out, "nats; ΔH = H⁻ − H; *: chosen and truly seen, ^: chosen only, o: truly seen only"),
    }
}

fn heading(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "problem {}: {}", inspection.prompt_id, printable(&inspection.question))?;
    if let Some(answer) = &inspection.answer {
        let verdict = if inspection.correct == Some(true) { "right" } else { "wrong" };
        write!(out, "   answer {}, response {verdict}", printable(answer))?;
    }
    writeln!(out)?;
    for views in &inspection.views {
        writeln!(out, "I⁺ by {}, I⁻ by {}", views.preserving.name(), views.removing.name())?;
    }
    Ok(())
}

fn table(tokens: &[InspectedToken], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{:>7}  {:>7} {:>7} {:>7}  {:>6} {:>7} {:>7}    text", "log p", "H", "H⁻", "ΔH", "s", "D⁻ k3", "D⁻ all")?;
    for token in tokens {
        writeln!(
            out,
            "{:>7.3}  {:>7.3} {:>7.3} {:>+7.3}  {:>6.3} {:>7.3} {:>7.3}  {} {:?}",
            token.log_prob,
            token.entropy,
            token.entropy_removed,
            token.delta_entropy,
            token.score,
            token.k3,
            token.full_kl,
            mark(token),
            token.text
        )?;
    }
    Ok(())
}

/// What stands under a token, or beside it.
fn mark(token: &InspectedToken) -> char {
    match (token.chosen, token.is_perception()) {
        (true, true) => '*',
        (true, false) => '^',
        (false, true) => 'o',
        (false, false) => ' ',
    }
}

/// Tokens on lines of at most this many characters, their marks underneath.
const LINE: usize = 96;

fn paragraph(tokens: &[InspectedToken], scale: f32, out: &mut dyn Write) -> io::Result<()> {
    let texts: Vec<String> = tokens.iter().map(|token| printable(&token.text)).collect();
    let mut start = 0;
    while start < tokens.len() {
        let mut width = 0;
        let fits = texts[start..].iter().take_while(|text| {
            width += text.chars().count();
            width <= LINE
        });
        let end = start + fits.count().max(1); // a token longer than the line has one to itself
        let marks: String = (start..end).map(|t| mark(&tokens[t]).to_string().repeat(texts[t].chars().count())).collect();
        for t in start..end {
            write!(out, "{}", painted(&texts[t], tokens[t].delta_entropy / scale, tokens[t].chosen))?;
        }
        writeln!(out, "\n{}", marks.trim_end())?;
        start = end;
    }
    Ok(())
}

/// Text on a colour for a share of the full shift, −1 to 1; underlined if chosen.
fn painted(text: &str, share: f32, chosen: bool) -> String {
    // of the 256 colours: from pale to full, amber for less certain, blue for more
    const LESS_CERTAIN: [u8; 5] = [230, 229, 222, 215, 208];
    const MORE_CERTAIN: [u8; 5] = [195, 153, 117, 75, 33];
    let shades = if share > 0.0 { LESS_CERTAIN } else { MORE_CERTAIN };
    let level = (share.abs().min(1.0) * shades.len() as f32).round() as usize;
    let colour = level.checked_sub(1).map(|level| format!("48;5;{};38;5;16", shades[level]));
    let codes: Vec<String> = colour.into_iter().chain(chosen.then(|| "4".to_owned())).collect();
    match codes.as_slice() {
        [] => text.to_owned(),
        codes => format!("\x1b[{}m{text}\x1b[0m", codes.join(";")),
    }
}

fn legend(scale: f32, out: &mut dyn Write) -> io::Result<()> {
    let swatches: String = [-1.0, 0.0, 0.25, 0.5, 1.0].map(|share| painted(&format!(" {:+.1} ", share * scale), share, false)).concat();
    writeln!(out, "ΔH = H⁻ − H, nats: {swatches}   {} chosen as perception token", painted("underlined", 0.0, true))?;
    writeln!(out, "*: chosen and truly seen, ^: chosen only, o: truly seen only")
}

/// Pixels of a picture's longer side: two of them to a character.
const SIDE: u32 = 32;

/// I, I⁺ and I⁻ beside each other, in half blocks.
fn pictures(inspection: &Inspection, out: &mut dyn Write) -> io::Result<()> {
    for (picture, views) in inspection.pictures.iter().zip(&inspection.views) {
        let small = [picture, &views.preserved, &views.removed].map(shrunk);
        for y in (0..small[0].height()).step_by(2) {
            let line: Vec<String> = small.iter().map(|picture| half_blocks(picture, y)).collect();
            writeln!(out, "{}", line.join("  "))?;
        }
    }
    Ok(())
}

fn shrunk(picture: &RgbImage) -> RgbImage {
    let longest = picture.width().max(picture.height());
    let side = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longest)).max(2) as u32 & !1;
    resize(picture, side(picture.width()), side(picture.height()), FilterType::Triangle)
}

/// Rows `y` and `y + 1`, above each other in one line.
fn half_blocks(picture: &RgbImage, y: u32) -> String {
    let cell = |x: u32| format!("\x1b[38;5;{};48;5;{}m▀", nearest(picture.get_pixel(x, y)), nearest(picture.get_pixel(x, y + 1)));
    (0..picture.width()).map(cell).collect::<String>() + "\x1b[0m"
}

/// The most similar of the 256 colours: a grey (232 to 255) where the channels are alike, else of the 6 × 6 × 6 cube.
fn nearest(&Rgb(pixel): &Rgb<u8>) -> u8 {
    let (least, most) = (pixel.iter().min().copied().unwrap_or(0), pixel.iter().max().copied().unwrap_or(0));
    if most - least < 24 {
        return 232 + (u16::from(least / 2 + most / 2) * 23 / 255) as u8;
    }
    // the cube's levels are 0, 95, 135, 175, 215, 255
    let [r, g, b] = pixel.map(|value| if value < 48 { 0 } else { (value.max(75) - 35) / 40 });
    16 + 36 * r + 6 * g + b
}

/// Text that cannot command the terminal, on one line.
fn printable(text: &str) -> String {
    shown(&text.replace('\n', "↵"))
}
