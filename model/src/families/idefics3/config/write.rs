//! To `config.json`, in one layout that transformers 4.5x and 5.x both load.

use super::{Idefics3, VisionConfig};
use crate::config::{ModelConfig, TextConfig};
use serde_json::{Map, Value, json};

/// Puts the configuration over what the file held.
///
/// What the two generations of transformers call differently is written under both names: `rope_parameters.rope_theta` and `rope_theta`.
pub(crate) fn write(config: &ModelConfig, top: &mut Map<String, Value>) {
    let own = Idefics3::of(config);
    put(
        top,
        json!({
            "scale_factor": own.scale_factor,
            "image_token_id": config.image_token_id,
            "tie_word_embeddings": config.tie_word_embeddings,
        }),
    );
    let mut text = section(top, "text_config");
    put(&mut text, text_json(&config.text));
    // transformers 4.5x asks the text section whether the head is tied, 5.x the top level
    text.insert("tie_word_embeddings".into(), config.tie_word_embeddings.into());
    top.insert("text_config".into(), text.into());
    let mut vision = section(top, "vision_config");
    vision.entry("model_type").or_insert_with(|| format!("{}_vision", config.architecture.model_type).into());
    put(&mut vision, vision_json(&own.vision));
    top.insert("vision_config".into(), vision.into());
}

fn text_json(text: &TextConfig) -> Value {
    json!({
        "model_type": "llama",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "num_key_value_heads": text.num_key_value_heads,
        "head_dim": text.head_dim,
        "hidden_act": "silu",
        "attention_bias": false,
        "mlp_bias": false,
        "rope_theta": text.rope_theta,
        "rope_parameters": { "rope_type": "default", "rope_theta": text.rope_theta },
        "rms_norm_eps": text.rms_norm_eps,
        "max_position_embeddings": text.max_position_embeddings,
        "initializer_range": text.initializer_range,
        "bos_token_id": text.bos_token_id,
        "eos_token_id": match text.eos_token_ids.as_slice() {
            [] => Value::Null,
            [one] => (*one).into(),
            several => several.into(),
        },
        "pad_token_id": text.pad_token_id,
    })
}

fn vision_json(vision: &VisionConfig) -> Value {
    json!({
        "hidden_size": vision.hidden_size,
        "intermediate_size": vision.intermediate_size,
        "num_hidden_layers": vision.num_hidden_layers,
        "num_attention_heads": vision.num_attention_heads,
        "num_channels": vision.num_channels,
        "image_size": vision.image_size,
        "patch_size": vision.patch_size,
        "hidden_act": "gelu_pytorch_tanh",
        "layer_norm_eps": vision.layer_norm_eps,
        "initializer_range": vision.initializer_range,
    })
}

fn section(map: &Map<String, Value>, name: &str) -> Map<String, Value> {
    map.get(name).and_then(Value::as_object).cloned().unwrap_or_default()
}

/// Overwrites the keys of `fields`, an object, in `map`.
fn put(map: &mut Map<String, Value>, fields: Value) {
    if let Value::Object(fields) = fields {
        map.extend(fields);
    }
}
