//! The one thread that writes: whatever commits queued while the last batch was synced become the next batch.
//!
//! A batch is one SQLite transaction, checked commit by commit against the pending state in memory. Invariants: a reply
//! leaves only after the sync; a batch that cannot be written leaves memory and disk as they were, and all of it answers
//! `Storage`; a lone commit waits for nobody.

use super::open::configure;
use super::reserve;
use crate::backend::stage;
use crate::published::{Change, Published};
use crate::snapshot::Snapshot;
use crate::txn::Txn;
use crate::{CommitError, LeaseId, Revision};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

pub(super) type Reply<T> = oneshot::Sender<Result<T, CommitError>>;

pub(super) enum Job {
    Commit {
        txn: Txn,
        values: Vec<Vec<u8>>,
        reply: Reply<Revision>,
    },
    Grant {
        ttl: Duration,
        reply: Reply<LeaseId>,
    },
    Forget {
        lease: LeaseId,
        reply: Reply<bool>,
    },
}

/// Jobs of one batch at most: bounds how long the first of them waits.
const BATCH: usize = 1024;
/// Estimated log pages after which the log is carried over into the database.
const CHECKPOINT_PAGES: usize = 1000;
/// Log pages (of 4 KiB) at which a commit waits for the checkpoint, so that the log cannot grow without end.
const LONGEST_LOG: i64 = 32 * 1024;

pub(super) struct Writer {
    connection: Connection,
    published: Arc<Published>,
    checkpoints: Option<Checkpoints>,
    /// Estimate of pages logged since the last checkpoint was asked for.
    logged: usize,
}

impl Writer {
    pub fn start(connection: Connection, database: PathBuf, published: Arc<Published>) -> rusqlite::Result<Writer> {
        connection.set_prepared_statement_cache_capacity(16);
        reserve::take(&database);
        let checkpoints = Some(Checkpoints::start(database)?);
        Ok(Writer {
            connection,
            published,
            checkpoints,
            logged: 0,
        })
    }

    /// Works until every sender of `jobs` is gone.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(next) = jobs.try_recv()
            {
                batch.push(next);
            }
            self.process(batch);
        }
        // The last connection to close empties the log; this one must be it.
        self.checkpoints = None;
        if let Err((_, error)) = self.connection.close() {
            tracing::error!(%error, "closing the store failed; it is whole nevertheless");
        }
    }

    fn process(&mut self, jobs: Vec<Job>) {
        let published = self.published.clone();
        let mut batch = Batch::new(published.snapshot(), &published);
        for job in jobs {
            batch.add(job);
        }
        if batch.writes.is_empty() {
            return batch.succeed();
        }
        match self.write_or_make_room(&batch.writes) {
            Ok(()) => {
                self.logged += batch.writes.pages();
                batch.succeed();
                self.checkpoint_if_due();
            }
            Err(error) => {
                tracing::error!(%error, "the store could not write");
                self.roll_back();
                batch.fail(&error.to_string());
            }
        }
    }

    /// On a full disk the log can be written from its beginning again, once it was carried over.
    fn write_or_make_room(&mut self, writes: &Writes) -> rusqlite::Result<()> {
        let full = Some(rusqlite::ErrorCode::DiskFull);
        match self.write(writes) {
            Err(error) if error.sqlite_error_code() == full => {
                self.roll_back();
                checkpoint(&self.connection, "RESTART")?;
                self.write(writes)
            }
            done => done,
        }
    }

    fn write(&mut self, writes: &Writes) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        {
            let mut put = connection.prepare_cached(
                "INSERT INTO record (life, key, modified, lease, value) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (life) DO UPDATE SET modified = ?3, lease = ?4, value = ?5",
            )?;
            let mut delete = connection.prepare_cached("DELETE FROM record WHERE life = ?1")?;
            for (life, row) in &writes.rows {
                match row {
                    Some(row) => put.execute((life, &*row.key, row.modified, row.lease, &row.value))?,
                    None => delete.execute([life])?,
                };
            }
            let mut grant = connection.prepare_cached("INSERT INTO lease (id, ttl) VALUES (?1, ?2)")?;
            for (lease, ttl) in &writes.granted {
                grant.execute((lease.0, u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX / 2)))?;
            }
            let mut forget = connection.prepare_cached("DELETE FROM lease WHERE id = ?1")?;
            for lease in &writes.forgotten {
                forget.execute([lease.0])?;
            }
            let mut state =
                connection.prepare_cached("UPDATE state SET revision = ?1, last_lease = max(last_lease, ?2)")?;
            state.execute((writes.revision, writes.granted.last().map_or(0, |(lease, _)| lease.0)))?;
        }
        connection.prepare_cached("COMMIT")?.execute([])?;
        Ok(())
    }

    fn roll_back(&mut self) {
        // After some failures SQLite has rolled back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rolling back failed");
        }
        // If all was written and only the sync failed, a crash now could bring the refused commits back. Writing
        // anything takes their place in the log.
        if let Err(error) = self.connection.execute_batch("UPDATE state SET revision = revision") {
            tracing::warn!(%error, "the store still cannot write");
        }
    }

    fn checkpoint_if_due(&mut self) {
        if self.logged < CHECKPOINT_PAGES {
            return;
        }
        self.logged = 0;
        let Some(checkpoints) = &self.checkpoints else { return };
        if checkpoints.overdue.swap(false, Ordering::SeqCst) {
            // Commits came without a pause for so long that the log was never carried over whole.
            if let Err(error) = checkpoint(&self.connection, "RESTART") {
                tracing::warn!(%error, "cannot carry the store's log over");
            }
        }
        checkpoints.ask();
    }
}

/// What a batch writes, later changes of a row in place of earlier ones.
#[derive(Default)]
struct Writes {
    /// By row; none deletes it.
    rows: BTreeMap<i64, Option<Row>>,
    granted: Vec<(LeaseId, Duration)>,
    forgotten: BTreeSet<LeaseId>,
    revision: Revision,
}

struct Row {
    key: Arc<str>,
    modified: Revision,
    lease: u64,
    value: Vec<u8>,
}

impl Writes {
    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.granted.is_empty() && self.forgotten.is_empty()
    }

    /// About how many log pages they take.
    fn pages(&self) -> usize {
        let values: usize = self.rows.values().flatten().map(|row| row.value.len()).sum();
        2 + self.rows.len() + values / 4096
    }
}

/// A batch being put together.
struct Batch<'a> {
    published: &'a Published,
    root: Snapshot,
    commits: Vec<Arc<Vec<Change>>>,
    writes: Writes,
    upcoming_lease: u64,
    replies: Vec<Outcome>,
}

/// A job and what it will answer if the batch is written.
enum Outcome {
    Commit(Reply<Revision>, Result<Revision, CommitError>),
    Grant(Reply<LeaseId>, LeaseId, Duration),
    Forget(Reply<bool>, LeaseId, bool),
}

impl<'a> Batch<'a> {
    fn new(root: Snapshot, published: &'a Published) -> Batch<'a> {
        Batch {
            writes: Writes {
                revision: root.revision(),
                ..Writes::default()
            },
            upcoming_lease: published.leases().upcoming().0,
            published,
            root,
            commits: Vec::new(),
            replies: Vec::new(),
        }
    }

    fn add(&mut self, job: Job) {
        match job {
            Job::Commit { txn, values, reply } => {
                let outcome = self.commit(&txn, values);
                self.replies.push(Outcome::Commit(reply, outcome));
            }
            Job::Grant { ttl, reply } => {
                let lease = LeaseId(self.upcoming_lease);
                self.upcoming_lease += 1;
                self.writes.granted.push((lease, ttl));
                self.replies.push(Outcome::Grant(reply, lease, ttl));
            }
            Job::Forget { lease, reply } => {
                let gone = self.root.leased(lease).next().is_none();
                if gone {
                    self.writes.forgotten.insert(lease);
                }
                self.replies.push(Outcome::Forget(reply, lease, gone));
            }
        }
    }

    fn commit(&mut self, txn: &Txn, mut values: Vec<Vec<u8>>) -> Result<Revision, CommitError> {
        let staged = stage(&mut self.root, txn, |lease| self.published.leases().is_alive(lease))?;
        let revision = self.root.revision();
        if staged.is_empty() {
            return Ok(revision);
        }
        let mut changes = Vec::with_capacity(staged.len());
        for staged in staged {
            let (created, ordinal) = staged.life;
            // Revisions stay far below 2^55.
            let life = (created << 8 | u64::from(ordinal)) as i64;
            let row = staged.change.record.is_some().then(|| Row {
                key: staged.change.key.clone(),
                modified: revision,
                lease: staged.lease.map_or(0, |lease| lease.0),
                value: std::mem::take(&mut values[staged.op]),
            });
            self.writes.rows.insert(life, row);
            changes.push(staged.change);
        }
        self.writes.revision = revision;
        self.commits.push(Arc::new(changes));
        Ok(revision)
    }

    /// All of it is durable: publish, then answer.
    fn succeed(self) {
        let published = self.published;
        if !self.commits.is_empty() {
            published.publish(self.root, self.commits);
        }
        for outcome in self.replies {
            // A caller that no longer waits is no concern.
            match outcome {
                Outcome::Commit(reply, outcome) => drop(reply.send(outcome)),
                Outcome::Grant(reply, lease, ttl) => {
                    published.leases().insert(lease, ttl);
                    published.lease_granted.notify_waiters();
                    drop(reply.send(Ok(lease)));
                }
                Outcome::Forget(reply, lease, gone) => {
                    if gone {
                        published.leases().remove(lease);
                    }
                    drop(reply.send(Ok(gone)));
                }
            }
        }
    }

    /// Nothing of it happened. A conflict may have been with a commit of this very batch, so it is no answer either.
    fn fail(self, why: &str) {
        let failed = || CommitError::Storage(why.to_owned());
        for outcome in self.replies {
            match outcome {
                Outcome::Commit(reply, _) => drop(reply.send(Err(failed()))),
                Outcome::Grant(reply, ..) => drop(reply.send(Err(failed()))),
                Outcome::Forget(reply, ..) => drop(reply.send(Err(failed()))),
            }
        }
    }
}

/// The thread that carries the log over into the database while commits go on.
struct Checkpoints {
    ask: Option<SyncSender<()>>,
    overdue: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpoints {
    fn start(database: PathBuf) -> rusqlite::Result<Checkpoints> {
        let connection = Connection::open(&database)?;
        configure(&connection)?;
        let (ask, asked) = mpsc::sync_channel(1);
        let overdue = Arc::new(AtomicBool::new(false));
        let too_long = overdue.clone();
        let run = move || {
            while let Ok(()) = asked.recv() {
                match checkpoint(&connection, "PASSIVE") {
                    Ok(log) => {
                        too_long.store(log > LONGEST_LOG, Ordering::SeqCst);
                        reserve::take_again(&database);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "cannot carry the store's log over; it grows until that works")
                    }
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(run);
        let thread = match thread {
            Ok(thread) => Some(thread),
            Err(error) => return Err(rusqlite::Error::ToSqlConversionFailure(Box::new(error))),
        };
        Ok(Checkpoints {
            ask: Some(ask),
            overdue,
            thread,
        })
    }

    fn ask(&self) {
        if let Some(ask) = &self.ask {
            // One that already waits will see these pages too.
            let _ = ask.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.ask = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpoint thread failed");
        }
    }
}

/// Carries the log over; answers how many pages it holds.
fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<i64> {
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
}
