//! The forms that a request's target may have. Source: RFC 9112 section 3.2.

/// A request's target, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// Of the absolute form: it goes before the Host header.
    pub host: Option<&'a [u8]>,
    /// `*` for OPTIONS.
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    /// Path and query as sent, what goes to the target.
    pub whole: &'a [u8],
}

/// None: it is no target that can be served.
pub fn parse<'a>(method: &[u8], target: &'a [u8]) -> Option<Target<'a>> {
    let (host, whole) = match target {
        [b'/', ..] => (None, target),
        b"*" if method == b"OPTIONS" => (None, target),
        _ => {
            let (scheme, rest) = split(target, b"://")?;
            if !(scheme.eq_ignore_ascii_case(b"http") || scheme.eq_ignore_ascii_case(b"https")) {
                return None;
            }
            let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
            let (host, whole) = rest.split_at(end);
            match whole {
                [] => (Some(host), &b"/"[..]),
                [b'/', ..] => (Some(host), whole),
                // A query without a path, which would have to be written anew.
                _ => return None,
            }
        }
    };
    if host.is_some_and(|host| host.is_empty() || !is_host(host)) {
        return None;
    }
    let (path, query) = match whole.iter().position(|b| *b == b'?') {
        Some(mark) => (&whole[..mark], Some(&whole[mark + 1..])),
        None => (whole, None),
    };
    Some(Target {
        host,
        path,
        query,
        whole,
    })
}

/// Nothing in it could end a host for one reader and not for another.
pub fn is_host(host: &[u8]) -> bool {
    host.iter()
        .all(|b| b.is_ascii_alphanumeric() || b"-._:[]~%!$&'()*+;=".contains(b))
}

fn split<'a>(whole: &'a [u8], by: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = whole.windows(by.len()).position(|window| window == by)?;
    Some((&whole[..at], &whole[at + by.len()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_come_apart() {
        let plain = parse(b"GET", b"/a?b?c").unwrap();
        assert_eq!((plain.path, plain.query), (&b"/a"[..], Some(&b"b?c"[..])));
        let absolute = parse(b"GET", b"http://a.example:80/x?y").unwrap();
        assert_eq!(absolute.host, Some(&b"a.example:80"[..]));
        assert_eq!(absolute.whole, b"/x?y");
        assert_eq!(parse(b"GET", b"HTTP://a.example").unwrap().whole, b"/");
        assert_eq!(parse(b"OPTIONS", b"*").unwrap().whole, b"*");
        for bad in [
            "*",
            "a.example:80",
            "ftp://a/",
            "http:///x",
            "http://a@b/",
            "x",
            "http://a?x",
        ] {
            assert_eq!(parse(b"GET", bad.as_bytes()), None, "{bad}");
        }
    }
}
