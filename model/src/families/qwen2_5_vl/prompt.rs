//! Pictures in prompts: the one token that stands for a picture is repeated for each of its visual tokens.

use super::config::Qwen25Vl;
use crate::config::ModelConfig;
use crate::error::ModelError;
use crate::families::mrope::visual_grids;
use crate::image::Patches;

/// The text that stands for a picture in a prompt.
pub(super) const IMAGE_TOKEN: &str = "<|image_pad|>";

/// The text of a prompt with all the tokens of its pictures (`Qwen2_5_VLProcessor` of transformers).
pub(super) fn expand(config: &ModelConfig, text: &str, pictures: &[Patches]) -> Result<String, ModelError> {
    let in_text = text.matches(IMAGE_TOKEN).count();
    if in_text != pictures.len() {
        let expected = format!("one {IMAGE_TOKEN} for each of {} pictures", pictures.len());
        return Err(ModelError::Prompt { expected, got: in_text.to_string() });
    }
    let mut pieces = text.split(IMAGE_TOKEN);
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    for ([rows, cols], after) in visual_grids(pictures, Qwen25Vl::of(config).vision.spatial_merge_size).zip(pieces) {
        expanded.push_str(&IMAGE_TOKEN.repeat(rows * cols));
        expanded.push_str(after);
    }
    Ok(expanded)
}
