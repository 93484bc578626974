//! `percept completions`: what a shell needs to complete commands and arguments.

use std::io::Write;

use anyhow::Result;
use clap_complete::Shell;

use super::outcome::Outcome;

/// Arguments of `percept completions`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a script, as in `percept completions bash > ~/.local/share/bash-completion/completions/percept`.
pub(super) fn run(args: &Args, mut command: clap::Command, out: &mut dyn Write) -> Result<Outcome> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "percept", &mut script);
    out.write_all(&script)?;
    Ok(Outcome::Done)
}
