//! Security groups and their rules.

use crate::world::{World, each, filter};
use neargate_ec2::network;
use neargate_link::network::{GroupEntry, NetworkEntry, Peer, Traffic};
use serde_json::{Value, json};

fn tcp(port: i32, cidr: &str) -> Value {
    json!({"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": cidr}]})
}

fn told(world: &World, id: &str) -> GroupEntry {
    let table = network::table(&world.ec2.store.snapshot());
    let found = table.into_iter().find_map(|entry| match entry {
        NetworkEntry::Group(group) if group.id == id => Some(group),
        _ => None,
    });
    found.expect("nodes are told of the group")
}

async fn described(world: &World, id: &str) -> Value {
    world.ok("DescribeSecurityGroups", json!({"GroupIds": [id]})).await["SecurityGroups"][0].clone()
}

#[tokio::test]
async fn a_fresh_group_lets_everything_out_and_nothing_in() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let group = described(&world, &id).await;
    assert_eq!(group["IpPermissions"], json!([]));
    assert_eq!(group["IpPermissionsEgress"][0]["IpRanges"][0]["CidrIp"], "0.0.0.0/0");
    assert_eq!(group["IpPermissionsEgress"][0]["IpProtocol"], "-1");
    let entry = told(&world, &id);
    assert!(entry.ingress.is_empty());
    assert_eq!(entry.egress[0].traffic, Traffic::Any);
}

#[tokio::test]
async fn names_are_unique_in_a_vpc_and_some_are_refused() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    world.group(&vpc, "web").await;
    let other = world.vpc("10.1.0.0/16").await;
    world.group(&other, "web").await;
    let make = |name: &str| json!({"VpcId": vpc, "GroupName": name, "Description": "d"});
    for (input, expected) in [
        (
            make("web"),
            format!("InvalidGroup.Duplicate: The security group 'web' already exists for VPC '{vpc}'"),
        ),
        (
            make("Web"),
            format!("InvalidGroup.Duplicate: The security group 'Web' already exists for VPC '{vpc}'"),
        ),
        (
            make("default"),
            "InvalidParameterValue: Cannot use reserved security group name: default".to_owned(),
        ),
        (
            make("sg-web"),
            "InvalidParameterValue: Value (sg-web) for parameter groupName is invalid. Group names may not be in the \
             format sg-*."
                .to_owned(),
        ),
        (
            json!({"VpcId": "vpc-0", "GroupName": "x", "Description": "d"}),
            "InvalidVpcID.NotFound: The vpc ID 'vpc-0' does not exist".to_owned(),
        ),
    ] {
        assert_eq!(world.refused("CreateSecurityGroup", input).await, expected);
    }
}

#[tokio::test]
async fn rules_are_added_once_and_reach_nodes() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let input = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0"), tcp(443, "10.1.2.3/8")]});
    let made = world.ok("AuthorizeSecurityGroupIngress", input).await;
    assert_eq!(made["Return"], true);
    assert_eq!(
        each(&made["SecurityGroupRules"], "CidrIpv4"),
        ["0.0.0.0/0", "10.0.0.0/8"]
    );
    assert!(
        made["SecurityGroupRules"][0]["SecurityGroupRuleId"]
            .as_str()
            .unwrap()
            .starts_with("sgr-")
    );
    // The older members name one rule.
    let flat = json!({"GroupId": id, "IpProtocol": "udp", "FromPort": 53, "ToPort": 53, "CidrIp": "10.0.0.0/16"});
    world.ok("AuthorizeSecurityGroupIngress", flat.clone()).await;
    let entry = told(&world, &id);
    let traffic: Vec<Traffic> = entry.ingress.iter().map(|r| r.traffic).collect();
    assert_eq!(
        traffic,
        [Traffic::Tcp(80, 80), Traffic::Tcp(443, 443), Traffic::Udp(53, 53)]
    );
    for (input, expected) in [
        (
            json!({"GroupId": id, "IpPermissions": [tcp(22, "1.2.3.4/32"), tcp(80, "0.0.0.0/0")]}),
            "InvalidPermission.Duplicate: the specified rule \"peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, \
             ALLOW\" already exists",
        ),
        (
            flat,
            "InvalidPermission.Duplicate: the specified rule \"peer: 10.0.0.0/16, UDP, from port: 53, to port: 53, \
             ALLOW\" already exists",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [tcp(22, "1.2.3.4/32"), tcp(22, "1.2.3.4/32")]}),
            "InvalidParameterValue: The same permission must not appear multiple times",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [tcp(22, "1.2.3/32")]}),
            "InvalidParameterValue: CIDR block 1.2.3/32 is malformed",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [tcp(70000, "1.2.3.4/32")]}),
            "InvalidParameterValue: Invalid TCP/UDP port (70000)",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 9, "ToPort": 8,
                                                      "IpRanges": [{"CidrIp": "1.2.3.4/32"}]}]}),
            "InvalidParameterValue: Invalid TCP/UDP port range (9:8)",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "sg-0"}]}]}),
            "InvalidGroup.NotFound: The security group 'sg-0' does not exist",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": "pl-0"}]}]}),
            "InvalidPrefixListId.NotFound: The prefix list ID 'pl-0' does not exist",
        ),
        (
            json!({"GroupId": "sg-0", "IpPermissions": [tcp(1, "1.2.3.4/32")]}),
            "InvalidGroup.NotFound: The security group 'sg-0' does not exist",
        ),
        (
            json!({"GroupId": id}),
            "MissingParameter: The request must contain the parameter ipPermissions",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1"}]}),
            "MissingParameter: Missing source specification: include source security group or CIDR information",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "06", "FromPort": 22, "ToPort": 22,
                                                      "IpRanges": [{"CidrIp": "1.2.3.4/32"}]}]}),
            "InvalidParameterValue: Invalid value '06' for IP protocol. Unknown protocol.",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [tcp(22, "1.2.3.4/+32")]}),
            "InvalidParameterValue: CIDR block 1.2.3.4/+32 is malformed",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [tcp(22, "1.2.3.4/32")], "ToPort": 2}),
            "InvalidParameterCombination: The parameter 'ipPermissions' may not be used together with 'ipProtocol', \
             'fromPort', 'toPort', 'cidrIp' or a source group.",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": "web"}]}]}),
            "InvalidGroupId.Malformed: Invalid id: \"web\" (expecting \"sg-...\")",
        ),
        (
            json!({"GroupId": id, "IpPermissions": [{"IpProtocol": "-1",
                   "UserIdGroupPairs": [{"GroupId": id, "VpcId": "vpc-0"}]}]}),
            "InvalidGroup.NotFound: You have specified two resources that belong to different networks.",
        ),
        (
            json!({"GroupId": id, "GroupName": "web", "IpPermissions": [tcp(22, "1.2.3.4/32")]}),
            "InvalidParameterCombination: The parameter groupId cannot be used with the parameter groupName",
        ),
        (
            json!({"GroupId": id, "CidrIp": "1.2.3.4/32", "SourceSecurityGroupName": "default"}),
            "InvalidParameterCombination: The parameter cidrIp cannot be used with the parameter \
             sourceSecurityGroupName",
        ),
    ] {
        assert_eq!(world.refused("AuthorizeSecurityGroupIngress", input).await, expected);
    }
}

#[tokio::test]
async fn at_most_sixty_rules_in_a_direction() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let some = |from: i32, to: i32| -> Vec<Value> { (from..to).map(|port| tcp(port, "0.0.0.0/0")).collect() };
    let input = json!({"GroupId": id, "IpPermissions": some(1, 60)});
    world.ok("AuthorizeSecurityGroupIngress", input).await;
    let input = json!({"GroupId": id, "IpPermissions": some(60, 62)});
    let refused = world.refused("AuthorizeSecurityGroupIngress", input).await;
    let expected =
        "RulesPerSecurityGroupLimitExceeded: The maximum number of rules per security group has been reached.";
    assert_eq!(refused, expected);
    // IPv6 rules are counted by themselves.
    let v6 = json!([{"IpProtocol": "-1", "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}]);
    let input = json!({"GroupId": id, "IpPermissions": v6});
    world.ok("AuthorizeSecurityGroupIngress", input).await;
    // A prefix list counts as many as it may have entries.
    let list = world.prefix_list(&["192.0.2.0/24"]).await;
    let lists = json!([{"IpProtocol": "-1", "PrefixListIds": [{"PrefixListId": list}]}]);
    let input = json!({"GroupId": id, "IpPermissions": lists});
    assert_eq!(
        world.refused("AuthorizeSecurityGroupIngress", input.clone()).await,
        expected
    );
    world.ok("AuthorizeSecurityGroupEgress", input).await;
}

#[tokio::test]
async fn rules_go_by_what_they_say_or_by_id() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let described = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                           "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "all"}]});
    let input = json!({"GroupId": id, "IpPermissions": [described, tcp(81, "0.0.0.0/0")]});
    let made = world.ok("AuthorizeSecurityGroupIngress", input).await;
    let second = made["SecurityGroupRules"][1]["SecurityGroupRuleId"].clone();
    let both = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0"), tcp(99, "0.0.0.0/0")]});
    let refused = world.refused("RevokeSecurityGroupIngress", both).await;
    assert_eq!(
        refused,
        "InvalidPermission.NotFound: The specified rule does not exist in this security group."
    );
    // Descriptions do not matter.
    let input = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0")]});
    let gone = world.ok("RevokeSecurityGroupIngress", input).await;
    assert_eq!(gone["RevokedSecurityGroupRules"][0]["FromPort"], 80);
    let by_id = json!({"GroupId": id, "SecurityGroupRuleIds": [second]});
    let refused = world.refused("RevokeSecurityGroupEgress", by_id.clone()).await;
    assert!(refused.starts_with("InvalidSecurityGroupRuleId.NotFound: The security group rule ID 'sgr-"));
    let mut twice = by_id.clone();
    twice["IpPermissions"] = json!([tcp(81, "0.0.0.0/0")]);
    let refused = world.refused("RevokeSecurityGroupIngress", twice).await;
    assert!(refused.starts_with("InvalidParameterCombination: "), "{refused}");
    let neither = json!({"GroupId": id});
    assert_eq!(
        world.refused("RevokeSecurityGroupIngress", neither).await,
        "MissingParameter: Either 'ipPermissions' or 'securityGroupRuleIds' should be provided."
    );
    world.ok("RevokeSecurityGroupIngress", by_id).await;
    assert!(told(&world, &id).ingress.is_empty());
}

#[tokio::test]
async fn in_a_default_vpc_unknown_rules_are_listed_instead_of_refused() {
    let world = World::new().await;
    let vpcs = world.ok("DescribeVpcs", filter("is-default", "true")).await;
    let id = world.group(vpcs["Vpcs"][0]["VpcId"].as_str().unwrap(), "web").await;
    let input = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0")]});
    world.ok("AuthorizeSecurityGroupIngress", input).await;
    let both = json!({"GroupName": "web", "IpPermissions": [tcp(80, "0.0.0.0/0"), tcp(99, "0.0.0.0/0")]});
    let gone = world.ok("RevokeSecurityGroupIngress", both).await;
    assert_eq!(gone["RevokedSecurityGroupRules"].as_array().unwrap().len(), 1);
    assert_eq!(gone["UnknownIpPermissions"][0]["FromPort"], 99);
    assert_eq!(gone["UnknownIpPermissions"][0]["IpRanges"][0]["CidrIp"], "0.0.0.0/0");
}

#[tokio::test]
async fn a_rule_keeps_its_id_and_tags_when_it_changes() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let tags = json!([{"ResourceType": "security-group-rule", "Tags": [{"Key": "k", "Value": "v"}]}]);
    let input = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0")], "TagSpecifications": tags});
    let made = world.ok("AuthorizeSecurityGroupIngress", input).await;
    let rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"].clone();
    let input = json!({"GroupId": id, "IpPermissions": [tcp(81, "0.0.0.0/0")]});
    world.ok("AuthorizeSecurityGroupIngress", input).await;
    let change = |request: Value| {
        json!({"GroupId": id,
               "SecurityGroupRules": [{"SecurityGroupRuleId": rule, "SecurityGroupRule": request}]})
    };
    let request = json!({"IpProtocol": "tcp", "FromPort": 443, "ToPort": 443, "CidrIpv4": "10.0.0.0/8",
                         "Description": "inside"});
    world.ok("ModifySecurityGroupRules", change(request)).await;
    let rules = world
        .ok("DescribeSecurityGroupRules", json!({"SecurityGroupRuleIds": [rule]}))
        .await;
    let rule = &rules["SecurityGroupRules"][0];
    assert_eq!(
        (&rule["FromPort"], &rule["CidrIpv4"]),
        (&json!(443), &json!("10.0.0.0/8"))
    );
    assert_eq!(rule["Description"], "inside");
    assert_eq!(rule["Tags"], json!([{"Key": "k", "Value": "v"}]));
    for (request, code) in [
        (
            json!({"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, "CidrIpv4": "0.0.0.0/0"}),
            "InvalidPermission.Duplicate",
        ),
        (
            json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1}),
            "InvalidParameterCombination",
        ),
        (
            json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "CidrIpv4": "0.0.0.0/0", "Description": "ä"}),
            "InvalidParameterValue: Invalid rule description",
        ),
        (
            json!({"IpProtocol": "tcp", "FromPort": 1, "ToPort": 1, "CidrIpv6": "::/0"}),
            "InvalidParameterValue: The type of the security group rule",
        ),
    ] {
        let refused = world.refused("ModifySecurityGroupRules", change(request)).await;
        assert!(refused.starts_with(code), "{refused}");
    }
}

#[tokio::test]
async fn descriptions_change_by_id_and_by_what_rules_say() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let id = world.group(&vpc, "web").await;
    let input = json!({"GroupId": id, "IpPermissions": [tcp(80, "0.0.0.0/0")]});
    let made = world.ok("AuthorizeSecurityGroupIngress", input).await;
    let rule = made["SecurityGroupRules"][0]["SecurityGroupRuleId"].clone();
    let by_id = json!([{"SecurityGroupRuleId": rule, "Description": "one"}]);
    let input = json!({"GroupId": id, "SecurityGroupRuleDescriptions": by_id});
    world.ok("UpdateSecurityGroupRuleDescriptionsIngress", input).await;
    let group = described(&world, &id).await;
    assert_eq!(group["IpPermissions"][0]["IpRanges"][0]["Description"], "one");
    let odd = json!([{"SecurityGroupRuleId": rule, "Description": "<b>"}]);
    let input = json!({"GroupId": id, "SecurityGroupRuleDescriptions": odd});
    let refused = world.refused("UpdateSecurityGroupRuleDescriptionsIngress", input).await;
    assert!(
        refused.starts_with("InvalidParameterValue: Invalid rule description"),
        "{refused}"
    );
    let two = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80,
                     "IpRanges": [{"CidrIp": "0.0.0.0/0", "Description": "two"}]});
    let input = json!({"GroupId": id, "IpPermissions": [two]});
    world.ok("UpdateSecurityGroupRuleDescriptionsIngress", input).await;
    let group = described(&world, &id).await;
    assert_eq!(group["IpPermissions"][0]["IpRanges"][0]["Description"], "two");
    let input = json!({"GroupId": id, "IpPermissions": [tcp(81, "0.0.0.0/0")]});
    let refused = world.refused("UpdateSecurityGroupRuleDescriptionsIngress", input).await;
    assert!(refused.starts_with("InvalidPermission.NotFound"), "{refused}");
}

#[tokio::test]
async fn groups_refer_to_groups_and_prefix_lists() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let (web, app) = (world.group(&vpc, "web").await, world.group(&vpc, "app").await);
    let list = world.prefix_list(&["192.0.2.0/24", "198.51.100.0/24"]).await;
    let permissions = json!([
        {"IpProtocol": "tcp", "FromPort": 8080, "ToPort": 8080,
         "UserIdGroupPairs": [{"GroupId": web}, {"GroupId": app}], "PrefixListIds": [{"PrefixListId": list}]},
        {"IpProtocol": "icmp", "FromPort": 8, "ToPort": -1, "Ipv6Ranges": [{"CidrIpv6": "2001:db8::/32"}]}]);
    let input = json!({"GroupId": app, "IpPermissions": permissions});
    world.ok("AuthorizeSecurityGroupIngress", input).await;
    let peers: Vec<Peer> = told(&world, &app).ingress.into_iter().map(|r| r.peer).collect();
    let range = |text: &str| Peer::Range((text.parse().unwrap(), 24));
    assert_eq!(peers.len(), 4, "IPv6 means nothing to tasks: {peers:?}");
    for peer in [
        range("192.0.2.0"),
        range("198.51.100.0"),
        Peer::Group(web.clone()),
        Peer::Group(app.clone()),
    ] {
        assert!(peers.contains(&peer), "{peer:?}");
    }
    let rules = world.ok("DescribeSecurityGroupRules", filter("group-id", &app)).await;
    let referenced = rules["SecurityGroupRules"].as_array().unwrap().iter();
    let referenced = referenced
        .filter(|r| r["ReferencedGroupInfo"]["GroupId"] == json!(web))
        .count();
    assert_eq!(referenced, 1);
    let found = world
        .ok("DescribeSecurityGroups", filter("ip-permission.group-id", &web))
        .await;
    assert_eq!(each(&found["SecurityGroups"], "GroupId"), [app.as_str()]);
    let found = world
        .ok("DescribeSecurityGroups", filter("ip-permission.prefix-list-id", &list))
        .await;
    assert_eq!(each(&found["SecurityGroups"], "GroupId"), [app.as_str()]);

    let refused = world.refused("DeleteSecurityGroup", json!({"GroupId": web})).await;
    assert_eq!(
        refused,
        format!("DependencyViolation: resource {web} has a dependent object")
    );
    let refused = world
        .refused("DeleteManagedPrefixList", json!({"PrefixListId": list}))
        .await;
    assert!(refused.starts_with("DependencyViolation"), "{refused}");
    // A group that only refers to itself goes.
    world.ok("DeleteSecurityGroup", json!({"GroupId": app})).await;
    world.ok("DeleteSecurityGroup", json!({"GroupId": web})).await;
    world.ok("DeleteManagedPrefixList", json!({"PrefixListId": list})).await;
}

#[tokio::test]
async fn groups_of_another_vpc_cannot_be_named() {
    let world = World::new().await;
    let (vpc, other) = (world.vpc("10.0.0.0/16").await, world.vpc("10.1.0.0/16").await);
    let (web, stranger) = (world.group(&vpc, "web").await, world.group(&other, "web").await);
    let pairs = json!([{"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": stranger}]}]);
    let input = json!({"GroupId": web, "IpPermissions": pairs});
    let refused = world.refused("AuthorizeSecurityGroupIngress", input).await;
    assert_eq!(
        refused,
        "InvalidGroup.NotFound: You have specified two resources that belong to different networks."
    );
}

#[tokio::test]
async fn the_default_group_stays_while_its_vpc_does() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let groups = world.ok("DescribeSecurityGroups", filter("vpc-id", &vpc)).await;
    let id = groups["SecurityGroups"][0]["GroupId"].as_str().unwrap().to_owned();
    let refused = world.refused("DeleteSecurityGroup", json!({"GroupId": id})).await;
    assert_eq!(
        refused,
        format!("CannotDelete: the specified group: \"{id}\" name: \"default\" cannot be deleted by a user")
    );
    world.ok("DeleteVpc", json!({"VpcId": vpc})).await;
    let refused = world.refused("DescribeSecurityGroups", json!({"GroupIds": [id]})).await;
    assert_eq!(
        refused,
        format!("InvalidGroup.NotFound: The security group '{id}' does not exist")
    );
}
