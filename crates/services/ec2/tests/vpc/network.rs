//! Nodes that apply changes one by one end up with what a node that connects now is given whole.

use crate::world::{World, filter};
use neargate_ec2::network;
use neargate_ec2::records::{
    AddressRecord, EndpointRecord, InterfaceRecord, InternetGatewayRecord, NatGatewayRecord, PrefixListRecord,
    RouteTableRecord, SecurityGroupRecord, SubnetRecord, VpcRecord,
};
use neargate_link::network::NetworkEntry;
use neargate_store::Snapshot;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

type Table = BTreeMap<String, NetworkEntry>;

/// One call, of which the numbers choose the operands among what there is.
type Step = (u8, u16, u16, u16);

fn whole(snapshot: &Snapshot) -> Table {
    network::table(snapshot)
        .into_iter()
        .map(|entry| (entry.key(), entry))
        .collect()
}

/// What there is to choose from.
struct There(Snapshot);

impl There {
    fn pick<T>(mut all: Vec<T>, n: u16) -> Option<T> {
        (!all.is_empty()).then(|| all.swap_remove(usize::from(n) % all.len()))
    }

    fn vpc(&self, n: u16) -> Option<(String, String)> {
        let all = self
            .0
            .range::<VpcRecord>("")
            .map(|(_, r)| (r.id.clone(), r.cidr.0.to_string()));
        Self::pick(all.collect(), n)
    }

    fn subnet(&self, n: u16) -> Option<String> {
        Self::pick(self.0.range::<SubnetRecord>("").map(|(_, r)| r.id.clone()).collect(), n)
    }

    fn table(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0
                .range::<RouteTableRecord>("")
                .map(|(_, r)| r.id.clone())
                .collect(),
            n,
        )
    }

    /// Associations, main ones too.
    fn association(&self, n: u16) -> Option<String> {
        let tables = self.0.range::<RouteTableRecord>("");
        let all = tables.flat_map(|(_, t)| {
            let own = t.associations.iter().map(|a| a.id.clone()).collect::<Vec<_>>();
            own.into_iter().chain(t.main_association.clone())
        });
        Self::pick(all.collect(), n)
    }

    fn gateway(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0
                .range::<InternetGatewayRecord>("")
                .map(|(_, r)| r.id.clone())
                .collect(),
            n,
        )
    }

    fn nat(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0
                .range::<NatGatewayRecord>("")
                .map(|(_, r)| r.id.clone())
                .collect(),
            n,
        )
    }

    fn address(&self, n: u16) -> Option<String> {
        let all = self.0.range::<AddressRecord>("");
        Self::pick(all.filter_map(|(_, r)| r.allocation_id.clone()).collect(), n)
    }

    fn interface(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0.range::<InterfaceRecord>("").map(|(_, r)| r.id.clone()).collect(),
            n,
        )
    }

    fn group(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0
                .range::<SecurityGroupRecord>("")
                .map(|(_, r)| r.id.clone())
                .collect(),
            n,
        )
    }

    fn list(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0
                .range::<PrefixListRecord>("")
                .map(|(_, r)| r.id.clone())
                .collect(),
            n,
        )
    }

    fn endpoint(&self, n: u16) -> Option<String> {
        Self::pick(
            self.0.range::<EndpointRecord>("").map(|(_, r)| r.id.clone()).collect(),
            n,
        )
    }

    fn destination(&self, n: u16) -> Value {
        match (n % 7, self.list(n / 7)) {
            (0, Some(list)) => json!({"DestinationPrefixListId": list}),
            (1, _) => json!({"DestinationCidrBlock": "8.0.0.0/8"}),
            (2, _) => json!({"DestinationCidrBlock": "8.8.0.0/16"}),
            (3, _) => json!({"DestinationCidrBlock": "8.8.8.0/24"}),
            _ => json!({"DestinationCidrBlock": "0.0.0.0/0"}),
        }
    }

    /// A call, if what it needs is there; `None` for a task's beginning or end.
    fn call(&self, (kind, a, b, c): Step) -> Option<(&'static str, Value)> {
        Some(match kind {
            0 => ("CreateVpc", json!({"CidrBlock": format!("10.{}.0.0/16", a % 3)})),
            1 => ("DeleteVpc", json!({"VpcId": self.vpc(a)?.0})),
            2 => {
                let (vpc, base) = self.vpc(a)?;
                let base: Ipv4Addr = base.parse().ok()?;
                let [x, y, ..] = base.octets();
                (
                    "CreateSubnet",
                    json!({"VpcId": vpc, "CidrBlock": format!("{x}.{y}.{}.0/24", 100 + b % 4)}),
                )
            }
            3 => ("DeleteSubnet", json!({"SubnetId": self.subnet(a)?})),
            4 => ("CreateRouteTable", json!({"VpcId": self.vpc(a)?.0})),
            5 => (
                "AssociateRouteTable",
                json!({"RouteTableId": self.table(a)?, "SubnetId": self.subnet(b)?}),
            ),
            6 => ("DisassociateRouteTable", json!({"AssociationId": self.association(a)?})),
            7 => (
                "ReplaceRouteTableAssociation",
                json!({"AssociationId": self.association(a)?, "RouteTableId": self.table(b)?}),
            ),
            8..=11 => {
                let mut input = self.destination(b);
                input["RouteTableId"] = json!(self.table(a)?);
                let (member, target) = match c % 3 {
                    0 => ("NatGatewayId", self.nat(c / 3)?),
                    1 => ("GatewayId", self.gateway(c / 3)?),
                    _ => ("NetworkInterfaceId", self.interface(c / 3)?),
                };
                input[member] = json!(target);
                (if kind < 11 { "CreateRoute" } else { "ReplaceRoute" }, input)
            }
            12 => {
                let mut input = self.destination(b);
                input["RouteTableId"] = json!(self.table(a)?);
                ("DeleteRoute", input)
            }
            13 => ("CreateInternetGateway", json!({})),
            14 => (
                "AttachInternetGateway",
                json!({"InternetGatewayId": self.gateway(a)?, "VpcId": self.vpc(b)?.0}),
            ),
            15 => (
                "DetachInternetGateway",
                json!({"InternetGatewayId": self.gateway(a)?, "VpcId": self.vpc(b)?.0}),
            ),
            16 => ("DeleteInternetGateway", json!({"InternetGatewayId": self.gateway(a)?})),
            17 => ("AllocateAddress", json!({})),
            18 => (
                "AssociateAddress",
                json!({"AllocationId": self.address(a)?, "NetworkInterfaceId": self.interface(b)?}),
            ),
            19 => ("ReleaseAddress", json!({"AllocationId": self.address(a)?})),
            20 => (
                "CreateNatGateway",
                json!({"SubnetId": self.subnet(a)?, "AllocationId": self.address(b)?}),
            ),
            21 => (
                "CreateNatGateway",
                json!({"SubnetId": self.subnet(a)?, "ConnectivityType": "private"}),
            ),
            22 => ("DeleteNatGateway", json!({"NatGatewayId": self.nat(a)?})),
            23 => ("CreateNetworkInterface", json!({"SubnetId": self.subnet(a)?})),
            24 => (
                "DeleteNetworkInterface",
                json!({"NetworkInterfaceId": self.interface(a)?}),
            ),
            25 => (
                "CreateSecurityGroup",
                json!({"VpcId": self.vpc(a)?.0, "GroupName": format!("g{}", b % 3), "Description": "d"}),
            ),
            26 => ("DeleteSecurityGroup", json!({"GroupId": self.group(a)?})),
            27 | 28 => {
                let peer = match (c % 3, self.list(c / 3)) {
                    (0, Some(list)) => json!({"PrefixListIds": [{"PrefixListId": list}]}),
                    (1, _) => json!({"UserIdGroupPairs": [{"GroupId": self.group(c / 3)?}]}),
                    _ => json!({"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}),
                };
                let mut permission = json!({"IpProtocol": "tcp", "FromPort": b % 3, "ToPort": 80});
                permission.as_object_mut()?.extend(peer.as_object()?.clone());
                let operation = match kind {
                    27 => "AuthorizeSecurityGroupIngress",
                    _ => "RevokeSecurityGroupIngress",
                };
                (
                    operation,
                    json!({"GroupId": self.group(a)?, "IpPermissions": [permission]}),
                )
            }
            29 => (
                "ModifyNetworkInterfaceAttribute",
                json!({"NetworkInterfaceId": self.interface(a)?, "Groups": [self.group(b)?]}),
            ),
            30 => (
                "CreateManagedPrefixList",
                json!({"PrefixListName": "l", "AddressFamily": "IPv4", "MaxEntries": 5,
                       "Entries": [{"Cidr": format!("8.8.{}.0/24", a % 16)}]}),
            ),
            31 => {
                let id = self.list(a)?;
                let list = self.0.range::<PrefixListRecord>("").find(|(_, l)| l.id == id)?.1;
                let change = match (b % 2, list.entries.first()) {
                    (0, Some(entry)) => json!({"RemoveEntries": [{"Cidr": entry.cidr}]}),
                    _ => json!({"AddEntries": [{"Cidr": format!("8.{}.0.0/16", c % 16)}]}),
                };
                let mut input = json!({"PrefixListId": id, "CurrentVersion": list.version});
                input.as_object_mut()?.extend(change.as_object()?.clone());
                ("ModifyManagedPrefixList", input)
            }
            32 => ("DeleteManagedPrefixList", json!({"PrefixListId": self.list(a)?})),
            33 => {
                let on = json!({"Value": b % 2 == 0});
                (
                    "ModifyVpcAttribute",
                    json!({"VpcId": self.vpc(a)?.0, "EnableDnsSupport": on}),
                )
            }
            34 => (
                "AssociateVpcCidrBlock",
                json!({"VpcId": self.vpc(a)?.0, "CidrBlock": format!("10.{}.0.0/16", 200 + b % 3)}),
            ),
            35 => (
                "CreateVpcEndpoint",
                json!({"VpcId": self.vpc(a)?.0, "ServiceName": "com.amazonaws.us-east-1.s3",
                       "RouteTableIds": [self.table(b)?]}),
            ),
            36 => (
                "CreateVpcEndpoint",
                json!({"VpcId": self.vpc(a)?.0, "ServiceName": "com.amazonaws.us-east-1.logs",
                       "VpcEndpointType": "Interface", "PrivateDnsEnabled": false, "SubnetIds": [self.subnet(b)?]}),
            ),
            37 => ("DeleteVpcEndpoints", json!({"VpcEndpointIds": [self.endpoint(a)?]})),
            38 => ("DeleteRouteTable", json!({"RouteTableId": self.table(a)?})),
            _ => return None,
        })
    }
}

async fn step(world: &World, step: Step) -> bool {
    let there = There(world.ec2.store.snapshot());
    if let Some((operation, input)) = there.call(step) {
        return world.call(operation, input).await.is_ok();
    }
    match step {
        (39.., a, b, _) if b % 3 > 0 => match there.subnet(a) {
            Some(subnet) => drop(world.task(&subnet, b % 3 == 1).await),
            None => return false,
        },
        (39.., a, ..) => match there.interface(a) {
            Some(interface) => {
                // Only tasks end this way.
                let input = filter("network-interface-id", &interface);
                let found = world.ok("DescribeNetworkInterfaces", input).await;
                if found["NetworkInterfaces"][0]["Attachment"]["DeviceIndex"] != json!(1)
                    || found["NetworkInterfaces"][0]["InterfaceType"] != json!("interface")
                {
                    return false;
                }
                world.end_task(&interface).await;
            }
            None => return false,
        },
        _ => return false,
    }
    true
}

/// Applies what was committed since the table was as it is, one change after the other.
async fn catch_up(world: &World, watch: &mut neargate_store::Watch, table: &mut Table) {
    let snapshot = world.ec2.store.snapshot();
    let mut seen = 0;
    while seen < snapshot.revision() {
        let commit = watch.next().await.unwrap().unwrap();
        for change in commit.iter() {
            seen = change.revision;
            for (key, entry) in network::changes(&snapshot, change) {
                match entry {
                    Some(entry) => {
                        assert_eq!(entry.key(), key);
                        table.insert(key, entry);
                    }
                    None => drop(table.remove(&key)),
                }
            }
        }
    }
}

async fn run(steps: Vec<Step>) -> World {
    let world = World::new().await;
    let start = world.ec2.store.snapshot();
    let mut each = whole(&start);
    let mut late = each.clone();
    let mut watch = world.ec2.store.watch(start.revision() + 1).unwrap();
    let mut late_watch = world.ec2.store.watch(start.revision() + 1).unwrap();
    for one in steps {
        let before = world.ec2.store.snapshot().revision();
        step(&world, one).await;
        let now = world.ec2.store.snapshot();
        if now.revision() > before {
            catch_up(&world, &mut watch, &mut each).await;
            assert_eq!(each, whole(&now), "after {one:?}");
        }
    }
    // One who was busy elsewhere and sees every change with the last state.
    let now = world.ec2.store.snapshot();
    if now.revision() > start.revision() {
        catch_up(&world, &mut late_watch, &mut late).await;
    }
    assert_eq!(late, whole(&now));
    world
}

/// The address of a range list, by the longest prefix that holds it: what a person reads in DescribeRouteTables.
async fn leads(world: &World, interface: &InterfaceRecord, address: Ipv4Addr) -> bool {
    let table = table_of(world, &interface.vpc_id, &interface.subnet_id).await;
    let mut best: Option<(u8, bool, bool)> = None;
    for route in table["Routes"].as_array().unwrap() {
        if route["GatewayId"] == "local" {
            continue;
        }
        let ranges = match route["DestinationPrefixListId"].as_str() {
            None => vec![route["DestinationCidrBlock"].as_str().unwrap().to_owned()],
            Some("pl-63a5400a") => Vec::new(),
            Some(list) => {
                let entries = world
                    .ok("GetManagedPrefixListEntries", json!({"PrefixListId": list}))
                    .await;
                let all = entries["Entries"].as_array().unwrap().iter();
                all.map(|e| e["Cidr"].as_str().unwrap().to_owned()).collect()
            }
        };
        let active = route["State"] == "active";
        let leads = match (route["GatewayId"].as_str(), route["NatGatewayId"].as_str()) {
            (Some(id), _) => active && id.starts_with("igw-") && interface.public_address.is_some(),
            (None, Some(nat)) => active && nat_leads(world, nat).await,
            _ => false,
        };
        for range in ranges {
            let (base, prefix) = range.split_once('/').unwrap();
            let (base, prefix): (Ipv4Addr, u8) = (base.parse().unwrap(), prefix.parse().unwrap());
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            if u32::from(address) & mask == u32::from(base) {
                let own = route["DestinationCidrBlock"].is_string();
                best = best.max(Some((prefix, own, leads)));
            }
        }
    }
    best.is_some_and(|(_, _, leads)| leads)
}

async fn table_of(world: &World, vpc: &str, subnet: &str) -> Value {
    let own = world
        .ok("DescribeRouteTables", filter("association.subnet-id", subnet))
        .await;
    if let Some(table) = own["RouteTables"].get(0) {
        return table.clone();
    }
    let main =
        json!({"Filters": [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]});
    world.ok("DescribeRouteTables", main).await["RouteTables"][0].clone()
}

async fn nat_leads(world: &World, nat: &str) -> bool {
    let found = world.ok("DescribeNatGateways", json!({"NatGatewayIds": [nat]})).await;
    let nat = &found["NatGateways"][0];
    let table = table_of(world, nat["VpcId"].as_str().unwrap(), nat["SubnetId"].as_str().unwrap()).await;
    let mut routes = table["Routes"].as_array().unwrap().iter();
    nat["ConnectivityType"] == "public"
        && routes.any(|r| r["GatewayId"].as_str().is_some_and(|g| g.starts_with("igw-")) && r["State"] == "active")
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0u8..46, any::<u16>(), any::<u16>(), any::<u16>()), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn changes_one_by_one_make_the_whole_table_and_routes_mean_what_they_say(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let world = run(steps).await;
            let snapshot = world.ec2.store.snapshot();
            let probes = ["8.8.8.8", "8.8.9.9", "8.9.0.1", "9.9.9.9", "8.3.1.1"];
            for (_, interface) in snapshot.range::<InterfaceRecord>("") {
                if !matches!(interface.owner, neargate_ec2::interface::InterfaceOwner::Task { .. }) {
                    assert_eq!(world.ways_out(interface.address), Vec::<String>::new());
                    continue;
                }
                let out = world.told(interface.address).outbound;
                for probe in probes {
                    let probe: Ipv4Addr = probe.parse().unwrap();
                    let mask = |prefix: u8| u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                    let told = out.iter().any(|(base, prefix)| u32::from(probe) & mask(*prefix) == u32::from(*base));
                    assert_eq!(told, leads(&world, &interface, probe).await, "{probe} from {:?}: {out:?}", interface.id);
                }
            }
        });
    }
}
