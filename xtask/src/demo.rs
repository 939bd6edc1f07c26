//! `cargo xtask demo [--once]`: the product in front of one's eyes, with the real AWS CLI and real containers.

use crate::aws::{Instance, wait_for};
use crate::image;
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, String>;

const IMAGE: &str = "neargate/web:1";

pub fn run(root: &Path, once: bool) -> Result<()> {
    say("Building Neargate and the demo's web program (the first time takes a few minutes)");
    let built = Command::new("cargo")
        .args(["build", "--package", "neargate"])
        .current_dir(root)
        .status();
    if !built.map_err(|e| e.to_string())?.success() {
        return Err("cargo build failed".into());
    }
    let web = image::build_web(root)?;
    let layout = root.join("target/demo/image");
    image::write_layout(&layout, IMAGE, &web)?;

    let scratch = Scratch::new()?;
    let binary = root.join("target/debug/neargate");
    say("Starting Neargate");
    let vpc = std::env::var("NEARGATE_DEMO_VPC_CIDR").unwrap_or_else(|_| "172.31.0.0/16".into());
    let listen = std::env::var("NEARGATE_DEMO_LISTEN").unwrap_or_else(|_| "127.0.0.1:4566".into());
    let instance = Instance::start(root, &binary, &scratch.0.join("data"), &listen, &["--vpc-cidr", &vpc])?;
    let load = Command::new(&binary)
        .args(["images", "load"])
        .arg(&layout)
        .arg("--data-dir")
        .arg(scratch.0.join("data"))
        .status();
    if !load.map_err(|e| e.to_string())?.success() {
        return Err("neargate images load failed".into());
    }
    show(&instance, once)
}

/// Where the demo's load balancer listens: 80 may be taken on a machine that people use.
fn port() -> u16 {
    let asked = std::env::var("NEARGATE_DEMO_PORT").ok().and_then(|p| p.parse().ok());
    asked.unwrap_or(8088)
}

fn show(aws: &Instance, once: bool) -> Result<()> {
    say("A door: everyone may call the load balancer, and only the load balancer may call the tasks");
    let port = port();
    let subnets = aws.aws_json(&["ec2", "describe-subnets"])?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or(format!("no text: {value}"));
    let subnet = |at: usize| text(&subnets["Subnets"][at]["SubnetId"]);
    let (first, second) = (subnet(0)?, subnet(1)?);
    let vpc = text(&subnets["Subnets"][0]["VpcId"])?;
    let group = |name: &str| {
        let about = "Neargate demo";
        let create = [
            "ec2",
            "create-security-group",
            "--group-name",
            name,
            "--description",
            about,
            "--vpc-id",
            &vpc,
        ];
        text(&shown(aws, &create)?["GroupId"])
    };
    let (door, inside) = (group("door")?, group("inside")?);
    let listen = port.to_string();
    let authorize = ["ec2", "authorize-security-group-ingress", "--group-id"];
    let anyone = [
        door.as_str(),
        "--protocol",
        "tcp",
        "--port",
        &listen,
        "--cidr",
        "0.0.0.0/0",
    ];
    shown(aws, &[&authorize[..], &anyone].concat())?;
    let balancer_alone = [
        inside.as_str(),
        "--protocol",
        "tcp",
        "--port",
        "8080",
        "--source-group",
        &door,
    ];
    shown(aws, &[&authorize[..], &balancer_alone].concat())?;
    let create = [
        "elbv2",
        "create-load-balancer",
        "--name",
        "demo",
        "--subnets",
        &first,
        &second,
        "--security-groups",
        &door,
    ];
    let balancer = shown(aws, &create)?["LoadBalancers"][0].clone();
    let (balancer, name) = (text(&balancer["LoadBalancerArn"])?, text(&balancer["DNSName"])?);
    let create = [
        "elbv2",
        "create-target-group",
        "--name",
        "web",
        "--protocol",
        "HTTP",
        "--port",
        "8080",
        "--vpc-id",
        &vpc,
        "--target-type",
        "ip",
        "--health-check-interval-seconds",
        "5",
        "--health-check-timeout-seconds",
        "2",
    ];
    let targets = text(&shown(aws, &create)?["TargetGroups"][0]["TargetGroupArn"])?;
    let forward = format!("Type=forward,TargetGroupArn={targets}");
    let create = [
        "elbv2",
        "create-listener",
        "--load-balancer-arn",
        &balancer,
        "--protocol",
        "HTTP",
        "--port",
        &listen,
    ];
    shown(aws, &[&create[..], &["--default-actions", &forward]].concat())?;

    say("A task definition, a cluster, a log group and a service of three tasks behind it");
    shown(aws, &["ecs", "create-cluster", "--cluster-name", "demo"])?;
    shown(aws, &["logs", "create-log-group", "--log-group-name", "/demo/web"])?;
    let containers = serde_json::json!([{
        "name": "web", "image": IMAGE, "essential": true,
        "portMappings": [{ "containerPort": 8080 }],
        "environment": [{ "name": "GREETING", "value": "Hello" }],
        "healthCheck": { "command": ["CMD", "/web", "check"], "interval": 5, "timeout": 2, "retries": 2 },
        "logConfiguration": { "logDriver": "awslogs", "options": {
            "awslogs-group": "/demo/web", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "web" } },
    }])
    .to_string();
    let register = [
        "ecs",
        "register-task-definition",
        "--family",
        "web",
        "--requires-compatibilities",
        "FARGATE",
        "--network-mode",
        "awsvpc",
        "--cpu",
        "256",
        "--memory",
        "512",
        "--container-definitions",
        &containers,
    ];
    shown(aws, &register)?;
    let network = format!("awsvpcConfiguration={{subnets=[{first},{second}],securityGroups=[{inside}]}}");
    let behind = format!("targetGroupArn={targets},containerName=web,containerPort=8080");
    let started = Instant::now();
    let create = [
        "ecs",
        "create-service",
        "--cluster",
        "demo",
        "--service-name",
        "web",
        "--task-definition",
        "web",
        "--desired-count",
        "3",
        "--launch-type",
        "FARGATE",
        "--network-configuration",
        &network,
        "--load-balancers",
        &behind,
    ];
    shown(aws, &create)?;
    let tasks = running(aws, 3)?;
    say(&format!(
        "Three tasks run, {} ms after the call (asked through the AWS CLI)",
        started.elapsed().as_millis()
    ));
    for task in &tasks {
        println!("    {}  {}", short(task), address(task).unwrap_or("?"));
    }

    say("Asking through the load balancer until each of them has answered");
    let ask = || ask_balancer(&name, port, "/");
    let mut answers = std::collections::BTreeSet::new();
    wait_for(
        "every task answers through the load balancer",
        Duration::from_secs(30),
        || {
            let (status, body) = ask().unwrap_or_default();
            if status == 200 && answers.insert(body.clone()) {
                print!("    http://{name}:{port}/  ->  {body}");
            }
            Ok((answers.len() == 3).then_some(()))
        },
    )?;
    if !answers.iter().all(|body| body.starts_with("Hello, from task")) {
        return Err(format!("unexpected answers: {answers:?}"));
    }
    let past = address(&tasks[0]).ok_or("a task has no address")?;
    if reaches(past) {
        return Err(format!("{past}:8080 was reached past the load balancer"));
    }
    println!("    http://{past}:8080/  ->  no way past the door");

    say("Killing a task from inside (GET /crash) while asking on: watch it being replaced");
    let before: Vec<String> = tasks
        .iter()
        .filter_map(|t| t["taskArn"].as_str().map(str::to_owned))
        .collect();
    let killed = Instant::now();
    let _ = ask_balancer(&name, port, "/crash");
    let (mut asked, mut failed) = (0, 0);
    let victim_arn = wait_for("the task is replaced", Duration::from_secs(60), || {
        for _ in 0..10 {
            asked += 1;
            failed += usize::from(!matches!(ask(), Ok((200, _))));
        }
        let now = running_now(aws)?;
        let gone = before
            .iter()
            .find(|arn| now.iter().all(|t| t["taskArn"].as_str() != Some(arn)));
        Ok(gone.filter(|_| now.len() == 3).cloned())
    })?;
    say(&format!(
        "Replaced, {} ms after the kill (asked through the AWS CLI); {asked} requests meanwhile, {failed} failed",
        killed.elapsed().as_millis()
    ));
    let dead = aws.aws_json(&["ecs", "describe-tasks", "--cluster", "demo", "--tasks", &victim_arn])?;
    let dead = &dead["tasks"][0];
    println!(
        "    {}  {}  exit code {}: {}",
        short(dead),
        dead["lastStatus"].as_str().unwrap_or("?"),
        dead["containers"][0]["exitCode"],
        dead["stoppedReason"].as_str().unwrap_or("?")
    );
    if dead["containers"][0]["exitCode"] != 1 {
        return Err("the killed task does not report exit code 1".into());
    }

    say("The service's events");
    let services = aws.aws_json(&["ecs", "describe-services", "--cluster", "demo", "--services", "web"])?;
    for event in services["services"][0]["events"]
        .as_array()
        .into_iter()
        .flatten()
        .take(5)
    {
        println!("    {}", event["message"].as_str().unwrap_or("?"));
    }

    say("Its logs");
    let tail = [
        "logs",
        "filter-log-events",
        "--log-group-name",
        "/demo/web",
        "--query",
        "events[].[logStreamName,message]",
    ];
    let lines = wait_for("the logs arrive", Duration::from_secs(20), || {
        let events = aws.aws_json(&tail)?;
        let crashed = events.as_array().is_some_and(|all| {
            all.iter()
                .any(|e| e[1].as_str().is_some_and(|m| m.contains("crashing as asked")))
        });
        Ok(crashed.then_some(events))
    })?;
    println!("    $ aws {}", tail.join(" "));
    let lines: Vec<&Value> = lines.as_array().into_iter().flatten().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(6)) {
        let stream = line[0].as_str().unwrap_or("?");
        println!(
            "    {}  {}",
            &stream[..stream.len().min(20)],
            line[1].as_str().unwrap_or("?")
        );
    }
    if once {
        say("Every step held");
        return Ok(());
    }
    keep_running(aws)
}

fn keep_running(aws: &Instance) -> Result<()> {
    say("It keeps running. In another terminal:");
    for (key, value) in aws.env() {
        println!("    export {key}={value}");
    }
    println!(
        "    curl http://$(aws elbv2 describe-load-balancers --query 'LoadBalancers[0].DNSName' --output text):{}/",
        port()
    );
    println!("    aws ecs list-tasks --cluster demo");
    println!("    aws ecs update-service --cluster demo --service web --desired-count 5");
    println!("    aws logs tail --follow /demo/web");
    println!("\n  Ctrl-C stops everything and leaves nothing behind.");
    interrupted();
    say("Stopping: tasks, networks, processes");
    Ok(())
}

/// Blocks until Ctrl-C or SIGTERM.
fn interrupted() {
    let (tell, told) = std::sync::mpsc::channel();
    *INTERRUPT.lock().expect("nobody panics with the lock") = Some(tell);
    // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
    unsafe {
        signal(2, on_signal);
        signal(15, on_signal);
    }
    std::thread::spawn(|| {
        while !INTERRUPTED.load(std::sync::atomic::Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(tell) = INTERRUPT.lock().expect("nobody panics with the lock").take() {
            let _ = tell.send(());
        }
    });
    let _ = told.recv();
}

static INTERRUPTED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
static INTERRUPT: std::sync::Mutex<Option<std::sync::mpsc::Sender<()>>> = std::sync::Mutex::new(None);

unsafe extern "C" {
    fn signal(signum: i32, handler: extern "C" fn(i32)) -> usize;
}

extern "C" fn on_signal(_: i32) {
    INTERRUPTED.store(true, std::sync::atomic::Ordering::SeqCst);
}

fn running(aws: &Instance, count: usize) -> Result<Vec<Value>> {
    wait_for("the tasks run", Duration::from_secs(60), || {
        let tasks = running_now(aws)?;
        Ok((tasks.len() == count).then_some(tasks))
    })
}

fn running_now(aws: &Instance) -> Result<Vec<Value>> {
    let listed = aws.aws_json(&["ecs", "list-tasks", "--cluster", "demo", "--service-name", "web"])?;
    let arns: Vec<&str> = listed["taskArns"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if arns.is_empty() {
        return Ok(Vec::new());
    }
    let mut args = vec!["ecs", "describe-tasks", "--cluster", "demo", "--tasks"];
    args.extend(&arns);
    let described = aws.aws_json(&args)?;
    let tasks = described["tasks"].as_array().cloned().unwrap_or_default();
    Ok(tasks.into_iter().filter(|t| t["lastStatus"] == "RUNNING").collect())
}

fn address(task: &Value) -> Option<&str> {
    let details = task["attachments"][0]["details"].as_array()?;
    details.iter().find(|d| d["name"] == "privateIPv4Address")?["value"].as_str()
}

fn short(task: &Value) -> &str {
    task["taskArn"]
        .as_str()
        .and_then(|a| a.rsplit('/').next())
        .map_or("?", |id| &id[..id.len().min(12)])
}

/// True when a connection to the task itself succeeds.
fn reaches(address: &str) -> bool {
    let to = format!("{address}:8080").parse();
    to.is_ok_and(|to| TcpStream::connect_timeout(&to, Duration::from_millis(500)).is_ok())
}

/// Status and body of a request to the load balancer, under its name, on this machine's loopback address.
fn ask_balancer(name: &str, port: u16, path: &str) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    let body = text.split("\r\n\r\n").nth(1).unwrap_or_default();
    Ok((status.unwrap_or(0), body.to_owned()))
}

/// Prints the command as a user would type it, then runs it.
fn shown(aws: &Instance, args: &[&str]) -> Result<Value> {
    let line: Vec<String> = args
        .iter()
        .map(|a| {
            if a.starts_with('[') && a.len() > 90 {
                "'[{ … }]'".to_owned()
            } else if a.contains(['{', '[', ' ']) {
                format!("'{a}'")
            } else {
                (*a).to_owned()
            }
        })
        .collect();
    println!("    $ aws {}", line.join(" "));
    aws.aws_json(args)
}

fn say(text: &str) {
    println!("\n\x1b[1m▸ {text}\x1b[0m");
    let _ = std::io::stdout().flush();
}

/// A folder that is removed afterwards.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let path = std::env::temp_dir().join(format!("neargate-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
