//! `application/x-www-form-urlencoded` parameters as a tree: `A.member.1.B=x` becomes A → member → 1 → B.

use super::MAX_DEPTH;
use crate::request::Request;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// More parameters than this in one request are refused.
const MAX_PARAMETERS: usize = 100_000;

/// A place in the tree of parameters.
#[derive(Debug, Default, PartialEq)]
pub struct Node {
    pub value: Option<String>,
    pub children: BTreeMap<String, Node>,
}

/// Why parameters cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    TooMany,
    TooDeep,
    NotUtf8,
}

impl Unreadable {
    pub fn text(self) -> &'static str {
        match self {
            Unreadable::TooMany => "The request has too many parameters.",
            Unreadable::TooDeep => "A parameter of the request is nested too deeply.",
            Unreadable::NotUtf8 => "A parameter of the request is not valid UTF-8 in percent-encoding.",
        }
    }
}

/// The first value of `name` among the query string's parameters and, for a form, the body's.
pub fn find<'a>(request: &Request<'a>, name: &str) -> Option<Cow<'a, str>> {
    pieces(request).find_map(|(key, value)| (decode(key)? == name).then(|| decode(value)).flatten())
}

/// Reads every parameter of the request into a tree, leaving out those of the protocol and the signature.
///
/// # Errors
/// `Unreadable`, for input no client sends.
pub fn parse(request: &Request<'_>) -> Result<Node, Unreadable> {
    let mut root = Node::default();
    for (count, (key, value)) in pieces(request).enumerate() {
        if count == MAX_PARAMETERS {
            return Err(Unreadable::TooMany);
        }
        let key = decode(key).ok_or(Unreadable::NotUtf8)?;
        if is_envelope(&key) {
            continue;
        }
        let value = decode(value).ok_or(Unreadable::NotUtf8)?;
        if key.bytes().filter(|b| *b == b'.').count() >= MAX_DEPTH * 2 {
            return Err(Unreadable::TooDeep);
        }
        let mut node = &mut root;
        for part in key.split('.') {
            node = node.children.entry(part.to_owned()).or_default();
        }
        node.value = Some(value.into_owned());
    }
    Ok(root)
}

/// Parameters that belong to the protocol or to the signature, not to the operation.
fn is_envelope(key: &str) -> bool {
    matches!(
        key,
        "Action" | "Version" | "AWSAccessKeyId" | "Signature" | "SignatureMethod" | "SignatureVersion"
    ) || key.get(..6).is_some_and(|prefix| prefix.eq_ignore_ascii_case("X-Amz-"))
}

fn pieces<'a>(request: &Request<'a>) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
    let body: &'a [u8] = if request.is_form() { request.body } else { b"" };
    [request.query.as_bytes(), body]
        .into_iter()
        .flat_map(|text| text.split(|b| *b == b'&'))
        .filter_map(|piece| {
            let piece = piece.trim_ascii();
            match piece.iter().position(|b| *b == b'=') {
                _ if piece.is_empty() => None,
                Some(at) => Some((&piece[..at], &piece[at + 1..])),
                None => Some((piece, &b""[..])),
            }
        })
}

fn decode(text: &[u8]) -> Option<Cow<'_, str>> {
    if !text.iter().any(|b| matches!(b, b'%' | b'+')) {
        return std::str::from_utf8(text).ok().map(Cow::Borrowed);
    }
    String::from_utf8(percent_decoded(text)).ok().map(Cow::Owned)
}

/// Undoes percent-encoding, `+` being a space; a stray `%` stands for itself.
pub fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match (first, tail) {
            (b'%', [high, low, after @ ..]) => match (hex_digit(*high), hex_digit(*low)) {
                (Some(h), Some(l)) => {
                    out.push(h << 4 | l);
                    rest = after;
                }
                _ => out.push(b'%'),
            },
            (b'+', _) => out.push(b' '),
            _ => out.push(*first),
        }
    }
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request<'a>(query: &'a str, body: &'a str) -> Request<'a> {
        const FORM: &[(&str, &[u8])] = &[("content-type", b"application/x-www-form-urlencoded; charset=utf-8")];
        Request {
            method: "POST",
            path: "/",
            query,
            headers: FORM,
            body: body.as_bytes(),
        }
    }

    #[test]
    fn parameters_come_from_query_and_body_without_the_envelope() {
        let request = request(
            "X-Amz-Date=1&Version=2011-06-15",
            "Action=Get%43aller&A.member.1.B=x+y%26&C&Name=%E2%82%AC\n",
        );
        assert_eq!(find(&request, "Action").unwrap(), "GetCaller");
        assert_eq!(find(&request, "Version").unwrap(), "2011-06-15");
        let root = parse(&request).unwrap();
        assert_eq!(root.children.keys().collect::<Vec<_>>(), ["A", "C", "Name"]);
        assert_eq!(
            root.children["A"].children["member"].children["1"].children["B"]
                .value
                .as_deref(),
            Some("x y&")
        );
        assert_eq!(root.children["C"].value.as_deref(), Some(""));
        assert_eq!(root.children["Name"].value.as_deref(), Some("€"));
    }

    #[test]
    fn hostile_parameters_are_refused() {
        assert_eq!(parse(&request("", &"a.".repeat(5000))), Err(Unreadable::TooDeep));
        assert_eq!(
            parse(&request("", &"a&".repeat(MAX_PARAMETERS + 1))),
            Err(Unreadable::TooMany)
        );
        assert_eq!(parse(&request("", "a=%ff")), Err(Unreadable::NotUtf8));
        assert_eq!(percent_decoded(b"%4g%%41%"), b"%4g%A%");
    }
}
