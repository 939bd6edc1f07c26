//! Headers on their way through: what targets are told of clients, and clients of targets.

use crate::answers::{Answer, SERVER};
use crate::arrival::Arrival;
use crate::http1::rewrite::{date, put_field};
use crate::serving::Served;
use http::header::{
    CONTENT_LENGTH, CONTENT_TYPE, COOKIE, DATE, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, TE,
};
use neargate_core::Timestamp;
use neargate_routing::digits;
use neargate_routing::forwarded::{self, TooManyAddresses};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// What a target is told of a request.
pub struct ToTarget<'a> {
    pub headers: &'a HeaderMap,
    pub served: &'a Served,
    pub arrival: &'a Arrival,
    pub now: Timestamp,
    pub random: [u64; 2],
    /// For HTTP/1.1 targets; others have `:authority`.
    pub host: Option<&'a [u8]>,
}

/// A header's value: made here, or as it came.
enum Value<'a> {
    Made(&'a [u8]),
    Came(&'a HeaderValue),
}

impl ToTarget<'_> {
    /// The headers for a target that speaks HTTP/2; `trace` becomes the value of its X-Amzn-Trace-Id.
    ///
    /// # Errors
    /// `TooManyAddresses`: answer 463.
    pub fn make(&self, trace: &mut Vec<u8>) -> Result<HeaderMap, TooManyAddresses> {
        let mut out = HeaderMap::with_capacity(self.headers.len() + 6);
        self.each(trace, |name, value| match value {
            Value::Made(value) => put(&mut out, name.clone(), value),
            Value::Came(value) => {
                out.append(name, value.clone());
            }
        })?;
        Ok(out)
    }

    /// Writes the header lines for one that speaks HTTP/1.1, but for those that frame a body.
    ///
    /// # Errors
    /// As of `make`.
    pub fn write(&self, out: &mut Vec<u8>, trace: &mut Vec<u8>) -> Result<(), TooManyAddresses> {
        self.each(trace, |name, value| {
            let value = match value {
                Value::Made(value) => value,
                Value::Came(value) => value.as_bytes(),
            };
            put_field(out, name.as_str().as_bytes(), value);
        })
    }

    fn each(&self, trace: &mut Vec<u8>, mut put: impl FnMut(HeaderName, Value<'_>)) -> Result<(), TooManyAddresses> {
        let settings = &self.served.balancer.settings;
        let mut forwarded = Vec::new();
        let client = self.arrival.client;
        if forwarded::forwarded_for(
            settings.xff,
            settings.xff_client_port,
            self.headers,
            client,
            &mut forwarded,
        )? {
            put(FORWARDED_FOR, Value::Made(&forwarded));
        }
        let proto: &[u8] = if self.arrival.tls.is_some() { b"https" } else { b"http" };
        put(FORWARDED_PROTO, Value::Made(proto));
        forwarded.clear();
        digits::number(self.served.listener.port.into(), &mut forwarded);
        put(FORWARDED_PORT, Value::Made(&forwarded));
        let existing = self.headers.get(TRACE_ID).map(HeaderValue::as_bytes);
        trace.clear();
        forwarded::trace_id(existing, self.now, self.random, trace);
        put(TRACE_ID, Value::Made(trace));
        // HTTP/2 may split cookies, HTTP/1.1 may not. Source: RFC 9113 section 8.2.3.
        let split = self.host.is_some() && self.headers.get_all(COOKIE).iter().nth(1).is_some();
        for (name, value) in self.headers {
            if self.stays(name, value) && !(split && name == COOKIE) {
                put(name.clone(), Value::Came(value));
            }
        }
        if split {
            let cookies: Vec<&[u8]> = self.headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
            put(COOKIE, Value::Made(&cookies.join(&b"; "[..])));
        }
        if let Some(host) = self.host {
            put(HOST, Value::Made(host));
        }
        if let Some(tls) = self.arrival.tls.as_ref().filter(|_| settings.tls_headers) {
            let names = &self.served.listener.settings;
            for (name, value) in [
                (&names.tls_version_header, tls.version),
                (&names.tls_cipher_header, tls.cipher),
            ] {
                if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
                    put(name, Value::Made(value.as_bytes()));
                }
            }
        }
        Ok(())
    }

    fn stays(&self, name: &HeaderName, value: &HeaderValue) -> bool {
        let settings = &self.served.balancer.settings;
        let bytes = name.as_str().as_bytes();
        if name == TE {
            // Without it a gRPC target thinks that trailers get lost.
            return self.host.is_none() && value.as_bytes() == b"trailers";
        }
        let invalid = settings.drop_invalid_headers && !forwarded::is_valid_name(bytes);
        let steers = name == HOST || forwarded::is_hop_by_hop(bytes) || forwarded::is_replaced(bytes);
        // Only the balancer says how the client's TLS was.
        let names = &self.served.listener.settings;
        let claimed = settings.tls_headers
            && (bytes.eq_ignore_ascii_case(names.tls_version_header.as_bytes())
                || bytes.eq_ignore_ascii_case(names.tls_cipher_header.as_bytes()));
        !(invalid || steers || claimed)
    }
}

/// Makes a target's response one of the balancer's. What an HTTP/1.1 target's Connection lists has been left out.
pub fn to_client(headers: &mut HeaderMap, served: &Served) {
    let settings = &served.listener.settings;
    let leaves = |name: &&HeaderName| forwarded::is_hop_by_hop(name.as_str().as_bytes());
    let gone: Vec<HeaderName> = headers.keys().filter(leaves).cloned().collect();
    for name in gone {
        headers.remove(name);
    }
    if !settings.server_header {
        headers.remove(http::header::SERVER);
    }
    set(headers, served);
}

/// The headers of an answer of the balancer's own.
pub fn own(answer: &Answer, served: Option<&Served>, grpc: bool) -> HeaderMap {
    let mut out = HeaderMap::new();
    if served.is_none_or(|served| served.listener.settings.server_header) {
        out.insert(http::header::SERVER, HeaderValue::from_static(SERVER));
    }
    if let Some(location) = &answer.location {
        put(&mut out, LOCATION, location);
    }
    if grpc {
        out.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        out.insert(GRPC_STATUS, grpc_status(answer.status).into());
        put(&mut out, GRPC_MESSAGE, crate::answers::reason(answer.status).as_bytes());
    } else {
        if let Some(content_type) = &answer.content_type {
            put(&mut out, CONTENT_TYPE, content_type.as_bytes());
        }
        if answer.status != 204 {
            out.insert(CONTENT_LENGTH, (answer.body.len() as u64).into());
        }
    }
    if let Some(served) = served {
        set(&mut out, served);
    }
    out
}

/// What every response says: when it was made, and how long its body is, when that is known.
pub fn complete(headers: &mut HeaderMap, length: Option<u64>) {
    if !headers.contains_key(DATE) {
        put(headers, DATE, date(crate::serving::now()).as_bytes());
    }
    if let (Some(length), false) = (length, headers.contains_key(CONTENT_LENGTH)) {
        headers.insert(CONTENT_LENGTH, length.into());
    }
}

/// What gRPC makes of an HTTP status. Source: gRPC's "HTTP to gRPC Status Code Mapping".
fn grpc_status(status: u16) -> u16 {
    match status {
        200 => 0,
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502..=504 => 14,
        _ => 2,
    }
}

fn set(headers: &mut HeaderMap, served: &Served) {
    for (name, value) in &served.listener.settings.response_headers {
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            put(headers, name, value.as_bytes());
        }
    }
}

/// Control admits no value that a header cannot have; what a client sent has been one.
fn put(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}
