//! Many nodes and tasks: how fast tasks are placed, what control needs, how it answers meanwhile.

use crate::Result;
use crate::instance::{Instance, Scratch, client, memory_kib};
use crate::stats::Sample;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const NODES: &str = "5000";
const SERVICES: usize = 200;
const TASKS: usize = 500;
const LIMIT: Duration = Duration::from_secs(1200);

pub fn run() -> Result<()> {
    let scratch = Scratch::new("scale")?;
    let instance = Instance::start(&scratch.0, &["--simulated-nodes", NODES, "--vpc-cidr", "10.0.0.0/8"])?;
    let mut client = client();
    client.ecs("CreateCluster", &json!({ "clusterName": "bench" }))?;
    client.ecs(
        "RegisterTaskDefinition",
        &json!({
            "family": "app", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"], "cpu": "256", "memory": "512",
            "containerDefinitions": [{ "name": "c", "image": "any:1", "essential": true }],
        }),
    )?;
    let xml = client.query("ec2", "Action=DescribeSubnets&Version=2016-11-15")?;
    let subnets: Vec<&str> = xml
        .split("<subnetId>")
        .skip(1)
        .filter_map(|r| r.split('<').next())
        .collect();
    let begin = Instant::now();
    for n in 0..SERVICES {
        client.ecs(
            "CreateService",
            &json!({
                "cluster": "bench", "serviceName": format!("s{n}"), "taskDefinition": "app", "desiredCount": TASKS,
                "launchType": "FARGATE", "networkConfiguration": { "awsvpcConfiguration": { "subnets": subnets } },
            }),
        )?;
    }
    let done = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let done = done.clone();
        move || ask_meanwhile(&done)
    });
    let total = SERVICES * TASKS;
    let mut shown = Instant::now();
    let finished = loop {
        let running = running(&mut client)?;
        if running == total {
            break Instant::now();
        }
        if shown.elapsed() > Duration::from_secs(5) {
            eprintln!("  {running} of {total} running after {} s", begin.elapsed().as_secs());
            shown = Instant::now();
        }
        if begin.elapsed() > LIMIT {
            done.store(true, Ordering::SeqCst);
            let _ = asking.join();
            return Err(format!("only {running} of {total} tasks run"));
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    let took = finished - begin;
    done.store(true, Ordering::SeqCst);
    let (services, tasks) = asking.join().map_err(|_| "asking failed")??;
    let control = instance
        .pids()
        .iter()
        .find(|(role, _)| *role == "control")
        .map_or(0, |(_, pid)| memory_kib(*pid, "VmRSS"));
    println!("scale: {NODES} simulated nodes, {total} tasks by {SERVICES} services");
    println!(
        "  call to RUNNING            {:.1} s, {:.0} tasks/s placed and running",
        took.as_secs_f64(),
        total as f64 / took.as_secs_f64()
    );
    println!(
        "  control's memory           {:.0} MiB ({:.1} KiB a task)",
        control as f64 / 1024.0,
        control as f64 / total as f64
    );
    println!("  DescribeServices (10)      {services}");
    println!("  DescribeTasks (100)        {tasks}");
    Ok(())
}

fn running(client: &mut crate::client::Client) -> Result<usize> {
    let mut sum = 0;
    for first in (0..SERVICES).step_by(10) {
        let names: Vec<String> = (first..first + 10).map(|n| format!("s{n}")).collect();
        let answer = client.ecs("DescribeServices", &json!({ "cluster": "bench", "services": names }))?;
        let counts = answer["services"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|s| s["runningCount"].as_u64());
        sum += counts.sum::<u64>() as usize;
    }
    Ok(sum)
}

/// Asks as a dashboard would while tasks are placed.
fn ask_meanwhile(done: &AtomicBool) -> Result<(Sample, Sample)> {
    let mut client = client();
    let (mut services, mut tasks) = (Vec::new(), Vec::new());
    let mut n = 0;
    while !done.load(Ordering::SeqCst) {
        n = (n + 7) % SERVICES;
        let name = format!("s{n}");
        let names: Vec<String> = (0..10).map(|k| format!("s{}", (n + k) % SERVICES)).collect();
        let begin = Instant::now();
        client.ecs("DescribeServices", &json!({ "cluster": "bench", "services": names }))?;
        services.push(begin.elapsed());
        let listed = client.ecs(
            "ListTasks",
            &json!({ "cluster": "bench", "serviceName": name, "maxResults": 100 }),
        )?;
        let arns: Vec<&Value> = listed["taskArns"].as_array().into_iter().flatten().collect();
        if !arns.is_empty() {
            let begin = Instant::now();
            client.ecs("DescribeTasks", &json!({ "cluster": "bench", "tasks": arns }))?;
            tasks.push(begin.elapsed());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok((Sample::new(services), Sample::new(tasks)))
}
