//! Redirect actions: the parts of the new address, with what the request had at `#{protocol}`, `#{host}`, `#{port}`,
//! `#{path}` and `#{query}`. Source: "Redirect actions" of the ELB guide. Percent-encoding stays as it came.

use crate::head::RequestHead;
use std::io::Write as _;

/// A redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    status: u16,
    protocol: Template,
    host: Template,
    port: Template,
    path: Template,
    query: Template,
}

impl Redirect {
    /// `parts`: protocol, host, port, path and query.
    pub(crate) fn new(parts: [&str; 5], status: u16) -> Redirect {
        let [protocol, host, port, path, query] = parts.map(Template::new);
        Redirect {
            status,
            protocol,
            host,
            port,
            path,
            query,
        }
    }

    /// 301 or 302.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The `Location` header's value, added to `out`.
    pub fn location(&self, head: &RequestHead<'_>, out: &mut Vec<u8>) {
        let from = out.len();
        self.protocol.write(head, out);
        out[from..].make_ascii_lowercase();
        out.extend_from_slice(b"://");
        self.host.write(head, out);
        out.push(b':');
        self.port.write(head, out);
        let path = out.len();
        self.path.write(head, out);
        if out.get(path) != Some(&b'/') {
            out.insert(path, b'/');
        }
        let query = out.len();
        out.push(b'?');
        self.query.write(head, out);
        if out.len() == query + 1 {
            out.truncate(query);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Template(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Protocol,
    Host,
    Port,
    Path,
    Query,
}

const PLACEHOLDERS: [(&str, Piece); 5] = [
    ("#{protocol}", Piece::Protocol),
    ("#{host}", Piece::Host),
    ("#{port}", Piece::Port),
    ("#{path}", Piece::Path),
    ("#{query}", Piece::Query),
];

impl Template {
    fn new(text: &str) -> Template {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let next = PLACEHOLDERS
                .iter()
                .filter_map(|(name, piece)| Some((rest.find(name)?, name.len(), piece)))
                .min_by_key(|(at, ..)| *at);
            let (end, skip) = next.as_ref().map_or((rest.len(), 0), |(at, length, _)| (*at, *length));
            if end > 0 {
                pieces.push(Piece::Text(rest[..end].to_owned()));
            }
            pieces.extend(next.map(|(.., piece)| piece.clone()));
            rest = &rest[end + skip..];
        }
        Template(pieces)
    }

    fn write(&self, head: &RequestHead<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Protocol => out.extend_from_slice(if head.https { b"https" } else { b"http" }),
                Piece::Host => out.extend_from_slice(head.host_name()),
                // Writing to a vector does not fail.
                Piece::Port => drop(write!(out, "{}", head.port)),
                Piece::Path => out.extend_from_slice(head.path.strip_prefix(b"/").unwrap_or(head.path)),
                Piece::Query => out.extend_from_slice(head.query.unwrap_or_default()),
            }
        }
    }
}
