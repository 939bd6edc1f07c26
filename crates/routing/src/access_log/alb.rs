//! A line of an Application Load Balancer's access log.

use super::{Line, escape};
use crate::desync::{Class, Reason};
use crate::digits;
use neargate_core::Timestamp;
use std::net::SocketAddr;
use std::time::Duration;

/// The first field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlbKind {
    Http,
    Https,
    H2,
    Grpcs,
    Ws,
    Wss,
}

impl AlbKind {
    fn as_str(self) -> &'static str {
        match self {
            AlbKind::Http => "http",
            AlbKind::Https => "https",
            AlbKind::H2 => "h2",
            AlbKind::Grpcs => "grpcs",
            AlbKind::Ws => "ws",
            AlbKind::Wss => "wss",
        }
    }
}

/// How long a request's parts took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetTimes {
    /// From the request's coming to its leaving for the target.
    pub request: Duration,
    /// Until the response's head came.
    pub target: Duration,
    /// Until the response left for the client.
    pub response: Duration,
}

/// What there is to say of a request. Fields are in the order of the line.
#[derive(Clone, Copy, Debug)]
pub struct AlbEntry<'a> {
    pub kind: AlbKind,
    /// When the response left, with microseconds of its second.
    pub time: (Timestamp, u32),
    /// `Balancer::id`.
    pub elb: &'a str,
    pub client: SocketAddr,
    pub target: Option<SocketAddr>,
    /// None: the request was not dispatched, or the target closed before it answered. Written as -1.
    pub times: Option<TargetTimes>,
    /// None: the client went before there was an answer.
    pub elb_status: Option<u16>,
    pub target_status: Option<u16>,
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Method, URL with scheme, host and port, version; empty parts are written as `-`.
    pub method: &'a [u8],
    pub scheme: &'a str,
    /// Without port.
    pub host: &'a [u8],
    pub port: u16,
    /// Path and query as sent.
    pub path_and_query: &'a [u8],
    /// E.g. `HTTP/1.1`.
    pub version: &'a str,
    pub user_agent: Option<&'a [u8]>,
    pub ssl_cipher: Option<&'a str>,
    pub ssl_protocol: Option<&'a str>,
    pub target_group: Option<&'a str>,
    pub trace_id: Option<&'a [u8]>,
    /// The name of SNI.
    pub domain_name: Option<&'a str>,
    pub certificate: Option<&'a str>,
    pub rule_priority: RulePriority,
    /// When the request came.
    pub created: (Timestamp, u32),
    /// `forward`, `redirect`, `fixed-response`, after `waf` and the like; none when no action was taken.
    pub action: Option<&'a str>,
    pub redirect_url: Option<&'a [u8]>,
    /// Why an action failed, e.g. `LambdaTimeout`.
    pub error_reason: Option<&'a str>,
    pub classification: (Class, Option<Reason>),
    /// Written as `TID_` and 32 hexadecimal digits.
    pub connection: u128,
    pub transformed_host: Option<&'a [u8]>,
    pub transformed_uri: Option<&'a [u8]>,
    /// `TransformSuccess` or why it failed.
    pub transform_status: Option<&'a str>,
}

/// Which rule a request met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RulePriority {
    Rule(u32),
    /// Written as 0.
    Default,
    /// An error came before. Written as `-`; -1 is for rules that could not be evaluated, which ours always can.
    None,
}

impl AlbEntry<'_> {
    /// Adds the line and its end to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut line = Line::new(out);
        line.plain(self.kind.as_str());
        line.time(self.time.0, self.time.1);
        line.plain(self.elb);
        line.address(self.client);
        match self.target {
            Some(target) => line.address(target),
            None => line.plain("-"),
        }
        match self.times {
            Some(times) => {
                for took in [times.request, times.target, times.response] {
                    line.space();
                    digits::millis(took, line.out);
                }
            }
            None => (0..3).for_each(|_| line.plain("-1")),
        }
        line.optional(self.elb_status.map(u64::from));
        line.optional(self.target_status.map(u64::from));
        line.number(self.received_bytes);
        line.number(self.sent_bytes);
        line.quoted_with(|out| self.request(out));
        line.quoted(self.user_agent);
        for own in [self.ssl_cipher, self.ssl_protocol, self.target_group] {
            line.plain(own.unwrap_or("-"));
        }
        line.quoted(self.trace_id);
        line.quoted(self.domain_name.map(str::as_bytes));
        line.quoted_plain(self.certificate);
        match self.rule_priority {
            RulePriority::Rule(priority) => line.number(priority.into()),
            RulePriority::Default => line.plain("0"),
            RulePriority::None => line.plain("-"),
        }
        line.time(self.created.0, self.created.1);
        line.quoted_plain(self.action);
        line.quoted(self.redirect_url);
        line.quoted_plain(self.error_reason);
        // Lists, of one each: a request is sent to one target.
        line.quoted_with(|out| match self.target {
            Some(target) => digits::socket(target, out),
            None => out.push(b'-'),
        });
        line.quoted_with(|out| match self.target_status {
            Some(status) => digits::number(status.into(), out),
            None => out.push(b'-'),
        });
        let (class, reason) = self.classification;
        line.quoted_plain((class != Class::Compliant).then_some(class.as_str()));
        line.quoted_plain(reason.map(Reason::as_str));
        line.plain("TID_");
        digits::hexadecimal(self.connection, 32, line.out);
        line.quoted(self.transformed_host);
        line.quoted(self.transformed_uri);
        line.quoted_plain(self.transform_status);
        line.end();
    }

    /// `GET http://host:80/path HTTP/1.1`; `- http://host:80- -` as far as nothing could be read.
    fn request(&self, out: &mut Vec<u8>) {
        let part = |part: &[u8], out: &mut Vec<u8>| match part {
            [] => out.push(b'-'),
            part => escape(part, true, out),
        };
        part(self.method, out);
        out.push(b' ');
        out.extend_from_slice(self.scheme.as_bytes());
        out.extend_from_slice(b"://");
        part(self.host, out);
        out.push(b':');
        digits::number(self.port.into(), out);
        part(self.path_and_query, out);
        out.push(b' ');
        part(self.version.as_bytes(), out);
    }
}
