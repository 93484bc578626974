//! `percept config`: what can be set, and what it means.

use std::io::Write;

use anyhow::Result;

use super::outcome::Outcome;
use crate::config::{Config, ConfigError, SftRunConfig, compare_reference, reference, reference_pages};

/// Arguments of `percept config`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Whose settings.
    #[arg(long, value_enum, value_name = "COMMAND", default_value_t = OfArg::Train)]
    of: OfArg,
    /// Print a TOML file with every setting at its default.
    #[arg(long)]
    defaults: bool,
    /// Explain one setting or section, as in `method.kl_coef`; the last part is enough, and so is the name in TRL or verl.
    #[arg(long, value_name = "KEY", conflicts_with_all = ["defaults", "of"])]
    explain: Option<String>,
    /// Print the page docs/configuration.md.
    #[arg(long, conflicts_with_all = ["defaults", "explain", "of"])]
    markdown: bool,
    /// Print the page docs/coming-from-trl.md: what settings are called in TRL and verl.
    #[arg(long, conflicts_with_all = ["defaults", "explain", "markdown", "of"])]
    names: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum OfArg {
    /// Also of eval, inspect, data and bench.
    Train,
    Sft,
    Compare,
}

/// Prints the reference, or a part of it.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    if let Some(key) = &args.explain {
        let explained = reference_pages::explain(key);
        let text = explained.map_err(|problem| ConfigError::Range { origin: "--explain".into(), problem })?;
        write!(out, "{text}")?;
        return Ok(Outcome::Done);
    }
    let sections = match args.of {
        OfArg::Train => reference::<Config>(),
        OfArg::Sft => reference::<SftRunConfig>(),
        OfArg::Compare => compare_reference(),
    };
    let text = match () {
        () if args.markdown => reference_pages::page(),
        () if args.names => reference_pages::other_names_page(),
        () if args.defaults => reference_pages::defaults(&sections),
        () => reference_pages::text(&sections),
    };
    write!(out, "{text}")?;
    Ok(Outcome::Done)
}
