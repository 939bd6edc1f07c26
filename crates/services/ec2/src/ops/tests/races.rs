//! What is deleted in the very instant in which something comes to depend on it: whichever commits second is refused.

use super::*;
use crate::ops::{internet_gateways, prefix_lists, security_groups, subnets};
use neargate_core::Ids;
use neargate_store::{CommitError, Snapshot, Txn};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

const REGION: &str = "us-east-1";

/// Ids, and what somebody else does while an interface takes its address: after the snapshot, before the commit.
#[derive(Default)]
struct Meddler {
    ids: CountingIds,
    meanwhile: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Ids for Meddler {
    fn bytes(&self) -> [u8; 16] {
        let meddle = self.meanwhile.lock().unwrap().take();
        if let Some(meddle) = meddle {
            meddle();
        }
        self.ids.bytes()
    }

    fn hex17(&self) -> String {
        self.ids.hex17()
    }
}

/// A VPC with a subnet, a group, an internet gateway and an elastic address.
struct Place {
    ec2: Ec2,
    meddler: Arc<Meddler>,
    vpc: String,
    subnet: String,
    group: String,
    gateway: String,
    allocation: String,
}

impl Place {
    async fn new() -> Place {
        let meddler = Arc::new(Meddler::default());
        let ec2 = Ec2 {
            ids: meddler.clone(),
            ..ec2()
        };
        ec2.ensure_region(REGION).await.unwrap();
        let made = async |operation: &str, input: Value, pointer: &str| {
            let answer = call(&ec2, operation, input).await.unwrap();
            answer.pointer(pointer).unwrap().as_str().unwrap().to_owned()
        };
        let vpc = made("CreateVpc", json!({"CidrBlock": "10.0.0.0/16"}), "/Vpc/VpcId").await;
        let subnet = json!({"VpcId": vpc, "CidrBlock": "10.0.1.0/24"});
        let group = json!({"VpcId": vpc, "GroupName": "web", "Description": "d"});
        let subnet = made("CreateSubnet", subnet, "/Subnet/SubnetId").await;
        let group = made("CreateSecurityGroup", group, "/GroupId").await;
        let gateway = made("CreateInternetGateway", json!({}), "/InternetGateway/InternetGatewayId").await;
        let allocation = made("AllocateAddress", json!({}), "/AllocationId").await;
        let place = Place {
            ec2,
            meddler,
            vpc,
            subnet,
            group,
            gateway,
            allocation,
        };
        let attach = json!({"InternetGatewayId": place.gateway, "VpcId": place.vpc});
        place.ok("AttachInternetGateway", attach).await;
        place
    }

    async fn ok(&self, operation: &str, input: Value) -> Value {
        call(&self.ec2, operation, input).await.unwrap()
    }

    /// Does this the next time an interface takes its address.
    fn meanwhile(&self, operation: &'static str, input: Value) {
        let ec2 = self.ec2.clone();
        let meddle = move || match pin!(call(&ec2, operation, input)).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => drop(done.unwrap()),
            Poll::Pending => panic!("a store in memory commits at once"),
        };
        *self.meddler.meanwhile.lock().unwrap() = Some(Box::new(meddle));
    }

    async fn interface(&self) -> String {
        let made = self
            .ok("CreateNetworkInterface", json!({"SubnetId": self.subnet}))
            .await;
        made["NetworkInterface"]["NetworkInterfaceId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// That what was decided before `dependent` was made does not commit after it, and is refused when asked for anew.
    async fn comes_too_late(&self, decide: impl Fn(&Snapshot) -> Result<Txn, AwsError>, dependent: (&str, Value)) {
        let decided = decide(&self.ec2.store.snapshot()).unwrap();
        let (operation, input) = dependent;
        self.ok(operation, input).await;
        let outcome = self.ec2.store.commit(decided).await;
        assert!(matches!(outcome, Err(CommitError::Conflict { .. })), "{operation}");
        let anew = decide(&self.ec2.store.snapshot()).unwrap_err();
        assert_eq!(anew.code, "DependencyViolation", "{operation}");
    }
}

fn tcp(peer: Value) -> Value {
    let mut permission = json!({"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80});
    permission
        .as_object_mut()
        .unwrap()
        .extend(peer.as_object().unwrap().clone());
    json!([permission])
}

#[tokio::test]
async fn no_interface_comes_into_a_subnet_or_group_that_goes() {
    for (operation, member, code) in [
        ("DeleteSubnet", "SubnetId", "InvalidSubnetID.NotFound"),
        ("DeleteSecurityGroup", "GroupId", "InvalidGroup.NotFound"),
    ] {
        let place = Place::new().await;
        let goes = match member {
            "SubnetId" => &place.subnet,
            _ => &place.group,
        };
        place.meanwhile(operation, json!({ member: goes }));
        let input = json!({"SubnetId": place.subnet, "Groups": [place.group]});
        let refused = refused(&place.ec2, "CreateNetworkInterface", input).await;
        assert!(refused.starts_with(code), "{refused}");
        let left = place.ok("DescribeNetworkInterfaces", json!({})).await;
        assert_eq!(left["NetworkInterfaces"], json!([]));
    }
}

#[tokio::test]
async fn no_nat_gateway_comes_where_the_internet_gateway_goes() {
    let place = Place::new().await;
    let detach = json!({"InternetGatewayId": place.gateway, "VpcId": place.vpc});
    place.meanwhile("DetachInternetGateway", detach);
    let input = json!({"SubnetId": place.subnet, "AllocationId": place.allocation});
    place.ok("CreateNatGateway", input).await;
    let found = place.ok("DescribeNatGateways", json!({})).await;
    assert_eq!(found["NatGateways"][0]["FailureCode"], "Gateway.NotAttached");
}

#[tokio::test]
async fn a_subnet_stays_where_an_interface_has_come() {
    let place = Place::new().await;
    let deletion = |snapshot: &Snapshot| subnets::deletion(snapshot, REGION, &place.subnet);
    let input = json!({"SubnetId": place.subnet});
    place.comes_too_late(deletion, ("CreateNetworkInterface", input)).await;
}

#[tokio::test]
async fn an_interface_elsewhere_keeps_no_subnet() {
    let place = Place::new().await;
    let other = json!({"VpcId": place.vpc, "CidrBlock": "10.0.2.0/24"});
    let other = place.ok("CreateSubnet", other).await["Subnet"]["SubnetId"].take();
    let decided = subnets::deletion(&place.ec2.store.snapshot(), REGION, &place.subnet).unwrap();
    place.ok("CreateNetworkInterface", json!({ "SubnetId": other })).await;
    place.ec2.store.commit(decided).await.unwrap();
}

#[tokio::test]
async fn a_group_stays_that_an_interface_or_a_rule_has_come_to_name() {
    let place = Place::new().await;
    let group = security_groups::find(&place.ec2.store.snapshot(), REGION, &place.group).unwrap();
    let deletion = |snapshot: &Snapshot| security_groups::deletion(snapshot, &group);
    let made = json!({"SubnetId": place.subnet, "Groups": [place.group]});
    place.comes_too_late(deletion, ("CreateNetworkInterface", made)).await;

    let place = Place::new().await;
    let id = place.interface().await;
    let group = security_groups::find(&place.ec2.store.snapshot(), REGION, &place.group).unwrap();
    let deletion = |snapshot: &Snapshot| security_groups::deletion(snapshot, &group);
    let regrouped = json!({"NetworkInterfaceId": id, "Groups": [place.group]});
    place
        .comes_too_late(deletion, ("ModifyNetworkInterfaceAttribute", regrouped))
        .await;

    let place = Place::new().await;
    let other = json!({"VpcId": place.vpc, "GroupName": "other", "Description": "d"});
    let other = place.ok("CreateSecurityGroup", other).await["GroupId"].take();
    let group = security_groups::find(&place.ec2.store.snapshot(), REGION, &place.group).unwrap();
    let deletion = |snapshot: &Snapshot| security_groups::deletion(snapshot, &group);
    let peer = json!({"UserIdGroupPairs": [{"GroupId": place.group}]});
    let rule = json!({"GroupId": other, "IpPermissions": tcp(peer)});
    place
        .comes_too_late(deletion, ("AuthorizeSecurityGroupIngress", rule))
        .await;
}

#[tokio::test]
async fn an_internet_gateway_stays_where_a_public_address_has_come() {
    let place = Place::new().await;
    let id = place.interface().await;
    let detachment = |snapshot: &Snapshot| internet_gateways::detachment(snapshot, REGION, &place.gateway, &place.vpc);
    let input = json!({"AllocationId": place.allocation, "NetworkInterfaceId": id});
    place.comes_too_late(detachment, ("AssociateAddress", input)).await;
}

#[tokio::test]
async fn a_prefix_list_stays_that_a_rule_or_a_route_has_come_to_name() {
    for by_rule in [true, false] {
        let place = Place::new().await;
        let list = json!({"PrefixListName": "l", "AddressFamily": "IPv4", "MaxEntries": 1});
        let list = place.ok("CreateManagedPrefixList", list).await["PrefixList"]["PrefixListId"].take();
        let list = list.as_str().unwrap();
        let dependent = match by_rule {
            true => {
                let peer = json!({"PrefixListIds": [{ "PrefixListId": list }]});
                let input = json!({"GroupId": place.group, "IpPermissions": tcp(peer)});
                ("AuthorizeSecurityGroupIngress", input)
            }
            false => {
                let table = place.ok("CreateRouteTable", json!({"VpcId": place.vpc})).await;
                let input = json!({"RouteTableId": table["RouteTable"]["RouteTableId"],
                                   "DestinationPrefixListId": list, "GatewayId": place.gateway});
                ("CreateRoute", input)
            }
        };
        let deletion = |snapshot: &Snapshot| prefix_lists::deletion(snapshot, REGION, list);
        place.comes_too_late(deletion, dependent).await;
    }
}
