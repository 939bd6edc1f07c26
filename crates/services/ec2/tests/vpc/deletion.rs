//! What is in use stays; what nothing uses goes, and leaves nothing behind.

use crate::world::{World, filter};
use serde_json::{Value, json};

fn in_use(kind: &str, id: &str) -> String {
    format!("DependencyViolation: The {kind} '{id}' has dependencies and cannot be deleted.")
}

#[tokio::test]
async fn a_whole_vpc_comes_down_in_order_and_leaves_nothing() {
    let world = World::new().await;
    let before = network_table(&world);
    let vpc = world.vpc("10.0.0.0/16").await;
    let delete = json!({"VpcId": vpc});
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    assert_eq!(world.refused("DeleteVpc", delete.clone()).await, in_use("vpc", &vpc));
    let group = world.group(&vpc, "web").await;
    let table = world.route_table(&vpc).await;
    let association = world
        .ok(
            "AssociateRouteTable",
            json!({"RouteTableId": table, "SubnetId": subnet}),
        )
        .await;
    let gateway = world.gateway(Some(&vpc)).await;
    let (allocation, _) = world.address().await;
    let nat = world.nat(&subnet, Some(&allocation)).await;
    let input = json!({"SubnetId": subnet, "Groups": [group]});
    let interface = world.ok("CreateNetworkInterface", input).await;
    let interface = interface["NetworkInterface"]["NetworkInterfaceId"].clone();

    assert_eq!(
        world.refused("DeleteSubnet", json!({"SubnetId": subnet})).await,
        in_use("subnet", &subnet)
    );
    assert_eq!(
        world.refused("DeleteRouteTable", json!({"RouteTableId": table})).await,
        in_use("routeTable", &table)
    );
    assert_eq!(
        world
            .refused("DeleteInternetGateway", json!({"InternetGatewayId": gateway}))
            .await,
        in_use("internetGateway", &gateway)
    );
    assert_eq!(
        world.refused("DeleteSecurityGroup", json!({"GroupId": group})).await,
        format!("DependencyViolation: resource {group} has a dependent object")
    );
    let refused = world
        .refused("ReleaseAddress", json!({"AllocationId": allocation}))
        .await;
    assert!(refused.starts_with("InvalidIPAddress.InUse: "), "{refused}");
    let detach = json!({"InternetGatewayId": gateway, "VpcId": vpc});
    let refused = world.refused("DetachInternetGateway", detach.clone()).await;
    assert!(refused.starts_with("DependencyViolation: "), "{refused}");

    world.ok("DeleteNatGateway", json!({"NatGatewayId": nat})).await;
    world.ok("ReleaseAddress", json!({"AllocationId": allocation})).await;
    world
        .ok("DeleteNetworkInterface", json!({"NetworkInterfaceId": interface}))
        .await;
    world.ok("DeleteSecurityGroup", json!({"GroupId": group})).await;
    world.ok("DetachInternetGateway", detach).await;
    world
        .ok("DeleteInternetGateway", json!({"InternetGatewayId": gateway}))
        .await;
    world.ok("DeleteSubnet", json!({"SubnetId": subnet})).await;
    // The subnet's association went with it.
    let input = json!({"AssociationId": association["AssociationId"]});
    let refused = world.refused("DisassociateRouteTable", input).await;
    assert!(refused.starts_with("InvalidAssociationID.NotFound: "), "{refused}");
    assert_eq!(world.refused("DeleteVpc", delete.clone()).await, in_use("vpc", &vpc));
    world.ok("DeleteRouteTable", json!({"RouteTableId": table})).await;
    world.ok("DeleteVpc", delete).await;
    assert_eq!(network_table(&world), before);
    for operation in [
        "DescribeRouteTables",
        "DescribeSecurityGroups",
        "DescribeSubnets",
        "DescribeNetworkAcls",
    ] {
        let left = world.ok(operation, filter("vpc-id", &vpc)).await;
        let lists = left.as_object().unwrap().values().filter_map(Value::as_array);
        assert!(lists.map(Vec::len).all(|n| n == 0), "{operation}: {left}");
    }
}

fn network_table(world: &World) -> Vec<String> {
    let table = neargate_ec2::network::table(&world.ec2.store.snapshot());
    table.iter().map(neargate_link::network::NetworkEntry::key).collect()
}

#[tokio::test]
async fn a_deleted_nat_gateway_is_described_for_an_hour() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (allocation, ip) = world.address().await;
    let input = json!({"SubnetId": subnet, "AllocationId": allocation});
    world.gateway(Some(&vpc)).await;
    let mut with_token = input;
    with_token["ClientToken"] = json!("t");
    let made = world.ok("CreateNatGateway", with_token.clone()).await;
    assert_eq!(made["NatGateway"]["State"], "pending");
    let nat = made["NatGateway"]["NatGatewayId"].as_str().unwrap();
    let again = world.ok("CreateNatGateway", with_token).await;
    assert_eq!(again["NatGateway"]["NatGatewayId"], json!(nat));
    let found = world.ok("DescribeNatGateways", json!({"NatGatewayIds": [nat]})).await;
    let found = &found["NatGateways"][0];
    assert_eq!(found["State"], "available");
    assert_eq!(found["NatGatewayAddresses"][0]["PublicIp"], json!(ip));
    let interface = found["NatGatewayAddresses"][0]["NetworkInterfaceId"].clone();
    let interfaces = world
        .ok("DescribeNetworkInterfaces", json!({"NetworkInterfaceIds": [interface]}))
        .await;
    let described = &interfaces["NetworkInterfaces"][0];
    assert_eq!(described["InterfaceType"], "nat_gateway");
    assert_eq!(
        described["Description"],
        json!(format!("Interface for NAT Gateway {nat}"))
    );
    assert_eq!(described["Association"]["PublicIp"], json!(ip));
    let refused = world
        .refused("DeleteNetworkInterface", json!({"NetworkInterfaceId": interface}))
        .await;
    assert!(refused.ends_with("is currently in use."), "{refused}");

    world.ok("DeleteNatGateway", json!({"NatGatewayId": nat})).await;
    let deleted = world
        .ok(
            "DescribeNatGateways",
            json!({"Filter": [{"Name": "state", "Values": ["deleted"]}]}),
        )
        .await;
    assert_eq!(deleted["NatGateways"][0]["NatGatewayId"], json!(nat));
    world.pass(3601);
    for (operation, input) in [
        ("DescribeNatGateways", json!({"NatGatewayIds": [nat]})),
        ("DeleteNatGateway", json!({"NatGatewayId": nat})),
    ] {
        assert_eq!(
            world.refused(operation, input).await,
            format!("NatGatewayNotFound: The Nat Gateway {nat} was not found")
        );
    }
    let refused = world
        .refused("DeleteNatGateway", json!({"NatGatewayId": "nat-0"}))
        .await;
    assert_eq!(refused, "NatGatewayNotFound: The Nat Gateway nat-0 was not found");
}

#[tokio::test]
async fn a_tasks_interface_is_not_for_people_to_delete_or_detach() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let task = world.task(&subnet, false).await;
    let input = json!({"NetworkInterfaceIds": [task.id]});
    let found = world.ok("DescribeNetworkInterfaces", input).await;
    let found = &found["NetworkInterfaces"][0];
    assert_eq!(
        (&found["Status"], &found["RequesterManaged"]),
        (&json!("in-use"), &json!(true))
    );
    let refused = world
        .refused("DeleteNetworkInterface", json!({"NetworkInterfaceId": task.id}))
        .await;
    assert_eq!(
        refused,
        format!(
            "InvalidParameterValue: Network interface '{}' is currently in use.",
            task.id
        )
    );
    let attachment = found["Attachment"]["AttachmentId"].as_str().unwrap();
    let refused = world
        .refused("DetachNetworkInterface", json!({"AttachmentId": attachment}))
        .await;
    assert_eq!(
        refused,
        "OperationNotPermitted: You are not allowed to manage 'eni-attach' attachments."
    );
    let refused = world
        .refused("DetachNetworkInterface", json!({"AttachmentId": "eni-attach-0"}))
        .await;
    assert_eq!(
        refused,
        "InvalidAttachmentID.NotFound: The attachment ID 'eni-attach-0' does not exist"
    );
}

#[tokio::test]
async fn a_table_that_goes_leaves_its_endpoint() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let (stays, goes) = (world.route_table(&vpc).await, world.route_table(&vpc).await);
    let input = json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.s3", "RouteTableIds": [stays, goes]});
    let made = world.ok("CreateVpcEndpoint", input).await;
    let id = made["VpcEndpoint"]["VpcEndpointId"].clone();
    world.ok("DeleteRouteTable", json!({"RouteTableId": goes})).await;
    let found = world.ok("DescribeVpcEndpoints", json!({"VpcEndpointIds": [id]})).await;
    assert_eq!(found["VpcEndpoints"][0]["RouteTableIds"], json!([stays]));
}
