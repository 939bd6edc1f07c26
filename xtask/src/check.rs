//! `cargo xtask test`: every check, in the order in which failures are cheapest.

use crate::{codegen, demo, floors, tidy};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

type Result<T> = std::result::Result<T, String>;

pub fn run(root: &Path) -> Result<()> {
    let steps: &[(&str, &dyn Fn() -> Result<()>)] = &[
        ("format", &|| command(root, "cargo", &["fmt", "--all", "--check"])),
        ("floors: arrows point down, plans are pure", &|| floors::run(root)),
        ("tidy: sizes, purposes, marks", &|| tidy::run(root)),
        ("generated code is what the models say", &|| {
            codegen::run(root, None, true)
        }),
        ("clippy", &|| {
            command(
                root,
                "cargo",
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--quiet",
                    "--",
                    "-D",
                    "warnings",
                ],
            )
        }),
        ("build", &|| {
            command(root, "cargo", &["build", "--package", "neargate", "--quiet"])
        }),
        ("unit, contract, property and engine tests", &|| tests(root)),
        ("conformance: AWS CLI and boto3 against the running product", &|| {
            command(
                root,
                ".venv/bin/python3",
                &["-m", "pytest", "-q", "--timeout=300", "conformance"],
            )
        }),
        ("demo --once", &|| demo::run(root, true)),
    ];
    let begin = Instant::now();
    for (n, (what, check)) in steps.iter().enumerate() {
        println!("\n\x1b[1m[{}/{}] {what}\x1b[0m", n + 1, steps.len());
        let started = Instant::now();
        check().map_err(|why| format!("{what}: {why}"))?;
        println!("    ok, {} s", started.elapsed().as_secs());
    }
    println!("\nEvery check passed in {} s.", begin.elapsed().as_secs());
    Ok(())
}

fn tests(root: &Path) -> Result<()> {
    let nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|o| o.status.success());
    if nextest {
        command(
            root,
            "cargo",
            &[
                "nextest",
                "run",
                "--workspace",
                "--status-level",
                "fail",
                "--show-progress",
                "none",
            ],
        )
    } else {
        command(root, "cargo", &["test", "--workspace", "--quiet"])
    }
}

fn command(root: &Path, program: &str, args: &[&str]) -> Result<()> {
    let program = if program.contains('/') {
        root.join(program)
    } else {
        program.into()
    };
    let status = Command::new(&program).args(args).current_dir(root).status();
    let status = status.map_err(|e| format!("{}: {e}", program.display()))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`{} {}` failed", program.display(), args.join(" ")))
    }
}
