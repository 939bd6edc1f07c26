//! A rolling update of ten tasks under constant load: requests that failed, and how long the rollout took.

use crate::Result;
use crate::balancer;
use crate::client::Client;
use crate::instance::{Instance, Scratch, binary, client};
use crate::stats::Sample;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TASKS: u32 = 10;
/// Rollouts follow one another until so many requests were made, or so much time has passed.
const REQUESTS: u64 = 1_000_000;
const MOST_TIME: Duration = Duration::from_secs(480);
const CONNECTIONS: usize = 16;
const ADDRESS: &str = "127.232.0.1:8791";
const LIMIT: Duration = Duration::from_secs(180);

pub fn run() -> Result<()> {
    let scratch = Scratch::new("deploy")?;
    let ranges = [
        "--vpc-cidr",
        "10.232.0.0/16",
        "--bridge-cidr",
        "198.18.232.0/24",
        "--public-cidr",
        "198.19.232.0/24",
    ];
    let instance = Instance::start(
        &scratch.0,
        &[&ranges[..], &["--load-balancer-listen", "127.232.0.1"]].concat(),
    )?;
    load_image(&scratch, &instance)?;
    let mut client = client();
    let vpc = balancer::vpc(&mut client)?;
    balancer::open(&mut client, &vpc.group)?;
    let arn = balancer::balancer(&mut client, &vpc, "deploy")?;
    let group = balancer::target_group(&mut client, &vpc, "deploy", 8080, "/")?;
    balancer::drain_within(&mut client, &group, 2)?;
    balancer::listener(&mut client, &arn, 8791, &group, 1, None)?;
    client.ecs("CreateCluster", &json!({ "clusterName": "bench" }))?;
    client.ecs(
        "RegisterTaskDefinition",
        &json!({
            "family": "web", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [{ "name": "web", "image": "web:bench", "essential": true, "portMappings": [{ "containerPort": 8080 }],
                // The program has no handler for SIGTERM, which the first process of a container then ignores.
                "linuxParameters": { "initProcessEnabled": true } }],
        }),
    )?;
    client.ecs(
        "CreateService",
        &json!({
            "cluster": "bench", "serviceName": "web", "taskDefinition": "web", "desiredCount": TASKS, "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": &vpc.subnets[..2] } },
            "loadBalancers": [{ "targetGroupArn": group, "containerName": "web", "containerPort": 8080 }],
        }),
    )?;
    rest(&mut client)?;

    let load = Load::start();
    let (mut took, start) = (Vec::new(), Instant::now());
    while load.requests.load(Ordering::Relaxed) < REQUESTS && start.elapsed() < MOST_TIME {
        let begin = Instant::now();
        let input = json!({ "cluster": "bench", "service": "web", "forceNewDeployment": true });
        client.ecs("UpdateService", &input)?;
        rest(&mut client)?;
        took.push(begin.elapsed());
        drained(&mut client)?;
    }
    let (requests, failed, reasons) = load.stop();
    let rollouts = took.len();
    println!("deploy: {rollouts} rolling updates of {TASKS} tasks under load of {CONNECTIONS} connections");
    println!("  requests {requests}, failed {failed}");
    for reason in reasons.iter().take(5) {
        println!("    {reason}");
    }
    println!("  a rollout                    {}", Sample::new(took));
    Ok(())
}

fn load_image(scratch: &Scratch, instance: &Instance) -> Result<()> {
    let layout = scratch.0.join("layout");
    let program = scratch.0.join("web");
    let built = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
            "-o",
        ])
        .arg(&program)
        .arg("examples/web/src/main.rs")
        .status()
        .map_err(|e| e.to_string())?;
    let made = Command::new("cargo")
        .args(["run", "--quiet", "--package", "xtask", "--", "image", "web:bench"])
        .arg(&layout)
        .arg(&program)
        .status()
        .map_err(|e| e.to_string())?;
    let loaded = Command::new(binary()?)
        .args(["images", "load"])
        .arg(&layout)
        .arg("--data-dir")
        .arg(&instance.data)
        .output()
        .map_err(|e| e.to_string())?;
    match built.success() && made.success() && loaded.status.success() {
        true => Ok(()),
        false => Err(format!(
            "the image could not be made: {}",
            String::from_utf8_lossy(&loaded.stderr)
        )),
    }
}

/// Waits until the service has one deployment, completed.
fn rest(client: &mut Client) -> Result<()> {
    let input = json!({ "cluster": "bench", "services": ["web"] });
    wait(client, "DescribeServices", &input, |found| {
        let deployments = found["services"][0]["deployments"].as_array();
        deployments.is_some_and(|all| all.len() == 1 && all[0]["rolloutState"] == "COMPLETED")
    })
}

/// Waits until the tasks of the last rollout are gone.
fn drained(client: &mut Client) -> Result<()> {
    wait(client, "ListTasks", &json!({ "cluster": "bench" }), |found| {
        found["taskArns"]
            .as_array()
            .is_some_and(|tasks| tasks.len() == TASKS as usize)
    })
}

/// Asks until the answer is as it should be.
fn wait(client: &mut Client, operation: &str, input: &Value, there: impl Fn(&Value) -> bool) -> Result<()> {
    let until = Instant::now() + LIMIT;
    loop {
        let found = client.ecs(operation, input)?;
        if there(&found) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{operation} does not come to rest: {found}"));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Clients that ask again and again.
struct Load {
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicU64>,
    clients: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start() -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let requests = Arc::new(AtomicU64::new(0));
        let clients = (0..CONNECTIONS)
            .map(|_| {
                let (stop, requests) = (stop.clone(), requests.clone());
                std::thread::spawn(move || ask_on(&stop, &requests))
            })
            .collect();
        Load {
            stop,
            requests,
            clients,
        }
    }

    fn stop(self) -> (u64, usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let faults: Vec<String> = self
            .clients
            .into_iter()
            .flat_map(|c| c.join().unwrap_or_else(|_| vec!["a client panicked".to_owned()]))
            .collect();
        (self.requests.load(Ordering::Relaxed), faults.len(), faults)
    }
}

/// Asks over one kept-alive connection until told; what failed.
fn ask_on(stop: &AtomicBool, requests: &AtomicU64) -> Vec<String> {
    let mut faults = Vec::new();
    let mut stream: Option<BufReader<TcpStream>> = None;
    while !stop.load(Ordering::Relaxed) {
        let outcome = ask(&mut stream);
        requests.fetch_add(1, Ordering::Relaxed);
        match outcome {
            Ok(200) => {}
            Ok(status) => faults.push(format!("status {status}")),
            Err(error) => {
                faults.push(error.to_string());
                stream = None;
            }
        }
    }
    faults
}

fn ask(stream: &mut Option<BufReader<TcpStream>>) -> std::io::Result<u16> {
    if stream.is_none() {
        let new = TcpStream::connect(ADDRESS)?;
        new.set_nodelay(true)?;
        new.set_read_timeout(Some(Duration::from_secs(10)))?;
        *stream = Some(BufReader::new(new));
    }
    let Some(open) = stream.as_mut() else {
        return Err(std::io::ErrorKind::NotConnected.into());
    };
    write!(open.get_mut(), "GET / HTTP/1.1\r\nHost: deploy.localhost\r\n\r\n")?;
    let mut line = String::new();
    if open.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    let (mut length, mut close) = (0, false);
    loop {
        line.clear();
        if open.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
            }
            close |= name.eq_ignore_ascii_case("connection") && value.trim().eq_ignore_ascii_case("close");
        }
    }
    let mut body = vec![0; length];
    open.read_exact(&mut body)?;
    if close {
        *stream = None;
    }
    Ok(status)
}
