//! Arguments that several commands have.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Settings};

/// The arguments of every command that has a configuration.
#[derive(clap::Args)]
pub(super) struct ConfigArgs {
    /// A TOML file. Default: configs/digits.toml, which is part of the program.
    config: Option<PathBuf>,
    /// Override a field: `--set method.group_size=4`. The value is TOML; a bare word is text.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
}

impl ConfigArgs {
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        self.with(&self.overrides)
    }

    /// The same with one more field overridden.
    pub(super) fn load_with(&self, field: &str) -> Result<Config, ConfigError> {
        self.with(&[&self.overrides[..], &[field.to_owned()]].concat())
    }

    fn with(&self, overrides: &[String]) -> Result<Config, ConfigError> {
        match &self.config {
            Some(path) => Config::load(path, overrides),
            None => Config::parse(include_str!("../../../configs/digits.toml"), "configs/digits.toml", overrides),
        }
    }
}
