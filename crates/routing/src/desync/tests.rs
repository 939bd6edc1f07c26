use super::*;

fn facts<'a>(method: &'a str, lengths: &'a [&'a [u8]], encodings: &'a [&'a [u8]]) -> HeadFacts<'a> {
    HeadFacts {
        method: method.as_bytes(),
        uri: b"/",
        version: b"HTTP/1.1",
        content_lengths: lengths,
        transfer_encodings: encodings,
    }
}

fn reasons(facts: &HeadFacts<'_>) -> Vec<Reason> {
    let found = classify(facts);
    REASONS
        .iter()
        .map(|(reason, ..)| *reason)
        .filter(|reason| found.contains(*reason))
        .collect()
}

#[test]
fn the_table_is_in_the_order_of_the_reasons() {
    for (place, (reason, name, _)) in REASONS.iter().enumerate() {
        assert_eq!(*reason as usize, place);
        assert_eq!(format!("{reason:?}"), *name);
    }
}

#[test]
fn framing_of_bodies() {
    use Reason::*;
    let of = |method, lengths: &[&[u8]], encodings: &[&[u8]]| reasons(&facts(method, lengths, encodings));
    assert_eq!(of("GET", &[], &[]), []);
    assert_eq!(of("POST", &[b"12"], &[]), []);
    assert_eq!(of("POST", &[], &[b"chunked"]), []);
    assert_eq!(of("POST", &[], &[b"gzip, Chunked"]), []);
    assert_eq!(of("GET", &[b"0"], &[]), [GetHeadZeroContentLength]);
    assert_eq!(of("HEAD", &[b"3"], &[]), [UndefinedContentLengthSemantics]);
    assert_eq!(of("GET", &[], &[b"chunked"]), [UndefinedTransferEncodingSemantics]);
    assert_eq!(of("POST", &[b"3", b"3"], &[]), [DuplicateContentLength]);
    assert_eq!(of("POST", &[b"3, 3"], &[]), [DuplicateContentLength]);
    assert_eq!(of("POST", &[b"3", b"4"], &[]), [MultipleContentLength]);
    assert_eq!(of("POST", &[b"3"], &[b"chunked"]), [BothTeClPresent]);
    assert_eq!(
        of("POST", &[], &[b"chunked", b"chunked"]),
        [MultipleTransferEncodingChunked]
    );
    for bad in ["+3", "-3", "0x3", "3 3", "", "3.0", "9999999999999999999"] {
        assert_eq!(of("POST", &[bad.as_bytes()], &[]), [BadContentLength], "{bad}");
    }
    for bad in [
        "xchunked",
        "chunked, gzip",
        "identity",
        "",
        "chunked;q=1",
        "\x0bchunked",
    ] {
        assert_eq!(of("POST", &[], &[bad.as_bytes()]), [BadTransferEncoding], "{bad}");
    }
}

#[test]
fn request_lines() {
    use Reason::*;
    let of = |method: &'static str, uri: &'static str, version: &'static str| {
        reasons(&HeadFacts {
            method: method.as_bytes(),
            uri: uri.as_bytes(),
            version: version.as_bytes(),
            ..HeadFacts::default()
        })
    };
    assert_eq!(of("GET", "/a b", "HTTP/1.1"), [SpaceInUri]);
    assert_eq!(of("GET", "/a\x07", "HTTP/1.1"), [AmbiguousUri]);
    assert_eq!(of("GET", "/a\0", "HTTP/1.1"), [BadUri]);
    assert_eq!(of("G T", "/", "HTTP/1.1"), [BadMethod]);
    assert_eq!(of("GET", "/", "HTTP/1.2"), [NonCompliantVersion]);
    assert_eq!(of("GET", "/", "HTTX/1.1"), [BadVersion]);
    assert_eq!(of("GET", "/", "HTTP/1.1 "), [BadVersion]);
}

#[test]
fn header_lines() {
    use Reason::*;
    let of = |name: &str, value: &[u8]| {
        let mut reasons = Reasons::new();
        of_header(name.as_bytes(), value, &mut reasons);
        reasons.worst().1
    };
    assert_eq!(of("Accept", b"a\tb"), None);
    assert_eq!(of("X-Empty", b""), None);
    assert_eq!(of("", b"x"), Some(EmptyHeader));
    assert_eq!(of("X", b"a\0"), Some(BadHeader));
    assert_eq!(of("X", b"a\rb"), Some(BadHeader));
    assert_eq!(of("X", "é".as_bytes()), Some(NonCompliantHeader));
    assert_eq!(of("X", b"\x01"), Some(NonCompliantHeader));
    for name in [
        "Transfer_Encoding",
        "transferencoding",
        "Content Length",
        "content-length ",
    ] {
        assert_eq!(of(name, b"1"), Some(SuspiciousHeader), "{name}");
    }
    for name in ["Transfer-Encoding", "CONTENT-LENGTH", "Content-Length-2"] {
        assert_eq!(of(name, b"1"), None, "{name}");
    }
}

#[test]
fn the_worst_reason_gives_the_class() {
    let mut reasons = Reasons::new();
    assert_eq!(reasons.worst(), (Class::Compliant, None));
    reasons.insert(Reason::SpaceInUri);
    assert_eq!(reasons.worst(), (Class::Acceptable, Some(Reason::SpaceInUri)));
    reasons.insert(Reason::SuspiciousHeader);
    reasons.insert(Reason::BothTeClPresent);
    assert_eq!(reasons.worst(), (Class::Ambiguous, Some(Reason::BothTeClPresent)));
    reasons.insert(Reason::BadHeader);
    assert_eq!(reasons.worst(), (Class::Severe, Some(Reason::BadHeader)));
}

#[test]
fn modes() {
    use Class::*;
    let verdicts = |mode| [Compliant, Acceptable, Ambiguous, Severe].map(|class| judge(mode, class));
    use Verdict::*;
    assert_eq!(verdicts(DesyncMode::Monitor), [Route, Route, Route, Route]);
    assert_eq!(verdicts(DesyncMode::Defensive), [Route, Route, RouteAndClose, Refuse]);
    assert_eq!(verdicts(DesyncMode::Strictest), [Route, Refuse, Refuse, Refuse]);
}
