//! The project's own tasks: `cargo xtask help` lists them.

mod codegen;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "cargo xtask TASK

  codegen [--check] [--botocore DIR]   shapes, schemas and errors from the pinned botocore models
";

fn main() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_path_buf();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).map(PathBuf::from);
    let done = match args.first().map(String::as_str) {
        Some("codegen") => codegen::run(&root, value("--botocore"), flag("--check")),
        _ => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}
