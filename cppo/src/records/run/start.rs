//! The weights that a run starts from. They are its reference policy, and adapters are added to them, so a resumed run needs the same weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use percept_model::ModelPlace;

use super::checksums::crc32;
use super::{RunError, RunFolder, entries};

const START: &str = "start.json";

impl RunFolder {
    /// Notes the weights in the directory `model` the first time; from then on they must be the same.
    ///
    /// # Errors
    /// If they are others than they were, or a file cannot be read or written.
    pub fn check_start(&self, model: &Path) -> Result<(), RunError> {
        // an adapter on a base: the weights of both
        let place = ModelPlace::find(model, None)?;
        let mut now = checksums(&place.base)?;
        if let Some(adapter) = &place.adapter {
            now.extend(checksums(adapter)?);
        }
        let path = self.path().join(START);
        if !path.exists() {
            let text = serde_json::to_string_pretty(&now).expect("plain data");
            return self.write(START, format!("{text}\n").as_bytes());
        }
        let damaged = |problem: String| RunError::Damaged { path: path.clone(), line: 1, problem };
        let text = fs::read_to_string(&path).map_err(|e| RunError::io(&path, e))?;
        let then: BTreeMap<String, u32> = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        match then == now {
            true => Ok(()),
            false => Err(RunError::Start { path: model.to_owned() }),
        }
    }
}

/// CRC-32 of every file of weights, by its name.
fn checksums(model: &Path) -> Result<BTreeMap<String, u32>, RunError> {
    let mut checksums = BTreeMap::new();
    for entry in entries(model)? {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let checksum = crc32(&path).map_err(|e| RunError::io(&path, e))?;
            checksums.insert(entry.file_name().to_string_lossy().into_owned(), checksum);
        }
    }
    Ok(checksums)
}
