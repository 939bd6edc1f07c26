//! Many tasks started and stopped at once.

use crate::Result;
use crate::instance::{Instance, RANGES, Scratch, arns, client, memory_kib, run_task, wait_status, with_stamp};
use crate::stamp::Stamps;
use serde_json::json;
use std::time::{Duration, Instant};

const TASKS: usize = 500;
const LIMIT: Duration = Duration::from_secs(300);

pub fn run() -> Result<()> {
    let scratch = Scratch::new("churn")?;
    let mut stamps = Stamps::open(&scratch.0)?;
    let instance = Instance::start(&scratch.0, &RANGES)?;
    let subnet = with_stamp(&scratch.0, &instance)?;
    let mut client = client();
    let before = roles_kib(&instance);
    let begin = Instant::now();
    let mut tasks = Vec::new();
    while tasks.len() < TASKS {
        tasks.extend(arns(&client.ecs("RunTask", &run_task(&subnet, 10))?));
    }
    stamps.wait(TASKS, LIMIT)?;
    let running = wait_status(&mut client, &tasks, "RUNNING", LIMIT)?;
    let started = running - begin;

    let grown = roles_kib(&instance).saturating_sub(before);
    let shims: Vec<u32> = shims();
    let shim_kib: u64 = shims.iter().map(|pid| memory_kib(*pid, "Pss")).sum();
    let begin = Instant::now();
    for task in &tasks {
        client.ecs("StopTask", &json!({ "cluster": "bench", "task": task }))?;
    }
    let stopped = wait_status(&mut client, &tasks, "STOPPED", LIMIT)? - begin;
    let per_second = |d: Duration| TASKS as f64 / d.as_secs_f64();
    println!("churn: {TASKS} tasks, all running at once, each with its own network");
    println!("  started              {:6.1} tasks/s", per_second(started));
    println!("  stopped              {:6.1} tasks/s", per_second(stopped));
    println!("  started and stopped  {:6.1} tasks/s", per_second(started + stopped));
    println!(
        "  memory per running task: {:.2} MiB ({:.2} MiB shim (PSS), {:.2} MiB growth of the roles)",
        (shim_kib + grown) as f64 / 1024.0 / TASKS as f64,
        shim_kib as f64 / 1024.0 / TASKS as f64,
        grown as f64 / 1024.0 / TASKS as f64
    );
    Ok(())
}

fn roles_kib(instance: &Instance) -> u64 {
    instance.pids().iter().map(|(_, pid)| memory_kib(*pid, "Pss")).sum()
}

/// Every shim of the machine.
fn shims() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|b| *b == 0).nth(1) == Some(b"shim")
        })
        .collect()
}
