//! Not checks but measurements: `cargo test -p neargate-node --test measure -- --ignored --nocapture`.

mod support;

use neargate_link::{Phase, TaskSpec};
use std::fs;
use std::time::Duration;
use support::machine::{Machine, possible};

#[test]
#[ignore = "a measurement"]
fn launches_are_fast() {
    if !possible() {
        return;
    }
    let m = Machine::start(11);
    let mut times: Vec<Duration> = Vec::new();
    let mut ends: Vec<Duration> = Vec::new();
    for n in 0..60 {
        let spec = m.task(n, "exec sleep 1000");
        let began = std::time::Instant::now();
        m.want(&spec);
        m.phase(n, Phase::Running);
        times.push(began.elapsed());
        let mut stop = spec.clone();
        stop.containers[0].stop_timeout = Some(0);
        let began = std::time::Instant::now();
        m.stop(&stop);
        if n % 2 == 0 {
            continue;
        }
        m.phase(n, Phase::Stopped);
        ends.push(began.elapsed());
    }
    times.sort();
    ends.sort();
    eprintln!(
        "RUNNING after p50 {:?} p90 {:?}",
        times[times.len() / 2],
        times[times.len() * 9 / 10]
    );
    eprintln!(
        "STOPPED after p50 {:?} p90 {:?}",
        ends[ends.len() / 2],
        ends[ends.len() * 9 / 10]
    );
}

/// Of a node in a process of its own.
#[test]
#[ignore = "a measurement"]
fn a_node_is_small() {
    if !possible() {
        return;
    }
    let mut m = Machine::start(13);
    m.stop_node();
    let before = m.control().heard(|h| h.connections);
    let node = m.node_process();
    let pid = node.0.id();
    let connected = m.control().wait("the node", |h| (h.connections > before).then_some(()));
    m.runtime.block_on(connected);
    std::thread::sleep(Duration::from_secs(1));
    eprintln!("idle: {}", memory(pid));
    let began = std::time::Instant::now();
    let specs: Vec<TaskSpec> = (0..100).map(|n| m.task(n, "exec sleep 1000")).collect();
    specs.iter().for_each(|s| m.want(s));
    for n in 0..100 {
        m.phase(n, Phase::Running);
    }
    eprintln!("100 tasks running after {:?}: {}", began.elapsed(), memory(pid));
    let shim = m.shim_state(1).shim.pid;
    eprintln!("a shim: {}", memory(shim.unsigned_abs()));
    std::thread::sleep(Duration::from_secs(11));
    eprintln!("idle with 100 tasks: {}", memory(pid));
    let ticks = |pid: u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    };
    eprintln!("processor time so far: {} ticks", ticks(pid));
    drop(node);
}

fn memory(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let wanted = |l: &&str| {
        ["VmRSS", "RssAnon", "Threads", "Pss:", "Private_Dirty"]
            .iter()
            .any(|w| l.starts_with(w))
    };
    let lines = status.lines().chain(rollup.lines()).filter(wanted);
    lines
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join(", ")
}
