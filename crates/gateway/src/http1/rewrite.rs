//! Heads on their way through: what targets are told of clients, and clients of targets.
//!
//! One pass over the parsed fields into the buffer that is sent. Invariant: nothing that steers one connection gets to the
//! other, and a body's framing leaves as it came.

use super::head::{Field, Head, Known, Span};
use super::token::members;
use crate::answers::{Answer, SERVER};
use crate::arrival::Arrival;
use crate::serving::Served;
use neargate_core::Timestamp;
use neargate_routing::Headers;
use neargate_routing::digits;
use neargate_routing::forwarded::{self, TooManyAddresses};
use std::fmt::Write as _;

/// The fields of a parsed head.
pub struct Fields<'a> {
    pub head: &'a Head,
    pub buffer: &'a [u8],
}

impl Headers for Fields<'_> {
    fn visit(&self, name: &str, each: &mut dyn FnMut(&[u8])) {
        for field in &self.head.fields {
            if field.name.of(self.buffer).eq_ignore_ascii_case(name.as_bytes()) {
                each(field.value.of(self.buffer));
            }
        }
    }
}

/// What a request's head becomes.
pub struct Request<'a> {
    pub fields: &'a Fields<'a>,
    pub served: &'a Served,
    pub arrival: &'a Arrival,
    pub now: Timestamp,
    pub random: [u64; 2],
    /// Path and query, as they are to be sent.
    pub url: &'a [u8],
    /// As it is to be sent.
    pub host: &'a [u8],
    pub upgrade: bool,
}

impl Request<'_> {
    /// Writes the head that the target gets; `trace` becomes the value of its X-Amzn-Trace-Id.
    ///
    /// # Errors
    /// `TooManyAddresses`: answer 463.
    pub fn write(&self, out: &mut Vec<u8>, trace: &mut Vec<u8>) -> Result<(), TooManyAddresses> {
        let Fields { head, buffer } = *self.fields;
        let settings = &self.served.balancer.settings;
        put(out, &[head.method.of(buffer), b" ", self.url, b" HTTP/1.1\r\n"]);
        forward(out, b"X-Forwarded-For: ", |out| {
            forwarded::forwarded_for(
                settings.xff,
                settings.xff_client_port,
                self.fields,
                self.arrival.client,
                out,
            )
        })?;
        let proto: &[u8] = if self.arrival.tls.is_some() { b"https" } else { b"http" };
        put(out, &[b"X-Forwarded-Proto: ", proto, b"\r\nX-Forwarded-Port: "]);
        digits::number(self.served.listener.port.into(), out);
        put(out, &[b"\r\nHost: ", self.host, b"\r\n"]);
        forwarded::trace_id(head.first(buffer, Known::TraceId), self.now, self.random, trace);
        put(out, &[b"X-Amzn-Trace-Id: ", trace, b"\r\n"]);
        if let Some(tls) = self.arrival.tls.as_ref().filter(|_| settings.tls_headers) {
            let names = &self.served.listener.settings;
            put_field(out, names.tls_version_header.as_bytes(), tls.version.as_bytes());
            put_field(out, names.tls_cipher_header.as_bytes(), tls.cipher.as_bytes());
        }
        let listed = listed(head, buffer);
        for field in &head.fields {
            let name = field.name.of(buffer);
            let stays = match field.known {
                Known::Connection | Known::HopByHop | Known::Host | Known::TraceId => false,
                Known::ForwardedFor | Known::ForwardedProto | Known::ForwardedPort => false,
                Known::Upgrade => self.upgrade,
                // Answered by the balancer itself.
                Known::Expect => !head.expects,
                Known::ContentLength | Known::TransferEncoding => true,
                Known::Other | Known::UserAgent | Known::Server | Known::Date => {
                    let ends_here = is_listed(&listed, buffer, name) || forwarded::is_hop_by_hop(name);
                    let invalid = settings.drop_invalid_headers && !forwarded::is_valid_name(name);
                    let claimed = settings.tls_headers && self.is_tls_header(name);
                    !(ends_here || invalid || claimed)
                }
            };
            if stays {
                put_field(out, name, field.value.of(buffer));
            }
        }
        if self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Only the balancer says how the client's TLS was.
    fn is_tls_header(&self, name: &[u8]) -> bool {
        let names = &self.served.listener.settings;
        name.eq_ignore_ascii_case(names.tls_version_header.as_bytes())
            || name.eq_ignore_ascii_case(names.tls_cipher_header.as_bytes())
    }
}

/// What a target's response head becomes.
pub struct Response<'a> {
    pub head: &'a Head,
    pub buffer: &'a [u8],
    pub served: &'a Served,
    /// Nothing more is taken over the client's connection.
    pub close: bool,
    /// The client speaks HTTP/1.0.
    pub old_client: bool,
    pub upgrade: bool,
}

impl Response<'_> {
    /// Writes the head that the client gets, but for the empty line, so that cookies can be set.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (head, buffer) = (self.head, self.buffer);
        out.extend_from_slice(b"HTTP/1.1 ");
        digits::number(head.status.into(), out);
        put(out, &[b" ", head.reason.of(buffer), b"\r\n"]);
        let settings = &self.served.listener.settings;
        let listed = listed(head, buffer);
        for field in &head.fields {
            let name = field.name.of(buffer);
            let stays = match field.known {
                Known::Connection | Known::HopByHop => false,
                Known::Upgrade => self.upgrade,
                // Old clients get the chunks' content alone.
                Known::TransferEncoding => !self.old_client,
                Known::Server => settings.server_header,
                _ => {
                    !is_listed(&listed, buffer, name)
                        && (settings.response_headers.is_empty() || !is_set(&settings.response_headers, name))
                }
            };
            if stays {
                put_field(out, name, field.value.of(buffer));
            }
        }
        if !head.fields.iter().any(|field| field.known == Known::Date) {
            put_field(out, b"Date", date(crate::serving::now()).as_bytes());
        }
        put_set(out, &settings.response_headers);
        if self.upgrade {
            out.extend_from_slice(b"Connection: upgrade\r\n");
        } else {
            put_connection(out, self.close, self.old_client);
        }
    }
}

/// Writes an answer of the balancer's own.
pub fn own_answer(
    answer: &Answer,
    served: Option<&Served>,
    to_head: bool,
    close: bool,
    old_client: bool,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    digits::number(answer.status.into(), out);
    put(out, &[b" ", crate::answers::reason(answer.status).as_bytes(), b"\r\n"]);
    if served.is_none_or(|served| served.listener.settings.server_header) {
        put_field(out, b"Server", SERVER.as_bytes());
    }
    put_field(out, b"Date", date(crate::serving::now()).as_bytes());
    if let Some(content_type) = &answer.content_type {
        put_field(out, b"Content-Type", content_type.as_bytes());
    }
    if answer.status != 204 {
        out.extend_from_slice(b"Content-Length: ");
        digits::number(answer.body.len() as u64, out);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(location) = &answer.location {
        put_field(out, b"Location", location);
    }
    if let Some(served) = served {
        put_set(out, &served.listener.settings.response_headers);
    }
    put_connection(out, close, old_client);
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(&answer.body);
    }
}

fn put_connection(out: &mut Vec<u8>, close: bool, old_client: bool) {
    match (close, old_client) {
        (true, _) => out.extend_from_slice(b"Connection: close\r\n"),
        (false, true) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
        (false, false) => {}
    }
}

fn put_set(out: &mut Vec<u8>, headers: &[(String, String)]) {
    for (name, value) in headers {
        put_field(out, name.as_bytes(), value.as_bytes());
    }
}

fn is_set(headers: &[(String, String)], name: &[u8]) -> bool {
    headers.iter().any(|(set, _)| name.eq_ignore_ascii_case(set.as_bytes()))
}

fn forward(
    out: &mut Vec<u8>,
    name: &[u8],
    value: impl FnOnce(&mut Vec<u8>) -> Result<bool, TooManyAddresses>,
) -> Result<(), TooManyAddresses> {
    let before = out.len();
    out.extend_from_slice(name);
    match value(out)? {
        true => out.extend_from_slice(b"\r\n"),
        false => out.truncate(before),
    }
    Ok(())
}

/// Adds a header line.
pub fn put_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put(out, &[name, b": ", value, b"\r\n"]);
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// Values of `Connection` that name headers besides the usual words; nearly always none.
pub fn listed(head: &Head, buffer: &[u8]) -> Vec<Span> {
    let names = |field: &&Field| {
        field.known == Known::Connection
            && members(field.value.of(buffer)).any(|member| {
                ![&b"close"[..], b"keep-alive", b"upgrade"]
                    .iter()
                    .any(|usual| member.eq_ignore_ascii_case(usual))
            })
    };
    head.fields.iter().filter(names).map(|field| field.value).collect()
}

pub fn is_listed(listed: &[Span], buffer: &[u8], name: &[u8]) -> bool {
    listed.iter().any(|span| forwarded::named_in(span.of(buffer), name))
}

/// As HTTP writes dates. Source: RFC 9110 section 5.6.7.
pub fn date(now: Timestamp) -> String {
    let days = now.0.div_euclid(86_400_000);
    let seconds = now.0.rem_euclid(86_400_000) / 1000;
    // Days since 1970-01-01 to a date of the Gregorian calendar, counted in years from March on.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 2
    } else {
        month_from_march - 10
    };
    let year = year_of_era + era * 400 + i64::from(month < 2);
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut out = String::with_capacity(29);
    let _ = write!(
        out,
        "{}, {day:02} {} {year} {:02}:{:02}:{:02} GMT",
        DAYS[days.rem_euclid(7) as usize],
        MONTHS[month as usize],
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_as_http_writes_them() {
        for (millis, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777_000, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400_000, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_764_097_199_999, "Tue, 25 Nov 2025 18:59:59 GMT"),
        ] {
            assert_eq!(date(Timestamp(millis)), text);
        }
    }
}
