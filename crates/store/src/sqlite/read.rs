//! Reading every record back at start: this thread reads rows and fills the snapshot, others unpack and decode.

use super::open::OpenError;
use super::value::Unpacker;
use crate::lease::{LeaseId, LeaseTable};
use crate::record::Kinds;
use crate::snapshot::{Entry, Snapshot};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

/// Rows decoded at a time.
const CHUNK: usize = 256;
/// A store with fewer rows is decoded without further threads.
const FEW: usize = 2 * CHUNK;

/// A row as it is stored.
struct Row {
    life: u64,
    key: Arc<str>,
    modified: u64,
    lease: u64,
    value: Vec<u8>,
}

type Decoded = Result<Vec<(Arc<str>, Entry)>, OpenError>;

/// All that the database holds.
pub(super) fn read(connection: &Connection, path: &Path, kinds: &Kinds) -> Result<(Snapshot, LeaseTable), OpenError> {
    let failed = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let (revision, last_lease): (u64, u64) = connection
        .query_row("SELECT revision, last_lease FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(failed)?;
    let mut snapshot = Snapshot {
        revision,
        ..Snapshot::default()
    };
    let decoder = Decoder { path, kinds, revision };
    let rows: usize = connection
        .query_row("SELECT count(*) FROM record", [], |row| row.get(0))
        .map_err(failed)?;
    let helpers = if rows < FEW {
        0
    } else {
        std::thread::available_parallelism().map_or(1, |n| n.get().min(4))
    };
    read_records(connection, &decoder, helpers, &mut snapshot)?;

    let mut select = connection.prepare("SELECT id, ttl FROM lease").map_err(failed)?;
    let leases = select
        .query_map([], |row| Ok((LeaseId(row.get(0)?), Duration::from_millis(row.get(1)?))))
        .and_then(|rows| rows.collect::<rusqlite::Result<Vec<_>>>())
        .map_err(failed)?;
    Ok((snapshot, LeaseTable::restore(leases, last_lease)))
}

fn read_records(
    connection: &Connection,
    decoder: &Decoder<'_>,
    helpers: usize,
    snapshot: &mut Snapshot,
) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database {
        path: decoder.path.to_owned(),
        source,
    };
    // Bounded, so that the rows in flight are few; the answers are as many.
    let (work, queue) = mpsc::sync_channel::<Vec<Row>>(2 * helpers.max(1));
    let queue = Mutex::new(queue);
    let (answer, answers) = mpsc::channel::<Decoded>();
    std::thread::scope(|scope| {
        // Owned by the scope's body: however it ends, the helpers see their queue close.
        let work = work;
        for _ in 0..helpers {
            let (queue, answer) = (&queue, answer.clone());
            scope.spawn(move || {
                loop {
                    let next = queue.lock().expect("no holder panics").recv();
                    let Ok(rows) = next else { return };
                    if answer.send(decoder.decode(rows)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(answer);
        let mut select = connection
            .prepare("SELECT life, key, modified, lease, value FROM record")
            .map_err(failed)?;
        let mut rows = select.query([]).map_err(failed)?;
        loop {
            let mut chunk = Vec::with_capacity(CHUNK);
            while chunk.len() < CHUNK
                && let Some(row) = rows.next().map_err(failed)?
            {
                chunk.push(Row {
                    life: row.get(0).map_err(failed)?,
                    key: row.get::<_, String>(1).map_err(failed)?.into(),
                    modified: row.get(2).map_err(failed)?,
                    lease: row.get(3).map_err(failed)?,
                    value: row.get(4).map_err(failed)?,
                });
            }
            if chunk.is_empty() {
                break;
            }
            if helpers == 0 {
                decoder.restore(snapshot, decoder.decode(chunk)?)?;
                continue;
            }
            if work.send(chunk).is_err() {
                // Every helper has ended: the answers say why.
                break;
            }
            while let Ok(decoded) = answers.try_recv() {
                decoder.restore(snapshot, decoded?)?;
            }
        }
        drop(work);
        for decoded in answers {
            decoder.restore(snapshot, decoded?)?;
        }
        Ok(())
    })
}

/// From rows to entries, with everything checked that can be.
struct Decoder<'a> {
    path: &'a Path,
    kinds: &'a Kinds,
    revision: u64,
}

impl Decoder<'_> {
    fn corrupt(&self, key: &str, reason: impl ToString) -> OpenError {
        OpenError::Corrupt {
            path: self.path.to_owned(),
            key: key.to_owned(),
            reason: reason.to_string(),
        }
    }

    fn decode(&self, rows: Vec<Row>) -> Decoded {
        let mut unpacker = Unpacker::new().map_err(|source| OpenError::Io {
            path: self.path.to_owned(),
            source,
        })?;
        rows.into_iter()
            .map(|row| self.decode_one(&mut unpacker, row))
            .collect()
    }

    fn decode_one(&self, unpacker: &mut Unpacker, row: Row) -> Result<(Arc<str>, Entry), OpenError> {
        let Row {
            life,
            key,
            modified,
            lease,
            value,
        } = row;
        let Some(kind) = self.kinds.of(&key) else {
            return Err(OpenError::UnknownKind {
                path: self.path.to_owned(),
                key: key.to_string(),
            });
        };
        let json = unpacker.unpack(&value).map_err(|error| self.corrupt(&key, error))?;
        let record = (kind.decode)(&json).map_err(|error| self.corrupt(&key, error))?;
        let created = life >> 8;
        if modified < created || modified > self.revision {
            let reason = format!(
                "it was changed at revision {modified}, the store is at {}",
                self.revision
            );
            return Err(self.corrupt(&key, reason));
        }
        let lease = (lease != 0).then_some(LeaseId(lease));
        Ok((
            key,
            Entry {
                created,
                modified,
                ordinal: (life & 0xff) as u8,
                lease,
                record,
            },
        ))
    }

    fn restore(&self, snapshot: &mut Snapshot, entries: Vec<(Arc<str>, Entry)>) -> Result<(), OpenError> {
        for (key, entry) in entries {
            if snapshot.restore(key.clone(), entry).is_some() {
                return Err(self.corrupt(&key, "it is there twice"));
            }
        }
        Ok(())
    }
}
