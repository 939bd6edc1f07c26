//! One EC2 on a store in memory, called by operation name with JSON under the model's member names.

use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_core::{AwsError, RequestContext, Timestamp};
use neargate_ec2::interface::{self, AllocateRequest, InterfaceOwner};
use neargate_ec2::region::{DEFAULT_PUBLIC_CIDR, DEFAULT_VPC_CIDR};
use neargate_ec2::{Ec2, InterfaceRecord, network};
use neargate_link::network::{InterfaceEntry, NetworkEntry};
use neargate_store::{Store, Txn};
use neargate_wire::ServiceDispatch;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const REGION: &str = "us-east-1";
pub const ACCOUNT: &str = "000000000000";

pub struct World {
    pub ec2: Ec2,
    seconds: AtomicU64,
}

impl World {
    /// A region in use, with its default VPC.
    pub async fn new() -> World {
        World::beside(Vec::new()).await
    }

    /// On a machine that has these networks already.
    pub async fn beside(foreign: Vec<(Ipv4Addr, u8)>) -> World {
        let ec2 = Ec2 {
            store: Store::in_memory(&neargate_ec2::kinds()),
            clock: Arc::new(ManualClock::default()),
            ids: Arc::new(CountingIds::default()),
            account: ACCOUNT.to_owned(),
            vpc_cidr: DEFAULT_VPC_CIDR,
            public_cidr: DEFAULT_PUBLIC_CIDR,
            foreign_ranges: Arc::new(move || foreign.clone()),
            rules_per_group: 60,
        };
        ec2.ensure_region(REGION).await.unwrap();
        World {
            ec2,
            seconds: AtomicU64::new(1_000_000),
        }
    }

    pub fn pass(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_secs(self.seconds.load(Ordering::SeqCst).try_into().unwrap())
    }

    pub async fn call(&self, operation: &str, input: Value) -> Result<Value, AwsError> {
        let cx = RequestContext {
            request_id: String::new(),
            region: REGION.to_owned(),
            account: ACCOUNT.to_owned(),
            caller_arn: format!("arn:aws:iam::{ACCOUNT}:root"),
            caller_id: ACCOUNT.to_owned(),
            access_key: String::new(),
            now: self.now(),
        };
        let running = self.ec2.call(operation, &cx, input).expect("EC2 serves the operation");
        running.await.map(|reply| reply.tree().unwrap())
    }

    /// The answer of what must succeed.
    pub async fn ok(&self, operation: &str, input: Value) -> Value {
        match self.call(operation, input.clone()).await {
            Ok(answer) => answer,
            Err(error) => panic!("{operation} {input}: {error}"),
        }
    }

    /// `code: message` of what must be refused, and change nothing.
    pub async fn refused(&self, operation: &str, input: Value) -> String {
        let before = self.ec2.store.snapshot().revision();
        match self.call(operation, input.clone()).await {
            Ok(answer) => panic!("{operation} {input} was not refused: {answer}"),
            Err(error) => {
                assert_eq!(
                    self.ec2.store.snapshot().revision(),
                    before,
                    "{operation} changed something"
                );
                error.to_string()
            }
        }
    }

    /// The id at `pointer` of a creation's answer.
    async fn made(&self, operation: &str, input: Value, pointer: &str) -> String {
        let answer = self.ok(operation, input).await;
        answer
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("{pointer} of {answer}"))
            .to_owned()
    }

    pub async fn vpc(&self, cidr: &str) -> String {
        self.made("CreateVpc", json!({"CidrBlock": cidr}), "/Vpc/VpcId").await
    }

    pub async fn subnet(&self, vpc: &str, cidr: &str) -> String {
        let input = json!({"VpcId": vpc, "CidrBlock": cidr});
        self.made("CreateSubnet", input, "/Subnet/SubnetId").await
    }

    pub async fn route_table(&self, vpc: &str) -> String {
        self.made("CreateRouteTable", json!({"VpcId": vpc}), "/RouteTable/RouteTableId")
            .await
    }

    pub async fn main_table(&self, vpc: &str) -> String {
        let filters = json!([{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]);
        let input = json!({"Filters": filters});
        self.made("DescribeRouteTables", input, "/RouteTables/0/RouteTableId")
            .await
    }

    pub async fn gateway(&self, vpc: Option<&str>) -> String {
        let id = self
            .made("CreateInternetGateway", json!({}), "/InternetGateway/InternetGatewayId")
            .await;
        if let Some(vpc) = vpc {
            let input = json!({"InternetGatewayId": id, "VpcId": vpc});
            self.ok("AttachInternetGateway", input).await;
        }
        id
    }

    /// Allocation id and address.
    pub async fn address(&self) -> (String, String) {
        let answer = self.ok("AllocateAddress", json!({})).await;
        let text = |name: &str| answer[name].as_str().unwrap().to_owned();
        (text("AllocationId"), text("PublicIp"))
    }

    pub async fn nat(&self, subnet: &str, allocation: Option<&str>) -> String {
        let input = match allocation {
            Some(id) => json!({"SubnetId": subnet, "AllocationId": id}),
            None => json!({"SubnetId": subnet, "ConnectivityType": "private"}),
        };
        self.made("CreateNatGateway", input, "/NatGateway/NatGatewayId").await
    }

    pub async fn interface(&self, subnet: &str) -> String {
        let input = json!({"SubnetId": subnet});
        self.made("CreateNetworkInterface", input, "/NetworkInterface/NetworkInterfaceId")
            .await
    }

    pub async fn group(&self, vpc: &str, name: &str) -> String {
        let input = json!({"VpcId": vpc, "GroupName": name, "Description": "d"});
        self.made("CreateSecurityGroup", input, "/GroupId").await
    }

    pub async fn prefix_list(&self, ranges: &[&str]) -> String {
        let entries: Vec<Value> = ranges.iter().map(|cidr| json!({"Cidr": cidr})).collect();
        let input = json!({"PrefixListName": "l", "AddressFamily": "IPv4", "MaxEntries": 10, "Entries": entries});
        self.made("CreateManagedPrefixList", input, "/PrefixList/PrefixListId")
            .await
    }

    /// An interface as placement takes one for a task.
    pub async fn task(&self, subnet: &str, public: bool) -> InterfaceRecord {
        let mut txn = Txn::new();
        let request = AllocateRequest {
            region: REGION.to_owned(),
            subnet_id: subnet.to_owned(),
            security_groups: Vec::new(),
            description: String::new(),
            now: self.now(),
            start_hint: None,
            owner: InterfaceOwner::Task {
                arn: "arn:task".to_owned(),
            },
            public,
        };
        let made = interface::allocate(&self.ec2.store.snapshot(), &mut txn, request, &*self.ec2.ids).unwrap();
        self.ec2.store.commit(txn).await.unwrap();
        made
    }

    pub async fn end_task(&self, interface: &str) {
        let mut txn = Txn::new();
        interface::release(&self.ec2.store.snapshot(), &mut txn, REGION, interface);
        self.ec2.store.commit(txn).await.unwrap();
    }

    /// What nodes are told of the interface at an address.
    pub fn told(&self, address: Ipv4Addr) -> InterfaceEntry {
        let table = network::table(&self.ec2.store.snapshot());
        let found = table.into_iter().find_map(|entry| match entry {
            NetworkEntry::Interface(entry) if entry.address == address => Some(entry),
            _ => None,
        });
        found.expect("nodes are told of the interface")
    }

    /// The ways out of an interface, as text.
    pub fn ways_out(&self, address: Ipv4Addr) -> Vec<String> {
        let out = self.told(address).outbound;
        out.into_iter()
            .map(|(base, prefix)| format!("{base}/{prefix}"))
            .collect()
    }
}

pub fn filter(name: &str, value: &str) -> Value {
    json!({"Filters": [{"Name": name, "Values": [value]}]})
}

/// The texts at `member` of each item.
pub fn each<'a>(items: &'a Value, member: &str) -> Vec<&'a str> {
    let items = items.as_array().expect("a list");
    items.iter().map(|item| item[member].as_str().unwrap()).collect()
}
