//! What gateways and nodes are told.

use super::*;
use neargate_link::NetworkEntry;
use neargate_link::gateway::{Action, BalancerKind, Condition, Pattern, Protocol, Transform};
use neargate_store::Change;

#[tokio::test]
async fn the_table_has_everything_and_is_always_the_same() {
    let world = World::new().await;
    let (arn, listener, group) = world.web().await;
    world.register(&group, &world.address(0, 20)).await;
    let input = json!({
        "ListenerArn": listener, "Priority": 7,
        "Conditions": [
            { "Field": "host-header", "HostHeaderConfig": { "Values": ["*.example.com"], "RegexValues": ["^a"] } },
            { "Field": "http-header", "HttpHeaderConfig": { "HttpHeaderName": "X-Team", "Values": ["a*"] } },
            { "Field": "source-ip", "SourceIpConfig": { "Values": ["10.0.0.0/8"] } },
        ],
        "Actions": [{ "Type": "forward", "ForwardConfig": {
            "TargetGroups": [{ "TargetGroupArn": group, "Weight": 3 }],
            "TargetGroupStickinessConfig": { "Enabled": true, "DurationSeconds": 60 },
        } }],
        "Transforms": [
            { "Type": "url-rewrite", "UrlRewriteConfig": { "Rewrites": [{ "Regex": "^/(.*)", "Replace": "/v1/$1" }] } },
        ],
    });
    world.call("CreateRule", input).await;
    let table = world.table();
    assert_eq!(table, world.table());
    let balancer = &table.balancers[0];
    assert_eq!(
        (balancer.arn.as_str(), balancer.kind, balancer.on_loopback),
        (arn.as_str(), BalancerKind::Application, true)
    );
    assert!(balancer.id.starts_with("app/web/"));
    assert_eq!(balancer.addresses.len(), 2);
    assert!(balancer.ingress.is_some());
    let rule = &balancer.listeners[0].rules[0];
    assert_eq!(balancer.listeners[0].protocol, Protocol::Http);
    assert_eq!(
        rule.conditions,
        [
            Condition::Host(vec![
                Pattern::Wildcard("*.example.com".to_owned()),
                Pattern::Regex("^a".to_owned())
            ]),
            Condition::Header {
                name: "X-Team".to_owned(),
                values: vec![Pattern::Wildcard("a*".to_owned())],
            },
            Condition::SourceIp(vec![("10.0.0.0".parse().unwrap(), 8)]),
        ]
    );
    let forward = Action::Forward {
        groups: vec![(group.clone(), 3)],
        stickiness: Some(60),
    };
    assert_eq!((rule.priority, &rule.action), (Some(7), &forward));
    let rewrite = Transform::Url {
        regex: "^/(.*)".to_owned(),
        replace: "/v1/$1".to_owned(),
    };
    assert_eq!(rule.transforms, [rewrite]);
    assert_eq!(
        table.target_groups[&group].targets[0].zone.as_deref(),
        Some("us-east-1a")
    );
}

/// The changes of every commit that a future makes.
async fn changes_of(world: &World, done: impl Future<Output = ()>) -> Vec<Change> {
    let from = world.snapshot().revision() + 1;
    let mut watch = world.elb.store.changes();
    done.await;
    let mut out = Vec::new();
    while let Ok(commit) = watch.try_recv() {
        out.extend(commit.iter().filter(|c| c.revision >= from).cloned());
    }
    out
}

#[tokio::test]
async fn health_alone_makes_no_new_table_and_registrations_do() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let id = world.address(0, 20);
    let concerns = |changes: &[Change]| changes.iter().any(crate::table::concerns);
    let registered = changes_of(&world, world.register(&group, &id)).await;
    assert!(concerns(&registered));
    let reported = changes_of(&world, world.report(&group, &id, TargetState::Healthy)).await;
    assert!(!reported.is_empty() && !concerns(&reported));
    let drained = changes_of(&world, world.deregister(&group, &id)).await;
    assert!(concerns(&drained));
    let deleted = changes_of(&world, async {
        world.call("DeleteListener", json!({ "ListenerArn": listener })).await;
    })
    .await;
    assert!(concerns(&deleted));
}

#[tokio::test]
async fn names_by_changes_are_the_names_of_the_whole() {
    let world = World::new().await;
    let mut names = std::collections::BTreeMap::new();
    let follow = |names: &mut std::collections::BTreeMap<String, NetworkEntry>, changes: Vec<Change>| {
        for change in changes {
            for (key, entry) in crate::names::changes(&world.snapshot(), &change) {
                match entry {
                    Some(entry) => names.insert(key, entry),
                    None => names.remove(&key),
                };
            }
        }
    };
    let whole = || -> Vec<NetworkEntry> { crate::names::table(&world.snapshot()) };
    let made = changes_of(&world, async {
        world.balancer("web", json!({})).await;
        world.balancer("api", json!({ "Scheme": "internal" })).await;
    })
    .await;
    follow(&mut names, made);
    // For its VPC and for everybody else; what is internal says the same to both.
    assert_eq!(whole().len(), 4);
    let of = |name: &str| -> Vec<Vec<std::net::Ipv4Addr>> {
        let whole = whole();
        let found = whole.iter().filter_map(|entry| match entry {
            NetworkEntry::Name(entry) if entry.name.contains(name) => {
                Some((entry.vpc_id.is_none(), entry.addresses.clone()))
            }
            _ => None,
        });
        let found: std::collections::BTreeMap<_, _> = found.collect();
        found.into_values().collect()
    };
    assert_ne!(of("web")[0], of("web")[1]);
    assert_eq!(of("api")[0], of("api")[1]);
    assert!(whole().iter().all(|entry| names.get(&entry.key()) == Some(entry)));
    let all = world.call("DescribeLoadBalancers", json!({ "Names": ["web"] })).await;
    let web = all["LoadBalancers"][0]["LoadBalancerArn"].clone();
    let changed = changes_of(&world, async {
        world
            .call(
                "SetSubnets",
                json!({ "LoadBalancerArn": web, "Subnets": world.subnets }),
            )
            .await;
    })
    .await;
    follow(&mut names, changed);
    assert!(whole().iter().all(|entry| names.get(&entry.key()) == Some(entry)));
    let deleted = changes_of(&world, async {
        world
            .call("DeleteLoadBalancer", json!({ "LoadBalancerArn": web }))
            .await;
    })
    .await;
    follow(&mut names, deleted);
    assert_eq!(whole().len(), 2);
    assert_eq!(names.into_values().collect::<Vec<_>>(), whole());
}
