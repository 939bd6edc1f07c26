//! A failed commit as an AWS client sees it: of the cause only that the disk takes no more leaves the process, all of it is logged.

use crate::CommitError;
use neargate_core::AwsError;

impl From<CommitError> for AwsError {
    fn from(error: CommitError) -> AwsError {
        tracing::error!(%error, "a request's change could not be stored");
        match error {
            CommitError::Storage(_) => full(),
            _ => AwsError::internal(),
        }
    }
}

/// What a client is told whose change finds no room.
pub fn full() -> AwsError {
    AwsError::new(
        "ServiceUnavailable",
        503,
        "The change could not be stored: Neargate's data directory cannot be written. Free space on its disk and try again.",
    )
}
