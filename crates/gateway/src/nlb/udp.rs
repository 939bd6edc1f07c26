//! UDP listeners: `flows` with targets that `routing` picks.

use super::flows::{self, Bounds, Flows, Opened};
use super::proxy_protocol::{self, Transport};
use super::{choose, leaving};
use crate::arrival::LocalDoor;
use crate::serving::{Served, Worker};
use neargate_link::gateway::Protocol;
use neargate_routing::{BalancerCounter, Flow, Outstanding};
use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;

const UDP: u8 = 17;
/// As NLB's.
const IDLE: Duration = Duration::from_secs(120);
/// Of one socket: each flow needs a socket of its own.
const FLOWS: usize = 16_384;

/// Serves the datagrams of a UDP door until its socket breaks or the future is dropped, which ends its flows. Within a
/// `LocalSet`. One thread serves a socket, because datagrams of a flow must meet.
///
/// # Errors
/// When the socket fails.
pub async fn serve_udp(worker: Rc<Worker>, socket: Rc<UdpSocket>, door: Rc<LocalDoor>) -> io::Result<()> {
    let bounds = Bounds {
        flows: FLOWS,
        idle: IDLE,
    };
    let local = socket.local_addr()?;
    flows::serve(socket, bounds, Picks { worker, door, local }).await
}

struct Picks {
    worker: Rc<Worker>,
    door: Rc<LocalDoor>,
    local: SocketAddr,
}

impl Flows for Picks {
    type Counted = Counted;

    fn open(&mut self, client: SocketAddr) -> Option<Opened<Counted>> {
        let behind = self.door.named(b"")?;
        if !behind.admits(client.ip(), self.local.port()) {
            return None;
        }
        let served = self.worker.now_serving().listener(&behind.listener)?.clone();
        let flow = Flow {
            protocol: UDP,
            source: client,
            destination: self.local,
        };
        let metrics = &served.balancer.metrics;
        let Some(choice) = choose(&self.worker, &served, &flow) else {
            metrics.add(self.worker.shard, BalancerCounter::RejectedFlowCount, 1);
            return None;
        };
        if choice.fail_open {
            metrics.add(self.worker.shard, BalancerCounter::UnhealthyRoutingFlowCount, 1);
        }
        let preface = match choice.group.settings.proxy_protocol_v2 {
            true => proxy_protocol::header(client, self.local, Transport::Datagram),
            false => Vec::new(),
        };
        let cut = leaving::wait(&self.worker, &behind.listener, choice.group, choice.target.target());
        metrics.flow_begins(self.worker.shard, Protocol::Udp);
        let target = choice.target.address();
        let counted = Counted {
            _outstanding: choice.target,
            bytes: Rc::default(),
            worker: self.worker.clone(),
            served: served.clone(),
        };
        Some(Opened {
            target,
            source: behind.source,
            preface,
            cut: Box::pin(cut),
            counted,
        })
    }

    fn refused(&mut self) {
        let behind = self.door.named(b"");
        let serving = self.worker.now_serving();
        if let Some(served) = behind.and_then(|behind| serving.listener(&behind.listener)) {
            let metrics = &served.balancer.metrics;
            metrics.add(self.worker.shard, BalancerCounter::RejectedFlowCount, 1);
        }
    }
}

/// Counts a flow on its target and its balancer until it ends.
struct Counted {
    _outstanding: Outstanding,
    bytes: Rc<Cell<u64>>,
    worker: Rc<Worker>,
    served: Arc<Served>,
}

impl flows::Counted for Counted {
    fn bytes(&self) -> Rc<Cell<u64>> {
        self.bytes.clone()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let metrics = &self.served.balancer.metrics;
        metrics.flow_bytes(self.worker.shard, Protocol::Udp, self.bytes.get());
        metrics.flow_ends(self.worker.shard, Protocol::Udp);
    }
}
