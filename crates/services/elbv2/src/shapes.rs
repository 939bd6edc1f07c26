//! Records as replies show them.

use crate::api;
use crate::arns;
use crate::hosted_zones;
use crate::records::{ListenerRecord, LoadBalancerRecord, RuleRecord, TargetGroupRecord};
use neargate_core::Tags;
use neargate_link::gateway::BalancerKind;
use neargate_store::Snapshot;
use std::collections::{BTreeMap, BTreeSet};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// `application` or `network`.
pub fn kind(kind: BalancerKind) -> &'static str {
    match kind {
        BalancerKind::Application => "application",
        BalancerKind::Network => "network",
    }
}

/// `internal` or `internet-facing`.
pub fn scheme(internal: bool) -> &'static str {
    if internal { "internal" } else { "internet-facing" }
}

pub fn load_balancer(record: &LoadBalancerRecord) -> api::LoadBalancer {
    api::LoadBalancer {
        load_balancer_arn: text(&record.arn),
        load_balancer_name: text(&record.name),
        dns_name: text(&record.dns_name),
        canonical_hosted_zone_id: hosted_zones::of(&record.region, record.kind).map(str::to_owned),
        created_time: Some(record.created_at),
        scheme: text(scheme(record.internal)),
        vpc_id: text(&record.vpc_id),
        state: Some(api::LoadBalancerState {
            code: text("active"),
            reason: None,
        }),
        r#type: text(kind(record.kind)),
        availability_zones: Some(zones(record)),
        security_groups: (!record.security_groups.is_empty()).then(|| record.security_groups.clone()),
        ip_address_type: text("ipv4"),
        enforce_security_group_inbound_rules_on_private_link_traffic: record.enforce_on_private_link.clone(),
        ..Default::default()
    }
}

/// The load balancer's subnets.
pub fn zones(record: &LoadBalancerRecord) -> Vec<api::AvailabilityZone> {
    let zone = |seat: &crate::records::Seat| {
        let mut address = api::LoadBalancerAddress::default();
        if let Some(id) = &seat.allocation_id {
            address.allocation_id = text(id);
            address.ip_address = seat.public_address.map(|a| a.to_string());
        }
        if seat.chosen {
            address.private_i_pv4_address = Some(seat.address.to_string());
        }
        let shown = (address != api::LoadBalancerAddress::default()).then_some(address);
        api::AvailabilityZone {
            zone_name: text(&seat.zone),
            subnet_id: text(&seat.subnet_id),
            load_balancer_addresses: Some(shown.into_iter().collect()),
            ..Default::default()
        }
    };
    record.seats.iter().map(zone).collect()
}

pub fn listener(record: &ListenerRecord) -> api::Listener {
    let default = record.certificates.first().map(|arn| api::Certificate {
        certificate_arn: text(arn),
        is_default: None,
    });
    api::Listener {
        listener_arn: text(&record.arn),
        load_balancer_arn: text(&record.load_balancer_arn),
        port: Some(i32::from(record.port)),
        protocol: text(&record.protocol),
        ssl_policy: record.ssl_policy.clone(),
        certificates: default.map(|certificate| vec![certificate]),
        alpn_policy: record.alpn_policy.clone().map(|policy| vec![policy]),
        mutual_authentication: record.mutual_authentication.clone(),
        default_actions: record.default_rule().map(|rule| rule.actions.clone()),
    }
}

pub fn rule(record: &RuleRecord) -> api::Rule {
    api::Rule {
        rule_arn: text(&record.arn),
        priority: Some(record.priority.map_or_else(|| "default".to_owned(), |p| p.to_string())),
        conditions: Some(record.conditions.clone()),
        actions: Some(record.actions.clone()),
        transforms: (!record.transforms.is_empty()).then(|| record.transforms.clone()),
        is_default: Some(record.priority.is_none()),
    }
}

pub fn target_group(snapshot: &Snapshot, record: &TargetGroupRecord) -> api::TargetGroup {
    let check = &record.health_check;
    let number = |n: u32| i32::try_from(n).ok();
    let balancers: BTreeSet<String> = snapshot
        .indexed::<ListenerRecord>(ListenerRecord::BY_GROUP, &record.arn)
        .map(|(_, listener)| listener.load_balancer_arn.clone())
        .collect();
    api::TargetGroup {
        target_group_arn: text(&record.arn),
        target_group_name: text(&record.name),
        protocol: record.protocol.clone(),
        protocol_version: record.protocol_version.clone(),
        port: Some(i32::from(record.port)),
        vpc_id: text(&record.vpc_id),
        target_type: text(&record.target_type),
        ip_address_type: text("ipv4"),
        health_check_enabled: Some(check.enabled),
        health_check_protocol: text(&check.protocol),
        health_check_port: text(&check.port),
        health_check_path: check.path.clone(),
        health_check_interval_seconds: number(check.interval),
        health_check_timeout_seconds: number(check.timeout),
        healthy_threshold_count: number(check.healthy_threshold),
        unhealthy_threshold_count: number(check.unhealthy_threshold),
        matcher: check.matcher.clone().map(|codes| {
            let grpc = record.protocol_version.as_deref() == Some("GRPC");
            let (grpc_code, http_code) = if grpc { (Some(codes), None) } else { (None, Some(codes)) };
            api::Matcher { grpc_code, http_code }
        }),
        load_balancer_arns: Some(balancers.into_iter().collect()),
        target_control_port: None,
    }
}

/// Attributes as pairs of a reply.
pub fn attributes<T>(attributes: &BTreeMap<String, String>, pair: impl Fn(String, String) -> T) -> Option<Vec<T>> {
    Some(attributes.iter().map(|(k, v)| pair(k.clone(), v.clone())).collect())
}

pub fn tags(tags: &Tags) -> Vec<api::Tag> {
    tags.iter()
        .map(|(key, value)| api::Tag {
            key: text(key),
            value: text(value),
        })
        .collect()
}

/// The ARN of something below a listener or load balancer: `listener` + `app/web/…` + a new id.
pub fn child_arn(record_arn: &str, region: &str, account: &str, kind: &str, id: &str) -> String {
    let path = arns::resource(record_arn).split_once('/').map_or("", |(_, path)| path);
    arns::arn(region, account, &format!("{kind}/{path}/{id}"))
}
