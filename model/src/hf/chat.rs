//! Chat messages and the template that turns them into a prompt.

mod bounded;
mod filters;
mod generation;
mod source;

use crate::error::ModelError;
use crate::hf::files;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use source::TemplateSource;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// One turn of a conversation, as in JSON: `{"role": "user", "content": "…" or [{"type": "image"}, …]}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `user`, `assistant` or `system`.
    pub role: String,
    /// What is said and shown.
    pub content: Content,
}

impl Message {
    /// A user's message: a picture, then a text.
    pub fn user_with_image(text: impl Into<String>) -> Self {
        Self::user_with_images(1, text)
    }

    /// A user's message: so many pictures, then a text.
    pub fn user_with_images(pictures: usize, text: impl Into<String>) -> Self {
        let mut parts = vec![Part::Image; pictures];
        parts.push(Part::Text { text: text.into() });
        Self { role: "user".into(), content: Content::Parts(parts) }
    }
}

/// The content of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Content {
    /// Text alone.
    Text(String),
    /// Pictures and texts in order.
    Parts(Vec<Part>),
}

/// One piece of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Part {
    /// The place of the next picture; the pictures themselves travel beside the messages.
    Image,
    /// A text.
    Text {
        /// The text.
        text: String,
    },
}

/// Whether a rendered conversation ends with the opening of the assistant's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GenerationPrompt {
    /// Ends with it, ready for the model to go on.
    Add,
    /// Ends with the last message.
    Omit,
}

/// A compiled chat template, rendered as transformers does (Jinja with `trim_blocks` and `lstrip_blocks`, Python's
/// string methods, `raise_exception`, `strftime_now` and an unescaped `tojson`; what stands in `{% generation %}` blocks is text like any other).
///
/// A template comes from whoever made the model: it is compiled when it is read, rendered only when a prompt is asked for, and then stopped after as much work as no honest one does.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    path: PathBuf,
    environment: Environment<'static>,
    source: String,
    special_tokens: BTreeMap<String, String>,
    takes_strings: OnceLock<bool>,
}

impl ChatTemplate {
    /// Compiles the template of a Hugging Face directory: `chat_template.jinja`, else `chat_template.json`, else
    /// `chat_template` in `tokenizer_config.json`. Of several named templates `default` is taken.
    pub fn from_directory(directory: &Path) -> Result<Self, ModelError> {
        let TemplateSource { path, template } = source::find_template(directory)?;
        let special_tokens = source::read_special_tokens(directory)?;
        Self::new(&path, &template, special_tokens)
    }

    /// Compiles `template`, which was read from `path`; `special_tokens` are variables such as `bos_token`.
    pub fn new(path: &Path, template: &str, special_tokens: BTreeMap<String, String>) -> Result<Self, ModelError> {
        if template.len() as u64 > files::MAX_TEMPLATE {
            let expected = format!("at most {} bytes", files::MAX_TEMPLATE);
            return Err(ModelError::field(path, "chat_template", expected, template.len()));
        }
        let source = generation::without_tags(template).into_owned();
        let failed = |error| template_error(path, &error);
        let environment = environment().map_err(failed)?;
        bounded::check(&environment, &source).map_err(failed)?;
        Ok(Self { path: path.to_path_buf(), environment, source, special_tokens, takes_strings: OnceLock::new() })
    }

    /// The prompt for `messages`, with one `<image>` per [`Part::Image`].
    ///
    /// Templates that only go through lists (some render a string as nothing) get text content
    /// as a list of one text.
    pub fn render(&self, messages: &[Message], generation_prompt: GenerationPrompt) -> Result<String, ModelError> {
        let messages = messages.iter().map(|message| self.message_value(message)).collect();
        self.render_values(messages, generation_prompt).map_err(|error| template_error(&self.path, &error))
    }

    fn message_value(&self, message: &Message) -> Value {
        let text_part = |text: &str| object([("type", "text".into()), ("text", text.into())]);
        let content = match &message.content {
            Content::Text(text) if *self.takes_strings.get_or_init(|| self.renders_string_content()) => Value::from(text.as_str()),
            Content::Text(text) => Value::from(vec![text_part(text)]),
            Content::Parts(parts) => parts
                .iter()
                .map(|part| match part {
                    Part::Image => object([("type", "image".into())]),
                    Part::Text { text } => text_part(text),
                })
                .collect(),
        };
        object([("role", message.role.as_str().into()), ("content", content)])
    }

    fn render_values(&self, messages: Vec<Value>, generation_prompt: GenerationPrompt) -> Result<String, minijinja::Error> {
        let mut context: BTreeMap<&str, Value> = self.special_tokens.iter().map(|(name, token)| (name.as_str(), token.into())).collect();
        context.insert("messages", messages.into());
        context.insert("add_generation_prompt", (generation_prompt == GenerationPrompt::Add).into());
        bounded::render(&self.environment, &self.source, &Value::from(context))
    }

    /// Renders one message whose content is a string, and looks whether the string comes out.
    fn renders_string_content(&self) -> bool {
        const PROBE: &str = "probe of string content";
        let message = object([("role", "user".into()), ("content", PROBE.into())]);
        self.render_values(vec![message], GenerationPrompt::Omit).is_ok_and(|rendered| rendered.contains(PROBE))
    }
}

/// The template's name where the engine says one.
const TEMPLATE: &str = "chat_template";

fn environment() -> Result<Environment<'static>, minijinja::Error> {
    let mut environment = Environment::new();
    bounded::bound(&mut environment);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_unknown_method_callback(filters::python_method);
    environment.add_filter("tojson", filters::tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", filters::strftime_now);
    Ok(environment)
}

fn raise_exception(message: String) -> Result<Value, minijinja::Error> {
    Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
}

/// A dict as templates make them.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::from_object(BTreeMap::from(fields.map(|(name, value)| (Value::from(name), value))))
}

fn template_error(path: &Path, error: &minijinja::Error) -> ModelError {
    let what = match error.kind() {
        ErrorKind::OutOfFuel => "does more work than a prompt can need; it was stopped".to_string(),
        _ => error.detail().map_or_else(|| error.to_string(), String::from),
    };
    let message = match error.line() {
        Some(line) => format!("line {line}: {what}"),
        None => what,
    };
    ModelError::ChatTemplate { path: path.to_path_buf(), message }
}
