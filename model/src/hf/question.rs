//! A picture and a text as the tokens and tiles that the model reads.

use crate::image::{ImageProcessor, RgbImage, Tiles};
use crate::{GenerationPrompt, Message, ModelError, ModelFiles, encode_prompt};

/// A prompt of one user message, a picture and then a text, up to where the assistant's answer begins.
#[derive(Clone, Debug)]
pub struct Question {
    /// Token ids, `<image>` expanded.
    pub tokens: Vec<u32>,
    /// The picture's tiles.
    pub picture: Tiles<f32>,
}

impl Question {
    /// Applies the image processor, the chat template and the tokenizer of a model directory.
    ///
    /// # Errors
    /// If the template or the tokenizer refuses the text: one that contains `<image>` asks for a picture that is not there.
    pub fn new(files: &ModelFiles, processor: &ImageProcessor, image: &RgbImage, text: &str) -> Result<Self, ModelError> {
        let picture = processor.process(image);
        let rendered = files.chat_template.render(&[Message::user_with_image(text)], GenerationPrompt::Add)?;
        let tokens = encode_prompt(&files.tokenizer, &rendered, &[picture.tiling], files.config.image_seq_len())?;
        Ok(Self { tokens, picture })
    }
}
