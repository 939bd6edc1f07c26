//! The default VPC that every region has: made when the region is first used, found there ever after.
//!
//! The front door calls `Ec2::ensure_region` before a request reaches EC2 or ECS. Ids are hashes of account and region,
//! so that making a region again gives the same ids.

use crate::Ec2;
use crate::records::{
    Destination, GroupRule, InterfaceRecord, InternetGatewayRecord, PoolRecord, RegionRecord, RouteRecord,
    RouteTableRecord, RouteTarget, RulePeer, SecurityGroupRecord, SubnetRecord, VpcRecord, cidr_text,
};
use neargate_core::Tags;
use neargate_store::{CommitError, Condition, Snapshot, Txn};
use sha2::{Digest, Sha256};
use std::net::Ipv4Addr;

/// The range of a default VPC on AWS.
pub const DEFAULT_VPC_CIDR: (Ipv4Addr, u8) = (Ipv4Addr::new(172, 31, 0, 0), 16);

/// Where public addresses come from unless told otherwise.
pub const DEFAULT_PUBLIC_CIDR: (Ipv4Addr, u8) = (Ipv4Addr::new(198, 19, 0, 0), 16);

/// Zones of a region by their letter.
pub const ZONES: [char; 3] = ['a', 'b', 'c'];

/// Why a region's default VPC could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// The range is no range a default VPC may have.
    #[error("{0} cannot be a VPC's range: it must be a network address with a prefix length of 8 to 24")]
    BadRange(String),
    /// Another range is in use.
    #[error("the VPC of {region} has the range {stored} and tasks in it; {asked} can be taken once they are stopped")]
    RangeInUse {
        region: String,
        stored: String,
        asked: String,
    },
    /// A subnet of the present range would be left behind.
    #[error(
        "the VPC of {region} has the subnet {subnet} besides its default ones; delete it, then another range can be taken"
    )]
    SubnetMade { region: String, subnet: String },
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<RegionError> for neargate_core::AwsError {
    fn from(error: RegionError) -> Self {
        match error {
            RegionError::Commit(error) => error.into(),
            other => {
                tracing::error!(error = %other, "a region's default VPC could not be made");
                neargate_core::AwsError::internal()
            }
        }
    }
}

impl Ec2 {
    /// Makes the region's default VPC with a subnet in each zone and its default security group, unless it is there.
    /// A VPC that has no interface takes the configured range when that changed.
    ///
    /// # Errors
    /// `RegionError`.
    pub async fn ensure_region(&self, region: &str) -> Result<(), RegionError> {
        self.store
            .transact(|snapshot| {
                let mut txn = Txn::new();
                ensure(snapshot, &mut txn, &self.account, region, self.vpc_cidr)?;
                let pool = PoolRecord {
                    range: self.public_cidr,
                };
                if snapshot
                    .get::<PoolRecord>(PoolRecord::KEY)
                    .is_none_or(|known| *known != pool)
                {
                    txn.put(PoolRecord::KEY, pool);
                }
                Ok((txn, ()))
            })
            .await
    }
}

/// The id of the region's default VPC.
pub fn default_vpc_id(account: &str, region: &str) -> String {
    stable_id("vpc", account, region, "default")
}

/// `prefix-` and 17 hex digits that are always the same for the same account, region and name.
fn stable_id(prefix: &str, account: &str, region: &str, name: &str) -> String {
    let hash = Sha256::digest(format!("{prefix}\0{account}\0{region}\0{name}"));
    let mut hex = hex::encode(hash);
    hex.truncate(17);
    format!("{prefix}-{hex}")
}

/// The zone's name, e.g. `us-east-1a`.
pub fn zone_name(region: &str, index: usize) -> String {
    format!("{region}{}", ZONES[index % ZONES.len()])
}

/// The zone's id, e.g. `use1-az1`.
pub fn zone_id(region: &str, index: usize) -> String {
    format!("{}-az{}", short_region(region), index % ZONES.len() + 1)
}

/// `use1` for `us-east-1`, `apse2` for `ap-southeast-2`; another form of name stays as it is.
fn short_region(region: &str) -> String {
    let mut out = String::new();
    for (at, part) in region.split('-').enumerate() {
        match part {
            "north" | "south" | "east" | "west" | "central" | "gov" | "iso" => out.push_str(&part[..1]),
            "northeast" => out.push_str("ne"),
            "northwest" => out.push_str("nw"),
            "southeast" => out.push_str("se"),
            "southwest" => out.push_str("sw"),
            _ if at == 0 || part.bytes().all(|b| b.is_ascii_digit()) => out.push_str(part),
            _ => return region.to_owned(),
        }
    }
    out
}

fn ensure(
    snapshot: &Snapshot,
    txn: &mut Txn,
    account: &str,
    region: &str,
    cidr: (Ipv4Addr, u8),
) -> Result<(), RegionError> {
    let vpc_id = default_vpc_id(account, region);
    let vpc_key = VpcRecord::key(region, &vpc_id);
    let known = snapshot.contains::<RegionRecord>(region);
    match snapshot.get::<VpcRecord>(&vpc_key) {
        Some(vpc) if vpc.cidr == cidr && known => return Ok(()),
        Some(vpc) => {
            check_range(cidr)?;
            let taken = snapshot
                .range::<InterfaceRecord>("")
                .any(|(_, i)| i.region == region && i.vpc_id == vpc_id);
            if taken && vpc.cidr != cidr {
                return Err(RegionError::RangeInUse {
                    region: region.to_owned(),
                    stored: cidr_text(vpc.cidr),
                    asked: cidr_text(cidr),
                });
            }
            txn.expect::<VpcRecord>(&vpc_key, Condition::ModifiedAt(vpc.modified));
            if known {
                return refit(snapshot, txn, &vpc, cidr);
            }
            // Made by an earlier version, without what belongs to it.
        }
        // A person deleted it.
        None if known => return Ok(()),
        None => {
            check_range(cidr)?;
            txn.expect::<VpcRecord>(&vpc_key, Condition::Absent);
        }
    }
    make(txn, account, region, cidr, default_gateway_id(account, region));
    Ok(())
}

/// Moves an empty default VPC to another range: it and its default subnets, and nothing that a person set.
fn refit(snapshot: &Snapshot, txn: &mut Txn, vpc: &VpcRecord, cidr: (Ipv4Addr, u8)) -> Result<(), RegionError> {
    let region = &vpc.region;
    let subnets = crate::lookup::subnets(snapshot, region, &vpc.id);
    if let Some(own) = subnets.iter().find(|s| !s.default_for_az) {
        return Err(RegionError::SubnetMade {
            region: region.clone(),
            subnet: own.id.clone(),
        });
    }
    let mut next = vpc.clone();
    next.cidr = cidr;
    txn.put(&VpcRecord::key(region, &vpc.id), next);
    for subnet in subnets {
        let mut next = (*subnet.record).clone();
        let place = (0..ZONES.len()).find(|at| zone_name(region, *at) == next.availability_zone);
        next.cidr = default_range(cidr, place.unwrap_or(0));
        next.vpc_cidr = cidr;
        txn.put(&SubnetRecord::key(region, &subnet.id), next);
    }
    Ok(())
}

/// Range of the default subnet in a zone.
fn default_range(cidr: (Ipv4Addr, u8), index: usize) -> (Ipv4Addr, u8) {
    let prefix = cidr.1 + 4;
    let network = u32::from(cidr.0) + ((index as u32) << (32 - u32::from(prefix)));
    (Ipv4Addr::from(network), prefix)
}

/// Adds the region's default VPC and all that belongs to it to `txn`.
///
/// The default VPC of before may have left its internet gateway; `gateway_id` is the id of one that is not there.
pub fn make(txn: &mut Txn, account: &str, region: &str, cidr: (Ipv4Addr, u8), gateway_id: String) {
    let vpc_id = default_vpc_id(account, region);
    let vpc_key = VpcRecord::key(region, &vpc_id);
    let known = RegionRecord {
        name: region.to_owned(),
    };
    txn.put(region, known);
    let id = |prefix: &str, name: &str| stable_id(prefix, account, region, name);
    let vpc = VpcRecord {
        region: region.to_owned(),
        id: vpc_id.clone(),
        cidr,
        cidr_association_id: id("vpc-cidr-assoc", "default"),
        dhcp_options_id: dhcp_options_id(account, region),
        is_default: true,
        more_ranges: Vec::new(),
        network_acl_id: id("acl", "default"),
        network_acl_tags: Tags::default(),
        tenancy: "default".to_owned(),
        dns_support: true,
        dns_hostnames: true,
        usage_metrics: false,
        tags: Tags::default(),
    };
    txn.put(&vpc_key, vpc);
    let gateway = InternetGatewayRecord {
        region: region.to_owned(),
        id: gateway_id.clone(),
        vpc_id: Some(vpc_id.clone()),
        tags: Tags::default(),
    };
    txn.put(&InternetGatewayRecord::key(region, &gateway_id), gateway);
    let table = RouteTableRecord {
        region: region.to_owned(),
        id: id("rtb", "default"),
        vpc_id: vpc_id.clone(),
        main_association: Some(id("rtbassoc", "default")),
        associations: Vec::new(),
        routes: vec![RouteRecord {
            destination: Destination::Range((Ipv4Addr::UNSPECIFIED, 0)),
            target: RouteTarget::InternetGateway(gateway_id),
        }],
        made_under: None,
        tags: Tags::default(),
    };
    txn.put(&table.own_key(), table);
    for index in 0..ZONES.len() {
        let subnet = default_subnet(account, region, &vpc_id, cidr, index);
        txn.put(&SubnetRecord::key(region, &subnet.id), subnet);
    }
    let group_id = id("sg", "default");
    let rule = |name: &str| id("sgr", name);
    let group = default_group(region, &vpc_id, group_id.clone(), [rule("ingress"), rule("egress")]);
    txn.put(&SecurityGroupRecord::key(region, &group_id), group);
}

/// The id of the internet gateway of a region's first default VPC.
pub fn default_gateway_id(account: &str, region: &str) -> String {
    stable_id("igw", account, region, "default")
}

/// The region's DHCP options: the resolver of the VPC.
pub fn dhcp_options_id(account: &str, region: &str) -> String {
    stable_id("dopt", account, region, "default")
}

/// The subnet that a zone of the default VPC uses when none is named.
pub fn default_subnet(account: &str, region: &str, vpc_id: &str, cidr: (Ipv4Addr, u8), index: usize) -> SubnetRecord {
    let zone = zone_name(region, index);
    SubnetRecord {
        region: region.to_owned(),
        id: stable_id("subnet", account, region, &zone),
        vpc_id: vpc_id.to_owned(),
        vpc_cidr: cidr,
        cidr: default_range(cidr, index),
        acl_association_id: stable_id("aclassoc", account, region, &zone),
        availability_zone: zone,
        availability_zone_id: zone_id(region, index),
        default_for_az: true,
        map_public_ip_on_launch: true,
        hostname_type: "ip-name".to_owned(),
        resource_name_dns: false,
        tags: Tags::default(),
    }
}

/// A VPC's default group with the rules AWS gives it: everything from its own members, everything out.
pub fn default_group(region: &str, vpc_id: &str, id: String, rule_ids: [String; 2]) -> SecurityGroupRecord {
    let [ingress, egress] = rule_ids;
    let everything = |id, egress, peer| GroupRule {
        id,
        egress,
        protocol: "-1".to_owned(),
        from_port: None,
        to_port: None,
        peer,
        description: None,
        tags: Tags::default(),
    };
    SecurityGroupRecord {
        region: region.to_owned(),
        vpc_id: vpc_id.to_owned(),
        name: "default".to_owned(),
        description: "default VPC security group".to_owned(),
        rules: vec![
            everything(ingress, false, RulePeer::Group(id.clone())),
            everything(egress, true, RulePeer::Ipv4("0.0.0.0/0".to_owned())),
        ],
        id,
        tags: Tags::default(),
    }
}

/// A default VPC's range: 8 to 24, so that a subnet has at least room for 11 tasks; no host bits.
fn check_range(cidr: (Ipv4Addr, u8)) -> Result<(), RegionError> {
    let (network, prefix) = cidr;
    let host_bits = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    if !(8..=24).contains(&prefix) || u32::from(network) & host_bits != 0 {
        return Err(RegionError::BadRange(cidr_text(cidr)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_ids_follow_aws_names() {
        let ids = [
            "us-east-1",
            "eu-west-3",
            "ap-southeast-2",
            "cn-north-1",
            "us-gov-east-1",
            "il-central-1",
            "local",
        ];
        let seen: Vec<String> = ids.iter().map(|r| zone_id(r, 0)).collect();
        assert_eq!(
            seen,
            [
                "use1-az1",
                "euw3-az1",
                "apse2-az1",
                "cnn1-az1",
                "usge1-az1",
                "ilc1-az1",
                "local-az1"
            ]
        );
        assert_eq!(zone_name("us-east-1", 2), "us-east-1c");
    }

    #[test]
    fn ranges_with_host_bits_or_of_another_size_are_refused() {
        for ok in ["10.0.0.0/8", "172.31.0.0/16", "192.168.7.0/24"] {
            let (net, prefix) = ok.split_once('/').unwrap();
            check_range((net.parse().unwrap(), prefix.parse().unwrap())).unwrap();
        }
        for bad in ["10.0.0.0/7", "172.31.0.1/16", "192.168.7.0/25", "0.0.0.0/0"] {
            let (net, prefix) = bad.split_once('/').unwrap();
            check_range((net.parse().unwrap(), prefix.parse().unwrap())).unwrap_err();
        }
    }
}
