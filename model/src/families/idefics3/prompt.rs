//! Pictures in prompts: each `<image>` becomes the tokens that the visual tokens replace.

use super::config::Idefics3;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::image::{Patches, Tiling};

/// The text that stands for a picture in a prompt.
pub const IMAGE_TOKEN: &str = "<image>";
/// Stands before every tile and after the last one.
pub const FAKE_TOKEN_AROUND_IMAGE: &str = "<fake_token_around_image>";
/// Marks the picture as a whole, among or without tiles.
pub const GLOBAL_IMAGE_TOKEN: &str = "<global-img>";

/// Whether a token stands for a picture or marks a part of one.
pub(super) fn is_of_pictures(token: &str) -> bool {
    let is_place = || token.strip_prefix("<row_").and_then(|rest| rest.strip_suffix('>')).is_some_and(|rest| rest.contains("_col_"));
    [IMAGE_TOKEN, FAKE_TOKEN_AROUND_IMAGE, GLOBAL_IMAGE_TOKEN].contains(&token) || is_place()
}

/// Tokens that a picture takes in a prompt: `image_seq_len` `<image>` for each tile and for the whole, and the tokens
/// around them.
///
/// The tokenizer must join `\n\n` into one token, as SmolVLM's does.
pub fn image_prompt_tokens(tiling: Tiling, image_seq_len: usize) -> usize {
    let row = (image_seq_len + 2) * tiling.cols + 1;
    image_seq_len + 3 + tiling.rows * row
}

/// The text of a prompt with all the tokens of its pictures.
pub(super) fn expand(config: &ModelConfig, text: &str, pictures: &[Patches]) -> Result<String, ModelError> {
    let tilings: Vec<Tiling> = pictures.iter().map(Patches::tiling).collect();
    expand_image_tokens(text, &tilings, Idefics3::of(config).image_seq_len())
}

/// Replaces each `<image>` of `text` by the expansion of its tiling (`Idefics3Processor` of transformers):
/// per tile `<fake_token_around_image><row_r_col_c>` and `image_seq_len` × `<image>`, a `\n` after each row, then a
/// `\n` and the same with `<global-img>` for the picture as a whole, closed by `<fake_token_around_image>`.
pub fn expand_image_tokens(text: &str, tilings: &[Tiling], image_seq_len: usize) -> Result<String, ModelError> {
    let mut pieces = text.split(IMAGE_TOKEN);
    let in_text = text.matches(IMAGE_TOKEN).count();
    if in_text != tilings.len() {
        return Err(ModelError::Prompt {
            expected: format!("one {IMAGE_TOKEN} for each of {} pictures", tilings.len()),
            got: format!("{in_text}"),
        });
    }
    let mut expanded = pieces.next().unwrap_or_default().to_string();
    for (tiling, after) in tilings.iter().zip(pieces) {
        push_expansion(&mut expanded, *tiling, image_seq_len);
        expanded.push_str(after);
    }
    Ok(expanded)
}

fn push_expansion(text: &mut String, tiling: Tiling, image_seq_len: usize) {
    for row in 1..=tiling.rows {
        for col in 1..=tiling.cols {
            push_picture(text, &format!("<row_{row}_col_{col}>"), image_seq_len);
        }
        text.push('\n');
    }
    if tiling.rows > 0 {
        text.push('\n');
    }
    push_picture(text, GLOBAL_IMAGE_TOKEN, image_seq_len);
    text.push_str(FAKE_TOKEN_AROUND_IMAGE);
}

fn push_picture(text: &mut String, name: &str, image_seq_len: usize) {
    text.push_str(FAKE_TOKEN_AROUND_IMAGE);
    text.push_str(name);
    text.push_str(&IMAGE_TOKEN.repeat(image_seq_len));
}
