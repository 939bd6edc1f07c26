//! CreateLogStream.

use crate::api::{self, errors};
use crate::records::{LogGroupRecord, LogStreamRecord};
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ResourceAlreadyExistsException`, `ResourceNotFoundException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::CreateLogStreamRequest) -> Result<(), AwsError> {
    let group_name = input.log_group_name.unwrap_or_default();
    let name = input.log_stream_name.unwrap_or_default();
    let id = service.fresh_id();
    service
        .store
        .transact(|snapshot| {
            let group = resolve::group(snapshot, cx, &group_name)?;
            let key = LogStreamRecord::key(group.uid, &name);
            if snapshot.contains::<LogStreamRecord>(&key) {
                return Err(errors::resource_already_exists_exception(
                    "The specified log stream already exists",
                ));
            }
            let mut txn = Txn::new();
            txn.unchanged::<LogGroupRecord>(snapshot, &group.own_key())
                .unchanged::<LogStreamRecord>(snapshot, &key)
                .put(&key, LogStreamRecord::new(group.uid, &name, id, cx.now));
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}
