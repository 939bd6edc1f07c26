//! A gateway that only pretends: every target that a listener uses is healthy, every draining one has drained.
//!
//! Runs beside simulated nodes, whose tasks answer nothing. It opens no socket but the link's, so that nothing is ever
//! sent to an address that no task holds.

use neargate_core::Timestamp;
use neargate_link::connection::Timing;
use neargate_link::gateway::{Action, GatewayTable, TargetReport, TargetState};
use neargate_link::{Connection, FromGateway, LinkError, ToGateway, unix};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

type GatewayLink = Connection<FromGateway, ToGateway>;

const NAME: &str = "simulated";
const CONNECT_AGAIN: Duration = Duration::from_millis(100);

/// Pretends until `shutdown`.
pub async fn run(link_socket: &Path, shutdown: impl Future<Output = ()>) {
    tokio::select! {
        () = shutdown => {}
        () = serve(link_socket) => {}
    }
}

async fn serve(link_socket: &Path) {
    loop {
        if let Err(error) = session(link_socket).await {
            tracing::debug!(%error, "control is away");
        }
        tokio::time::sleep(CONNECT_AGAIN).await;
    }
}

async fn session(link_socket: &Path) -> Result<(), LinkError> {
    let mut link: GatewayLink = unix::connect_as(link_socket, Timing::default()).await?;
    let hello = FromGateway::Hello {
        gateway_id: NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    link.send(NAME, &hello).await?;
    let mut told = BTreeMap::new();
    let mut sequence = 0;
    while let Some(frame) = link.recv().await? {
        let ToGateway::Table { generation, table } = frame.message else {
            continue;
        };
        let applied = FromGateway::Applied {
            generation,
            problems: Vec::new(),
        };
        link.send(NAME, &applied).await?;
        let targets = news(&table, &mut told);
        if !targets.is_empty() {
            sequence += 1;
            link.send(NAME, &FromGateway::Targets { sequence, targets }).await?;
        }
    }
    Ok(())
}

/// What was last said of a target, by group, id and port.
type Told = BTreeMap<(String, String, u16), (Timestamp, TargetState)>;

/// What is to be said of the table's targets that was not said before.
fn news(table: &GatewayTable, told: &mut Told) -> Vec<TargetReport> {
    let used: BTreeSet<&str> = used_groups(table).collect();
    let mut now = Told::new();
    let mut out = Vec::new();
    for group in table.target_groups.values().filter(|g| used.contains(&*g.arn)) {
        for target in &group.targets {
            let state = match target.draining_until {
                Some(_) => TargetState::Drained,
                None => TargetState::Healthy,
            };
            let key = (group.arn.clone(), target.id.clone(), target.port);
            let said = (target.registered_at, state);
            if told.get(&key) != Some(&said) {
                out.push(TargetReport {
                    target_group: group.arn.clone(),
                    id: target.id.clone(),
                    port: target.port,
                    registered_at: target.registered_at,
                    state,
                    reason: None,
                    description: None,
                });
            }
            now.insert(key, said);
        }
    }
    *told = now;
    out
}

fn used_groups(table: &GatewayTable) -> impl Iterator<Item = &str> {
    let rules = table.balancers.iter().flat_map(|b| &b.listeners).flat_map(|l| &l.rules);
    rules.flat_map(|rule| match &rule.action {
        Action::Forward { groups, .. } => groups.iter().map(|(arn, _)| arn.as_str()).collect(),
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::gateway::{
        Balancer, BalancerKind, HealthCheckSpec, Listener, Protocol, ProtocolVersion, Rule, TargetGroup, TargetSpec,
    };

    fn table(arn: &str, draining: bool) -> GatewayTable {
        let target = TargetSpec {
            id: "10.0.0.5".to_owned(),
            port: 80,
            address: [10, 0, 0, 5].into(),
            zone: None,
            registered_at: Timestamp(1),
            draining_until: draining.then_some(Timestamp(2)),
        };
        let group = TargetGroup {
            arn: "used".to_owned(),
            id: String::new(),
            protocol: Protocol::Http,
            protocol_version: ProtocolVersion::Http1,
            health_check: HealthCheckSpec {
                enabled: true,
                protocol: Protocol::Http,
                port: None,
                path: "/".to_owned(),
                interval: 30,
                timeout: 5,
                healthy_threshold: 5,
                unhealthy_threshold: 2,
                matcher: "200".to_owned(),
            },
            attributes: BTreeMap::new(),
            targets: vec![target],
        };
        let rule = Rule {
            arn: String::new(),
            priority: None,
            conditions: Vec::new(),
            transforms: Vec::new(),
            action: Action::Forward {
                groups: vec![(arn.to_owned(), 1)],
                stickiness: None,
            },
        };
        let listener = Listener {
            arn: String::new(),
            port: 80,
            protocol: Protocol::Http,
            ssl_policy: None,
            certificates: Vec::new(),
            alpn_policy: None,
            attributes: BTreeMap::new(),
            rules: vec![rule],
        };
        let balancer = Balancer {
            arn: String::new(),
            id: String::new(),
            kind: BalancerKind::Application,
            dns_name: String::new(),
            on_loopback: true,
            addresses: Vec::new(),
            ingress: None,
            attributes: BTreeMap::new(),
            listeners: vec![listener],
        };
        GatewayTable {
            balancers: vec![balancer],
            target_groups: BTreeMap::from([("used".to_owned(), group)]),
            certificates: BTreeMap::new(),
        }
    }

    #[test]
    fn targets_in_use_are_healthy_then_drained_and_said_once() {
        let mut told = Told::new();
        assert!(
            news(&table("another", false), &mut told).is_empty(),
            "no listener uses it"
        );
        let first = news(&table("used", false), &mut told);
        assert!(matches!(&first[..], [report] if report.state == TargetState::Healthy));
        assert!(news(&table("used", false), &mut told).is_empty());
        let last = news(&table("used", true), &mut told);
        assert!(matches!(&last[..], [report] if report.state == TargetState::Drained));
    }
}
