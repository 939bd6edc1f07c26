//! What a condition compares with: numbers, text with `*`, regular expressions between `%`.

use super::{BadPattern, bad};
use regex::bytes::{Regex, RegexBuilder};

/// How to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub(super) fn is_ordering(self) -> bool {
        !matches!(self, Operator::Equal | Operator::NotEqual)
    }

    pub(super) fn holds(self, left: f64, right: f64) -> bool {
        match self {
            Operator::Equal => left == right,
            Operator::NotEqual => left != right,
            Operator::Less => left < right,
            Operator::LessOrEqual => left <= right,
            Operator::Greater => left > right,
            Operator::GreaterOrEqual => left >= right,
        }
    }
}

/// The right side of a condition.
#[derive(Debug)]
pub(super) enum Operand {
    /// An unquoted number, with its text.
    Number(f64, Glob),
    Text(Glob),
    Regex(Regex),
}

impl Operand {
    /// An unquoted word.
    pub(super) fn word(text: &str) -> Operand {
        match number(text) {
            Some(n) => Operand::Number(n, Glob::new(text)),
            None => Operand::Text(Glob::new(text)),
        }
    }

    /// Equality with a text.
    pub(super) fn equals_text(&self, text: &str) -> bool {
        match self {
            Operand::Number(_, glob) | Operand::Text(glob) => glob.matches(text),
            Operand::Regex(regex) => regex.is_match(text.as_bytes()),
        }
    }
}

/// A plain decimal number, perhaps with an exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    if !plain || !text.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|n: &f64| n.is_finite())
}

/// Text in which `*` stands for anything.
#[derive(Debug)]
pub(super) struct Glob(Vec<String>);

impl Glob {
    pub(super) fn new(text: &str) -> Glob {
        Glob(text.split('*').map(str::to_owned).collect())
    }

    /// `*`: whatever is there.
    pub(super) fn is_any(&self) -> bool {
        self.0.len() > 1 && self.0.iter().all(String::is_empty)
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        let [first, middle @ .., last] = &self.0[..] else {
            // Splitting yields one piece when there is no star.
            return self.0.first().is_some_and(|only| only == text);
        };
        let Some(mut rest) = text.strip_prefix(first.as_str()) else { return false };
        for piece in middle {
            match rest.find(piece.as_str()) {
                Some(at) => rest = &rest[at + piece.len()..],
                None => return false,
            }
        }
        rest.ends_with(last.as_str())
    }
}

/// `%…%` as a whole pattern.
pub(super) fn standalone_regex(text: &str) -> Result<Regex, BadPattern> {
    match text.strip_prefix('%').and_then(|t| t.strip_suffix('%')) {
        Some(inner) if text.len() > 2 => regex(inner),
        _ => bad("Invalid filter pattern: a regular expression must be enclosed in %"),
    }
}

/// A regular expression of the subset that CloudWatch Logs takes: no groups, ASCII only.
pub(super) fn regex(text: &str) -> Result<Regex, BadPattern> {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            // What is escaped may be any symbol.
            '\\' => match chars.next() {
                Some(c) if c.is_ascii() => continue,
                Some(c) => c,
                None => return bad("Invalid filter pattern: a regular expression ends with a backslash"),
            },
            c => c,
        };
        if !(c.is_ascii_alphanumeric() || ":_#=@/;,- ^$?[]{}|*+.".contains(c)) {
            return bad(format!("Invalid filter pattern: '{c}' is not supported in regular expressions"));
        }
    }
    if text.is_empty() {
        return bad("Invalid filter pattern: a regular expression is empty");
    }
    RegexBuilder::new(text).unicode(false).size_limit(1 << 20).dfa_size_limit(1 << 20).build().or_else(|_| {
        bad(format!("Invalid filter pattern: %{text}% is not a valid regular expression"))
    })
}
