//! Inspections as one HTML page: the three views beside each other, the response coloured by ΔH, every number in a table.

use image::RgbImage;
use image::imageops::thumbnail;

use super::{InspectedToken, Inspection};
use crate::records::report::html::{escape, facts, page as whole_page};
use crate::records::report::tokens::{Shown, Token, figure, legend, png, shift_scale, signed, token};

/// Longest side of a picture on the page, pixels; larger ones are made smaller.
const LONGEST_SIDE: u32 = 640;

/// What is said of chosen tokens.
const NOTE: &str = "whatever the advantage: in training only responses better than their group's mean have any";

/// A page that needs nothing else. `about` are terms and what they are here: model, task, and so on.
pub fn page(inspections: &[Inspection], about: &[(&str, String)]) -> String {
    let scale = shift_scale(inspections.iter().flat_map(|inspection| &inspection.tokens).map(|token| token.delta_entropy));
    let articles: String = inspections.iter().map(|inspection| article(inspection, scale)).collect();
    let body = format!(
        "<header>\n<h1>What the model sees</h1>\n{}</header>\n{}{articles}",
        facts(about),
        legend(scale, Shown { shifts: true, chosen: true, seen: true }, NOTE)
    );
    whole_page("Inspection", &body)
}

fn article(inspection: &Inspection, scale: f32) -> String {
    let mut pictures = String::new();
    for (picture, views) in inspection.pictures.iter().zip(&inspection.views) {
        let how = |name: &str| format!("<br><span class=\"note\">{}</span>", name.replace('_', " "));
        pictures += &figure("I", &how("original"), &file(picture));
        pictures += &figure("I⁺", &how(views.preserving.name()), &file(&views.preserved));
        pictures += &figure("I⁻", &how(views.removing.name()), &file(&views.removed));
    }
    let (class, verdict) = match inspection.correct {
        Some(true) => (" right", "<span class=\"verdict\" title=\"right\"></span>"),
        Some(false) => (" wrong", "<span class=\"verdict\" title=\"wrong\"></span>"),
        None => ("", ""),
    };
    let answer =
        inspection.answer.as_ref().map_or_else(String::new, |answer| format!("<span class=\"note\">answer {}</span>", escape(answer)));
    let response: String = inspection.tokens.iter().map(|of| token(&shown(of), scale)).collect();
    let rows: String = inspection.tokens.iter().map(|of| row(of, scale)).collect();
    let header: String = ["log p", "H", "H⁺", "H⁻", "ΔH", "s", "D⁻ (k3)", "D⁻ (all)"]
        .iter()
        .map(|name| format!("<th scope=\"col\" class=\"number\">{name}</th>"))
        .collect();
    format!(
        "<article class=\"group inspection{class}\">\n<div class=\"pictures\">{pictures}</div>\n<div class=\"responses\">\n\
         <p class=\"question\">{} {answer}</p>\n<p class=\"response\">{verdict}{response}</p>\n\
         <details>\n<summary>Numbers</summary>\n<div class=\"scroll\"><table class=\"tokens\">\n<thead><tr><th scope=\"col\">Token</th>{header}\
         </tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</details>\n</div>\n</article>\n",
        escape(&inspection.question)
    )
}

fn row(of: &InspectedToken, scale: f32) -> String {
    let cell = |text: String| format!("<td class=\"number\">{text}</td>");
    let positive = [of.entropy, of.entropy_preserved, of.entropy_removed].map(|value| cell(format!("{value:.3}"))).concat();
    format!(
        "<tr><td class=\"response\">{}</td>{}{positive}{}{}{}{}</tr>\n",
        token(&Token { title: String::new(), ..shown(of) }, scale),
        cell(signed(of.log_prob, 3)),
        cell(signed(of.delta_entropy, 3)),
        cell(format!("{:.3}", of.score)),
        cell(format!("{:.3}", of.k3)),
        cell(format!("{:.3}", of.full_kl)),
    )
}

fn shown(of: &InspectedToken) -> Token<'_> {
    Token {
        text: &of.text,
        shift: Some(of.delta_entropy),
        is_chosen: of.chosen,
        is_seen: of.is_perception(),
        title: format!(
            "H {:.3}   H⁻ {:.3}   ΔH {}   s {:.3}   D⁻ {:.3}",
            of.entropy,
            of.entropy_removed,
            signed(of.delta_entropy, 3),
            of.score,
            of.k3
        ),
    }
}

fn file(picture: &RgbImage) -> Vec<u8> {
    let longest = picture.width().max(picture.height());
    if longest <= LONGEST_SIDE {
        return png(picture);
    }
    let shrunk = |side: u32| (u64::from(side) * u64::from(LONGEST_SIDE) / u64::from(longest)).max(1) as u32;
    png(&thumbnail(picture, shrunk(picture.width()), shrunk(picture.height())))
}
