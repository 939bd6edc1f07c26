//! `cargo xtask bench NAME`: what launching, healing and scaling cost, each beside its peer in the same run.
//!
//! Medians of alternating runs; figures go to docs/BENCHMARKS.md. Nothing here asserts a time.

mod churn;
mod client;
mod heal;
mod idle;
mod instance;
mod launch;
mod peers;
mod scale;
mod stamp;
mod stats;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, String>;

const HELP: &str = "cargo xtask bench NAME

  launch   RunTask to process running and to RUNNING seen, against runc run -d and docker run -d
  churn    500 tasks started and stopped: tasks a second, memory per running task
  idle     resident memory of all roles, time from exec to the first answered call
  heal     container killed to replacement running
  scale    5,000 simulated nodes, 100,000 tasks: placements a second, memory, p99 of describe calls
  all      one after another
";

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let done = match name.as_str() {
        "launch" => launch::run(),
        "churn" => churn::run(),
        "idle" => idle::run(),
        "heal" => heal::run(),
        "scale" => scale::run(),
        "all" => launch::run()
            .and_then(|()| churn::run())
            .and_then(|()| idle::run())
            .and_then(|()| heal::run())
            .and_then(|()| scale::run()),
        _ => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("bench {name}: {why}");
            ExitCode::FAILURE
        }
    }
}
