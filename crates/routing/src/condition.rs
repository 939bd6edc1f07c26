//! Conditions of rules, compiled. Source: "Condition types for listener rules" of the ELB guide.

use crate::head::RequestHead;
use crate::pattern::{Glob, Matcher};
use neargate_link::gateway::{Condition as Asked, Pattern};
use std::net::IpAddr;

/// One of its values must match.
#[derive(Debug)]
pub enum Condition {
    Method(Vec<String>),
    Source(Vec<(IpAddr, u8)>),
    Host(Vec<Matcher>),
    Path(Vec<Matcher>),
    Query(Vec<(Option<Glob>, Glob)>),
    Header {
        /// Lower case.
        name: String,
        values: Vec<Matcher>,
    },
}

impl Condition {
    pub fn new(asked: &Asked) -> Condition {
        let matchers = |patterns: &[Pattern], ignore_case| {
            patterns
                .iter()
                .map(|pattern| Matcher::new(pattern, ignore_case))
                .collect()
        };
        match asked {
            Asked::Host(patterns) => Condition::Host(matchers(patterns, true)),
            Asked::Path(patterns) => Condition::Path(matchers(patterns, false)),
            Asked::Header { name, values } => Condition::Header {
                name: name.to_ascii_lowercase(),
                values: matchers(values, true),
            },
            Asked::Method(methods) => Condition::Method(methods.clone()),
            Asked::Query(pairs) => Condition::Query(
                pairs
                    .iter()
                    .map(|(key, value)| (key.as_ref().map(|key| Glob::new(key, true)), Glob::new(value, true)))
                    .collect(),
            ),
            Asked::SourceIp(ranges) => Condition::Source(ranges.clone()),
        }
    }

    /// Conditions that cost less come first.
    pub fn cost(&self) -> u8 {
        match self {
            Condition::Method(_) => 0,
            Condition::Source(_) => 1,
            Condition::Host(_) => 2,
            Condition::Path(_) => 3,
            Condition::Query(_) => 4,
            Condition::Header { .. } => 5,
        }
    }

    pub fn holds(&self, head: &RequestHead<'_>) -> bool {
        match self {
            Condition::Method(methods) => methods.iter().any(|method| method.as_bytes() == head.method),
            Condition::Source(ranges) => {
                let source = head.source.to_canonical();
                ranges.iter().any(|(network, bits)| contains(*network, *bits, source))
            }
            Condition::Host(patterns) => {
                let host = head.host_name();
                patterns.iter().any(|pattern| pattern.is_match(host))
            }
            Condition::Path(patterns) => patterns.iter().any(|pattern| pattern.is_match(head.path)),
            Condition::Query(pairs) => head.query.is_some_and(|query| has_pair(query, pairs)),
            Condition::Header { name, values } => {
                let mut found = false;
                head.headers.visit(name, &mut |value| {
                    found = found || values.iter().any(|pattern| pattern.is_match(value));
                });
                found
            }
        }
    }
}

/// A condition without a key is met by any value, and by a parameter that is nothing but its name.
fn has_pair(query: &[u8], pairs: &[(Option<Glob>, Glob)]) -> bool {
    query.split(|b| *b == b'&').any(|parameter| {
        let equals = parameter.iter().position(|b| *b == b'=');
        let (key, value) = match equals {
            Some(at) => (&parameter[..at], &parameter[at + 1..]),
            None => (parameter, &[][..]),
        };
        pairs.iter().any(|(wanted, pattern)| match wanted {
            Some(wanted) => wanted.is_match(key) && pattern.is_match(value),
            None => pattern.is_match(if equals.is_some() { value } else { key }),
        })
    })
}

fn contains(network: IpAddr, bits: u8, address: IpAddr) -> bool {
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits.min(32))).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits.min(128))).unwrap_or(0);
            (network.to_bits() ^ address.to_bits()) & mask == 0
        }
        _ => false,
    }
}
