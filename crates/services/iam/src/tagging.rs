//! Tags of server certificates.

use crate::api::{self, errors};
use crate::records::ServerCertificateRecord;
use crate::{Iam, resolve};
use neargate_core::tags::{MAX_TAGS, TagFault};
use neargate_core::{AwsError, Tags};
use neargate_store::Txn;

/// # Errors
/// `LimitExceeded`, `InvalidInput`.
pub fn admit(tags: Option<Vec<api::Tag>>) -> Result<Tags, AwsError> {
    let pairs = tags.unwrap_or_default().into_iter();
    let pairs = pairs.map(|tag| (tag.key.unwrap_or_default(), tag.value.unwrap_or_default()));
    Tags::admit(pairs).map_err(|fault| refuse(&fault))
}

pub fn refuse(fault: &TagFault) -> AwsError {
    match fault {
        TagFault::TooMany => {
            let message = format!("Cannot exceed quota for TagsPerServerCertificate: {MAX_TAGS}");
            errors::limit_exceeded_exception(message)
        }
        _ => errors::invalid_input_exception(fault.to_string()),
    }
}

/// Changes the tags of one server certificate.
///
/// # Errors
/// What `edit` refuses, `NoSuchEntity`.
pub async fn change(
    service: &Iam,
    name: Option<&str>,
    edit: impl Fn(&mut Tags) -> Result<(), AwsError>,
) -> Result<(), AwsError> {
    service
        .store
        .transact(|snapshot| {
            let found = resolve::named(snapshot, name)?;
            let mut record = (*found.record).clone();
            edit(&mut record.tags)?;
            let mut txn = Txn::new();
            if record.tags != found.tags {
                let key = record.name.clone();
                txn.unchanged::<ServerCertificateRecord>(snapshot, &key)
                    .put(&key, record);
            }
            Ok::<_, AwsError>((txn, ()))
        })
        .await
}
