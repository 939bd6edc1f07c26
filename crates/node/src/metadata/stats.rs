//! What containers use, in the form of Docker's statistics. Pure.
//!
//! Source: "Task metadata endpoint version 4 … container stats" of the ECS developer guide; Docker Engine API, ContainerStats.

use neargate_core::Timestamp;
use neargate_netns::Counters;
use neargate_runtime::{BlockIo, Usage};
use serde_json::{Value, json};

/// A container at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    pub at: Timestamp,
    pub usage: Usage,
    /// Processor time of the whole machine, in nanoseconds.
    pub machine_cpu: u64,
    pub network: Option<Counters>,
}

/// What the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    pub cpus: usize,
    /// Bytes.
    pub memory: u64,
}

/// The document. `before`: an earlier sample of the same container, by which rates are told.
pub fn document(id: &str, name: &str, now: &Sample, before: Option<&Sample>, machine: Machine) -> Value {
    let mut out = json!({
        "id": id,
        "name": name,
        "read": now.at.iso8601(),
        "preread": before.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |before| before.at.iso8601()),
        "num_procs": 0,
        "pids_stats": { "current": now.usage.pids },
        "blkio_stats": block_io(&now.usage),
        "cpu_stats": cpu(now, machine),
        "precpu_stats": cpu(before.unwrap_or(&Sample::default()), machine),
        "memory_stats": {
            "usage": now.usage.memory,
            "max_usage": now.usage.memory_most.unwrap_or(now.usage.memory),
            "limit": now.usage.memory_limit.unwrap_or(machine.memory).min(machine.memory),
            "stats": now.usage.memory_stat,
        },
    });
    if let Some(network) = &now.network {
        out["networks"] = json!({ "eth0": {
            "rx_bytes": network.received.bytes, "rx_packets": network.received.packets,
            "rx_errors": network.received.errors, "rx_dropped": network.received.dropped,
            "tx_bytes": network.sent.bytes, "tx_packets": network.sent.packets,
            "tx_errors": network.sent.errors, "tx_dropped": network.sent.dropped,
        }});
        if let Some((before, then)) = before.and_then(|before| Some((before, before.network.as_ref()?))) {
            let seconds = now.at.since(before.at).as_secs_f64().max(0.001);
            let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
            out["network_rate_stats"] = json!({
                "rx_bytes_per_sec": rate(network.received.bytes, then.received.bytes),
                "tx_bytes_per_sec": rate(network.sent.bytes, then.sent.bytes),
            });
        }
    }
    out
}

/// Docker's lists, of which it fills these that the kernel counts whatever the device's scheduler is.
fn block_io(usage: &Usage) -> Value {
    let entry = |io: &BlockIo| json!({ "major": io.major, "minor": io.minor, "op": io.operation, "value": io.bytes });
    let bytes: Vec<Value> = usage.block_io.iter().map(entry).collect();
    json!({
        "io_service_bytes_recursive": bytes,
        "io_serviced_recursive": [],
        "io_queue_recursive": [],
        "io_service_time_recursive": [],
        "io_wait_time_recursive": [],
        "io_merged_recursive": [],
        "io_time_recursive": [],
        "sectors_recursive": [],
    })
}

fn cpu(sample: &Sample, machine: Machine) -> Value {
    json!({
        "cpu_usage": {
            "total_usage": sample.usage.cpu,
            "usage_in_kernelmode": sample.usage.cpu_system,
            "usage_in_usermode": sample.usage.cpu_user,
        },
        "system_cpu_usage": sample.machine_cpu,
        "online_cpus": machine.cpus,
        "throttling_data": {
            "periods": sample.usage.periods,
            "throttled_periods": sample.usage.throttled_periods,
            "throttled_time": sample.usage.throttled,
        },
    })
}

/// Nanoseconds that the machine's processors spent, from /proc/stat. `ticks`: of a second.
pub fn machine_cpu(stat: &str, ticks: u64) -> u64 {
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))
        .unwrap_or_default();
    // Guest time is in user time already.
    let all: u64 = line
        .split_whitespace()
        .take(8)
        .filter_map(|n| n.parse::<u64>().ok())
        .sum();
    all * (1_000_000_000 / ticks.max(1))
}

/// Bytes of memory, from /proc/meminfo.
pub fn machine_memory(meminfo: &str) -> u64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .unwrap_or_default();
    line.split_whitespace()
        .next()
        .and_then(|kib| kib.parse::<u64>().ok())
        .unwrap_or_default()
        * 1024
}
