//! Sampled responses: their tokens coloured by entropy shift, the pictures beside them.

use std::path::{Component, Path};

use super::html::escape;
use super::tokens::{Shown, Token, figure, legend, shift_scale, signed, token};
use crate::records::files;
use crate::records::run::{Sample, TokenRole};

/// What is said of chosen tokens.
const NOTE: &str = "on which the contrastive loss acts; only responses better than their group's mean have any";

pub(super) fn section(samples: &[Sample], folder: &Path) -> String {
    let Some(last) = samples.last() else { return String::new() };
    let scale = shift_scale(samples.iter().filter_map(|sample| sample.delta_entropy.as_ref()).flatten().copied());
    let mut steps = String::new();
    let by_step: Vec<&[Sample]> = samples.chunk_by(|a, b| a.step == b.step).collect();
    // what is most interesting first: where the run ended
    for of_step in by_step.iter().rev() {
        let step = of_step[0].step;
        let right = of_step.iter().filter(|sample| sample.accuracy > 0.0).count();
        let groups: String = of_step.chunk_by(|a, b| a.prompt_id == b.prompt_id).map(|of_prompt| group(of_prompt, folder, scale)).collect();
        let open = if step == last.step { " open" } else { "" };
        steps += &format!(
            "<details{open}>\n<summary>Step {step} <span class=\"note\">{right} of {} right</span></summary>\n{groups}</details>\n",
            of_step.len()
        );
    }
    let shown = Shown {
        shifts: samples.iter().any(|sample| sample.delta_entropy.is_some()),
        chosen: samples.iter().filter_map(|sample| sample.mask.as_ref()).flatten().any(|chosen| *chosen),
        seen: samples.iter().filter_map(|sample| sample.roles.as_ref()).flatten().any(|role| *role == TokenRole::Perception),
    };
    format!("<section id=\"samples\">\n<h2>Samples</h2>\n{}{steps}</section>\n", legend(scale, shown, NOTE))
}

fn group(responses: &[Sample], folder: &Path, scale: f32) -> String {
    let first = &responses[0];
    let mut pictures = String::new();
    let original = Some(&first.image).filter(|path| !path.is_empty());
    let more = first.more_images.iter().enumerate().map(|(number, path)| (format!("picture {}", number + 2), Some(path)));
    let views = [("kept I⁺", first.image_preserved.as_ref()), ("removed I⁻", first.image_removed.as_ref())];
    let all = [("picture".to_owned(), original)].into_iter().chain(more).chain(views.map(|(name, path)| (name.to_owned(), path)));
    for (name, path) in all {
        pictures += &path.map_or_else(String::new, |path| match read_inside(folder, path) {
            Ok(png) => figure(&name, "", &png),
            Err(problem) => format!("<p class=\"note\">{name}: {} {}</p>", escape(path), escape(&problem)),
        });
    }
    let rows: String = responses.iter().map(|response| row(response, scale)).collect();
    format!(
        "<article class=\"group\">\n<div class=\"pictures\">{pictures}</div>\n<div class=\"responses\">\n\
         <p class=\"question\">{} <span class=\"note\">answer {}</span></p>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\" class=\"number\">Reward</th>\
         <th scope=\"col\" class=\"number\">Advantage</th><th scope=\"col\">Response</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</div>\n</article>\n",
        escape(&first.prompt),
        escape(&first.answer)
    )
}

/// A file of the run's folder. One that is missing costs this picture, not the report; names that lead out of the folder are not followed.
fn read_inside(folder: &Path, name: &str) -> Result<Vec<u8>, String> {
    let is_plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return Err("is not a file of this run".to_owned());
    }
    files::read(&folder.join(name)).map_err(|error| error.to_string())
}

fn row(sample: &Sample, scale: f32) -> String {
    let verdict = if sample.accuracy > 0.0 { "right" } else { "wrong" };
    let tokens: String = (0..sample.tokens.len()).map(|t| token(&shown(sample, t), scale)).collect();
    format!(
        "<tr class=\"{verdict}\"><td class=\"number\"><span class=\"verdict\" title=\"{verdict}\"></span>{}</td><td class=\"number\">{}</td><td class=\"response\">{tokens}{}</td></tr>\n",
        format_args!("{:.2}", sample.reward),
        signed(sample.advantage, 2),
        own_rewards(sample),
    )
}

/// What the rewards of one's own are made of, under the response.
fn own_rewards(sample: &Sample) -> String {
    let parts: Vec<String> = sample.rewards.iter().map(|(name, value)| format!("{} {value:.2}", escape(name))).collect();
    if parts.is_empty() { String::new() } else { format!("<div class=\"note\">{}</div>", parts.join(" · ")) }
}

fn shown(sample: &Sample, t: usize) -> Token<'_> {
    let shift = sample.delta_entropy.as_ref().and_then(|shifts| shifts.get(t)).copied();
    Token {
        text: &sample.tokens[t],
        shift,
        is_chosen: sample.mask.as_ref().is_some_and(|mask| mask.get(t) == Some(&true)),
        is_seen: sample.roles.as_ref().is_some_and(|roles| roles.get(t) == Some(&TokenRole::Perception)),
        title: shift.map_or_else(String::new, |shift| format!("ΔH {}", signed(shift, 3))),
    }
}
