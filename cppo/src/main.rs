//! The program `percept`; see [`percept_cppo::commands`].

use std::io::{stderr, stdout};
use std::process::ExitCode;

fn main() -> ExitCode {
    quiet_mesa();
    percept_cppo::commands::run(std::env::args_os(), &mut stdout(), &mut stderr()).into()
}

/// Mesa's device-select layer looks for a display and prints errors on a machine that has none. This switches it off there.
#[allow(unsafe_code)] // there is no safe way to set the environment
fn quiet_mesa() {
    if cfg!(target_os = "linux") && std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("DISPLAY").is_none() {
        // SAFETY: called before anything else, while there is no other thread
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}
