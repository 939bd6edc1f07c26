//! A stream's request, and how it is put to its target.

use super::body::ToTarget;
use super::headers;
use crate::buffers;
use crate::http1::rewrite::put_field;
use crate::http1::upstream::Place;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Uri};
use hyper::body::Body as _;
use neargate_routing::desync::{Reason, Reasons};
use neargate_routing::forwarded::TooManyAddresses;
use std::net::Ipv4Addr;

/// What a stream's request is about.
#[derive(Debug)]
pub struct Asked {
    pub parts: Parts,
    /// The balancer's address that targets are called from.
    pub source: Option<Ipv4Addr>,
}

impl Asked {
    /// As sent, with a port where there is one.
    pub fn host(&self) -> &[u8] {
        host(&self.parts)
    }

    pub fn path_and_query(&self) -> &str {
        self.parts.uri.path_and_query().map_or("/", |path| path.as_str())
    }

    /// What an HTTP/1.1 target could read in two ways.
    pub fn reasons(&self) -> Reasons {
        let mut reasons = Reasons::new();
        let mut lengths = self.parts.headers.get_all(http::header::CONTENT_LENGTH).iter();
        let (first, second) = (lengths.next(), lengths.next());
        if second.is_some() {
            reasons.insert(Reason::DuplicateContentLength);
        }
        if let (Some(length), true) = (first, matches!(self.parts.method, Method::GET | Method::HEAD)) {
            reasons.insert(match length.as_bytes() {
                b"0" => Reason::GetHeadZeroContentLength,
                _ => Reason::UndefinedContentLengthSemantics,
            });
        }
        reasons
    }

    /// What is asked of the target: HTTP/2 ones get the whole URL. None: the rewritten one is no URL.
    pub fn uri(&self, url: Option<&[u8]>, whole: Option<(&Place, &Vec<u8>)>) -> Option<Uri> {
        let path = match url {
            Some(url) => PathAndQuery::try_from(url).ok()?,
            None => match self.parts.uri.path_and_query() {
                Some(path) => path.clone(),
                None => PathAndQuery::from_static("/"),
            },
        };
        let Some((place, host)) = whole else {
            return Some(Uri::from(path));
        };
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(if place.tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(Authority::try_from(&host[..]).ok()?);
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }

    /// The request line and headers for a target that speaks HTTP/1.1, to which framing is added.
    ///
    /// # Errors
    /// `TooManyAddresses`: answer 463.
    pub fn head(
        &self,
        uri: &Uri,
        told: &headers::ToTarget<'_>,
        trace: &mut Vec<u8>,
    ) -> Result<Vec<u8>, TooManyAddresses> {
        let mut out = buffers::lend();
        out.extend_from_slice(self.parts.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(uri.path_and_query().map_or("/", |path| path.as_str()).as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        told.write(&mut out, trace)?;
        Ok(out)
    }

    /// Says how the body ends, and ends the head; true when the body goes in chunks.
    pub fn put_framing(&self, body: &ToTarget, out: &mut Vec<u8>) -> bool {
        let has_length = self.parts.headers.contains_key(http::header::CONTENT_LENGTH);
        let chunked = !has_length && !body.is_end_stream();
        if chunked {
            put_field(out, b"transfer-encoding", b"chunked");
        } else if !has_length && matches!(self.parts.method, Method::POST | Method::PUT | Method::PATCH) {
            put_field(out, b"content-length", b"0");
        }
        out.extend_from_slice(b"\r\n");
        chunked
    }

    /// For a target that speaks HTTP/2.
    pub fn outgoing(&self, uri: Uri, headers: HeaderMap, body: ToTarget) -> Request<ToTarget> {
        let mut request = Request::new(body);
        *request.method_mut() = self.parts.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.version_mut() = http::Version::HTTP_2;
        request
    }
}

/// `:authority`, or else Host.
pub fn host(parts: &Parts) -> &[u8] {
    match parts.uri.authority() {
        Some(authority) => authority.as_str().as_bytes(),
        None => parts
            .headers
            .get(http::header::HOST)
            .map_or(&b""[..], |host| host.as_bytes()),
    }
}
