//! What a container's environment says of the containers that it links to (`links`, bridge mode only).
//!
//! Called when a container is started, after those that it links to. Pure. Source: Docker's "Legacy container links", the
//! environment variables of which ECS's tasks on EC2 have, as Docker's `daemon/links` makes them.

use super::envfile::Variable;
use crate::plan::link_parts;
use crate::plan::observed::Observed;
use crate::ports::ImageConfig;
use neargate_link::{ContainerSpec, TaskSpec, Transport};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// What an image's build sets for itself, which is of no use elsewhere.
const NOT_TOLD: [&str; 2] = ["HOME", "PATH"];

/// A container as one that links to it knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Linked {
    /// Index in the task.
    pub container: usize,
    pub alias: String,
    pub address: Ipv4Addr,
}

/// The containers that `index` links to, as far as they have an address, in the definition's order.
pub fn linked(spec: &TaskSpec, observed: &Observed, index: usize) -> Vec<Linked> {
    let of = |link: &String| {
        let (name, alias) = link_parts(link);
        let container = spec.containers.iter().position(|c| c.name == name)?;
        Some(Linked {
            container,
            alias: alias.to_owned(),
            address: observed.address_of(spec, container)?,
        })
    };
    spec.containers[index].links.iter().filter_map(of).collect()
}

/// The variables by which `recipient` finds a container that it links to. `image` and `environment` (`NAME=value`) are that
/// container's own.
pub fn variables(
    recipient: &str,
    linked: &Linked,
    container: &ContainerSpec,
    image: &ImageConfig,
    environment: &[String],
) -> Vec<Variable> {
    let alias = linked.alias.to_uppercase().replace('-', "_");
    let ports = exposed(container, image);
    let mut out = Vec::new();
    let mut say = |name: String, value: String| out.push((format!("{alias}_{name}"), value));
    let url = |port: &Port| format!("{}://{}:{}", port.protocol(), linked.address, port.number);
    if let Some(first) = ports.first() {
        say("PORT".to_owned(), url(first));
    }
    for range in ranges(&ports) {
        let (first, last) = (range[0], range[range.len() - 1]);
        // Docker names both ends by the first port.
        let (name, end) = (first.variable(first.protocol()), first.variable(last.protocol()));
        say(format!("{name}_START"), url(first));
        say(format!("{name}_ADDR"), linked.address.to_string());
        say(format!("{name}_PROTO"), first.protocol().to_owned());
        say(format!("{name}_PORT_START"), first.number.to_string());
        say(format!("{end}_END"), url(last));
        say(format!("{end}_PORT_END"), last.number.to_string());
    }
    for port in &ports {
        let name = port.variable(port.protocol());
        say(name.clone(), url(port));
        say(format!("{name}_ADDR"), linked.address.to_string());
        say(format!("{name}_PORT"), port.number.to_string());
        say(format!("{name}_PROTO"), port.protocol().to_owned());
    }
    say("NAME".to_owned(), format!("/{recipient}/{}", linked.alias));
    for (name, value) in environment.iter().filter_map(|entry| entry.split_once('=')) {
        if !NOT_TOLD.contains(&name) {
            say(format!("ENV_{name}"), value.to_owned());
        }
    }
    out
}

/// A port that a container exposes. They sort as Docker sorts them: by number, TCP before the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port {
    number: u16,
    /// None is TCP.
    other: Option<String>,
}

impl Port {
    fn new(number: u16, protocol: &str) -> Port {
        let other = (!protocol.eq_ignore_ascii_case("tcp")).then(|| protocol.to_ascii_lowercase());
        Port { number, other }
    }

    /// `80/tcp`, or `80` alone.
    fn parse(text: &str) -> Option<Port> {
        let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        Some(Port::new(number.parse().ok()?, protocol))
    }

    fn protocol(&self) -> &str {
        self.other.as_deref().unwrap_or("tcp")
    }

    fn variable(&self, protocol: &str) -> String {
        format!("PORT_{}_{}", self.number, protocol.to_uppercase())
    }
}

/// What the image exposes and what the definition maps.
fn exposed(container: &ContainerSpec, image: &ImageConfig) -> Vec<Port> {
    let mapped = container.port_mappings.iter().flat_map(|mapping| {
        let protocol = match mapping.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        (mapping.container_port..=mapping.container_port_end).map(move |number| Port::new(number, protocol))
    });
    let of_image = image.exposed_ports.iter().filter_map(|text| Port::parse(text));
    let all: BTreeSet<Port> = of_image.chain(mapped).collect();
    all.into_iter().collect()
}

/// Runs of three ports and more that follow one another, as Docker counts them: it lets each further port be one higher than
/// the last run's length allows, so that a number with two protocols leaves room for a gap.
fn ranges(ports: &[Port]) -> Vec<Vec<&Port>> {
    let mut out = Vec::new();
    let mut at = 0;
    while at < ports.len() {
        let reaches = |offset: usize, port: &Port| usize::from(port.number) <= usize::from(ports[at].number) + offset;
        let run: Vec<&Port> = ports[at..]
            .iter()
            .enumerate()
            .take_while(|(offset, port)| reaches(*offset, port))
            .map(|(_, port)| port)
            .collect();
        if run.len() > 2 {
            at += run.len();
            out.push(run);
        } else {
            at += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::PortMapping;

    const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 6);

    fn told(ports: &[(u16, u16, Transport)], exposed: &[&str], environment: &[&str]) -> Vec<String> {
        let mapping = |(first, last, transport): &(u16, u16, Transport)| PortMapping {
            container_port: *first,
            container_port_end: *last,
            host_port: 0,
            transport: *transport,
        };
        let container = ContainerSpec {
            port_mappings: ports.iter().map(mapping).collect(),
            ..ContainerSpec::default()
        };
        let image = ImageConfig {
            exposed_ports: exposed.iter().map(|p| (*p).to_owned()).collect(),
            ..ImageConfig::default()
        };
        let linked = Linked {
            container: 1,
            alias: "my-db".to_owned(),
            address: ADDRESS,
        };
        let environment: Vec<String> = environment.iter().map(|e| (*e).to_owned()).collect();
        variables("web", &linked, &container, &image, &environment)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect()
    }

    #[test]
    fn ports_of_image_and_definition_name_and_environment_are_told() {
        let variables = told(
            &[(80, 80, Transport::Tcp), (53, 53, Transport::Udp)],
            &["80/tcp", "53/tcp", "none"],
            &["COLOR=red", "PATH=/bin", "HOME=/", "EMPTY=", "torn"],
        );
        let expected = [
            "MY_DB_PORT=tcp://198.18.0.6:53",
            "MY_DB_PORT_53_TCP=tcp://198.18.0.6:53",
            "MY_DB_PORT_53_TCP_ADDR=198.18.0.6",
            "MY_DB_PORT_53_TCP_PORT=53",
            "MY_DB_PORT_53_TCP_PROTO=tcp",
            "MY_DB_PORT_53_UDP=udp://198.18.0.6:53",
            "MY_DB_PORT_53_UDP_ADDR=198.18.0.6",
            "MY_DB_PORT_53_UDP_PORT=53",
            "MY_DB_PORT_53_UDP_PROTO=udp",
            "MY_DB_PORT_80_TCP=tcp://198.18.0.6:80",
            "MY_DB_PORT_80_TCP_ADDR=198.18.0.6",
            "MY_DB_PORT_80_TCP_PORT=80",
            "MY_DB_PORT_80_TCP_PROTO=tcp",
            "MY_DB_NAME=/web/my-db",
            "MY_DB_ENV_COLOR=red",
            "MY_DB_ENV_EMPTY=",
        ];
        assert_eq!(variables, expected);
    }

    #[test]
    fn ports_that_follow_one_another_are_told_as_a_range_too() {
        let variables = told(&[(8000, 8002, Transport::Tcp), (9000, 9001, Transport::Tcp)], &[], &[]);
        assert_eq!(
            variables[..7],
            [
                "MY_DB_PORT=tcp://198.18.0.6:8000",
                "MY_DB_PORT_8000_TCP_START=tcp://198.18.0.6:8000",
                "MY_DB_PORT_8000_TCP_ADDR=198.18.0.6",
                "MY_DB_PORT_8000_TCP_PROTO=tcp",
                "MY_DB_PORT_8000_TCP_PORT_START=8000",
                "MY_DB_PORT_8000_TCP_END=tcp://198.18.0.6:8002",
                "MY_DB_PORT_8000_TCP_PORT_END=8002",
            ]
        );
        // Two are no range to Docker.
        assert!(!variables.iter().any(|v| v.starts_with("MY_DB_PORT_9000_TCP_START")));
        assert!(variables.contains(&"MY_DB_PORT_8001_TCP=tcp://198.18.0.6:8001".to_owned()));
    }

    #[test]
    fn a_container_without_ports_is_named_all_the_same() {
        assert_eq!(told(&[], &[], &[]), ["MY_DB_NAME=/web/my-db"]);
    }
}
