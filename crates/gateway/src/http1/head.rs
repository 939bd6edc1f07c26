//! Heads of requests and responses, parsed line by line as they come, over a buffer that the connection reuses.
//!
//! Called by the HTTP/1.1 engine. A head is a list of spans into that buffer, so parsing copies nothing. It refuses what
//! could be read in two ways: bare CR or LF, folded lines, space before a colon, controls, several or odd lengths, a length
//! together with chunks. Invariant: what is not refused has exactly one framing, which `Framing` states.
//! Source: RFC 9112; limits: "Quotas for your Application Load Balancers".

use super::token::{decimal, is_target, is_token, is_value, members, name_is_valid, trim, value_is_ascii};
use neargate_routing::desync::{self, Reason};

/// Longest request line.
pub const LINE_LIMIT: usize = 16 * 1024;
/// Longest header, name and value.
pub const FIELD_LIMIT: usize = 16 * 1024;
/// Longest head.
pub const HEAD_LIMIT: usize = 64 * 1024;

/// A range of the buffer that was parsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        // Heads end at HEAD_LIMIT, far below.
        Span {
            start: start as u32,
            end: end as u32,
        }
    }

    pub fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.start as usize..self.end as usize]
    }
}

/// Fields that the engine itself reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Upgrade,
    /// Means something between two neighbours only, and is never passed on.
    HopByHop,
    ForwardedFor,
    ForwardedProto,
    ForwardedPort,
    TraceId,
    UserAgent,
    Server,
    Date,
    Expect,
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub known: Known,
}

/// How a body's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    None,
    Length(u64),
    Chunked,
    /// Responses only: until the target closes.
    Close,
}

/// Why a head is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// TLS on a port without, most often.
    #[error("no request: {0}")]
    NoRequest(&'static str),
    #[error("malformed head: {0}")]
    Malformed(&'static str),
    #[error("it can be read in two ways: {0:?}")]
    Odd(Reason),
    #[error("the request line is too long")]
    LineTooLong,
    #[error("the head is too large")]
    TooLarge,
    #[error("this version of HTTP is not served")]
    Version,
    #[error("this transfer coding is not served")]
    Coding,
}

/// A parsed head. Kept by the connection for the next one, so that its list is allocated once.
#[derive(Debug, Default)]
pub struct Head {
    /// Requests only.
    pub method: Span,
    pub target: Span,
    /// Responses only.
    pub status: u16,
    pub reason: Span,
    /// 0 or 1.
    pub minor: u8,
    pub fields: Vec<Field>,
    /// Bytes of it, the empty line included.
    pub length: usize,
    pub host: Option<Span>,
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
    /// The client waits for a 100 before it sends the body.
    pub expects: bool,
    /// A value is not ASCII throughout.
    pub non_ascii: bool,
    /// A name that others may take for one that frames.
    pub suspicious: bool,
    /// A name that ALB takes for invalid.
    pub invalid_name: bool,
    content_length: Option<u64>,
    chunked: bool,
    coding: bool,
}

impl Head {
    /// How a request's body ends.
    pub fn request_framing(&self) -> Framing {
        match (self.chunked, self.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(0) | None) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
        }
    }

    /// How the body of the response to `method` ends.
    pub fn response_framing(&self, method: &[u8]) -> Framing {
        if method == b"HEAD" || matches!(self.status, 100..=199 | 204 | 304) {
            return Framing::None;
        }
        match (self.chunked, self.content_length) {
            (true, _) => Framing::Chunked,
            (false, Some(0)) => Framing::None,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Close,
        }
    }

    /// There are headers of both kinds, which say nothing in GET and HEAD.
    pub fn has_framing(&self) -> (bool, bool) {
        (self.content_length.is_some(), self.chunked)
    }

    /// True when the sender takes another message over this connection.
    pub fn persistent(&self) -> bool {
        !self.close && (self.minor == 1 || self.keep_alive)
    }

    /// The first field of this kind.
    pub fn first<'b>(&self, buffer: &'b [u8], known: Known) -> Option<&'b [u8]> {
        let field = self.fields.iter().find(|field| field.known == known)?;
        Some(field.value.of(buffer))
    }

    fn clear(&mut self) {
        let mut fields = std::mem::take(&mut self.fields);
        fields.clear();
        *self = Head {
            fields,
            ..Head::default()
        };
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
}

/// What `Parser::feed` found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    More,
    Done,
}

/// Reads one head; `restart` makes it ready for the next.
#[derive(Debug)]
pub struct Parser {
    kind: Kind,
    /// Where the line begins that is not complete yet.
    line: usize,
    /// No line feed before this.
    searched: usize,
    started: bool,
    pub head: Head,
}

impl Parser {
    pub fn new(kind: Kind) -> Parser {
        Parser {
            kind,
            line: 0,
            searched: 0,
            started: false,
            head: Head::default(),
        }
    }

    pub fn restart(&mut self) {
        (self.line, self.searched, self.started) = (0, 0, false);
        self.head.clear();
    }

    /// True once a byte of a head has been looked at.
    pub fn has_begun(&self, buffer: &[u8]) -> bool {
        self.started || buffer.len() > self.line
    }

    /// Reads on in `buffer`, which begins where the head does and holds all that was fed before.
    ///
    /// # Errors
    /// See [`Refusal`]; the connection cannot be used any more.
    pub fn feed(&mut self, buffer: &[u8]) -> Result<Progress, Refusal> {
        loop {
            self.begins(buffer)?;
            let Some(at) = memchr::memchr(b'\n', &buffer[self.searched..]) else {
                break;
            };
            let end = self.searched + at;
            self.searched = end + 1;
            let line = std::mem::replace(&mut self.line, end + 1);
            if end + 1 > HEAD_LIMIT {
                return Err(self.too_large());
            }
            if end == line || buffer[end - 1] != b'\r' {
                return Err(Refusal::Malformed("a line feed without carriage return"));
            }
            let text = end - 1;
            if !self.started {
                // One empty line before a request is what old clients send after a body.
                if line == text && self.kind == Kind::Request && line == 0 {
                    continue;
                }
                self.first_line(buffer, line, text)?;
                self.started = true;
            } else if line == text {
                self.head.length = end + 1;
                self.finish()?;
                return Ok(Progress::Done);
            } else {
                self.field(buffer, line, text)?;
            }
        }
        self.searched = buffer.len();
        let unfinished = buffer.len() - self.line;
        match self.started {
            false if unfinished > LINE_LIMIT => Err(self.too_large()),
            true if unfinished > FIELD_LIMIT || buffer.len() > HEAD_LIMIT => Err(Refusal::TooLarge),
            _ => Ok(Progress::More),
        }
    }

    /// That a request can begin so: what is none may have no end to its line either.
    fn begins(&self, buffer: &[u8]) -> Result<(), Refusal> {
        match (self.kind, buffer.get(self.line)) {
            (Kind::Request, Some(first)) if !self.started && *first != b'\r' && !is_token(&[*first]) => {
                Err(Refusal::NoRequest("the method"))
            }
            _ => Ok(()),
        }
    }

    fn too_large(&self) -> Refusal {
        match self.started {
            false => Refusal::LineTooLong,
            true => Refusal::TooLarge,
        }
    }

    fn first_line(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), Refusal> {
        if end - start > LINE_LIMIT {
            return Err(Refusal::LineTooLong);
        }
        match self.kind {
            Kind::Request => self.request_line(buffer, start, end),
            Kind::Response => self.status_line(buffer, start, end),
        }
    }

    fn request_line(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), Refusal> {
        let line = &buffer[start..end];
        let odd = Refusal::NoRequest("the request line");
        let method = line.iter().position(|b| *b == b' ').ok_or(odd)?;
        let version = line.iter().rposition(|b| *b == b' ').ok_or(odd)?;
        if version <= method {
            return Err(odd);
        }
        if !is_token(&line[..method]) || method > 32 {
            return Err(Refusal::NoRequest("the method"));
        }
        if !is_target(&line[method + 1..version]) {
            let target = &line[method + 1..version];
            let reason = if target.iter().any(|b| matches!(b, 0 | b'\r')) {
                Reason::BadUri
            } else if target.iter().any(u8::is_ascii_control) {
                Reason::AmbiguousUri
            } else if target.contains(&b' ') {
                Reason::SpaceInUri
            } else {
                return Err(Refusal::NoRequest("the request's target"));
            };
            return Err(Refusal::Odd(reason));
        }
        self.head.minor = match &line[version + 1..] {
            b"HTTP/1.1" => 1,
            b"HTTP/1.0" => 0,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
                return Err(Refusal::Version);
            }
            _ => return Err(odd),
        };
        self.head.method = Span::new(start, start + method);
        self.head.target = Span::new(start + method + 1, start + version);
        Ok(())
    }

    fn status_line(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), Refusal> {
        let odd = Refusal::Malformed("the status line");
        let (minor, rest) = match &buffer[start..end] {
            [
                b'H',
                b'T',
                b'T',
                b'P',
                b'/',
                b'1',
                b'.',
                minor @ (b'0' | b'1'),
                b' ',
                rest @ ..,
            ] => (minor - b'0', rest),
            _ => return Err(odd),
        };
        let (digits, reason) = rest.split_at_checked(3).ok_or(odd)?;
        let status = decimal(digits).ok_or(odd)? as u16;
        let reason = match reason {
            [] => reason,
            [b' ', reason @ ..] => reason,
            _ => return Err(odd),
        };
        if !(100..=999).contains(&status) || !is_value(reason) {
            return Err(odd);
        }
        self.head.minor = minor;
        self.head.status = status;
        self.head.reason = Span::new(end - reason.len(), end);
        Ok(())
    }

    fn field(&mut self, buffer: &[u8], start: usize, end: usize) -> Result<(), Refusal> {
        if end - start > FIELD_LIMIT {
            return Err(Refusal::TooLarge);
        }
        let line = &buffer[start..end];
        if matches!(line[0], b' ' | b'\t') {
            return Err(Refusal::Malformed("a folded line"));
        }
        let colon = memchr::memchr(b':', line);
        let colon = colon.ok_or(Refusal::Malformed("a header without a colon"))?;
        let valid = name_is_valid(&line[..colon]).ok_or(Refusal::Malformed("a header's name"))?;
        let value = trim(&line[colon + 1..]);
        let Some(ascii) = value_is_ascii(value) else {
            let bad = value.iter().any(|b| matches!(b, 0 | b'\r'));
            let reason = if bad {
                Reason::BadHeader
            } else {
                Reason::NonCompliantHeader
            };
            return Err(Refusal::Odd(reason));
        };
        let known = known(&line[..colon]);
        self.head.non_ascii |= !ascii;
        self.head.suspicious |= known == Known::Other && is_suspicious_name(&line[..colon]);
        self.head.invalid_name |= known == Known::Other && !valid;
        let value_start = start + colon + 1 + leading(&line[colon + 1..]);
        let name = Span::new(start, start + colon);
        let span = Span::new(value_start, value_start + value.len());
        self.note(known, span, value)?;
        self.head.fields.push(Field {
            name,
            value: span,
            known,
        });
        Ok(())
    }

    fn note(&mut self, known: Known, span: Span, value: &[u8]) -> Result<(), Refusal> {
        let head = &mut self.head;
        match known {
            Known::Host if head.host.is_some() => return Err(Refusal::Malformed("several Host headers")),
            Known::Host => head.host = Some(span),
            Known::ContentLength => {
                let length = decimal(value).ok_or(Refusal::Odd(Reason::BadContentLength))?;
                match head.content_length.replace(length) {
                    None => {}
                    Some(same) if same == length => return Err(Refusal::Odd(Reason::DuplicateContentLength)),
                    Some(_) => return Err(Refusal::Odd(Reason::MultipleContentLength)),
                }
            }
            Known::TransferEncoding => {
                if std::mem::replace(&mut head.coding, true) {
                    return Err(Refusal::Odd(Reason::MultipleTransferEncodingChunked));
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::Coding);
                }
                head.chunked = true;
            }
            Known::Expect => head.expects |= value.eq_ignore_ascii_case(b"100-continue"),
            Known::Connection => {
                for member in members(value) {
                    head.close |= member.eq_ignore_ascii_case(b"close");
                    head.keep_alive |= member.eq_ignore_ascii_case(b"keep-alive");
                    head.upgrade |= member.eq_ignore_ascii_case(b"upgrade");
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn finish(&self) -> Result<(), Refusal> {
        let head = &self.head;
        if head.chunked && head.content_length.is_some() {
            return Err(Refusal::Odd(Reason::BothTeClPresent));
        }
        if head.chunked && head.minor == 0 {
            return Err(Refusal::Odd(Reason::NonCompliantVersion));
        }
        if self.kind == Kind::Request && head.host.is_none() && head.minor == 1 {
            return Err(Refusal::Malformed("no Host header"));
        }
        Ok(())
    }
}

fn leading(bytes: &[u8]) -> usize {
    let blank = bytes.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    // A value of blanks alone begins where it ends.
    if blank == bytes.len() { 0 } else { blank }
}

/// Suspicious names have the letters of these two, which are 13 and 16.
fn is_suspicious_name(name: &[u8]) -> bool {
    (13..=18).contains(&name.len()) && desync::is_suspicious_name(name)
}

fn known(name: &[u8]) -> Known {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Known::HopByHop,
        4 if is("host") => Known::Host,
        4 if is("date") => Known::Date,
        6 if is("server") => Known::Server,
        6 if is("expect") => Known::Expect,
        7 if is("upgrade") => Known::Upgrade,
        10 if is("connection") => Known::Connection,
        10 if is("keep-alive") => Known::HopByHop,
        10 if is("user-agent") => Known::UserAgent,
        14 if is("content-length") => Known::ContentLength,
        15 if is("x-amzn-trace-id") => Known::TraceId,
        15 if is("x-forwarded-for") => Known::ForwardedFor,
        16 if is("x-forwarded-port") => Known::ForwardedPort,
        16 if is("proxy-connection") => Known::HopByHop,
        17 if is("x-forwarded-proto") => Known::ForwardedProto,
        17 if is("transfer-encoding") => Known::TransferEncoding,
        _ => Known::Other,
    }
}
