//! The machine's side: set up once, then namespaces come and go.

use crate::config::{Cidr, Interface, NetworkConfig, Publish, Published};
use crate::dns::Upstreams;
use crate::namespace::{self, Content};
use crate::netlink::{InUse, Netlink};
use crate::ports::Ports;
use crate::{dns, firewall};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};

const LOOPBACK: u32 = 1;
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Why the network cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    #[error(
        "the {what} range {range} overlaps {other}, which this machine already uses ({how}); choose another with {flag}, for example {flag} {suggestion}"
    )]
    Clash {
        what: &'static str,
        range: Cidr,
        other: Cidr,
        how: String,
        flag: &'static str,
        suggestion: Cidr,
    },
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
    #[error("{0}")]
    Port(String),
    #[error("no address of the bridge range {0} is free")]
    BridgeFull(Cidr),
}

fn io_error(what: impl Into<String>) -> impl FnOnce(io::Error) -> NetworkError {
    let what = what.into();
    move |source| NetworkError::Io { what, source }
}

/// The network of one Neargate instance on this machine. Methods block for well under a millisecond to a few.
pub struct Network {
    config: NetworkConfig,
    host_ns: File,
    netlink: Mutex<Netlink>,
    ports: Mutex<Ports>,
    /// Bridge addresses by namespace name.
    bridge: Mutex<HashMap<String, Ipv4Addr>>,
}

impl Network {
    /// Prepares the machine: forwarding on, unreachable routes, resolver address, firewall. Safe to repeat; what an
    /// earlier process of the same instance set up is taken over, namespaces stay.
    ///
    /// # Errors
    /// `Clash` when a range overlaps a network the machine already has.
    pub fn start(config: NetworkConfig) -> Result<Network, NetworkError> {
        let host_ns = File::open("/proc/self/ns/net").map_err(io_error("open the machine's network namespace"))?;
        let mut netlink = Netlink::open().map_err(io_error("open a netlink socket"))?;
        let running = firewall::is_loaded(&config).map_err(io_error("look for the firewall table"))?;
        if !running {
            let used = netlink.in_use().map_err(io_error("list the machine's routes"))?;
            check_clash(config.vpc_cidr, config.bridge_cidr, &used)?;
        }
        namespace::prepare(&config.run_dir).map_err(io_error(format!("prepare {}", config.run_dir.display())))?;
        remember_forwarding(&config).map_err(io_error(format!("turn on {FORWARD}")))?;
        firewall::apply(&firewall::ruleset(&config)).map_err(io_error("load the firewall"))?;
        add_base(&config, &mut netlink)?;
        Ok(Network {
            config,
            host_ns,
            netlink: Mutex::new(netlink),
            ports: Mutex::default(),
            bridge: Mutex::default(),
        })
    }

    /// Whether the ranges are free on this machine; changes nothing.
    ///
    /// # Errors
    /// `Clash`, `Io`.
    pub fn check(vpc_cidr: Cidr, bridge_cidr: Cidr) -> Result<(), NetworkError> {
        let mut netlink = Netlink::open().map_err(io_error("open a netlink socket"))?;
        let used = netlink.in_use().map_err(io_error("list the machine's routes"))?;
        check_clash(vpc_cidr, bridge_cidr, &used)
    }

    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Address of the resolver that tasks use.
    pub fn resolver(&self) -> Ipv4Addr {
        self.config.resolver()
    }

    /// Answers DNS for tasks until dropped.
    ///
    /// # Errors
    /// When the resolver's address cannot be bound.
    pub async fn serve_dns(&self) -> io::Result<()> {
        dns::serve(
            self.config.resolver(),
            Upstreams::new(self.config.dns_upstreams.clone()),
        )
        .await
    }

    /// Handle of the namespace called `name`, for the runtime to join.
    pub fn path(&self, name: &str) -> PathBuf {
        self.config.run_dir.join(name)
    }

    /// Makes the namespace `name` with its own interface `eth0`.
    ///
    /// # Errors
    /// `Io`; nothing is left behind then.
    pub fn create(&self, name: &str, interface: Interface) -> Result<PathBuf, NetworkError> {
        let path = self.path(name);
        let host_name = self.config.host_interface(name);
        let content = Content::Routed {
            interface,
            host_name: &host_name,
            host_ns: &self.host_ns,
        };
        let mut made = namespace::create(&path, content);
        if made.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::AlreadyExists) {
            // The kernel still takes apart an earlier namespace of this name: help it, then make the new one.
            let index = namespace::interface_index(&host_name);
            let _ = index.and_then(|index| lock(&self.netlink).delete_link(index));
            made = namespace::create(&path, content);
        }
        made.map_err(io_error(format!("make the network namespace of {name}")))?;
        let mut connected = self.connect(&host_name, interface);
        if connected
            .as_ref()
            .is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
        {
            // So the kernel refuses a source address that is gone: a network daemon of the machine, or a person, took
            // the resolver's address away since the start, and perhaps the routes with it.
            add_base(&self.config, &mut lock(&self.netlink))?;
            connected = self.connect(&host_name, interface);
        }
        if let Err(source) = connected {
            let _ = namespace::remove(&path);
            return Err(NetworkError::Io {
                what: format!("connect the network of {name}"),
                source,
            });
        }
        Ok(path)
    }

    fn connect(&self, host_name: &str, interface: Interface) -> io::Result<()> {
        let index = namespace::interface_index(host_name)?;
        let mut netlink = lock(&self.netlink);
        netlink.set_up(index)?;
        netlink.add_link_route(interface.address, index, Some(self.config.resolver()))?;
        netlink.add_neighbour(index, interface.address, interface.mac)
    }

    /// Makes the namespace `name` with an address of the bridge range.
    ///
    /// # Errors
    /// `Io`, `BridgeFull`.
    pub fn create_bridged(&self, name: &str) -> Result<(PathBuf, Ipv4Addr), NetworkError> {
        let address = self.take_bridge_address(name)?;
        let [_, b, c, d] = address.octets();
        let interface = Interface {
            address,
            mac: [0x02, 0x42, 0x4e, b, c, d],
            gateway: self.config.bridge_cidr.nth(1),
        };
        match self.create(name, interface) {
            Ok(path) => Ok((path, address)),
            Err(e) => {
                lock(&self.bridge).remove(name);
                Err(e)
            }
        }
    }

    fn take_bridge_address(&self, name: &str) -> Result<Ipv4Addr, NetworkError> {
        let cidr = self.config.bridge_cidr;
        let mut bridge = lock(&self.bridge);
        let used: std::collections::HashSet<Ipv4Addr> = bridge.values().copied().collect();
        let last = u32::try_from(cidr.size() - 1).unwrap_or(u32::MAX);
        let free = (2..last)
            .map(|n| cidr.nth(n))
            .find(|a| !used.contains(a))
            .ok_or(NetworkError::BridgeFull(cidr))?;
        bridge.insert(name.to_owned(), free);
        Ok(free)
    }

    /// Tells which bridge address a namespace from before a restart holds.
    pub fn adopt_bridged(&self, name: &str, address: Ipv4Addr) {
        lock(&self.bridge).insert(name.to_owned(), address);
    }

    /// Makes the namespace `name` with loopback only (network mode `none`).
    ///
    /// # Errors
    /// `Io`.
    pub fn create_isolated(&self, name: &str) -> Result<PathBuf, NetworkError> {
        let path = self.path(name);
        namespace::create(&path, Content::Isolated)
            .map_err(io_error(format!("make the network namespace of {name}")))?;
        Ok(path)
    }

    /// Publishes ports of the bridged namespace `name` on every address of the host, 127.0.0.1 included.
    ///
    /// # Errors
    /// `Port` when a host port is taken.
    pub fn publish(&self, name: &str, address: Ipv4Addr, ports: &[Publish]) -> Result<Vec<Published>, NetworkError> {
        if ports.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = lock(&self.ports);
        let taken = held.take(name, address, ports).map_err(NetworkError::Port)?;
        // Lets a connection to 127.0.0.1 be forwarded into this namespace; the firewall drops the reverse direction.
        let localnet = format!(
            "/proc/sys/net/ipv4/conf/{}/route_localnet",
            self.config.host_interface(name)
        );
        let opened = fs::write(localnet, "1")
            .and_then(|()| firewall::apply(&firewall::port_elements(&self.config, "add", address, &taken)));
        if let Err(source) = opened {
            held.give_back(name);
            return Err(NetworkError::Io {
                what: format!("publish ports of {name}"),
                source,
            });
        }
        Ok(taken)
    }

    /// Lets go of everything `name` holds. What is gone already is no error.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, name: &str) -> Result<(), NetworkError> {
        let given_back = lock(&self.ports).give_back(name);
        if let Some((address, ports)) = given_back {
            let script = firewall::port_elements(&self.config, "delete", address, &ports);
            firewall::apply(&script).map_err(io_error(format!("withdraw ports of {name}")))?;
        }
        lock(&self.bridge).remove(name);
        namespace::remove(&self.path(name)).map_err(io_error(format!("remove the network namespace of {name}")))
    }

    /// Names of the namespaces that exist, from this process and earlier ones.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Vec<String>, NetworkError> {
        names(&self.config).map_err(io_error("list network namespaces"))
    }

    /// Removes all that the instance ever set up on this machine; safe to repeat, needs no `start`.
    ///
    /// # Errors
    /// `Io`, after trying everything.
    pub fn tear_down(config: &NetworkConfig) -> Result<(), NetworkError> {
        let mut first: Option<NetworkError> = None;
        let mut note = |what: &str, done: io::Result<()>| {
            if let Err(source) = done {
                first.get_or_insert(NetworkError::Io {
                    what: what.to_owned(),
                    source,
                });
            }
        };
        for name in names(config).unwrap_or_default() {
            note(
                "remove a network namespace",
                namespace::remove(&config.run_dir.join(name)),
            );
        }
        note("release the namespace folder", namespace::unprepare(&config.run_dir));
        match Netlink::open() {
            Ok(mut netlink) => {
                for cidr in [config.vpc_cidr, config.bridge_cidr] {
                    note(
                        "remove an unreachable route",
                        absent_is_fine(netlink.delete_unreachable(cidr)),
                    );
                }
                let gone = absent_is_fine(netlink.delete_address(LOOPBACK, config.resolver()));
                note("remove the resolver's address", gone);
            }
            Err(e) => note("open a netlink socket", Err(e)),
        }
        note("remove the firewall table", firewall::unload(config));
        note("restore forwarding", restore_forwarding(config));
        match first {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

/// What all namespaces need of the machine: the unreachable routes and the resolver's address. Safe to repeat.
fn add_base(config: &NetworkConfig, netlink: &mut Netlink) -> Result<(), NetworkError> {
    for cidr in [config.vpc_cidr, config.bridge_cidr] {
        netlink
            .add_unreachable(cidr)
            .map_err(io_error(format!("add the unreachable route for {cidr}")))?;
    }
    netlink
        .add_address(LOOPBACK, config.resolver())
        .map_err(io_error("add the resolver's address"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENOENT)) => Ok(()),
        other => other,
    }
}

fn names(config: &NetworkConfig) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(&config.run_dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut out: Vec<String> = entries
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    out.sort_unstable();
    Ok(out)
}

/// Where the value of ip_forward before Neargate is kept.
fn forwarding_note(config: &NetworkConfig) -> PathBuf {
    config.run_dir.with_extension("ip_forward")
}

fn remember_forwarding(config: &NetworkConfig) -> io::Result<()> {
    let before = fs::read_to_string(FORWARD)?;
    if before.trim() != "1" {
        fs::write(forwarding_note(config), before.trim())?;
        fs::write(FORWARD, "1")?;
    }
    Ok(())
}

fn restore_forwarding(config: &NetworkConfig) -> io::Result<()> {
    match fs::read_to_string(forwarding_note(config)) {
        Ok(before) => {
            fs::write(FORWARD, before)?;
            fs::remove_file(forwarding_note(config))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

/// Refuses ranges that the machine's own networks, or another instance, already use.
fn check_clash(vpc_cidr: Cidr, bridge_cidr: Cidr, used: &[InUse]) -> Result<(), NetworkError> {
    let ranges = [
        ("VPC", vpc_cidr, "--vpc-cidr"),
        ("bridge", bridge_cidr, "--bridge-cidr"),
    ];
    if vpc_cidr.overlaps(bridge_cidr) {
        let suggestion = suggest(vpc_cidr.prefix(), used, Some(vpc_cidr));
        let how = "the VPC range".to_owned();
        return Err(NetworkError::Clash {
            what: "bridge",
            range: bridge_cidr,
            other: vpc_cidr,
            how,
            flag: "--bridge-cidr",
            suggestion,
        });
    }
    for (what, range, flag) in ranges {
        if let Some(clash) = used.iter().find(|u| u.cidr.overlaps(range)) {
            let how = match (clash.unreachable_of_ours, clash.interface) {
                (true, _) => "another Neargate instance".to_owned(),
                (false, Some(index)) => format!("a route on interface {}", interface_name(index)),
                (false, None) => "a route".to_owned(),
            };
            let suggestion = suggest(range.prefix(), used, None);
            return Err(NetworkError::Clash {
                what,
                range,
                other: clash.cidr,
                how,
                flag,
                suggestion,
            });
        }
    }
    Ok(())
}

/// A private range of `prefix` bits that nothing uses.
fn suggest(prefix: u8, used: &[InUse], besides: Option<Cidr>) -> Cidr {
    let prefix = prefix.clamp(8, 28);
    let free = |c: &Cidr| !used.iter().any(|u| u.cidr.overlaps(*c)) && besides.is_none_or(|b| !b.overlaps(*c));
    let tens = (0..=255u8)
        .rev()
        .filter_map(|n| Cidr::containing(Ipv4Addr::new(10, n, 0, 0), prefix));
    let fallback = Cidr::containing(Ipv4Addr::new(10, 200, 0, 0), prefix);
    tens.filter(free)
        .map(Some)
        .next()
        .unwrap_or(fallback)
        .expect("the prefix is at most 28")
}

fn interface_name(index: u32) -> String {
    let mut name = [0; libc::IF_NAMESIZE];
    // SAFETY: the buffer has the size that if_indextoname asks for.
    let found = unsafe { libc::if_indextoname(index, name.as_mut_ptr()) };
    if found.is_null() {
        return format!("#{index}");
    }
    let bytes: Vec<u8> = name.iter().take_while(|c| **c != 0).map(|c| *c as u8).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(vpc: &str, bridge: &str, used: &[InUse]) -> Result<(), NetworkError> {
        check_clash(vpc.parse().unwrap(), bridge.parse().unwrap(), used)
    }

    #[test]
    fn a_clash_names_both_ranges_and_a_free_one() {
        let used = [InUse {
            cidr: "172.31.16.0/20".parse().unwrap(),
            interface: None,
            unreachable_of_ours: false,
        }];
        let message = check("172.31.0.0/16", "198.18.0.0/16", &used).unwrap_err().to_string();
        assert!(message.contains("172.31.0.0/16 overlaps 172.31.16.0/20"), "{message}");
        assert!(message.contains("--vpc-cidr 10.255.0.0/16"), "{message}");
        assert!(check("172.30.0.0/16", "198.18.0.0/16", &used).is_ok());
    }

    #[test]
    fn vpc_and_bridge_ranges_must_not_meet() {
        assert!(check("198.18.0.0/15", "198.18.0.0/16", &[]).is_err());
    }
}
