//! The describe operations through the table, as the front door calls them.

use crate::Ec2;
use crate::region::DEFAULT_VPC_CIDR;
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_store::Store;
use neargate_wire::ServiceDispatch;
use serde_json::{Value, json};
use std::sync::Arc;

mod races;

fn ec2() -> Ec2 {
    Ec2 {
        store: Store::in_memory(&crate::kinds()),
        clock: Arc::new(ManualClock::default()),
        ids: Arc::new(CountingIds::default()),
        account: "000000000000".to_owned(),
        vpc_cidr: DEFAULT_VPC_CIDR,
        public_cidr: crate::region::DEFAULT_PUBLIC_CIDR,
        foreign_ranges: Arc::new(Vec::new),
        rules_per_group: 60,
    }
}

fn cx(region: &str) -> RequestContext {
    RequestContext {
        request_id: String::new(),
        region: region.to_owned(),
        account: "000000000000".to_owned(),
        caller_arn: "arn:aws:iam::000000000000:root".to_owned(),
        caller_id: "000000000000".to_owned(),
        access_key: String::new(),
        now: Timestamp::from_secs(1),
    }
}

async fn call(ec2: &Ec2, operation: &str, input: Value) -> Result<Value, AwsError> {
    let cx = cx("us-east-1");
    ec2.call(operation, &cx, input)
        .unwrap()
        .await
        .map(|reply| reply.tree().unwrap())
}

async fn refused(ec2: &Ec2, operation: &str, input: Value) -> String {
    call(ec2, operation, input).await.unwrap_err().to_string()
}

fn filter(name: &str, value: &str) -> Value {
    json!({"Filters": [{"Name": name, "Values": [value]}]})
}

#[test]
fn the_table_ascends_and_serves_what_the_schema_lists() {
    let names: Vec<_> = crate::routes().iter().map(|r| r.operation).collect();
    let schema: Vec<_> = crate::api::schema::SERVICE.operations.iter().map(|o| o.name).collect();
    assert_eq!(names, schema);
}

#[tokio::test]
async fn the_default_vpc_has_a_subnet_in_each_zone_and_a_default_group() {
    let ec2 = ec2();
    let vpcs = call(&ec2, "DescribeVpcs", json!({})).await.unwrap();
    let vpc = &vpcs["Vpcs"][0];
    assert_eq!(vpcs["Vpcs"].as_array().unwrap().len(), 1);
    assert_eq!(vpc["CidrBlock"], "172.31.0.0/16");
    assert_eq!(vpc["IsDefault"], true);
    assert_eq!(
        vpc["CidrBlockAssociationSet"][0]["CidrBlockState"]["State"],
        "associated"
    );

    let mut found = Vec::new();
    for zone in ["us-east-1a", "us-east-1b", "us-east-1c"] {
        let subnets = call(&ec2, "DescribeSubnets", filter("availability-zone", zone))
            .await
            .unwrap();
        let subnet = &subnets["Subnets"][0];
        assert_eq!(subnet["VpcId"], vpc["VpcId"]);
        assert_eq!(subnet["AvailableIpAddressCount"], 4091);
        found.push(subnet["CidrBlock"].clone());
    }
    assert_eq!(found, ["172.31.0.0/20", "172.31.16.0/20", "172.31.32.0/20"]);

    let groups = call(&ec2, "DescribeSecurityGroups", json!({"GroupNames": ["default"]}))
        .await
        .unwrap();
    let group = &groups["SecurityGroups"][0];
    assert_eq!(
        group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"],
        group["GroupId"]
    );
    assert_eq!(group["IpPermissionsEgress"][0]["IpRanges"][0]["CidrIp"], "0.0.0.0/0");
}

#[tokio::test]
async fn ids_are_the_same_in_every_life_and_differ_between_regions() {
    let (one, two) = (ec2(), ec2());
    let a = call(&one, "DescribeSubnets", json!({})).await.unwrap();
    assert_eq!(a, call(&two, "DescribeSubnets", json!({})).await.unwrap());
    let cx = cx("eu-west-1");
    let b = two
        .call("DescribeSubnets", &cx, json!({}))
        .unwrap()
        .await
        .unwrap()
        .tree()
        .unwrap();
    assert_ne!(a["Subnets"][0]["SubnetId"], b["Subnets"][0]["SubnetId"]);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let ec2 = ec2();
    for (operation, input, expected) in [
        (
            "DescribeVpcs",
            json!({"VpcIds": ["vpc-0123"]}),
            "InvalidVpcID.NotFound: The vpc ID 'vpc-0123' does not exist",
        ),
        (
            "DescribeSubnets",
            json!({"SubnetIds": ["subnet-1", "subnet-2"]}),
            "InvalidSubnetID.NotFound: The subnet IDs 'subnet-1, subnet-2' do not exist",
        ),
        (
            "DescribeSubnets",
            json!({"SubnetIds": ["vpc-1"]}),
            "InvalidSubnetID.Malformed: Invalid id: \"vpc-1\" (expecting \"subnet-...\")",
        ),
        (
            "DescribeSecurityGroups",
            json!({"GroupIds": ["sg-1"]}),
            "InvalidGroup.NotFound: The security group 'sg-1' does not exist",
        ),
        (
            "DescribeVpcs",
            filter("color", "blue"),
            "InvalidParameterValue: The filter 'color' is invalid",
        ),
        // Where there is nothing to filter too.
        (
            "DescribeAddresses",
            filter("color", "blue"),
            "InvalidParameterValue: The filter 'color' is invalid",
        ),
        (
            "DescribeVpcs",
            json!({"Filters": [{"Name": "vpc-id", "Values": ["vpc-0"]}, {"Name": "color", "Values": ["blue"]}]}),
            "InvalidParameterValue: The filter 'color' is invalid",
        ),
        (
            "DescribeInternetGateways",
            json!({"Filters": [{"Name": "owner-id"}]}),
            "InvalidParameterValue: The filter 'owner-id' must have at least one value",
        ),
        (
            "DescribeSubnets",
            json!({"Filters": [{"Name": "vpc-id", "Values": vec!["vpc-0"; 201]}]}),
            "FilterLimitExceeded: The maximum number of filter values specified on a single call is 200",
        ),
        (
            "DescribeVpcs",
            json!({"NextToken": "x"}),
            "InvalidNextToken: The token is not valid.",
        ),
        (
            "DescribeVpcs",
            json!({"DryRun": true}),
            "DryRunOperation: Request would have succeeded, but DryRun flag is set.",
        ),
        (
            "DescribeAvailabilityZones",
            json!({"ZoneNames": ["us-east-1z"]}),
            "InvalidParameterValue: Invalid availability zone: [us-east-1z]",
        ),
        (
            "DescribeRegions",
            json!({"RegionNames": ["mars-1"]}),
            "InvalidParameterValue: Invalid region names provided: mars-1",
        ),
    ] {
        assert_eq!(refused(&ec2, operation, input).await, expected);
    }
}

#[tokio::test]
async fn filters_combine_and_pages_cover_everything() {
    let ec2 = ec2();
    let tagged = call(&ec2, "DescribeVpcs", filter("tag:Owner", "TeamA")).await.unwrap();
    assert_eq!(tagged["Vpcs"], json!([]));
    let any = json!({"Filters": [
        {"Name": "ip-permission.protocol", "Values": ["-1"]},
        {"Name": "group-name", "Values": ["def*"]}]});
    let groups = call(&ec2, "DescribeSecurityGroups", any).await.unwrap();
    assert_eq!(groups["SecurityGroups"].as_array().unwrap().len(), 1);

    let first = call(&ec2, "DescribeSubnets", json!({"MaxResults": 2})).await.unwrap();
    assert_eq!(first["Subnets"].as_array().unwrap().len(), 2);
    let token = first["NextToken"].as_str().unwrap();
    let rest = call(&ec2, "DescribeSubnets", json!({"MaxResults": 2, "NextToken": token}))
        .await
        .unwrap();
    assert_eq!(rest["Subnets"].as_array().unwrap().len(), 1);
    assert!(rest.get("NextToken").is_none());
    let id = first["Subnets"][0]["SubnetId"].clone();
    let both = refused(&ec2, "DescribeSubnets", json!({"MaxResults": 5, "SubnetIds": [id]})).await;
    assert!(both.starts_with("InvalidParameterCombination"), "{both}");
}

#[tokio::test]
async fn zones_and_regions_answer() {
    let ec2 = ec2();
    let zones = call(&ec2, "DescribeAvailabilityZones", filter("zone-id", "use1-az2"))
        .await
        .unwrap();
    assert_eq!(zones["AvailabilityZones"][0]["ZoneName"], "us-east-1b");
    let regions = call(&ec2, "DescribeRegions", json!({"RegionNames": ["eu-west-1"]}))
        .await
        .unwrap();
    assert_eq!(regions["Regions"][0]["Endpoint"], "ec2.eu-west-1.amazonaws.com");
}

#[tokio::test]
async fn attributes_of_a_vpc_are_answered_one_at_a_time() {
    let ec2 = ec2();
    let vpcs = call(&ec2, "DescribeVpcs", json!({})).await.unwrap();
    let id = &vpcs["Vpcs"][0]["VpcId"];
    for (asked, member, value) in [
        ("enableDnsSupport", "EnableDnsSupport", true),
        ("enableDnsHostnames", "EnableDnsHostnames", true),
        (
            "enableNetworkAddressUsageMetrics",
            "EnableNetworkAddressUsageMetrics",
            false,
        ),
    ] {
        let reply = call(&ec2, "DescribeVpcAttribute", json!({"VpcId": id, "Attribute": asked}))
            .await
            .unwrap();
        assert_eq!(reply, json!({"VpcId": id, member: {"Value": value}}));
    }
    let unknown = json!({"VpcId": "vpc-00000000000000000", "Attribute": "enableDnsSupport"});
    let missing = refused(&ec2, "DescribeVpcAttribute", unknown).await;
    assert!(missing.contains("InvalidVpcID.NotFound"), "{missing}");
}
