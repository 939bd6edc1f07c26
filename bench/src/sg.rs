//! What security groups cost: connections and throughput between two tasks with few and many rules, and the time from
//! the call that authorizes to the first packet that passes.

use crate::Result;
use crate::balancer::{self, call};
use crate::instance::{Instance, Scratch, client, run_task, wait_status, with_stamp};
use crate::stamp::Stamps;
use crate::stats::Sample;
use crate::{client::Client, instance::arns};
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
const PORT: u16 = 8080;
const OPENINGS: usize = 30;
const LIMIT: Duration = Duration::from_secs(20);

unsafe extern "C" {
    fn setns(fd: i32, kind: i32) -> i32;
}

/// A running task with its network namespace.
pub struct Task {
    pub address: String,
    pub namespace: PathBuf,
}

impl Task {
    fn target(&self) -> Result<SocketAddr> {
        format!("{}:{PORT}", self.address)
            .parse()
            .map_err(|_| format!("{} is no address", self.address))
    }
}

pub fn run() -> Result<()> {
    let scratch = Scratch::new("sg")?;
    let mut stamps = Stamps::open(&scratch.0)?;
    let ranges = [
        "--vpc-cidr",
        "10.233.0.0/16",
        "--bridge-cidr",
        "198.18.233.0/24",
        "--public-cidr",
        "198.19.233.0/24",
        "--quota",
        "rules-per-security-group=200",
    ];
    let instance = Instance::start(&scratch.0, &ranges)?;
    let subnet = with_stamp(&scratch.0, &instance)?;
    let mut client = client();
    let vpc = balancer::vpc(&mut client)?;
    let gate = group(&mut client, &vpc, "gate")?;
    let server = launch(&mut client, &subnet, std::slice::from_ref(&gate))?;
    let caller = launch(&mut client, &subnet, &[])?;
    stamps.wait(2, LIMIT)?;
    let target = server.target()?;
    {
        let _nginx = serve(&scratch, &server)?;
        let mut opened = Vec::new();
        for _ in 0..OPENINGS {
            closed(&caller, target)?;
            let begin = Instant::now();
            let from = Task {
                address: String::new(),
                namespace: caller.namespace.clone(),
            };
            let waiting = std::thread::spawn(move || reaches(&from, target, begin + LIMIT));
            authorize(&mut client, &gate, PORT)?;
            let passed = waiting.join().map_err(|_| "the caller panicked")??;
            opened.push(passed.ok_or("nothing passed")? - begin);
            revoke(&mut client, &gate, PORT)?;
        }
        println!("sg: from the authorize call to packets that pass");
        println!("  neargate                     {}", Sample::new(opened));
    }
    println!("sg: nginx in one task, wrk in another; medians of {ROUNDS} rounds of 3 s");
    for (groups, rules) in [(1, 1), (1, 50), (MOST_GROUPS, MOST_RULES)] {
        let ids = filled(&mut client, &vpc, groups, rules)?;
        let server = launch(&mut client, &subnet, &ids)?;
        stamps.wait(1, LIMIT)?;
        let _nginx = serve(&scratch, &server)?;
        let target = server.target()?;
        reaches(&caller, target, Instant::now() + LIMIT)?.ok_or("nginx does not answer")?;
        let (mut rates, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            rates.push(wrk(&caller, &target, "/2", &["-H", "Connection: close"])?.0);
            bytes.push(wrk(&caller, &target, "/big", &[])?.1);
        }
        rates.sort_by(f64::total_cmp);
        bytes.sort_by(f64::total_cmp);
        println!(
            "  {:>5} rules in {groups:>2} groups   {:8.0} connections/s   {:6.2} GB/s",
            groups * rules,
            rates[ROUNDS / 2],
            bytes[ROUNDS / 2] / 1e9
        );
    }
    Ok(())
}

/// As many groups as a task may have, with as many rules as these may have together: AWS's quota when it is raised.
const MOST_GROUPS: usize = 5;
const MOST_RULES: usize = 200;

/// Groups of `rules` rules each, of which only the very last admits nginx's port.
fn filled(client: &mut Client, vpc: &balancer::Vpc, groups: usize, rules: usize) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for g in 0..groups {
        let id = group(client, vpc, &format!("full-{groups}-{rules}-{g}"))?;
        for r in 0..rules {
            let last = g + 1 == groups && r + 1 == rules;
            let port = if last {
                PORT
            } else {
                20_000 + u16::try_from(r).unwrap_or(0)
            };
            authorize(client, &id, port)?;
        }
        ids.push(id);
    }
    Ok(ids)
}

fn group(client: &mut Client, vpc: &balancer::Vpc, name: &str) -> Result<String> {
    let members = [("GroupName", name), ("GroupDescription", "bench"), ("VpcId", &vpc.id)];
    balancer::text(&call(client, "ec2", "CreateSecurityGroup", &members)?, "groupId")
}

fn authorize(client: &mut Client, group: &str, port: u16) -> Result<()> {
    permission(client, "AuthorizeSecurityGroupIngress", group, port)
}

fn revoke(client: &mut Client, group: &str, port: u16) -> Result<()> {
    permission(client, "RevokeSecurityGroupIngress", group, port)
}

fn permission(client: &mut Client, action: &str, group: &str, port: u16) -> Result<()> {
    let port = port.to_string();
    let members = [
        ("GroupId", group),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", &port),
        ("IpPermissions.1.ToPort", &port),
        ("IpPermissions.1.IpRanges.1.CidrIp", "10.233.0.0/16"),
    ];
    call(client, "ec2", action, &members).map(|_| ())
}

pub fn launch(client: &mut Client, subnet: &str, groups: &[String]) -> Result<Task> {
    let mut input = run_task(subnet, 1);
    if !groups.is_empty() {
        input["networkConfiguration"]["awsvpcConfiguration"]["securityGroups"] = json!(groups);
    }
    let tasks = arns(&client.ecs("RunTask", &input)?);
    wait_status(client, &tasks, "RUNNING", LIMIT)?;
    let found = client.ecs("DescribeTasks", &json!({ "cluster": "bench", "tasks": tasks }))?;
    let details = found["tasks"][0]["attachments"][0]["details"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let address = details.iter().find(|d| d["name"] == "privateIPv4Address");
    let address = address
        .and_then(|d| d["value"].as_str())
        .ok_or("the task has no address")?;
    let id = tasks[0].rsplit('/').next().unwrap_or_default().to_owned();
    Ok(Task {
        address: address.to_owned(),
        namespace: namespace(&id)?,
    })
}

/// The mounted handle of the namespace that is named after the task.
fn namespace(id: &str) -> Result<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let mut paths = mounts.lines().filter_map(|l| l.split(' ').nth(4));
    let found = paths.find(|p| p.ends_with(id));
    found.map(PathBuf::from).ok_or(format!("no namespace of task {id}"))
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// nginx in the task's network namespace.
fn serve(scratch: &Scratch, task: &Task) -> Result<Server> {
    let dir = scratch.0.display();
    std::fs::write(scratch.0.join("2"), "ok").map_err(|e| e.to_string())?;
    std::fs::write(scratch.0.join("big"), vec![0u8; 8 * 1024 * 1024]).map_err(|e| e.to_string())?;
    let conf = format!(
        "user root; daemon off; worker_processes 1; pid {dir}/sg.pid; error_log {dir}/sg-error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{ access_log off; sendfile on; open_file_cache max=10; server {{ listen {PORT} backlog=4096; root {dir}; }} }}\n"
    );
    let path = scratch.0.join("sg.conf");
    std::fs::write(&path, conf).map_err(|e| e.to_string())?;
    let child = Command::new("nsenter")
        .arg(format!("--net={}", task.namespace.display()))
        .args(["nginx", "-c"])
        .arg(&path)
        .stdin(Stdio::null())
        .spawn()
        .map_err(|e| format!("nginx: {e}"))?;
    Ok(Server(child))
}

/// When a connection from the task to `target` succeeds, trying every few milliseconds until `until`.
fn reaches(task: &Task, target: SocketAddr, until: Instant) -> Result<Option<Instant>> {
    let namespace = std::fs::File::open(&task.namespace).map_err(|e| e.to_string())?;
    let trying = std::thread::spawn(move || {
        // SAFETY: an open descriptor of a namespace; only this thread changes its own.
        if unsafe { setns(namespace.as_raw_fd(), 0x4000_0000) } != 0 {
            return Err(std::io::Error::last_os_error().to_string());
        }
        while Instant::now() < until {
            if TcpStream::connect_timeout(&target, Duration::from_millis(2)).is_ok() {
                return Ok(Some(Instant::now()));
            }
        }
        Ok(None)
    });
    trying.join().map_err(|_| "the caller panicked")?
}

/// Waits until no connection passes any more: the call that revokes is answered before the machine has heard of it.
fn closed(task: &Task, target: SocketAddr) -> Result<()> {
    let until = Instant::now() + LIMIT;
    while reaches(task, target, Instant::now() + Duration::from_millis(50))?.is_some() {
        if Instant::now() > until {
            return Err("connections pass that no rule admits".into());
        }
    }
    Ok(())
}

/// Requests and bytes a second that wrk gets in the task's namespace.
fn wrk(task: &Task, target: &SocketAddr, path: &str, more: &[&str]) -> Result<(f64, f64)> {
    let out = Command::new("nsenter")
        .arg(format!("--net={}", task.namespace.display()))
        .args(["wrk", "-t1", "-c8", "-d3s"])
        .args(more)
        .arg(format!("http://{target}{path}"))
        .output()
        .map_err(|e| format!("wrk: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let value = |label: &str| {
        let line = text.lines().find(|l| l.starts_with(label))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    };
    let rate = value("Requests/sec:")
        .and_then(|v| v.parse().ok())
        .ok_or(text.clone())?;
    let transfer = value("Transfer/sec:").ok_or(text.clone())?;
    let unit = transfer.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = transfer[..transfer.len() - unit.len()].parse().unwrap_or(0.0);
    let scale = match unit {
        "GB" => 1e9,
        "MB" => 1e6,
        "KB" => 1e3,
        _ => 1.0,
    };
    Ok((rate, number * scale))
}
