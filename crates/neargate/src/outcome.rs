//! How a command of the program ends.

use std::process::ExitCode;

/// The exit code, or what went wrong, for the person at the terminal.
pub type Outcome = Result<ExitCode, String>;
