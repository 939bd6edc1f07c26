//! What gateways serve: every load balancer, target group and certificate, made whole out of a snapshot.
//!
//! Control asks for it after changes that concern it and sends it under a generation. It depends on nothing but the
//! snapshot, so that the same state is the same table.

mod ingress;
mod rules;

use crate::CertificateSource;
use crate::records::{ListenerRecord, LoadBalancerRecord, TargetGroupRecord, TargetRecord};
use neargate_link::GatewayTable;
use neargate_link::gateway::{
    Balancer, BalancerAddress, HealthCheckSpec, Listener, Protocol, ProtocolVersion, TargetGroup, TargetSpec,
};
use neargate_store::{Change, Record, Snapshot};

/// Records of other services on which the table stands: security groups, prefix lists and certificates.
const OTHERS: [&str; 4] = ["ec2/security-group", "ec2/prefix-list", "acm/", "iam/"];

/// Everything a gateway serves.
pub fn table(snapshot: &Snapshot, certificates: &dyn CertificateSource) -> GatewayTable {
    let mut out = GatewayTable::default();
    for (_, record) in snapshot.range::<LoadBalancerRecord>("") {
        let balancer = balancer(snapshot, &record);
        for arn in balancer.listeners.iter().flat_map(|listener| &listener.certificates) {
            if !out.certificates.contains_key(arn)
                && let Some(certificate) = certificates.load(snapshot, arn)
            {
                out.certificates.insert(arn.clone(), certificate);
            }
        }
        out.balancers.push(balancer);
    }
    out.balancers.sort_by(|a, b| a.arn.cmp(&b.arn));
    out.target_groups = snapshot
        .range::<TargetGroupRecord>("")
        .map(|(_, group)| (group.arn.clone(), target_group(snapshot, &group)))
        .collect();
    out
}

/// True when the change may alter the table.
pub fn concerns(change: &Change) -> bool {
    let key = &*change.key;
    if key.starts_with(TargetRecord::PREFIX) {
        let [new, old] = [change.get::<TargetRecord>(), change.previous::<TargetRecord>()].map(|t| t.map(|t| spec(&t)));
        return new != old;
    }
    altered::<LoadBalancerRecord>(change)
        || altered::<ListenerRecord>(change)
        || altered::<TargetGroupRecord>(change)
        || OTHERS.iter().any(|prefix| key.starts_with(prefix))
}

/// True when a record of this kind is not what it was.
fn altered<R: Record + PartialEq>(change: &Change) -> bool {
    change.key.starts_with(R::PREFIX) && change.get::<R>() != change.previous::<R>()
}

fn balancer(snapshot: &Snapshot, record: &LoadBalancerRecord) -> Balancer {
    let mut listeners: Vec<Listener> = snapshot
        .range::<ListenerRecord>(&record.listeners_prefix())
        .filter_map(|(_, listener)| self::listener(&listener))
        .collect();
    listeners.sort_by_key(|listener| listener.port);
    Balancer {
        arn: record.arn.clone(),
        id: record.id().to_owned(),
        kind: record.kind,
        dns_name: record.dns_name.clone(),
        on_loopback: !record.internal,
        addresses: record
            .seats
            .iter()
            .map(|seat| BalancerAddress {
                address: seat.address,
                zone: seat.zone.clone(),
            })
            .collect(),
        ingress: (!record.security_groups.is_empty())
            .then(|| ingress::rules(snapshot, &record.region, &record.security_groups)),
        attributes: record.attributes.clone(),
        listeners,
    }
}

fn listener(record: &ListenerRecord) -> Option<Listener> {
    Some(Listener {
        arn: record.arn.clone(),
        port: record.port,
        protocol: protocol(&record.protocol)?,
        ssl_policy: record.ssl_policy.clone(),
        certificates: record.certificates.clone(),
        alpn_policy: record.alpn_policy.clone(),
        attributes: record.attributes.clone(),
        rules: record.rules.iter().filter_map(rules::rule).collect(),
    })
}

fn target_group(snapshot: &Snapshot, record: &TargetGroupRecord) -> TargetGroup {
    let protocol = record.protocol.as_deref().and_then(protocol).unwrap_or(Protocol::Http);
    TargetGroup {
        arn: record.arn.clone(),
        id: record.id().to_owned(),
        protocol,
        protocol_version: match record.protocol_version.as_deref() {
            Some("HTTP2") => ProtocolVersion::Http2,
            Some("GRPC") => ProtocolVersion::Grpc,
            _ => ProtocolVersion::Http1,
        },
        health_check: health_check(record),
        attributes: record.attributes.clone(),
        targets: crate::targets::targets_of_group(snapshot, &record.arn)
            .iter()
            .filter(|target| {
                crate::targets::is_in_enabled_zone(snapshot, record, target)
                    && !crate::targets::is_a_balancers(snapshot, record, target)
            })
            .map(|target| spec(target))
            .collect(),
    }
}

fn health_check(record: &TargetGroupRecord) -> HealthCheckSpec {
    let check = &record.health_check;
    HealthCheckSpec {
        enabled: check.enabled,
        protocol: protocol(&check.protocol).unwrap_or(Protocol::Tcp),
        port: check.port.parse().ok(),
        path: check.path.clone().unwrap_or_default(),
        interval: check.interval,
        timeout: check.timeout,
        healthy_threshold: check.healthy_threshold,
        unhealthy_threshold: check.unhealthy_threshold,
        matcher: check.matcher.clone().unwrap_or_default(),
    }
}

fn spec(target: &TargetRecord) -> TargetSpec {
    TargetSpec {
        id: target.id.clone(),
        port: target.port,
        address: target.address,
        zone: target.zone.clone(),
        registered_at: target.registered_at,
        draining_until: target.draining_until,
    }
}

/// A protocol by AWS's name.
fn protocol(name: &str) -> Option<Protocol> {
    Some(match name {
        "HTTP" => Protocol::Http,
        "HTTPS" => Protocol::Https,
        "TCP" => Protocol::Tcp,
        "TLS" => Protocol::Tls,
        "UDP" => Protocol::Udp,
        "TCP_UDP" => Protocol::TcpUdp,
        _ => return None,
    })
}
