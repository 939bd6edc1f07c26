//! Checks a request's value tree against its shape and brings it into the form generated structs read.
//!
//! Called by the front door once a codec has decoded a body, whatever the protocol. Afterwards the tree has only members
//! of the model, none of them null, of the model's types, within its constraints; timestamps are numbers of seconds.

mod path;
pub mod pattern;
#[cfg(test)]
mod tests;
mod text;

use crate::codec::timestamp;
use crate::dialect::{Dialect, Wording};
use crate::schema::{Kind, Member, Shape};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use neargate_core::AwsError;
use path::Path;
use serde_json::Value;

/// Violations told in one answer; the count is always the true one.
const TOLD: usize = 20;

/// Checks `value` against `shape`, drops nulls, and rewrites numbers and timestamps to their plain form.
///
/// # Errors
/// The dialect's codes: malformed for wrong types, unknown for members the model does not have, missing and constraint
/// for the rest.
pub fn validate(shape: &'static Shape, value: &mut Value, dialect: &Dialect) -> Result<(), AwsError> {
    let mut walk = Walk {
        found: Vec::new(),
        count: 0,
        all_missing: true,
    };
    match walk.value(shape, value, &Path::root()) {
        Ok(()) if walk.count == 0 => Ok(()),
        Ok(()) => Err(walk.refusal(dialect)),
        Err(fault) => Err(fault.refusal(dialect)),
    }
}

/// What ends the walk at once.
enum Fault {
    /// Wrong type: what was found where.
    Type {
        found: String,
        at: String,
    },
    Unknown {
        member: String,
        at: String,
    },
}

impl Fault {
    fn refusal(self, dialect: &Dialect) -> AwsError {
        match (self, dialect.wording) {
            (Fault::Type { found, at }, Wording::Listed) if at.is_empty() => {
                AwsError::new(dialect.malformed, 400, found)
            }
            (Fault::Type { found, at }, Wording::Listed) => {
                AwsError::new(dialect.malformed, 400, format!("{found} (at '{at}')"))
            }
            (Fault::Type { found, at }, Wording::Ec2) => AwsError::new(
                dialect.malformed,
                400,
                format!("Invalid value for parameter {at}: {found}"),
            ),
            (Fault::Unknown { member, at }, Wording::Listed) => {
                let place = if at.is_empty() {
                    "the request".to_owned()
                } else {
                    format!("'{at}'")
                };
                AwsError::new(
                    dialect.unknown,
                    400,
                    format!("Unknown parameter in {place}: '{member}'"),
                )
            }
            (Fault::Unknown { member, .. }, Wording::Ec2) => AwsError::new(
                dialect.unknown,
                400,
                format!("The parameter {member} is not recognized"),
            ),
        }
    }
}

struct Violation {
    at: String,
    /// The value as AWS prints it; none for a missing member.
    value: Option<String>,
    constraint: String,
}

struct Walk {
    found: Vec<Violation>,
    count: usize,
    all_missing: bool,
}

impl Walk {
    fn refusal(mut self, dialect: &Dialect) -> AwsError {
        let code = if self.all_missing {
            dialect.missing
        } else {
            dialect.constraint
        };
        let message = match dialect.wording {
            Wording::Ec2 => {
                // One parameter a message: the first that is wrong.
                let first = self.found.swap_remove(0);
                match first.value {
                    None => {
                        let text = format!("The request must contain the parameter {}", first.at);
                        return AwsError::new(dialect.missing, 400, text);
                    }
                    Some(value) => {
                        let (at, constraint) = (first.at, first.constraint);
                        let text = format!("Value ({value}) for parameter {at} is invalid. {constraint}");
                        return AwsError::new(dialect.constraint, 400, text);
                    }
                }
            }
            Wording::Listed => {
                let told: Vec<String> = self
                    .found
                    .iter()
                    .map(|v| {
                        let value = match &v.value {
                            Some(text) => format!("'{text}'"),
                            None => "null".to_owned(),
                        };
                        format!(
                            "Value {value} at '{}' failed to satisfy constraint: {}",
                            v.at, v.constraint
                        )
                    })
                    .collect();
                let plural = if self.count == 1 { "" } else { "s" };
                format!("{} validation error{plural} detected: {}", self.count, told.join("; "))
            }
        };
        AwsError::new(code, 400, message)
    }

    fn violated(&mut self, at: &Path<'_>, value: &Value, constraint: impl FnOnce() -> String) {
        self.all_missing = false;
        self.count += 1;
        if self.found.len() < TOLD {
            self.found.push(Violation {
                at: at.text(),
                value: Some(text::display(value)),
                constraint: constraint(),
            });
        }
    }

    fn missing(&mut self, at: String) {
        self.count += 1;
        if self.found.len() < TOLD {
            self.found.push(Violation {
                at,
                value: None,
                constraint: "Member must not be null".to_owned(),
            });
        }
    }

    fn value(&mut self, shape: &'static Shape, value: &mut Value, at: &Path<'_>) -> Result<(), Fault> {
        match &shape.kind {
            Kind::Structure { members, union } => self.structure(members, *union, value, at),
            Kind::List { member, min, max, .. } => {
                let Value::Array(items) = value else {
                    return Err(wrong_type(value, "List", at));
                };
                // AWS blames the list, not the element, when the elements are plain texts.
                let mut broken = None;
                for (index, item) in items.iter_mut().enumerate() {
                    match item {
                        Value::Null => self.missing(at.element(index).text()),
                        Value::String(text) if is_text(member) => {
                            broken = broken.or_else(|| broken_by_text(member, text))
                        }
                        _ => self.value(member, item, &at.element(index))?,
                    }
                }
                let length = items.len() as u64;
                if let Some(constraint) = broken {
                    self.violated(at, value, || format!("Member must satisfy constraint: [{constraint}]"));
                }
                self.length(length, *min, *max, value, at);
                Ok(())
            }
            Kind::Map {
                key,
                value: item_shape,
                min,
                max,
                ..
            } => {
                let Value::Object(entries) = value else {
                    return Err(wrong_type(value, "Map", at));
                };
                let (mut broken_key, mut broken_value) = (None, None);
                for (name, item) in entries.iter_mut() {
                    broken_key = broken_key.or_else(|| broken_by_text(key, name));
                    let inner = at.entry(name);
                    match item {
                        Value::Null => self.missing(inner.text()),
                        Value::String(text) if is_text(item_shape) => {
                            broken_value = broken_value.or_else(|| broken_by_text(item_shape, text));
                        }
                        _ => self.value(item_shape, item, &inner)?,
                    }
                }
                let length = entries.len() as u64;
                if let Some(constraint) = broken_key {
                    self.violated(at, value, || {
                        format!("Map keys must satisfy constraint: [{constraint}]")
                    });
                }
                if let Some(constraint) = broken_value {
                    self.violated(at, value, || {
                        format!("Map value must satisfy constraint: [{constraint}]")
                    });
                }
                self.length(length, *min, *max, value, at);
                Ok(())
            }
            Kind::String { .. } => {
                let Value::String(content) = &*value else {
                    return Err(wrong_type(value, "String", at));
                };
                if let Some(constraint) = broken_by_text(shape, content) {
                    self.violated(at, value, || constraint);
                }
                Ok(())
            }
            Kind::Integer { min, max } => self.whole(
                value,
                *min,
                *max,
                i64::from(i32::MIN)..=i64::from(i32::MAX),
                "Integer",
                at,
            ),
            Kind::Long { min, max } => self.whole(value, *min, *max, i64::MIN..=i64::MAX, "Long", at),
            Kind::Float { min, max } => self.fraction(value, *min, *max, "Float", at),
            Kind::Double { min, max } => self.fraction(value, *min, *max, "Double", at),
            Kind::Boolean => match value {
                Value::Bool(_) => Ok(()),
                _ => Err(wrong_type(value, "Boolean", at)),
            },
            Kind::Timestamp => {
                let seconds = match &*value {
                    Value::Number(n) => n.as_f64(),
                    Value::String(text) => timestamp::parse(text),
                    _ => return Err(wrong_type(value, "Timestamp", at)),
                };
                let number = seconds.filter(|s| s.is_finite()).and_then(serde_json::Number::from_f64);
                *value = Value::Number(number.ok_or_else(|| wrong_type(value, "Timestamp", at))?);
                Ok(())
            }
            Kind::Blob { min, max } => {
                let Value::String(text) = &*value else {
                    return Err(wrong_type(value, "Blob", at));
                };
                let Ok(bytes) = STANDARD.decode(text) else {
                    return Err(Fault::Type {
                        found: "Invalid Base64 value".to_owned(),
                        at: at.text(),
                    });
                };
                self.length(bytes.len() as u64, *min, *max, value, at);
                Ok(())
            }
            Kind::Document => Ok(()),
        }
    }

    fn structure(
        &mut self,
        members: &'static [Member],
        union: bool,
        value: &mut Value,
        at: &Path<'_>,
    ) -> Result<(), Fault> {
        let Value::Object(entries) = value else {
            return Err(wrong_type(value, "Structure", at));
        };
        // `__type` is allowed anywhere by the JSON protocols and says nothing.
        entries.retain(|name, item| !item.is_null() && name != "__type");
        for (name, item) in entries.iter_mut() {
            let Some(member) = members.iter().find(|m| m.name == name) else {
                return Err(Fault::Unknown {
                    member: name.clone(),
                    at: at.text(),
                });
            };
            self.value(member.shape, item, &at.member(member.name))?;
        }
        for member in members.iter().filter(|m| m.required) {
            if !entries.contains_key(member.name) {
                self.missing(at.member(member.name).text());
            }
        }
        if union && entries.len() != 1 {
            let names: Vec<&str> = members.iter().map(|m| m.name).collect();
            let constraint = || format!("Member must have exactly one of: [{}]", names.join(", "));
            self.violated(at, value, constraint);
        }
        Ok(())
    }

    fn length(&mut self, length: u64, min: Option<u64>, max: Option<u64>, value: &Value, at: &Path<'_>) {
        if let Some(constraint) = broken_length(length, min, max) {
            self.violated(at, value, || constraint);
        }
    }

    fn whole(
        &mut self,
        value: &mut Value,
        min: Option<i64>,
        max: Option<i64>,
        range: std::ops::RangeInclusive<i64>,
        name: &str,
        at: &Path<'_>,
    ) -> Result<(), Fault> {
        let Value::Number(number) = &*value else {
            return Err(wrong_type(value, name, at));
        };
        let exact = number.as_i64().or_else(|| {
            // JSON knows one kind of number: 2.0 is the integer 2. Beyond 2^53 a fraction no longer names one integer.
            number
                .as_f64()
                .filter(|f| f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0)
                .map(|f| f as i64)
        });
        let Some(whole) = exact.filter(|n| range.contains(n)) else {
            return Err(Fault::Type {
                found: format!("{number} cannot be converted to {name}"),
                at: at.text(),
            });
        };
        *value = Value::from(whole);
        if let Some(least) = min.filter(|m| whole < *m) {
            self.violated(at, value, || {
                format!("Member must have value greater than or equal to {least}")
            });
        }
        if let Some(most) = max.filter(|m| whole > *m) {
            self.violated(at, value, || {
                format!("Member must have value less than or equal to {most}")
            });
        }
        Ok(())
    }

    fn fraction(
        &mut self,
        value: &Value,
        min: Option<f64>,
        max: Option<f64>,
        name: &str,
        at: &Path<'_>,
    ) -> Result<(), Fault> {
        let Some(number) = value.as_f64() else {
            return Err(wrong_type(value, name, at));
        };
        if let Some(least) = min.filter(|m| number < *m) {
            self.violated(at, value, || {
                format!("Member must have value greater than or equal to {least}")
            });
        }
        if let Some(most) = max.filter(|m| number > *m) {
            self.violated(at, value, || {
                format!("Member must have value less than or equal to {most}")
            });
        }
        Ok(())
    }
}

fn broken_length(length: u64, min: Option<u64>, max: Option<u64>) -> Option<String> {
    if let Some(least) = min.filter(|m| length < *m) {
        return Some(format!("Member must have length greater than or equal to {least}"));
    }
    max.filter(|m| length > *m)
        .map(|most| format!("Member must have length less than or equal to {most}"))
}

fn is_text(shape: &Shape) -> bool {
    matches!(shape.kind, Kind::String { .. })
}

/// The first constraint of a string shape that `content` breaks.
fn broken_by_text(shape: &'static Shape, content: &str) -> Option<String> {
    let Kind::String {
        min,
        max,
        pattern,
        values,
    } = &shape.kind
    else {
        return None;
    };
    if !values.is_empty() && !values.contains(&content) {
        return Some(format!("Member must satisfy enum value set: [{}]", values.join(", ")));
    }
    if min.is_some() || max.is_some() {
        let broken = broken_length(content.chars().count() as u64, *min, *max);
        if broken.is_some() {
            return broken;
        }
    }
    let text = (*pattern)?;
    let expression = pattern::compiled(text)?;
    (!expression.is_match(content)).then(|| format!("Member must satisfy regular expression pattern: {text}"))
}

fn wrong_type(value: &Value, wanted: &str, at: &Path<'_>) -> Fault {
    let found = match (value, wanted) {
        (Value::Array(_) | Value::Object(_), "List" | "Map" | "Structure") => {
            format!("Unexpected {}, expected {wanted}", text::kind_of(value))
        }
        (Value::Array(_) | Value::Object(_), _) => "Start of structure or map found where not expected".to_owned(),
        (_, "List") => "Expected list or null".to_owned(),
        (_, "Map") => "Expected map or null".to_owned(),
        (_, "Structure") => "Unexpected value type in payload".to_owned(),
        _ => format!("{} cannot be converted to {wanted}", text::kind_of(value)),
    };
    Fault::Type { found, at: at.text() }
}
