//! What every command does with a device that it opens.

use anyhow::Result;
use percept_engine::{Device, tune};

use super::{Advised, Outcome};

/// Lets an opened device use the matrix products that `percept doctor --tune` chose for it; says what to do where none could be opened.
pub(super) fn ready(opened: percept_engine::Result<Device>) -> Result<Device> {
    match opened {
        Ok(device) => {
            tune::load(&device);
            Ok(device)
        }
        Err(error) => {
            let advice = "percept doctor lists the adapters; the CPU always works".to_owned();
            Err(Advised { error: error.into(), advice, outcome: Outcome::Failed }.into())
        }
    }
}
