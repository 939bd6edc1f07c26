//! The `neargate` program: Amazon ECS on machines you own.
//!
//! One binary, three roles in three processes that `neargate up` starts and keeps running, and a few commands around
//! them. Only this crate reads the environment and decides about processes, signals and exit codes.

mod authority;
mod cli;
mod credentials;
mod doctor;
mod down;
mod images;
mod instance;
mod lock;
mod outcome;
mod paths;
mod program_text;
mod quotas;
mod roles;
mod shutdown;
mod succession;
mod up;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<std::ffi::OsString> = std::env::args_os().collect();
    // The shim stays small: nothing else of the program may run before it.
    if args.get(1).is_some_and(|a| a == "shim") {
        neargate_runtime::shim_main(&args[2..]);
    }
    let matches = match cli::command().try_get_matches_from(&args) {
        Ok(matches) => matches,
        Err(e) => {
            let _ = e.print();
            return ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(2));
        }
    };
    match cli::run(&matches) {
        Ok(code) => code,
        Err(why) => {
            eprintln!("neargate: {why}");
            ExitCode::FAILURE
        }
    }
}
