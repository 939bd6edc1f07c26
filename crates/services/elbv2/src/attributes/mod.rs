//! Attributes of load balancers, target groups and listeners: one table a kind of resource says which there are, what
//! they are at first, and which values a gateway does as it says. Every other value AWS has is refused by name.

pub mod listener;
pub mod load_balancer;
pub mod target_group;

use crate::refusal::{unsupported, validation};
use neargate_core::AwsError;
use std::collections::BTreeMap;

/// Values an attribute may have.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// `true` or `false`.
    Flag,
    /// AWS's values, and those of them that Neargate serves.
    OneOf(&'static [&'static str], &'static [&'static str]),
    /// Inclusive.
    Number(u64, u64),
    /// Zero, or inclusive.
    ZeroOr(u64, u64),
    /// The default alone, of more that AWS has.
    Fixed,
    /// Free text that the function does not refuse.
    Text(fn(&str) -> bool),
}

/// An attribute of a kind of resource.
#[derive(Clone, Copy, Debug)]
pub struct Attribute {
    pub key: &'static str,
    pub default: &'static str,
    pub values: Values,
}

/// The flag that stays as it is.
pub const ONLY_FALSE: Values = Values::OneOf(&["true", "false"], &["false"]);

/// Shorthand of the tables.
pub const fn attribute(key: &'static str, default: &'static str, values: Values) -> Attribute {
    Attribute { key, default, values }
}

/// Every attribute at its default.
pub fn defaults<'a>(table: impl IntoIterator<Item = &'a Attribute>) -> BTreeMap<String, String> {
    let pair = |a: &Attribute| (a.key.to_owned(), a.default.to_owned());
    table.into_iter().map(pair).collect()
}

/// Sets attributes. `what` is e.g. `Load balancer`; `elsewhere` says for a key that is not in the table why not.
///
/// # Errors
/// `ValidationError`, and `InvalidConfigurationRequest` for values of AWS that Neargate has not.
pub fn set(
    what: &str,
    table: &[&'static Attribute],
    attributes: &mut BTreeMap<String, String>,
    asked: Vec<(Option<String>, Option<String>)>,
    elsewhere: impl Fn(&str) -> Option<String>,
) -> Result<(), AwsError> {
    let mut seen = Vec::new();
    for (key, value) in asked {
        let key = key.ok_or_else(|| validation(format!("{what} attribute key cannot be empty")))?;
        let value = value.unwrap_or_default();
        if seen.contains(&key) {
            return Err(validation(format!(
                "{what} attribute key '{key}' is specified more than once"
            )));
        }
        let Some(attribute) = table.iter().find(|a| a.key == key) else {
            let why = elsewhere(&key).unwrap_or_else(|| format!("{what} attribute key '{key}' is not recognized"));
            return Err(validation(why));
        };
        check(what, attribute, &value)?;
        attributes.insert(key.clone(), value);
        seen.push(key);
    }
    Ok(())
}

fn check(what: &str, attribute: &Attribute, value: &str) -> Result<(), AwsError> {
    let key = attribute.key;
    let number = |least: u64, most: u64| {
        let parsed: Option<u64> = value.parse().ok();
        // In digits alone, without zeros before them.
        parsed.is_some_and(|n| (least..=most).contains(&n) && n.to_string() == value)
    };
    let valid = match attribute.values {
        Values::Flag => matches!(value, "true" | "false"),
        Values::OneOf(valid, served) => {
            if valid.contains(&value) && !served.contains(&value) {
                return Err(unsupported(format!(
                    "{what} attribute '{key}' with the value '{value}'"
                )));
            }
            served.contains(&value)
        }
        Values::Fixed if value == attribute.default => true,
        Values::Fixed => {
            return Err(unsupported(format!(
                "{what} attribute '{key}' with the value '{value}'"
            )));
        }
        Values::Number(least, most) => number(least, most),
        Values::ZeroOr(least, most) => value == "0" || number(least, most),
        Values::Text(admits) => admits(value),
    };
    if valid {
        return Ok(());
    }
    Err(validation(match attribute.values {
        Values::Number(least, most) | Values::ZeroOr(least, most) => format!(
            "{what} attribute key '{key}' must have a value between '{least}' and '{most}' inclusive, not '{value}'"
        ),
        _ => format!("{what} attribute key '{key}' has an invalid value '{value}'"),
    }))
}
