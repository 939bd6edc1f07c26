//! Target groups: made with AWS's defaults, changed, checked.

use super::*;

#[tokio::test]
async fn a_group_has_the_defaults_of_its_protocol() {
    let world = World::new().await;
    let arn = world.group("web", json!({})).await;
    let shown = world
        .call("DescribeTargetGroups", json!({ "TargetGroupArns": [arn] }))
        .await["TargetGroups"][0]
        .clone();
    for (member, value) in [
        ("HealthCheckProtocol", json!("HTTP")),
        ("HealthCheckPort", json!("traffic-port")),
        ("HealthCheckPath", json!("/")),
        ("HealthCheckIntervalSeconds", json!(30)),
        ("HealthCheckTimeoutSeconds", json!(5)),
        ("HealthyThresholdCount", json!(5)),
        ("UnhealthyThresholdCount", json!(2)),
        ("Matcher", json!({ "HttpCode": "200" })),
        ("ProtocolVersion", json!("HTTP1")),
        ("LoadBalancerArns", json!([])),
        ("IpAddressType", json!("ipv4")),
    ] {
        assert_eq!(shown[member], value, "{member}");
    }
    let tcp = world.group("tcp", json!({ "Protocol": "TCP" })).await;
    let shown = world.call("DescribeTargetGroups", json!({ "Names": ["tcp"] })).await["TargetGroups"][0].clone();
    assert_eq!(
        (&shown["TargetGroupArn"], &shown["HealthCheckProtocol"]),
        (&json!(tcp), &json!("TCP"))
    );
    assert_eq!(
        (&shown["HealthCheckPath"], &shown["Matcher"]),
        (&Value::Null, &Value::Null)
    );
    let empty = json!({ "ProtocolVersion": "", "HealthCheckPort": "" });
    world.group("terraform", empty).await;
    let grpc = world.group("grpc", json!({ "ProtocolVersion": "GRPC" })).await;
    let shown = world
        .call("DescribeTargetGroups", json!({ "TargetGroupArns": [grpc] }))
        .await;
    assert_eq!(shown["TargetGroups"][0]["Matcher"], json!({ "GrpcCode": "12" }));
}

#[tokio::test]
async fn making_one_again_answers_it_and_another_of_the_name_is_refused() {
    let world = World::new().await;
    let first = world.group("web", json!({})).await;
    assert_eq!(world.group("web", json!({})).await, first);
    let other = json!({ "Name": "web", "Protocol": "HTTP", "Port": 81, "VpcId": world.vpc, "TargetType": "ip" });
    let (code, message) = world.refused("CreateTargetGroup", other).await;
    assert_eq!(code, "DuplicateTargetGroupName");
    assert_eq!(
        message,
        "A target group with the same name 'web' exists, but with different settings"
    );
    world
        .call("DeleteTargetGroup", json!({ "TargetGroupArn": first }))
        .await;
    world
        .call("DeleteTargetGroup", json!({ "TargetGroupArn": first }))
        .await;
    assert_ne!(world.group("web", json!({})).await, first);
}

#[tokio::test]
async fn what_no_group_may_be_is_refused() {
    let world = World::new().await;
    let base = json!({ "Name": "web", "Protocol": "HTTP", "Port": 80, "VpcId": world.vpc, "TargetType": "ip" });
    for (more, code) in [
        (json!({ "Name": "web-" }), "ValidationError"),
        (json!({ "Port": null }), "ValidationError"),
        (json!({ "Port": 0 }), "ValidationError"),
        (json!({ "Protocol": null }), "ValidationError"),
        (json!({ "VpcId": "vpc-0" }), "ValidationError"),
        (json!({ "TargetType": "lambda" }), "InvalidConfigurationRequest"),
        (json!({ "TargetType": "alb" }), "InvalidConfigurationRequest"),
        (json!({ "Protocol": "GENEVE" }), "InvalidConfigurationRequest"),
        (json!({ "ProtocolVersion": "HTTP9" }), "ValidationError"),
        (
            json!({ "Protocol": "TCP", "ProtocolVersion": "HTTP2" }),
            "ValidationError",
        ),
        (json!({ "HealthCheckProtocol": "TCP" }), "ValidationError"),
        (json!({ "HealthCheckEnabled": false }), "ValidationError"),
        (json!({ "HealthCheckPath": "x" }), "ValidationError"),
        (json!({ "HealthCheckPort": "0" }), "ValidationError"),
        (json!({ "HealthCheckIntervalSeconds": 4 }), "ValidationError"),
        (
            json!({ "HealthCheckIntervalSeconds": 5, "HealthCheckTimeoutSeconds": 5 }),
            "ValidationError",
        ),
        (json!({ "Matcher": { "HttpCode": "500" } }), "ValidationError"),
        (json!({ "Matcher": { "HttpCode": "299-200" } }), "ValidationError"),
        (json!({ "Matcher": { "GrpcCode": "0" } }), "ValidationError"),
        (
            json!({ "Protocol": "TCP", "HealthCheckPath": "/" }),
            "InvalidConfigurationRequest",
        ),
        (json!({ "Matcher": { "HttpCode": "" } }), "ValidationError"),
        (json!({ "TargetControlPort": 1 }), "InvalidConfigurationRequest"),
        (json!({ "IpAddressType": "ipv6" }), "InvalidConfigurationRequest"),
    ] {
        let input = with(base.clone(), more.clone());
        assert_eq!(world.refused("CreateTargetGroup", input).await.0, code, "{more}");
    }
}

#[tokio::test]
async fn health_checks_are_changed_in_part() {
    let world = World::new().await;
    let arn = world
        .group(
            "web",
            json!({ "HealthCheckPath": "/up", "Matcher": { "HttpCode": "200-299,301" } }),
        )
        .await;
    let input = json!({ "TargetGroupArn": arn, "HealthCheckIntervalSeconds": 10, "HealthyThresholdCount": 2 });
    let changed = world.call("ModifyTargetGroup", input).await["TargetGroups"][0].clone();
    assert_eq!(
        (&changed["HealthCheckPath"], &changed["HealthCheckIntervalSeconds"]),
        (&json!("/up"), &json!(10))
    );
    assert_eq!(changed["Matcher"]["HttpCode"], "200-299,301");
    let spec = world.table().target_groups[&arn].health_check.clone();
    assert_eq!((spec.interval, spec.healthy_threshold, spec.port), (10, 2, None));
    let input = json!({ "TargetGroupArn": arn, "HealthCheckTimeoutSeconds": 10 });
    assert_eq!(world.refused("ModifyTargetGroup", input).await.0, "ValidationError");
}

#[tokio::test]
async fn attributes_fit_the_protocol_and_each_other() {
    let world = World::new().await;
    let http = world.group("http", json!({})).await;
    let tcp = world.group("tcp", json!({ "Protocol": "TCP" })).await;
    let set = |arn: &str, pairs: &Value| {
        let pairs = pairs
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| json!({ "Key": k, "Value": v }))
            .collect::<Vec<_>>();
        json!({ "TargetGroupArn": arn, "Attributes": pairs })
    };
    let modify = "ModifyTargetGroupAttributes";
    let sticky = json!({
        "stickiness.enabled": "true", "stickiness.type": "app_cookie", "stickiness.app_cookie.cookie_name": "SESSION",
    });
    world.call(modify, set(&http, &sticky)).await;
    world
        .call(modify, set(&tcp, &json!({ "proxy_protocol_v2.enabled": "true" })))
        .await;
    assert_eq!(
        world.table().target_groups[&http].attributes["stickiness.app_cookie.cookie_name"],
        "SESSION"
    );
    for (arn, pairs, code) in [
        (
            &http,
            json!({ "deregistration_delay.timeout_seconds": "3601" }),
            "ValidationError",
        ),
        (
            &http,
            json!({ "deregistration_delay.timeout_seconds": "+5" }),
            "ValidationError",
        ),
        (
            &http,
            json!({ "stickiness.app_cookie.cookie_name": "AWSALBTG" }),
            "ValidationError",
        ),
        (
            &http,
            json!({ "stickiness.app_cookie.cookie_name": "" }),
            "ValidationError",
        ),
        (
            &http,
            json!({ "deregistration_delay.timeout_seconds": "007" }),
            "ValidationError",
        ),
        (
            &http,
            json!({ "stickiness.type": "source_ip" }),
            "InvalidConfigurationRequest",
        ),
        (
            &tcp,
            json!({ "stickiness.type": "lb_cookie" }),
            "InvalidConfigurationRequest",
        ),
        (&http, json!({ "slow_start.duration_seconds": "29" }), "ValidationError"),
        (&http, json!({ "proxy_protocol_v2.enabled": "true" }), "ValidationError"),
        (
            &http,
            json!({ "load_balancing.algorithm.anomaly_mitigation": "on" }),
            "InvalidConfigurationRequest",
        ),
        (
            &http,
            json!({ "slow_start.duration_seconds": "30", "load_balancing.algorithm.type": "weighted_random" }),
            "InvalidConfigurationRequest",
        ),
        (
            &http,
            json!({ "target_group_health.dns_failover.minimum_healthy_targets.count": "2" }),
            "InvalidConfigurationRequest",
        ),
        (
            &tcp,
            json!({ "preserve_client_ip.enabled": "true" }),
            "InvalidConfigurationRequest",
        ),
        (&tcp, json!({ "slow_start.duration_seconds": "30" }), "ValidationError"),
        (
            &tcp,
            json!({ "target_health_state.unhealthy.draining_interval_seconds": "5" }),
            "ValidationError",
        ),
    ] {
        assert_eq!(world.refused(modify, set(arn, &pairs)).await.0, code, "{pairs}");
    }
}
