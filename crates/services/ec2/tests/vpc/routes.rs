//! Which way out a subnet's packets have, as nodes are told it, and the rules of route tables.

use crate::world::{World, each};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

async fn route(world: &World, table: &str, destination: &str, member: &str, target: &str) {
    let mut input = json!({"RouteTableId": table, "DestinationCidrBlock": destination});
    input[member] = json!(target);
    world.ok("CreateRoute", input).await;
}

/// A VPC with a NAT gateway in a public subnet; no route leads anywhere yet.
struct Nat {
    vpc: String,
    gateway: String,
    public: String,
    private: String,
    ip: String,
    nat: String,
}

impl Nat {
    async fn place(world: &World) -> Nat {
        let vpc = world.vpc("10.0.0.0/16").await;
        let public = world.subnet(&vpc, "10.0.0.0/24").await;
        let (allocation, ip) = world.address().await;
        Nat {
            gateway: world.gateway(Some(&vpc)).await,
            private: world.subnet(&vpc, "10.0.1.0/24").await,
            nat: world.nat(&public, Some(&allocation)).await,
            vpc,
            public,
            ip,
        }
    }

    /// From now on the public subnet leads out.
    async fn lead_out(&self, world: &World) {
        let own = world.route_table(&self.vpc).await;
        route(world, &own, "0.0.0.0/0", "GatewayId", &self.gateway).await;
        let association = json!({"RouteTableId": own, "SubnetId": self.public});
        world.ok("AssociateRouteTable", association).await;
    }
}

#[tokio::test]
async fn an_internet_gateway_carries_only_interfaces_with_a_public_address() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let (public, private) = (world.task(&subnet, true).await, world.task(&subnet, false).await);
    assert!(world.ways_out(public.address).is_empty());
    let gateway = world.gateway(Some(&vpc)).await;
    assert!(world.ways_out(public.address).is_empty(), "a gateway alone is no route");
    let reached = |address| world.told(address).public_address;
    assert_eq!(reached(public.address), None, "nor does anybody come in");
    let main = world.main_table(&vpc).await;
    route(&world, &main, "0.0.0.0/0", "GatewayId", &gateway).await;
    assert_eq!(world.ways_out(public.address), ["0.0.0.0/0"]);
    assert_eq!(reached(public.address), public.public_address);
    assert_eq!(world.told(public.address).seen_as, public.public_address);
    assert_eq!(world.told(private.address).seen_as, None);
    assert!(world.ways_out(private.address).is_empty());
}

#[tokio::test]
async fn a_nat_gateway_leads_out_under_its_address_while_its_own_subnet_does() {
    let world = World::new().await;
    let place = Nat::place(&world).await;
    let main = world.main_table(&place.vpc).await;
    route(&world, &main, "0.0.0.0/0", "NatGatewayId", &place.nat).await;
    let task = world.task(&place.private, false).await;
    assert_eq!(world.told(task.address).seen_as, None);
    assert!(
        world.ways_out(task.address).is_empty(),
        "the NAT gateway's own subnet leads nowhere yet"
    );

    place.lead_out(&world).await;
    assert_eq!(world.ways_out(task.address), ["0.0.0.0/0"]);
    assert_eq!(world.told(task.address).seen_as, Some(place.ip.parse().unwrap()));

    world.ok("DeleteNatGateway", json!({"NatGatewayId": place.nat})).await;
    assert!(world.ways_out(task.address).is_empty());
    assert_eq!(world.told(task.address).seen_as, None);
    let tables = world.ok("DescribeRouteTables", json!({"RouteTableIds": [main]})).await;
    assert_eq!(tables["RouteTables"][0]["Routes"][1]["State"], "blackhole");
    assert_eq!(tables["RouteTables"][0]["Routes"][1]["NatGatewayId"], json!(place.nat));
}

#[tokio::test]
async fn a_private_nat_gateway_reaches_nothing_outside() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let nat = world.nat(&subnet, None).await;
    let own = world.route_table(&vpc).await;
    route(&world, &own, "0.0.0.0/0", "GatewayId", &gateway).await;
    world
        .ok("AssociateRouteTable", json!({"RouteTableId": own, "SubnetId": subnet}))
        .await;
    route(&world, &world.main_table(&vpc).await, "0.0.0.0/0", "NatGatewayId", &nat).await;
    let other = world.subnet(&vpc, "10.0.1.0/24").await;
    let task = world.task(&other, false).await;
    assert!(world.ways_out(task.address).is_empty());
}

#[tokio::test]
async fn a_route_to_some_public_addresses_changes_only_who_calls_those() {
    let world = World::new().await;
    let place = Nat::place(&world).await;
    place.lead_out(&world).await;
    let task = world.task(&place.private, false).await;
    let seen: Ipv4Addr = place.ip.parse().unwrap();
    let main = world.main_table(&place.vpc).await;
    route(&world, &main, &format!("{}/32", place.ip), "NatGatewayId", &place.nat).await;
    let told = world.told(task.address);
    assert_eq!((told.seen_as, told.seen_parts), (None, vec![((seen, 32), seen)]));
    route(&world, &main, "0.0.0.0/0", "NatGatewayId", &place.nat).await;
    let told = world.told(task.address);
    assert_eq!((told.seen_as, told.seen_parts), (Some(seen), Vec::new()));
}

#[tokio::test]
async fn a_nat_gateways_id_is_a_gateway_id_too_and_an_interface_that_nobody_has_is_a_blackhole() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let nat = world.nat(&subnet, None).await;
    let interface = world.interface(&subnet).await;
    let main = world.main_table(&vpc).await;
    route(&world, &main, "0.0.0.0/0", "GatewayId", &nat).await;
    route(&world, &main, "192.0.2.0/24", "NetworkInterfaceId", &interface).await;
    let tables = world.ok("DescribeRouteTables", json!({"RouteTableIds": [main]})).await;
    let routes = tables["RouteTables"][0]["Routes"].as_array().unwrap();
    let to = |range: &str| routes.iter().find(|r| r["DestinationCidrBlock"] == range).unwrap();
    assert_eq!(to("0.0.0.0/0")["NatGatewayId"], json!(nat));
    assert!(to("0.0.0.0/0").get("GatewayId").is_none());
    assert_eq!(to("192.0.2.0/24")["State"], "blackhole");
}

#[tokio::test]
async fn a_detached_gateway_leaves_a_blackhole() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let main = world.main_table(&vpc).await;
    route(&world, &main, "0.0.0.0/0", "GatewayId", &gateway).await;
    let task = world.task(&subnet, true).await;
    let detach = json!({"InternetGatewayId": gateway, "VpcId": vpc});
    let refused = world.refused("DetachInternetGateway", detach.clone()).await;
    assert_eq!(
        refused,
        format!(
            "DependencyViolation: Network {vpc} has some mapped public address(es). Please unmap those public \
             address(es) before detaching the gateway."
        )
    );
    world.end_task(&task.id).await;
    world.ok("DetachInternetGateway", detach.clone()).await;
    let blackholes = json!({"Filters": [{"Name": "route.state", "Values": ["blackhole"]}]});
    let tables = world.ok("DescribeRouteTables", blackholes).await;
    assert_eq!(each(&tables["RouteTables"], "RouteTableId"), [main.as_str()]);
    let refused = world.refused("DetachInternetGateway", detach).await;
    assert_eq!(
        refused,
        format!("Gateway.NotAttached: resource {gateway} is not attached to network {vpc}")
    );
}

#[tokio::test]
async fn the_longest_prefix_decides() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let main = world.main_table(&vpc).await;
    let nowhere = world.interface(&subnet).await;
    route(&world, &main, "128.0.0.0/1", "GatewayId", &gateway).await;
    route(&world, &main, "192.0.0.0/2", "NetworkInterfaceId", &nowhere).await;
    route(&world, &main, "224.0.0.0/3", "GatewayId", &gateway).await;
    let task = world.task(&subnet, true).await;
    assert_eq!(world.ways_out(task.address), ["128.0.0.0/2", "224.0.0.0/3"]);
}

#[tokio::test]
async fn prefix_lists_stand_for_their_ranges_in_routes_and_follow_their_changes() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let list = world.prefix_list(&["203.0.113.0/24", "198.51.100.0/24"]).await;
    let main = world.main_table(&vpc).await;
    let input = json!({"RouteTableId": main, "DestinationPrefixListId": list, "GatewayId": gateway});
    world.ok("CreateRoute", input).await;
    let task = world.task(&subnet, true).await;
    assert_eq!(world.ways_out(task.address), ["198.51.100.0/24", "203.0.113.0/24"]);
    let change = json!({"PrefixListId": list, "CurrentVersion": 1,
                        "AddEntries": [{"Cidr": "192.0.2.0/24"}], "RemoveEntries": [{"Cidr": "203.0.113.0/24"}]});
    world.ok("ModifyManagedPrefixList", change).await;
    assert_eq!(world.ways_out(task.address), ["192.0.2.0/24", "198.51.100.0/24"]);
    // A route of the table itself goes first for the same range.
    let interface = world.interface(&subnet).await;
    route(&world, &main, "192.0.2.0/24", "NetworkInterfaceId", &interface).await;
    assert_eq!(world.ways_out(task.address), ["198.51.100.0/24"]);
}

#[tokio::test]
async fn a_subnets_own_table_goes_before_the_main_one_and_can_be_exchanged() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let main = world.main_table(&vpc).await;
    route(&world, &main, "0.0.0.0/0", "GatewayId", &gateway).await;
    let task = world.task(&subnet, true).await;
    let empty = world.route_table(&vpc).await;
    let input = json!({"RouteTableId": empty, "SubnetId": subnet});
    let made = world.ok("AssociateRouteTable", input.clone()).await;
    assert_eq!(made["AssociationState"]["State"], "associated");
    assert!(world.ways_out(task.address).is_empty());
    let again = world.ok("AssociateRouteTable", input).await;
    assert_eq!(again["AssociationId"], made["AssociationId"]);
    let refused = world
        .refused("AssociateRouteTable", json!({"RouteTableId": main, "SubnetId": subnet}))
        .await;
    assert_eq!(
        refused,
        format!(
            "Resource.AlreadyAssociated: the specified association for route table {main} conflicts with an existing \
             association"
        )
    );

    let third = world.route_table(&vpc).await;
    route(&world, &third, "8.0.0.0/8", "GatewayId", &gateway).await;
    let moved = json!({"AssociationId": made["AssociationId"], "RouteTableId": third});
    let moved = world.ok("ReplaceRouteTableAssociation", moved).await;
    assert_eq!(world.ways_out(task.address), ["8.0.0.0/8"]);
    let gone = json!({"AssociationId": moved["NewAssociationId"]});
    world.ok("DisassociateRouteTable", gone.clone()).await;
    assert_eq!(world.ways_out(task.address), ["0.0.0.0/0"]);
    let refused = world.refused("DisassociateRouteTable", gone.clone()).await;
    let id = gone["AssociationId"].as_str().unwrap();
    assert_eq!(
        refused,
        format!("InvalidAssociationID.NotFound: The association ID '{id}' does not exist")
    );
}

#[tokio::test]
async fn another_table_can_be_the_main_one() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let main = world.main_table(&vpc).await;
    let other = world.route_table(&vpc).await;
    let tables = world.ok("DescribeRouteTables", json!({"RouteTableIds": [main]})).await;
    let association = tables["RouteTables"][0]["Associations"][0]["RouteTableAssociationId"].clone();
    let refused = world
        .refused("DisassociateRouteTable", json!({"AssociationId": association}))
        .await;
    assert!(refused.starts_with("InvalidParameterValue: cannot disassociate the main route table association"));
    let input = json!({"AssociationId": association, "RouteTableId": other});
    world.ok("ReplaceRouteTableAssociation", input).await;
    assert_eq!(world.main_table(&vpc).await, other);
    let refused = world.refused("DeleteRouteTable", json!({"RouteTableId": other})).await;
    assert_eq!(
        refused,
        format!("DependencyViolation: The routeTable '{other}' has dependencies and cannot be deleted.")
    );
    world.ok("DeleteRouteTable", json!({"RouteTableId": main})).await;
}

#[tokio::test]
async fn routes_are_made_changed_and_deleted_by_destination() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let gateway = world.gateway(Some(&vpc)).await;
    let stranger = world.gateway(None).await;
    let table = world.route_table(&vpc).await;
    let to = |destination: &str, gateway: &str| -> Value {
        json!({"RouteTableId": table, "DestinationCidrBlock": destination, "GatewayId": gateway})
    };
    world.ok("CreateRoute", to("0.0.0.0/0", &gateway)).await;
    // Again is the same; host bits are cut off.
    world.ok("CreateRoute", to("0.0.0.0/0", &gateway)).await;
    world.ok("CreateRoute", to("8.8.8.8/16", &gateway)).await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let interface = world.interface(&subnet).await;
    let other = json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0", "NetworkInterfaceId": interface});
    for (operation, input, expected) in [
        (
            "CreateRoute",
            other.clone(),
            "RouteAlreadyExists: The route identified by 0.0.0.0/0 already exists.".to_owned(),
        ),
        (
            "CreateRoute",
            to("10.0.0.0/16", &gateway),
            "RouteAlreadyExists: The route identified by 10.0.0.0/16 already exists.".to_owned(),
        ),
        (
            "CreateRoute",
            to("10.0.7.0/24", &gateway),
            "InvalidParameterValue: The destination CIDR block 10.0.7.0/24 is equal to or more specific than one of \
             this VPC's CIDR blocks. This route can target only an interface or an instance."
                .to_owned(),
        ),
        (
            "CreateRoute",
            to("9.0.0.0/8", "igw-0"),
            "InvalidGatewayID.NotFound: The gateway ID 'igw-0' does not exist".to_owned(),
        ),
        (
            "CreateRoute",
            to("9.0.0.0/8", &stranger),
            format!(
                "InvalidParameterValue: route table {table} and network gateway {stranger} belong to different networks"
            ),
        ),
        (
            "CreateRoute",
            json!({"RouteTableId": "rtb-0", "DestinationCidrBlock": "9.0.0.0/8", "GatewayId": gateway}),
            "InvalidRouteTableID.NotFound: The routeTable ID 'rtb-0' does not exist".to_owned(),
        ),
        (
            "DeleteRoute",
            json!({"RouteTableId": table, "DestinationCidrBlock": "9.0.0.0/8"}),
            format!("InvalidRoute.NotFound: no route with destination-cidr-block 9.0.0.0/8 in route table {table}"),
        ),
        (
            "ReplaceRoute",
            to("9.0.0.0/8", &gateway),
            "InvalidParameterValue: There is no route defined for '9.0.0.0/8' in the route table. \
             Use CreateRoute instead."
                .to_owned(),
        ),
    ] {
        assert_eq!(world.refused(operation, input).await, expected);
    }
    world.ok("ReplaceRoute", other).await;
    let tables = world.ok("DescribeRouteTables", json!({"RouteTableIds": [table]})).await;
    let routes = &tables["RouteTables"][0]["Routes"];
    assert_eq!(
        each(routes, "DestinationCidrBlock"),
        ["10.0.0.0/16", "0.0.0.0/0", "8.8.0.0/16"]
    );
    assert_eq!(
        each(routes, "Origin"),
        ["CreateRouteTable", "CreateRoute", "CreateRoute"]
    );
    assert_eq!(routes[1]["NetworkInterfaceId"], json!(interface));
    world
        .ok(
            "DeleteRoute",
            json!({"RouteTableId": table, "DestinationCidrBlock": "0.0.0.0/0"}),
        )
        .await;
    world
        .ok(
            "DeleteRoute",
            json!({"RouteTableId": table, "DestinationCidrBlock": "8.8.0.0/16"}),
        )
        .await;
}

#[tokio::test]
async fn a_token_makes_one_route_table() {
    let world = World::new().await;
    let (vpc, other) = (world.vpc("10.0.0.0/16").await, world.vpc("10.1.0.0/16").await);
    let input = json!({"VpcId": vpc, "ClientToken": "t"});
    let first = world.ok("CreateRouteTable", input.clone()).await;
    assert_eq!(first["ClientToken"], "t");
    let again = world.ok("CreateRouteTable", input).await;
    assert_eq!(first["RouteTable"]["RouteTableId"], again["RouteTable"]["RouteTableId"]);
    let refused = world
        .refused("CreateRouteTable", json!({"VpcId": other, "ClientToken": "t"}))
        .await;
    assert!(refused.starts_with("IdempotentParameterMismatch: "), "{refused}");
    // Neither main nor associated with a subnet, it is found by neither.
    let filters = json!([{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["false"]}]);
    let found = world.ok("DescribeRouteTables", json!({ "Filters": filters })).await;
    assert_eq!(found["RouteTables"], json!([]));
    let refused = world.refused("DeleteRouteTable", json!({"RouteTableId": "main"})).await;
    assert_eq!(
        refused,
        "InvalidRouteTableId.Malformed: Invalid id: \"main\" (expecting \"rtb-...\")"
    );
}
