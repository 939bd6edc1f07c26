//! Values as AWS prints them in messages: plain text, `[a, b]`, `{a=b}`.

use serde_json::Value;

/// The most characters of a value that a message repeats.
const SHOWN: usize = 512;

/// `value` for a message, cut when long.
pub fn display(value: &Value) -> String {
    let mut out = String::new();
    write(value, &mut out);
    match out.char_indices().nth(SHOWN) {
        Some((at, _)) => {
            out.truncate(at);
            out.push('…');
            out
        }
        None => out,
    }
}

fn write(value: &Value, out: &mut String) {
    // What is beyond the cut need not be written at all.
    if out.len() > SHOWN * 4 {
        return;
    }
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) => match s.char_indices().nth(SHOWN + 1) {
            Some((at, _)) => out.push_str(&s[..at]),
            None => out.push_str(s),
        },
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate().take(SHOWN) {
                if i > 0 {
                    out.push_str(", ");
                }
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate().take(SHOWN) {
                if i > 0 {
                    out.push_str(", ");
                }
                out.push_str(key);
                out.push('=');
                write(item, out);
            }
            out.push('}');
        }
    }
}

/// AWS's name for the kind of a JSON value.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "NULL_VALUE",
        Value::Bool(true) => "TRUE_VALUE",
        Value::Bool(false) => "FALSE_VALUE",
        Value::Number(n) if n.is_f64() => "DECIMAL_VALUE",
        Value::Number(_) => "NUMBER_VALUE",
        Value::String(_) => "STRING_VALUE",
        Value::Array(_) => "START_ARRAY",
        Value::Object(_) => "START_OBJECT",
    }
}
