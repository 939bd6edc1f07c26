//! VPC endpoints and prefix lists.

use crate::world::{World, each, filter};
use serde_json::json;

#[tokio::test]
async fn a_gateway_endpoint_brings_its_routes_and_takes_them_along() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let main = world.main_table(&vpc).await;
    let input = json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": [main],
                       "ClientToken": "t"});
    let made = world.ok("CreateVpcEndpoint", input.clone()).await;
    let id = made["VpcEndpoint"]["VpcEndpointId"].clone();
    assert_eq!(made["VpcEndpoint"]["State"], "available");
    let again = world.ok("CreateVpcEndpoint", input).await;
    assert_eq!(again["VpcEndpoint"]["VpcEndpointId"], id);
    let second = json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": [main]});
    let refused = world.refused("CreateVpcEndpoint", second).await;
    assert!(refused.starts_with("RouteAlreadyExists: "), "{refused}");
    let lists = world
        .ok(
            "DescribePrefixLists",
            filter("prefix-list-name", "com.amazonaws.us-east-1.s3"),
        )
        .await;
    let tables = world.ok("DescribeRouteTables", json!({"RouteTableIds": [main]})).await;
    let route = &tables["RouteTables"][0]["Routes"][1];
    assert_eq!(
        route["DestinationPrefixListId"],
        lists["PrefixLists"][0]["PrefixListId"]
    );
    assert_eq!(route["GatewayId"], id);
    let other = world.route_table(&vpc).await;
    let input = json!({"VpcEndpointId": id, "RemoveRouteTableIds": [main], "AddRouteTableIds": [other, other]});
    world.ok("ModifyVpcEndpoint", input).await;
    let found = world.ok("DescribeVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    assert_eq!(found["VpcEndpoints"][0]["RouteTableIds"], json!([other]));
    world.ok("DeleteVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    let tables = world.ok("DescribeRouteTables", filter("vpc-id", &vpc)).await;
    for table in tables["RouteTables"].as_array().unwrap() {
        assert_eq!(table["Routes"].as_array().unwrap().len(), 1);
    }
    let gone = world.ok("DeleteVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    assert_eq!(
        gone["Unsuccessful"][0]["Error"]["Code"],
        "InvalidVpcEndpointId.NotFound"
    );
}

#[tokio::test]
async fn an_interface_endpoint_has_interfaces_with_its_groups() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let make = |more: serde_json::Value| {
        let mut input = json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.ecr.api",
                               "VpcEndpointType": "Interface", "PrivateDnsEnabled": false});
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let (a, b) = (
        world.subnet(&vpc, "10.0.0.0/24").await,
        world.subnet(&vpc, "10.0.1.0/24").await,
    );
    let refused = world
        .refused("CreateVpcEndpoint", make(json!({"PrivateDnsEnabled": true})))
        .await;
    assert_eq!(
        refused,
        format!(
            "InvalidParameter: Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes \
             set to true for {vpc}"
        )
    );
    let refused = world
        .refused("CreateVpcEndpoint", make(json!({"SubnetIds": [a, a]})))
        .await;
    assert!(refused.starts_with("DuplicateSubnetsInSameZone: "), "{refused}");
    let made = world.ok("CreateVpcEndpoint", make(json!({"SubnetIds": [a]}))).await;
    let endpoint = &made["VpcEndpoint"];
    let id = endpoint["VpcEndpointId"].clone();
    assert_eq!(each(&endpoint["Groups"], "GroupName"), ["default"]);
    let default = endpoint["Groups"][0]["GroupId"].clone();
    let group = world.group(&vpc, "web").await;
    let input = json!({"VpcEndpointId": id, "AddSubnetIds": [b], "AddSecurityGroupIds": [group],
                       "RemoveSecurityGroupIds": [default]});
    world.ok("ModifyVpcEndpoint", input).await;
    let found = world.ok("DescribeNetworkInterfaces", filter("vpc-id", &vpc)).await;
    let interfaces = found["NetworkInterfaces"].as_array().unwrap();
    assert_eq!(interfaces.len(), 2);
    for interface in interfaces {
        assert_eq!(interface["InterfaceType"], "vpc_endpoint");
        assert_eq!(each(&interface["Groups"], "GroupId"), [group.as_str()]);
    }
    let input = json!({"VpcEndpointId": id, "RemoveSubnetIds": [a]});
    world.ok("ModifyVpcEndpoint", input).await;
    let found = world.ok("DescribeVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    assert_eq!(found["VpcEndpoints"][0]["SubnetIds"], json!([b]));
    let refused = world.refused("DeleteSecurityGroup", json!({"GroupId": group})).await;
    assert!(refused.starts_with("DependencyViolation: "), "{refused}");
    world.ok("DeleteVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    world.ok("DeleteSecurityGroup", json!({"GroupId": group})).await;
}

#[tokio::test]
async fn a_prefix_list_has_versions() {
    let world = World::new().await;
    let id = world.prefix_list(&["192.0.2.0/24"]).await;
    let change = |version: i64| {
        json!({"PrefixListId": id, "CurrentVersion": version,
               "AddEntries": [{"Cidr": "198.51.100.0/24", "Description": "two"}],
               "RemoveEntries": [{"Cidr": "192.0.2.0/24"}]})
    };
    let changed = world.ok("ModifyManagedPrefixList", change(1)).await;
    assert_eq!(changed["PrefixList"]["Version"], 2);
    assert_eq!(changed["PrefixList"]["State"], "modify-complete");
    let refused = world.refused("ModifyManagedPrefixList", change(1)).await;
    assert_eq!(
        refused,
        "PrefixListVersionMismatch: The prefix list has the incorrect version number."
    );
    let again = json!({"PrefixListId": id, "CurrentVersion": 2,
                       "AddEntries": [{"Cidr": "198.51.100.0/24", "Description": "two"}]});
    let refused = world.refused("ModifyManagedPrefixList", again).await;
    assert!(refused.starts_with("InvalidPrefixListModification: "), "{refused}");
    let both = json!({"PrefixListId": id, "CurrentVersion": 2, "AddEntries": [{"Cidr": "198.51.100.0/24"}],
                      "RemoveEntries": [{"Cidr": "198.51.100.0/24"}]});
    let refused = world.refused("ModifyManagedPrefixList", both).await;
    assert_eq!(
        refused,
        "InvalidParameterValue: Request cannot contain Cidr 198.51.100.0/24 in both AddPrefixListEntries and \
         RemovePrefixListEntries"
    );
    let entries = world
        .ok("GetManagedPrefixListEntries", json!({"PrefixListId": id}))
        .await;
    assert_eq!(
        entries["Entries"],
        json!([{"Cidr": "198.51.100.0/24", "Description": "two"}])
    );
    let old = json!({"PrefixListId": id, "TargetVersion": 1});
    let entries = world.ok("GetManagedPrefixListEntries", old).await;
    assert_eq!(each(&entries["Entries"], "Cidr"), ["192.0.2.0/24"]);
    let many: Vec<_> = (0..10).map(|n| json!({"Cidr": format!("10.{n}.0.0/16")})).collect();
    let input = json!({"PrefixListId": id, "CurrentVersion": 2, "AddEntries": many});
    let refused = world.refused("ModifyManagedPrefixList", input).await;
    assert!(refused.starts_with("PrefixListMaxEntriesExceeded: "), "{refused}");
    let named = json!({"PrefixListId": id, "PrefixListName": "other"});
    world.ok("ModifyManagedPrefixList", named).await;
    let found = world
        .ok("DescribeManagedPrefixLists", filter("prefix-list-name", "other"))
        .await;
    assert_eq!(found["PrefixLists"][0]["Version"], 2);
    world.ok("DeleteManagedPrefixList", json!({"PrefixListId": id})).await;
    let refused = world
        .refused("GetManagedPrefixListEntries", json!({"PrefixListId": id}))
        .await;
    assert_eq!(
        refused,
        format!("InvalidPrefixListID.NotFound: The prefix list ID '{id}' does not exist")
    );
}

#[tokio::test]
async fn a_token_makes_one_prefix_list_whatever_else_is_asked_under_it() {
    let world = World::new().await;
    let input = json!({"PrefixListName": "l", "AddressFamily": "IPv4", "MaxEntries": 2, "ClientToken": "t"});
    let first = world.ok("CreateManagedPrefixList", input.clone()).await;
    let again = world.ok("CreateManagedPrefixList", input.clone()).await;
    assert_eq!(first["PrefixList"]["PrefixListId"], again["PrefixList"]["PrefixListId"]);
    for (member, value) in [("PrefixListName", json!("m")), ("MaxEntries", json!(3))] {
        let mut other = input.clone();
        other[member] = value;
        let refused = world.refused("CreateManagedPrefixList", other).await;
        assert!(refused.starts_with("IdempotentParameterMismatch: "), "{refused}");
    }
    let twice = json!([{"Cidr": "10.0.0.0/8", "Description": "a"}, {"Cidr": "10.0.0.0/8", "Description": "b"}]);
    let list = |name: &str, entries: &serde_json::Value| json!({"PrefixListName": name, "AddressFamily": "IPv4", "MaxEntries": 2, "Entries": entries});
    for (input, expected) in [
        (
            list("n", &twice),
            "InvalidParameterValue: Request cannot contain Cidr 10.0.0.0/8 more than once",
        ),
        (
            list(&"n".repeat(256), &json!([])),
            "InvalidParameterValue: The prefix list name is longer than 255 characters.",
        ),
    ] {
        assert_eq!(world.refused("CreateManagedPrefixList", input).await, expected);
    }
}
