//! Addresses are unique, reserved ones are never given, and what is given back can be had again.

use super::*;
use crate::Ec2;
use crate::records::SecurityGroupRecord;
use crate::region::default_vpc_id;
use neargate_core::clock::ManualClock;
use neargate_core::ids::CountingIds;
use neargate_store::Store;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

fn ec2(cidr: (Ipv4Addr, u8)) -> Ec2 {
    Ec2 {
        store: Store::in_memory(&crate::kinds()),
        clock: Arc::new(ManualClock::default()),
        ids: Arc::new(CountingIds::default()),
        account: "000000000000".to_owned(),
        vpc_cidr: cidr,
        public_cidr: crate::region::DEFAULT_PUBLIC_CIDR,
        foreign_ranges: Arc::new(Vec::new),
        rules_per_group: 60,
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

const SMALL: (Ipv4Addr, u8) = (Ipv4Addr::new(10, 9, 8, 0), 24);

fn first_subnet(ec2: &Ec2) -> String {
    let snapshot = ec2.store.snapshot();
    let id = snapshot
        .range::<SubnetRecord>("us-east-1/")
        .map(|(_, s)| s.id.clone())
        .min();
    id.unwrap()
}

fn request(subnet: &str, hint: Option<u32>) -> AllocateRequest {
    AllocateRequest {
        region: "us-east-1".to_owned(),
        subnet_id: subnet.to_owned(),
        security_groups: Vec::new(),
        description: String::new(),
        now: Timestamp::from_secs(1),
        start_hint: hint,
        owner: InterfaceOwner::User,
        public: false,
    }
}

async fn take(ec2: &Ec2, subnet: &str, hint: Option<u32>) -> Result<InterfaceRecord, AllocateError> {
    let mut txn = Txn::new();
    let record = allocate(&ec2.store.snapshot(), &mut txn, request(subnet, hint), &*ec2.ids)?;
    ec2.store.commit(txn).await.unwrap();
    Ok(record)
}

#[test]
fn a_subnet_gives_each_usable_address_once_and_then_says_it_is_full() {
    block(async {
        let ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        let subnet = first_subnet(&ec2);
        let record = lookup::subnet(&ec2.store.snapshot(), "us-east-1", &subnet).unwrap();
        assert_eq!(record.cidr.1, 28);
        let base = u32::from(record.cidr.0);
        let mut seen = Vec::new();
        for n in 0..11 {
            assert_eq!(available(&ec2.store.snapshot(), &record), 11 - n);
            seen.push(u32::from(take(&ec2, &subnet, None).await.unwrap().address) - base);
        }
        seen.sort_unstable();
        assert_eq!(seen, (4..=14).collect::<Vec<_>>());
        assert_eq!(
            take(&ec2, &subnet, None).await,
            Err(AllocateError::NoFreeAddress(subnet.clone()))
        );
    });
}

#[test]
fn one_transaction_takes_different_addresses_and_a_stale_one_conflicts() {
    block(async {
        let ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        let subnet = first_subnet(&ec2);
        let stale = ec2.store.snapshot();
        let mut txn = Txn::new();
        let a = allocate(&stale, &mut txn, request(&subnet, Some(3)), &*ec2.ids).unwrap();
        let b = allocate(&stale, &mut txn, request(&subnet, Some(3)), &*ec2.ids).unwrap();
        assert_ne!(a.address, b.address);
        ec2.store.commit(txn).await.unwrap();
        let mut late = Txn::new();
        allocate(&stale, &mut late, request(&subnet, Some(3)), &*ec2.ids).unwrap();
        ec2.store.commit(late).await.unwrap_err();
    });
}

#[test]
fn regions_never_hold_one_address_twice() {
    block(async {
        let ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        ec2.ensure_region("eu-west-1").await.unwrap();
        let one = take(&ec2, &first_subnet(&ec2), Some(0)).await.unwrap();
        let snapshot = ec2.store.snapshot();
        let other = snapshot
            .range::<SubnetRecord>("eu-west-1/")
            .map(|(_, s)| s)
            .find(|s| s.cidr == one.subnet_cidr)
            .unwrap();
        let mut ask = request(&other.id, Some(0));
        ask.region = "eu-west-1".to_owned();
        let two = allocate(&snapshot, &mut Txn::new(), ask, &*ec2.ids).unwrap();
        assert_ne!(one.address, two.address);
    });
}

#[test]
fn a_released_address_is_free_again_and_a_late_release_frees_nobody_elses() {
    block(async {
        let ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        let subnet = first_subnet(&ec2);
        let first = take(&ec2, &subnet, Some(0)).await.unwrap();
        let stale = ec2.store.snapshot();
        let mut txn = Txn::new();
        release(&stale, &mut txn, "us-east-1", &first.id);
        ec2.store.commit(txn).await.unwrap();
        let second = take(&ec2, &subnet, Some(0)).await.unwrap();
        assert_eq!(first.address, second.address);

        let mut late = Txn::new();
        release(&stale, &mut late, "us-east-1", &first.id);
        ec2.store.commit(late).await.unwrap_err();
        let mut again = Txn::new();
        release(&ec2.store.snapshot(), &mut again, "us-east-1", &first.id);
        assert!(again.is_empty());
        assert!(lookup::interface(&ec2.store.snapshot(), "us-east-1", &second.id).is_some());
    });
}

#[test]
fn what_does_not_exist_or_lies_elsewhere_is_refused() {
    block(async {
        let ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        let subnet = first_subnet(&ec2);
        let missing = take(&ec2, "subnet-nowhere", None).await.unwrap_err();
        assert_eq!(missing.to_string(), "The subnet ID 'subnet-nowhere' does not exist");

        let snapshot = ec2.store.snapshot();
        let mut ask = request(&subnet, None);
        ask.security_groups = vec!["sg-none".to_owned()];
        let error = allocate(&snapshot, &mut Txn::new(), ask, &*ec2.ids).unwrap_err();
        assert_eq!(error, AllocateError::SecurityGroupNotFound("sg-none".to_owned()));

        let vpc = default_vpc_id("000000000000", "us-east-1");
        let own = lookup::default_security_group(&snapshot, "us-east-1", &vpc).unwrap();
        assert_eq!(
            take(&ec2, &subnet, None).await.unwrap().security_groups,
            *std::slice::from_ref(&own.id)
        );

        let foreign = SecurityGroupRecord {
            id: "sg-1".to_owned(),
            vpc_id: "vpc-other".to_owned(),
            ..(*own.record).clone()
        };
        let mut txn = Txn::new();
        txn.put(&SecurityGroupRecord::key("us-east-1", "sg-1"), foreign);
        ec2.store.commit(txn).await.unwrap();
        let mut ask = request(&subnet, None);
        ask.security_groups = vec!["sg-1".to_owned()];
        let error = allocate(&ec2.store.snapshot(), &mut Txn::new(), ask, &*ec2.ids).unwrap_err();
        assert!(matches!(error, AllocateError::OtherVpc { .. }));
    });
}

#[test]
fn a_changed_range_is_taken_while_nothing_runs_and_refused_after() {
    block(async {
        let mut ec2 = ec2(SMALL);
        ec2.ensure_region("us-east-1").await.unwrap();
        ec2.vpc_cidr = (Ipv4Addr::new(10, 64, 0, 0), 12);
        ec2.ensure_region("us-east-1").await.unwrap();
        let before = ec2.store.snapshot().revision();
        ec2.ensure_region("us-east-1").await.unwrap();
        assert_eq!(
            ec2.store.snapshot().revision(),
            before,
            "a present region costs no commit"
        );
        let taken = take(&ec2, &first_subnet(&ec2), None).await.unwrap();
        assert_eq!((taken.vpc_cidr, taken.subnet_cidr.1), (ec2.vpc_cidr, 16));
        ec2.vpc_cidr = SMALL;
        ec2.ensure_region("us-east-1").await.unwrap_err();
    });
}

proptest! {
    #[test]
    fn any_order_of_taking_and_giving_back_keeps_addresses_unique(steps in prop::collection::vec((any::<bool>(), 0u32..64), 1..60)) {
        block(async {
            let ec2 = ec2(SMALL);
            ec2.ensure_region("us-east-1").await.unwrap();
            let subnet = first_subnet(&ec2);
            let mut held: BTreeMap<Ipv4Addr, String> = BTreeMap::new();
            for (give_back, n) in steps {
                if give_back && !held.is_empty() {
                    let address = *held.keys().nth(n as usize % held.len()).unwrap();
                    let mut txn = Txn::new();
                    release(&ec2.store.snapshot(), &mut txn, "us-east-1", &held.remove(&address).unwrap());
                    ec2.store.commit(txn).await.unwrap();
                } else {
                    match take(&ec2, &subnet, Some(n)).await {
                        Ok(record) => assert!(held.insert(record.address, record.id).is_none()),
                        Err(_) => assert_eq!(held.len(), 11),
                    }
                }
            }
        });
    }
}
