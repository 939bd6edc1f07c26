//! Public addresses: out of one pool of the instance, whatever the region, for interfaces and as elastic addresses.
//!
//! The pool is a record, so that whoever takes an address within a transaction of its own needs nothing but a snapshot.
//! The invariant is that of interfaces: an address's record is its key, and taking commits only while it is absent.

use crate::records::{AddressRecord, InterfaceRecord, PoolRecord};
use neargate_core::{Ids, Tags};
use neargate_store::{Compare, Condition, Snapshot, Txn, full_key};
use std::net::Ipv4Addr;

/// Takes a free address and adds its record to `txn`: for the interface named with its private address, or as the
/// elastic address of `allocation_id`. None when none is free.
pub fn take(
    snapshot: &Snapshot,
    txn: &mut Txn,
    region: &str,
    interface: Option<(&str, Ipv4Addr)>,
    allocation_id: Option<String>,
    tags: Tags,
    ids: &dyn Ids,
) -> Option<Ipv4Addr> {
    let pool = snapshot.get::<PoolRecord>(PoolRecord::KEY)?;
    let (base, prefix) = pool.range;
    let size = 1u32.checked_shl(32 - u32::from(prefix)).unwrap_or(u32::MAX);
    // The network address and the last are left out, as people expect of a range.
    let usable = size.saturating_sub(2);
    if usable == 0 {
        return None;
    }
    let random = ids.bytes();
    let start = u32::from_be_bytes([random[0], random[1], random[2], random[3]]) % usable;
    let address = (0..usable)
        .map(|step| Ipv4Addr::from(u32::from(base) + 1 + (start + step) % usable))
        .find(|address| {
            let key = AddressRecord::key(*address);
            let full = full_key::<AddressRecord>(&key);
            !snapshot.contains::<AddressRecord>(&key) && !txn.compares.iter().any(|Compare { key, .. }| *key == full)
        })?;
    let key = AddressRecord::key(address);
    let record = AddressRecord {
        region: region.to_owned(),
        address,
        allocation_id,
        association_id: interface.map(|_| format!("eipassoc-{}", ids.hex17())),
        interface_id: interface.map(|(id, _)| id.to_owned()),
        private_address: interface.map(|(_, private)| private),
        tags,
    };
    txn.expect::<AddressRecord>(&key, Condition::Absent).put(&key, record);
    Some(address)
}

/// Adds to `txn` what becomes of the public address of an interface that ends: an elastic one stays, without it.
pub fn give_back(snapshot: &Snapshot, txn: &mut Txn, interface: &InterfaceRecord) {
    let Some(key) = interface.public_address.map(AddressRecord::key) else {
        return;
    };
    let Some(held) = snapshot.get::<AddressRecord>(&key) else {
        return;
    };
    if held.interface_id.as_deref() != Some(&interface.id) {
        return;
    }
    txn.unchanged::<AddressRecord>(snapshot, &key);
    if held.is_elastic() {
        let mut next = (*held.record).clone();
        (next.association_id, next.interface_id, next.private_address) = (None, None, None);
        txn.put(&key, next);
    } else {
        txn.delete::<AddressRecord>(&key);
    }
}
