//! Control's table, compiled: immutable, in an `Arc`, swapped whole.
//!
//! What lives longer than a table is taken over from the previous one: counters and cursors of a balancer or group by
//! its ARN, health and outstanding requests of a target by group, id, port and time of registration.

use crate::group::Group;
use crate::listener::Listener;
use crate::metrics::{self, BalancerMetrics, MetricsSnapshot};
use crate::settings::BalancerSettings;
use neargate_link::TrafficRule;
use neargate_link::gateway::{self, Action, BalancerAddress, BalancerKind, Certificate, GatewayTable};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Everything a gateway serves.
#[derive(Debug, Default)]
pub struct Routes {
    balancers: Vec<Arc<Balancer>>,
    groups: BTreeMap<String, Arc<Group>>,
    certificates: BTreeMap<String, Arc<Certificate>>,
}

/// A load balancer.
#[derive(Debug)]
pub struct Balancer {
    pub arn: String,
    /// `app/NAME/0123456789abcdef`.
    pub id: String,
    pub dns_name: String,
    pub kind: BalancerKind,
    /// See `gateway::Balancer::on_loopback`.
    pub on_loopback: bool,
    pub addresses: Vec<BalancerAddress>,
    /// See `gateway::Balancer::ingress`.
    pub ingress: Option<Vec<TrafficRule>>,
    pub settings: BalancerSettings,
    pub listeners: Vec<Arc<Listener>>,
    pub metrics: Arc<BalancerMetrics>,
}

impl Routes {
    /// `previous`: what is served now; none at the start of the process.
    pub fn compile(table: &GatewayTable, previous: Option<&Routes>) -> Routes {
        let users = users(table);
        let groups: BTreeMap<_, _> = table
            .target_groups
            .iter()
            .map(|(arn, group)| {
                let before = previous.and_then(|routes| routes.groups.get(arn));
                let mut compiled = Group::new(group, before.map(|group| &**group), previous.is_none());
                if let Some(balancer) = users.get(&**arn) {
                    compiled.balancer = Some(balancer.id.clone());
                    compiled.source = balancer.addresses.first().map(|at| at.address);
                }
                (arn.clone(), Arc::new(compiled))
            })
            .collect();
        let balancers = table
            .balancers
            .iter()
            .map(|balancer| {
                let before = previous.and_then(|routes| routes.balancer(&balancer.arn));
                Arc::new(Balancer::new(balancer, &groups, before.map(|before| &**before)))
            })
            .collect();
        let certificates = table
            .certificates
            .iter()
            .map(|(arn, certificate)| {
                let before = previous.and_then(|routes| routes.certificates.get(arn));
                let same = before.filter(|before| ***before == *certificate).cloned();
                (arn.clone(), same.unwrap_or_else(|| Arc::new(certificate.clone())))
            })
            .collect();
        Routes {
            balancers,
            groups,
            certificates,
        }
    }

    /// Ascending by ARN.
    pub fn balancers(&self) -> &[Arc<Balancer>] {
        &self.balancers
    }

    fn balancer(&self, arn: &str) -> Option<&Arc<Balancer>> {
        self.balancers.iter().find(|balancer| balancer.arn == arn)
    }

    /// Ascending by ARN.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.values()
    }

    pub fn group(&self, arn: &str) -> Option<&Arc<Group>> {
        self.groups.get(arn)
    }

    /// Those that a listener forwards to: their targets are checked.
    pub fn used_groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups().filter(|group| group.is_used())
    }

    /// The same `Arc` as before while the certificate is the same.
    pub fn certificate(&self, arn: &str) -> Option<&Arc<Certificate>> {
        self.certificates.get(arn)
    }

    /// Every counter, added up over the threads.
    pub fn metrics(&self) -> MetricsSnapshot {
        MetricsSnapshot {
            balancers: self
                .balancers
                .iter()
                .map(|balancer| balancer.metrics.snapshot(&balancer.id, balancer.kind))
                .collect(),
            groups: self
                .used_groups()
                .map(|group| {
                    let balancer = group.balancer.as_deref().unwrap_or_default();
                    group.metrics().snapshot(balancer, &group.id, group.host_counts())
                })
                .collect(),
        }
    }

    /// All counters in Prometheus' text format 0.0.4.
    pub fn prometheus(&self) -> String {
        metrics::prometheus(&self.metrics())
    }
}

impl Balancer {
    fn new(table: &gateway::Balancer, groups: &BTreeMap<String, Arc<Group>>, previous: Option<&Balancer>) -> Balancer {
        let network = table.kind == BalancerKind::Network;
        Balancer {
            arn: table.arn.clone(),
            id: table.id.clone(),
            dns_name: table.dns_name.clone(),
            kind: table.kind,
            on_loopback: table.on_loopback,
            addresses: table.addresses.clone(),
            ingress: table.ingress.clone(),
            settings: BalancerSettings::new(&table.attributes, network),
            listeners: table
                .listeners
                .iter()
                .map(|listener| Arc::new(Listener::new(listener, groups)))
                .collect(),
            metrics: previous.map_or_else(Arc::default, |balancer| balancer.metrics.clone()),
        }
    }
}

/// The balancer that forwards to each group, by the group's ARN.
fn users(table: &GatewayTable) -> BTreeMap<&str, &gateway::Balancer> {
    let mut users = BTreeMap::new();
    for balancer in &table.balancers {
        for rule in balancer.listeners.iter().flat_map(|listener| &listener.rules) {
            if let Action::Forward { groups, .. } = &rule.action {
                for (arn, _) in groups {
                    users.entry(&**arn).or_insert(balancer);
                }
            }
        }
    }
    users
}
