//! What is counted and logged of one request, whichever protocol it came by.
//!
//! Filled while the request runs and finished once. Nothing is formatted while the balancer's access log is off.

use crate::arrival::Arrival;
use crate::serving::{self, Served, Worker};
use neargate_core::Timestamp;
use neargate_routing::access_log::{AlbEntry, AlbKind, RulePriority, TargetTimes};
use neargate_routing::{BalancerCounter, Class, Group, GroupCounter, Reason, Rule};
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The facts of one request.
#[derive(Debug)]
pub struct Record<'a> {
    pub created: SystemTime,
    pub begun: Instant,
    pub method: &'a [u8],
    /// As sent, without port.
    pub host: &'a [u8],
    pub path_and_query: &'a [u8],
    /// E.g. `HTTP/1.1`.
    pub version: &'static str,
    pub user_agent: Option<&'a [u8]>,
    pub http2: bool,
    pub grpc: bool,
    /// It became a WebSocket.
    pub upgraded: bool,
    /// It has headers that ALB takes for invalid.
    pub invalid_names: bool,
    pub rule: Option<&'a Rule>,
    /// See `AlbEntry::action`.
    pub action: Option<&'static str>,
    pub redirect: Option<Vec<u8>>,
    pub group: Option<&'a Group>,
    /// Logged, and counted for nobody: it had no target.
    pub idle_group: Option<&'a Group>,
    pub target: Option<SocketAddr>,
    /// Counted for the group too: no target of it is healthy.
    pub fail_open: bool,
    /// When the request had been sent to the target and when the response's head came.
    pub sent: Option<Instant>,
    pub answered: Option<Instant>,
    pub target_status: Option<u16>,
    /// None: the client got nothing.
    pub status: Option<u16>,
    pub received: u64,
    pub returned: u64,
    pub trace: Vec<u8>,
    pub class: (Class, Option<Reason>),
    pub host_after: Option<Vec<u8>>,
    pub url_after: Option<Vec<u8>>,
}

impl<'a> Record<'a> {
    /// Of a request that came now, of which nothing is known yet.
    pub fn new(version: &'static str) -> Record<'a> {
        Record::of(version, SystemTime::now(), Instant::now())
    }

    /// The same, of one that came then.
    pub fn of(version: &'static str, created: SystemTime, begun: Instant) -> Record<'a> {
        Record {
            created,
            begun,
            method: b"",
            host: b"",
            path_and_query: b"",
            version,
            user_agent: None,
            http2: false,
            grpc: false,
            upgraded: false,
            invalid_names: false,
            rule: None,
            action: None,
            redirect: None,
            group: None,
            idle_group: None,
            target: None,
            fail_open: false,
            sent: None,
            answered: None,
            target_status: None,
            status: None,
            received: 0,
            returned: 0,
            trace: Vec::new(),
            class: (Class::Compliant, None),
            host_after: None,
            url_after: None,
        }
    }

    /// When it came.
    pub fn at(&self) -> Timestamp {
        serving::timestamp(self.created)
    }

    /// Counts it, and writes its line where that is wanted.
    pub fn finish(&self, ended: Instant, worker: &Worker, served: &Served, arrival: &Arrival) {
        self.count(worker.shard, served, arrival);
        if served.balancer.settings.access_log.is_some() {
            worker
                .log
                .line(&served.balancer, |out| self.write(ended, served, arrival, out));
        }
    }

    fn count(&self, shard: usize, served: &Served, arrival: &Arrival) {
        use BalancerCounter as C;
        let metrics = &served.balancer.metrics;
        let bytes = self.received + self.returned;
        metrics.add(shard, C::ProcessedBytes, bytes);
        if arrival.client.ip().to_canonical().is_ipv6() {
            metrics.add(shard, C::Ipv6RequestCount, 1);
            metrics.add(shard, C::Ipv6ProcessedBytes, bytes);
        }
        if let Some(rule) = self.rule {
            metrics.add(shard, C::RuleEvaluations, rule.evaluations());
        }
        if self.grpc {
            metrics.add(shard, C::GrpcRequestCount, 1);
        }
        if self.class.0 != Class::Compliant {
            metrics.add(shard, C::DesyncNonCompliantRequestCount, 1);
        }
        if self.invalid_names {
            let counter = match served.balancer.settings.drop_invalid_headers {
                true => C::DroppedInvalidHeaderRequestCount,
                false => C::ForwardedInvalidHeaderRequestCount,
            };
            metrics.add(shard, counter, 1);
        }
        match self.action {
            Some("fixed-response") => metrics.add(shard, C::HttpFixedResponseCount, 1),
            Some("redirect") => metrics.add(shard, C::HttpRedirectCount, 1),
            _ => {}
        }
        match (self.target_status, self.status) {
            (Some(code), _) => {
                // As CloudWatch counts: requests for which a target was chosen.
                metrics.add(shard, C::RequestCount, 1);
                if let Some(group) = self.group {
                    group.metrics().status(shard, code);
                }
            }
            (None, Some(code)) => {
                if self.group.is_some() {
                    metrics.add(shard, C::RequestCount, 1);
                }
                if self.action != Some("fixed-response") {
                    metrics.status(shard, code);
                }
            }
            (None, None) => {}
        }
        let Some(group) = self.group else { return };
        group.metrics().add(shard, GroupCounter::RequestCount, 1);
        if self.fail_open {
            group
                .metrics()
                .add(shard, GroupCounter::UnhealthyRoutingRequestCount, 1);
        }
        if let (Some(sent), Some(answered)) = (self.sent, self.answered) {
            group
                .metrics()
                .response_time(shard, answered.saturating_duration_since(sent));
        }
    }

    fn write(&self, ended: Instant, served: &Served, arrival: &Arrival, out: &mut Vec<u8>) {
        let tls = arrival.tls.as_ref();
        let times = self.sent.zip(self.answered).map(|(sent, answered)| TargetTimes {
            request: sent.saturating_duration_since(self.begun),
            target: answered.saturating_duration_since(sent),
            // It goes to the client as soon as its head has come.
            response: Duration::ZERO,
        });
        let transformed = self.host_after.is_some() || self.url_after.is_some();
        AlbEntry {
            kind: match (self.http2, self.upgraded, tls.is_some()) {
                (true, ..) if self.grpc => AlbKind::Grpcs,
                (true, ..) => AlbKind::H2,
                (false, true, true) => AlbKind::Wss,
                (false, true, false) => AlbKind::Ws,
                (false, false, true) => AlbKind::Https,
                (false, false, false) => AlbKind::Http,
            },
            time: stamp(self.created + ended.saturating_duration_since(self.begun)),
            elb: &served.balancer.id,
            client: arrival.client,
            target: self.target,
            times,
            elb_status: self.status,
            target_status: self.target_status,
            received_bytes: self.received,
            sent_bytes: self.returned,
            method: self.method,
            scheme: if tls.is_some() { "https" } else { "http" },
            host: match self.host {
                [] => served.balancer.dns_name.as_bytes(),
                host => host,
            },
            port: served.listener.port,
            path_and_query: self.path_and_query,
            version: self.version,
            user_agent: self.user_agent,
            ssl_cipher: tls.map(|tls| tls.cipher),
            ssl_protocol: tls.map(|tls| tls.version),
            target_group: self.group.or(self.idle_group).map(|group| &*group.arn),
            trace_id: Some(&self.trace),
            domain_name: tls.and_then(|tls| tls.server_name.as_deref()),
            certificate: tls.and_then(|tls| tls.certificate.as_deref()),
            rule_priority: match self.rule {
                None => RulePriority::None,
                Some(rule) => rule.priority.map_or(RulePriority::Default, RulePriority::Rule),
            },
            created: stamp(self.created),
            action: self.action,
            redirect_url: self.redirect.as_deref(),
            error_reason: None,
            classification: self.class,
            connection: arrival.id,
            transformed_host: self.host_after.as_deref(),
            transformed_uri: self.url_after.as_deref(),
            transform_status: transformed.then_some("TransformSuccess"),
        }
        .write(out);
    }
}

/// A time and the microseconds of its second.
fn stamp(at: SystemTime) -> (Timestamp, u32) {
    let since: Duration = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    (serving::timestamp(at), since.subsec_micros())
}
