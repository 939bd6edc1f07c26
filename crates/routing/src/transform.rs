//! Rewrites of host and URL before forwarding. Source: "Transforms for listener rules" of the ELB guide.
//!
//! The first match of the expression is replaced; without a match the request stays as it is. What would be no valid
//! host or URL afterwards is refused, so that a rewrite cannot split a request.

use neargate_link::gateway::Transform;
use regex::bytes::{Captures, Regex, RegexBuilder};

const REGEX_SIZE: usize = 1 << 20;
/// ALB's limit of a request line.
const LONGEST: usize = 16 * 1024;

/// The transforms of a rule, in their order.
#[derive(Debug, Default)]
pub struct Transforms {
    hosts: Vec<Substitution>,
    urls: Vec<Substitution>,
}

/// What became of a host or URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    Unchanged,
    /// The new value is in the buffer.
    Rewritten,
    /// Answer 500.
    Invalid,
}

#[derive(Debug)]
struct Substitution {
    /// None: an expression that does not compile; control never admits one.
    regex: Option<Regex>,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Group(usize),
}

impl Transforms {
    pub(crate) fn new(table: &[Transform]) -> Transforms {
        let mut transforms = Transforms::default();
        for transform in table {
            match transform {
                Transform::HostHeader { regex, replace } => {
                    transforms.hosts.push(Substitution::new(regex, replace, true));
                }
                Transform::Url { regex, replace } => transforms.urls.push(Substitution::new(regex, replace, false)),
            }
        }
        transforms
    }

    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.urls.is_empty()
    }

    /// The Host header for the target; `out` is emptied first.
    pub fn host(&self, host: &[u8], out: &mut Vec<u8>) -> Rewrite {
        apply(&self.hosts, host, out, |host| {
            let plain = |b: &u8| b.is_ascii_alphanumeric() || b"-._~:[]%".contains(b);
            !host.is_empty() && host.len() <= 255 && host.iter().all(plain)
        })
    }

    /// Path and query for the target; `out` is emptied first.
    pub fn url(&self, path_and_query: &[u8], out: &mut Vec<u8>) -> Rewrite {
        apply(&self.urls, path_and_query, out, |url| {
            url.first() == Some(&b'/')
                && url.len() <= LONGEST
                && url.iter().all(|b| b.is_ascii_graphic() && *b != b'#' || *b >= 0x80)
        })
    }
}

fn apply(substitutions: &[Substitution], text: &[u8], out: &mut Vec<u8>, valid: fn(&[u8]) -> bool) -> Rewrite {
    out.clear();
    let mut rewritten = false;
    for substitution in substitutions {
        let before = if rewritten { std::mem::take(out) } else { Vec::new() };
        let subject = if rewritten { before.as_slice() } else { text };
        if substitution.apply(subject, out) {
            rewritten = true;
        } else if rewritten {
            *out = before;
        }
    }
    match rewritten {
        false => Rewrite::Unchanged,
        true if valid(out) => Rewrite::Rewritten,
        true => Rewrite::Invalid,
    }
}

impl Substitution {
    fn new(regex: &str, replace: &str, ignore_case: bool) -> Substitution {
        Substitution {
            regex: RegexBuilder::new(regex)
                .size_limit(REGEX_SIZE)
                .case_insensitive(ignore_case)
                .build()
                .ok(),
            pieces: pieces(replace),
        }
    }

    /// False: no match, and nothing written.
    fn apply(&self, subject: &[u8], out: &mut Vec<u8>) -> bool {
        let Some(captures) = self.regex.as_ref().and_then(|regex| regex.captures(subject)) else {
            return false;
        };
        let Some(whole) = captures.get(0) else { return false };
        out.extend_from_slice(&subject[..whole.start()]);
        self.expand(&captures, out);
        out.extend_from_slice(&subject[whole.end()..]);
        true
    }

    fn expand(&self, captures: &Captures<'_>, out: &mut Vec<u8>) {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(number) => {
                    out.extend_from_slice(captures.get(*number).map_or(&[][..], |found| found.as_bytes()));
                }
            }
        }
    }
}

/// `$` and digits name a group; any other `$` is one.
fn pieces(replace: &str) -> Vec<Piece> {
    let mut parts = replace.split('$');
    let mut pieces = vec![Piece::Text(parts.next().unwrap_or_default().to_owned())];
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        match part[..digits].parse() {
            Ok(number) => {
                pieces.push(Piece::Group(number));
                pieces.push(Piece::Text(part[digits..].to_owned()));
            }
            Err(_) => pieces.push(Piece::Text(format!("${part}"))),
        }
    }
    pieces
}
