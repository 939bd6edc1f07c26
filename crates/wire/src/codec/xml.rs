//! XML as the query family writes it: no whitespace between elements, every text escaped.

use super::timestamp;
use crate::schema::{Kind, Member, Shape};
use serde_json::Value;
use std::borrow::Cow;

/// What differs between the protocols' documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Query,
    Ec2,
}

/// Builds a document.
pub struct Writer {
    out: String,
}

impl Writer {
    pub fn new() -> Writer {
        Writer {
            out: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"),
        }
    }

    pub fn finish(self) -> Vec<u8> {
        self.out.into_bytes()
    }

    pub fn open(&mut self, name: &str) {
        self.open_with(name, &[]);
    }

    pub fn open_with(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.out.push('<');
        self.out.push_str(name);
        for (key, value) in attributes {
            self.out.push(' ');
            self.out.push_str(key);
            self.out.push_str("=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
    }

    pub fn close(&mut self, name: &str) {
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    pub fn leaf(&mut self, name: &str, text: &str) {
        self.open(name);
        escape(text, &mut self.out);
        self.close(name);
    }

    /// Writes a structure's members, without an element around them.
    pub fn members(&mut self, shape: &Shape, tree: &Value, style: Style) {
        let (Kind::Structure { members, .. }, Value::Object(entries)) = (&shape.kind, tree) else {
            return;
        };
        for member in *members {
            match entries.get(member.name) {
                None | Some(Value::Null) => {}
                Some(value) => self.element(&name_of(member), member.shape, value, style),
            }
        }
    }

    fn element(&mut self, name: &str, shape: &Shape, value: &Value, style: Style) {
        match (&shape.kind, value) {
            (Kind::Structure { .. }, _) => {
                self.open(name);
                self.members(shape, value, style);
                self.close(name);
            }
            (
                Kind::List {
                    member,
                    member_name,
                    flattened,
                    ..
                },
                Value::Array(items),
            ) => {
                if *flattened {
                    for item in items {
                        self.element(member_name.unwrap_or(name), member, item, style);
                    }
                    return;
                }
                let default = if style == Style::Ec2 { "item" } else { "member" };
                self.open(name);
                for item in items {
                    self.element(member_name.unwrap_or(default), member, item, style);
                }
                self.close(name);
            }
            (
                Kind::Map {
                    key,
                    value: shape,
                    key_name,
                    value_name,
                    flattened,
                    ..
                },
                Value::Object(entries),
            ) => {
                if !*flattened {
                    self.open(name);
                }
                let entry = if *flattened { name } else { "entry" };
                for (k, v) in entries {
                    self.open(entry);
                    self.element(key_name.unwrap_or("key"), key, &Value::String(k.clone()), style);
                    self.element(value_name.unwrap_or("value"), shape, v, style);
                    self.close(entry);
                }
                if !*flattened {
                    self.close(name);
                }
            }
            (Kind::Timestamp, Value::Number(n)) => {
                self.leaf(name, &timestamp::iso8601(n.as_f64().unwrap_or_default()));
            }
            _ => self.leaf(name, &plain(value)),
        }
    }
}

fn name_of(member: &Member) -> Cow<'static, str> {
    Cow::Borrowed(member.location_name.unwrap_or(member.name))
}

/// A scalar's text; anything else as JSON.
pub fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

/// Escapes for content and attributes alike; characters XML 1.0 cannot carry become U+FFFD.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#xD;"),
            '\t' | '\n' => out.push(c),
            '\u{0}'..'\u{20}' | '\u{FFFE}' | '\u{FFFF}' => out.push('\u{FFFD}'),
            _ => out.push(c),
        }
    }
}
