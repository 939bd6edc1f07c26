//! Listeners: protocols, ports, certificates, and the target groups they hold on to.

use super::*;

fn fixed() -> Value {
    json!([{ "Type": "fixed-response", "FixedResponseConfig": { "StatusCode": "404" } }])
}

#[tokio::test]
async fn a_listener_asked_for_again_is_the_same() {
    let world = World::new().await;
    let (balancer, listener, group) = world.web().await;
    let input = json!({ "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80,
                        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }] });
    let again = world.call("CreateListener", input.clone()).await;
    assert_eq!(again["Listeners"][0]["ListenerArn"], listener.as_str());
    let mut tagged = input;
    tagged["Tags"] = json!([{ "Key": "k", "Value": "v" }]);
    assert_eq!(world.refused("CreateListener", tagged).await.0, "DuplicateListener");
}

#[tokio::test]
async fn a_port_is_taken_once_and_can_be_moved() {
    let world = World::new().await;
    let (balancer, listener, group) = world.web().await;
    let input = json!({ "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80, "DefaultActions": fixed() });
    let (code, message) = world.refused("CreateListener", input).await;
    assert_eq!(code, "DuplicateListener");
    assert_eq!(
        message,
        format!("A listener already exists on this port for this load balancer '{balancer}'")
    );
    let second = world.listener(&balancer, &group, 81).await;
    let taken = json!({ "ListenerArn": second, "Port": 80 });
    let (code, message) = world.refused("ModifyListener", taken).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("ValidationError", "Listener port '80' is already in use")
    );
    world
        .call("ModifyListener", json!({ "ListenerArn": second, "Port": 82 }))
        .await;
    world.listener(&balancer, &group, 81).await;
    world.call("DeleteListener", json!({ "ListenerArn": listener })).await;
    world.listener(&balancer, &group, 80).await;
    let all = world
        .call("DescribeListeners", json!({ "LoadBalancerArn": balancer }))
        .await;
    let mut ports: Vec<i64> = all["Listeners"]
        .as_array()
        .unwrap()
        .iter()
        .map(|l| l["Port"].as_i64().unwrap())
        .collect();
    ports.sort_unstable();
    assert_eq!(ports, [80, 81, 82]);
    assert_eq!(
        world
            .refused("DescribeListeners", json!({ "ListenerArns": [listener] }))
            .await
            .0,
        "ListenerNotFound"
    );
}

#[tokio::test]
async fn a_forward_action_is_described_in_both_forms() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let shown = world
        .call("DescribeListeners", json!({ "ListenerArns": [listener] }))
        .await;
    let action = &shown["Listeners"][0]["DefaultActions"][0];
    assert_eq!(action["TargetGroupArn"], group.as_str());
    assert_eq!(
        action["ForwardConfig"],
        json!({
            "TargetGroups": [{ "TargetGroupArn": group, "Weight": 1 }],
            "TargetGroupStickinessConfig": { "Enabled": false },
        })
    );
    // What is described can be sent back.
    world
        .call(
            "ModifyListener",
            json!({ "ListenerArn": listener, "DefaultActions": [action] }),
        )
        .await;
}

#[tokio::test]
async fn https_needs_a_certificate_that_is_there() {
    let world = World::new().await;
    let balancer = world.balancer("web", json!({})).await;
    let base = json!({ "LoadBalancerArn": balancer, "Protocol": "HTTPS", "Port": 443, "DefaultActions": fixed() });
    let good = json!([{ "CertificateArn": certificate("good") }]);
    for (more, code) in [
        (json!({}), "ValidationError"),
        (
            json!({ "Certificates": [{ "CertificateArn": certificate("bad") }] }),
            "CertificateNotFound",
        ),
        (
            json!({ "Certificates": good, "SslPolicy": "Mine" }),
            "SSLPolicyNotFound",
        ),
        (
            json!({ "Certificates": good, "SslPolicy": "ELBSecurityPolicy-TLS-1-1-2017-01" }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Certificates": good, "AlpnPolicy": ["None"] }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Certificates": good, "MutualAuthentication": { "Mode": "verify" } }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Certificates": [{ "CertificateArn": "arn:aws:acm:us-east-1:000000000000:certificate/small" }] }),
            "UnsupportedCertificate",
        ),
        (json!({ "Protocol": "HTTP", "Certificates": good }), "ValidationError"),
        (
            json!({ "Protocol": "HTTP", "SslPolicy": "ELBSecurityPolicy-TLS13-1-2-2021-06" }),
            "ValidationError",
        ),
        (json!({ "Protocol": "TCP" }), "ValidationError"),
        (json!({ "Protocol": "GENEVE" }), "UnsupportedProtocol"),
    ] {
        assert_eq!(
            world
                .refused("CreateListener", with(base.clone(), more.clone()))
                .await
                .0,
            code,
            "{more}"
        );
    }
    let made = world
        .call("CreateListener", with(base, json!({ "Certificates": good })))
        .await["Listeners"][0]
        .clone();
    assert_eq!(made["SslPolicy"], "ELBSecurityPolicy-2016-08");
    assert_eq!(made["Certificates"], good);
    assert_eq!(made["MutualAuthentication"]["Mode"], "off");
    assert_eq!(
        crate::users_of_certificate(&world.snapshot(), &certificate("good")),
        [balancer]
    );

    let listener = text(&made["ListenerArn"]);
    world
        .call("ModifyListener", json!({ "ListenerArn": listener, "Protocol": "HTTP" }))
        .await;
    let shown = world
        .call("DescribeListeners", json!({ "ListenerArns": [listener] }))
        .await["Listeners"][0]
        .clone();
    assert_eq!(
        (&shown["SslPolicy"], &shown["Certificates"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(
        crate::users_of_certificate(&world.snapshot(), &certificate("good")),
        Vec::<String>::new()
    );
}

#[tokio::test]
async fn further_certificates_come_and_go_but_for_the_default() {
    let world = World::new().await;
    let balancer = world.balancer("web", json!({})).await;
    let input = json!({
        "LoadBalancerArn": balancer, "Protocol": "HTTPS", "Port": 443, "DefaultActions": fixed(),
        "Certificates": [{ "CertificateArn": certificate("good") }],
    });
    let listener = text(&world.call("CreateListener", input).await["Listeners"][0]["ListenerArn"]);
    let list = |names: &[String]| {
        let all: Vec<Value> = names
            .iter()
            .map(|n| json!({ "CertificateArn": certificate(n) }))
            .collect();
        json!({ "ListenerArn": listener, "Certificates": all })
    };
    let more: Vec<String> = (1..=25).map(|n| format!("good{n}")).collect();
    world.call("AddListenerCertificates", list(&more)).await;
    world.call("AddListenerCertificates", list(&more)).await;
    let over = list(&["good26".to_owned()]);
    assert_eq!(
        world.refused("AddListenerCertificates", over).await.0,
        "TooManyCertificates"
    );
    let missing = list(&["bad".to_owned()]);
    assert_eq!(
        world.refused("AddListenerCertificates", missing).await.0,
        "CertificateNotFound"
    );
    let default = list(&["good".to_owned()]);
    assert_eq!(
        world.refused("RemoveListenerCertificates", default).await.0,
        "OperationNotPermitted"
    );
    world.call("RemoveListenerCertificates", list(&more[1..])).await;
    let shown = world
        .call("DescribeListenerCertificates", json!({ "ListenerArn": listener }))
        .await;
    let expected = json!([
        { "CertificateArn": certificate("good"), "IsDefault": true },
        { "CertificateArn": certificate("good1"), "IsDefault": false },
    ]);
    assert_eq!(shown["Certificates"], expected);
    assert_eq!(world.table().certificates.len(), 2);
}

#[tokio::test]
async fn a_target_group_serves_one_load_balancer_and_is_not_deleted_under_it() {
    let world = World::new().await;
    let (_, listener, group) = world.web().await;
    let other = world.balancer("other", json!({})).await;
    let input = json!({
        "LoadBalancerArn": other, "Protocol": "HTTP", "Port": 80,
        "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
    });
    let (code, message) = world.refused("CreateListener", input.clone()).await;
    assert_eq!(code, "TargetGroupAssociationLimit");
    assert!(message.ends_with(&group), "{message}");
    let (code, message) = world
        .refused("DeleteTargetGroup", json!({ "TargetGroupArn": group }))
        .await;
    assert_eq!(code, "ResourceInUse");
    assert_eq!(
        message,
        format!("Target group '{group}' is currently in use by a listener or a rule")
    );
    world.call("DeleteListener", json!({ "ListenerArn": listener })).await;
    world.call("CreateListener", input).await;
}

#[tokio::test]
async fn deleting_a_group_and_forwarding_to_it_at_once_leaves_no_dangling_listener() {
    let world = World::new().await;
    for round in 0..20 {
        let balancer = world.balancer(&format!("web{round}"), json!({})).await;
        let group = world.group(&format!("web{round}"), json!({})).await;
        let create = json!({
            "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 80,
            "DefaultActions": [{ "Type": "forward", "TargetGroupArn": group }],
        });
        let (created, deleted) = tokio::join!(
            world.try_call("CreateListener", create),
            world.try_call("DeleteTargetGroup", json!({ "TargetGroupArn": group })),
        );
        assert!(created.is_ok() != deleted.is_ok(), "{created:?} {deleted:?}");
    }
}

#[tokio::test]
async fn protocols_of_listeners_and_groups_go_together() {
    let world = World::new().await;
    let balancer = world.balancer("net", json!({ "Type": "network" })).await;
    let http = world.group("http", json!({})).await;
    let tcp = world.group("tcp", json!({ "Protocol": "TCP" })).await;
    let udp = world.group("udp", json!({ "Protocol": "UDP" })).await;
    let forward = |group: &str| json!([{ "Type": "forward", "TargetGroupArn": group }]);
    let input = |protocol: &str, port: u16, actions: Value| json!({ "LoadBalancerArn": balancer, "Protocol": protocol, "Port": port, "DefaultActions": actions });
    for (protocol, group) in [("TCP", &http), ("TCP", &udp), ("UDP", &tcp), ("TCP_UDP", &tcp)] {
        let refused = world
            .refused("CreateListener", input(protocol, 53, forward(group)))
            .await;
        assert_eq!(refused.0, "IncompatibleProtocols", "{protocol}");
    }
    world.call("CreateListener", input("TCP", 80, forward(&tcp))).await;
    world.call("CreateListener", input("UDP", 53, forward(&udp))).await;
    let refused = world.refused("CreateListener", input("TCP", 81, fixed())).await;
    assert_eq!(refused.0, "InvalidLoadBalancerAction");
    assert_eq!(
        world
            .refused("CreateListener", input("HTTP", 81, forward(&http)))
            .await
            .0,
        "ValidationError"
    );
}

#[tokio::test]
async fn a_network_load_balancer_weighs_groups_of_one_protocol() {
    let world = World::new().await;
    let balancer = world.balancer("net", json!({ "Type": "network" })).await;
    let (blue, green) = (
        world.group("blue", json!({ "Protocol": "TCP" })).await,
        world.group("green", json!({ "Protocol": "TCP" })).await,
    );
    let udp = world.group("udp", json!({ "Protocol": "UDP" })).await;
    let input = |other: &str, stickiness: Value| {
        let groups = json!([{ "TargetGroupArn": blue, "Weight": 9 }, { "TargetGroupArn": other, "Weight": 1 }]);
        let config = json!({ "TargetGroups": groups, "TargetGroupStickinessConfig": stickiness });
        json!({ "LoadBalancerArn": balancer, "Protocol": "TCP", "Port": 80, "DefaultActions": [{ "Type": "forward", "ForwardConfig": config }] })
    };
    let refused = world
        .refused("CreateListener", input(&udp, json!({ "Enabled": false })))
        .await;
    assert_eq!(refused.0, "IncompatibleProtocols");
    let timed = json!({ "Enabled": true, "DurationSeconds": 60 });
    let refused = world.refused("CreateListener", input(&green, timed)).await;
    assert_eq!(refused.0, "ValidationError");
    world
        .call("CreateListener", input(&green, json!({ "Enabled": true })))
        .await;
    let table = world.table();
    let action = &table.balancers[0].listeners[0].rules[0].action;
    let neargate_link::gateway::Action::Forward { groups, stickiness } = action else {
        panic!("{action:?}")
    };
    assert_eq!(groups, &[(blue.clone(), 9), (green.clone(), 1)]);
    assert!(stickiness.is_some());
}

#[tokio::test]
async fn listener_attributes_fit_the_protocol() {
    let world = World::new().await;
    let (_, listener, _) = world.web().await;
    let set =
        |key: &str, value: &str| json!({ "ListenerArn": listener, "Attributes": [{ "Key": key, "Value": value }] });
    let modify = "ModifyListenerAttributes";
    world
        .call(
            modify,
            set("routing.http.response.x_frame_options.header_value", "DENY"),
        )
        .await;
    world
        .call(modify, set("routing.http.response.server.enabled", "false"))
        .await;
    for (key, value, code) in [
        ("tcp.idle_timeout.seconds", "100", "ValidationError"),
        (
            "routing.http.response.x_frame_options.header_value",
            "MAYBE",
            "ValidationError",
        ),
        (
            "routing.http.response.content_security_policy.header_value",
            "a\r\nb",
            "ValidationError",
        ),
        (
            "routing.http.request.x_amzn_tls_version.header_name",
            "X-Tls",
            "ValidationError",
        ),
        (
            "routing.http.request.x_amzn_mtls_clientcert.header_name",
            "X-C",
            "InvalidConfigurationRequest",
        ),
        ("unknown", "1", "ValidationError"),
    ] {
        assert_eq!(world.refused(modify, set(key, value)).await.0, code, "{key}");
    }
    let held = world
        .call("DescribeListenerAttributes", json!({ "ListenerArn": listener }))
        .await;
    let server = json!({ "Key": "routing.http.response.server.enabled", "Value": "false" });
    assert!(held["Attributes"].as_array().unwrap().contains(&server));
    assert_eq!(
        world.table().balancers[0].listeners[0].attributes["routing.http.response.server.enabled"],
        "false"
    );
}

#[tokio::test]
async fn a_load_balancer_has_fifty_listeners_at_most() {
    let world = World::new().await;
    let (balancer, _, group) = world.web().await;
    for port in 1001..1050 {
        world.listener(&balancer, &group, port).await;
    }
    let input = json!({ "LoadBalancerArn": balancer, "Protocol": "HTTP", "Port": 2000, "DefaultActions": fixed() });
    assert_eq!(world.refused("CreateListener", input).await.0, "TooManyListeners");
    world
        .call("DeleteLoadBalancer", json!({ "LoadBalancerArn": balancer }))
        .await;
    assert!(!crate::in_use(&world.snapshot(), &group));
}
