//! What a family of models says of itself: [`Family`].

use crate::config::{Architecture, ModelConfig};
use crate::error::ModelError;
use crate::hf::json::Fields;
use crate::image::{Grid, ImageError, ImageProcessor, Patches};
use crate::layers::activations::Activations;
use crate::layers::decoder::Decoder;
use crate::layers::patches::PatchBatch;
use crate::layers::scope::Scope;
use crate::positions::{Positions, PromptPositions};
use percept_engine::{Device, RopeTable, Tensor};
use serde_json::{Map, Value};
use std::path::Path;

/// A family of models: its names, and the functions by which the rest of Percept reads, builds and feeds its models.
pub(crate) struct Family {
    /// The classes under which transformers knows its models.
    pub(crate) architectures: &'static [Architecture],
    /// Class of its processor in transformers, for directories that do not name one.
    pub(crate) processor_class: &'static str,
    /// The token that stands for a visual token, and in an unexpanded prompt for a picture.
    pub(crate) image_token: &'static str,
    /// Tokens without which a tokenizer is not one of this family's.
    pub(crate) required_tokens: &'static [&'static str],
    /// Whether a token only ever stands in prompts, for pictures and films and around them. A policy that gave one could not be read again as text.
    pub(crate) is_only_for_prompts: fn(&str) -> bool,
    /// What the names of the vision tower's weights begin with.
    pub(crate) vision: &'static str,
    /// What the names of the connector's weights begin with. They are not the tower's, even where this begins like the tower's.
    pub(crate) connector: &'static str,
    /// What the names of the decoder's weights begin with.
    pub(crate) decoder: &'static str,
    /// What transformers calls the module, or the weight, of this name. Checkpoints may have either name, adapters have this one.
    pub(crate) module_name: fn(&str) -> String,
    /// Rows of positions: 1, or one for each axis.
    pub(crate) position_rows: usize,

    /// A configuration from the file, without its number type.
    pub(crate) read_config: fn(Architecture, &Fields) -> Result<ModelConfig, ModelError>,
    /// Puts the configuration over what the file held.
    pub(crate) write_config: fn(&ModelConfig, &mut Map<String, Value>),
    /// Checks that the sizes fit each other; errors name the field as it is called in the file at the path.
    pub(crate) validate: fn(&ModelConfig, &Path) -> Result<(), ModelError>,

    /// The settings of the image processor, completed by defaults and checked against the model: those that stand in a directory, or those of a new
    /// model.
    pub(crate) image_settings: fn(&ModelConfig, Option<&Fields>) -> Result<ImageSettings, ModelError>,
    /// The image processor with such settings.
    pub(crate) image_processor: fn(&ModelConfig, &ImageSettings) -> Result<ImageProcessor, ImageError>,
    /// Visual tokens of every tile, where `processor_config.json` says how many they are.
    pub(crate) image_seq_len: fn(&ModelConfig) -> Option<usize>,

    /// The grid of visual tokens that a grid of patches becomes.
    pub(crate) visual_grid: fn(&ModelConfig, Grid) -> Grid,
    /// The text of a prompt in which each picture's token is replaced by all the tokens that the picture takes.
    pub(crate) expand_prompt: fn(&ModelConfig, &str, &[Patches]) -> Result<String, ModelError>,
    /// The positions of a prompt, its pictures in the order of their tokens.
    pub(crate) positions: fn(&ModelConfig, &[u32], &[Patches]) -> PromptPositions,
    /// The rotations of tokens at these positions.
    pub(crate) rope: fn(&ModelConfig, &Device, &Positions) -> RopeTable,

    /// The layers of a model, which declare their weights to the scope.
    pub(crate) build: fn(&ModelConfig, &Scope) -> Network,
}

/// Settings of an image processor, under the keys of transformers.
pub(crate) type ImageSettings = Map<String, Value>;

/// The layers of a model.
pub(crate) struct Network {
    pub(crate) vision_tower: VisionTower,
    pub(crate) connector: Connector,
    pub(crate) decoder: Decoder,
}

/// Pictures to one vector for each patch. `-> [patches, vision hidden]`
pub(crate) type VisionTower = Box<dyn Fn(&PatchBatch, Activations) -> Tensor + Send + Sync>;

/// Vectors of patches to visual tokens. `[patches, vision hidden] -> [visual tokens, hidden]`
pub(crate) type Connector = Box<dyn Fn(&Tensor, &PatchBatch) -> Tensor + Send + Sync>;
