//! awsJson 1.0 and 1.1: the body is the input. Errors also serve restJson, whose form is the same.
//!
//! Source: Smithy's "AWS JSON 1.0/1.1 protocol".

use super::Encoded;
use crate::dispatch::Reply;
use crate::schema::{Operation, Protocol};
use neargate_core::AwsError;
use serde_json::{Map, Value};

/// Reads a JSON object; no body at all is an empty one. Nesting is bounded by serde_json's recursion limit (128).
///
/// # Errors
/// `SerializationException`.
pub fn decode(body: &[u8]) -> Result<Value, AwsError> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Value::Object(Map::new()));
    }
    match serde_json::from_slice(body) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(malformed("The request's body must be a JSON object.".to_owned())),
        Err(e) => Err(malformed(format!("The request's body is not valid JSON: {e}"))),
    }
}

/// Writes the output as it is; operations without one answer an empty body.
///
/// # Errors
/// The reply's own.
pub fn encode(protocol: Protocol, operation: &Operation, reply: &dyn Reply) -> Result<Encoded, serde_json::Error> {
    let body = if operation.output.is_some() {
        reply.json()?
    } else {
        Vec::new()
    };
    Ok(Encoded {
        status: 200,
        content_type: content_type(protocol),
        headers: Vec::new(),
        body,
    })
}

/// Writes `{"__type": code, "message": …}` with the error's further members.
pub fn encode_error(protocol: Protocol, error: &AwsError) -> Encoded {
    let mut body = Map::new();
    for (name, value) in &error.extra {
        body.insert((*name).to_owned(), value.clone());
    }
    body.insert("__type".to_owned(), Value::String(error.code.to_string()));
    body.insert("message".to_owned(), Value::String(error.message.clone()));
    Encoded {
        status: error.status,
        content_type: content_type(protocol),
        headers: vec![("x-amzn-errortype", error.code.to_string())],
        body: Value::Object(body).to_string().into_bytes(),
    }
}

fn content_type(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::AwsJson10 => "application/x-amz-json-1.0",
        Protocol::RestJson => "application/json",
        _ => "application/x-amz-json-1.1",
    }
}

fn malformed(message: String) -> AwsError {
    AwsError::new("SerializationException", 400, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::tests::{OPERATION, SILENT};
    use serde_json::json;

    #[test]
    fn bodies_must_be_objects_and_shallow() {
        assert_eq!(decode(b"").unwrap(), json!({}));
        assert_eq!(decode(b" {\"a\": 1}\n").unwrap(), json!({"a": 1}));
        for bad in ["[]", "{", "{\"a\":}", "nul", "\"x\"", "{} {}", "{\"a\":\u{1}}"] {
            assert_eq!(
                decode(bad.as_bytes()).unwrap_err().code,
                "SerializationException",
                "{bad}"
            );
        }
        assert!(decode(&[0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]).is_err());
        let deep = "[".repeat(100_000);
        assert!(decode(format!("{{\"a\":{deep}").as_bytes()).is_err());
    }

    #[test]
    fn errors_carry_type_message_and_members() {
        let error = AwsError::new("ConflictException", 409, "busy").with("resourceIds", json!(["a"]));
        let out = encode_error(Protocol::AwsJson11, &error);
        assert_eq!(out.status, 409);
        assert_eq!(out.headers, [("x-amzn-errortype", "ConflictException".to_owned())]);
        let body: Value = serde_json::from_slice(&out.body).unwrap();
        assert_eq!(
            body,
            json!({"__type": "ConflictException", "message": "busy", "resourceIds": ["a"]})
        );
    }

    #[test]
    fn operations_without_output_answer_an_empty_body() {
        let reply = json!({"Name": "x"});
        assert_eq!(encode(Protocol::AwsJson11, &SILENT, &reply).unwrap().body, b"");
        assert_eq!(
            encode(Protocol::AwsJson10, &OPERATION, &reply).unwrap().body,
            br#"{"Name":"x"}"#
        );
    }
}
