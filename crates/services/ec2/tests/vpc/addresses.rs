//! Elastic addresses and network interfaces.

use crate::world::{World, each, filter};
use serde_json::json;

async fn place(world: &World) -> (String, String) {
    let vpc = world.vpc("10.0.0.0/16").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let main = world.main_table(&vpc).await;
    let input = json!({"RouteTableId": main, "DestinationCidrBlock": "0.0.0.0/0", "GatewayId": gateway});
    world.ok("CreateRoute", input).await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    (vpc, subnet)
}

#[tokio::test]
async fn an_address_is_allocated_associated_and_given_back() {
    let world = World::new().await;
    let (_, subnet) = place(&world).await;
    let (id, ip) = world.address().await;
    let interface = world.interface(&subnet).await;
    let input = json!({"AllocationId": id, "NetworkInterfaceId": interface});
    let made = world.ok("AssociateAddress", input.clone()).await;
    let association = made["AssociationId"].clone();
    // Again is the same.
    assert_eq!(world.ok("AssociateAddress", input).await["AssociationId"], association);
    let found = world.ok("DescribeAddresses", json!({"AllocationIds": [id]})).await;
    let found = &found["Addresses"][0];
    assert_eq!(
        (&found["PublicIp"], &found["NetworkInterfaceId"]),
        (&json!(ip), &json!(interface))
    );
    assert_eq!(found["AssociationId"], association);
    let refused = world.refused("ReleaseAddress", json!({"AllocationId": id})).await;
    assert_eq!(refused, format!("InvalidIPAddress.InUse: Address {ip} is in use."));
    world
        .ok("DisassociateAddress", json!({"AssociationId": association}))
        .await;
    let interfaces = world
        .ok("DescribeNetworkInterfaces", json!({"NetworkInterfaceIds": [interface]}))
        .await;
    assert!(interfaces["NetworkInterfaces"][0].get("Association").is_none());
    world.ok("ReleaseAddress", json!({"AllocationId": id})).await;
    for (operation, input, expected) in [
        (
            "ReleaseAddress",
            json!({"AllocationId": id}),
            format!("InvalidAllocationID.NotFound: The allocation ID '{id}' does not exist"),
        ),
        (
            "DescribeAddresses",
            json!({"AllocationIds": [id]}),
            format!("InvalidAllocationID.NotFound: The allocation ID '{id}' does not exist"),
        ),
        (
            "DescribeAddresses",
            json!({"PublicIps": ["1.2.3.4"]}),
            "InvalidAddress.NotFound: Address '1.2.3.4' not found.".to_owned(),
        ),
        (
            "DisassociateAddress",
            json!({"AssociationId": association}),
            format!(
                "InvalidAssociationID.NotFound: The association ID '{}' does not exist",
                association.as_str().unwrap()
            ),
        ),
        (
            "ReleaseAddress",
            json!({}),
            "MissingParameter: Either public IP or allocation id must be specified".to_owned(),
        ),
    ] {
        assert_eq!(world.refused(operation, input).await, expected);
    }
}

#[tokio::test]
async fn an_address_moves_unless_moving_is_refused() {
    let world = World::new().await;
    let (_, subnet) = place(&world).await;
    let ((id, ip), (second, _)) = (world.address().await, world.address().await);
    let (from, to) = (world.interface(&subnet).await, world.interface(&subnet).await);
    let give = |id: &str, to: &str| json!({"AllocationId": id, "NetworkInterfaceId": to});
    world.ok("AssociateAddress", give(&id, &from)).await;
    let mut careful = give(&id, &to);
    careful["AllowReassociation"] = json!(false);
    let refused = world.refused("AssociateAddress", careful).await;
    assert!(
        refused.starts_with(&format!(
            "Resource.AlreadyAssociated: resource {id} is already associated with associate-id"
        )),
        "{refused}"
    );
    world.ok("AssociateAddress", give(&id, &to)).await;
    let interfaces = world
        .ok("DescribeNetworkInterfaces", filter("association.public-ip", &ip))
        .await;
    assert_eq!(
        each(&interfaces["NetworkInterfaces"], "NetworkInterfaceId"),
        [to.as_str()]
    );
    // The address that the interface had stays allocated, without it.
    world.ok("AssociateAddress", give(&second, &to)).await;
    let found = world.ok("DescribeAddresses", json!({"AllocationIds": [id]})).await;
    assert!(found["Addresses"][0].get("AssociationId").is_none());
    world
        .ok("DeleteNetworkInterface", json!({"NetworkInterfaceId": to}))
        .await;
    let found = world.ok("DescribeAddresses", json!({"AllocationIds": [second]})).await;
    assert!(found["Addresses"][0].get("AssociationId").is_none());
}

#[tokio::test]
async fn a_task_keeps_its_own_public_address_which_goes_back_to_the_pool_with_it() {
    let world = World::new().await;
    let (_, subnet) = place(&world).await;
    let task = world.task(&subnet, true).await;
    let (id, _) = world.address().await;
    let input = json!({"AllocationId": id, "NetworkInterfaceId": task.id});
    let refused = world.refused("AssociateAddress", input).await;
    assert_eq!(
        refused,
        "AuthFailure: You do not have permission to access the specified resource."
    );
    assert_eq!(world.told(task.address).public_address, task.public_address);
    world.end_task(&task.id).await;
    let found = world.ok("DescribeAddresses", json!({})).await;
    assert_eq!(each(&found["Addresses"], "AllocationId"), [id.as_str()]);
    assert!(found["Addresses"][0].get("NetworkInterfaceId").is_none());
}

#[tokio::test]
async fn a_nat_gateways_address_cannot_be_taken_from_it() {
    let world = World::new().await;
    let (_, subnet) = place(&world).await;
    let (id, ip) = world.address().await;
    let nat = world.nat(&subnet, Some(&id)).await;
    let interface = world.interface(&subnet).await;
    let found = world.ok("DescribeAddresses", json!({"AllocationIds": [id]})).await;
    let association = found["Addresses"][0]["AssociationId"].clone();
    let held = found["Addresses"][0]["NetworkInterfaceId"].clone();
    let (second, _) = world.address().await;
    for (operation, input) in [
        ("DisassociateAddress", json!({"AssociationId": association})),
        (
            "AssociateAddress",
            json!({"AllocationId": id, "NetworkInterfaceId": interface}),
        ),
        (
            "AssociateAddress",
            json!({"AllocationId": second, "NetworkInterfaceId": held}),
        ),
    ] {
        let refused = world.refused(operation, input).await;
        assert_eq!(
            refused,
            "AuthFailure: You do not have permission to access the specified resource."
        );
    }
    let found = world.ok("DescribeNatGateways", json!({"NatGatewayIds": [nat]})).await;
    assert_eq!(found["NatGateways"][0]["NatGatewayAddresses"][0]["PublicIp"], json!(ip));
}

#[tokio::test]
async fn a_vpc_without_an_internet_gateway_has_no_public_addresses() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let interface = world.interface(&subnet).await;
    let (id, _) = world.address().await;
    let input = json!({"AllocationId": id, "NetworkInterfaceId": interface});
    let refused = world.refused("AssociateAddress", input).await;
    assert_eq!(
        refused,
        format!("Gateway.NotAttached: Network {vpc} is not attached to any internet gateway")
    );
}

#[tokio::test]
async fn an_interface_is_made_at_the_address_asked_for_and_once_for_a_token() {
    let world = World::new().await;
    let (vpc, subnet) = place(&world).await;
    let group = world.group(&vpc, "web").await;
    let input = json!({"SubnetId": subnet, "PrivateIpAddress": "10.0.0.77", "Groups": [group],
                       "Description": "mine", "ClientToken": "t"});
    let made = world.ok("CreateNetworkInterface", input.clone()).await;
    let interface = &made["NetworkInterface"];
    assert_eq!(interface["PrivateIpAddress"], "10.0.0.77");
    assert_eq!(interface["PrivateDnsName"], "ip-10-0-0-77.ec2.internal");
    assert_eq!(interface["Status"], "available");
    assert_eq!(interface["RequesterManaged"], false);
    assert_eq!(each(&interface["Groups"], "GroupId"), [group.as_str()]);
    let again = world.ok("CreateNetworkInterface", input.clone()).await;
    assert_eq!(
        again["NetworkInterface"]["NetworkInterfaceId"],
        interface["NetworkInterfaceId"]
    );
    let mut other = input.clone();
    other["Description"] = json!("yours");
    let refused = world.refused("CreateNetworkInterface", other).await;
    assert!(refused.starts_with("IdempotentParameterMismatch: "), "{refused}");
    // What is left out is another request, too.
    let mut other = input.clone();
    other["Groups"] = json!([]);
    let refused = world.refused("CreateNetworkInterface", other).await;
    assert!(refused.starts_with("IdempotentParameterMismatch: "), "{refused}");
    let at = |ip: &str| json!({"SubnetId": subnet, "PrivateIpAddress": ip});
    let listed = |ip: &str, primary: bool| json!([{"PrivateIpAddress": ip, "Primary": primary}]);
    for (input, expected) in [
        (
            json!({"SubnetId": subnet, "PrivateIpAddress": "10.0.0.50", "PrivateIpAddresses": listed("10.0.0.60", true)}),
            "InvalidParameterCombination: The parameter privateIpAddress cannot be used with the parameter \
             privateIpAddresses",
        ),
        (
            json!({"SubnetId": subnet, "PrivateIpAddresses": listed("10.0.0.61", false)}),
            "UnsupportedOperation: The parameter PrivateIpAddresses (a secondary one) is not supported by Neargate yet.",
        ),
        (at("10.0.0.77"), "InvalidIPAddress.InUse: Address 10.0.0.77 is in use."),
        (
            at("10.0.0.3"),
            "InvalidParameterValue: Address 10.0.0.3 is in subnet's reserved address range",
        ),
        (
            at("10.0.9.9"),
            "InvalidParameterValue: Address 10.0.9.9 does not fall within the subnet's address range",
        ),
        (
            json!({"SubnetId": "subnet-0"}),
            "InvalidSubnetID.NotFound: The subnet ID 'subnet-0' does not exist",
        ),
        (
            json!({"SubnetId": subnet, "Groups": ["sg-0"]}),
            "InvalidGroup.NotFound: The security group 'sg-0' does not exist",
        ),
    ] {
        assert_eq!(world.refused("CreateNetworkInterface", input).await, expected);
    }
}

#[tokio::test]
async fn an_interfaces_groups_and_description_change() {
    let world = World::new().await;
    let (vpc, subnet) = place(&world).await;
    let (interface, group) = (world.interface(&subnet).await, world.group(&vpc, "web").await);
    let input = json!({"NetworkInterfaceId": interface, "Groups": [group]});
    world.ok("ModifyNetworkInterfaceAttribute", input).await;
    let input = json!({"NetworkInterfaceId": interface, "Description": {"Value": "new"}});
    world.ok("ModifyNetworkInterfaceAttribute", input).await;
    let found = world.ok("DescribeNetworkInterfaces", filter("group-id", &group)).await;
    assert_eq!(each(&found["NetworkInterfaces"], "Description"), ["new"]);
    let asked = json!({"NetworkInterfaceId": interface, "Attribute": "groupSet"});
    let found = world.ok("DescribeNetworkInterfaceAttribute", asked).await;
    assert_eq!(each(&found["Groups"], "GroupName"), ["web"]);
    let many: Vec<String> = (0..17).map(|n| format!("sg-{n}")).collect();
    let input = json!({"NetworkInterfaceId": interface, "Groups": many});
    let refused = world.refused("ModifyNetworkInterfaceAttribute", input).await;
    assert!(
        refused.starts_with("SecurityGroupsPerInterfaceLimitExceeded: "),
        "{refused}"
    );
    let both = json!({"NetworkInterfaceId": interface, "Groups": [group], "Description": {"Value": "x"}});
    let refused = world.refused("ModifyNetworkInterfaceAttribute", both).await;
    assert!(refused.starts_with("InvalidParameterCombination: "), "{refused}");
}

#[tokio::test]
async fn an_interface_that_something_else_made_is_not_for_people_to_change() {
    let world = World::new().await;
    let (vpc, subnet) = place(&world).await;
    let group = world.group(&vpc, "web").await;
    let (allocation, _) = world.address().await;
    let nat = world.nat(&subnet, Some(&allocation)).await;
    let endpoint = json!({"VpcId": vpc, "ServiceName": "com.amazonaws.us-east-1.logs", "VpcEndpointType": "Interface",
                          "PrivateDnsEnabled": false, "SubnetIds": [subnet]});
    world.ok("CreateVpcEndpoint", endpoint).await;
    world.task(&subnet, false).await;
    let found = world
        .ok("DescribeNetworkInterfaces", filter("requester-managed", "true"))
        .await;
    let managed = each(&found["NetworkInterfaces"], "NetworkInterfaceId");
    assert_eq!(managed.len(), 3, "of the task, the endpoint and {nat}");
    for id in managed {
        for change in [
            json!({"Groups": [group]}),
            json!({"Groups": ["sg-0"]}),
            json!({"Description": {"Value": "mine"}}),
            json!({"SourceDestCheck": {"Value": true}}),
        ] {
            let mut input = json!({"NetworkInterfaceId": id});
            input
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
            assert_eq!(
                world.refused("ModifyNetworkInterfaceAttribute", input).await,
                "AuthFailure: You do not have permission to access the specified resource."
            );
        }
        assert_eq!(
            world
                .refused("DeleteNetworkInterface", json!({"NetworkInterfaceId": id}))
                .await,
            format!("InvalidParameterValue: Network interface '{id}' is currently in use.")
        );
    }
}

#[tokio::test]
async fn an_address_is_named_by_its_ids_alone() {
    let world = World::new().await;
    let (_, subnet) = place(&world).await;
    let interface = world.interface(&subnet).await;
    let (allocation, ip) = world.address().await;
    let both = "InvalidParameterCombination: You may specify public IP or allocation id, but not both in the same call";
    for (operation, input, expected) in [
        (
            "AssociateAddress",
            json!({"PublicIp": ip, "NetworkInterfaceId": interface}),
            "InvalidParameterCombination: You must specify an allocation id when mapping an address to a network interface",
        ),
        (
            "AssociateAddress",
            json!({"PublicIp": ip, "AllocationId": allocation, "NetworkInterfaceId": interface}),
            both,
        ),
        (
            "AssociateAddress",
            json!({"AllocationId": allocation, "NetworkInterfaceId": interface, "InstanceId": "i-0"}),
            "InvalidParameterCombination: The parameter instanceId cannot be used with the parameter networkInterfaceId",
        ),
        (
            "DisassociateAddress",
            json!({"PublicIp": ip}),
            "InvalidParameterValue: You must specify an association id when unmapping an address from a VPC instance",
        ),
        (
            "ReleaseAddress",
            json!({"PublicIp": ip}),
            "InvalidParameterValue: You must specify an allocation id when releasing a VPC elastic IP address",
        ),
        (
            "ReleaseAddress",
            json!({"PublicIp": ip, "AllocationId": allocation}),
            both,
        ),
    ] {
        assert_eq!(world.refused(operation, input).await, expected);
    }
    let elsewhere = json!({"AllocationId": allocation, "NetworkBorderGroup": "us-west-2-lax-1"});
    let refused = world.refused("ReleaseAddress", elsewhere).await;
    assert_eq!(refused, format!("InvalidAddress.NotFound: Address '{ip}' not found."));
    world.ok("ReleaseAddress", json!({"AllocationId": allocation})).await;
}
