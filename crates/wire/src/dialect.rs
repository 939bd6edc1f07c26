//! The codes and wording each service uses when a request does not fit its model: one visible table.
//!
//! AWS's services agree on the constraints and differ in the code that says one was broken. `validate` and the codecs ask
//! here; nothing else in the house decides on such a code.

use crate::schema::{Protocol, Service};

/// How violations are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wording {
    /// `N validation errors detected: Value 'x' at 'a.b' failed to satisfy constraint: …`.
    Listed,
    /// EC2's: one parameter a message, a code per kind of fault.
    Ec2,
}

/// A service's codes for malformed requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// A constraint of the model is broken.
    pub constraint: &'static str,
    /// A required member is missing.
    pub missing: &'static str,
    /// A member that the model does not have.
    pub unknown: &'static str,
    /// A value of the wrong type, or a body that cannot be read.
    pub malformed: &'static str,
    pub wording: Wording,
}

const fn listed(constraint: &'static str, malformed: &'static str) -> Dialect {
    Dialect {
        constraint,
        missing: constraint,
        unknown: constraint,
        malformed,
        wording: Wording::Listed,
    }
}

/// Services whose own models have a code for it.
static SERVICES: &[(&str, Dialect)] = &[
    ("ecs", listed("InvalidParameterException", "SerializationException")),
    ("logs", listed("InvalidParameterException", "SerializationException")),
];

const JSON: Dialect = listed("ValidationException", "SerializationException");
const QUERY: Dialect = listed("ValidationError", "MalformedInput");
const EC2: Dialect = Dialect {
    constraint: "InvalidParameterValue",
    missing: "MissingParameter",
    unknown: "UnknownParameter",
    malformed: "InvalidParameterValue",
    wording: Wording::Ec2,
};

/// The dialect that `service` speaks over `protocol`.
pub fn dialect(service: &Service, protocol: Protocol) -> Dialect {
    if let Some((_, own)) = SERVICES.iter().find(|(name, _)| *name == service.name) {
        return *own;
    }
    match protocol {
        Protocol::Ec2Query => EC2,
        Protocol::Query => QUERY,
        Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RestJson | Protocol::RestXml | Protocol::RpcV2Cbor => {
            JSON
        }
    }
}
