//! Leases: keys that vanish when nobody keeps them alive any more.
//!
//! As in etcd, which lease a key hangs on and how long each lasts is stored, how long each still has is not: after a
//! restart every lease has its whole time again, so that a restart of control ends nothing. Invariants: a lease that is
//! ending takes no new keys; its keys go through ordinary commits, and a key moved elsewhere meanwhile stays.

use crate::store::MAX_OPS;
use crate::txn::{Compare, Op};
use crate::{CommitError, Condition, Store, Txn};
use neargate_core::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Names a lease; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub(crate) u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Every lease there is.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    leases: BTreeMap<LeaseId, Lease>,
    last: u64,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    /// None until somebody looks at the clock after the grant or a restart.
    deadline: Option<Timestamp>,
    ending: bool,
}

impl LeaseTable {
    pub fn restore(leases: impl IntoIterator<Item = (LeaseId, Duration)>, last: u64) -> LeaseTable {
        let lease = |ttl| Lease {
            ttl,
            deadline: None,
            ending: false,
        };
        LeaseTable {
            leases: leases.into_iter().map(|(id, ttl)| (id, lease(ttl))).collect(),
            last,
        }
    }

    /// The id the next lease gets.
    pub fn upcoming(&self) -> LeaseId {
        LeaseId(self.last + 1)
    }

    pub fn grant(&mut self, ttl: Duration) -> LeaseId {
        let id = self.upcoming();
        self.insert(id, ttl);
        id
    }

    pub fn insert(&mut self, id: LeaseId, ttl: Duration) {
        self.last = self.last.max(id.0);
        self.leases.insert(
            id,
            Lease {
                ttl,
                deadline: None,
                ending: false,
            },
        );
    }

    pub fn remove(&mut self, id: LeaseId) {
        self.leases.remove(&id);
    }

    pub fn is_alive(&self, id: LeaseId) -> bool {
        self.leases.get(&id).is_some_and(|lease| !lease.ending)
    }

    fn keep_alive(&mut self, id: LeaseId, now: Timestamp) -> bool {
        match self.leases.get_mut(&id) {
            Some(lease) if !lease.ending && lease.deadline.is_none_or(|deadline| now < deadline) => {
                lease.deadline = Some(now.plus(lease.ttl));
                true
            }
            _ => false,
        }
    }

    fn end(&mut self, id: LeaseId) -> bool {
        self.leases.get_mut(&id).map(|lease| lease.ending = true).is_some()
    }

    /// Marks what is over as ending and answers it, with the next deadline after `now`.
    fn expire(&mut self, now: Timestamp) -> (Vec<LeaseId>, Option<Timestamp>) {
        let (mut over, mut next) = (Vec::new(), None::<Timestamp>);
        for (id, lease) in &mut self.leases {
            let deadline = *lease.deadline.get_or_insert(now.plus(lease.ttl));
            if lease.ending || deadline <= now {
                lease.ending = true;
                over.push(*id);
            } else {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
        }
        (over, next)
    }
}

/// Leases by one clock; `Store::leases` makes it.
#[derive(Clone)]
pub struct Leases {
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Leases {
    pub(crate) fn new(store: Store, clock: Arc<dyn Clock>) -> Leases {
        Leases { store, clock }
    }

    /// Makes a lease that ends after `ttl` (whole milliseconds, at least one) unless it is kept alive.
    ///
    /// # Errors
    /// `CommitError::Storage`.
    pub async fn grant(&self, ttl: Duration) -> Result<LeaseId, CommitError> {
        let ttl = Duration::from_millis(
            u64::try_from(ttl.as_millis())
                .unwrap_or(u64::MAX / 2)
                .clamp(1, u64::MAX / 4),
        );
        let id = self.store.backend().grant(ttl).await?;
        self.keep_alive(id)?;
        Ok(id)
    }

    /// Gives the lease its whole time again.
    ///
    /// # Errors
    /// `CommitError::LeaseNotFound` once it has ended.
    pub fn keep_alive(&self, lease: LeaseId) -> Result<(), CommitError> {
        let now = self.clock.now();
        let kept = self.store.published().leases().keep_alive(lease, now);
        if kept {
            Ok(())
        } else {
            Err(CommitError::LeaseNotFound { lease })
        }
    }

    /// Ends the lease now and deletes its keys.
    ///
    /// # Errors
    /// `CommitError::LeaseNotFound`; `CommitError::Storage`, after which `expire` completes it.
    pub async fn revoke(&self, lease: LeaseId) -> Result<(), CommitError> {
        let found = self.store.published().leases().end(lease);
        if found {
            self.clear(lease).await
        } else {
            Err(CommitError::LeaseNotFound { lease })
        }
    }

    /// Deletes the keys of every lease that is over; answers when the next one ends.
    ///
    /// # Errors
    /// `CommitError::Storage`; the next call goes on.
    pub async fn expire(&self) -> Result<Option<Timestamp>, CommitError> {
        let (over, next) = self.store.published().leases().expire(self.clock.now());
        for lease in over {
            self.clear(lease).await?;
        }
        Ok(next)
    }

    /// Expires leases as their time comes, for as long as the future is polled.
    pub async fn run(&self) {
        loop {
            let granted = self.store.published().lease_granted.notified();
            let pause = match self.expire().await {
                Ok(next) => next.map_or(IDLE, |next| next.since(self.clock.now()).max(Duration::from_millis(1))),
                Err(error) => {
                    tracing::error!(%error, "cannot delete the keys of a lease that is over; trying again");
                    RETRY
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause.min(IDLE)) => {}
                () = granted => {}
            }
        }
    }

    async fn clear(&self, lease: crate::LeaseId) -> Result<(), CommitError> {
        loop {
            let mut txn = Txn::new();
            for (key, modified) in self.store.snapshot().leased(lease).take(MAX_OPS) {
                txn.compares.push(Compare {
                    key: key.clone(),
                    condition: Condition::ModifiedAt(modified),
                });
                txn.ops.push(Op::Delete { key });
            }
            if txn.is_empty() {
                // A commit under way may have attached one more key.
                if self.store.backend().forget(lease).await? {
                    return Ok(());
                }
            } else {
                match self.store.commit(txn).await {
                    // A key was moved meanwhile: look again.
                    Ok(_) | Err(CommitError::Conflict { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

const IDLE: Duration = Duration::from_secs(3600);
const RETRY: Duration = Duration::from_secs(1);
