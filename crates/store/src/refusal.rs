//! A failed commit as an AWS client sees it: of the cause only that the disk takes no more leaves the process, all of it is logged.

use crate::CommitError;
use neargate_core::AwsError;

impl From<CommitError> for AwsError {
    fn from(error: CommitError) -> AwsError {
        tracing::error!(%error, "a request's change could not be stored");
        match error {
            CommitError::Storage(_) => AwsError::new(
                "ServiceUnavailable",
                503,
                "The change could not be stored: Neargate's data directory cannot be written. Free space on its disk and try again.",
            ),
            _ => AwsError::internal(),
        }
    }
}
