//! Why log data could not be stored or read.

use crate::api::errors;
use neargate_core::AwsError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

#[derive(Clone, Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    #[error("{} is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("the state that belongs to the log data could not be stored: {0}")]
    State(String),
    #[error("segments cannot be written, and memory for more events is used up")]
    Behind,
    #[error("the log storage is closed")]
    Closed,
}

impl StorageError {
    /// For `map_err` on an operation on `path`.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StorageError {
        let path = path.to_owned();
        move |source| StorageError::Io {
            what,
            path,
            source: Arc::new(source),
        }
    }

    fn is_full(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, StorageError::Io { source, .. } if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

impl From<StorageError> for AwsError {
    fn from(error: StorageError) -> AwsError {
        tracing::error!(%error, "log data could not be stored or read");
        if error.is_full() {
            return errors::service_unavailable_exception(
                "The disk that holds Neargate's log data is full. Free some space and try again.",
            );
        }
        errors::service_unavailable_exception("The service cannot complete the request.")
    }
}
