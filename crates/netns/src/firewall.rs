//! The instance's nftables table: the frame that security groups, VPCs and published ports are put into.
//!
//! Who passes, in the order of a packet's way: `martians` (a task sends from its own address only, and nobody else from a
//! VPC's), `guard` (what a task may send: its VPC, its routes, its groups' egress), `nat`, then `admit` for packets to
//! tasks and `input` for those to load balancers (their groups' ingress). These two come after source addresses are
//! changed, so that rules see a caller of a public address as it is seen from outside its VPC. Containers in bridge mode are
//! the machine's own: they call as it does, into the default VPC and by public addresses, and are called at published
//! ports, by each other and by the machine. What belongs to a
//! connection that was let through passes. The invariant: what no rule admits is dropped, and a table is never half written.

use crate::config::{METADATA_PORT, NetworkConfig, Published, Transport};
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

/// The frame of an instance; loading it drops what was in the table, so the script that fills it goes along.
///
/// Published ports are dropped with it: the caller adds those that are held.
pub fn frame(config: &NetworkConfig) -> String {
    let table = config.table();
    let prefix = config.interface_prefix();
    let resolver = config.resolver();
    let (bridge, vpc) = (config.bridge_cidr, config.vpc_cidr);
    let public = config.public_cidr;
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
    map tcp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    map udp_ports {{ type inet_service : ipv4_addr . inet_service; }}
    set vpc_ranges {{ type ipv4_addr; flags interval; }}
    set resolvers {{ type ipv4_addr; }}
    set balancers {{ type ipv4_addr; }}
    set outbound {{ type ipv4_addr; }}
    set outbound_ranges {{ type ipv4_addr . ipv4_addr; flags interval; }}
    set selves {{ type ipv4_addr . ipv4_addr; }}
    map public {{ type ipv4_addr : ipv4_addr; }}
    map seen_as {{ type ipv4_addr : ipv4_addr; }}
    map seen_parts {{ type ipv4_addr . ipv4_addr : ipv4_addr; flags interval; }}
    map vpc_of {{ type ipv4_addr : verdict; }}
    map ingress {{ type ipv4_addr : verdict; }}
    map egress {{ type ipv4_addr : verdict; }}

    chain martians {{
        type filter hook prerouting priority -300; policy accept;
        iifname "lo" accept
        iifname != "{prefix}*" ip saddr @vpc_ranges drop
        iifname != "{prefix}*" accept
        meta nfproto != ipv4 drop
        ip daddr 127.0.0.0/8 drop
        fib saddr . iif oif missing drop
    }}
    chain guard {{
        type filter hook prerouting priority -150; policy accept;
        iifname "lo" accept
        iifname != "{prefix}*" ip daddr @vpc_ranges drop
        iifname != "{prefix}*" accept
        ct state established,related accept
        ct state invalid drop
        ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 accept
        ip daddr 169.254.170.2 tcp dport 80 accept
        ip saddr {bridge} ip daddr {vpc} accept
        ip saddr {bridge} ip daddr @vpc_ranges drop
        ip saddr {bridge} accept
        ip saddr vmap @vpc_of
        ip saddr vmap @egress
        drop
    }}
    chain nat {{
        type nat hook prerouting priority dstnat; policy accept;
        iifname "{prefix}*" ip daddr @resolvers meta l4proto {{ tcp, udp }} th dport 53 dnat ip to {resolver}
        iifname "{prefix}*" ip daddr 169.254.170.2 tcp dport 80 dnat ip to {resolver}:{METADATA_PORT}
        dnat ip to ip daddr map @public
        ip daddr @balancers accept
        ip daddr @resolvers accept
        fib daddr type local meta l4proto tcp dnat ip to tcp dport map @tcp_ports
        fib daddr type local meta l4proto udp dnat ip to udp dport map @udp_ports
    }}
    chain nat_output {{
        type nat hook output priority -100; policy accept;
        dnat ip to ip daddr map @public
        ip daddr @balancers accept
        ip daddr @resolvers accept
        fib daddr type local meta l4proto tcp dnat ip to tcp dport map @tcp_ports
        fib daddr type local meta l4proto udp dnat ip to udp dport map @udp_ports
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        oifname != "{prefix}*" ip daddr @vpc_ranges drop
    }}
    chain output {{
        type filter hook output priority filter; policy accept;
        oifname != "lo" oifname != "{prefix}*" jump leaving
        ip saddr @balancers jump balancer_output
    }}
    chain leaving {{
        ip saddr @vpc_ranges drop
        ip daddr @vpc_ranges drop
    }}
    chain balancer_output {{
        ct state established,related accept
        ct state invalid drop
        ip saddr . ip daddr @selves accept
        ip saddr vmap @vpc_of
        ip saddr vmap @egress
        drop
    }}
    chain admit {{
        type filter hook postrouting priority 110; policy accept;
        oifname != "{prefix}*" accept
        meta nfproto != ipv4 drop
        ct state established,related accept
        fib saddr type local icmp type {{ destination-unreachable, time-exceeded, parameter-problem }} accept
        ct state invalid drop
        ip daddr {bridge} ip saddr {bridge} accept
        ip daddr {bridge} ct status dnat accept
        ip daddr {bridge} fib saddr type local accept
        ip daddr vmap @ingress
        drop
    }}
    chain nat_postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 127.0.0.0/8 oifname "{prefix}*" snat ip to {resolver}
        ip saddr {bridge} ip daddr != {bridge} oifname "{prefix}*" snat ip to {resolver}
        oifname "{prefix}*" ct original ip daddr {public} snat ip to ip saddr map @seen_as
        oifname "{prefix}*" ct original ip daddr {public} snat ip to ip saddr . ct original ip daddr map @seen_parts
        ip saddr . ip daddr @selves oifname "{prefix}*" snat ip to {resolver}
        oifname "lo" accept
        oifname "{prefix}*" accept
        ip saddr @vpc_ranges masquerade
        ip saddr {bridge} masquerade
    }}
    chain nat_input {{
        type nat hook input priority 100; policy accept;
        ip saddr {bridge} ip daddr @balancers snat ip to {resolver}
        ct original ip daddr {public} snat ip to ip saddr map @seen_as
        ct original ip daddr {public} snat ip to ip saddr . ct original ip daddr map @seen_parts
    }}
    chain input {{
        type filter hook input priority 110; policy accept;
        ip daddr @balancers jump balancer_input
        iifname != "{prefix}*" accept
        ct state established,related accept
        ip daddr {resolver} meta l4proto {{ tcp, udp }} th dport 53 accept
        ip daddr {resolver} tcp dport {METADATA_PORT} accept
        ip protocol icmp accept
        reject with icmpx admin-prohibited
    }}
    chain balancer_input {{
        ct state established,related accept
        ct state invalid drop
        ip daddr vmap @ingress
        drop
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
        for (host_port, container_port) in port.ports() {
            let _ = writeln!(
                out,
                "{verb} element inet {table} {map} {{ {host_port} : {address} . {container_port} }}"
            );
        }
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
    let wanted = config.table();
    Ok(tables()?.contains(&wanted))
}

/// True when the table of any instance is loaded.
pub fn any_is_loaded() -> io::Result<bool> {
    Ok(tables()?
        .iter()
        .any(|table| table.starts_with(NetworkConfig::TABLE_PREFIX)))
}

/// Names of the machine's tables of our family.
fn tables() -> io::Result<Vec<String>> {
    let out = Command::new("nft")
        .args(["list", "tables", "inet"])
        .output()
        .map_err(|e| io::Error::new(e.kind(), format!("cannot run nft (install nftables): {e}")))?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let names = text.lines().filter_map(|line| line.trim().strip_prefix("table inet "));
    Ok(names.map(str::to_owned).collect())
}

/// Removes the instance's table if it is there.
pub fn unload(config: &NetworkConfig) -> io::Result<()> {
    if is_loaded(config)? {
        apply(&format!("delete table inet {}", config.table()))
    } else {
        Ok(())
    }
}
