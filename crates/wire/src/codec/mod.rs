//! The protocols: a request's body to a value tree, replies and errors back.
//!
//! The front door calls `decode`, `encode` and `encode_error`; each is one match over `Protocol`. A protocol is a file
//! here that knows nothing of the others. Trees are keyed by model member names; blobs are base64 in them and timestamps
//! numbers of seconds once `validate` has passed.

pub mod cbor;
pub mod ec2;
pub mod form;
pub mod json;
pub mod query;
pub mod rest_xml;
#[cfg(test)]
mod tests;
pub mod timestamp;
mod xml;

use crate::dialect::{Dialect, dialect};
use crate::dispatch::Reply;
use crate::request::Request;
use crate::schema::{Operation, Protocol, Service};
use neargate_core::AwsError;
use serde_json::Value;

/// Structures within structures deeper than this are refused in every protocol.
pub const MAX_DEPTH: usize = 64;

/// A reply ready for the socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    pub status: u16,
    pub content_type: &'static str,
    /// Further headers, names in lower case.
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

/// Reads the operation's input out of `request`; not yet validated.
///
/// # Errors
/// The dialect's `malformed` code when the body cannot be read, its `unknown` code for parameters the model lacks;
/// `UnsupportedProtocol` for protocols without a codec.
pub fn decode(
    protocol: Protocol,
    service: &Service,
    operation: &Operation,
    request: &Request<'_>,
) -> Result<Value, AwsError> {
    let dialect: Dialect = dialect(service, protocol);
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => json::decode(request.body),
        Protocol::Query => query::decode(operation, request, &dialect),
        Protocol::Ec2Query => ec2::decode(operation, request, &dialect),
        Protocol::RestJson | Protocol::RestXml | Protocol::RpcV2Cbor => Err(no_codec(protocol)),
    }
}

/// Writes the operation's output.
///
/// # Errors
/// An error of serialization: always internal.
pub fn encode(
    protocol: Protocol,
    service: &Service,
    operation: &Operation,
    reply: &dyn Reply,
    request_id: &str,
) -> Result<Encoded, serde_json::Error> {
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 => json::encode(protocol, operation, reply),
        Protocol::Query => query::encode(service, operation, &reply.tree()?, request_id),
        Protocol::Ec2Query => ec2::encode(service, operation, &reply.tree()?, request_id),
        Protocol::RestJson | Protocol::RestXml | Protocol::RpcV2Cbor => {
            Ok(encode_error(protocol, "", &no_codec(protocol), request_id))
        }
    }
}

/// Writes an error as `protocol` carries it; `namespace` is the service's XML namespace, where one is known.
pub fn encode_error(protocol: Protocol, namespace: &str, error: &AwsError, request_id: &str) -> Encoded {
    match protocol {
        Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RestJson => json::encode_error(protocol, error),
        Protocol::Query => query::encode_error(namespace, error, request_id),
        Protocol::Ec2Query => ec2::encode_error(error, request_id),
        Protocol::RestXml => rest_xml::encode_error(error, request_id),
        Protocol::RpcV2Cbor => cbor::encode_error(error),
    }
}

fn no_codec(protocol: Protocol) -> AwsError {
    AwsError::new(
        "UnsupportedProtocol",
        400,
        format!("The protocol {protocol:?} is not supported by Neargate yet."),
    )
}
