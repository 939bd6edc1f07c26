//! The head of a request as the rules see it, borrowed from whoever parsed it.

use std::net::IpAddr;

/// The headers of a message, whatever holds them.
pub trait Headers {
    /// Calls `each` with every value of the header, in order. `name` is in lower case.
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8]));
}

impl Headers for http::HeaderMap {
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for value in self.get_all(name) {
            each(value.as_bytes());
        }
    }
}

impl<H: Headers + ?Sized> Headers for &H {
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        (**self).visit(name, each);
    }
}

/// Name and value of each; names in any case.
impl Headers for [(&[u8], &[u8])] {
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for (_, value) in self
            .iter()
            .filter(|(given, _)| given.eq_ignore_ascii_case(name.as_bytes()))
        {
            each(value);
        }
    }
}

/// What the conditions of rules are about.
#[derive(Clone, Copy)]
pub struct RequestHead<'a> {
    pub method: &'a [u8],
    /// As sent, percent-encoding kept, without the query.
    pub path: &'a [u8],
    /// As sent, without the question mark.
    pub query: Option<&'a [u8]>,
    /// The Host header or `:authority`, with the port if it has one.
    pub host: &'a [u8],
    pub headers: &'a dyn Headers,
    /// The TCP peer, never what X-Forwarded-For says.
    pub source: IpAddr,
    pub https: bool,
    /// The listener's.
    pub port: u16,
}

impl<'a> RequestHead<'a> {
    /// The host without its port.
    pub fn host_name(&self) -> &'a [u8] {
        let end = match self.host.iter().rposition(|b| *b == b':') {
            // The colons inside an IPv6 address in brackets are no port.
            Some(colon) if self.host[colon + 1..].iter().all(u8::is_ascii_digit) => colon,
            _ => self.host.len(),
        };
        &self.host[..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_lose_their_port_and_nothing_else() {
        let name = |host: &'static str| {
            let headers: &[(&[u8], &[u8])] = &[];
            let head = RequestHead {
                method: b"GET",
                path: b"/",
                query: None,
                host: host.as_bytes(),
                headers: &headers,
                source: [127, 0, 0, 1].into(),
                https: false,
                port: 80,
            };
            String::from_utf8(head.host_name().to_vec()).unwrap()
        };
        assert_eq!(name("a.example:8080"), "a.example");
        assert_eq!(name("a.example"), "a.example");
        assert_eq!(name("a.example:"), "a.example");
        assert_eq!(name("[2001:db8::1]:80"), "[2001:db8::1]");
        assert_eq!(name("[2001:db8::1]"), "[2001:db8::1]");
        assert_eq!(name(""), "");
    }
}
