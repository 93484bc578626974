//! The program `percept`; see [`percept_cppo::commands`].

use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_mesa();
    percept_cppo::commands::run(std::env::args_os(), &mut stdout(), &mut stderr()).into()
}

/// Mesa's device-select layer looks for a display, and prints errors of its own on a machine that has none: there it is switched off.
#[allow(unsafe_code)] // the environment can be set only so
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("DISPLAY").is_none() {
        // SAFETY: called first of all, while there is no other thread
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
