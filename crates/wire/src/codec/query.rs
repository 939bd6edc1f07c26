//! The query protocol: a form in, XML out, or JSON for those who accept that.
//!
//! Source: Smithy's "AWS query protocol". Names on the wire are `locationName` where the model has one.

use super::Encoded;
use super::form::{self, Node};
use super::xml::{self, Style};
use crate::dialect::Dialect;
use crate::request::Request;
use crate::schema::{Kind, Member, Operation, Service, Shape};
use neargate_core::AwsError;
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// How a protocol of the query family names things.
pub(super) trait Names {
    fn member(&self, member: &Member) -> Cow<'static, str>;
    /// The node whose children are the list's elements by number; `None` when `node` itself is.
    fn elements<'n>(&self, node: &'n mut Node, member_name: Option<&str>, flattened: bool) -> Option<&'n mut Node>;
}

struct QueryNames;

impl Names for QueryNames {
    fn member(&self, member: &Member) -> Cow<'static, str> {
        // A flattened list of named elements goes by the elements' name.
        if let Kind::List {
            flattened: true,
            member_name: Some(name),
            ..
        } = &member.shape.kind
        {
            return Cow::Borrowed(*name);
        }
        Cow::Borrowed(member.location_name.unwrap_or(member.name))
    }

    fn elements<'n>(&self, node: &'n mut Node, member_name: Option<&str>, flattened: bool) -> Option<&'n mut Node> {
        if flattened {
            return None;
        }
        let name = match member_name {
            Some(name) if node.children.contains_key(name) => name,
            _ => "member",
        };
        node.children.get_mut(name)
    }
}

/// Reads the input out of the form.
///
/// # Errors
/// The dialect's codes.
pub fn decode(operation: &Operation, request: &Request<'_>, dialect: &Dialect) -> Result<Value, AwsError> {
    decode_with(&QueryNames, operation, request, dialect)
}

pub(super) fn decode_with(
    names: &dyn Names,
    operation: &Operation,
    request: &Request<'_>,
    dialect: &Dialect,
) -> Result<Value, AwsError> {
    let mut root = form::parse(request).map_err(|e| AwsError::new(dialect.malformed, 400, e.text()))?;
    let members: &[Member] = match operation.input.map(|shape| &shape.kind) {
        Some(Kind::Structure { members, .. }) => members,
        _ => &[],
    };
    let reader = Reader { names, dialect };
    let value = reader.structure(members, &mut root, "")?;
    match root.first_left("") {
        None => Ok(value),
        Some(name) => {
            let message = match dialect.wording {
                crate::dialect::Wording::Ec2 => format!("The parameter {name} is not recognized"),
                crate::dialect::Wording::Listed => format!("Unknown parameter in the request: '{name}'"),
            };
            Err(AwsError::new(dialect.unknown, 400, message))
        }
    }
}

struct Reader<'a> {
    names: &'a dyn Names,
    dialect: &'a Dialect,
}

impl Reader<'_> {
    /// Takes what the shape knows out of `node`; what stays is unknown.
    fn structure(&self, members: &[Member], node: &mut Node, at: &str) -> Result<Value, AwsError> {
        let mut out = Map::new();
        for member in members {
            let name = self.names.member(member);
            let Some(child) = node.children.get_mut(name.as_ref()) else {
                continue;
            };
            if let Some(value) = self.value(member.shape, child, &join(at, &name))? {
                out.insert(member.name.to_owned(), value);
            }
        }
        Ok(Value::Object(out))
    }

    fn value(&self, shape: &Shape, node: &mut Node, at: &str) -> Result<Option<Value>, AwsError> {
        match &shape.kind {
            Kind::Structure { members, .. } => {
                node.take_empty();
                self.structure(members, node, at).map(Some)
            }
            Kind::List {
                member,
                member_name,
                flattened,
                ..
            } => {
                node.take_empty();
                let elements = match self.names.elements(node, *member_name, *flattened) {
                    Some(inner) => {
                        inner.take_empty();
                        inner
                    }
                    None => node,
                };
                let mut out = Vec::new();
                for number in elements.numbers() {
                    let Some(child) = elements.children.get_mut(&number) else {
                        continue;
                    };
                    out.extend(self.value(member, child, &join(at, &number))?);
                }
                Ok(Some(Value::Array(out)))
            }
            Kind::Map {
                key: _,
                value,
                key_name,
                value_name,
                flattened,
                ..
            } => {
                node.take_empty();
                let entries = if *flattened {
                    Some(node)
                } else {
                    node.children.get_mut("entry")
                };
                let mut out = Map::new();
                let Some(entries) = entries else {
                    return Ok(Some(Value::Object(out)));
                };
                for number in entries.numbers() {
                    let Some(entry) = entries.children.get_mut(&number) else {
                        continue;
                    };
                    let key = entry
                        .children
                        .get_mut(key_name.unwrap_or("key"))
                        .and_then(|n| n.value.take());
                    let place = join(at, &number);
                    let Some(key) = key else {
                        return Err(self.malformed(&place, "an entry needs a key"));
                    };
                    if let Some(child) = entry.children.get_mut(value_name.unwrap_or("value")) {
                        let content = self.value(value, child, &place)?;
                        out.insert(key, content.unwrap_or(Value::Null));
                    }
                }
                Ok(Some(Value::Object(out)))
            }
            kind => {
                let Some(text) = node.value.take() else {
                    return Ok(None);
                };
                self.scalar(kind, text, at).map(Some)
            }
        }
    }

    fn scalar(&self, kind: &Kind, text: String, at: &str) -> Result<Value, AwsError> {
        match kind {
            Kind::Integer { .. } | Kind::Long { .. } => match text.trim().parse::<i64>() {
                Ok(number) => Ok(Value::from(number)),
                Err(_) => Err(self.malformed(at, &format!("'{}' is not an integer", shown(&text)))),
            },
            Kind::Float { .. } | Kind::Double { .. } => {
                let number = text.trim().parse::<f64>().ok().and_then(serde_json::Number::from_f64);
                match number {
                    Some(number) => Ok(Value::Number(number)),
                    None => Err(self.malformed(at, &format!("'{}' is not a number", shown(&text)))),
                }
            }
            Kind::Boolean => match text.trim() {
                t if t.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
                t if t.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
                _ => Err(self.malformed(at, &format!("'{}' is not true or false", shown(&text)))),
            },
            _ => Ok(Value::String(text)),
        }
    }

    fn malformed(&self, at: &str, what: &str) -> AwsError {
        let message = match self.dialect.wording {
            crate::dialect::Wording::Ec2 => format!("Invalid value for parameter {at}: {what}."),
            crate::dialect::Wording::Listed => format!("Parameter '{at}' cannot be read: {what}."),
        };
        AwsError::new(self.dialect.malformed, 400, message)
    }
}

impl Node {
    /// Drops the empty value by which clients send an empty list or map.
    fn take_empty(&mut self) {
        if self.value.as_deref() == Some("") {
            self.value = None;
        }
    }

    /// The children named by a number, in the numbers' order.
    fn numbers(&self) -> Vec<String> {
        let mut found: Vec<(u32, &String)> = self
            .children
            .keys()
            .filter_map(|name| Some((name.parse().ok()?, name)))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, name)| name.clone()).collect()
    }

    /// The full name of a parameter nobody took.
    fn first_left(&self, at: &str) -> Option<String> {
        if self.value.is_some() {
            return Some(at.to_owned());
        }
        self.children
            .iter()
            .find_map(|(name, child)| child.first_left(&join(at, name)))
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

fn shown(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Writes `<OpResponse><OpResult>…</OpResult><ResponseMetadata>…`.
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
    out.open_with(&response, &[("xmlns", service.xml_namespace)]);
    if let Some(wrapper) = operation.result_wrapper {
        out.open(wrapper);
    }
    if let Some(shape) = operation.output {
        out.members(shape, tree, Style::Query);
    }
    if let Some(wrapper) = operation.result_wrapper {
        out.close(wrapper);
    }
    out.open("ResponseMetadata");
    out.leaf("RequestId", request_id);
    out.close("ResponseMetadata");
    out.close(&response);
    Ok(Encoded {
        status: 200,
        content_type: "text/xml",
        headers: Vec::new(),
        body: out.finish(),
    })
}

/// Writes the same as JSON: `{"OpResponse": {"OpResult": …, "ResponseMetadata": …}}`.
pub fn encode_json(operation: &Operation, tree: Value, request_id: &str) -> Encoded {
    let mut inside = match (operation.result_wrapper, tree) {
        (Some(wrapper), tree) => Map::from_iter([(wrapper.to_owned(), tree)]),
        (None, Value::Object(tree)) => tree,
        (None, _) => Map::new(),
    };
    inside.insert("ResponseMetadata".to_owned(), json!({ "RequestId": request_id }));
    as_json(200, &json!({ format!("{}Response", operation.name): inside }))
}

/// Writes an error for those who accept JSON: `{"Error": …, "RequestId": …}`.
pub fn encode_error_json(error: &AwsError, request_id: &str) -> Encoded {
    let mut inside = Map::new();
    inside.insert("Type".to_owned(), kind(error).into());
    inside.insert("Code".to_owned(), error.code.as_ref().into());
    inside.insert("Message".to_owned(), error.message.as_str().into());
    inside.extend(
        error
            .extra
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.clone())),
    );
    as_json(error.status, &json!({ "Error": inside, "RequestId": request_id }))
}

fn as_json(status: u16, body: &Value) -> Encoded {
    Encoded {
        status,
        content_type: "application/json",
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    }
}

/// Whose fault an error is.
fn kind(error: &AwsError) -> &'static str {
    if error.is_client_fault() { "Sender" } else { "Receiver" }
}

/// Writes `<ErrorResponse><Error>…`.
pub fn encode_error(namespace: &str, error: &AwsError, request_id: &str) -> Encoded {
    let mut out = xml::Writer::new();
    if namespace.is_empty() {
        out.open("ErrorResponse");
    } else {
        out.open_with("ErrorResponse", &[("xmlns", namespace)]);
    }
    out.open("Error");
    out.leaf("Type", kind(error));
    out.leaf("Code", &error.code);
    out.leaf("Message", &error.message);
    for (name, value) in &error.extra {
        out.leaf(name, &xml::plain(value));
    }
    out.close("Error");
    out.leaf("RequestId", request_id);
    out.close("ErrorResponse");
    Encoded {
        status: error.status,
        content_type: "text/xml",
        headers: Vec::new(),
        body: out.finish(),
    }
}
