//! Known answers from AWS's published vectors, and every way a signature can be wrong.

use super::*;
use crate::request::Request;
use crate::schema::Protocol;
use neargate_core::Timestamp;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

type Headers<'a> = &'a [(&'a str, &'a [u8])];

fn at(text: &str) -> Timestamp {
    Timestamp::parse_iso8601(text).unwrap()
}

fn vector_time() -> Timestamp {
    at("2015-08-30T12:36:00Z")
}

fn request<'a>(method: &'a str, target: &'a str, headers: Headers<'a>, body: &'a str) -> Request<'a> {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Request {
        method,
        path,
        query,
        headers,
        body: body.as_bytes(),
    }
}

/// The signature of AWS's test suite for a request with `host` and `x-amz-date` besides `headers`.
fn suite(method: &str, target: &str, more: Headers<'_>, body: &str) -> String {
    let mut headers: Vec<(&str, &[u8])> = vec![("host", b"example.amazonaws.com")];
    headers.extend(more);
    let signer = Signer {
        access_key: "AKIDEXAMPLE",
        secret: SECRET,
        region: "us-east-1",
        service: "service",
        now: vector_time(),
    };
    let [_, (_, authorization)] = sign(&request(method, target, &headers, body), &signer);
    authorization.rsplit_once("Signature=").unwrap().1.to_owned()
}

#[test]
fn the_published_suite_is_met() {
    let form: Headers<'_> = &[("content-type", b"application/x-www-form-urlencoded")];
    let cases: &[(&str, &str, Headers<'_>, &str, &str)] = &[
        (
            "GET",
            "/",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "//",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/./",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/example/..",
            &[],
            "",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            &[],
            "",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/?Param1=value1",
            &[],
            "",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "GET",
            "/\u{1234}",
            &[],
            "",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "GET",
            "/example space/",
            &[],
            "",
            "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
        ),
        (
            "GET",
            "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            &[],
            "",
            "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f",
        ),
        (
            "GET",
            "/",
            &[
                ("my-header1", b"value2"),
                ("my-header1", b"value2"),
                ("my-header1", b"value1"),
            ],
            "",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            "GET",
            "/",
            &[("my-header1", b" value1"), ("my-header2", b" \"a   b   c\"")],
            "",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            "/",
            &[],
            "",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "POST",
            "/",
            &[("my-header1", b"value1")],
            "",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            "POST",
            "/",
            &[("my-header1", b"VALUE1")],
            "",
            "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d",
        ),
        (
            "POST",
            "/",
            form,
            "Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    let wrong: Vec<String> = cases
        .iter()
        .filter(|(method, target, headers, body, expected)| suite(method, target, headers, body) != *expected)
        .map(|(method, target, ..)| format!("{method} {target}"))
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn the_guides_worked_example_is_met() {
    let scope = Scope {
        date: "20150830".into(),
        region: "us-east-1".into(),
        service: "iam".into(),
    };
    let key = SigningKey::derive(SECRET, &scope);
    assert_eq!(
        key.hex(),
        "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"
    );
    let headers: Headers<'_> = &[
        ("content-type", b"application/x-www-form-urlencoded; charset=utf-8"),
        ("host", b"iam.amazonaws.com"),
        ("x-amz-date", b"20150830T123600Z"),
        (
            "authorization",
            b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
              SignedHeaders=content-type;host;x-amz-date, \
              Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        ),
    ];
    let request = request("GET", "/?Action=ListUsers&Version=2010-05-08", headers, "");
    let claim = Claim::read(&request).unwrap();
    assert_eq!(claim.access_key, "AKIDEXAMPLE");
    claim.verify(&request, "iam", vector_time(), &key).unwrap();
}

/// S3's published presigned URL: GET test.txt of examplebucket.
const PRESIGNED: &str = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2F\
                         us-east-1%2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=\
                         host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
const S3_SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const S3_HOST: Headers<'static> = &[("host", b"examplebucket.s3.amazonaws.com")];

fn presigned(target: &str, now: &str) -> Result<(), Fault> {
    let request = request("GET", target, S3_HOST, "");
    let claim = Claim::read(&request)?;
    claim.verify(&request, "s3", at(now), &SigningKey::derive(S3_SECRET, &claim.scope))
}

#[test]
fn presigned_urls_live_as_long_as_they_say() {
    presigned(PRESIGNED, "2013-05-24T00:00:00Z").unwrap();
    presigned(PRESIGNED, "2013-05-24T23:59:59Z").unwrap();
    presigned(PRESIGNED, "2013-05-23T23:56:00Z").unwrap();
    let expired =
        "Signature expired: 20130524T000000Z is now earlier than 20130524T000001Z (20130525T000001Z - 1440 min.)";
    assert_eq!(
        presigned(PRESIGNED, "2013-05-25T00:00:01Z"),
        Err(Fault::Expired(expired.to_owned()))
    );
    assert!(matches!(
        presigned(PRESIGNED, "2013-05-23T23:54:00Z"),
        Err(Fault::Skewed(_))
    ));
    assert!(matches!(
        presigned(
            &PRESIGNED.replace("Expires=86400", "Expires=86401"),
            "2013-05-24T00:00:00Z"
        ),
        Err(Fault::Mismatch { .. })
    ));
}

#[test]
fn presigned_urls_need_every_parameter_in_bounds() {
    for (from, to, word) in [
        ("X-Amz-Expires=86400", "X-Amz-Expires=0", "X-Amz-Expires"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=604801", "X-Amz-Expires"),
        ("X-Amz-Expires=86400", "X-Amz-Expires=-5", "X-Amz-Expires"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "", "X-Amz-Algorithm"),
        ("X-Amz-Date=20130524T000000Z&", "", "X-Amz-Date"),
        ("X-Amz-SignedHeaders=host&", "", "X-Amz-SignedHeaders"),
        ("&X-Amz-Signature=", "&Signature=", "X-Amz-Signature"),
        ("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256", "algorithm"),
        ("%2Faws4_request", "", "Credential"),
        ("20130524T000000Z", "yesterday", "ISO-8601"),
    ] {
        match presigned(&PRESIGNED.replacen(from, to, 1), "2013-05-24T00:00:00Z") {
            Err(Fault::Incomplete(text)) => assert!(text.contains(word), "{to}: {text}"),
            other => panic!("{to}: {other:?}"),
        }
    }
}

/// A signed ECS call, as its headers, whose parts a test may bend before it is verified.
struct Signed {
    headers: Vec<(String, Vec<u8>)>,
    body: String,
    secret: &'static str,
    now: Timestamp,
}

impl Signed {
    fn new() -> Signed {
        Signed::with(&[])
    }

    fn with(more: Headers<'_>) -> Signed {
        let body = "{}";
        let mut headers: Vec<(&str, &[u8])> = vec![
            ("host", b"127.0.0.1:4566"),
            ("x-amz-target", b"AmazonEC2ContainerServiceV20141113.ListClusters"),
        ];
        headers.extend(more);
        let now = at("2026-11-21T08:40:00Z");
        let signer = Signer {
            access_key: "AKIA1",
            secret: SECRET,
            region: "mars-north-1",
            service: "ecs",
            now,
        };
        let [date, authorization] = sign(&request("POST", "/", &headers, body), &signer);
        let mut all: Vec<(String, Vec<u8>)> = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
            .collect();
        for (name, value) in [date, authorization] {
            all.push((name.to_owned(), value.into_bytes()));
        }
        Signed {
            headers: all,
            body: body.to_owned(),
            secret: SECRET,
            now,
        }
    }

    fn set(&mut self, name: &str, change: impl Fn(&str) -> String) -> &mut Signed {
        for (n, value) in &mut self.headers {
            if n == name {
                *value = change(std::str::from_utf8(value).unwrap()).into_bytes();
            }
        }
        self
    }

    fn verify(&self) -> Result<(), Fault> {
        let headers: Vec<(&str, &[u8])> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_slice())).collect();
        let request = request("POST", "/", &headers, &self.body);
        let claim = Claim::read(&request)?;
        claim.verify(
            &request,
            "ecs",
            self.now,
            &SigningKey::derive(self.secret, &claim.scope),
        )
    }
}

#[test]
fn a_good_signature_holds_for_five_minutes_either_way() {
    Signed::new().verify().unwrap();
    for seconds in [-300, -299, 299, 300] {
        let mut signed = Signed::new();
        signed.now = Timestamp(signed.now.0 + seconds * 1000);
        signed.verify().unwrap();
    }
    let mut late = Signed::new();
    late.now = at("2026-11-21T08:45:01Z");
    let expected =
        "Signature expired: 20261121T084000Z is now earlier than 20261121T084001Z (20261121T084501Z - 5 min.)";
    assert_eq!(late.verify(), Err(Fault::Skewed(expected.to_owned())));
    let mut early = Signed::new();
    early.now = at("2026-11-21T08:34:59Z");
    let expected =
        "Signature not yet current: 20261121T084000Z is still later than 20261121T083959Z (20261121T083459Z + 5 min.)";
    assert_eq!(early.verify(), Err(Fault::Skewed(expected.to_owned())));
}

#[test]
fn whatever_is_changed_after_signing_is_noticed() {
    let mismatch = |signed: &Signed| assert!(matches!(signed.verify(), Err(Fault::Mismatch { .. })));
    let mut body = Signed::new();
    body.body = "{\"a\":1}".to_owned();
    mismatch(&body);
    mismatch(Signed::new().set("x-amz-target", |v| v.replace("List", "Delete")));
    mismatch(Signed::new().set("host", |_| "evil.example".to_owned()));
    mismatch(Signed::new().set("authorization", |v| v.replace("mars-north-1", "mars-north-2")));
    mismatch(Signed::new().set("authorization", |v| format!("{v}0")));
    mismatch(Signed::new().set("authorization", |v| v[..v.len() - 64].to_owned()));
    mismatch(
        Signed::new()
            .set("authorization", str::to_ascii_uppercase)
            .set("authorization", |v| {
                v.replace("CREDENTIAL", "Credential")
                    .replace("SIGNEDHEADERS", "SignedHeaders")
                    .replace("SIGNATURE", "Signature")
                    .replace("ECS/AWS4_REQUEST", "ecs/aws4_request")
                    .replace("MARS-NORTH-1", "mars-north-1")
            }),
    );
    let mut secret = Signed::new();
    secret.secret = "another";
    mismatch(&secret);
    let mut header = Signed::new();
    header.headers.retain(|(name, _)| name != "x-amz-target");
    mismatch(&header);
}

#[test]
fn scope_and_signed_headers_must_fit() {
    let unfit = |signed: &Signed, word: &str| match signed.verify() {
        Err(Fault::Unfit(text)) => assert!(text.contains(word), "{text}"),
        other => panic!("{word}: {other:?}"),
    };
    unfit(
        Signed::new().set("authorization", |v| v.replace("/ecs/", "/logs/")),
        "correct service: 'ecs'",
    );
    unfit(
        Signed::new().set("authorization", |v| v.replace("AKIA1/20261121", "AKIA1/20261120")),
        "Date in Credential scope",
    );
    unfit(
        Signed::new().set("authorization", |v| v.replace("/aws4_request", "/aws5_request")),
        "valid terminator",
    );
    unfit(
        Signed::new().set("authorization", |v| v.replace("/mars-north-1/", "/a b/")),
        "valid region",
    );
    unfit(Signed::new().set("authorization", |v| v.replace("host;", "")), "'Host'");
    unfit(
        Signed::new().set("authorization", |v| v.replace(";x-amz-target", "")),
        "x-amz-target",
    );
    let mut added = Signed::new();
    added.headers.push(("x-amz-security-token".into(), b"t".to_vec()));
    unfit(&added, "x-amz-security-token");
}

#[test]
fn the_payload_hash_header_must_be_the_bodys() {
    let hash = sha256_hex(b"{}");
    Signed::with(&[("x-amz-content-sha256", hash.as_bytes())])
        .verify()
        .unwrap();
    for wrong in [
        "UNSIGNED-PAYLOAD",
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "",
        &sha256_hex(b"[]"),
    ] {
        let signed = Signed::with(&[("x-amz-content-sha256", wrong.as_bytes())]);
        assert!(matches!(signed.verify(), Err(Fault::Unfit(_))), "{wrong}");
    }
}

#[test]
fn what_cannot_be_read_is_incomplete() {
    let incomplete = |signed: &Signed, words: &[&str]| match signed.verify() {
        Err(Fault::Incomplete(text)) => {
            for word in words {
                assert!(text.contains(word), "{text}");
            }
            assert!(!text.contains("Signature="), "the header is not repeated: {text}");
        }
        other => panic!("{words:?}: {other:?}"),
    };
    for junk in ["Bearer abc", "AWS AKIA:xyz", "", "AWS4-HMAC-SHA256", "\u{1F600}"] {
        let words = [
            "requires 'Credential'",
            "requires 'Signature'",
            "requires 'SignedHeaders'",
        ];
        incomplete(Signed::new().set("authorization", |_| junk.to_owned()), &words);
    }
    incomplete(
        Signed::new().set("authorization", |v| v.replace("Signature=", "Sig=")),
        &["requires 'Signature'"],
    );
    incomplete(
        Signed::new().set("authorization", |v| v.replace("Credential=", "Credential ")),
        &["missing equal-sign"],
    );
    incomplete(
        Signed::new().set("authorization", |v| v.replace("/ecs/", "/")),
        &["exactly 5 slash-delimited"],
    );
    incomplete(
        Signed::new().set("authorization", |v| v.replace("HMAC", "ECDSA-P256")),
        &["Unsupported AWS 'algorithm'"],
    );
    incomplete(
        Signed::new().set("x-amz-date", |_| "2026-11-21".to_owned()),
        &["ISO-8601"],
    );
    let mut dateless = Signed::new();
    dateless.headers.retain(|(name, _)| name != "x-amz-date");
    incomplete(&dateless, &["'X-Amz-Date' or a 'Date' header"]);
    let mut unsigned = Signed::new();
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(unsigned.verify(), Err(Fault::Unsigned));
}

#[test]
fn an_http_date_serves_in_place_of_x_amz_date() {
    let headers: Headers<'_> = &[
        ("date", b"Sun, 30 Aug 2015 12:36:00 GMT"),
        ("host", b"h"),
        ("authorization", b""),
    ];
    let scope = Scope {
        date: "20150830".into(),
        region: "us-east-1".into(),
        service: "ecs".into(),
    };
    let key = SigningKey::derive(SECRET, &scope);
    let plain = request("GET", "/", headers, "");
    let canonical =
        canonical::canonical_request(&plain, &["date", "host"], PathEncoding::Twice, None, &sha256_hex(b""));
    let signature = key.signature(&canonical::string_to_sign(
        "20150830T123600Z",
        &scope.text(),
        &canonical,
    ));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=A/{},SignedHeaders=date;host,Signature={signature}",
        scope.text()
    );
    let signed: Headers<'_> = &[headers[0], headers[1], ("authorization", authorization.as_bytes())];
    let request = request("GET", "/", signed, "");
    Claim::read(&request)
        .unwrap()
        .verify(&request, "ecs", vector_time(), &key)
        .unwrap();
}

#[test]
fn each_protocol_has_its_own_codes() {
    let mismatch = Fault::Mismatch {
        canonical: "C".into(),
        string_to_sign: "S".into(),
    };
    let code = |fault: &Fault, protocol| {
        let error = fault.error(protocol);
        (error.code.into_owned(), error.status)
    };
    let expect = |fault: &Fault, json: &str, query: (&str, u16), ec2: (&str, u16)| {
        assert_eq!(code(fault, Protocol::AwsJson11), (json.to_owned(), 400));
        assert_eq!(code(fault, Protocol::Query), (query.0.to_owned(), query.1));
        assert_eq!(code(fault, Protocol::Ec2Query), (ec2.0.to_owned(), ec2.1));
    };
    expect(
        &Fault::Unsigned,
        "MissingAuthenticationTokenException",
        ("MissingAuthenticationToken", 403),
        ("MissingAuthenticationToken", 403),
    );
    expect(
        &Fault::Incomplete(String::new()),
        "IncompleteSignatureException",
        ("IncompleteSignature", 403),
        ("IncompleteSignature", 403),
    );
    expect(
        &Fault::UnknownKey,
        "UnrecognizedClientException",
        ("InvalidClientTokenId", 403),
        ("AuthFailure", 401),
    );
    expect(
        &mismatch,
        "InvalidSignatureException",
        ("SignatureDoesNotMatch", 403),
        ("AuthFailure", 401),
    );
    expect(
        &Fault::Expired(String::new()),
        "InvalidSignatureException",
        ("SignatureDoesNotMatch", 403),
        ("RequestExpired", 400),
    );
    assert_eq!(
        Fault::UnknownKey.error(Protocol::AwsJson11).message,
        "The security token included in the request is invalid."
    );
    let text = mismatch.error(Protocol::AwsJson11).message;
    assert!(
        text.contains("should have been\n'C'\n\nThe String-to-Sign should have been\n'S'"),
        "{text}"
    );
}
