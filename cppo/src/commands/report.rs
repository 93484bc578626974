//! `percept report`: rebuilds a run's `report.html`.

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;

use super::outcome::Outcome;
use crate::records::report::write_report;

/// Arguments of `percept report`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The run's folder, as in `runs/cppo-digits-20260131-140509`.
    run: PathBuf,
}

/// Prints where the report is.
pub(super) fn run(args: &Args, out: &mut dyn Write) -> Result<Outcome> {
    let path = write_report(&args.run)?;
    writeln!(out, "{}", path.display())?;
    Ok(Outcome::Done)
}
