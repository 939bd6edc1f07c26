//! What other services ask of EC2's state: pure reads of a snapshot.

use crate::records::{InterfaceRecord, InternetGatewayRecord, SecurityGroupRecord, SubnetRecord, VpcRecord};
use neargate_store::{Snapshot, Versioned};

/// The VPC `id` of `region`.
pub fn vpc(snapshot: &Snapshot, region: &str, id: &str) -> Option<Versioned<VpcRecord>> {
    snapshot.get(&VpcRecord::key(region, id))
}

/// The subnet `id` of `region`.
pub fn subnet(snapshot: &Snapshot, region: &str, id: &str) -> Option<Versioned<SubnetRecord>> {
    snapshot.get(&SubnetRecord::key(region, id))
}

/// The security group `id` of `region`.
pub fn security_group(snapshot: &Snapshot, region: &str, id: &str) -> Option<Versioned<SecurityGroupRecord>> {
    snapshot.get(&SecurityGroupRecord::key(region, id))
}

/// The group that interfaces of `vpc_id` get when no group is named.
pub fn default_security_group(
    snapshot: &Snapshot,
    region: &str,
    vpc_id: &str,
) -> Option<Versioned<SecurityGroupRecord>> {
    snapshot
        .indexed::<SecurityGroupRecord>(SecurityGroupRecord::BY_NAME, &format!("{region}/{vpc_id}/default"))
        .next()
        .map(|(_, group)| group)
}

/// The network interface `id` of `region`.
pub fn interface(snapshot: &Snapshot, region: &str, id: &str) -> Option<Versioned<InterfaceRecord>> {
    snapshot
        .indexed::<InterfaceRecord>(InterfaceRecord::BY_ID, &format!("{region}/{id}"))
        .next()
        .map(|(_, interface)| interface)
}

/// The subnets of `vpc_id`, ascending by id.
pub fn subnets(snapshot: &Snapshot, region: &str, vpc_id: &str) -> Vec<Versioned<SubnetRecord>> {
    let all = snapshot
        .range::<SubnetRecord>(&format!("{region}/"))
        .map(|(_, subnet)| subnet);
    all.filter(|subnet| subnet.vpc_id == vpc_id).collect()
}

/// The internet gateway attached to `vpc_id`.
pub fn internet_gateway(snapshot: &Snapshot, region: &str, vpc_id: &str) -> Option<Versioned<InternetGatewayRecord>> {
    let mut all = snapshot
        .range::<InternetGatewayRecord>(&format!("{region}/"))
        .map(|(_, gateway)| gateway);
    all.find(|gateway| gateway.vpc_id.as_deref() == Some(vpc_id))
}
