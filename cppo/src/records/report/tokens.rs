//! Tokens of a response, coloured by how far the loss of the picture's information moves them, and the pictures.

use std::io::Cursor;

use image::{ImageFormat, RgbImage};

use super::html::{base64, escape};

/// A token, as it is shown.
pub(crate) struct Token<'a> {
    /// Its text.
    pub(crate) text: &'a str,
    /// Rise of its entropy without the picture's information (ΔH), in nats, if it is known.
    pub(crate) shift: Option<f32>,
    /// Whether it is in the mask.
    pub(crate) is_chosen: bool,
    /// Whether it truly names something seen.
    pub(crate) is_seen: bool,
    /// What is said where the pointer rests; may be empty.
    pub(crate) title: String,
}

/// The shift that gets the full colour, in nats: larger than all but a twentieth of the `shifts` that are more than noise.
pub(crate) fn shift_scale(shifts: impl Iterator<Item = f32>) -> f32 {
    let mut shifts: Vec<f32> = shifts.filter(|d| *d > 0.05).collect();
    shifts.sort_by(f32::total_cmp);
    shifts.get(shifts.len() * 19 / 20).copied().unwrap_or(1.0).max(0.1)
}

/// What is shown of some of the tokens.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// Entropy shifts, as colours.
    pub(crate) shifts: bool,
    /// Chosen tokens, underlined.
    pub(crate) chosen: bool,
    /// Tokens that name something seen, dotted.
    pub(crate) seen: bool,
}

/// What the colours and lines mean, of those that there are. `note` goes after what is said of chosen tokens.
pub(crate) fn legend(scale: f32, shown: Shown, note: &str) -> String {
    let shade = |shift: f32| span(&signed(shift, 1), Some(shift), "", "", scale);
    let shades: String = (0..=4).map(|i| shade(scale * i as f32 / 4.0)).collect();
    let mut parts = Vec::new();
    if shown.shifts {
        let fall = shade(-scale);
        parts.push(format!(
            "Colour is ΔH, how much less certain the token becomes when the picture loses its information (I⁻; on I⁺ it is kept), in nats: {shades}; {fall} is more certain."
        ));
    }
    if shown.chosen {
        parts.push(format!("<span class=\"token masked\">Underlined</span> are the tokens chosen as perception tokens, {note}."));
    }
    if shown.seen {
        parts.push("<span class=\"token seen\">Dotted</span> are the tokens that truly name something seen, as the task knows.".to_owned());
    }
    if parts.is_empty() { String::new() } else { format!("<p class=\"lead\">{}</p>\n", parts.join(" ")) }
}

/// The `<span>` of a token. A shift of `scale` or more gets the full colour.
pub(crate) fn token(token: &Token<'_>, scale: f32) -> String {
    let classes = [(token.is_chosen, " masked"), (token.is_seen, " seen")];
    let classes: String = classes.iter().filter(|(is, _)| *is).map(|(_, class)| *class).collect();
    span(token.text, token.shift, &classes, &token.title, scale)
}

fn span(text: &str, shift: Option<f32>, classes: &str, title: &str, scale: f32) -> String {
    let text = escape(text).replace('\n', "↵\n");
    let share = |shift: f32| (100.0 * (shift.abs() / scale).min(1.0)).round();
    let fall = if shift.is_some_and(|shift| shift < 0.0) { " fall" } else { "" };
    let style = shift.map_or_else(String::new, |shift| format!(" style=\"--shift:{}%\"", share(shift)));
    let title = if title.is_empty() { String::new() } else { format!(" title=\"{}\"", escape(title)) };
    format!("<span class=\"token{classes}{fall}\"{style}{title}>{text}</span>")
}

/// A number with its sign, as typographers set it; 0 has none.
pub(crate) fn signed(value: f32, digits: usize) -> String {
    if value == 0.0 {
        return format!("{value:.digits$}");
    }
    format!("{value:+.digits$}").replace('-', "−")
}

/// `<figure>` of a PNG file, inside the page.
pub(crate) fn figure(name: &str, caption: &str, png: &[u8]) -> String {
    let name = escape(name);
    format!("<figure><img alt=\"{name}\" src=\"data:image/png;base64,{}\"><figcaption>{name}{caption}</figcaption></figure>", base64(png))
}

/// A picture as a PNG file.
pub(crate) fn png(picture: &RgbImage) -> Vec<u8> {
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ImageFormat::Png).expect("a picture in memory can be encoded");
    file.into_inner()
}
