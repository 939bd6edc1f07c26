//! A release build of Neargate, started for one benchmark and taken down again.

use crate::client::Client;
use crate::{Result, stamp};
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub const LISTEN: &str = "127.0.0.1:4599";
pub const KEY: &str = "AKIABENCHBENCHBENCH0";
pub const SECRET: &str = "benchbenchbenchbenchbenchbenchbenchbench";

/// A folder removed afterwards.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("neargate-bench-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| e.to_string())?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Networks of the instances that have the machine to themselves.
pub const RANGES: [&str; 6] = [
    "--vpc-cidr",
    "10.231.0.0/16",
    "--bridge-cidr",
    "198.18.231.0/24",
    "--public-cidr",
    "198.19.231.0/24",
];

pub struct Instance {
    pub child: Child,
    pub data: PathBuf,
    /// Exec to the first answered call.
    pub first_answer: Duration,
}

/// The release binary beside this one.
pub fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    Ok(own.with_file_name("neargate"))
}

impl Instance {
    pub fn start(dir: &Path, more: &[&str]) -> Result<Instance> {
        let data = dir.join("data");
        let log = std::fs::File::create(dir.join("log")).map_err(|e| e.to_string())?;
        let started = Instant::now();
        let mut child = Command::new(binary()?)
            .args(["up", "--stop-tasks", "--listen", LISTEN, "--data-dir"])
            .arg(&data)
            .args(more)
            .env("NEARGATE_ROOT_ACCESS_KEY_ID", KEY)
            .env("NEARGATE_ROOT_SECRET_ACCESS_KEY", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .map_err(|e| e.to_string())?;
        let stdout = child.stdout.take().expect("stdout is piped");
        let first_answer = loop {
            if client()
                .query("sts", "Action=GetCallerIdentity&Version=2011-06-15")
                .is_ok()
            {
                break started.elapsed();
            }
            if started.elapsed() > Duration::from_secs(30) {
                return Err(std::fs::read_to_string(dir.join("log")).unwrap_or_default());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let instance = Instance {
            child,
            data,
            first_answer,
        };
        let up = BufReader::new(stdout)
            .lines()
            .map_while(std::io::Result::ok)
            .any(|l| l.contains("Neargate is up"));
        if up {
            Ok(instance)
        } else {
            let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
            Err(format!("neargate did not come up: {}", log.trim()))
        }
    }

    /// Pids of `up` and its roles.
    pub fn pids(&self) -> Vec<(&'static str, u32)> {
        let role = |name: &str| {
            std::fs::read_to_string(self.data.join(format!("{name}.lock")))
                .ok()?
                .trim()
                .parse()
                .ok()
        };
        let mut out = vec![("up", self.child.id())];
        for name in ["control", "node", "gateway"] {
            out.extend(role(name).map(|pid| (name, pid)));
        }
        out
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(120);
        while Instant::now() < until && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Ok(binary) = binary() {
            let _ = Command::new(binary)
                .args(["down", "--data-dir"])
                .arg(&self.data)
                .stdout(Stdio::null())
                .status();
        }
    }
}

pub fn client() -> Client {
    Client::new(LISTEN, KEY, SECRET)
}

/// Loads the stamp program as the image `stamp:1` and registers task definition `stamp` that writes to `dir/fifo`.
pub fn with_stamp(dir: &Path, instance: &Instance) -> Result<String> {
    let program = stamp::build(dir)?;
    let layout = dir.join("layout");
    let made = Command::new("cargo")
        .args(["run", "--quiet", "--package", "xtask", "--", "image", "stamp:1"])
        .arg(&layout)
        .arg(&program)
        .status()
        .map_err(|e| e.to_string())?;
    if !made.success() {
        return Err("xtask image failed".into());
    }
    let load = Command::new(binary()?)
        .args(["images", "load"])
        .arg(&layout)
        .arg("--data-dir")
        .arg(&instance.data)
        .output()
        .map_err(|e| e.to_string())?;
    if !load.status.success() {
        return Err(String::from_utf8_lossy(&load.stderr).into_owned());
    }
    let mut client = client();
    client.ecs("CreateCluster", &json!({ "clusterName": "bench" }))?;
    client.ecs(
        "RegisterTaskDefinition",
        &json!({
            "family": "stamp", "networkMode": "awsvpc", "requiresCompatibilities": ["EC2"],
            "volumes": [{ "name": "fifo", "host": { "sourcePath": dir } }],
            "containerDefinitions": [{
                "name": "c", "image": "stamp:1", "memory": 16, "essential": true, "entryPoint": ["/web", "/bench/fifo"],
                "mountPoints": [{ "sourceVolume": "fifo", "containerPath": "/bench" }],
            }],
        }),
    )?;
    let xml = client.query("ec2", "Action=DescribeSubnets&Version=2016-11-15")?;
    let subnet = xml
        .split("<subnetId>")
        .nth(1)
        .and_then(|r| r.split('<').next())
        .ok_or("no subnet")?;
    Ok(subnet.to_owned())
}

pub fn run_task(subnet: &str, count: u32) -> Value {
    json!({
        "cluster": "bench", "taskDefinition": "stamp", "launchType": "EC2", "count": count,
        "networkConfiguration": { "awsvpcConfiguration": { "subnets": [subnet] } },
    })
}

/// ARNs of an answer's tasks.
pub fn arns(answer: &Value) -> Vec<String> {
    let tasks = answer["tasks"].as_array().into_iter().flatten();
    tasks.filter_map(|t| t["taskArn"].as_str().map(str::to_owned)).collect()
}

/// Asks until every task of `arns` has `status`.
pub fn wait_status(client: &mut Client, arns: &[String], status: &str, limit: Duration) -> Result<Instant> {
    let until = Instant::now() + limit;
    for chunk in arns.chunks(100) {
        loop {
            let answer = client.ecs("DescribeTasks", &json!({ "cluster": "bench", "tasks": chunk }))?;
            if answer["tasks"]
                .as_array()
                .is_some_and(|ts| ts.len() == chunk.len() && ts.iter().all(|t| t["lastStatus"] == status))
            {
                break;
            }
            if Instant::now() > until {
                return Err(format!("tasks are not {status} in time: {}", answer["tasks"][0]));
            }
        }
    }
    Ok(Instant::now())
}

/// A field of /proc/PID/smaps_rollup or status in KiB.
pub fn memory_kib(pid: u32, field: &str) -> u64 {
    let file = if field.starts_with("Vm") {
        "status"
    } else {
        "smaps_rollup"
    };
    let text = std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    text.lines()
        .find_map(|l| {
            l.strip_prefix(field)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}
