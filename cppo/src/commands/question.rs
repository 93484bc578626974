//! The arguments of commands that show a model pictures and ask about them.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use percept_model::image::{self, ImageSplitting};
use percept_model::{Model, ModelFiles, Precision, Question};

use super::device::{DeviceArg, open_without_configuration};
use super::place;

/// Which model, which pictures, which question.
#[derive(clap::Args)]
pub(super) struct QuestionArgs {
    /// A Hugging Face directory of an Idefics3 or SmolVLM model, a run (its best checkpoint, else the last), or the directory of a PEFT adapter.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The model on which the adapter was trained. Default: what `adapter_config.json` says.
    #[arg(long, value_name = "DIR")]
    base: Option<PathBuf>,
    /// A picture: PNG, JPEG, WebP, GIF, BMP or TIFF. It is turned upright and laid over white. Several are given by several `--image`, in their order.
    #[arg(long, value_name = "FILE", required = true)]
    image: Vec<PathBuf>,
    /// The question.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    prompt: String,
    /// Cut pictures into tiles, whatever the model's preprocessor says.
    #[arg(long, conflicts_with = "no_split_image")]
    split_image: bool,
    /// Do not cut pictures, whatever the model's preprocessor says: fewer tokens, less detail.
    #[arg(long)]
    no_split_image: bool,
    /// Where to compute. Default: a hardware GPU if there is one, else the CPU.
    #[arg(long, value_enum, ignore_case = true)]
    device: Option<DeviceArg>,
}

/// A model that has been asked.
pub(super) struct Asked {
    pub(super) files: ModelFiles,
    pub(super) model: Model,
    pub(super) question: Question,
}

impl QuestionArgs {
    /// Reads the small files first: what is wrong with them is said before the weights are read. The device is named on `errors`.
    pub(super) fn ask(&self, errors: &mut dyn Write) -> Result<Asked> {
        let place = place::find(&self.model, self.base.as_deref(), errors)?;
        let mut files = ModelFiles::read(&place.base)?;
        let images = self.image.iter().map(image::open).collect::<Result<Vec<_>, _>>()?;
        match (self.split_image, self.no_split_image) {
            (true, _) => files = files.with_image_splitting(ImageSplitting::Tiles),
            (_, true) => files = files.with_image_splitting(ImageSplitting::Whole),
            (false, false) => {}
        }
        let processor = files.image_processor()?;
        let question = Question::new(&files, &processor, &images, &self.prompt)?;
        let device = open_without_configuration(self.device)?;
        writeln!(errors, "on {device}")?;
        let model = Model::load_from(&place, &device, Precision::AsStored)?;
        Ok(Asked { files, model, question })
    }
}
