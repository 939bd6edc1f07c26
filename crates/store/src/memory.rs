//! The backend that forgets: tests and simulation. Commits are made on the caller's thread, in the order they come.

use crate::backend::{Answer, Backend, Prepared, stage};
use crate::published::Published;
use crate::{CommitError, LeaseId, Revision};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) struct Memory {
    published: Arc<Published>,
    /// Held by the one commit being made.
    commit: Mutex<()>,
}

impl Memory {
    pub fn new(published: Arc<Published>) -> Memory {
        Memory {
            published,
            commit: Mutex::new(()),
        }
    }

    fn commit_now(&self, prepared: &Prepared) -> Result<Revision, CommitError> {
        let _one = self.commit.lock().expect("no committer panics");
        let mut root = self.published.snapshot();
        let staged = stage(&mut root, &prepared.txn, |lease| {
            self.published.leases().is_alive(lease)
        })?;
        let revision = root.revision();
        if !staged.is_empty() {
            let changes = staged.into_iter().map(|staged| staged.change).collect();
            self.published.publish(root, vec![Arc::new(changes)]);
        }
        Ok(revision)
    }
}

impl Backend for Memory {
    fn commit(&self, prepared: Prepared) -> Answer<Revision> {
        Box::pin(std::future::ready(self.commit_now(&prepared)))
    }

    fn grant(&self, ttl: Duration) -> Answer<LeaseId> {
        let lease = self.published.leases().grant(ttl);
        self.published.lease_granted.notify_waiters();
        Box::pin(std::future::ready(Ok(lease)))
    }

    fn forget(&self, lease: LeaseId) -> Answer<bool> {
        let _one = self.commit.lock().expect("no committer panics");
        let attached = self.published.snapshot().leased(lease).next().is_some();
        if !attached {
            self.published.leases().remove(lease);
        }
        Box::pin(std::future::ready(Ok(!attached)))
    }
}
