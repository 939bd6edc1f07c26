//! The machine's side: set up once, then namespaces come and go.

use crate::config::{Carried, Cidr, Counters, Interface, NetworkConfig, Publish, Published};
use crate::dns::Resolver;
use crate::enforce::{self, Enforcement};
use crate::names::Names;
use crate::namespace::{self, Content};
use crate::netlink::Netlink;
use crate::ports::Ports;
use crate::ranges::{besides, check_clash};
use crate::table::{NetworkChange, Step};
use crate::{dns, firewall, forwarding, nfnetlink};
use neargate_link::network::InterfaceEntry;
use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, RwLock};

/// Index of the loopback interface.
pub const LOOPBACK: u32 = 1;

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

/// What a task's interface belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub vpc_id: String,
    /// Security groups; nobody reaches a task without.
    pub groups: Vec<String>,
}

/// The network of one Neargate instance on this machine. Methods block for well under a millisecond to a few.
pub struct Network {
    config: NetworkConfig,
    host_ns: File,
    netlink: Mutex<Netlink>,
    ports: Mutex<Ports>,
    /// Bridge addresses by namespace name.
    bridge: Mutex<HashMap<String, Ipv4Addr>>,
    /// VPC addresses by namespace name. Locks are taken in the order enforcement, netlink, ports.
    taken: Mutex<HashMap<String, Ipv4Addr>>,
    enforcement: Mutex<Enforcement>,
    names: Arc<RwLock<Names>>,
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
            check_clash(config.vpc_cidr, config.bridge_cidr, Some(config.public_cidr), &used)?;
        }
        namespace::prepare(&config.run_dir).map_err(io_error(format!("prepare {}", config.run_dir.display())))?;
        let enforcement = Enforcement::start(&config, &mut netlink).map_err(io_error("set up firewall and routes"))?;
        forwarding::turn_on().map_err(io_error("turn on forwarding"))?;
        let names = Names::of(&config, enforcement.table());
        Ok(Network {
            config,
            host_ns,
            netlink: Mutex::new(netlink),
            ports: Mutex::default(),
            bridge: Mutex::default(),
            taken: Mutex::default(),
            enforcement: Mutex::new(enforcement),
            names: Arc::new(RwLock::new(names)),
        })
    }

    /// Whether the ranges are free on this machine; changes nothing.
    ///
    /// # Errors
    /// `Clash`, `Io`.
    pub fn check(vpc_cidr: Cidr, bridge_cidr: Cidr, public_cidr: Cidr) -> Result<(), NetworkError> {
        let mut netlink = Netlink::open().map_err(io_error("open a netlink socket"))?;
        let used = netlink.in_use().map_err(io_error("list the machine's routes"))?;
        check_clash(vpc_cidr, bridge_cidr, Some(public_cidr), &used)
    }

    /// The networks that this machine has besides what Neargate made for the ranges `own`: a VPC that overlaps one would
    /// hide machines that are there.
    ///
    /// # Errors
    /// `Io`.
    pub fn foreign(own: &[Cidr]) -> Result<Vec<Cidr>, NetworkError> {
        let mut netlink = Netlink::open().map_err(io_error("open a netlink socket"))?;
        let used = netlink.in_use().map_err(io_error("list the machine's routes"))?;
        Ok(besides(own, &used))
    }

    /// Takes over a change of the network table: afterwards it is what packets meet, on running tasks too.
    ///
    /// # Errors
    /// `Io`; the change is kept, and the next one brings the machine there.
    pub fn change(&self, change: NetworkChange) -> Result<(), NetworkError> {
        self.step(Step::Control(change))
            .map_err(io_error("enforce the network table"))
    }

    /// Brings back what somebody took from the machine since, a restarted firewall or network daemon say: until then tasks
    /// are open to everybody. Costs some milliseconds.
    ///
    /// # Errors
    /// `Io`.
    pub fn uphold(&self) -> Result<(), NetworkError> {
        forwarding::turn_on().map_err(io_error("turn on forwarding"))?;
        let mut enforcement = lock(&self.enforcement);
        let (mut netlink, ports) = (lock(&self.netlink), lock(&self.ports));
        enforcement
            .uphold(&mut netlink, &ports)
            .map_err(io_error("uphold firewall, routes and addresses"))
    }

    fn step(&self, step: Step) -> io::Result<()> {
        let mut enforcement = lock(&self.enforcement);
        let whole = matches!(&step, Step::Control(change) if change.whole);
        if !whole {
            let mut names = self.names.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            names.step(&step);
        }
        let mut netlink = lock(&self.netlink);
        let ports = lock(&self.ports);
        let done = enforcement.step(step, &mut netlink, &ports);
        if whole {
            let all = Names::of(&self.config, enforcement.table());
            *self.names.write().unwrap_or_else(std::sync::PoisonError::into_inner) = all;
        }
        done
    }

    /// Has the groups of a task's interface bind its first packet, also when control's table does not have it yet.
    fn take(&self, name: &str, interface: &Interface, membership: &Membership) -> Result<(), NetworkError> {
        lock(&self.taken).insert(name.to_owned(), interface.address);
        let (vpc, groups) = (membership.vpc_id.clone(), membership.groups.clone());
        let entry = InterfaceEntry::of_task(interface.address, vpc, groups);
        let step = lock(&self.enforcement).table().taking(entry);
        match step {
            Some(step) => self.step(step).map_err(io_error(format!("set the rules of {name}"))),
            None => Ok(()),
        }
    }

    /// Tells which VPC address a namespace from before a restart holds.
    pub fn adopt(&self, name: &str, address: Ipv4Addr) {
        lock(&self.taken).insert(name.to_owned(), address);
    }

    pub fn config(&self) -> &NetworkConfig {
        &self.config
    }

    /// Address of the resolver, to which the firewall leads what tasks ask of those of their VPCs.
    pub fn resolver(&self) -> Ipv4Addr {
        self.config.resolver()
    }

    /// Address by which tasks of a VPC ask the resolver.
    pub fn resolver_of(&self, vpc_id: &str) -> Ipv4Addr {
        lock(&self.enforcement).table().resolver_of(vpc_id)
    }

    /// Answers DNS for tasks until dropped.
    ///
    /// # Errors
    /// When the resolver's address cannot be bound.
    pub async fn serve_dns(&self) -> io::Result<()> {
        let resolver = Resolver::new(self.names.clone(), self.config.dns_upstreams.clone());
        dns::serve(self.config.resolver(), resolver).await
    }

    /// Handle of the namespace called `name`, for the runtime to join.
    pub fn path(&self, name: &str) -> PathBuf {
        self.config.run_dir.join(name)
    }

    /// Makes the namespace `name` with its own interface `eth0` in a VPC.
    ///
    /// # Errors
    /// `Io`; nothing is left behind then.
    pub fn create(&self, name: &str, interface: Interface, membership: &Membership) -> Result<PathBuf, NetworkError> {
        self.take(name, &interface, membership)?;
        let source = self.resolver_of(&membership.vpc_id);
        let made = self.connect_new(name, interface, source);
        if made.is_err() {
            self.give(name)?;
        }
        made
    }

    fn give(&self, name: &str) -> Result<(), NetworkError> {
        let Some(address) = lock(&self.taken).remove(name) else {
            return Ok(());
        };
        let step = lock(&self.enforcement).table().giving(address);
        if let Some(step) = step {
            self.step(step)
                .map_err(io_error(format!("withdraw the rules of {name}")))?;
        }
        if let Err(error) = nfnetlink::forget_connections(address) {
            tracing::warn!(%address, %error, "connections of a task that is gone stay tracked until they time out");
        }
        Ok(())
    }

    fn connect_new(&self, name: &str, interface: Interface, source: Ipv4Addr) -> Result<PathBuf, NetworkError> {
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
            let _ = lock(&self.netlink).delete_link(&host_name);
            made = namespace::create(&path, content);
        }
        let mut inside = made.map_err(io_error(format!("make the network namespace of {name}")))?;
        let mut connected = self.connect(&host_name, interface, source);
        if connected
            .as_ref()
            .is_err_and(|e| e.raw_os_error() == Some(libc::EINVAL))
        {
            // So the kernel refuses a source address that is gone: a network daemon of the machine, or a person, took
            // the resolver's address away since the start, and perhaps the routes with it.
            let mut enforcement = lock(&self.enforcement);
            enforcement
                .restore_hosted(&mut lock(&self.netlink))
                .map_err(io_error("restore routes and addresses"))?;
            drop(enforcement);
            connected = self.connect(&host_name, interface, source);
        }
        if let Err(source) = connected.and_then(|()| inside.settle("eth0")) {
            let _ = namespace::remove(&path);
            return Err(NetworkError::Io {
                what: format!("connect the network of {name}"),
                source,
            });
        }
        Ok(path)
    }

    fn connect(&self, host_name: &str, interface: Interface, source: Ipv4Addr) -> io::Result<()> {
        let index = namespace::interface_index(host_name)?;
        let mut netlink = lock(&self.netlink);
        netlink.set_up(index)?;
        netlink.add_link_route(interface.address, index, Some(source))?;
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
        match self.connect_new(name, interface, self.config.resolver()) {
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
            .map(drop)
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
        // The kernel takes the pair with the namespace, many at once: each by itself would cost a fifth of all stops.
        namespace::remove(&self.path(name)).map_err(io_error(format!("remove the network namespace of {name}")))?;
        self.give(name)
    }

    /// What the interface of the namespace `name` has carried; none when it has none.
    pub fn counters(&self, name: &str) -> Option<Counters> {
        let files = PathBuf::from(format!(
            "/sys/class/net/{}/statistics",
            self.config.host_interface(name)
        ));
        let number = |file: String| fs::read_to_string(files.join(file)).ok()?.trim().parse().ok();
        let carried = |way: &str| {
            Some(Carried {
                bytes: number(format!("{way}_bytes"))?,
                packets: number(format!("{way}_packets"))?,
                errors: number(format!("{way}_errors"))?,
                dropped: number(format!("{way}_dropped"))?,
            })
        };
        // What the machine's end sends, the task receives.
        Some(Counters {
            received: carried("tx")?,
            sent: carried("rx")?,
        })
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
                note("remove interfaces", remove_links(config, &mut netlink));
                enforce::tear_down(config, &mut netlink, &mut note);
            }
            Err(e) => note("open a netlink socket", Err(e)),
        }
        note("remove the firewall table", firewall::unload(config));
        note("put forwarding back", forwarding::put_back());
        match first {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What is gone already need not be removed.
pub fn absent_is_fine(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ESRCH | libc::EADDRNOTAVAIL | libc::ENOENT | libc::ENODEV)
            ) =>
        {
            Ok(())
        }
        other => other,
    }
}

/// Removes the host's ends of all tasks' pairs, also of those whose namespace has no handle any more.
fn remove_links(config: &NetworkConfig, netlink: &mut Netlink) -> io::Result<()> {
    let mut done = Ok(());
    for name in netlink.links()?.iter().filter(|name| config.is_host_interface(name)) {
        done = done.and(absent_is_fine(netlink.delete_link(name)));
    }
    done
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
