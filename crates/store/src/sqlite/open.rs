//! Opening the embedded store: lock, permissions, schema, and reading every record back.

use super::read::read;
use crate::lease::LeaseTable;
use crate::record::{Kinds, KindsOverlap};
use crate::snapshot::Snapshot;
use rusqlite::Connection;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `PRAGMA application_id` of the file: "NGAT".
const APPLICATION: i64 = 0x4e47_4154;
/// `PRAGMA user_version`: the form of the tables.
const SCHEMA: i64 = 1;

const TABLES: &str = "
    CREATE TABLE record (
        life INTEGER PRIMARY KEY,  -- revision that created the key << 8 | place in that commit
        key TEXT NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER NOT NULL,    -- 0: none
        value BLOB NOT NULL
    );
    CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl INTEGER NOT NULL);
    CREATE TABLE state (one INTEGER PRIMARY KEY CHECK (one = 1), revision INTEGER NOT NULL, last_lease INTEGER NOT NULL);
    INSERT INTO state VALUES (1, 0, 0);
";

/// Why the embedded store could not be opened; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{}{} holds the store in {}: stop it first, or choose another data directory",
        "another process", holder.as_ref().map(|pid| format!(" ({pid})")).unwrap_or_default(), path.display())]
    Locked { path: PathBuf, holder: Option<String> },
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the database in {}: {source}", path.display())]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("{} is a database of another program: choose another data directory", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "{} has store schema {found}, this version of neargate reads schema {SCHEMA}: run the version that wrote it",
        path.display()
    )]
    Schema { path: PathBuf, found: i64 },
    #[error(
        "the record {key} in {} is of a kind that this version of neargate does not know: run the version that wrote it, \
         or restore the directory from a backup", path.display()
    )]
    UnknownKind { path: PathBuf, key: String },
    #[error(
        "the record {key} in {} cannot be read ({reason}): restore the directory from a backup, or, to go on without \
         this record, run: sqlite3 '{}' \"DELETE FROM record WHERE key = '{}'\"",
        path.display(), path.display(), key.replace('\'', "''")
    )]
    Corrupt { path: PathBuf, key: String, reason: String },
    #[error(transparent)]
    Kinds(#[from] KindsOverlap),
}

/// A store read whole.
pub(super) struct Opened {
    pub connection: Connection,
    pub database: PathBuf,
    pub lock: File,
    pub snapshot: Snapshot,
    pub leases: LeaseTable,
}

pub(super) fn open(directory: &Path, kinds: &Kinds) -> Result<Opened, OpenError> {
    let lock = prepare_directory(directory)?;
    let database = directory.join("store.sqlite");
    // Made here, so that SQLite gives its own files these permissions too.
    let fresh = create_private(&database)?;
    let failed = |source| OpenError::Database {
        path: database.clone(),
        source,
    };
    let connection = Connection::open(&database).map_err(failed)?;
    configure(&connection).map_err(failed)?;
    check_schema(&connection, &database, fresh)?;
    if fresh {
        sync_directory(directory)?;
    }
    let (snapshot, leases) = read(&connection, &database, kinds)?;
    Ok(Opened {
        connection,
        database,
        lock,
        snapshot,
        leases,
    })
}

/// Settings of every connection to the store.
pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    // The checkpoint thread and the writer share the file for moments at a time.
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.execute_batch(
        // FULL syncs the log at every commit: nothing acknowledged is lost with the power. Checkpoints are made by a
        // thread of their own, so that no commit waits for one. fullfsync matters on macOS only.
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA fullfsync = ON;
         PRAGMA checkpoint_fullfsync = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA journal_size_limit = 67108864;
         PRAGMA temp_store = MEMORY;
         PRAGMA cache_size = -4096;",
    )
}

fn prepare_directory(directory: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io {
        path: directory.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(failed)?;
    fs::set_permissions(directory, Permissions::from_mode(0o700)).map_err(failed)?;
    let path = directory.join("lock");
    let failed = |source| OpenError::Io {
        path: path.clone(),
        source,
    };
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let read = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
            let holder = read.then(|| format!("pid {}", pid.trim()));
            return Err(OpenError::Locked {
                path: directory.to_owned(),
                holder,
            });
        }
        Err(TryLockError::Error(source)) => return Err(failed(source)),
    }
    // Only for the message above: a full disk must not keep the store from opening.
    let noted = lock
        .set_len(0)
        .and_then(|()| lock.write_all(std::process::id().to_string().as_bytes()));
    if let Err(error) = noted {
        tracing::warn!(%error, "cannot note the process id in {}", path.display());
    }
    Ok(lock)
}

/// Makes the database file with mode 0600 if there is none; answers whether it is empty.
fn create_private(path: &Path) -> Result<bool, OpenError> {
    let failed = |source| OpenError::Io {
        path: path.to_owned(),
        source,
    };
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if about.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600)).map_err(failed)?;
    }
    Ok(about.len() == 0)
}

/// Makes new files survive power loss: their names, not only their content.
fn sync_directory(directory: &Path) -> Result<(), OpenError> {
    for directory in [Some(directory), directory.parent()].into_iter().flatten() {
        // The parent of a relative path of one part is the working directory.
        let directory = if directory.as_os_str().is_empty() {
            Path::new(".")
        } else {
            directory
        };
        let synced = File::open(directory).and_then(|opened| opened.sync_all());
        synced.map_err(|source| OpenError::Io {
            path: directory.to_owned(),
            source,
        })?;
    }
    Ok(())
}

fn check_schema(connection: &Connection, path: &Path, fresh: bool) -> Result<(), OpenError> {
    let failed = |source| OpenError::Database {
        path: path.to_owned(),
        source,
    };
    let pragma = |name| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_err(failed)
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(failed)?;
    // A process killed while it made the tables leaves none of them: one transaction makes all.
    if fresh || tables == 0 {
        let make = format!(
            "BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {SCHEMA}; {TABLES} COMMIT;"
        );
        return connection.execute_batch(&make).map_err(failed);
    }
    if pragma("application_id")? != APPLICATION {
        return Err(OpenError::Foreign { path: path.to_owned() });
    }
    match pragma("user_version")? {
        SCHEMA => Ok(()),
        found => Err(OpenError::Schema {
            path: path.to_owned(),
            found,
        }),
    }
}
