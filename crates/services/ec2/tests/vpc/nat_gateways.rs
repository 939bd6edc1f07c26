//! NAT gateways that fail: CreateNatGateway answers as if they did not, DescribeNatGateways tells.

use crate::world::{World, each};
use serde_json::{Value, json};

async fn described(world: &World, nat: &str) -> Value {
    let found = world.ok("DescribeNatGateways", json!({"NatGatewayIds": [nat]})).await;
    found["NatGateways"][0].clone()
}

/// Makes one that fails: the request is answered as usual, and leaves nothing behind but what is described.
async fn failing(world: &World, input: Value) -> (String, Value) {
    let interfaces = world.ok("DescribeNetworkInterfaces", json!({})).await;
    let addresses = world.ok("DescribeAddresses", json!({})).await;
    let made = world.ok("CreateNatGateway", input.clone()).await["NatGateway"].take();
    assert_eq!(made["State"], "pending");
    assert_eq!(made.get("FailureCode"), None);
    assert_eq!(made["SubnetId"], input["SubnetId"]);
    let id = made["NatGatewayId"].as_str().unwrap().to_owned();
    let found = described(world, &id).await;
    assert_eq!(found["State"], "failed");
    assert_eq!(found["NatGatewayAddresses"][0]["Status"], "failed");
    assert_eq!(found["NatGatewayAddresses"][0].get("NetworkInterfaceId"), None);
    assert_eq!(found["NatGatewayAddresses"][0].get("PublicIp"), None);
    assert_eq!(world.ok("DescribeNetworkInterfaces", json!({})).await, interfaces);
    assert_eq!(world.ok("DescribeAddresses", json!({})).await, addresses);
    (id, found)
}

fn why(nat: &Value) -> (&str, &str) {
    let text = |name: &str| nat[name].as_str().unwrap();
    (text("FailureCode"), text("FailureMessage"))
}

#[tokio::test]
async fn a_public_one_fails_without_an_internet_gateway_and_beside_another_holder_of_its_address() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (allocation, _) = world.address().await;
    let input = json!({"SubnetId": subnet, "AllocationId": allocation});
    let (_, found) = failing(&world, input.clone()).await;
    assert_eq!(
        why(&found),
        (
            "Gateway.NotAttached",
            &*format!("Network {vpc} has no Internet gateway attached")
        )
    );
    assert_eq!(found["ConnectivityType"], "public");

    world.gateway(Some(&vpc)).await;
    let first = world.nat(&subnet, Some(&allocation)).await;
    assert_eq!(described(&world, &first).await["State"], "available");
    let (_, found) = failing(&world, input).await;
    assert_eq!(
        why(&found),
        (
            "Resource.AlreadyAssociated",
            &*format!("Elastic IP address [{allocation}] is already associated")
        )
    );
    assert_eq!(described(&world, &first).await["State"], "available");
}

#[tokio::test]
async fn one_fails_in_a_full_subnet() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/28").await;
    for _ in 0..11 {
        world.interface(&subnet).await;
    }
    let (_, found) = failing(&world, json!({"SubnetId": subnet, "ConnectivityType": "private"})).await;
    assert_eq!(
        why(&found),
        (
            "InsufficientFreeAddressesInSubnet",
            "Subnet has insufficient free addresses to create this NAT gateway"
        )
    );
}

#[tokio::test]
async fn what_is_wrong_in_the_request_itself_is_refused_at_once() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (allocation, _) = world.address().await;
    for (input, expected) in [
        (
            json!({"SubnetId": "subnet-0", "AllocationId": allocation}),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-0' does not exist",
        ),
        (
            json!({"SubnetId": subnet, "AllocationId": "eipalloc-0"}),
            "InvalidAllocationID.NotFound: The allocation ID 'eipalloc-0' does not exist",
        ),
    ] {
        assert_eq!(world.refused("CreateNatGateway", input).await, expected);
    }
    let found = world.ok("DescribeNatGateways", json!({})).await;
    assert_eq!(each(&found["NatGateways"], "NatGatewayId"), Vec::<&str>::new());
}

#[tokio::test]
async fn a_failed_one_takes_no_routes_keeps_nothing_in_place_and_is_forgotten_after_an_hour() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (allocation, _) = world.address().await;
    let input = json!({"SubnetId": subnet, "AllocationId": allocation, "ClientToken": "t"});
    let (failed, _) = failing(&world, input.clone()).await;
    let again = world.ok("CreateNatGateway", input.clone()).await["NatGateway"].take();
    assert_eq!(again["NatGatewayId"], json!(failed));
    let table = world.main_table(&vpc).await;
    let route = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "NatGatewayId": failed});
    assert_eq!(
        world.refused("CreateRoute", route).await,
        format!("InvalidNatGatewayID.NotFound: The natGateway ID '{failed}' does not exist")
    );
    world.ok("ReleaseAddress", json!({"AllocationId": allocation})).await;
    world.ok("DeleteSubnet", json!({"SubnetId": subnet})).await;
    world.ok("DeleteVpc", json!({"VpcId": vpc})).await;

    let by_state = |state: &str| json!({"Filter": [{"Name": "state", "Values": [state]}]});
    let found = world.ok("DescribeNatGateways", by_state("failed")).await;
    assert_eq!(each(&found["NatGateways"], "NatGatewayId"), [failed.as_str()]);
    world.pass(3601);
    assert_eq!(
        world
            .refused("DescribeNatGateways", json!({"NatGatewayIds": [failed]}))
            .await,
        format!("NatGatewayNotFound: The Nat Gateway {failed} was not found")
    );
}

#[tokio::test]
async fn a_failed_one_can_be_deleted() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (allocation, _) = world.address().await;
    let (failed, _) = failing(&world, json!({"SubnetId": subnet, "AllocationId": allocation})).await;
    world.pass(1800);
    world.ok("DeleteNatGateway", json!({"NatGatewayId": failed})).await;
    // As long as any other that is deleted.
    world.pass(3599);
    let found = described(&world, &failed).await;
    assert_eq!(found["State"], "deleted");
    assert_eq!(why(&found).0, "Gateway.NotAttached");
}
