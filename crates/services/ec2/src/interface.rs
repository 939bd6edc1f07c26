//! Network interfaces of tasks: an address of the subnet, taken and given back within a caller's transaction.
//!
//! Placement takes, whoever ends a task gives back. The invariants: two interfaces never hold one address, because an
//! interface's key is its address and `allocate` commits only while that key is absent; and an interface's subnet and
//! groups are there, because whoever makes or regroups one commits only while they are (`lean_on_groups`), and whoever
//! deletes them only while no interface has come meanwhile (`none_newer_in`).

use crate::cidr::Cidr;
use crate::lookup;
use crate::public;
pub use crate::records::InterfaceOwner;
use crate::records::{InterfaceRecord, SecurityGroupRecord, SubnetRecord, VpcRecord};
use neargate_core::{Ids, Tags, Timestamp};
use neargate_store::{Compare, Condition, Snapshot, Txn, full_key};
use std::net::Ipv4Addr;

/// What an interface is to be.
#[derive(Clone, Debug)]
pub struct AllocateRequest {
    pub region: String,
    pub subnet_id: String,
    /// None named: the default group of the subnet's VPC.
    pub security_groups: Vec<String>,
    pub description: String,
    pub now: Timestamp,
    /// Where in the subnet the search starts (taken modulo its size); none starts anywhere, so that an address just
    /// given back is seldom the next one taken.
    pub start_hint: Option<u32>,
    pub owner: InterfaceOwner,
    /// Takes a public address too.
    pub public: bool,
}

/// Why no interface could be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AllocateError {
    #[error("The subnet ID '{0}' does not exist")]
    SubnetNotFound(String),
    #[error("The security group '{0}' does not exist")]
    SecurityGroupNotFound(String),
    #[error("You have specified two resources that belong to different networks.")]
    OtherVpc { group: String, subnet: String },
    #[error("There are not enough free addresses in subnet '{0}' to satisfy the requested number of instances.")]
    NoFreeAddress(String),
    #[error("There are no free public addresses in the pool of this machine.")]
    NoFreePublicAddress,
}

/// Takes a free address of the subnet and adds the interface to `txn`, with the conditions that the address is still
/// free and subnet and groups still there when it commits. Several may be taken in one transaction.
///
/// # Errors
/// `AllocateError`; `txn` is as it was.
pub fn allocate(
    snapshot: &Snapshot,
    txn: &mut Txn,
    request: AllocateRequest,
    ids: &dyn Ids,
) -> Result<InterfaceRecord, AllocateError> {
    let AllocateRequest {
        region,
        subnet_id,
        mut security_groups,
        description,
        now,
        start_hint,
        owner,
        public,
    } = request;
    let Some(subnet) = lookup::subnet(snapshot, &region, &subnet_id) else {
        return Err(AllocateError::SubnetNotFound(subnet_id));
    };
    for id in &security_groups {
        match lookup::security_group(snapshot, &region, id) {
            None => return Err(AllocateError::SecurityGroupNotFound(id.clone())),
            Some(group) if group.vpc_id != subnet.vpc_id => {
                return Err(AllocateError::OtherVpc {
                    group: id.clone(),
                    subnet: subnet_id,
                });
            }
            Some(_) => {}
        }
    }
    if security_groups.is_empty() {
        security_groups.extend(lookup::default_security_group(snapshot, &region, &subnet.vpc_id).map(|g| g.id.clone()));
    }
    let random = ids.bytes();
    let start = start_hint.unwrap_or_else(|| u32::from_be_bytes([random[8], random[9], random[10], random[11]]));
    let Some(address) = free_address(snapshot, txn, &subnet, start) else {
        return Err(AllocateError::NoFreeAddress(subnet_id));
    };
    let id = format!("eni-{}", ids.hex17());
    let public_address = match public {
        true => Some(
            public::take(snapshot, txn, &region, Some((&id, address)), None, Tags::default(), ids)
                .ok_or(AllocateError::NoFreePublicAddress)?,
        ),
        false => None,
    };
    let record = InterfaceRecord {
        id,
        vpc_id: subnet.vpc_id.clone(),
        subnet_id,
        subnet_cidr: subnet.cidr,
        vpc_cidr: subnet.vpc_cidr,
        availability_zone: subnet.availability_zone.clone(),
        mac: mac(address, &random),
        address,
        security_groups,
        description,
        created_at: now,
        owner,
        public_address,
        source_dest_check: true,
        made_under: None,
        tags: Tags::default(),
        region,
    };
    let key = InterfaceRecord::key(address);
    txn.expect::<InterfaceRecord>(&key, Condition::Absent)
        .put(&key, record.clone());
    txn.exists::<SubnetRecord>(&SubnetRecord::key(&record.region, &record.subnet_id));
    lean_on_groups(txn, &record.region, &record.security_groups);
    Ok(record)
}

/// Commits `txn`, which gives an interface these groups, only while they are there.
pub fn lean_on_groups(txn: &mut Txn, region: &str, groups: &[String]) {
    for group in groups {
        txn.exists::<SecurityGroupRecord>(&SecurityGroupRecord::key(region, group));
    }
}

/// Commits `txn` only if no interface with an address in `range` was made or changed after `snapshot`, whose interfaces it
/// was decided on. A few outside the range may count too: they only cost another look.
pub(crate) fn none_newer_in(txn: &mut Txn, snapshot: &Snapshot, range: Cidr) {
    txn.none_newer::<InterfaceRecord>(snapshot, &InterfaceRecord::keys_in(range));
}

/// As `none_newer_in`, for all ranges of a VPC, which takes no further ones meanwhile.
pub(crate) fn none_newer_of(txn: &mut Txn, snapshot: &Snapshot, vpc: &VpcRecord) {
    txn.unchanged::<VpcRecord>(snapshot, &VpcRecord::key(&vpc.region, &vpc.id));
    for range in vpc.ranges() {
        none_newer_in(txn, snapshot, range);
    }
}

/// Puts the interface into `txn` instead of what `allocate` put there.
pub fn replace(txn: &mut Txn, interface: InterfaceRecord) {
    let key = InterfaceRecord::key(interface.address);
    let full = full_key::<InterfaceRecord>(&key);
    txn.ops.retain(|op| *op.key() != full);
    txn.put(&key, interface);
}

/// Adds to `txn` that the interface ends; one already gone is left alone. Commits only if the interface is still the
/// one that `snapshot` shows, so that an address taken again meanwhile is never freed.
pub fn release(snapshot: &Snapshot, txn: &mut Txn, region: &str, id: &str) {
    if let Some(interface) = lookup::interface(snapshot, region, id) {
        let key = InterfaceRecord::key(interface.address);
        txn.expect::<InterfaceRecord>(&key, Condition::ModifiedAt(interface.modified))
            .delete::<InterfaceRecord>(&key);
        public::give_back(snapshot, txn, &interface);
    }
}

/// Addresses of the subnet that are not taken.
pub fn available(snapshot: &Snapshot, subnet: &SubnetRecord) -> u32 {
    let taken = snapshot.count(&InterfaceRecord::in_subnet(&subnet.region, &subnet.id));
    subnet.usable().saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX))
}

/// The first usable address at or after `start`, going round once, that neither `snapshot` nor `txn` has taken.
fn free_address(snapshot: &Snapshot, txn: &Txn, subnet: &SubnetRecord, start: u32) -> Option<Ipv4Addr> {
    let usable = subnet.usable();
    if usable == 0 {
        return None;
    }
    let first = u32::from(subnet.cidr.0) + SubnetRecord::RESERVED_FIRST;
    let start = start % usable;
    (0..usable)
        .map(|step| Ipv4Addr::from(first + (start + step) % usable))
        .find(|address| {
            let key = InterfaceRecord::key(*address);
            !snapshot.contains::<InterfaceRecord>(&key) && !awaited(txn, &key)
        })
}

/// True when `txn` already takes the address.
fn awaited(txn: &Txn, key: &str) -> bool {
    let full = full_key::<InterfaceRecord>(key);
    txn.compares.iter().any(|Compare { key, .. }| *key == full)
}

/// A locally administered unicast address: the task's own in the last four bytes, so that no two live ones are equal.
fn mac(address: Ipv4Addr, random: &[u8; 16]) -> String {
    let [a, b, c, d] = address.octets();
    format!("0a:{:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}", random[0])
}

#[cfg(test)]
mod tests;
