//! EC2's variant of the query protocol: its own names, lists without `member`, its own error document.
//!
//! Source: Smithy's "AWS EC2 query protocol".

use super::Encoded;
use super::form::Node;
use super::query::{self, Names};
use super::xml::{self, Style};
use crate::dialect::Dialect;
use crate::request::Request;
use crate::schema::{Member, Operation, Service};
use neargate_core::AwsError;
use serde_json::Value;
use std::borrow::Cow;

struct Ec2Names;

impl Names for Ec2Names {
    /// `queryName`, else the capitalised `locationName`, else the member's name.
    fn member(&self, member: &Member) -> Cow<'static, str> {
        match (member.query_name, member.location_name) {
            (Some(name), _) => Cow::Borrowed(name),
            (None, Some(name)) => Cow::Owned(capitalised(name)),
            (None, None) => Cow::Owned(capitalised(member.name)),
        }
    }

    fn elements<'n>(&self, _: &'n mut Node, _: Option<&str>, _: bool) -> Option<&'n mut Node> {
        None
    }
}

fn capitalised(name: &str) -> String {
    let mut chars = name.chars();
    chars
        .next()
        .map(|first| first.to_ascii_uppercase().to_string() + chars.as_str())
        .unwrap_or_default()
}

/// Reads the input out of the form.
///
/// # Errors
/// The dialect's codes.
pub fn decode(operation: &Operation, request: &Request<'_>, dialect: &Dialect) -> Result<Value, AwsError> {
    query::decode_with(&Ec2Names, operation, request, dialect)
}

/// Writes `<OpResponse><requestId>…</requestId>…`.
///
/// # Errors
/// None today; the signature is the codecs' common one.
pub fn encode(
    service: &Service,
    operation: &Operation,
    tree: &Value,
    request_id: &str,
) -> Result<Encoded, serde_json::Error> {
    let mut out = xml::Writer::new();
    let response = format!("{}Response", operation.name);
    let namespace = format!("{}/", service.xml_namespace.trim_end_matches('/'));
    out.open_with(&response, &[("xmlns", &namespace)]);
    out.leaf("requestId", request_id);
    match operation.output {
        Some(shape) => out.members(shape, tree, Style::Ec2),
        None => out.leaf("return", "true"),
    }
    out.close(&response);
    Ok(Encoded {
        status: 200,
        content_type: "text/xml;charset=UTF-8",
        headers: Vec::new(),
        body: out.finish(),
    })
}

/// Writes `<Response><Errors><Error>…`.
pub fn encode_error(error: &AwsError, request_id: &str) -> Encoded {
    let mut out = xml::Writer::new();
    out.open("Response");
    out.open("Errors");
    out.open("Error");
    out.leaf("Code", &error.code);
    out.leaf("Message", &error.message);
    for (name, value) in &error.extra {
        out.leaf(name, &xml::plain(value));
    }
    out.close("Error");
    out.close("Errors");
    out.leaf("RequestID", request_id);
    out.close("Response");
    Encoded {
        status: error.status,
        content_type: "text/xml;charset=UTF-8",
        headers: Vec::new(),
        body: out.finish(),
    }
}
