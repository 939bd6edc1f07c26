//! Load balancers: made, found, changed, deleted, with their interfaces.

use super::*;
use neargate_ec2::InterfaceRecord;

fn interfaces(world: &World) -> Vec<InterfaceRecord> {
    let snapshot = world.snapshot();
    let all = snapshot.range::<InterfaceRecord>("").map(|(_, i)| (*i.record).clone());
    all.collect()
}

#[tokio::test]
async fn a_load_balancer_sits_in_its_subnets_and_leaves_nothing_behind() {
    let world = World::new().await;
    let input = json!({ "Name": "web", "Subnets": world.subnets[..2], "Tags": [{ "Key": "team", "Value": "a" }] });
    let made = world.call("CreateLoadBalancer", input).await["LoadBalancers"][0].clone();
    let arn = text(&made["LoadBalancerArn"]);
    assert!(
        arn.starts_with("arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/"),
        "{arn}"
    );
    let dns = text(&made["DNSName"]);
    let digits = dns
        .strip_prefix("web-")
        .and_then(|d| d.strip_suffix(".us-east-1.elb.localhost"))
        .unwrap();
    assert!(
        digits.len() == 10 && digits.bytes().all(|b| b.is_ascii_digit()),
        "{dns}"
    );
    assert_eq!(made["State"]["Code"], "active");
    assert_eq!(made["Scheme"], "internet-facing");
    assert_eq!(made["VpcId"], world.vpc.as_str());
    assert_eq!(made["AvailabilityZones"][1]["ZoneName"], "us-east-1b");
    let default = neargate_ec2::default_security_group(&world.snapshot(), REGION, &world.vpc).unwrap();
    assert_eq!(made["SecurityGroups"], json!([default.id]));
    let held = interfaces(&world);
    assert_eq!(held.len(), 2);
    let random = arn.rsplit('/').next().unwrap();
    for interface in &held {
        assert_eq!(interface.description, format!("ELB app/web/{random}"));
        assert!(interface.public_address.is_some());
    }
    world
        .call("DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }))
        .await;
    assert_eq!(interfaces(&world), []);
    world
        .call("DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }))
        .await;
    let (code, _) = world
        .refused("DescribeLoadBalancers", json!({ "LoadBalancerArns": [arn] }))
        .await;
    assert_eq!(code, "LoadBalancerNotFound");
}

#[tokio::test]
async fn making_one_again_answers_it_and_another_of_the_name_is_refused() {
    let world = World::new().await;
    let first = world.balancer("web", json!({})).await;
    assert_eq!(world.balancer("web", json!({})).await, first);
    let other = json!({ "Name": "web", "Subnets": world.subnets[..2], "Scheme": "internal" });
    let (code, message) = world.refused("CreateLoadBalancer", other).await;
    assert_eq!(code, "DuplicateLoadBalancerName");
    assert_eq!(
        message,
        "A load balancer with the same name 'web' exists, but with different settings"
    );
}

#[tokio::test]
async fn what_no_load_balancer_may_be_is_refused() {
    let world = World::new().await;
    let two = json!(world.subnets[..2]);
    let long = "a".repeat(33);
    for (input, code) in [
        (json!({ "Name": "-web", "Subnets": two }), "ValidationError"),
        (json!({ "Name": "internal-web", "Subnets": two }), "ValidationError"),
        (json!({ "Name": "we_b", "Subnets": two }), "ValidationError"),
        (json!({ "Name": long, "Subnets": two }), "ValidationError"),
        (json!({ "Name": "web" }), "ValidationError"),
        (
            json!({ "Name": "web", "Subnets": [world.subnets[0]] }),
            "ValidationError",
        ),
        (
            json!({ "Name": "web", "Subnets": [world.subnets[0], "subnet-0"] }),
            "SubnetNotFound",
        ),
        (
            json!({ "Name": "web", "Subnets": [world.subnets[0], world.subnets[0]] }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "SecurityGroups": ["sg-0"] }),
            "InvalidSecurityGroup",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "Type": "gateway" }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "IpAddressType": "dualstack" }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "Scheme": "secret" }),
            "ValidationError",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "SubnetMappings": [{ "SubnetId": world.subnets[2] }] }),
            "ValidationError",
        ),
        (
            json!({ "Name": "web", "Subnets": two, "Tags": [{ "Key": "a", "Value": "1" }, { "Key": "a", "Value": "2" }] }),
            "DuplicateTagKeys",
        ),
    ] {
        assert_eq!(
            world.refused("CreateLoadBalancer", input.clone()).await.0,
            code,
            "{input}"
        );
    }
    assert_eq!(interfaces(&world), []);
}

#[tokio::test]
async fn an_internal_network_load_balancer_takes_the_address_it_asks_for() {
    let world = World::new().await;
    let address = world.address(0, 77);
    let mappings = json!([{ "SubnetId": world.subnets[0], "PrivateIPv4Address": address }]);
    let input = json!({ "Name": "net", "Type": "network", "Scheme": "internal", "SubnetMappings": mappings });
    let made = world.call("CreateLoadBalancer", input).await["LoadBalancers"][0].clone();
    assert!(text(&made["DNSName"]).starts_with("internal-net-"));
    assert_eq!(made["SecurityGroups"], Value::Null);
    let shown = &made["AvailabilityZones"][0]["LoadBalancerAddresses"][0];
    assert_eq!(shown["PrivateIPv4Address"], address.as_str());
    let held = interfaces(&world);
    assert_eq!((held[0].address.to_string(), held[0].public_address), (address, None));
    assert_eq!(held[0].security_groups, Vec::<String>::new());
    // Asked for again it is the same, elsewhere another.
    let again = json!({ "Name": "net", "Type": "network", "Scheme": "internal", "SubnetMappings": mappings });
    let again = world.call("CreateLoadBalancer", again).await;
    assert_eq!(again["LoadBalancers"][0]["LoadBalancerArn"], made["LoadBalancerArn"]);
    let elsewhere = json!([{ "SubnetId": world.subnets[0], "PrivateIPv4Address": world.address(0, 78) }]);
    let input = json!({ "Name": "net", "Type": "network", "Scheme": "internal", "SubnetMappings": elsewhere });
    let (code, _) = world.refused("CreateLoadBalancer", input).await;
    assert_eq!(code, "DuplicateLoadBalancerName");
    let input = json!({ "Name": "two", "Type": "network", "Scheme": "internal", "SubnetMappings": mappings });
    let (code, message) = world.refused("CreateLoadBalancer", input).await;
    assert_eq!(code, "InvalidConfigurationRequest", "{message}");
    let outside = json!([{ "SubnetId": world.subnets[0], "PrivateIPv4Address": "8.8.8.8" }]);
    let input = json!({ "Name": "two", "Type": "network", "Scheme": "internal", "SubnetMappings": outside });
    assert_eq!(
        world.refused("CreateLoadBalancer", input).await.0,
        "InvalidConfigurationRequest"
    );
}

#[tokio::test]
async fn an_elastic_address_belongs_to_one_load_balancer_and_stays_after_it() {
    use neargate_ec2::records::AddressRecord;
    let world = World::new().await;
    let address = Ipv4Addr::new(198, 19, 0, 9);
    let elastic = AddressRecord {
        region: REGION.to_owned(),
        address,
        allocation_id: Some("eipalloc-1".to_owned()),
        association_id: None,
        interface_id: None,
        private_address: None,
        tags: neargate_core::Tags::default(),
    };
    let mut txn = neargate_store::Txn::new();
    txn.put(&AddressRecord::key(address), elastic.clone());
    world.elb.store.commit(txn).await.unwrap();
    let mappings = json!([{ "SubnetId": world.subnets[0], "AllocationId": "eipalloc-1" }]);
    let input = |name: &str| json!({ "Name": name, "Type": "network", "SubnetMappings": mappings });
    let made = world.call("CreateLoadBalancer", input("net")).await["LoadBalancers"][0].clone();
    let shown = &made["AvailabilityZones"][0]["LoadBalancerAddresses"][0];
    assert_eq!(
        (&shown["AllocationId"], &shown["IpAddress"]),
        (&json!("eipalloc-1"), &json!("198.19.0.9"))
    );
    assert_eq!(interfaces(&world)[0].public_address, Some(address));
    assert_eq!(
        world.refused("CreateLoadBalancer", input("two")).await.0,
        "ResourceInUse"
    );
    world
        .call(
            "DeleteLoadBalancer",
            json!({ "LoadBalancerArn": made["LoadBalancerArn"] }),
        )
        .await;
    let left = world
        .snapshot()
        .get::<AddressRecord>(&AddressRecord::key(address))
        .unwrap();
    assert_eq!(*left.record, elastic);
}

#[tokio::test]
async fn attributes_do_as_they_say_or_are_refused() {
    let world = World::new().await;
    let arn = world.balancer("web", json!({})).await;
    let set = |pairs: Value| {
        let pairs = pairs
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| json!({ "Key": k, "Value": v }))
            .collect::<Vec<_>>();
        json!({ "LoadBalancerArn": arn, "Attributes": pairs })
    };
    let modify = "ModifyLoadBalancerAttributes";
    world
        .call(
            modify,
            set(json!({ "idle_timeout.timeout_seconds": "120", "deletion_protection.enabled": "true" })),
        )
        .await;
    let held = world
        .call("DescribeLoadBalancerAttributes", json!({ "LoadBalancerArn": arn }))
        .await;
    let held = held["Attributes"].as_array().unwrap().clone();
    let of = |key: &str| held.iter().find(|a| a["Key"] == key).map(|a| text(&a["Value"]));
    assert_eq!(of("idle_timeout.timeout_seconds").as_deref(), Some("120"));
    assert_eq!(of("routing.http2.enabled").as_deref(), Some("true"));
    assert_eq!(of("load_balancing.cross_zone.enabled").as_deref(), Some("true"));
    for (pairs, code) in [
        (json!({ "idle_timeout.timeout_seconds": "0" }), "ValidationError"),
        (json!({ "idle_timeout.timeout_seconds": "4001" }), "ValidationError"),
        (json!({ "no.such.thing": "true" }), "ValidationError"),
        (
            json!({ "dns_record.client_routing_policy": "any_availability_zone" }),
            "ValidationError",
        ),
        (
            json!({ "waf.fail_open.enabled": "true" }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "zonal_shift.config.enabled": "true" }),
            "InvalidConfigurationRequest",
        ),
        (
            json!({ "connection_logs.s3.enabled": "true" }),
            "InvalidConfigurationRequest",
        ),
        (json!({ "access_logs.s3.enabled": "true" }), "ValidationError"),
        (json!({ "access_logs.s3.bucket": "../up" }), "ValidationError"),
        (json!({ "access_logs.s3.prefix": "a/../../b" }), "ValidationError"),
        (
            json!({ "routing.http.desync_mitigation_mode": "off" }),
            "ValidationError",
        ),
    ] {
        assert_eq!(world.refused(modify, set(pairs.clone())).await.0, code, "{pairs}");
    }
    let (code, message) = world
        .refused("DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }))
        .await;
    assert_eq!(code, "OperationNotPermitted");
    assert!(
        message.contains("cannot be deleted because deletion protection is enabled"),
        "{message}"
    );
    world
        .call(modify, set(json!({ "deletion_protection.enabled": "false" })))
        .await;
    world
        .call("DeleteLoadBalancer", json!({ "LoadBalancerArn": arn }))
        .await;
}

#[tokio::test]
async fn subnets_and_groups_change_with_the_interfaces() {
    let world = World::new().await;
    let arn = world.balancer("web", json!({})).await;
    let kept = interfaces(&world)
        .into_iter()
        .find(|i| i.subnet_id == world.subnets[1])
        .unwrap();
    let input = json!({ "LoadBalancerArn": arn, "Subnets": world.subnets[1..] });
    let zones = world.call("SetSubnets", input).await["AvailabilityZones"].clone();
    assert_eq!(
        (&zones[0]["ZoneName"], &zones[1]["ZoneName"]),
        (&json!("us-east-1b"), &json!("us-east-1c"))
    );
    let now = interfaces(&world);
    assert_eq!(now.len(), 2);
    assert!(now.contains(&kept), "the address in a subnet that stays is kept");
    let input = json!({ "LoadBalancerArn": arn, "Subnets": world.subnets[..1] });
    assert_eq!(world.refused("SetSubnets", input).await.0, "ValidationError");
    let none = json!({ "LoadBalancerArn": arn, "SecurityGroups": [] });
    assert_eq!(world.refused("SetSecurityGroups", none).await.0, "ValidationError");
    let other = json!({ "LoadBalancerArn": arn, "IpAddressType": "dualstack" });
    assert_eq!(
        world.refused("SetIpAddressType", other).await.0,
        "InvalidConfigurationRequest"
    );
}

#[tokio::test]
async fn all_are_described_in_pages() {
    let world = World::new().await;
    for name in ["a", "b", "c"] {
        world.balancer(name, json!({})).await;
    }
    let mut seen = Vec::new();
    let mut marker = Value::Null;
    loop {
        let input = json!({ "PageSize": 2, "Marker": marker });
        let page = world.call("DescribeLoadBalancers", input).await;
        seen.extend(
            page["LoadBalancers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|b| text(&b["LoadBalancerName"])),
        );
        marker = page["NextMarker"].clone();
        if marker.is_null() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
    let (code, message) = world.refused("DescribeLoadBalancers", json!({ "Names": ["d"] })).await;
    assert_eq!(
        (code.as_str(), message.as_str()),
        ("LoadBalancerNotFound", "Load balancers '[d]' not found")
    );
    assert_eq!(
        world.refused("DescribeLoadBalancers", json!({ "Marker": "x" })).await.0,
        "ValidationError"
    );
    assert_eq!(
        world
            .refused("DescribeLoadBalancers", json!({ "PageSize": 401 }))
            .await
            .0,
        "ValidationError"
    );
}

#[tokio::test]
async fn tags_belong_to_every_kind_of_resource() {
    let world = World::new().await;
    let (balancer, listener, group) = world.web().await;
    let rules = world.call("DescribeRules", json!({ "ListenerArn": listener })).await;
    let rule = text(&rules["Rules"][0]["RuleArn"]);
    let all = json!([balancer, listener, group, rule]);
    let tags = json!([{ "Key": "a", "Value": "1" }, { "Key": "b", "Value": "" }]);
    world
        .call("AddTags", json!({ "ResourceArns": all, "Tags": tags }))
        .await;
    world
        .call("RemoveTags", json!({ "ResourceArns": all, "TagKeys": ["b", "none"] }))
        .await;
    let described = world.call("DescribeTags", json!({ "ResourceArns": all })).await;
    let described = described["TagDescriptions"].as_array().unwrap();
    assert_eq!(described.len(), 4);
    for one in described {
        assert_eq!(one["Tags"], json!([{ "Key": "a", "Value": "1" }]));
    }
    let gone = listener.replace("/web/", "/gone/");
    let input = json!({ "ResourceArns": [balancer, gone], "Tags": [{ "Key": "c", "Value": "1" }] });
    assert_eq!(world.refused("AddTags", input).await.0, "ListenerNotFound");
    let many: Vec<Value> = (0..50)
        .map(|n| json!({ "Key": format!("k{n}"), "Value": "v" }))
        .collect();
    let input = json!({ "ResourceArns": [balancer], "Tags": many });
    assert_eq!(world.refused("AddTags", input).await.0, "TooManyTags");
}

#[tokio::test]
async fn limits_and_policies_are_listed() {
    let world = World::new().await;
    let limits = world.call("DescribeAccountLimits", json!({})).await;
    let limits = limits["Limits"].as_array().unwrap().clone();
    assert!(limits.contains(&json!({ "Name": "rules-per-application-load-balancer", "Max": "100" })));
    let policies = world
        .call(
            "DescribeSSLPolicies",
            json!({ "Names": ["ELBSecurityPolicy-TLS13-1-2-2021-06"] }),
        )
        .await;
    assert_eq!(
        policies["SslPolicies"][0]["SslProtocols"],
        json!(["TLSv1.2", "TLSv1.3"])
    );
    let refused = world.refused("DescribeSSLPolicies", json!({ "Names": ["Mine"] })).await;
    assert_eq!(refused.0, "SSLPolicyNotFound");
    let old = json!({ "Names": ["ELBSecurityPolicy-TLS-1-0-2015-04"] });
    let (_, message) = world.refused("DescribeSSLPolicies", old).await;
    assert!(message.contains("ELBSecurityPolicy-TLS-1-0-2015-04"), "{message}");
}

#[tokio::test]
async fn without_an_internet_gateway_there_is_only_internal() {
    use neargate_ec2::records::InternetGatewayRecord;
    let world = World::new().await;
    let snapshot = world.snapshot();
    let (key, gateway) = snapshot.range::<InternetGatewayRecord>("").next().unwrap();
    let mut detached = (*gateway.record).clone();
    detached.vpc_id = None;
    let mut txn = neargate_store::Txn::new();
    txn.put(key, detached);
    world.elb.store.commit(txn).await.unwrap();
    let input = json!({ "Name": "web", "Subnets": world.subnets[..2] });
    let (code, message) = world.refused("CreateLoadBalancer", input).await;
    assert_eq!(
        (code.as_str(), message),
        ("InvalidSubnet", format!("VPC {} has no internet gateway", world.vpc))
    );
    world.balancer("web", json!({ "Scheme": "internal" })).await;
}
