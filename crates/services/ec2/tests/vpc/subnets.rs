//! VPCs' ranges and subnets.

use crate::world::{World, each, filter};
use serde_json::{Value, json};
use std::net::Ipv4Addr;

#[tokio::test]
async fn vpcs_have_the_ranges_that_aws_allows_and_the_machine_has_room_for() {
    let world = World::beside(vec![(Ipv4Addr::new(192, 168, 4, 0), 24)]).await;
    for (cidr, expected) in [
        ("10.0.0.0/15", "InvalidVpc.Range: The CIDR '10.0.0.0/15' is invalid."),
        ("10.0.0.0/29", "InvalidVpc.Range: The CIDR '10.0.0.0/29' is invalid."),
        ("127.0.0.0/16", "InvalidVpc.Range: The CIDR '127.0.0.0/16' is invalid."),
        (
            "10.0.0.0",
            "InvalidParameterValue: Value (10.0.0.0) for parameter cidrBlock is invalid. This is not a valid CIDR block.",
        ),
        (
            "192.168.0.0/16",
            "InvalidVpc.Range: The CIDR '192.168.0.0/16' overlaps 192.168.4.0/24, which this machine already uses; \
             choose another range.",
        ),
        (
            "198.19.0.0/24",
            "InvalidVpc.Range: The CIDR '198.19.0.0/24' overlaps 198.19.0.0/16, which this machine already uses; \
             choose another range.",
        ),
    ] {
        assert_eq!(world.refused("CreateVpc", json!({"CidrBlock": cidr})).await, expected);
    }
    // Host bits are cut off.
    let vpc = world.ok("CreateVpc", json!({"CidrBlock": "10.0.3.4/16"})).await;
    assert_eq!(vpc["Vpc"]["CidrBlock"], "10.0.0.0/16");
    assert_eq!(vpc["Vpc"]["IsDefault"], false);
    let input = json!({"CidrBlock": "10.1.0.0/16", "AmazonProvidedIpv6CidrBlock": true});
    let refused = world.refused("CreateVpc", input).await;
    assert!(
        refused.starts_with("UnsupportedOperation: The parameter AmazonProvidedIpv6CidrBlock"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_vpc_comes_with_a_main_table_a_default_group_and_an_acl() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let tables = world.ok("DescribeRouteTables", filter("vpc-id", &vpc)).await;
    let table = &tables["RouteTables"][0];
    assert_eq!(table["Associations"][0]["Main"], true);
    assert_eq!(each(&table["Routes"], "GatewayId"), ["local"]);
    let groups = world.ok("DescribeSecurityGroups", filter("vpc-id", &vpc)).await;
    assert_eq!(each(&groups["SecurityGroups"], "GroupName"), ["default"]);
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let acls = world.ok("DescribeNetworkAcls", filter("vpc-id", &vpc)).await;
    assert_eq!(acls["NetworkAcls"][0]["IsDefault"], true);
    assert_eq!(
        each(&acls["NetworkAcls"][0]["Associations"], "SubnetId"),
        [subnet.as_str()]
    );
    let acl = acls["NetworkAcls"][0]["NetworkAclId"].clone();
    let tagged = json!({"Resources": [acl], "Tags": [{"Key": "tier", "Value": "outer"}]});
    world.ok("CreateTags", tagged).await;
    let acls = world.ok("DescribeNetworkAcls", filter("tag:tier", "outer")).await;
    assert_eq!(each(&acls["NetworkAcls"], "NetworkAclId"), [acl.as_str().unwrap()]);
    assert_eq!(
        acls["NetworkAcls"][0]["Tags"],
        json!([{"Key": "tier", "Value": "outer"}])
    );
    let described = world.ok("DescribeTags", filter("resource-type", "network-acl")).await;
    assert_eq!(each(&described["Tags"], "Value"), ["outer"]);
    let vpcs = world.ok("DescribeVpcs", json!({"VpcIds": [vpc]})).await;
    let options = vpcs["Vpcs"][0]["DhcpOptionsId"].clone();
    let found = world
        .ok("DescribeDhcpOptions", json!({"DhcpOptionsIds": [options]}))
        .await;
    let configurations = &found["DhcpOptions"][0]["DhcpConfigurations"];
    assert_eq!(each(configurations, "Key"), ["domain-name", "domain-name-servers"]);
}

#[tokio::test]
async fn further_ranges_come_and_go() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let input = json!({"VpcId": vpc, "CidrBlock": "10.1.0.0/16"});
    let made = world.ok("AssociateVpcCidrBlock", input.clone()).await;
    let association = made["CidrBlockAssociation"]["AssociationId"].clone();
    assert_eq!(made["CidrBlockAssociation"]["CidrBlockState"]["State"], "associating");
    let refused = world.refused("AssociateVpcCidrBlock", input).await;
    assert!(refused.starts_with("InvalidVpc.Range: "), "{refused}");
    let subnet = world.subnet(&vpc, "10.1.2.0/24").await;
    let gone = json!({"AssociationId": association});
    let refused = world.refused("DisassociateVpcCidrBlock", gone.clone()).await;
    assert!(refused.starts_with("InvalidCidrBlock.InUse: "), "{refused}");
    world.ok("DeleteSubnet", json!({"SubnetId": subnet})).await;
    world.ok("DisassociateVpcCidrBlock", gone).await;
    for n in 1..5 {
        let input = json!({"VpcId": vpc, "CidrBlock": format!("10.{n}.0.0/16")});
        world.ok("AssociateVpcCidrBlock", input).await;
    }
    let input = json!({"VpcId": vpc, "CidrBlock": "10.9.0.0/16"});
    let refused = world.refused("AssociateVpcCidrBlock", input).await;
    assert!(refused.starts_with("VpcCidrLimitExceeded: "), "{refused}");
    let vpcs = world.ok("DescribeVpcs", json!({"VpcIds": [vpc]})).await;
    let primary = &vpcs["Vpcs"][0]["CidrBlockAssociationSet"][0]["AssociationId"];
    let refused = world
        .refused("DisassociateVpcCidrBlock", json!({"AssociationId": primary}))
        .await;
    assert!(refused.starts_with("OperationNotPermitted: "), "{refused}");
}

#[tokio::test]
async fn subnets_lie_in_their_vpc_and_apart_from_each_other() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let made = world
        .ok("CreateSubnet", json!({"VpcId": vpc, "CidrBlock": "10.0.1.9/24"}))
        .await;
    let subnet = &made["Subnet"];
    assert_eq!(subnet["CidrBlock"], "10.0.1.0/24");
    assert_eq!(subnet["AvailableIpAddressCount"], 251);
    assert_eq!(subnet["MapPublicIpOnLaunch"], false);
    assert_eq!(subnet["DefaultForAz"], false);
    assert_eq!(subnet["State"], "available");
    let arn = format!(
        "arn:aws:ec2:us-east-1:000000000000:subnet/{}",
        subnet["SubnetId"].as_str().unwrap()
    );
    assert_eq!(subnet["SubnetArn"], json!(arn));
    let make = |cidr: &str| json!({"VpcId": vpc, "CidrBlock": cidr});
    for (input, expected) in [
        (
            make("10.0.1.128/25"),
            "InvalidSubnet.Conflict: The CIDR '10.0.1.128/25' conflicts with another subnet",
        ),
        (
            make("10.0.0.0/16"),
            "InvalidSubnet.Conflict: The CIDR '10.0.0.0/16' conflicts with another subnet",
        ),
        (
            make("10.1.0.0/24"),
            "InvalidSubnet.Range: The CIDR '10.1.0.0/24' is invalid.",
        ),
        (
            make("10.0.2.0/29"),
            "InvalidSubnet.Range: The CIDR '10.0.2.0/29' is invalid.",
        ),
        (
            make("10.0.2.0/99"),
            "InvalidParameterValue: Value (10.0.2.0/99) for parameter cidrBlock is invalid. This is not a valid CIDR \
             block.",
        ),
        (
            json!({"VpcId": "vpc-0", "CidrBlock": "10.0.2.0/24"}),
            "InvalidVpcID.NotFound: The vpc ID 'vpc-0' does not exist",
        ),
        (
            json!({"VpcId": vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZone": "us-east-1z"}),
            "InvalidParameterValue: Value (us-east-1z) for parameter availabilityZone is invalid. Subnets can currently \
             only be created in the following availability zones: us-east-1a, us-east-1b, us-east-1c.",
        ),
    ] {
        assert_eq!(world.refused("CreateSubnet", input).await, expected);
    }
    let by_id = json!({"VpcId": vpc, "CidrBlock": "10.0.2.0/24", "AvailabilityZoneId": "use1-az3"});
    assert_eq!(
        world.ok("CreateSubnet", by_id).await["Subnet"]["AvailabilityZone"],
        "us-east-1c"
    );
}

#[tokio::test]
async fn attributes_change_one_at_a_time() {
    let world = World::new().await;
    let vpc = world.vpc("10.0.0.0/16").await;
    let subnet = world.subnet(&vpc, "10.0.0.0/24").await;
    let input = json!({"SubnetId": subnet, "MapPublicIpOnLaunch": {"Value": true}});
    world.ok("ModifySubnetAttribute", input).await;
    let found = world.ok("DescribeSubnets", json!({"SubnetIds": [subnet]})).await;
    assert_eq!(found["Subnets"][0]["MapPublicIpOnLaunch"], true);
    let both = json!({"SubnetId": subnet, "MapPublicIpOnLaunch": {"Value": true},
                      "EnableResourceNameDnsARecordOnLaunch": {"Value": true}});
    let refused = world.refused("ModifySubnetAttribute", both).await;
    assert!(refused.starts_with("InvalidParameterCombination: "), "{refused}");
    let refused = world
        .refused("ModifySubnetAttribute", json!({"SubnetId": subnet}))
        .await;
    assert!(refused.starts_with("InvalidParameterCombination: "), "{refused}");
    let input = json!({"VpcId": vpc, "EnableDnsHostnames": {"Value": true}});
    world.ok("ModifyVpcAttribute", input).await;
    let asked = json!({"VpcId": vpc, "Attribute": "enableDnsHostnames"});
    let found = world.ok("DescribeVpcAttribute", asked).await;
    assert_eq!(found["EnableDnsHostnames"]["Value"], true);
}

#[tokio::test]
async fn a_deleted_default_vpc_stays_away_until_it_is_made_again() {
    let world = World::new().await;
    let find = || async { world.ok("DescribeVpcs", filter("is-default", "true")).await["Vpcs"].clone() };
    let vpc = find().await[0]["VpcId"].as_str().unwrap().to_owned();
    let subnets = world.ok("DescribeSubnets", filter("vpc-id", &vpc)).await;
    for subnet in each(&subnets["Subnets"], "SubnetId") {
        world.ok("DeleteSubnet", json!({"SubnetId": subnet})).await;
    }
    let gateways = world
        .ok("DescribeInternetGateways", filter("attachment.vpc-id", &vpc))
        .await;
    let gateway = gateways["InternetGateways"][0]["InternetGatewayId"]
        .as_str()
        .unwrap()
        .to_owned();
    let refused = world.refused("DeleteVpc", json!({"VpcId": vpc})).await;
    assert_eq!(
        refused,
        format!("DependencyViolation: The vpc '{vpc}' has dependencies and cannot be deleted.")
    );
    let detach = json!({"InternetGatewayId": gateway, "VpcId": vpc});
    world.ok("DetachInternetGateway", detach).await;
    world.ok("DeleteVpc", json!({"VpcId": vpc})).await;
    assert_eq!(find().await, json!([]));
    let refused = world
        .refused("CreateDefaultSubnet", json!({"AvailabilityZone": "us-east-1a"}))
        .await;
    assert!(refused.starts_with("DefaultVpcDoesNotExist: "), "{refused}");
    for (operation, input) in [
        ("CreateSecurityGroup", json!({"GroupName": "web", "Description": "d"})),
        ("DescribeSecurityGroups", json!({"GroupNames": ["web"]})),
    ] {
        let refused = world.refused(operation, input).await;
        assert_eq!(refused, "VPCIdNotSpecified: No default VPC for this user");
    }

    // The gateway serves another VPC by now, and keeps doing so.
    let other = world.vpc("10.0.0.0/16").await;
    let attach = json!({"InternetGatewayId": gateway, "VpcId": other});
    world.ok("AttachInternetGateway", attach).await;
    let made = world.ok("CreateDefaultVpc", json!({})).await;
    let vpc = made["Vpc"]["VpcId"].as_str().unwrap().to_owned();
    let gateways = world
        .ok("DescribeInternetGateways", filter("attachment.vpc-id", &other))
        .await;
    assert_eq!(
        each(&gateways["InternetGateways"], "InternetGatewayId"),
        [gateway.as_str()]
    );
    let subnets = world.ok("DescribeSubnets", filter("vpc-id", &vpc)).await;
    assert_eq!(subnets["Subnets"].as_array().unwrap().len(), 3);
    let task = world
        .task(subnets["Subnets"][0]["SubnetId"].as_str().unwrap(), true)
        .await;
    assert_eq!(world.ways_out(task.address), ["0.0.0.0/0"]);
    let refused = world.refused("CreateDefaultVpc", json!({})).await;
    assert!(
        refused.starts_with("DefaultVpcAlreadyExists: A Default VPC already exists"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_default_subnet_can_be_made_again() {
    let world = World::new().await;
    let zone = json!({"AvailabilityZone": "us-east-1b"});
    let refused = world.refused("CreateDefaultSubnet", zone.clone()).await;
    assert!(
        refused.starts_with("DefaultSubnetAlreadyExistsInAvailabilityZone: "),
        "{refused}"
    );
    let before = world
        .ok("DescribeSubnets", filter("availability-zone", "us-east-1b"))
        .await;
    let id = before["Subnets"][0]["SubnetId"].clone();
    world.ok("DeleteSubnet", json!({"SubnetId": id})).await;
    let made = world.ok("CreateDefaultSubnet", zone).await;
    assert_eq!(made["Subnet"]["DefaultForAz"], true);
    assert_eq!(made["Subnet"]["CidrBlock"], before["Subnets"][0]["CidrBlock"]);
}

#[tokio::test]
async fn a_dry_run_changes_nothing() {
    let world = World::new().await;
    let dry: [(&str, Value); 5] = [
        ("CreateVpc", json!({"CidrBlock": "10.0.0.0/16", "DryRun": true})),
        ("CreateInternetGateway", json!({"DryRun": true})),
        ("AllocateAddress", json!({"DryRun": true})),
        ("CreateDefaultVpc", json!({"DryRun": true})),
        ("DescribeRouteTables", json!({"DryRun": true})),
    ];
    for (operation, input) in dry {
        let refused = world.refused(operation, input).await;
        assert_eq!(
            refused,
            "DryRunOperation: Request would have succeeded, but DryRun flag is set."
        );
    }
}
