//! A request as the wire brought it, borrowed: what signatures are checked against and codecs decode.

/// An HTTP request, whole.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    pub method: &'a str,
    /// Path as sent, still percent-encoded.
    pub path: &'a str,
    /// Query string as sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// In the order received, names in lower case.
    pub headers: &'a [(&'a str, &'a [u8])],
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// The first value of a header that is text; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.values(name).next().and_then(|v| std::str::from_utf8(v).ok())
    }

    /// Every value of a header; `name` in lower case.
    pub fn values<'b>(&self, name: &'b str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'b> {
        self.headers.iter().filter(move |(n, _)| *n == name).map(|(_, v)| *v)
    }

    /// True when the body is a form.
    pub fn is_form(&self) -> bool {
        self.header("content-type").is_some_and(|t| {
            let essence = t.split(';').next().unwrap_or("").trim();
            essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        })
    }
}
