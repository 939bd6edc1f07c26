//! What a request through the load balancer costs, beside nginx and HAProxy with the same backend.
//!
//! Rounds alternate between the three; figures are medians of the rounds. Processor time is that of the proxy's
//! processes alone, from /proc.

use crate::Result;
use crate::balancer;
use crate::instance::{Instance, Scratch, client, memory_kib, with_stamp};
use crate::proxies::{self, Pair, Ports, ticks};
use crate::sg;
use crate::stamp::Stamps;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 3;
const SECONDS: &str = "3";
const RULES: usize = 20;
const LIMIT: Duration = Duration::from_secs(20);
const BACKEND_PORT: u16 = 8790;
const LOOPBACK: &str = "127.232.0.1";
const IDLE: usize = 2_000;

/// A proxy under test.
struct Peer {
    name: &'static str,
    pids: Vec<u32>,
    plain: String,
    tls: String,
}

/// One round's outcome.
#[derive(Clone, Copy)]
struct Run {
    /// Processor microseconds of the proxy for a request.
    cost: f64,
    /// What of it is the kernel's.
    kernel: f64,
    /// Milliseconds.
    p50: f64,
    p99: f64,
    /// Requests a second.
    rate: f64,
}

/// `only`: loads whose names have it, e.g. `HTTP/2`; all without.
pub fn run(only: Option<&str>) -> Result<()> {
    let scratch = Scratch::new("gateway")?;
    let dir = &scratch.0;
    let ranges = [
        "--vpc-cidr",
        "10.232.0.0/16",
        "--bridge-cidr",
        "198.18.232.0/24",
        "--public-cidr",
        "198.19.232.0/24",
        "--quota",
        "rules-per-application-load-balancer=1000",
    ];
    let instance = Instance::start(dir, &[&ranges[..], &["--load-balancer-listen", LOOPBACK]].concat())?;
    let pair = Pair::make(dir)?;
    let read = |path: &std::path::Path| std::fs::read_to_string(path).map_err(|e| e.to_string());

    let mut client = client();
    let vpc = balancer::vpc(&mut client)?;
    balancer::open(&mut client, &vpc.group)?;
    // The backend runs in a task's network, as targets do: all three proxies reach it the same way.
    let mut stamps = Stamps::open(dir)?;
    let subnet = with_stamp(dir, &instance)?;
    let task = sg::launch(&mut client, &subnet, &[])?;
    stamps.wait(1, LIMIT)?;
    let backend = format!("{}:{BACKEND_PORT}", task.address);
    let _server = proxies::backend(dir, &backend, &task.namespace)?;
    let arn = balancer::balancer(&mut client, &vpc, "bench")?;
    let group = balancer::target_group(&mut client, &vpc, "bench", BACKEND_PORT, "/health")?;
    let certificate = balancer::import(&mut client, &read(&pair.certificate)?, &read(&pair.key)?)?;
    let (plain, tls) = (8791, 8792);
    balancer::listener(&mut client, &arn, plain, &group, RULES, None)?;
    balancer::listener(&mut client, &arn, tls, &group, RULES, Some(&certificate))?;
    let mut groups = vec![group];
    // A load balancer has target groups of its own.
    for (port, rules) in [(8801, 1), (8802, 100), (8803, 1000)] {
        let name = format!("bench-{rules}");
        let one = balancer::balancer(&mut client, &vpc, &name)?;
        let group = balancer::target_group(&mut client, &vpc, &name, BACKEND_PORT, "/health")?;
        balancer::listener(&mut client, &one, port, &group, rules, None)?;
        groups.push(group);
    }
    for group in &groups {
        balancer::register(&mut client, group, &task.address)?;
        balancer::wait_healthy(&mut client, group)?;
    }

    let nginx_ports = Ports { plain: 8793, tls: 8794 };
    let haproxy_ports = Ports { plain: 8795, tls: 8796 };
    let nginx = proxies::nginx(dir, &backend, &nginx_ports, &pair, RULES)?;
    let haproxy = proxies::haproxy(dir, &backend, &haproxy_ports, &pair, RULES)?;
    let gateway = instance.pids().into_iter().find(|(name, _)| *name == "gateway");
    let peers = [
        Peer {
            name: "neargate",
            pids: vec![gateway.ok_or("no gateway")?.1],
            plain: format!("http://{LOOPBACK}:{plain}"),
            tls: format!("https://{LOOPBACK}:{tls}"),
        },
        peer(nginx.name(), nginx.pids(), &nginx_ports),
        peer(haproxy.name(), haproxy.pids(), &haproxy_ports),
    ];

    println!(
        "gateway: {RULES} rules, access log on, forwarded headers, 64 connections kept alive, one backend for all"
    );
    // Before any load: what a load leaves in pools would hide what a connection costs.
    println!("  memory of an idle, kept-alive connection ({IDLE} of them)");
    for peer in &peers {
        println!("    {:<9} {:6.2} KiB", peer.name, idle(peer)?);
    }
    for (what, path, load) in [
        ("HTTP/1.1, 1 KB", "/1k", Load::Plain),
        ("HTTP/1.1, 100 KB", "/100k", Load::Plain),
        ("HTTP/1.1 over TLS, 1 KB", "/1k", Load::Tls),
        ("HTTP/2 over TLS, 1 KB", "/1k", Load::Http2),
        ("HTTP/2 over TLS, 100 KB", "/100k", Load::Http2),
    ] {
        if only.is_none_or(|only| what.contains(only)) {
            compare(what, &peers, path, load)?;
        }
    }
    if only.is_some() {
        return Ok(());
    }
    println!("  rules on the listener (HTTP/1.1, 1 KB, processor time a request)");
    for (port, rules) in [(8801, 1), (plain, RULES), (8802, 100), (8803, 1000)] {
        let mut runs = Vec::new();
        for _ in 0..ROUNDS {
            let url = format!("http://{LOOPBACK}:{port}/1k");
            runs.push(measure(&peers[0].pids, || wrk(&url))?);
        }
        println!("    {rules:>4} rules  {:6.1} µs", median(&runs, |r| r.cost));
    }
    Ok(())
}

fn peer(name: &'static str, pids: Vec<u32>, ports: &Ports) -> Peer {
    Peer {
        name,
        pids,
        plain: format!("http://127.0.0.1:{}", ports.plain),
        tls: format!("https://127.0.0.1:{}", ports.tls),
    }
}

#[derive(Clone, Copy)]
enum Load {
    Plain,
    Tls,
    Http2,
}

fn compare(what: &str, peers: &[Peer], path: &str, load: Load) -> Result<()> {
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for peer in peers {
            let run = match load {
                Load::Plain => measure(&peer.pids, || wrk(&format!("{}{path}", peer.plain)))?,
                Load::Tls => measure(&peer.pids, || wrk(&format!("{}{path}", peer.tls)))?,
                Load::Http2 => measure(&peer.pids, || h2load(&format!("{}{path}", peer.tls)))?,
            };
            runs.entry(peer.name).or_default().push(run);
        }
    }
    println!("  {what}");
    for peer in peers {
        let of = &runs[peer.name];
        println!(
            "    {:<9} {:6.1} µs processor a request ({:5.1} kernel)   p50 {:6.2} ms   p99 {:6.2} ms   {:7.0} requests/s",
            peer.name,
            median(of, |r| r.cost),
            median(of, |r| r.kernel),
            median(of, |r| r.p50),
            median(of, |r| r.p99),
            median(of, |r| r.rate),
        );
    }
    let cost = |name: &str| median(&runs[name], |r| r.cost);
    println!(
        "    neargate / better of the two: {:.2}",
        cost("neargate") / cost("nginx").min(cost("haproxy"))
    );
    Ok(())
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Requests answered, p50 and p99 in milliseconds, requests a second.
type Loaded = (f64, f64, f64, f64);

fn measure(pids: &[u32], load: impl FnOnce() -> Result<Loaded>) -> Result<Run> {
    let before = ticks(pids);
    let (requests, p50, p99, rate) = load()?;
    let after = ticks(pids);
    let each = |ticks: u64| ticks as f64 * 10_000.0 / requests.max(1.0);
    Ok(Run {
        cost: each(after.all - before.all),
        kernel: each(after.kernel - before.kernel),
        p50,
        p99,
        rate,
    })
}

fn output(command: &mut Command) -> Result<String> {
    let out = command
        .output()
        .map_err(|e| format!("{:?}: {e}", command.get_program()))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    match out.status.success() {
        true => Ok(text),
        false => Err(text + &String::from_utf8_lossy(&out.stderr)),
    }
}

fn wrk(url: &str) -> Result<Loaded> {
    let text = output(Command::new("wrk").args(["-t2", "-c64", &format!("-d{SECONDS}s"), "--latency", url]))?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("{url}: {text}"));
    }
    let after = |label: &str| {
        let line = text.lines().find(|l| l.trim().starts_with(label));
        line.and_then(|l| l.split_whitespace().nth(1)).map(str::to_owned)
    };
    let requests = text
        .lines()
        .find(|l| l.contains("requests in"))
        .and_then(|l| l.split_whitespace().next()?.parse().ok())
        .ok_or(format!("{url}: {text}"))?;
    let rate = after("Requests/sec:").and_then(|r| r.parse().ok()).unwrap_or(0.0);
    let ms = |label: &str| after(label).map_or(0.0, |t| milliseconds(&t));
    Ok((requests, ms("50%"), ms("99%"), rate))
}

fn h2load(url: &str) -> Result<Loaded> {
    let text = output(Command::new("h2load").args(["-t2", "-c64", "-m1", &format!("-D{SECONDS}"), url]))?;
    let line = |label: &str| text.lines().find(|l| l.trim().starts_with(label)).unwrap_or_default();
    let number = |l: &str, label: &str| -> f64 {
        l.split([',', ':'])
            .find(|part| part.trim().ends_with(label))
            .and_then(|part| part.split_whitespace().next()?.parse().ok())
            .unwrap_or(0.0)
    };
    let requests = line("requests:");
    let (done, failed) = (number(requests, "succeeded"), number(requests, "failed"));
    if done == 0.0 || failed > 0.0 {
        return Err(format!("{url}: {text}"));
    }
    // min, max, median, p95, p99, mean …: only newer ones tell percentiles; the mean stands for the median otherwise.
    let fields: Vec<f64> = line("time for request:")
        .split_whitespace()
        .skip(3)
        .map(milliseconds)
        .collect();
    let (p50, p99) = match fields.len() {
        0..=5 => (
            fields.get(2).copied().unwrap_or(0.0),
            fields.get(1).copied().unwrap_or(0.0),
        ),
        _ => (fields[2], fields[4]),
    };
    Ok((done, p50, p99, done / 4.0))
}

/// `1.23ms`, `850.00us`, `1.02s`.
fn milliseconds(text: &str) -> f64 {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    let number: f64 = text[..text.len() - unit.len()].parse().unwrap_or(0.0);
    match unit {
        "us" => number / 1000.0,
        "ms" => number,
        "s" => number * 1000.0,
        _ => 0.0,
    }
}

/// Resident KiB that each of many idle connections costs, each having made one request.
fn idle(peer: &Peer) -> Result<f64> {
    let address = peer.plain.trim_start_matches("http://").to_owned();
    let request = format!("GET /1k HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let resident = || peer.pids.iter().map(|pid| memory_kib(*pid, "VmRSS")).sum::<u64>();
    let ask = |stream: &mut TcpStream| -> std::io::Result<()> {
        stream.write_all(request.as_bytes())?;
        let (mut got, mut buffer) = (Vec::new(), [0; 4096]);
        while !got.ends_with(&[b'x'; 1024]) {
            match stream.read(&mut buffer)? {
                0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
                n => got.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(())
    };
    let before = resident();
    let mut held = Vec::new();
    for _ in 0..IDLE {
        let mut stream = TcpStream::connect(&address).map_err(|e| e.to_string())?;
        ask(&mut stream).map_err(|e| format!("{}: {e}", peer.name))?;
        held.push(stream);
    }
    Ok((resident().saturating_sub(before)) as f64 / IDLE as f64)
}
