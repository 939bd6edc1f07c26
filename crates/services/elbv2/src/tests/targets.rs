//! Targets: registered, found healthy, drained, by people and by services.

use super::*;
use crate::targets::{self, NewTarget};
use neargate_store::Txn;

#[tokio::test]
async fn a_target_is_initial_then_healthy_and_unused_without_a_listener() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    assert_eq!(world.health(&group).await, ["initial Elb.RegistrationInProgress"]);
    world.report(&group, &id, TargetState::Healthy).await;
    assert_eq!(world.health(&group).await, ["healthy"]);
    world.report(&group, &id, TargetState::Unhealthy).await;
    assert_eq!(world.health(&group).await, ["unhealthy Target.Timeout"]);
    let described = world
        .call("DescribeTargetHealth", json!({ "TargetGroupArn": group }))
        .await;
    let target = &described["TargetHealthDescriptions"][0];
    assert_eq!(
        target["Target"],
        json!({ "Id": id, "Port": 80, "AvailabilityZone": "us-east-1a" })
    );
    assert_eq!(target["HealthCheckPort"], "80");
    assert_eq!(
        target["AdministrativeOverride"]["Reason"],
        "AdministrativeOverride.NoOverride"
    );
    world.call("DeleteListener", json!({ "ListenerArn": listener })).await;
    assert_eq!(world.health(&group).await, ["unused Target.NotInUse"]);
}

#[tokio::test]
async fn asked_for_what_is_not_registered_health_says_so() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let input = json!({ "TargetGroupArn": group, "Targets": [{ "Id": world.address(0, 20), "Port": 81 }] });
    let described = world.call("DescribeTargetHealth", input).await;
    let target = &described["TargetHealthDescriptions"][0];
    assert_eq!(said(&target["TargetHealth"]), "unused Target.NotRegistered");
    assert_eq!(
        target["TargetHealth"]["Description"],
        "Target is not registered to the target group"
    );
    assert_eq!(target["Target"]["Port"], 81);
}

#[tokio::test]
async fn a_target_in_a_zone_without_the_load_balancer_gets_no_traffic() {
    let world = World::new().await;
    let (balancer, _, group) = world.web().await;
    world.register(&group, &world.address(2, 20)).await;
    assert_eq!(world.health(&group).await, ["unused Target.NotInUse"]);
    assert_eq!(world.table().target_groups[&group].targets, []);
    let input = json!({ "LoadBalancerArn": balancer, "Subnets": world.subnets });
    world.call("SetSubnets", input).await;
    assert_eq!(world.table().target_groups[&group].targets.len(), 1);
}

#[tokio::test]
async fn a_served_target_drains_for_its_groups_delay() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    world.report(&group, &id, TargetState::Healthy).await;
    world.deregister(&group, &id).await;
    assert_eq!(world.health(&group).await, ["draining Target.DeregistrationInProgress"]);
    let until = world.table().target_groups[&group].targets[0].draining_until;
    assert_eq!(until, Some(world.clock.now().plus(Duration::from_secs(300))));
    // Health reports of a draining target change nothing.
    world.report(&group, &id, TargetState::Unhealthy).await;
    world.advance(299);
    assert_eq!(world.elb.end_draining().await.unwrap(), until);
    assert_eq!(world.health(&group).await.len(), 1);
    world.advance(1);
    assert_eq!(world.elb.end_draining().await.unwrap(), None);
    assert_eq!(world.health(&group).await, Vec::<String>::new());
}

#[tokio::test]
async fn draining_ends_when_a_gateway_has_nothing_in_flight() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    world.report(&group, &id, TargetState::Healthy).await;
    world.report(&group, &id, TargetState::Drained).await;
    assert_eq!(world.health(&group).await, ["healthy"], "it was not deregistered");
    world.deregister(&group, &id).await;
    world.report(&group, &id, TargetState::Drained).await;
    assert_eq!(world.health(&group).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_was_never_served_goes_at_once() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    world.deregister(&group, &id).await;
    world.deregister(&group, &id).await;
    assert_eq!(world.health(&group).await, Vec::<String>::new());
    let unused = world.group("unused", json!({})).await;
    world.register(&unused, &id).await;
    world.report(&unused, &id, TargetState::Healthy).await;
    world.deregister(&unused, &id).await;
    assert_eq!(world.health(&unused).await, Vec::<String>::new());
}

#[tokio::test]
async fn registering_again_cancels_draining_and_outdates_reports() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    world.report(&group, &id, TargetState::Healthy).await;
    let first = targets::target(&world.snapshot(), &group, &id, 80)
        .unwrap()
        .registered_at;
    world.deregister(&group, &id).await;
    world.register(&group, &id).await;
    let second = targets::target(&world.snapshot(), &group, &id, 80).unwrap();
    assert!(
        second.registered_at > first,
        "registrations are told apart even in one millisecond"
    );
    assert_eq!(second.draining_until, None);
    let stale = TargetReport {
        target_group: group.clone(),
        id: id.clone(),
        port: 80,
        registered_at: first,
        state: TargetState::Healthy,
        reason: None,
        description: None,
    };
    world.elb.apply_reports(vec![stale]).await.unwrap();
    assert_eq!(world.health(&group).await, ["initial Elb.RegistrationInProgress"]);
    let before = world.snapshot().revision();
    world.register(&group, &id).await;
    assert_eq!(world.snapshot().revision(), before, "what is registered stays as it is");
}

#[tokio::test]
async fn what_no_target_may_be_is_refused() {
    let world = World::new().await;
    let group = world.group("web", json!({})).await;
    let input = |target: Value| json!({ "TargetGroupArn": group, "Targets": [target] });
    for (target, code) in [
        (json!({ "Id": "i-1" }), "ValidationError"),
        (json!({ "Id": "fd00::1" }), "ValidationError"),
        (json!({ "Id": "8.8.8.8" }), "InvalidTarget"),
        (json!({ "Id": "10.9.9.9" }), "ValidationError"),
        (
            json!({ "Id": world.address(0, 20), "AvailabilityZone": "all" }),
            "ValidationError",
        ),
        (json!({ "Id": world.address(0, 20), "Port": 0 }), "ValidationError"),
        (
            json!({ "Id": world.address(0, 20), "AvailabilityZone": "us-east-1b" }),
            "ValidationError",
        ),
    ] {
        assert_eq!(
            world.refused("RegisterTargets", input(target.clone())).await.0,
            code,
            "{target}"
        );
    }
    world
        .call(
            "RegisterTargets",
            input(json!({ "Id": "10.9.9.9", "AvailabilityZone": "all" })),
        )
        .await;
    let instances = world.group("instances", json!({ "TargetType": "instance" })).await;
    let input = |id: &str| json!({ "TargetGroupArn": instances, "Targets": [{ "Id": id }] });
    assert_eq!(world.refused("RegisterTargets", input("i-2")).await.0, "InvalidTarget");
    world.call("RegisterTargets", input("i-1")).await;
    let target = world.table().target_groups[&instances].targets[0].clone();
    assert_eq!(
        (target.id.as_str(), target.address),
        ("i-1", IpAddr::V4(Ipv4Addr::LOCALHOST))
    );
    let gone = json!({ "TargetGroupArn": group.replace("/web/", "/gone/"), "Targets": [{ "Id": "10.0.0.1" }] });
    assert_eq!(world.refused("RegisterTargets", gone).await.0, "TargetGroupNotFound");
}

#[tokio::test]
async fn a_group_has_a_thousand_targets_and_is_deleted_with_them() {
    let world = World::new().await;
    let group = world.group("web", json!({})).await;
    let many: Vec<Value> = (0..1000)
        .map(|n| json!({ "Id": world.address(0, 20), "Port": 1000 + n }))
        .collect();
    world
        .call("RegisterTargets", json!({ "TargetGroupArn": group, "Targets": many }))
        .await;
    let one = json!({ "TargetGroupArn": group, "Targets": [{ "Id": world.address(0, 21) }] });
    assert_eq!(world.refused("RegisterTargets", one).await.0, "TooManyTargets");
    world
        .call("DeleteTargetGroup", json!({ "TargetGroupArn": group }))
        .await;
    assert_eq!(world.snapshot().range::<crate::TargetRecord>("").count(), 0);
}

#[tokio::test]
async fn a_services_targets_are_found_by_its_key() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let snapshot = world.snapshot();
    let record = targets::target_group(&snapshot, REGION, &group).unwrap();
    let new = NewTarget {
        id: world.address(0, 30),
        port: 8080,
        address: world.address(0, 30).parse().unwrap(),
        zone: Some("us-east-1a".to_owned()),
        owner: Some("us-east-1/default/web".to_owned()),
    };
    let mut txn = Txn::new();
    targets::register(&snapshot, &mut txn, &record, new.clone(), world.clock.now());
    world.elb.store.commit(txn).await.unwrap();
    let owned = targets::targets_of_owner(&world.snapshot(), "us-east-1/default/web");
    assert_eq!(
        (owned.len(), owned[0].id.as_str(), owned[0].port),
        (1, new.id.as_str(), 8080)
    );
    assert!(!owned[0].is_healthy() && !owned[0].is_unused(&world.snapshot()));
}

#[tokio::test]
async fn the_loop_ends_draining_without_being_told_what_changed() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let id = world.address(0, 20);
    world.register(&group, &id).await;
    world.report(&group, &id, TargetState::Healthy).await;
    world.deregister(&group, &id).await;
    world.advance(301);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut changes = world.elb.store.changes();
    let running = tokio::spawn(world.elb.clone().run(stopped));
    let change = changes.recv().await.unwrap();
    assert!(change[0].key.starts_with("elbv2/target/") && change[0].record.is_none());
    stop.send(true).unwrap();
    running.await.unwrap();
}

#[tokio::test]
async fn a_balancers_own_address_gets_no_traffic() {
    let world = World::new().await;
    let (_, _, group) = world.web().await;
    let snapshot = world.snapshot();
    let (_, interface) = snapshot.range::<neargate_ec2::InterfaceRecord>("").next().unwrap();
    world.register(&group, &interface.address.to_string()).await;
    assert_eq!(world.health(&group).await, ["unused Target.IpUnusable"]);
    assert_eq!(world.table().target_groups[&group].targets, []);
}
