//! A failed commit as an AWS client sees it: nothing of the cause leaves the process, all of it is logged.

use crate::CommitError;
use neargate_core::AwsError;

impl From<CommitError> for AwsError {
    fn from(error: CommitError) -> AwsError {
        tracing::error!(%error, "a request's change could not be stored");
        AwsError::internal()
    }
}
