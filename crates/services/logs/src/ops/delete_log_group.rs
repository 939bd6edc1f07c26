//! DeleteLogGroup: the group goes in one change; its streams' records and its events follow.

use crate::api;
use crate::records::LogGroupRecord;
use crate::{Logs, resolve};
use neargate_core::{AwsError, RequestContext};
use neargate_store::Txn;

/// # Errors
/// `ResourceNotFoundException`.
pub async fn handle(service: &Logs, cx: &RequestContext, input: api::DeleteLogGroupRequest) -> Result<(), AwsError> {
    let name = input.log_group_name.unwrap_or_default();
    let uid = service
        .store
        .transact(|snapshot| {
            let group = resolve::group(snapshot, cx, &name)?;
            let key = group.own_key();
            let mut txn = Txn::new();
            txn.unchanged::<LogGroupRecord>(snapshot, &key)
                .delete::<LogGroupRecord>(&key);
            Ok::<_, AwsError>((txn, group.uid))
        })
        .await?;
    // The group is gone for everybody; what is left behind now is cleared away by the retention loop or at the next start.
    service.forget_group(uid).await;
    Ok(())
}
