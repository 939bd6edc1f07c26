//! Watching from a revision on: the changes of every commit, none missed, or a clear word that too many were.

use crate::Revision;
use crate::published::{Change, Published};
use std::sync::{Arc, Weak};
use tokio::sync::watch;

/// History no longer holds the revision asked for. The watcher takes a snapshot and watches from the revision after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("revision {asked} has been compacted, history begins at {oldest}")]
pub struct Compacted {
    pub asked: Revision,
    pub oldest: Revision,
}

/// A reader of commits in order. It holds nothing up: one that is too slow is told `Compacted`.
pub struct Watch {
    published: Weak<Published>,
    revisions: watch::Receiver<Revision>,
    next: Revision,
}

impl Watch {
    pub(crate) fn start(published: &Arc<Published>, from: Revision) -> Result<Watch, Compacted> {
        let compacted = published.history().compacted;
        if from <= compacted {
            return Err(Compacted {
                asked: from,
                oldest: compacted + 1,
            });
        }
        Ok(Watch {
            revisions: published.revisions(),
            published: Arc::downgrade(published),
            next: from,
        })
    }

    /// The changes of the next commit; none once the store is closed. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `Compacted`, and again whenever asked.
    pub async fn next(&mut self) -> Result<Option<Arc<Vec<Change>>>, Compacted> {
        loop {
            self.revisions.borrow_and_update();
            {
                let Some(published) = self.published.upgrade() else {
                    return Ok(None);
                };
                let history = published.history();
                if self.next <= history.compacted {
                    return Err(Compacted {
                        asked: self.next,
                        oldest: history.compacted + 1,
                    });
                }
                let revision_of = |commit: &Arc<Vec<Change>>| commit.last().map_or(0, |change| change.revision);
                let at = history
                    .commits
                    .partition_point(|commit| revision_of(commit) < self.next);
                if let Some(commit) = history.commits.get(at) {
                    self.next = revision_of(commit) + 1;
                    return Ok(Some(commit.clone()));
                }
            }
            if self.revisions.changed().await.is_err() {
                return Ok(None);
            }
        }
    }
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}
