//! Requests that two parsers may read as two different ones: how odd a head is, and what the balancer's mode makes of it.
//! Source: "Desync mitigation mode" and "Classification reasons" of the ELB guide.

/// `routing.http.desync_mitigation_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DesyncMode {
    Monitor,
    Defensive,
    Strictest,
}

/// How much a request is at odds with RFC 7230, mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Compliant,
    Acceptable,
    Ambiguous,
    Severe,
}

/// What is odd, as access logs name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The URI has control characters.
    AmbiguousUri,
    /// Content-Length is no number.
    BadContentLength,
    /// A header has a null character or carriage return.
    BadHeader,
    BadMethod,
    /// Transfer-Encoding has a bad value.
    BadTransferEncoding,
    /// The URI has a null character or carriage return.
    BadUri,
    BadVersion,
    /// Both Transfer-Encoding and Content-Length.
    BothTeClPresent,
    /// Several Content-Length headers of the same value.
    DuplicateContentLength,
    /// An empty header, or a line of spaces.
    EmptyHeader,
    /// Content-Length 0 on GET or HEAD.
    GetHeadZeroContentLength,
    /// Several Content-Length headers of different values.
    MultipleContentLength,
    MultipleTransferEncodingChunked,
    /// A header has a character that is not ASCII, or a control character.
    NonCompliantHeader,
    /// A version other than those that exist.
    NonCompliantVersion,
    SpaceInUri,
    /// A header that common ways of normalizing make Transfer-Encoding or Content-Length.
    SuspiciousHeader,
    /// Content-Length on GET or HEAD.
    UndefinedContentLengthSemantics,
    /// Transfer-Encoding on GET or HEAD.
    UndefinedTransferEncodingSemantics,
}

const REASONS: [(Reason, &str, Class); 19] = [
    (Reason::AmbiguousUri, "AmbiguousUri", Class::Ambiguous),
    (Reason::BadContentLength, "BadContentLength", Class::Severe),
    (Reason::BadHeader, "BadHeader", Class::Severe),
    (Reason::BadMethod, "BadMethod", Class::Severe),
    (Reason::BadTransferEncoding, "BadTransferEncoding", Class::Severe),
    (Reason::BadUri, "BadUri", Class::Severe),
    (Reason::BadVersion, "BadVersion", Class::Severe),
    (Reason::BothTeClPresent, "BothTeClPresent", Class::Ambiguous),
    (
        Reason::DuplicateContentLength,
        "DuplicateContentLength",
        Class::Ambiguous,
    ),
    (Reason::EmptyHeader, "EmptyHeader", Class::Ambiguous),
    (
        Reason::GetHeadZeroContentLength,
        "GetHeadZeroContentLength",
        Class::Acceptable,
    ),
    (Reason::MultipleContentLength, "MultipleContentLength", Class::Severe),
    (
        Reason::MultipleTransferEncodingChunked,
        "MultipleTransferEncodingChunked",
        Class::Severe,
    ),
    (Reason::NonCompliantHeader, "NonCompliantHeader", Class::Acceptable),
    (Reason::NonCompliantVersion, "NonCompliantVersion", Class::Acceptable),
    (Reason::SpaceInUri, "SpaceInUri", Class::Acceptable),
    (Reason::SuspiciousHeader, "SuspiciousHeader", Class::Ambiguous),
    (
        Reason::UndefinedContentLengthSemantics,
        "UndefinedContentLengthSemantics",
        Class::Ambiguous,
    ),
    (
        Reason::UndefinedTransferEncodingSemantics,
        "UndefinedTransferEncodingSemantics",
        Class::Ambiguous,
    ),
];

impl Reason {
    pub fn as_str(self) -> &'static str {
        REASONS[self as usize].1
    }

    pub fn class(self) -> Class {
        REASONS[self as usize].2
    }
}

impl Class {
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Compliant => "Compliant",
            Class::Acceptable => "Acceptable",
            Class::Ambiguous => "Ambiguous",
            Class::Severe => "Severe",
        }
    }
}

/// What is odd about one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    pub fn new() -> Reasons {
        Reasons::default()
    }

    pub fn insert(&mut self, reason: Reason) {
        self.0 |= 1 << reason as u32;
    }

    pub fn contains(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u32) != 0
    }

    /// The class of the request, and the reason that it has it.
    pub fn worst(self) -> (Class, Option<Reason>) {
        if self.0 == 0 {
            return (Class::Compliant, None);
        }
        let present = REASONS.iter().filter(|(reason, ..)| self.contains(*reason));
        // Of equals the first.
        present
            .rev()
            .max_by_key(|(.., class)| *class)
            .map_or((Class::Compliant, None), |(reason, _, class)| (*class, Some(*reason)))
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Route,
    /// Route it, and close both the client's and the target's connection afterwards.
    RouteAndClose,
    /// Answer 400 and close.
    Refuse,
}

/// What the mode makes of a class.
pub fn judge(mode: DesyncMode, class: Class) -> Verdict {
    match (mode, class) {
        (_, Class::Compliant) | (DesyncMode::Monitor, _) | (DesyncMode::Defensive, Class::Acceptable) => Verdict::Route,
        (DesyncMode::Defensive, Class::Ambiguous) => Verdict::RouteAndClose,
        (DesyncMode::Defensive, Class::Severe) | (DesyncMode::Strictest, _) => Verdict::Refuse,
    }
}

/// What a parser noted of a head.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadFacts<'a> {
    pub method: &'a [u8],
    /// The request target as sent.
    pub uri: &'a [u8],
    /// E.g. `HTTP/1.1`.
    pub version: &'a [u8],
    /// Values of all Content-Length headers, in order, commas and all.
    pub content_lengths: &'a [&'a [u8]],
    /// Values of all Transfer-Encoding headers, in order.
    pub transfer_encodings: &'a [&'a [u8]],
}

/// What is odd in request line and framing. Headers one by one: [`of_header`].
pub fn classify(facts: &HeadFacts<'_>) -> Reasons {
    let mut reasons = Reasons::new();
    let mut note = |found: bool, reason| {
        if found {
            reasons.insert(reason);
        }
    };
    let get_or_head = matches!(facts.method, b"GET" | b"HEAD");
    note(
        facts.method.is_empty() || !facts.method.iter().all(|b| is_token(*b)),
        Reason::BadMethod,
    );
    let uri = facts.uri;
    let broken = |b: &u8| matches!(b, 0 | b'\r' | b'\n');
    note(uri.is_empty() || uri.iter().any(broken), Reason::BadUri);
    note(
        uri.iter().any(|b| b.is_ascii_control() && !broken(b)),
        Reason::AmbiguousUri,
    );
    note(uri.contains(&b' '), Reason::SpaceInUri);
    match facts.version {
        b"HTTP/1.1" | b"HTTP/1.0" | b"HTTP/2.0" => {}
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => {
            note(true, Reason::NonCompliantVersion);
        }
        _ => note(true, Reason::BadVersion),
    }
    lengths(facts, get_or_head, &mut note);
    encodings(facts, get_or_head, &mut note);
    reasons
}

fn lengths(facts: &HeadFacts<'_>, get_or_head: bool, note: &mut impl FnMut(bool, Reason)) {
    let values = || {
        let lines = facts.content_lengths.iter();
        lines.flat_map(|line| line.split(|b| *b == b',').map(<[u8]>::trim_ascii))
    };
    let Some(first) = values().next() else { return };
    let good = |value: &[u8]| !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    note(!values().all(good), Reason::BadContentLength);
    let alike = values().all(|value| value == first);
    note(!alike, Reason::MultipleContentLength);
    note(alike && values().count() > 1, Reason::DuplicateContentLength);
    let zero = values().all(|value| good(value) && value.iter().all(|b| *b == b'0'));
    note(get_or_head && zero, Reason::GetHeadZeroContentLength);
    note(get_or_head && !zero, Reason::UndefinedContentLengthSemantics);
}

fn encodings(facts: &HeadFacts<'_>, get_or_head: bool, note: &mut impl FnMut(bool, Reason)) {
    let codings = || {
        let lines = facts.transfer_encodings.iter();
        lines.flat_map(|line| line.split(|b| *b == b',').map(<[u8]>::trim_ascii))
    };
    let Some(last) = codings().last() else { return };
    let chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let known = [
        &b"chunked"[..],
        b"gzip",
        b"x-gzip",
        b"deflate",
        b"compress",
        b"x-compress",
    ];
    let all_known = codings().all(|coding| known.iter().any(|name| name.eq_ignore_ascii_case(coding)));
    // Without chunked at the end nobody knows where the body ends.
    note(!all_known || !chunked(&last), Reason::BadTransferEncoding);
    note(
        codings().filter(chunked).count() > 1,
        Reason::MultipleTransferEncodingChunked,
    );
    note(!facts.content_lengths.is_empty(), Reason::BothTeClPresent);
    note(get_or_head, Reason::UndefinedTransferEncodingSemantics);
}

/// What is odd in one header line.
pub fn of_header(name: &[u8], value: &[u8], reasons: &mut Reasons) {
    let bytes = || name.iter().chain(value);
    if name.trim_ascii().is_empty() {
        reasons.insert(Reason::EmptyHeader);
    }
    if bytes().any(|b| matches!(b, 0 | b'\r' | b'\n')) {
        reasons.insert(Reason::BadHeader);
    }
    let odd = |b: &u8| !b.is_ascii() || (b.is_ascii_control() && !matches!(b, b'\t' | 0 | b'\r' | b'\n'));
    if bytes().any(odd) {
        reasons.insert(Reason::NonCompliantHeader);
    }
    if is_suspicious_name(name) {
        reasons.insert(Reason::SuspiciousHeader);
    }
}

/// True for a name that is not Transfer-Encoding or Content-Length, but that a lenient parser may take for one:
/// `transfer_encoding`, `Content-Length ` and the like.
pub fn is_suspicious_name(name: &[u8]) -> bool {
    let letters = || {
        name.iter()
            .filter(|b| b.is_ascii_alphanumeric())
            .map(u8::to_ascii_lowercase)
    };
    let twin = |of: &[u8], plain: &[u8]| letters().eq(plain.iter().copied()) && !name.eq_ignore_ascii_case(of);
    twin(b"transfer-encoding", b"transferencoding") || twin(b"content-length", b"contentlength")
}

fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests;
