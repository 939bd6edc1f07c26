//! The instance's nftables table: masquerade, published ports, and what tasks may not reach on the host.

use crate::config::{NetworkConfig, Published, Transport};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// The whole ruleset of an instance; loading it again replaces the rules.
///
/// Published ports are dropped with it: the node publishes again what still runs.
pub fn ruleset(config: &NetworkConfig) -> String {
    let table = config.table();
    let prefix = config.interface_prefix();
    let resolver = config.resolver();
    let (vpc, bridge) = (config.vpc_cidr, config.bridge_cidr);
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
    map tcp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    map udp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "{prefix}*" ip daddr 127.0.0.0/8 drop
        fib daddr type local meta l4proto tcp dnat ip to tcp dport map @tcp_ports
        fib daddr type local meta l4proto udp dnat ip to udp dport map @udp_ports
    }}
    chain output {{
        type nat hook output priority -100; policy accept;
        fib daddr type local meta l4proto tcp dnat ip to tcp dport map @tcp_ports
        fib daddr type local meta l4proto udp dnat ip to udp dport map @udp_ports
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 127.0.0.0/8 oifname "{prefix}*" snat ip to {resolver}
        ip saddr {{ {vpc}, {bridge} }} ip daddr != {{ {vpc}, {bridge} }} oifname != {{ "lo" }} oifname != "{prefix}*" masquerade
    }}
    chain martians {{
        type filter hook prerouting priority -300; policy accept;
        iifname "{prefix}*" ip daddr 127.0.0.0/8 drop
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifname != "{prefix}*" accept
        ct state established,related accept
        ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept
        ip protocol icmp accept
        reject with icmpx admin-prohibited
    }}
}}
"#
    )
}

/// Adds or removes map elements for `ports` of the container at `address`.
pub fn port_elements(config: &NetworkConfig, verb: &str, address: Ipv4Addr, ports: &[Published]) -> String {
    let table = config.table();
    let mut out = String::new();
    for port in ports {
        let map = match port.transport {
            Transport::Tcp => "tcp_ports",
            Transport::Udp => "udp_ports",
        };
        let _ = writeln!(
            out,
            "{verb} element inet {table} {map} {{ {} : {address} . {} }}",
            port.host_port, port.container_port
        );
    }
    out
}

/// Loads `script` in one transaction.
pub fn apply(script: &str) -> io::Result<()> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run nft (install nftables): {e}")))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(script.as_bytes())?;
    }
    let out = child.wait_with_output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "nft refused the rules: {}",
        String::from_utf8_lossy(&out.stderr).trim()
    )))
}

/// True when the instance's table is loaded.
pub fn is_loaded(config: &NetworkConfig) -> io::Result<bool> {
    let out = Command::new("nft")
        .args(["list", "tables", "inet"])
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run nft (install nftables): {e}")))?;
    let wanted = format!("table inet {}", config.table());
    Ok(String::from_utf8_lossy(&out.stdout).lines().any(|l| l.trim() == wanted))
}

/// Removes the instance's table if it is there.
pub fn unload(config: &NetworkConfig) -> io::Result<()> {
    if is_loaded(config)? {
        apply(&format!("delete table inet {}", config.table()))
    } else {
        Ok(())
    }
}
