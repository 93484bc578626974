//! One file per subcommand: its arguments and what it prints. The work is done in the libraries.

pub(crate) mod doctor;
