//! The project's own tasks: `cargo xtask help` lists them.

mod aws;
mod check;
mod codegen;
mod demo;
mod floors;
mod image;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "cargo xtask TASK

  test                                 every check that CI makes
  demo [--once]                        the product in front of your eyes; --once checks each step and ends
  bench NAME                           launch, churn, idle, heal, scale, gateway, deploy, sg or all (release build)
  image NAME DIR PROGRAM               an OCI layout at DIR with one static program as /web
  floors                               arrows between crates point down, plan/ is pure
  tidy                                 file sizes, module purposes, forgotten marks
  codegen [--check] [--botocore DIR]   shapes, schemas and errors from the pinned botocore models
";

fn main() -> ExitCode {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
        .to_path_buf();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let flag = |name: &str| args.iter().any(|a| a == name);
    let value = |name: &str| {
        args.iter()
            .position(|a| a == name)
            .and_then(|i| args.get(i + 1))
            .map(PathBuf::from)
    };
    let done = match args.first().map(String::as_str) {
        Some("codegen") => codegen::run(&root, value("--botocore"), flag("--check")),
        Some("demo") => demo::run(&root, flag("--once")),
        Some("bench") => bench(&root, args.get(1).map_or("", String::as_str)),
        Some("image") => match &args[1..] {
            [name, dir, program] => image::write_layout(dir.as_ref(), name, program.as_ref()),
            _ => Err("image takes NAME DIR PROGRAM".into()),
        },
        Some("test") => check::run(&root),
        Some("floors") => floors::run(&root),
        Some("tidy") => tidy::run(&root),
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

/// Benchmarks measure the release build.
fn bench(root: &std::path::Path, name: &str) -> Result<(), String> {
    let run = |args: &[&str]| -> Result<(), String> {
        let status = std::process::Command::new("cargo")
            .args(args)
            .current_dir(root)
            .status()
            .map_err(|e| e.to_string())?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("cargo {} failed", args.join(" ")))
        }
    };
    run(&[
        "build",
        "--release",
        "--package",
        "neargate",
        "--package",
        "neargate-bench",
    ])?;
    run(&["run", "--release", "--quiet", "--package", "neargate-bench", "--", name])
}
