//! Arguments that several commands have.

use std::path::{Path, PathBuf};

use crate::config::shipped::{self, Source};
use crate::config::{Config, ConfigError, Settings};

/// The configuration of a run without arguments.
const DEFAULT_CONFIGURATION: &str = "configs/digits.toml";

/// The arguments of every command that has a configuration.
#[derive(clap::Args)]
pub(super) struct ConfigArgs {
    /// A TOML file, or one that is part of the program: `digits-full` or configs/digits-full.toml. Default: configs/digits.toml. A file on disk comes first.
    config: Option<PathBuf>,
    /// Override a field: `--set method.group_size=4`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) overrides: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        load_settings(self.path(), &self.overrides)
    }

    /// The same with one more field overridden.
    pub(super) fn load_with(&self, field: &str) -> Result<Config, ConfigError> {
        load_settings(self.path(), &[&self.overrides[..], &[field.to_owned()]].concat())
    }

    /// Whether a file is named.
    pub(super) fn is_given(&self) -> bool {
        self.config.is_some()
    }

    /// The file, and whether it is part of the program.
    pub(super) fn name(&self) -> String {
        name_of(self.path())
    }

    fn path(&self) -> &Path {
        self.config.as_deref().unwrap_or(Path::new(DEFAULT_CONFIGURATION))
    }
}

/// Reads settings from a file on disk, else from one that is part of the program.
pub(super) fn load_settings<S: Settings>(path: &Path, overrides: &[String]) -> Result<S, ConfigError> {
    match part_of_program(path) {
        Some(text) => S::parse(text, &path.display().to_string(), overrides),
        None => S::load(path, overrides).map_err(name_shipped),
    }
}

/// Of a file that is not there: what could have been meant.
fn name_shipped(error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            let names: Vec<&str> =
                shipped::configurations().filter_map(|name| name.strip_prefix("configs/")?.strip_suffix(".toml")).collect();
            let source = std::io::Error::new(source.kind(), format!("{source}; part of the program are {}", names.join(", ")));
            ConfigError::Io { path, source }
        }
        error => error,
    }
}

/// The text of a configuration that is not on disk but in the program.
pub(super) fn part_of_program(path: &Path) -> Option<&'static str> {
    if path.exists() { None } else { shipped::configuration(path) }
}

/// A configuration for messages: its name, and whether it is part of the program.
pub(super) fn name_of(path: &Path) -> String {
    let source = if part_of_program(path).is_some() { Source::Program } else { Source::Disk };
    format!("{}{}", path.display(), source.note())
}
