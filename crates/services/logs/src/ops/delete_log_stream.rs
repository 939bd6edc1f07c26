//! DeleteLogStream: the stream goes in one change; its events are never answered again and go from the files soon.

use crate::api;
use crate::records::{LogGroupRecord, LogStreamRecord, SweepRecord};
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ResourceNotFoundException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::DeleteLogStreamRequest) -> Result<(), AwsError> {
    let group_name = input.log_group_name.unwrap_or_default();
    let name = input.log_stream_name.unwrap_or_default();
    service
        .store
        .transact(|snapshot| {
            let group = resolve::group(snapshot, cx, &group_name)?;
            resolve::stream(snapshot, &group, &name)?;
            let key = LogStreamRecord::key(group.uid, &name);
            let mut txn = Txn::new();
            txn.unchanged::<LogGroupRecord>(snapshot, &group.own_key())
                .unchanged::<LogStreamRecord>(snapshot, &key)
                .delete::<LogStreamRecord>(&key)
                .put(&LogGroupRecord::uid_text(group.uid), SweepRecord { since: cx.now });
            Ok::<_, AwsError>((txn, ()))
        })
        .await?;
    service.wake_sweeper();
    Ok(())
}
