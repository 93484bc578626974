//! Sampled responses: their tokens coloured by entropy shift, the pictures beside them.

use std::path::Path;

use super::html::{base64, escape};
use crate::run::{RunError, Sample, TokenRole};

pub(super) fn section(samples: &[Sample], folder: &Path) -> Result<String, RunError> {
    let Some(last) = samples.last() else { return Ok(String::new()) };
    let scale = shift_scale(samples);
    let mut steps = String::new();
    let by_step: Vec<&[Sample]> = samples.chunk_by(|a, b| a.step == b.step).collect();
    // what is most interesting first: where the run ended
    for of_step in by_step.iter().rev() {
        let step = of_step[0].step;
        let right = of_step.iter().filter(|sample| sample.accuracy > 0.0).count();
        let groups: String = of_step
            .chunk_by(|a, b| a.prompt_id == b.prompt_id)
            .map(|of_prompt| group(of_prompt, folder, scale))
            .collect::<Result<Vec<_>, _>>()?
            .concat();
        let open = if step == last.step { " open" } else { "" };
        steps += &format!(
            "<details{open}>\n<summary>Step {step} <span class=\"note\">{right} of {} right</span></summary>\n{groups}</details>\n",
            of_step.len()
        );
    }
    Ok(format!("<section id=\"samples\">\n<h2>Samples</h2>\n{}{steps}</section>\n", legend(scale)))
}

/// ΔH that gets the full colour, nats: larger than all but a twentieth of the positive shifts in masks.
fn shift_scale(samples: &[Sample]) -> f32 {
    let mut shifts: Vec<f32> =
        samples.iter().filter_map(|sample| sample.delta_entropy.as_ref()).flatten().copied().filter(|d| *d > 0.05).collect();
    shifts.sort_by(f32::total_cmp);
    shifts.get(shifts.len() * 19 / 20).copied().unwrap_or(1.0).max(0.1)
}

fn legend(scale: f32) -> String {
    let shades: String =
        (0..=4).map(|i| format!("<span class=\"token\" style=\"--shift:{}%\">{:.1}</span>", 25 * i, scale * i as f32 / 4.0)).collect();
    format!(
        "<p class=\"lead\">Colour is ΔH, how much less certain the token becomes when the picture loses its information, in nats: {shades}. \
         <span class=\"token masked\">Underlined</span> are the tokens chosen as perception tokens, on which the contrastive loss acts; \
         only responses better than their group's mean have any. \
         <span class=\"token seen\">Dotted</span> are the tokens that truly name something seen, as the task knows.</p>\n"
    )
}

fn group(responses: &[Sample], folder: &Path, scale: f32) -> Result<String, RunError> {
    let first = &responses[0];
    let mut pictures = String::new();
    for (name, path) in [("I", Some(&first.image)), ("I⁺", first.image_preserved.as_ref()), ("I⁻", first.image_removed.as_ref())] {
        if let Some(path) = path {
            pictures +=
                &format!("<figure><img alt=\"{name}\" src=\"{}\"><figcaption>{name}</figcaption></figure>", data_url(&folder.join(path))?);
        }
    }
    let rows: String = responses.iter().map(|response| row(response, scale)).collect();
    Ok(format!(
        "<article class=\"group\">\n<div class=\"pictures\">{pictures}</div>\n<div class=\"responses\">\n\
         <p class=\"question\">{} <span class=\"note\">answer {}</span></p>\n<div class=\"scroll\"><table>\n<thead><tr><th scope=\"col\" class=\"number\">r</th>\
         <th scope=\"col\" class=\"number\">Â</th><th scope=\"col\">Response</th></tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n</div>\n</article>\n",
        escape(&first.prompt),
        escape(&first.answer)
    ))
}

fn row(sample: &Sample, scale: f32) -> String {
    let verdict = if sample.accuracy > 0.0 { "right" } else { "wrong" };
    let tokens: String = (0..sample.tokens.len()).map(|t| token(sample, t, scale)).collect();
    format!(
        "<tr class=\"{verdict}\"><td class=\"number\"><span class=\"verdict\" title=\"{verdict}\"></span>{}</td><td class=\"number\">{}</td><td class=\"response\">{tokens}</td></tr>\n",
        format_args!("{:.2}", sample.reward),
        format!("{:+.2}", sample.advantage).replace('-', "−"),
    )
}

fn token(sample: &Sample, t: usize, scale: f32) -> String {
    let text = escape(&sample.tokens[t]).replace('\n', "↵\n");
    let mut classes = vec!["token"];
    if sample.mask.as_ref().is_some_and(|mask| mask.get(t) == Some(&true)) {
        classes.push("masked");
    }
    if sample.roles.as_ref().is_some_and(|roles| roles.get(t) == Some(&TokenRole::Perception)) {
        classes.push("seen");
    }
    let shift = sample.delta_entropy.as_ref().and_then(|shifts| shifts.get(t));
    let colour = shift.map_or_else(String::new, |shift| {
        let share = (100.0 * (shift / scale).clamp(0.0, 1.0)).round();
        format!(" style=\"--shift:{share}%\" title=\"ΔH {}\"", format!("{shift:+.3}").replace('-', "−"))
    });
    format!("<span class=\"{}\"{colour}>{text}</span>", classes.join(" "))
}

fn data_url(path: &Path) -> Result<String, RunError> {
    let bytes = std::fs::read(path).map_err(|source| RunError::Io { path: path.to_owned(), source })?;
    Ok(format!("data:image/png;base64,{}", base64(&bytes)))
}
