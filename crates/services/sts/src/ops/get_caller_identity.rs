//! GetCallerIdentity: the account, ARN and unique id of whoever signed. Needs no permission.

use crate::Sts;
use crate::api::{GetCallerIdentityRequest, GetCallerIdentityResponse};
use neargate_core::{AwsError, RequestContext};

/// Answers from the request's own context.
///
/// # Errors
/// None.
pub async fn handle(
    service: &Sts,
    cx: &RequestContext,
    _: GetCallerIdentityRequest,
) -> Result<GetCallerIdentityResponse, AwsError> {
    Ok(GetCallerIdentityResponse {
        account: Some(service.account.clone()),
        arn: Some(cx.caller_arn.clone()),
        user_id: Some(cx.caller_id.clone()),
    })
}

#[cfg(test)]
mod tests {
    use neargate_core::{RequestContext, Timestamp};
    use neargate_wire::ServiceDispatch as _;
    use serde_json::json;

    #[tokio::test]
    async fn root_learns_that_it_is_root() {
        let sts = crate::Sts {
            account: "000000000000".into(),
        };
        let cx = RequestContext {
            request_id: "id".into(),
            region: "us-east-1".into(),
            account: sts.account.clone(),
            caller_arn: "arn:aws:iam::000000000000:root".into(),
            caller_id: sts.account.clone(),
            access_key: "AKIA".into(),
            now: Timestamp::from_secs(0),
        };
        let reply = sts
            .call("GetCallerIdentity", &cx, json!({}))
            .unwrap()
            .await
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            reply.tree().unwrap(),
            json!({"Account": "000000000000", "Arn": "arn:aws:iam::000000000000:root", "UserId": "000000000000"})
        );
        assert!(sts.call("AssumeRole", &cx, json!({})).is_none());
    }
}
