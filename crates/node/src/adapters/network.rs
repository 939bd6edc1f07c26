//! The network of `neargate-netns`: which namespace a task or container gets, by network mode.

use super::blocking;
use crate::plan::reason::Failure;
use crate::ports::{BoxFuture, Counters, MadeNetwork, TaskNetwork};
use neargate_link::{InterfaceSpec, NetworkBinding, NetworkSpec, TaskSpec, Transport};
use neargate_netns::{Interface, Membership, Network, NetworkChange, NetworkError, Publish, Published};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The kernel takes a removed namespace apart in the background; its interface names are free after that.
const REMAINS_GO_WITHIN: Duration = Duration::from_secs(5);
const REMAINS_PAUSE: Duration = Duration::from_millis(5);

/// The machine's network.
pub struct HostNetwork {
    network: Arc<Network>,
}

impl HostNetwork {
    pub fn new(network: Arc<Network>) -> HostNetwork {
        HostNetwork { network }
    }
}

/// Name of the namespace of network `index`.
pub fn namespace(spec: &TaskSpec, index: usize) -> String {
    if spec.network == NetworkSpec::Bridge {
        format!("{}-{index}", spec.id)
    } else {
        spec.id.clone()
    }
}

impl TaskNetwork for HostNetwork {
    fn make<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<MadeNetwork, String>> {
        let network = self.network.clone();
        let (name, mode) = (namespace(spec, index), spec.network.clone());
        let ports = if mode == NetworkSpec::Bridge {
            publishes(spec, index)
        } else {
            Vec::new()
        };
        Box::pin(async move {
            if mode == NetworkSpec::Host {
                return Ok(on_host());
            }
            blocking(move || make(&network, &name, &mode, &ports)).await
        })
    }

    fn adopt<'a>(
        &'a self,
        spec: &'a TaskSpec,
        index: usize,
        address: Option<Ipv4Addr>,
        bindings: &'a [NetworkBinding],
    ) -> BoxFuture<'a, Result<MadeNetwork, String>> {
        let network = self.network.clone();
        let (name, mode, bindings) = (namespace(spec, index), spec.network.clone(), bindings.to_vec());
        Box::pin(async move {
            if mode == NetworkSpec::Host {
                return Ok(on_host());
            }
            blocking(move || adopt(&network, &name, &mode, address, bindings)).await
        })
    }

    fn remove<'a>(&'a self, spec: &'a TaskSpec, index: usize) -> BoxFuture<'a, Result<(), String>> {
        let network = self.network.clone();
        let (name, on_host) = (namespace(spec, index), spec.network == NetworkSpec::Host);
        Box::pin(async move {
            if on_host {
                return Ok(());
            }
            blocking(move || network.remove(&name).map_err(|e| e.to_string())).await
        })
    }

    fn enforce(&self, change: NetworkChange) -> BoxFuture<'_, Result<(), String>> {
        let network = self.network.clone();
        Box::pin(async move { blocking(move || network.change(change).map_err(|e| e.to_string())).await })
    }

    fn uphold(&self) -> BoxFuture<'_, Result<(), String>> {
        let network = self.network.clone();
        Box::pin(async move { blocking(move || network.uphold().map_err(|e| e.to_string())).await })
    }

    fn counters(&self, spec: &TaskSpec, index: usize) -> Option<Counters> {
        match spec.network {
            NetworkSpec::Awsvpc(_) | NetworkSpec::Bridge => self.network.counters(&namespace(spec, index)),
            NetworkSpec::Host | NetworkSpec::None => None,
        }
    }

    fn resolver(&self) -> Ipv4Addr {
        self.network.resolver()
    }

    fn resolver_of(&self, network: &NetworkSpec) -> Ipv4Addr {
        match network {
            NetworkSpec::Awsvpc(interface) => self.network.resolver_of(&interface.vpc_id),
            NetworkSpec::Bridge | NetworkSpec::Host | NetworkSpec::None => self.network.resolver(),
        }
    }
}

fn on_host() -> MadeNetwork {
    MadeNetwork {
        network: neargate_runtime::Network::Host,
        address: None,
        bindings: Vec::new(),
    }
}

fn make(network: &Network, name: &str, mode: &NetworkSpec, ports: &[Publish]) -> Result<MadeNetwork, String> {
    // An earlier process of the node may have died while it made this one. Its interfaces go a moment after it.
    let remains = network.path(name).exists();
    if remains {
        remove_remains(network, name);
    }
    let deadline = Instant::now() + if remains { REMAINS_GO_WITHIN } else { Duration::ZERO };
    loop {
        let error = match create(network, name, mode, ports) {
            Ok(made) => return Ok(made),
            Err(error) => error,
        };
        remove_remains(network, name);
        if let NetworkError::Port(why) = error {
            return Err(Failure::CannotStartContainer.because(why));
        }
        if Instant::now() >= deadline {
            let why = format_args!("failed to configure the task's network: {error}");
            return Err(Failure::ResourceInitialization.because(why));
        }
        std::thread::sleep(REMAINS_PAUSE);
    }
}

fn remove_remains(network: &Network, name: &str) {
    if let Err(error) = network.remove(name) {
        tracing::warn!(namespace = name, %error, "what is left of a network is not removed");
    }
}

fn create(network: &Network, name: &str, mode: &NetworkSpec, ports: &[Publish]) -> Result<MadeNetwork, NetworkError> {
    let made = |path, address, bindings| MadeNetwork {
        network: neargate_runtime::Network::Path(path),
        address,
        bindings,
    };
    match mode {
        NetworkSpec::Awsvpc(spec) => {
            let interface = interface(spec)?;
            let membership = Membership {
                vpc_id: spec.vpc_id.clone(),
                groups: spec.groups.clone(),
            };
            let path = network.create(name, interface, &membership)?;
            Ok(made(path, Some(spec.address), Vec::new()))
        }
        NetworkSpec::Bridge => {
            let (path, address) = network.create_bridged(name)?;
            let bindings = network
                .publish(name, address, ports)?
                .into_iter()
                .map(binding)
                .collect();
            Ok(made(path, Some(address), bindings))
        }
        NetworkSpec::None => Ok(made(network.create_isolated(name)?, None, Vec::new())),
        NetworkSpec::Host => Ok(on_host()),
    }
}

fn adopt(
    network: &Network,
    name: &str,
    mode: &NetworkSpec,
    address: Option<Ipv4Addr>,
    bindings: Vec<NetworkBinding>,
) -> Result<MadeNetwork, String> {
    let path = network.path(name);
    if !is_namespace(&path) {
        return Err(format!("the network namespace {} is gone", path.display()));
    }
    if let NetworkSpec::Awsvpc(spec) = mode {
        network.adopt(name, spec.address);
    }
    if let (NetworkSpec::Bridge, Some(address)) = (mode, address) {
        network.adopt_bridged(name, address);
        let ports: Vec<Publish> = bindings
            .iter()
            .map(|b| Publish {
                container_port: b.container_port,
                host_port: b.host_port,
                further: b.further,
                transport: transport(b.transport),
            })
            .collect();
        network.publish(name, address, &ports).map_err(|e| e.to_string())?;
    }
    Ok(MadeNetwork {
        network: neargate_runtime::Network::Path(path),
        address,
        bindings,
    })
}

/// True when `path` is a live handle of a namespace, not the empty file that a reboot leaves of it.
fn is_namespace(path: &Path) -> bool {
    const NSFS_MAGIC: u64 = 0x6e73_6673;
    rustix::fs::statfs(path).is_ok_and(|s| s.f_type as u64 == NSFS_MAGIC)
}

fn interface(spec: &InterfaceSpec) -> Result<Interface, NetworkError> {
    let mac = parse_mac(&spec.mac).ok_or_else(|| NetworkError::Io {
        what: format!("read the MAC address {}", spec.mac),
        source: std::io::ErrorKind::InvalidData.into(),
    })?;
    Ok(Interface {
        address: spec.address,
        mac,
        gateway: spec.gateway,
    })
}

fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

fn publishes(spec: &TaskSpec, index: usize) -> Vec<Publish> {
    let mappings = spec.containers[index].port_mappings.iter();
    mappings
        .map(|m| Publish {
            container_port: m.container_port,
            host_port: m.host_port,
            further: m.further(),
            transport: transport(m.transport),
        })
        .collect()
}

fn transport(transport: Transport) -> neargate_netns::Transport {
    match transport {
        Transport::Tcp => neargate_netns::Transport::Tcp,
        Transport::Udp => neargate_netns::Transport::Udp,
    }
}

fn binding(published: Published) -> NetworkBinding {
    NetworkBinding {
        bind_ip: "0.0.0.0".to_owned(),
        container_port: published.container_port,
        host_port: published.host_port,
        further: published.further,
        transport: match published.transport {
            neargate_netns::Transport::Tcp => Transport::Tcp,
            neargate_netns::Transport::Udp => Transport::Udp,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use neargate_link::PortMapping;

    #[test]
    fn macs_are_read_whole() {
        assert_eq!(parse_mac("0a:00:ff:01:02:03"), Some([0x0a, 0, 0xff, 1, 2, 3]));
        assert_eq!(parse_mac("0a:00:ff:01:02"), None);
        assert_eq!(parse_mac("0a:00:ff:01:02:03:04"), None);
    }

    #[test]
    fn a_port_range_is_published_as_one() {
        let mut spec = testing::task("app");
        spec.network = NetworkSpec::Bridge;
        spec.containers[0].port_mappings = vec![
            PortMapping {
                container_port: 80,
                container_port_end: 80,
                host_port: 8080,
                transport: Transport::Tcp,
            },
            PortMapping {
                container_port: 90,
                container_port_end: 92,
                host_port: 0,
                transport: Transport::Udp,
            },
        ];
        let ports: Vec<(u16, u16, u16)> = publishes(&spec, 0)
            .iter()
            .map(|p| (p.container_port, p.host_port, p.further))
            .collect();
        assert_eq!(ports, [(80, 8080, 0), (90, 0, 2)]);
    }
}
