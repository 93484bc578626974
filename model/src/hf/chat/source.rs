//! Where a Hugging Face directory keeps its chat template and the names of its special tokens.

use crate::error::ModelError;
use crate::hf::files;
use crate::hf::json::{self, Fields};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A template and the file it stands in.
pub(super) struct TemplateSource {
    pub(super) path: PathBuf,
    pub(super) template: String,
}

/// The first of `chat_template.jinja`, `chat_template.json` and `tokenizer_config.json` that holds a template.
pub(super) fn find_template(directory: &Path) -> Result<TemplateSource, ModelError> {
    let path = directory.join("chat_template.jinja");
    if let Some(template) = files::read_text(&path, files::MAX_TEMPLATE)? {
        return Ok(TemplateSource { path, template });
    }
    for file in ["chat_template.json", "tokenizer_config.json"] {
        let path = directory.join(file);
        if let Some(map) = json::read_object(&path)?
            && let Some(value) = map.get("chat_template").filter(|value| !value.is_null())
        {
            let template = default_template(&path, value)?;
            return Ok(TemplateSource { path, template });
        }
    }
    Err(ModelError::Missing {
        path: directory.join("chat_template.jinja"),
        needed_for: "a chat template; chat_template.json and tokenizer_config.json have none either",
    })
}

/// The template in `value`: a string, a list of `{"name", "template"}`, or an object from names to templates.
fn default_template(path: &Path, value: &Value) -> Result<String, ModelError> {
    let named: Vec<(&str, &str)> = match value {
        Value::String(template) => return Ok(template.clone()),
        Value::Array(entries) => entries.iter().filter_map(|entry| Some((entry["name"].as_str()?, entry["template"].as_str()?))).collect(),
        Value::Object(entries) => entries.iter().filter_map(|(name, template)| Some((name.as_str(), template.as_str()?))).collect(),
        _ => Vec::new(),
    };
    match (named.iter().find(|(name, _)| *name == "default"), named.as_slice()) {
        (Some((_, template)), _) | (None, [(_, template)]) => Ok(template.to_string()),
        (None, several) => {
            let names: Vec<&str> = several.iter().map(|(name, _)| *name).collect();
            let got = if names.is_empty() { value.to_string() } else { format!("templates {names:?}") };
            Err(ModelError::field(path, "chat_template", "a template, or several of which one is `default`", got))
        }
    }
}

/// `bos_token` and its like, as templates name them, from `special_tokens_map.json` and `tokenizer_config.json`
/// (which wins). Tokens are strings or objects with a `content`.
pub(super) fn read_special_tokens(directory: &Path) -> Result<BTreeMap<String, String>, ModelError> {
    const NAMES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
    let mut tokens = BTreeMap::new();
    for file in ["special_tokens_map.json", "tokenizer_config.json"] {
        let path = directory.join(file);
        let map = json::read_object(&path)?.unwrap_or_default();
        for name in NAMES {
            if let Some(token) = read_token(&path, &map, name)? {
                tokens.insert(name.to_string(), token);
            }
        }
    }
    Ok(tokens)
}

fn read_token(path: &Path, map: &Map<String, Value>, name: &str) -> Result<Option<String>, ModelError> {
    let fields = Fields::new(path, map);
    let token = match map.get(name) {
        Some(Value::Object(_)) => match fields.section(name)? {
            Some(token) => token.text("content")?,
            None => None,
        },
        _ => fields.text(name)?,
    };
    Ok(token.map(String::from))
}
