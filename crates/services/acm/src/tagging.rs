//! Tags of certificates.

use crate::api::{self, errors};
use crate::records::CertificateRecord;
use crate::{Acm, resolve};
use neargate_core::tags::TagFault;
use neargate_core::{AwsError, RequestContext, Tags};
use neargate_store::Txn;

/// # Errors
/// `TooManyTagsException`, `InvalidTagException`.
pub fn admit(tags: Option<Vec<api::Tag>>) -> Result<Tags, AwsError> {
    let pairs = tags.unwrap_or_default().into_iter();
    let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    Tags::admit(pairs).map_err(|fault| refuse(&fault))
}

pub fn refuse(fault: &TagFault) -> AwsError {
    match fault {
        TagFault::TooMany => errors::too_many_tags_exception(fault.to_string()),
        _ => errors::invalid_tag_exception(fault.to_string()),
    }
}

/// Changes the tags of one certificate.
///
/// # Errors
/// What `edit` refuses, `InvalidArnException`, `ResourceNotFoundException`.
pub async fn change(
    service: &Acm,
    cx: &RequestContext,
    arn: Option<&str>,
    edit: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let found = resolve::certificate(snapshot, cx, arn)?;
            let mut record = (*found.record).clone();
            edit(&mut record.tags)?;
            let mut txn = Txn::new();
            if record.tags != found.tags {
                let key = record.own_key();
                txn.unchanged::<CertificateRecord>(snapshot, &key).put(&key, record);
            }
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}
