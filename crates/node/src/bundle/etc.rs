//! The files under /etc that a container gets from its task: hosts, hostname and resolv.conf.
//!
//! Called when a container is started, since only then all addresses are known. Pure.

use super::links;
use crate::plan::observed::Observed;
use neargate_link::{ContainerSpec, NetworkSpec, TaskSpec};
use std::net::Ipv4Addr;

/// What the kernel allows for a host name.
const HOSTNAME_LIMIT: usize = 64;

/// The container's host name: its own setting, the interface's DNS name, the machine's name or the container's id.
pub fn hostname(spec: &TaskSpec, container: &ContainerSpec, runtime_id: &str, machine: &str) -> String {
    let name = match (&container.hostname, &spec.network) {
        (Some(name), _) if !name.is_empty() => name.clone(),
        (_, NetworkSpec::Awsvpc(interface)) => interface.private_dns_name.clone(),
        (_, NetworkSpec::Host) => machine.to_owned(),
        (_, NetworkSpec::Bridge | NetworkSpec::None) => runtime_id.chars().take(12).collect(),
    };
    name.chars().take(HOSTNAME_LIMIT).collect()
}

/// /etc/hosts. In host mode it is the machine's own file with the container's entries behind it.
pub fn hosts(spec: &TaskSpec, observed: &Observed, index: usize, hostname: &str, machine_hosts: &str) -> String {
    let container = &spec.containers[index];
    let mut out = match spec.network {
        NetworkSpec::Host => machine_hosts.trim_end().to_owned() + "\n",
        _ => "127.0.0.1\tlocalhost\n\
              ::1\tlocalhost ip6-localhost ip6-loopback\n"
            .to_owned(),
    };
    let mut entry = |address: &dyn std::fmt::Display, names: &str| {
        out.push_str(&format!("{address}\t{names}\n"));
    };
    if let (Some(address), false) = (observed.address_of(spec, index), spec.network == NetworkSpec::Host) {
        match hostname.split_once('.') {
            Some((short, _)) => entry(&address, &format!("{hostname} {short}")),
            None => entry(&address, hostname),
        }
    }
    for linked in links::linked(spec, observed, index) {
        let (name, alias) = (&spec.containers[linked.container].name, &linked.alias);
        if alias == name {
            entry(&linked.address, name);
        } else {
            entry(&linked.address, &format!("{alias} {name}"));
        }
    }
    for (name, address) in &container.extra_hosts {
        entry(address, name);
    }
    out
}

/// /etc/resolv.conf; none where the container has no network.
pub fn resolv_conf(
    spec: &TaskSpec,
    container: &ContainerSpec,
    resolver: Ipv4Addr,
    machine_resolv_conf: &str,
) -> String {
    let servers: Vec<String> = match (&spec.network, container.dns_servers.is_empty()) {
        (_, false) => container.dns_servers.clone(),
        (NetworkSpec::Host, true) => {
            let search = &container.dns_search_domains;
            if search.is_empty() {
                return machine_resolv_conf.to_owned();
            }
            nameservers(machine_resolv_conf)
        }
        (NetworkSpec::None, true) => Vec::new(),
        (NetworkSpec::Awsvpc(_) | NetworkSpec::Bridge, true) => vec![resolver.to_string()],
    };
    let mut search = container.dns_search_domains.clone();
    if let (NetworkSpec::Awsvpc(interface), true) = (&spec.network, search.is_empty())
        && let Some((_, domain)) = interface.private_dns_name.split_once('.')
    {
        search.push(domain.to_owned());
    }
    let mut out = String::new();
    for server in servers {
        out.push_str(&format!("nameserver {server}\n"));
    }
    if !search.is_empty() {
        out.push_str(&format!("search {}\n", search.join(" ")));
    }
    out
}

fn nameservers(resolv_conf: &str) -> Vec<String> {
    let servers = resolv_conf.lines().filter_map(|l| l.trim().strip_prefix("nameserver"));
    servers.map(|s| s.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::observed::Event;
    use crate::testing;
    use neargate_core::Timestamp;

    #[test]
    fn an_awsvpc_container_knows_itself_by_its_interface() {
        let spec = testing::task("app");
        let mut seen = Observed::new(&spec);
        let address = Some(Ipv4Addr::new(172, 31, 0, 10));
        seen.apply(
            &spec,
            &Event::NetworkReady {
                network: 0,
                address,
                bindings: Vec::new(),
            },
            Timestamp(0),
        );
        let name = hostname(&spec, &spec.containers[0], "id", "machine");
        assert_eq!(name, "ip-172-31-0-10.ec2.internal");
        assert_eq!(
            hosts(&spec, &seen, 0, &name, ""),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             172.31.0.10\tip-172-31-0-10.ec2.internal ip-172-31-0-10\n"
        );
        let resolver = Ipv4Addr::new(172, 31, 0, 2);
        assert_eq!(
            resolv_conf(&spec, &spec.containers[0], resolver, ""),
            "nameserver 172.31.0.2\nsearch ec2.internal\n"
        );
    }

    #[test]
    fn links_extra_hosts_and_dns_settings_appear_in_bridge_mode() {
        let mut spec = testing::task("web db");
        spec.network = NetworkSpec::Bridge;
        spec.containers[0].links = vec!["db:database".to_owned()];
        spec.containers[0].extra_hosts = vec![("pal".to_owned(), "10.0.0.1".to_owned())];
        spec.containers[0].dns_servers = vec!["9.9.9.9".to_owned()];
        spec.containers[0].dns_search_domains = vec!["corp".to_owned()];
        let mut seen = Observed::new(&spec);
        for network in 0..2 {
            let address = Some(Ipv4Addr::new(10, 254, 0, 5 + network as u8));
            seen.apply(
                &spec,
                &Event::NetworkReady {
                    network,
                    address,
                    bindings: Vec::new(),
                },
                Timestamp(0),
            );
        }
        let name = hostname(&spec, &spec.containers[0], "0123456789abcdef", "machine");
        assert_eq!(name, "0123456789ab");
        let text = hosts(&spec, &seen, 0, &name, "");
        assert!(
            text.ends_with("10.254.0.5\t0123456789ab\n10.254.0.6\tdatabase db\n10.0.0.1\tpal\n"),
            "{text}"
        );
        let conf = resolv_conf(&spec, &spec.containers[0], Ipv4Addr::LOCALHOST, "");
        assert_eq!(conf, "nameserver 9.9.9.9\nsearch corp\n");
    }

    #[test]
    fn host_mode_uses_the_machines_files() {
        let mut spec = testing::task("app");
        spec.network = NetworkSpec::Host;
        let seen = Observed::new(&spec);
        assert_eq!(hosts(&spec, &seen, 0, "machine", "10.1.1.1 pal\n"), "10.1.1.1 pal\n");
        let machine = "nameserver 1.1.1.1\n";
        assert_eq!(
            resolv_conf(&spec, &spec.containers[0], Ipv4Addr::LOCALHOST, machine),
            machine
        );
    }
}
