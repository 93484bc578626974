//! Ctrl-C, and what else asks a process to end (SIGTERM, SIGHUP): finish the step at hand, save, stop.
//!
//! A signal is sent to the process, so what notes it belongs to the process, too: the one place with a global.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// From here on the first request is noted, see [`requested`], and a second one ends the process at once.
pub(super) fn watch() -> Result<()> {
    static WATCHED: OnceLock<Result<(), ctrlc::Error>> = OnceLock::new();
    let note = || {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(EXIT_CODE));
        }
        // whoever asks wants to see that it was heard; a terminal that is gone need not
        let _ = writeln!(std::io::stderr(), "\nstopping after this step, which is saved; once more to stop at once");
    };
    let watched = WATCHED.get_or_init(|| {
        #[cfg(all(unix, feature = "mpi"))]
        hear_launcher();
        ctrlc::set_handler(note)
    });
    watched.as_ref().map_err(|error| anyhow!("Ctrl-C cannot be handled: {error}"))?;
    REQUESTED.store(false, Ordering::SeqCst);
    Ok(())
}

/// SIGUSR1, which `mpirun` hands on to its processes at once; after Ctrl-C it ends them within a second or two.
#[cfg(all(unix, feature = "mpi"))]
fn hear_launcher() {
    use signal_hook::consts::SIGUSR1;
    use signal_hook::iterator::Signals;

    // without it the signal ends the process, as it does any other
    let Ok(mut signals) = Signals::new([SIGUSR1]) else { return };
    std::thread::spawn(move || {
        for _ in signals.forever() {
            REQUESTED.store(true, Ordering::SeqCst);
        }
    });
}

/// Whether somebody asked the run to stop.
pub(super) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// What shells report of a program that Ctrl-C ended: 128 + SIGINT.
pub(super) const EXIT_CODE: u8 = 130;
