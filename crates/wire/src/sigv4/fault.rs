//! Why a signature is not accepted, and what AWS calls that in each protocol.

use crate::schema::Protocol;
use neargate_core::AwsError;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request is not signed at all.
    Unsigned,
    /// The parts of the signature cannot be read; the text says which.
    Incomplete(String),
    /// No such access key, or a session token that is not its.
    UnknownKey,
    /// The signed time is outside the five minutes; the text is AWS's.
    Skewed(String),
    /// A presigned URL whose time is over; the text is AWS's.
    Expired(String),
    /// The scope, the signed headers or the payload hash do not fit the request; the text says how.
    Unfit(String),
    /// The signature is another one than the key makes.
    Mismatch { canonical: String, string_to_sign: String },
}

const CHECK: &str = "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
                     Access Key and signing method. Consult the service documentation for details.";

impl Fault {
    /// The error a client of `protocol` expects.
    pub fn error(&self, protocol: Protocol) -> AwsError {
        let (code, status) = self.code(protocol);
        AwsError::new(code, status, self.message(protocol))
    }

    /// The table of codes.
    fn code(&self, protocol: Protocol) -> (&'static str, u16) {
        match protocol {
            Protocol::AwsJson10 | Protocol::AwsJson11 | Protocol::RestJson | Protocol::RpcV2Cbor => {
                // restJson services answer 403 where awsJson ones answer 400.
                let status = if protocol == Protocol::RestJson { 403 } else { 400 };
                match self {
                    Fault::Unsigned => ("MissingAuthenticationTokenException", status),
                    Fault::Incomplete(_) => ("IncompleteSignatureException", status),
                    Fault::UnknownKey => ("UnrecognizedClientException", status),
                    Fault::Skewed(_) | Fault::Expired(_) | Fault::Unfit(_) | Fault::Mismatch { .. } => {
                        ("InvalidSignatureException", status)
                    }
                }
            }
            Protocol::Query => match self {
                Fault::Unsigned => ("MissingAuthenticationToken", 403),
                Fault::Incomplete(_) => ("IncompleteSignature", 403),
                Fault::UnknownKey => ("InvalidClientTokenId", 403),
                Fault::Skewed(_) | Fault::Expired(_) | Fault::Unfit(_) | Fault::Mismatch { .. } => {
                    ("SignatureDoesNotMatch", 403)
                }
            },
            Protocol::Ec2Query => match self {
                Fault::Unsigned => ("MissingAuthenticationToken", 403),
                Fault::Incomplete(_) => ("IncompleteSignature", 403),
                Fault::Skewed(_) | Fault::Expired(_) => ("RequestExpired", 400),
                Fault::UnknownKey | Fault::Unfit(_) | Fault::Mismatch { .. } => ("AuthFailure", 401),
            },
            Protocol::RestXml => match self {
                Fault::Unsigned => ("AccessDenied", 403),
                Fault::Incomplete(_) => ("AuthorizationHeaderMalformed", 400),
                Fault::UnknownKey => ("InvalidAccessKeyId", 403),
                Fault::Skewed(_) => ("RequestTimeTooSkewed", 403),
                Fault::Expired(_) => ("AccessDenied", 403),
                Fault::Unfit(_) | Fault::Mismatch { .. } => ("SignatureDoesNotMatch", 403),
            },
        }
    }

    fn message(&self, protocol: Protocol) -> String {
        let ec2 = protocol == Protocol::Ec2Query;
        match self {
            Fault::Unsigned => "Request is missing Authentication Token".to_owned(),
            Fault::UnknownKey if ec2 => "AWS was not able to validate the provided access credentials".to_owned(),
            Fault::UnknownKey => "The security token included in the request is invalid.".to_owned(),
            Fault::Skewed(_) | Fault::Expired(_) if ec2 => "Request has expired.".to_owned(),
            Fault::Expired(_) if protocol == Protocol::RestXml => "Request has expired".to_owned(),
            Fault::Mismatch { .. } if ec2 => "AWS was not able to validate the provided access credentials".to_owned(),
            Fault::Incomplete(text) | Fault::Skewed(text) | Fault::Expired(text) | Fault::Unfit(text) => text.clone(),
            Fault::Mismatch {
                canonical,
                string_to_sign,
            } => format!(
                "{CHECK}\n\nThe Canonical String for this request should have been\n'{canonical}'\n\n\
                 The String-to-Sign should have been\n'{string_to_sign}'\n"
            ),
        }
    }
}
