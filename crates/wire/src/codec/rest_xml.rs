//! restXml, as far as refusing in it goes: S3's and Route 53's clients understand no other error document.

use super::Encoded;
use super::xml;
use neargate_core::AwsError;

/// Writes `<Error><Code>…`.
pub fn encode_error(error: &AwsError, request_id: &str) -> Encoded {
    let mut out = xml::Writer::new();
    out.open("Error");
    out.leaf("Code", &error.code);
    out.leaf("Message", &error.message);
    out.leaf("RequestId", request_id);
    out.close("Error");
    Encoded {
        status: error.status,
        content_type: "application/xml",
        headers: Vec::new(),
        body: out.finish(),
    }
}
