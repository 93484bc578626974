//! What is compared before a run goes on: what it goes on with against what it began with.

use anyhow::Result;

use super::outcome::{Advised, Outcome};
use crate::config::Settings;
use crate::records::run::{Beginning, RunError, RunFolder};

/// Whether a run may go on with something else than it began with.
#[derive(Clone, Copy, Default, clap::Args)]
pub(super) struct AcceptArgs {
    /// Go on though model, data or settings are others than the run began with. Its bits are then those of no run that can be repeated.
    #[arg(long, requires = "resume")]
    pub(super) accept_changes: bool,
}

/// Compares what a run goes on with with what it began with; settings named in `harmless` do not decide its bits. What is to be said of it.
///
/// # Errors
/// Everything that differs and decides the bits, unless changes are accepted.
pub(super) fn compare_beginning<S: Settings>(
    folder: &RunFolder,
    now: &Beginning,
    harmless: &[&str],
    accept: AcceptArgs,
) -> Result<Vec<String>> {
    let last = folder.checkpoints()?.last().copied().unwrap_or(0);
    let changes = folder.changes::<S>(last, now, harmless)?;
    let mut notices: Vec<String> = changes.harmless.into_iter().map(|line| format!("changed since the run began: {line}")).collect();
    if !changes.deciding.is_empty() && !accept.accept_changes {
        let error = RunError::Changed { path: folder.path().to_owned(), differences: changes.deciding }.into();
        let advice = "put it back, begin a new run, or go on all the same with --accept-changes".to_owned();
        return Err(Advised { error, advice, outcome: Outcome::BadInput }.into());
    }
    notices.extend(changes.deciding.into_iter().map(|line| format!("WARNING: accepted: {line}")));
    Ok(notices)
}
