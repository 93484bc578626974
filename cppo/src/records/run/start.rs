//! What a run starts from: weights and data. The weights are its reference policy, adapters are added to them, and the data are gone through in order: a resumed
//! run needs the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use percept_model::ModelPlace;

use super::checksums::crc32;
use super::{RunError, RunFolder, entries};

const START: &str = "start.json";

impl RunFolder {
    /// Notes the weights in the directory `model`, if there is one, and the checksums of `data`, by the names of their settings, the first time; from then on they must
    /// be the same. A run of a version that did not note data has them noted now.
    ///
    /// # Errors
    /// If they are others than they were, or a file cannot be read or written.
    pub fn check_start(&self, model: Option<&Path>, data: &[(&str, u32)]) -> Result<(), RunError> {
        let mut now = model.map_or_else(|| Ok(BTreeMap::new()), weights_of)?;
        let weights: Vec<String> = now.keys().cloned().collect();
        now.extend(data.iter().map(|(name, checksum)| ((*name).to_owned(), *checksum)));
        let path = self.path().join(START);
        let note = || {
            let text = serde_json::to_string_pretty(&now).expect("plain data");
            self.write(START, format!("{text}\n").as_bytes())
        };
        if !path.exists() {
            return note();
        }
        let damaged = |problem: String| RunError::Damaged { path: path.clone(), line: 1, problem };
        let text = fs::read_to_string(&path).map_err(|e| RunError::io(&path, e))?;
        let then: BTreeMap<String, u32> = serde_json::from_str(&text).map_err(|e| damaged(e.to_string()))?;
        let noted = |name: &str| then.keys().any(|key| key == name);
        if let Some((setting, _)) = data.iter().find(|(name, checksum)| noted(name) && then.get(*name) != Some(checksum)) {
            return Err(RunError::Data { setting: (*setting).to_owned() });
        }
        let is_data = |name: &&String| data.iter().any(|(setting, _)| setting == name);
        let same_files = then.keys().filter(|name| !is_data(name)).eq(weights.iter());
        if let Some(model) = model.filter(|_| !same_files || weights.iter().any(|name| then.get(name) != now.get(name))) {
            return Err(RunError::Start { path: model.to_owned() });
        }
        if then == now { Ok(()) } else { note() }
    }
}

/// Checksums of a model's weights; of an adapter on a base those of both.
fn weights_of(model: &Path) -> Result<BTreeMap<String, u32>, RunError> {
    let place = ModelPlace::find(model, None)?;
    let mut weights = checksums(&place.base)?;
    if let Some(adapter) = &place.adapter {
        weights.extend(checksums(adapter)?);
    }
    Ok(weights)
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
