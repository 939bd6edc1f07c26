use super::head::{FIELD_LIMIT, Framing, HEAD_LIMIT, Kind, LINE_LIMIT, Parser, Progress, Refusal};
use proptest::prelude::*;

fn parse(kind: Kind, bytes: &[u8]) -> Result<(Parser, Progress), Refusal> {
    let mut parser = Parser::new(kind);
    let progress = parser.feed(bytes)?;
    Ok((parser, progress))
}

fn request(text: &str) -> Result<Parser, Refusal> {
    let (parser, progress) = parse(Kind::Request, text.as_bytes())?;
    assert_eq!(progress, Progress::Done, "{text:?}");
    Ok(parser)
}

#[test]
fn a_head_is_read_and_its_length_known() {
    let text = "POST /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nX:  y z \r\n\r\nabc";
    let head = request(text).unwrap().head;
    let bytes = text.as_bytes();
    assert_eq!(head.method.of(bytes), b"POST");
    assert_eq!(head.target.of(bytes), b"/a?b=c");
    assert_eq!(head.host.unwrap().of(bytes), b"x");
    assert_eq!(head.fields[2].value.of(bytes), b"y z");
    assert_eq!(head.request_framing(), Framing::Length(3));
    assert_eq!(&bytes[head.length..], b"abc");
    assert!(head.persistent());
}

#[test]
fn what_could_smuggle_a_request_is_refused() {
    let cases = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 3\r\n",
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -3\r\n",
        "Content-Length: 0x3\r\n",
        "Content-Length: 3, 3\r\n",
        "Content-Length: 3 3\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding: chun\u{b}ked\r\n",
        " Transfer-Encoding: chunked\r\n",
        "X: a\r\n folded\r\n",
        "X: a\r\n\tfolded\r\n",
        "X: a\rb\r\n",
        "X: a\nY: b\r\n",
        "X: a\0b\r\n",
        "X\0: a\r\n",
        ": empty\r\n",
        "no colon\r\n",
        "Host: twice\r\n",
    ];
    for case in cases {
        let text = format!("POST / HTTP/1.1\r\nHost: x\r\n{case}\r\n");
        assert!(request(&text).is_err(), "{case:?}");
    }
    let lines = [
        "GET / HTTP/1.1\nHost: x\r\n\r\n",
        "GET /\r\n\r\n",
        "GET / a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: x\r\n\r\n",
        "GET /\u{1} HTTP/1.1\r\nHost: x\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ];
    for line in lines {
        assert!(request(line).is_err(), "{line:?}");
    }
    // A TLS client says what has no line, and waits for an answer.
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    assert!(parse(Kind::Request, hello).is_err());
    assert!(parse(Kind::Request, b"\r").is_ok_and(|(_, progress)| progress == Progress::More));
    assert_eq!(
        request("GET / HTTP/2.0\r\nHost: x\r\n\r\n").unwrap_err(),
        Refusal::Version
    );
}

#[test]
fn limits_hold_before_the_whole_has_come() {
    let line = format!("GET /{}", "a".repeat(LINE_LIMIT));
    assert_eq!(parse(Kind::Request, line.as_bytes()).unwrap_err(), Refusal::LineTooLong);
    let field = format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(FIELD_LIMIT));
    assert_eq!(parse(Kind::Request, field.as_bytes()).unwrap_err(), Refusal::TooLarge);
    let one = format!("X: {}\r\n", "a".repeat(1000));
    let all = format!("GET / HTTP/1.1\r\n{}", one.repeat(HEAD_LIMIT / one.len() + 1));
    assert_eq!(parse(Kind::Request, all.as_bytes()).unwrap_err(), Refusal::TooLarge);
}

#[test]
fn responses_end_as_their_framing_says() {
    let framing = |text: &str, method: &[u8]| {
        let (parser, progress) = parse(Kind::Response, text.as_bytes()).unwrap();
        assert_eq!(progress, Progress::Done);
        parser.head.response_framing(method)
    };
    assert_eq!(framing("HTTP/1.1 200 OK\r\n\r\n", b"GET"), Framing::Close);
    assert_eq!(framing("HTTP/1.1 200\r\n\r\n", b"HEAD"), Framing::None);
    assert_eq!(
        framing("HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\n", b"GET"),
        Framing::None
    );
    assert_eq!(
        framing("HTTP/1.1 304 No\r\nContent-Length: 4\r\n\r\n", b"GET"),
        Framing::None
    );
    assert_eq!(
        framing("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\n", b"GET"),
        Framing::Length(4)
    );
    for garbage in [
        "HTTP/1.1 99 X\r\n\r\n",
        "HTTP/2 200 OK\r\n\r\n",
        "HTTP/1.1 200OK\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
    ] {
        assert!(parse(Kind::Response, garbage.as_bytes()).is_err(), "{garbage:?}");
    }
}

fn line_ends() -> impl Strategy<Value = &'static str> {
    prop_oneof![8 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r")]
}

prop_compose! {
    fn some_head()(
        method in prop_oneof![Just("GET".to_owned()), Just("POST".to_owned()), "[A-Z ]{0,5}"],
        target in prop_oneof![Just("/".to_owned()), "/[ -~]{0,12}"],
        version in prop_oneof![6 => Just("HTTP/1.1"), 1 => Just("HTTP/1.0"), 1 => Just("HTTP/3")],
        fields in proptest::collection::vec(
            (prop_oneof![Just("Host".to_owned()), Just("Content-Length".to_owned()), "[ -~]{0,8}"],
             prop_oneof![Just("3".to_owned()), "[\\x01-\\xff]{0,8}"], line_ends()), 0..5),
        first in line_ends(),
        last in line_ends(),
    ) -> Vec<u8> {
        let mut out = format!("{method} {target} {version}{first}");
        for (name, value, end) in fields {
            out += &format!("{name}: {value}{end}");
        }
        (out + last).into_bytes()
    }
}

/// Both read the same; where ours is stricter, it refuses.
fn agrees(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok((parser, Progress::Done)) = parse(Kind::Request, bytes) else {
        return Ok(());
    };
    let mut fields = [httparse::EMPTY_HEADER; 4096];
    let mut theirs = httparse::Request::new(&mut fields);
    let length = theirs.parse(bytes);
    prop_assert_eq!(length, Ok(httparse::Status::Complete(parser.head.length)));
    prop_assert_eq!(theirs.method.unwrap().as_bytes(), parser.head.method.of(bytes));
    prop_assert_eq!(theirs.path.unwrap().as_bytes(), parser.head.target.of(bytes));
    prop_assert_eq!(theirs.version, Some(parser.head.minor));
    prop_assert_eq!(theirs.headers.len(), parser.head.fields.len());
    for (their, our) in theirs.headers.iter().zip(&parser.head.fields) {
        prop_assert_eq!(their.name.as_bytes(), our.name.of(bytes));
        prop_assert_eq!(their.value, our.value.of(bytes));
    }
    Ok(())
}

proptest! {
    #[test]
    fn what_is_accepted_reads_as_httparse_reads_it(bytes in some_head()) {
        agrees(&bytes)?;
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        agrees(&bytes)?;
        let _ = parse(Kind::Response, &bytes);
    }

    #[test]
    fn pieces_read_as_the_whole(bytes in some_head(), split in 1_usize..20) {
        let whole = parse(Kind::Request, &bytes).map(|(parser, progress)| (parser.head.length, progress));
        let mut parser = Parser::new(Kind::Request);
        let mut last = Ok(Progress::More);
        let mut end = 0;
        while end < bytes.len() && last == Ok(Progress::More) {
            end = (end + split).min(bytes.len());
            last = parser.feed(&bytes[..end]);
        }
        match whole {
            Ok((length, progress)) => prop_assert_eq!((parser.head.length, last), (length, Ok(progress))),
            Err(refusal) => prop_assert_eq!(last, Err(refusal)),
        }
    }
}
