//! A picture and a text as the tokens and patches that the model reads.

use crate::error::ModelError;
use crate::hf::chat::{GenerationPrompt, Message};
use crate::hf::directory::ModelFiles;
use crate::image::{ImageProcessor, Patches, RgbImage};

/// A prompt of one user message, a picture and then a text, up to where the assistant's answer begins.
#[derive(Clone, Debug)]
pub struct Question {
    /// Token ids, with all the tokens of the pictures.
    pub tokens: Vec<u32>,
    /// The pictures, preprocessed.
    pub pictures: Vec<Patches>,
}

impl Question {
    /// A question in words about pictures, which go before it. Applies the image processor, the chat template and the tokenizer of a model directory.
    ///
    /// # Errors
    /// If the template or the tokenizer refuses the text: one that contains the image token asks for a picture that is not there.
    pub fn new(files: &ModelFiles, processor: &ImageProcessor, images: &[RgbImage], text: &str) -> Result<Self, ModelError> {
        images.iter().try_for_each(|image| processor.check(image))?;
        let pictures: Vec<Patches> = images.iter().map(|image| processor.process(image)).collect();
        let rendered = files.chat_template.render(&[Message::user_with_images(images.len(), text)], GenerationPrompt::Add)?;
        let tokens = files.encode_prompt(&rendered, &pictures)?;
        Ok(Self { tokens, pictures })
    }
}
