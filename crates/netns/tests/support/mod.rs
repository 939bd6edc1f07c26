//! A network of its own for each test, removed afterwards also on failure, and programs inside its namespaces.

#![allow(dead_code)]

pub mod raw;

use neargate_link::network::{
    GroupEntry, Holder, InterfaceEntry, NetworkEntry, Peer, Range, Traffic, TrafficRule, VpcEntry,
};
use neargate_netns::{Interface, Membership, Network, NetworkChange, NetworkConfig};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const EVERYWHERE: Range = (Ipv4Addr::UNSPECIFIED, 0);
/// How long a packet that is let through may take, and one that is dropped is waited for.
pub const SOON: Duration = Duration::from_millis(400);

pub struct Bed {
    pub network: Network,
    pub config: NetworkConfig,
    _dir: tempfile::TempDir,
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = Network::tear_down(&self.config);
    }
}

/// A network of its own for one test; `n` keeps tests apart.
pub fn bed(n: u8, upstream: Option<SocketAddr>) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let config = NetworkConfig {
        instance: format!("t{:03x}", (std::process::id() as u16 & 0xf) << 8 | u16::from(n)),
        run_dir: dir.path().join("netns"),
        vpc_cidr: format!("10.{}.0.0/16", 180 + n).parse().unwrap(),
        bridge_cidr: format!("198.18.{n}.0/24").parse().unwrap(),
        public_cidr: format!("198.19.{n}.0/24").parse().unwrap(),
        dns_upstreams: upstream.into_iter().collect(),
    };
    let network = Network::start(config.clone()).unwrap();
    Bed {
        network,
        config,
        _dir: dir,
    }
}

pub fn interface(bed: &Bed, host: u32) -> Interface {
    let vpc = bed.config.vpc_cidr;
    Interface {
        address: vpc.nth(host),
        mac: [2, 0, 0, 0, 0, host as u8],
        gateway: vpc.nth(1),
    }
}

/// Runs `work` inside the namespace at `path`.
pub fn inside<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> T {
    let ns = std::fs::File::open(path).unwrap();
    std::thread::spawn(move || {
        rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&ns),
            Some(rustix::thread::LinkNameSpaceType::Network),
        )
        .unwrap();
        work()
    })
    .join()
    .unwrap()
}

/// A listener in the namespace that greets one caller.
pub fn greeter(path: &Path, port: u16) -> std::thread::JoinHandle<()> {
    let listener = inside(path, move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"hello").unwrap();
    })
}

pub fn greeting(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

pub fn ip(args: &str) -> String {
    String::from_utf8(Command::new("ip").args(args.split(' ')).output().unwrap().stdout).unwrap()
}

pub fn rule(traffic: Traffic, peer: Peer) -> TrafficRule {
    TrafficRule { traffic, peer }
}

pub fn everyone() -> Peer {
    Peer::Range(EVERYWHERE)
}

pub fn of_group(id: &str) -> Peer {
    Peer::Group(id.to_owned())
}

/// A group that lets everything out.
pub fn group(id: &str, ingress: Vec<TrafficRule>) -> NetworkEntry {
    group_with(id, ingress, vec![rule(Traffic::Any, everyone())])
}

pub fn group_with(id: &str, ingress: Vec<TrafficRule>, egress: Vec<TrafficRule>) -> NetworkEntry {
    NetworkEntry::Group(GroupEntry {
        id: id.to_owned(),
        ingress,
        egress,
    })
}

/// A group that admits everything.
pub fn open(id: &str) -> NetworkEntry {
    group(id, vec![rule(Traffic::Any, everyone())])
}

pub fn vpc(id: &str, ranges: &[&str]) -> NetworkEntry {
    let ranges = ranges.iter().map(|text| {
        let cidr: neargate_netns::Cidr = text.parse().unwrap();
        (cidr.base(), cidr.prefix())
    });
    NetworkEntry::Vpc(VpcEntry {
        id: id.to_owned(),
        ranges: ranges.collect(),
        dns: true,
        domain: "ec2.internal".to_owned(),
    })
}

/// A task's interface that its subnet's routes lead out to everywhere.
pub fn entry(address: Ipv4Addr, vpc: &str, groups: &[&str]) -> InterfaceEntry {
    InterfaceEntry {
        address,
        vpc_id: vpc.to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
        holder: Holder::Task,
        outbound: vec![EVERYWHERE],
        public_address: None,
        assigned_address: None,
        seen_as: None,
        seen_parts: Vec::new(),
    }
}

impl Bed {
    pub fn whole(&self, upsert: Vec<NetworkEntry>) {
        let change = NetworkChange {
            whole: true,
            upsert,
            remove: Vec::new(),
        };
        self.network.change(change).unwrap();
    }

    pub fn upsert(&self, upsert: Vec<NetworkEntry>) {
        let change = NetworkChange {
            whole: false,
            upsert,
            remove: Vec::new(),
        };
        self.network.change(change).unwrap();
    }

    pub fn forget(&self, keys: &[&str]) {
        let change = NetworkChange {
            whole: false,
            upsert: Vec::new(),
            remove: keys.iter().map(|k| (*k).to_owned()).collect(),
        };
        self.network.change(change).unwrap();
    }

    /// An address of the instance's range.
    pub fn at(&self, host: u32) -> Ipv4Addr {
        self.config.vpc_cidr.nth(host)
    }

    /// A namespace at `address` whose groups are `groups` until the table says otherwise.
    pub fn task(&self, name: &str, address: Ipv4Addr, vpc: &str, groups: &[&str]) -> PathBuf {
        let [_, b, c, d] = address.octets();
        let interface = Interface {
            address,
            mac: [2, 0, 0, b, c, d],
            gateway: self.config.vpc_cidr.nth(1),
        };
        self.network.create(name, interface, &membership(vpc, groups)).unwrap()
    }
}

pub fn membership(vpc: &str, groups: &[&str]) -> Membership {
    Membership {
        vpc_id: vpc.to_owned(),
        groups: groups.iter().map(|g| (*g).to_owned()).collect(),
    }
}

/// A listener in the namespace that greets callers, each with its address, until dropped.
pub fn server(path: &Path, port: u16) -> Server {
    let listener = inside(path, move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = stop.clone();
    listener.set_nonblocking(true).unwrap();
    let thread = std::thread::spawn(move || {
        use rustix::event::{PollFd, PollFlags, poll};
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let mut fds = [PollFd::new(&listener, PollFlags::IN)];
            let wait = rustix::event::Timespec {
                tv_sec: 0,
                tv_nsec: 20_000_000,
            };
            let _ = poll(&mut fds, Some(&wait));
            if let Ok((mut stream, peer)) = listener.accept() {
                let _ = stream.write_all(peer.ip().to_string().as_bytes());
            }
        }
    });
    Server {
        stop,
        thread: Some(thread),
    }
}

pub struct Server {
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What the server at `address` says to a caller of this machine; the error is that of connecting.
pub fn call(address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&(address, port).into(), SOON)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// As `call`, from the namespace at `path`.
pub fn call_from(path: &Path, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    inside(path, move || call(address, port))
}

/// As `call_from`, for a task that was just made: the kernel raises its link in its own time, and packets sent before are lost.
pub fn call_soon_from(path: &Path, address: Ipv4Addr, port: u16) -> std::io::Result<String> {
    let until = std::time::Instant::now() + Duration::from_secs(5);
    loop {
        let called = call_from(path, address, port);
        if called.is_ok() || std::time::Instant::now() > until {
            return called;
        }
    }
}

/// Two tasks of one VPC: the first in `sg-client`, which lets everything out, the second in `sg-web` with port 80 served.
pub struct Pair {
    pub client: PathBuf,
    pub web: PathBuf,
    pub address: Ipv4Addr,
    _server: Server,
}

pub fn pair(bed: &Bed) -> Pair {
    let range = bed.config.vpc_cidr.to_string();
    bed.whole(vec![
        vpc("vpc-1", &[&range]),
        group("sg-client", Vec::new()),
        group("sg-web", Vec::new()),
        NetworkEntry::Interface(entry(bed.at(10), "vpc-1", &["sg-client"])),
        NetworkEntry::Interface(entry(bed.at(11), "vpc-1", &["sg-web"])),
    ]);
    let client = bed.task("client", bed.at(10), "vpc-1", &["sg-client"]);
    let web = bed.task("web", bed.at(11), "vpc-1", &["sg-web"]);
    let server = server(&web, 80);
    Pair {
        client,
        web,
        address: bed.at(11),
        _server: server,
    }
}

impl Pair {
    pub fn reached(&self) -> bool {
        call_from(&self.client, self.address, 80).is_ok()
    }
}
