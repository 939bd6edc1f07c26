//! How long a service lacks a killed container.

use crate::Result;
use crate::instance::{Instance, RANGES, Scratch, client, with_stamp};
use crate::stamp::Stamps;
use crate::stats::Sample;
use serde_json::json;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 30;
const LIMIT: Duration = Duration::from_secs(30);

pub fn run() -> Result<()> {
    let scratch = Scratch::new("heal")?;
    let mut stamps = Stamps::open(&scratch.0)?;
    let instance = Instance::start(&scratch.0, &[&RANGES[..], &["--healthy-after", "0"]].concat())?;
    let subnet = with_stamp(&scratch.0, &instance)?;
    let mut client = client();
    client.ecs(
        "CreateService",
        &json!({
            "cluster": "bench", "serviceName": "heal", "taskDefinition": "stamp", "desiredCount": 1, "launchType": "EC2",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": [subnet] } },
        }),
    )?;
    stamps.wait(1, LIMIT)?;
    let mut healed = Vec::new();
    for _ in 0..ROUNDS {
        let pid = stamp_pid(&mut client)?;
        let begin = Instant::now();
        if !Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .is_ok_and(|s| s.success())
        {
            return Err("cannot kill the container".into());
        }
        healed.push(stamps.wait(1, LIMIT)? - begin);
    }
    println!("heal: container killed to its replacement's program running");
    println!("  neargate                     {}", Sample::new(healed));
    drop(instance);
    Ok(())
}

/// The program of the service's RUNNING task, once there is just one.
fn stamp_pid(client: &mut crate::client::Client) -> Result<u32> {
    let until = Instant::now() + LIMIT;
    while Instant::now() < until {
        let listed = client.ecs("ListTasks", &json!({ "cluster": "bench", "serviceName": "heal" }))?;
        if let [only] = listed["taskArns"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let tasks = client.ecs("DescribeTasks", &json!({ "cluster": "bench", "tasks": [only] }))?;
            let pids = pids();
            if let (true, [pid]) = (tasks["tasks"][0]["lastStatus"] == "RUNNING", pids.as_slice()) {
                return Ok(*pid);
            }
        }
    }
    Err("the service does not settle on one running task".into())
}

fn pids() -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default() == b"/web\0/bench/fifo\0")
        .collect()
}
