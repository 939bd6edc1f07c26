//! `cargo xtask bench NAME`: what launching, healing and scaling cost, each beside its peer in the same run.
//!
//! Medians of alternating runs; figures go to docs/BENCHMARKS.md. Nothing here asserts a time.

mod balancer;
mod churn;
mod client;
mod deploy;
mod gateway;
mod heal;
mod idle;
mod instance;
mod launch;
mod peers;
mod proxies;
mod scale;
mod sg;
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
  gateway  a request through a load balancer: processor time, latency, memory, against nginx and HAProxy;
           `gateway HTTP/2` takes only the loads of that name
  deploy   rolling updates under load: requests that failed, time
  sg       security groups: connections, throughput, time until a new rule holds
  all      one after another
";

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let only = std::env::args().nth(2);
    let done = match name.as_str() {
        "launch" => launch::run(),
        "churn" => churn::run(),
        "idle" => idle::run(),
        "heal" => heal::run(),
        "scale" => scale::run(),
        "gateway" => gateway::run(only.as_deref()),
        "deploy" => deploy::run(),
        "sg" => sg::run(),
        "all" => launch::run()
            .and_then(|()| churn::run())
            .and_then(|()| idle::run())
            .and_then(|()| heal::run())
            .and_then(|()| scale::run())
            .and_then(|()| gateway::run(only.as_deref()))
            .and_then(|()| deploy::run())
            .and_then(|()| sg::run()),
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
