//! Tags: on creation, afterwards, in filters, and where there are none.

use crate::world::{World, each, filter};
use serde_json::{Value, json};

fn on(kind: &str) -> Value {
    json!([{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": "x"}]}])
}

#[tokio::test]
async fn everything_is_tagged_on_creation_and_found_by_its_tag() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.9.0/24").await;
    let group = world.group(&vpc, "g").await;
    let permission = json!({"IpProtocol": "-1", "IpRanges": [{"CidrIp": "10.0.0.0/8"}]});
    let creations = [
        ("vpc", "CreateVpc", json!({"CidrBlock": "10.1.0.0/16"})),
        (
            "subnet",
            "CreateSubnet",
            json!({"VpcId": vpc, "CidrBlock": "10.0.0.0/24"}),
        ),
        ("route-table", "CreateRouteTable", json!({"VpcId": vpc})),
        ("internet-gateway", "CreateInternetGateway", json!({})),
        (
            "natgateway",
            "CreateNatGateway",
            json!({"SubnetId": subnet, "ConnectivityType": "private"}),
        ),
        ("elastic-ip", "AllocateAddress", json!({})),
        (
            "network-interface",
            "CreateNetworkInterface",
            json!({"SubnetId": subnet}),
        ),
        (
            "security-group",
            "CreateSecurityGroup",
            json!({"VpcId": vpc, "GroupName": "h", "Description": "d"}),
        ),
        (
            "security-group-rule",
            "AuthorizeSecurityGroupIngress",
            json!({"GroupId": group, "IpPermissions": [permission]}),
        ),
        (
            "prefix-list",
            "CreateManagedPrefixList",
            json!({"PrefixListName": "l", "AddressFamily": "IPv4", "MaxEntries": 1}),
        ),
        (
            "vpc-endpoint",
            "CreateVpcEndpoint",
            json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.dynamodb"}),
        ),
    ];
    for (kind, operation, mut input) in creations {
        input["TagSpecifications"] = on("volume");
        let refused = world.refused(operation, input.clone()).await;
        assert_eq!(
            refused,
            "InvalidParameterValue: 'volume' is not a valid taggable resource type for this operation."
        );
        input["TagSpecifications"] = on(kind);
        world.ok(operation, input).await;
        let found = world.ok("DescribeTags", filter("resource-type", kind)).await;
        assert_eq!(found["Tags"][0]["Key"], "Name", "{kind}");
        let id = found["Tags"][0]["ResourceId"].clone();
        let input = json!({"Resources": [id], "Tags": [{"Key": "Name", "Value": "y"}, {"Key": "k", "Value": ""}]});
        world.ok("CreateTags", input).await;
        let found = world
            .ok("DescribeTags", filter("resource-id", id.as_str().unwrap()))
            .await;
        assert_eq!(each(&found["Tags"], "Value"), ["y", ""], "{kind}");
        // Another value than it has removes nothing.
        let input = json!({"Resources": [id], "Tags": [{"Key": "Name", "Value": "x"}, {"Key": "k"}]});
        world.ok("DeleteTags", input).await;
        let found = world
            .ok("DescribeTags", filter("resource-id", id.as_str().unwrap()))
            .await;
        assert_eq!(each(&found["Tags"], "Key"), ["Name"], "{kind}");
    }
    let vpcs = world.ok("DescribeVpcs", filter("tag:Name", "y")).await;
    assert_eq!(each(&vpcs["Vpcs"], "CidrBlock"), ["10.1.0.0/16"]);
    let tables = world.ok("DescribeRouteTables", filter("tag-key", "Name")).await;
    assert_eq!(tables["RouteTables"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn all_resources_are_tagged_or_none() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let tag = |ids: &[&str], key: &str| json!({"Resources": ids, "Tags": [{"Key": key, "Value": "v"}]});
    for (input, expected) in [
        (
            tag(&[&vpc, "subnet-0"], "k"),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-0' does not exist".to_owned(),
        ),
        (tag(&["what"], "k"), "InvalidID: The ID 'what' is not valid".to_owned()),
        (
            tag(&[&vpc], "aws:k"),
            "InvalidParameterValue: Tag keys starting with 'aws:' are reserved for internal use".to_owned(),
        ),
    ] {
        assert_eq!(world.refused("CreateTags", input).await, expected);
    }
    let many: Vec<Value> = (0..51).map(|n| json!({"Key": format!("k{n}"), "Value": ""})).collect();
    let input = json!({"Resources": [vpc], "Tags": many});
    let refused = world.refused("CreateTags", input).await;
    assert!(refused.starts_with("TagLimitExceeded: "), "{refused}");
    let twice = json!([{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}]);
    let input = json!({"CidrBlock": "10.1.0.0/16", "TagSpecifications": twice});
    let refused = world.refused("CreateVpc", input).await;
    assert_eq!(refused, "InvalidParameterValue: Duplicate tag key 'a' specified.");
    world.ok("CreateTags", tag(&[&vpc, &vpc], "k")).await;
    // Without tags named, all go.
    world.ok("DeleteTags", json!({"Resources": [vpc]})).await;
    assert_eq!(world.ok("DescribeTags", json!({})).await["Tags"], json!([]));
}
