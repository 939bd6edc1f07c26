//! The messages between control and a gateway: the whole table of load balancers down, health and problems up.
//!
//! Control sends the table under growing generations whenever anything in it changed; a gateway swaps it whole and
//! refuses older ones. Attribute maps hold every attribute of the resource, defaults included, checked by control.

use neargate_core::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Control to a gateway.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToGateway {
    /// Replaces what the gateway serves.
    Table { generation: u64, table: Arc<GatewayTable> },
    /// Reports up to `sequence` are durable.
    Stored { sequence: u64 },
}

/// A gateway to control.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromGateway {
    /// First message of a connection.
    Hello { gateway_id: String, version: String },
    /// The table of this generation is served, but for the problems.
    Applied { generation: u64, problems: Vec<Problem> },
    /// What changed in the health of targets; after connecting, the health of all. Repeated until `Stored`.
    Targets { sequence: u64, targets: Vec<TargetReport> },
}

/// A listener that cannot be served as asked, e.g. because another program holds the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// ARN of the listener.
    pub listener: String,
    pub message: String,
}

/// A target as the gateway finds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetReport {
    /// ARN of the target group.
    pub target_group: String,
    /// `TargetSpec::id` and `TargetSpec::port`.
    pub id: String,
    pub port: u16,
    /// `TargetSpec::registered_at` of the registration that this is about: older ones are ignored.
    pub registered_at: Timestamp,
    pub state: TargetState,
    /// ELB's reason code, e.g. `Target.Timeout`; none when healthy.
    pub reason: Option<String>,
    /// E.g. `Health checks failed with these codes: [500]`.
    pub description: Option<String>,
}

/// What probes and traffic tell of a target. `Draining` and `Unused` are control's to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TargetState {
    Initial,
    Healthy,
    Unhealthy,
    /// Health checks are off for this group.
    Unavailable,
    /// A draining target without a request or connection left: deregistration may complete.
    Drained,
}

/// Everything a gateway serves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GatewayTable {
    /// Ascending by ARN.
    pub balancers: Vec<Balancer>,
    /// By ARN; those that no listener uses too, with their targets, but these are not probed.
    pub target_groups: BTreeMap<String, TargetGroup>,
    /// By ARN.
    pub certificates: BTreeMap<String, Certificate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BalancerKind {
    Application,
    Network,
}

/// An ALB or NLB.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Balancer {
    pub arn: String,
    /// `app/NAME/0123456789abcdef`, as access logs name it.
    pub id: String,
    pub kind: BalancerKind,
    /// Lower case.
    pub dns_name: String,
    /// Served on the machine's loopback address too, told apart by host name: internet-facing ones.
    pub on_loopback: bool,
    /// Its own address in each subnet.
    pub addresses: Vec<BalancerAddress>,
    /// Ingress rules of its security groups, for connections over loopback, which nftables cannot tell apart. None: it
    /// has no groups and admits everyone. Groups as peers never match there.
    pub ingress: Option<Vec<crate::TrafficRule>>,
    /// E.g. `idle_timeout.timeout_seconds` -> `60`.
    pub attributes: BTreeMap<String, String>,
    pub listeners: Vec<Listener>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BalancerAddress {
    pub address: Ipv4Addr,
    /// E.g. `us-east-1a`.
    pub zone: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Protocol {
    Http,
    Https,
    Tcp,
    Tls,
    Udp,
    TcpUdp,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Listener {
    pub arn: String,
    pub port: u16,
    pub protocol: Protocol,
    /// HTTPS and TLS.
    pub ssl_policy: Option<String>,
    /// ARNs, the default one first.
    pub certificates: Vec<String>,
    /// NLB TLS: `HTTP1Only`, `HTTP2Only`, `HTTP2Optional`, `HTTP2Preferred`, `None`.
    pub alpn_policy: Option<String>,
    pub attributes: BTreeMap<String, String>,
    /// By priority, the default rule last. NLB: the default rule alone.
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub arn: String,
    /// None for the default rule.
    pub priority: Option<u32>,
    /// All must hold.
    pub conditions: Vec<Condition>,
    pub transforms: Vec<Transform>,
    pub action: Action,
}

/// One of its values must match. Patterns use `*` and `?`; host and header patterns ignore case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    Host(Vec<Pattern>),
    Path(Vec<Pattern>),
    Header {
        name: String,
        values: Vec<Pattern>,
    },
    Method(Vec<String>),
    /// Key (none: any key) and value.
    Query(Vec<(Option<String>, String)>),
    SourceIp(Vec<(std::net::IpAddr, u8)>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Pattern {
    Wildcard(String),
    Regex(String),
}

/// Rewrites before forwarding: the first match of `regex` is replaced (`$1` … are its groups).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Transform {
    HostHeader { regex: String, replace: String },
    Url { regex: String, replace: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Action {
    Forward {
        /// ARN and weight 0 to 999.
        groups: Vec<(String, u32)>,
        /// Seconds that a client stays with its target group.
        stickiness: Option<u32>,
    },
    /// Parts may use `#{protocol}`, `#{host}`, `#{port}`, `#{path}`, `#{query}`.
    Redirect {
        protocol: String,
        host: String,
        port: String,
        path: String,
        query: String,
        /// 301 or 302.
        status: u16,
    },
    FixedResponse {
        status: u16,
        content_type: Option<String>,
        body: String,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtocolVersion {
    Http1,
    Http2,
    Grpc,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetGroup {
    pub arn: String,
    /// `targetgroup/NAME/0123456789abcdef`.
    pub id: String,
    /// Of the connection to targets.
    pub protocol: Protocol,
    pub protocol_version: ProtocolVersion,
    pub health_check: HealthCheckSpec,
    /// E.g. `deregistration_delay.timeout_seconds` -> `300`.
    pub attributes: BTreeMap<String, String>,
    pub targets: Vec<TargetSpec>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HealthCheckSpec {
    pub enabled: bool,
    pub protocol: Protocol,
    /// None: the target's own.
    pub port: Option<u16>,
    pub path: String,
    /// Seconds.
    pub interval: u32,
    /// Seconds.
    pub timeout: u32,
    pub healthy_threshold: u32,
    pub unhealthy_threshold: u32,
    /// HTTP or gRPC codes as in `Matcher`, e.g. `200-299,301`; empty for TCP.
    pub matcher: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetSpec {
    /// As registered: an address or an instance id.
    pub id: String,
    pub port: u16,
    /// Where it is reached: differs from `id` for instances.
    pub address: std::net::IpAddr,
    pub zone: Option<String>,
    pub registered_at: Timestamp,
    /// Gets no new requests; running ones end until this.
    pub draining_until: Option<Timestamp>,
}

/// A certificate with its key.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    pub arn: String,
    /// PEM, the leaf first.
    pub chain: String,
    /// PEM.
    pub private_key: String,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate")
            .field("arn", &self.arn)
            .finish_non_exhaustive()
    }
}
