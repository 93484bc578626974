//! The entries `[[reward]]`, as they stand in a file: unknown kinds and fields are errors that name the nearest.

use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};

use super::keys::nearest;
use crate::problems::reward::{OnError, RewardConfig, RewardKind};

/// The fields that every entry has.
const SHARED: [&str; 4] = ["kind", "name", "weight", "on_error"];

impl<'de> Deserialize<'de> for RewardConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read(Map::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

fn read(mut given: Map<String, Value>) -> Result<RewardConfig, String> {
    let kind = match given.get("kind") {
        Some(Value::String(kind)) => kind.clone(),
        Some(other) => return Err(format!("kind: expected one of {}, got {other}", RewardKind::NAMES.join(", "))),
        None => return Err(format!("kind: expected one of {}, got none", RewardKind::NAMES.join(", "))),
    };
    let suggestion = |key: &str, known: &[&str]| {
        let known: Vec<String> = known.iter().map(|key| (*key).to_owned()).collect();
        nearest(key, &known).map(|key| format!("; did you mean {key}?")).unwrap_or_default()
    };
    let Some(fields) = RewardKind::fields(&kind) else {
        let known = RewardKind::NAMES;
        return Err(format!("kind: expected one of {}, got {kind}{}", known.join(", "), suggestion(&kind, &known)));
    };
    let name = match given.remove("name") {
        None => kind.clone(),
        Some(Value::String(name)) => name,
        Some(other) => return Err(format!("name: expected text, got {other}")),
    };
    let known = [&SHARED[..], fields].concat();
    if let Some(key) = given.keys().find(|key| !known.contains(&key.as_str())) {
        return Err(format!("{name}: {key}: no such field of the kind {kind}{}", suggestion(key, &known)));
    }
    let weight = match given.remove("weight") {
        None => 1.0,
        Some(weight) => weight.as_f64().ok_or_else(|| format!("{name}: weight: expected a number, got {weight}"))? as f32,
    };
    let on_error = match given.remove("on_error") {
        None => OnError::default(),
        Some(value) => OnError::deserialize(value).map_err(|e| format!("{name}: on_error: {e}"))?,
    };
    // serde does not name the field that failed, so fields are tried one at a time
    for (key, value) in given.iter().filter(|(key, _)| *key != "kind") {
        let alone = Map::from_iter([("kind".to_owned(), Value::from(kind.as_str())), (key.clone(), value.clone())]);
        RewardKind::deserialize(Value::Object(alone)).map_err(|e| format!("{name}: {key}: {e}"))?;
    }
    let kind = RewardKind::deserialize(Value::Object(given)).map_err(|e| format!("{name}: {e}"))?;
    Ok(RewardConfig { name, weight, on_error, kind })
}
