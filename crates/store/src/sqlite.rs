//! The embedded backend: SQLite in a directory of its own, written by one thread, read whole at start.
//!
//! The snapshot in memory answers every read, so the tables need no index: a row is found by the revision and place that
//! created its key, which the snapshot knows. Invariants: one process holds the directory; what is acknowledged has
//! been synced; a directory that this version cannot read whole is not opened at all.

mod open;
mod read;
mod reserve;
mod value;
mod writer;

pub use open::OpenError;

use crate::backend::{Answer, Backend, Prepared};
use crate::published::Published;
use crate::record::Kinds;
use crate::{CommitError, LeaseId, Revision};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use writer::Job;

/// The running backend.
pub(crate) struct Sqlite {
    /// None only while it is being dropped.
    jobs: Option<mpsc::Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    directory: PathBuf,
    /// Held for as long as anything may be written; released last.
    _lock: File,
}

impl Sqlite {
    /// Opens `directory` and answers what it holds.
    pub fn open(directory: &Path, kinds: &Kinds) -> Result<(Sqlite, Arc<Published>), OpenError> {
        let opened = open::open(directory, kinds)?;
        let published = Arc::new(Published::new(opened.snapshot, opened.leases));
        let (jobs, queue) = mpsc::channel();
        let state = published.clone();
        let started =
            writer::Writer::start(opened.connection, opened.database, state).map_err(|source| OpenError::Database {
                path: directory.to_owned(),
                source,
            })?;
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || started.run(&queue))
            .map_err(|source| OpenError::Io {
                path: directory.to_owned(),
                source,
            })?;
        Ok((
            Sqlite {
                jobs: Some(jobs),
                writer: Some(writer),
                directory: directory.to_owned(),
                _lock: opened.lock,
            },
            published,
        ))
    }

    fn ask<T: Send + 'static>(&self, job: impl FnOnce(writer::Reply<T>) -> Job) -> Answer<T> {
        let (reply, answer) = oneshot::channel();
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job(reply)).is_ok());
        Box::pin(async move {
            let gone = || CommitError::Storage("the store's writer has ended".to_owned());
            if sent {
                answer.await.unwrap_or_else(|_| Err(gone()))
            } else {
                Err(gone())
            }
        })
    }
}

impl Backend for Sqlite {
    fn commit(&self, prepared: Prepared) -> Answer<Revision> {
        // Packed here, on the caller's thread: the writer has other callers waiting.
        let values = prepared.values.iter().map(|value| value::pack(value)).collect();
        self.ask(|reply| Job::Commit {
            txn: prepared.txn,
            values,
            reply,
        })
    }

    fn grant(&self, ttl: Duration) -> Answer<LeaseId> {
        self.ask(|reply| Job::Grant { ttl, reply })
    }

    fn forget(&self, lease: LeaseId) -> Answer<bool> {
        self.ask(|reply| Job::Forget { lease, reply })
    }

    fn is_full(&self) -> bool {
        reserve::is_full(&self.directory)
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        // The writer ends when its queue is empty and closed. Waiting for it makes the directory free on return.
        self.jobs = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer failed");
        }
    }
}
