//! Counters and histograms, named as CloudWatch names them. Source: "CloudWatch metrics for your Application Load
//! Balancer" and "… Network Load Balancer" of the ELB guide.
//!
//! Every thread adds to a shard of its own, so that counting costs no cache line that bounces; readers add the shards up.
//! Invariant: counters of a balancer or group outlive its tables.

mod prometheus;

pub use prometheus::prometheus;

use neargate_link::gateway::{BalancerKind, Protocol};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// More threads than this share shards.
const SHARDS: usize = 8;

/// Names an enum of counters and lists them.
macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($counter:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($counter,)* }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$counter,)*];

            /// CloudWatch's name.
            pub fn name(self) -> &'static str {
                match self { $($name::$counter => $text,)* }
            }
        }
    };
}

counters! {
    /// What is counted for a balancer.
    BalancerCounter {
        ActiveConnectionCount = "ActiveConnectionCount",
        NewConnectionCount = "NewConnectionCount",
        RejectedConnectionCount = "RejectedConnectionCount",
        ClientTlsNegotiationErrorCount = "ClientTLSNegotiationErrorCount",
        RequestCount = "RequestCount",
        GrpcRequestCount = "GrpcRequestCount",
        Ipv6RequestCount = "IPv6RequestCount",
        ProcessedBytes = "ProcessedBytes",
        Ipv6ProcessedBytes = "IPv6ProcessedBytes",
        RuleEvaluations = "RuleEvaluations",
        HttpFixedResponseCount = "HTTP_Fixed_Response_Count",
        HttpRedirectCount = "HTTP_Redirect_Count",
        HttpRedirectUrlLimitExceededCount = "HTTP_Redirect_Url_Limit_Exceeded_Count",
        Elb3xx = "HTTPCode_ELB_3XX_Count",
        Elb4xx = "HTTPCode_ELB_4XX_Count",
        Elb5xx = "HTTPCode_ELB_5XX_Count",
        Elb500 = "HTTPCode_ELB_500_Count",
        Elb502 = "HTTPCode_ELB_502_Count",
        Elb503 = "HTTPCode_ELB_503_Count",
        Elb504 = "HTTPCode_ELB_504_Count",
        DesyncNonCompliantRequestCount = "DesyncMitigationMode_NonCompliant_Request_Count",
        DroppedInvalidHeaderRequestCount = "DroppedInvalidHeaderRequestCount",
        ForwardedInvalidHeaderRequestCount = "ForwardedInvalidHeaderRequestCount",
        ActiveFlowCount = "ActiveFlowCount",
        ActiveFlowCountTcp = "ActiveFlowCount_TCP",
        ActiveFlowCountTls = "ActiveFlowCount_TLS",
        ActiveFlowCountUdp = "ActiveFlowCount_UDP",
        NewFlowCount = "NewFlowCount",
        NewFlowCountTcp = "NewFlowCount_TCP",
        NewFlowCountTls = "NewFlowCount_TLS",
        NewFlowCountUdp = "NewFlowCount_UDP",
        ProcessedBytesTcp = "ProcessedBytes_TCP",
        ProcessedBytesTls = "ProcessedBytes_TLS",
        ProcessedBytesUdp = "ProcessedBytes_UDP",
        ProcessedPackets = "ProcessedPackets",
        RejectedFlowCount = "RejectedFlowCount",
        RejectedFlowCountTcp = "RejectedFlowCount_TCP",
        TcpClientResetCount = "TCP_Client_Reset_Count",
        TcpElbResetCount = "TCP_ELB_Reset_Count",
        TcpTargetResetCount = "TCP_Target_Reset_Count",
        TargetTlsNegotiationErrorCount = "TargetTLSNegotiationErrorCount",
        UnhealthyRoutingFlowCount = "UnhealthyRoutingFlowCount",
    }
}

counters! {
    /// What is counted for a target group.
    GroupCounter {
        RequestCount = "RequestCount",
        Target2xx = "HTTPCode_Target_2XX_Count",
        Target3xx = "HTTPCode_Target_3XX_Count",
        Target4xx = "HTTPCode_Target_4XX_Count",
        Target5xx = "HTTPCode_Target_5XX_Count",
        TargetConnectionErrorCount = "TargetConnectionErrorCount",
        TargetTlsNegotiationErrorCount = "TargetTLSNegotiationErrorCount",
        UnhealthyRoutingRequestCount = "UnhealthyRoutingRequestCount",
    }
}

/// Upper bounds of the response times' buckets, in microseconds; one more bucket takes what is longer.
pub const BOUNDS: [u64; 16] = [
    500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000, 60_000_000,
];
const BUCKETS: usize = BOUNDS.len() + 1;

const BALANCER_COUNTERS: usize = BalancerCounter::ALL.len();
const GROUP_COUNTERS: usize = GroupCounter::ALL.len();

/// Numbers of one thread. Two cache lines apart, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

/// Numbers of all threads.
#[derive(Debug)]
struct Shards<const N: usize>([Shard<N>; SHARDS]);

impl<const N: usize> Default for Shards<N> {
    fn default() -> Self {
        Shards(std::array::from_fn(|_| {
            Shard(std::array::from_fn(|_| AtomicU64::new(0)))
        }))
    }
}

impl<const N: usize> Shards<N> {
    fn add(&self, shard: usize, place: usize, n: u64) {
        self.0[shard % SHARDS].0[place].fetch_add(n, Ordering::Relaxed);
    }

    /// One thread may take away what another added: only the sum counts, and it wraps back.
    fn sum(&self, place: usize) -> u64 {
        let shards = self.0.iter().map(|shard| shard.0[place].load(Ordering::Relaxed));
        shards.fold(0, u64::wrapping_add)
    }
}

/// Counters of a balancer. `shard` is the index of the calling thread.
#[derive(Debug, Default)]
pub struct BalancerMetrics(Shards<BALANCER_COUNTERS>);

impl BalancerMetrics {
    pub fn add(&self, shard: usize, counter: BalancerCounter, n: u64) {
        self.0.add(shard, counter as usize, n);
    }

    /// For what goes down again: `ActiveConnectionCount`, `ActiveFlowCount`.
    pub fn less(&self, shard: usize, counter: BalancerCounter, n: u64) {
        self.0.add(shard, counter as usize, n.wrapping_neg());
    }

    /// Counts an answer of the balancer's own.
    pub fn status(&self, shard: usize, code: u16) {
        use BalancerCounter as C;
        let class = match code {
            300..=399 => C::Elb3xx,
            400..=499 => C::Elb4xx,
            500..=599 => C::Elb5xx,
            _ => return,
        };
        self.add(shard, class, 1);
        let alone = match code {
            500 => C::Elb500,
            502 => C::Elb502,
            503 => C::Elb503,
            504 => C::Elb504,
            _ => return,
        };
        self.add(shard, alone, 1);
    }

    /// Counts a flow of a listener with this protocol (TCP, TLS or UDP) that begins.
    pub fn flow_begins(&self, shard: usize, protocol: Protocol) {
        let [active, new, _] = flow_counters(protocol);
        for counter in [
            active,
            new,
            BalancerCounter::ActiveFlowCount,
            BalancerCounter::NewFlowCount,
        ] {
            self.add(shard, counter, 1);
        }
    }

    /// Counts the end of a flow that `flow_begins` counted.
    pub fn flow_ends(&self, shard: usize, protocol: Protocol) {
        let [active, ..] = flow_counters(protocol);
        self.less(shard, active, 1);
        self.less(shard, BalancerCounter::ActiveFlowCount, 1);
    }

    /// Counts bytes of flows, both ways.
    pub fn flow_bytes(&self, shard: usize, protocol: Protocol, n: u64) {
        let [.., bytes] = flow_counters(protocol);
        self.add(shard, bytes, n);
        self.add(shard, BalancerCounter::ProcessedBytes, n);
    }

    pub fn get(&self, counter: BalancerCounter) -> u64 {
        self.0.sum(counter as usize)
    }

    pub(crate) fn snapshot(&self, id: &str, kind: BalancerKind) -> BalancerSnapshot {
        let counters = BalancerCounter::ALL.iter().filter(|counter| counter.belongs(kind));
        BalancerSnapshot {
            id: id.to_owned(),
            kind,
            counters: counters.map(|counter| (*counter, self.get(*counter))).collect(),
        }
    }
}

/// Active flows, new flows and bytes of a protocol.
fn flow_counters(protocol: Protocol) -> [BalancerCounter; 3] {
    use BalancerCounter as C;
    match protocol {
        Protocol::Tls => [C::ActiveFlowCountTls, C::NewFlowCountTls, C::ProcessedBytesTls],
        Protocol::Udp => [C::ActiveFlowCountUdp, C::NewFlowCountUdp, C::ProcessedBytesUdp],
        _ => [C::ActiveFlowCountTcp, C::NewFlowCountTcp, C::ProcessedBytesTcp],
    }
}

impl BalancerCounter {
    /// True when balancers of this kind have it.
    fn belongs(self, kind: BalancerKind) -> bool {
        use BalancerCounter as C;
        let both = matches!(self, C::ProcessedBytes | C::ClientTlsNegotiationErrorCount);
        both || (self >= C::ActiveFlowCount) == (kind == BalancerKind::Network)
    }

    /// True for what goes down again.
    pub fn is_gauge(self) -> bool {
        use BalancerCounter as C;
        matches!(
            self,
            C::ActiveConnectionCount
                | C::ActiveFlowCount
                | C::ActiveFlowCountTcp
                | C::ActiveFlowCountTls
                | C::ActiveFlowCountUdp
        )
    }
}

/// Counters of a target group. `shard` is the index of the calling thread.
#[derive(Debug, Default)]
pub struct GroupMetrics {
    counters: Shards<GROUP_COUNTERS>,
    /// Buckets, not cumulative.
    times: Shards<BUCKETS>,
    /// Microseconds.
    time_sum: Shards<1>,
}

impl GroupMetrics {
    pub fn add(&self, shard: usize, counter: GroupCounter, n: u64) {
        self.counters.add(shard, counter as usize, n);
    }

    /// Counts a response of a target.
    pub fn status(&self, shard: usize, code: u16) {
        let counter = match code {
            200..=299 => GroupCounter::Target2xx,
            300..=399 => GroupCounter::Target3xx,
            400..=499 => GroupCounter::Target4xx,
            500..=599 => GroupCounter::Target5xx,
            _ => return,
        };
        self.add(shard, counter, 1);
    }

    /// Notes a `TargetResponseTime`: from the request's leaving to the response's head.
    pub fn response_time(&self, shard: usize, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.times
            .add(shard, BOUNDS.partition_point(|bound| *bound < micros), 1);
        self.time_sum.add(shard, 0, micros);
    }

    pub fn get(&self, counter: GroupCounter) -> u64 {
        self.counters.sum(counter as usize)
    }

    pub(crate) fn snapshot(&self, balancer: &str, id: &str, hosts: (u64, u64)) -> GroupSnapshot {
        GroupSnapshot {
            balancer: balancer.to_owned(),
            id: id.to_owned(),
            counters: GroupCounter::ALL
                .iter()
                .map(|counter| (*counter, self.get(*counter)))
                .collect(),
            healthy_hosts: hosts.0,
            unhealthy_hosts: hosts.1,
            response_times: Histogram {
                buckets: std::array::from_fn(|place| self.times.sum(place)),
                sum_micros: self.time_sum.sum(0),
            },
        }
    }
}

/// Every number at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetricsSnapshot {
    pub balancers: Vec<BalancerSnapshot>,
    pub groups: Vec<GroupSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BalancerSnapshot {
    /// CloudWatch's dimension `LoadBalancer`.
    pub id: String,
    pub kind: BalancerKind,
    pub counters: Vec<(BalancerCounter, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupSnapshot {
    /// CloudWatch's dimension `LoadBalancer`.
    pub balancer: String,
    /// CloudWatch's dimension `TargetGroup`.
    pub id: String,
    pub counters: Vec<(GroupCounter, u64)>,
    pub healthy_hosts: u64,
    pub unhealthy_hosts: u64,
    pub response_times: Histogram,
}

/// Times in buckets, not cumulative; the last takes what is above every bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    pub buckets: [u64; BUCKETS],
    pub sum_micros: u64,
}

#[cfg(test)]
mod tests;
