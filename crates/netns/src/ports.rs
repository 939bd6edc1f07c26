//! Host ports that containers in bridge mode publish: chosen, held against other programs, given back.

use crate::config::{Publish, Published, Transport};
use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::RangeInclusive;

/// Docker's and ECS's ephemeral range.
const DYNAMIC: RangeInclusive<u16> = 32768..=60999;

/// Keeps a host port from being bound by another program.
enum Held {
    Tcp(#[allow(dead_code)] TcpListener),
    Udp(#[allow(dead_code)] UdpSocket),
}

/// Ports in a row.
type Run = Vec<((Transport, u16), Held)>;

/// Published ports by namespace name.
#[derive(Default)]
pub struct Ports {
    held: BTreeMap<(Transport, u16), Held>,
    of: HashMap<String, (Ipv4Addr, Vec<Published>)>,
    next: u16,
}

impl Ports {
    /// Takes host ports for `asked`, all or none.
    ///
    /// # Errors
    /// The port that is taken already, or none left.
    pub fn take(&mut self, name: &str, address: Ipv4Addr, asked: &[Publish]) -> Result<Vec<Published>, String> {
        let mut taken: Vec<Published> = Vec::with_capacity(asked.len());
        for publish in asked {
            match self.take_one(publish) {
                Ok(port) => taken.push(port),
                Err(why) => {
                    taken.iter().for_each(|port| self.let_go(port));
                    return Err(why);
                }
            }
        }
        self.of.insert(name.to_owned(), (address, taken.clone()));
        Ok(taken)
    }

    fn take_one(&mut self, publish: &Publish) -> Result<Published, String> {
        let candidates: Box<dyn Iterator<Item = u16>> = if publish.host_port != 0 {
            Box::new(std::iter::once(publish.host_port))
        } else {
            let start = self.next.max(*DYNAMIC.start());
            Box::new((start..=*DYNAMIC.end()).chain(*DYNAMIC.start()..start))
        };
        // A taken port that the last run met: no run with it needs to be tried.
        let mut taken = None;
        for port in candidates {
            let Some(last) = port.checked_add(publish.further) else {
                continue;
            };
            let outside = publish.host_port == 0 && !DYNAMIC.contains(&last);
            if outside || taken.is_some_and(|taken| (port..=last).contains(&taken)) {
                continue;
            }
            match self.hold_run(publish.transport, port..=last) {
                Ok(run) => self.held.extend(run),
                Err(met) => {
                    taken = Some(met);
                    continue;
                }
            }
            if publish.host_port == 0 {
                self.next = last
                    .checked_add(1)
                    .filter(|p| DYNAMIC.contains(p))
                    .unwrap_or(*DYNAMIC.start());
            }
            return Ok(Published {
                container_port: publish.container_port,
                host_port: port,
                further: publish.further,
                transport: publish.transport,
            });
        }
        Err(match (publish.host_port, publish.further) {
            (0, 0) => "no host port of 32768-60999 is free".to_owned(),
            (0, further) => format!(
                "no {} host ports in a row are free in 32768-60999",
                u32::from(further) + 1
            ),
            (port, _) => format!("host port {port} is already in use"),
        })
    }

    /// All ports of the run, or the first that is taken.
    fn hold_run(&self, transport: Transport, run: RangeInclusive<u16>) -> Result<Run, u16> {
        let take = |port| {
            if self.held.contains_key(&(transport, port)) {
                return Err(port);
            }
            hold(transport, port)
                .map(|held| ((transport, port), held))
                .map_err(|_| port)
        };
        run.map(take).collect()
    }

    fn let_go(&mut self, published: &Published) {
        for port in published.host_ports() {
            self.held.remove(&(published.transport, port));
        }
    }

    /// All that is published, by the container's address.
    pub fn published(&self) -> impl Iterator<Item = &(Ipv4Addr, Vec<Published>)> {
        self.of.values()
    }

    /// Gives back what `name` published.
    pub fn give_back(&mut self, name: &str) -> Option<(Ipv4Addr, Vec<Published>)> {
        let (address, ports) = self.of.remove(name)?;
        ports.iter().for_each(|port| self.let_go(port));
        Some((address, ports))
    }
}

fn hold(transport: Transport, port: u16) -> std::io::Result<Held> {
    Ok(match transport {
        Transport::Tcp => Held::Tcp(TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))?),
        Transport::Udp => Held::Udp(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))?),
    })
}
