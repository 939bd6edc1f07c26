//! Network load balancers: TCP, TLS and UDP flows to one target each.
//!
//! Called by the accept loops with admitted connections and with UDP sockets, on the thread that serves them. `routing`
//! picks the target; `tunnel` and `flows` carry bytes; `leaving` says when a flow has to go because its target does.
//! Invariant: a flow is counted on its target as long as it lives, so that draining ends with the last one.

pub mod flows;
mod leaving;
mod proxy_protocol;
pub mod tunnel;
mod udp;

#[cfg(test)]
mod serve_tests;
#[cfg(test)]
mod tests;

pub use udp::serve_udp;

use crate::arrival::Arrival;
use crate::dial::{self, DialError};
use crate::doors::Behind;
use crate::outbox::Stream;
use crate::serving::{Served, Worker, now};
use crate::unverified;
use neargate_link::gateway::{Protocol, TargetState};
use neargate_routing::access_log::NlbTlsEntry;
use neargate_routing::{Action, BalancerCounter, Choice, Flow, GroupCounter};
use proxy_protocol::Transport;
use std::cell::RefCell;
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::server::TlsStream;
use tunnel::{End, Passed, Wire};

/// How long a target may take to accept.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// Between attempts to connect from an address that the machine does not have yet.
const AGAIN: Duration = Duration::from_millis(50);

const TCP: u8 = 6;

/// Serves one connection of a TCP listener.
pub async fn serve_tcp(worker: Rc<Worker>, stream: TcpStream, arrival: Arrival) {
    serve(&worker, stream, &arrival, Protocol::Tcp, None).await;
}

/// Serves one connection of a TLS listener whose handshake is done.
pub async fn serve_tls(worker: Rc<Worker>, stream: TlsStream<Stream>, arrival: Arrival) {
    let handshake = arrival.at.elapsed();
    let alpn = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let Some((served, passed)) = serve(&worker, stream, &arrival, Protocol::Tls, alpn.clone()).await else {
        return;
    };
    if served.balancer.settings.access_log.is_some() {
        log(&worker, &served, &arrival, handshake, passed, alpn.as_deref());
    }
}

/// Carries a client's bytes to a target and back. None: the listener is gone.
async fn serve<C: Wire>(
    worker: &Rc<Worker>,
    client: C,
    arrival: &Arrival,
    protocol: Protocol,
    alpn: Option<Vec<u8>>,
) -> Option<(Arc<Served>, Passed)> {
    let behind = arrival.behind(b"")?;
    let served = worker.now_serving().listener(&behind.listener)?.clone();
    let metrics = &served.balancer.metrics;
    let shard = worker.shard;
    metrics.flow_begins(shard, protocol);
    let flow = Flow {
        protocol: TCP,
        source: arrival.client,
        destination: arrival.local,
    };
    let outcome = match choose(worker, &served, &flow) {
        Some(choice) => {
            if choice.fail_open {
                metrics.add(shard, BalancerCounter::UnhealthyRoutingFlowCount, 1);
            }
            carry(worker, &served, client, (arrival, &behind), choice, alpn).await
        }
        None => {
            client.reset_on_close();
            metrics.add(shard, BalancerCounter::RejectedFlowCount, 1);
            metrics.add(shard, BalancerCounter::RejectedFlowCountTcp, 1);
            (End::Cut, Passed::default())
        }
    };
    let (end, passed) = outcome;
    let reset = match end {
        End::Closed => None,
        End::Client => Some(BalancerCounter::TcpClientResetCount),
        End::Target => Some(BalancerCounter::TcpTargetResetCount),
        End::Idle | End::Cut => Some(BalancerCounter::TcpElbResetCount),
    };
    if let Some(reset) = reset {
        metrics.add(shard, reset, 1);
    }
    metrics.flow_bytes(shard, protocol, passed.sent + passed.received);
    metrics.flow_ends(shard, protocol);
    Some((served, passed))
}

fn choose<'r>(worker: &Worker, served: &'r Served, flow: &Flow) -> Option<Choice<'r>> {
    let Action::Forward(forward) = &served.listener.default_rule().action else {
        return None;
    };
    let zone = served.zone(flow.destination);
    let cross_zone = served.balancer.settings.cross_zone;
    forward.choose_flow(flow, worker.random.draw(), zone, cross_zone).ok()
}

async fn carry<C: Wire>(
    worker: &Rc<Worker>,
    served: &Served,
    client: C,
    (arrival, behind): (&Arrival, &Behind),
    choice: Choice<'_>,
    alpn: Option<Vec<u8>>,
) -> (End, Passed) {
    let group = choice.group;
    let idle = served.listener.settings.tcp_idle_timeout;
    let leaves = leaving::wait(worker, &behind.listener, group, choice.target.target());
    let refused = |client: C| {
        client.reset_on_close();
        group
            .metrics()
            .add(worker.shard, GroupCounter::TargetConnectionErrorCount, 1);
        (End::Target, Passed::default())
    };
    let mut target = match connect(&choice, behind.source).await {
        Ok(target) => target,
        Err(error) => {
            tracing::debug!(%error, target = %choice.target.address(), "no connection");
            return refused(client);
        }
    };
    if group.settings.proxy_protocol_v2 {
        let header = proxy_protocol::header(arrival.client, arrival.local, Transport::Stream);
        if target.write_all(&header).await.is_err() {
            return refused(client);
        }
    }
    if group.protocol != Protocol::Tls {
        return tunnel::run(client, target, idle, leaves).await;
    }
    let connector = TlsConnector::from(settings(alpn));
    let handshake = connector.connect(unverified::name(choice.target.spec.address), target);
    match tokio::time::timeout(CONNECT_WITHIN, handshake).await {
        Ok(Ok(target)) => tunnel::run(client, target, idle, leaves).await,
        _ => {
            let counter = GroupCounter::TargetTlsNegotiationErrorCount;
            group.metrics().add(worker.shard, counter, 1);
            let metrics = &served.balancer.metrics;
            metrics.add(worker.shard, BalancerCounter::TargetTlsNegotiationErrorCount, 1);
            client.reset_on_close();
            (End::Target, Passed::default())
        }
    }
}

/// Connects to the target, and tries again while this machine has not got the balancer's address.
async fn connect(choice: &Choice<'_>, source: Option<Ipv4Addr>) -> Result<TcpStream, DialError> {
    let until = Instant::now() + CONNECT_WITHIN;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match dial::connect(choice.target.address(), source, left).await {
            Err(DialError::Here { .. }) if !left.is_zero() => tokio::time::sleep(AGAIN).await,
            done => return done,
        }
    }
}

/// Settings for a target of a client that settled on `alpn`.
fn settings(alpn: Option<Vec<u8>>) -> Arc<rustls::ClientConfig> {
    thread_local! {
        static MADE: RefCell<HashMap<Option<Vec<u8>>, Arc<rustls::ClientConfig>>> = RefCell::default();
    }
    MADE.with_borrow_mut(|made| {
        let make = |alpn: &Option<Vec<u8>>| match alpn {
            Some(name) => unverified::settings(&[name]),
            None => unverified::settings(&[]),
        };
        // At most as many as there are names in ALPN policies.
        made.entry(alpn).or_insert_with_key(make).clone()
    })
}

fn log(worker: &Worker, served: &Served, arrival: &Arrival, handshake: Duration, passed: Passed, alpn: Option<&[u8]>) {
    let tls = arrival.tls.as_ref();
    let ended = now();
    let lasted = arrival.at.elapsed();
    let alpn = alpn.and_then(|alpn| std::str::from_utf8(alpn).ok());
    let version = tls.map(|facts| match facts.version {
        "TLSv1.3" => "tlsv13",
        _ => "tlsv12",
    });
    let listener = &served.listener;
    let entry = NlbTlsEntry {
        time: ended,
        elb: &served.balancer.id,
        listener: listener.arn.rsplit('/').next().unwrap_or_default(),
        client: arrival.client,
        destination: arrival.local,
        connection_time: lasted,
        handshake_time: Some(handshake),
        received_bytes: passed.sent,
        sent_bytes: passed.received,
        incoming_alert: None,
        certificate: tls.and_then(|facts| facts.certificate.as_deref()),
        cipher: tls.map(|facts| facts.cipher),
        protocol_version: version,
        named_group: None,
        domain_name: tls.and_then(|facts| facts.server_name.as_deref()),
        alpn_client: alpn,
        alpn_target: alpn,
        alpn_preferences: &[],
        created: ended.minus(lasted),
    };
    worker.log.line(&served.balancer, |out| entry.write(out));
}

/// True when no check speaks against the target.
fn is_well(state: TargetState) -> bool {
    state != TargetState::Unhealthy
}
