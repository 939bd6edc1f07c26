//! Tables, heads and headers for the tests.
#![allow(dead_code, reason = "every test uses some of it")]

use neargate_core::Timestamp;
use neargate_link::gateway::{
    Action, Balancer, BalancerAddress, BalancerKind, Condition, GatewayTable, HealthCheckSpec, Listener, Protocol,
    ProtocolVersion, Rule, TargetGroup, TargetSpec,
};
use neargate_routing::{Headers, RequestHead};
use std::collections::BTreeMap;

pub const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Headers in a list.
#[derive(Clone, Debug, Default)]
pub struct List(pub Vec<(String, String)>);

impl List {
    pub fn of(pairs: &[(&str, &str)]) -> List {
        List(pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect())
    }
}

impl Headers for List {
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for (_, value) in self.0.iter().filter(|(given, _)| given.eq_ignore_ascii_case(name)) {
            each(value.as_bytes());
        }
    }
}

/// A GET over plain HTTP.
pub fn head<'a>(host: &'a str, path: &'a str, headers: &'a dyn Headers) -> RequestHead<'a> {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query.as_bytes())),
        None => (path, None),
    };
    RequestHead {
        method: b"GET",
        path: path.as_bytes(),
        query,
        host: host.as_bytes(),
        headers,
        source: [203, 0, 113, 9].into(),
        https: false,
        port: 80,
    }
}

pub fn rule(priority: Option<u32>, conditions: Vec<Condition>, action: Action) -> Rule {
    Rule {
        arn: format!("rule/{}", priority.map_or("default".to_owned(), |p| p.to_string())),
        priority,
        conditions,
        transforms: Vec::new(),
        action,
    }
}

pub fn fixed() -> Action {
    Action::FixedResponse {
        status: 200,
        content_type: None,
        body: String::new(),
    }
}

pub fn forward(groups: &[(&str, u32)], stickiness: Option<u32>) -> Action {
    Action::Forward {
        groups: groups
            .iter()
            .map(|(arn, weight)| ((*arn).to_owned(), *weight))
            .collect(),
        stickiness,
    }
}

pub fn target(id: &str, registered: i64) -> TargetSpec {
    TargetSpec {
        id: id.to_owned(),
        port: 80,
        address: id.parse().expect("tests name targets by address"),
        zone: None,
        registered_at: NOW.plus(std::time::Duration::from_secs(registered as u64)),
        draining_until: None,
    }
}

pub fn group(arn: &str, attributes: &[(&str, &str)], targets: Vec<TargetSpec>) -> TargetGroup {
    TargetGroup {
        arn: arn.to_owned(),
        id: format!("targetgroup/{arn}/1"),
        protocol: Protocol::Http,
        protocol_version: ProtocolVersion::Http1,
        health_check: HealthCheckSpec {
            enabled: true,
            protocol: Protocol::Http,
            port: None,
            path: "/".to_owned(),
            interval: 10,
            timeout: 5,
            healthy_threshold: 2,
            unhealthy_threshold: 2,
            matcher: "200".to_owned(),
        },
        attributes: map(attributes),
        targets,
    }
}

pub fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// One balancer with one listener.
pub fn table(rules: Vec<Rule>, groups: Vec<TargetGroup>) -> GatewayTable {
    GatewayTable {
        balancers: vec![Balancer {
            arn: "balancer".to_owned(),
            id: "app/web/1".to_owned(),
            kind: BalancerKind::Application,
            dns_name: "web.elb.localhost".to_owned(),
            on_loopback: true,
            addresses: vec![BalancerAddress {
                address: [10, 0, 0, 5].into(),
                zone: "a".to_owned(),
            }],
            ingress: None,
            attributes: BTreeMap::new(),
            listeners: vec![Listener {
                arn: "listener".to_owned(),
                port: 80,
                protocol: Protocol::Http,
                ssl_policy: None,
                certificates: Vec::new(),
                alpn_policy: None,
                attributes: BTreeMap::new(),
                rules,
            }],
        }],
        target_groups: groups.into_iter().map(|group| (group.arn.clone(), group)).collect(),
        certificates: BTreeMap::new(),
    }
}
