//! Port mappings: within a container, between containers, and against the network mode.

use super::{Check, in_container, list, network_mode};
use crate::api;

const MAX_RANGES: usize = 100;

/// Ports of a mapping, first to last.
#[derive(Clone, Copy)]
struct Ports {
    first: u16,
    last: u16,
    udp: bool,
}

impl Ports {
    fn overlap(self, other: Ports) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

pub(super) fn check(d: &api::TaskDefinition) -> Check {
    let mode = network_mode(d);
    let mut names: Vec<&str> = Vec::new();
    let mut on_host: Vec<Ports> = Vec::new();
    for c in list(&d.container_definitions) {
        let mappings = list(&c.port_mappings);
        let mut own: Vec<Ports> = Vec::new();
        let mut ranges = 0;
        for mapping in mappings {
            let ports = one(mode, mapping).map_err(|rule| in_container(c, &rule))?;
            ranges += usize::from(mapping.container_port_range.is_some());
            if own.iter().any(|other| other.overlap(ports) && other.udp == ports.udp) {
                return Err(in_container(
                    c,
                    &format!("'portMappings' name container port {} more than once.", text(ports)),
                ));
            }
            own.push(ports);
            let host = match (mode, mapping.host_port) {
                // Any free port, or a range chosen on the machine.
                ("bridge", None | Some(0)) => None,
                ("bridge", Some(port)) => u16::try_from(port).ok().map(|p| Ports {
                    first: p,
                    last: p,
                    ..ports
                }),
                _ => Some(ports),
            };
            if let Some(host) = host {
                if on_host.iter().any(|other| other.overlap(host) && other.udp == host.udp) {
                    return Err(in_container(
                        c,
                        &format!("host port {} is mapped more than once.", text(host)),
                    ));
                }
                on_host.push(host);
            }
            if let Some(name) = mapping.name.as_deref() {
                if !is_mapping_name(name) {
                    return Err(in_container(
                        c,
                        &format!("'portMappings' have an invalid name: '{name}'."),
                    ));
                }
                if names.contains(&name) {
                    return Err(in_container(
                        c,
                        &format!("'portMappings' have the name '{name}' more than once."),
                    ));
                }
                names.push(name);
            }
        }
        if ranges > MAX_RANGES {
            return Err(in_container(
                c,
                &format!("'portMappings' can have at most {MAX_RANGES} port ranges."),
            ));
        }
    }
    Ok(())
}

fn text(ports: Ports) -> String {
    match ports {
        Ports { first, last, .. } if first == last => first.to_string(),
        Ports { first, last, .. } => format!("{first}-{last}"),
    }
}

fn one(mode: &str, mapping: &api::PortMapping) -> Result<Ports, String> {
    if mode == "none" {
        return Err("Port mappings are not supported when networkMode=none.".to_owned());
    }
    let udp = match mapping.protocol.as_deref() {
        None | Some("tcp") => false,
        Some("udp") => true,
        Some(other) => return Err(format!("'portMappings' have an unknown protocol: '{other}'.")),
    };
    match mapping.app_protocol.as_deref() {
        None | Some("http" | "http2" | "grpc") => {}
        Some(other) => return Err(format!("'portMappings' have an unknown appProtocol: '{other}'.")),
    }
    if let Some(range) = mapping.container_port_range.as_deref() {
        if mapping.container_port.is_some() || mapping.host_port.is_some() {
            return Err("containerPort and hostPort must not be set together with containerPortRange.".to_owned());
        }
        if mode == "host" {
            return Err("containerPortRange is not supported when networkMode=host.".to_owned());
        }
        let parsed = range
            .split_once('-')
            .and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
        return match parsed {
            Some((first, last)) if first > 0 && first < last => Ok(Ports { first, last, udp }),
            _ => Err(format!(
                "containerPortRange '{range}' must be two ports between 1 and 65535, the first less than the last."
            )),
        };
    }
    let port = mapping
        .container_port
        .and_then(|p| u16::try_from(p).ok())
        .filter(|p| *p > 0);
    let Some(port) = port else {
        return Err(match mapping.container_port {
            None => "containerPort must be specified in 'portMappings'.".to_owned(),
            Some(port) => format!("containerPort {port} must be between 1 and 65535."),
        });
    };
    let host = mapping.host_port.unwrap_or(0);
    if !(0..=65535).contains(&host) {
        return Err(format!("hostPort {host} must be between 0 and 65535."));
    }
    if mode != "bridge" && host != i32::from(port) {
        return Err(format!(
            "When networkMode={mode}, the host ports and container ports in port mappings must match."
        ));
    }
    Ok(Ports {
        first: port,
        last: port,
        udp,
    })
}

/// 1 to 64 small letters, digits, underscores and hyphens, not a hyphen first.
fn is_mapping_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    (1..=64).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}
