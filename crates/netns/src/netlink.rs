//! The few rtnetlink requests a task network needs, blocking, each acknowledged by the kernel.

use crate::config::Cidr;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressScope};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::RawFd;

/// Marks routes as Neargate's (`ip route` shows `proto 78`).
const PROTOCOL: u8 = 78;
const MAIN_TABLE: u8 = 254;
/// The lowest preference a route can have.
const LAST: u32 = u32::MAX;

/// A netlink socket of the network namespace in which it was opened.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
}

/// A route or address that the machine already has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InUse {
    pub cidr: Cidr,
    pub interface: Option<u32>,
    /// A route that some Neargate made.
    pub ours: bool,
    /// Neargate's own unreachable route.
    pub unreachable_of_ours: bool,
}

impl Netlink {
    pub fn open() -> io::Result<Netlink> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Netlink {
            socket,
            sequence: 0,
            buffer: vec![0; 32 * 1024],
        })
    }

    /// Makes `eth0` here, up, and its peer `host_name` in the namespace behind `host_ns`, still down: the kernel
    /// refuses to raise a peer before both ends exist. Each has one queue, as it would use unasked: but of one made for every
    /// processor the kernel takes the others away again, and has all interfaces of the machine wait for that.
    pub fn add_veth(&mut self, mac: [u8; 6], host_name: &str, host_mac: [u8; 6], host_ns: RawFd) -> io::Result<()> {
        let mut peer = LinkMessage::default();
        peer.attributes = vec![
            LinkAttribute::IfName(host_name.to_owned()),
            LinkAttribute::Address(host_mac.to_vec()),
            LinkAttribute::NetNsFd(host_ns),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
        ];
        let mut link = LinkMessage::default();
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        link.attributes = vec![
            LinkAttribute::IfName("eth0".to_owned()),
            LinkAttribute::Address(mac.to_vec()),
            LinkAttribute::NumTxQueues(1),
            LinkAttribute::NumRxQueues(1),
            LinkAttribute::LinkInfo(vec![
                LinkInfo::Kind(InfoKind::Veth),
                LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
            ]),
        ];
        self.request(RouteNetlinkMessage::NewLink(link), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Waits until the link called `name` sends: asked for it, the kernel first does what a raised carrier left to do
    /// (since 6.8; earlier ones do it in their own time). Packets sent before are lost.
    pub fn settle(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.request(RouteNetlinkMessage::GetLink(link), 0)
    }

    pub fn set_up(&mut self, index: u32) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.header.change_mask = LinkFlags::Up;
        self.request(RouteNetlinkMessage::SetLink(link), 0)
    }

    /// With its peer, in whichever namespace that is.
    pub fn delete_link(&mut self, name: &str) -> io::Result<()> {
        let mut link = LinkMessage::default();
        link.attributes = vec![LinkAttribute::IfName(name.to_owned())];
        self.request(RouteNetlinkMessage::DelLink(link), 0)
    }

    /// Names of the namespace's interfaces.
    pub fn links(&mut self) -> io::Result<Vec<String>> {
        let mut out = Vec::new();
        for message in self.dump(RouteNetlinkMessage::GetLink(LinkMessage::default()))? {
            if let RouteNetlinkMessage::NewLink(link) = message {
                out.extend(link.attributes.into_iter().filter_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                }));
            }
        }
        Ok(out)
    }

    pub fn add_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(
            RouteNetlinkMessage::NewAddress(address_message(index, address)),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    pub fn delete_address(&mut self, index: u32, address: Ipv4Addr) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelAddress(address_message(index, address)), 0)
    }

    /// `destination dev index scope link [src source]`.
    pub fn add_link_route(&mut self, destination: Ipv4Addr, index: u32, source: Option<Ipv4Addr>) -> io::Result<()> {
        let mut route = route(destination, 32, RouteScope::Link, RouteType::Unicast);
        route.attributes.push(RouteAttribute::Oif(index));
        if let Some(source) = source {
            route
                .attributes
                .push(RouteAttribute::PrefSource(RouteAddress::Inet(source)));
        }
        self.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn delete_link_route(&mut self, destination: Ipv4Addr) -> io::Result<()> {
        let route = route(destination, 32, RouteScope::Link, RouteType::Unicast);
        self.request(RouteNetlinkMessage::DelRoute(route), 0)
    }

    /// `default via gateway dev index onlink`.
    pub fn add_default_route(&mut self, gateway: Ipv4Addr, index: u32) -> io::Result<()> {
        let mut route = route(Ipv4Addr::UNSPECIFIED, 0, RouteScope::Universe, RouteType::Unicast);
        route.attributes.push(RouteAttribute::Oif(index));
        route
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
        self.request(RouteNetlinkMessage::NewRoute(route), NLM_F_CREATE | NLM_F_REPLACE)
    }

    pub fn add_unreachable(&mut self, cidr: Cidr) -> io::Result<()> {
        self.request(
            RouteNetlinkMessage::NewRoute(unreachable(cidr)),
            NLM_F_CREATE | NLM_F_REPLACE,
        )
    }

    pub fn delete_unreachable(&mut self, cidr: Cidr) -> io::Result<()> {
        self.request(RouteNetlinkMessage::DelRoute(unreachable(cidr)), 0)
    }

    /// A neighbour that never needs ARP.
    pub fn add_neighbour(&mut self, index: u32, address: Ipv4Addr, mac: [u8; 6]) -> io::Result<()> {
        let mut message = NeighbourMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.ifindex = index;
        message.header.state = NeighbourState::Permanent;
        message.attributes = vec![
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
            NeighbourAttribute::LinkLayerAddress(mac.to_vec()),
        ];
        self.request(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Every IPv4 range that a route of the main table or an address claims, default routes left out.
    pub fn in_use(&mut self) -> io::Result<Vec<InUse>> {
        let mut get = RouteMessage::default();
        get.header.address_family = AddressFamily::Inet;
        let mut out = Vec::new();
        for message in self.dump(RouteNetlinkMessage::GetRoute(get))? {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                out.extend(route_in_use(&route));
            }
        }
        Ok(out)
    }

    fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        loop {
            let size = self.receive()?;
            let reply = parse(&self.buffer[..size])?;
            if reply.header.sequence_number != self.sequence {
                continue;
            }
            return match reply.payload {
                NetlinkPayload::Error(e) if e.code.is_some() => Err(e.to_io()),
                _ => Ok(()),
            };
        }
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        let mut out = Vec::new();
        loop {
            let size = self.receive()?;
            let mut offset = 0;
            while offset < size {
                let packet = parse(&self.buffer[offset..size])?;
                let length = packet.header.length as usize;
                match packet.payload {
                    NetlinkPayload::Done(_) => return Ok(out),
                    NetlinkPayload::Error(e) => return Err(e.to_io()),
                    NetlinkPayload::InnerMessage(inner) => out.push(inner),
                    _ => {}
                }
                if length == 0 {
                    break;
                }
                offset += length.next_multiple_of(4);
            }
        }
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut packet = NetlinkMessage::new(header, NetlinkPayload::from(message));
        packet.finalize();
        let mut bytes = vec![0; packet.header.length as usize];
        packet.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    fn receive(&mut self) -> io::Result<usize> {
        loop {
            match self.socket.recv(&mut &mut self.buffer[..], 0) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

fn parse(bytes: &[u8]) -> io::Result<NetlinkMessage<RouteNetlinkMessage>> {
    NetlinkMessage::deserialize(bytes).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.to_string()))
}

fn address_message(index: u32, address: Ipv4Addr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = 32;
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes = vec![
        AddressAttribute::Address(IpAddr::V4(address)),
        AddressAttribute::Local(IpAddr::V4(address)),
    ];
    message
}

fn route(destination: Ipv4Addr, prefix: u8, scope: RouteScope, kind: RouteType) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = prefix;
    message.header.table = MAIN_TABLE;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = scope;
    message.header.kind = kind;
    if prefix > 0 {
        message
            .attributes
            .push(RouteAttribute::Destination(RouteAddress::Inet(destination)));
    }
    message
}

fn unreachable(cidr: Cidr) -> RouteMessage {
    let mut message = route(cidr.base(), cidr.prefix(), RouteScope::Universe, RouteType::Unreachable);
    message.attributes.push(RouteAttribute::Priority(LAST));
    message
}

fn route_in_use(route: &RouteMessage) -> Option<InUse> {
    let skip = matches!(
        route.header.kind,
        RouteType::Broadcast | RouteType::Multicast | RouteType::Anycast
    );
    if skip || route.header.destination_prefix_length == 0 {
        return None;
    }
    let mut destination = None;
    let mut interface = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => destination = Some(*address),
            RouteAttribute::Oif(index) => interface = Some(*index),
            _ => {}
        }
    }
    let ours = u8::from(route.header.protocol) == PROTOCOL;
    Some(InUse {
        cidr: Cidr::containing(destination?, route.header.destination_prefix_length)?,
        interface,
        ours,
        unreachable_of_ours: ours && route.header.kind == RouteType::Unreachable,
    })
}
