//! The examples of the AWS documentation, as a table; and whatever text there is, parsing does not panic.

use super::*;
use proptest::prelude::*;

const JSON: &str = r#"{
  "eventType": "UpdateTrail", "sourceIPAddress": "111.111.111.111",
  "arrayKey": ["value", "another value"],
  "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
  "SomeObject": null, "ThisFlag": true, "cluster.name": "c",
  "latency": 501.5, "errorCode": 400, "status": "404", "users": [1, 2, 3]
}"#;

const COMPOUND: &str = r#"{
  "user": {"id": 1, "email": "John.Stiles@example.com"},
  "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
  "actions": ["GET", "PUT", "DELETE"],
  "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
}"#;

const ACCESS: &str = "127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] \"GET /index.html HTTP/1.0\" 404 1534";

/// Pattern, message, whether it matches.
const TABLE: &[(&str, &str, bool)] = &[
    ("", "anything", true),
    ("ERROR", "[ERROR] A fatal exception has occurred", true),
    ("ERROR", "Exiting with ERRORCODE: -1", true),
    ("ERROR", "error", false),
    ("ERROR -Exiting", "Exiting with ERRORCODE: -1", false),
    ("\"ERROR\" - \"Exiting\"", "Exiting with ERRORCODE: -1", false),
    ("ERROR Exception", "[ERROR] Caught IllegalArgumentException", true),
    (
        "Failed to process the request",
        "[ERROR] Unable to continue: Failed to process the request",
        true,
    ),
    ("?ERROR ?WARN", "WARN message", true),
    ("?ERROR ?WARN", "INFO message", false),
    ("?ERROR ?WARN REQUEST", "REQUEST done", true),
    ("ERROR WARN", "ERROR message", false),
    ("ERROR -WARN", "ERROR message", true),
    ("\"INTERNAL SERVER ERROR\"", "[ERROR 500] INTERNAL SERVER ERROR", true),
    ("\"INTERNAL SERVER ERROR\"", "INTERNAL ERROR SERVER", false),
    ("\"say \\\"hi\\\"\"", "they say \"hi\"", true),
    ("%ERROR|WARN%", "some WARN here", true),
    ("%^ERROR%", "an ERROR", false),
    (r"%10\.10\.0\.\d{1,3}%", "from 10.10.0.35", true),
    ("%colou?r%", "color", true),
    ("{ $.eventType = \"UpdateTrail\" }", JSON, true),
    ("{ $.eventType = UpdateTrail }", JSON, true),
    ("{ $.eventType = \"Update*\" }", JSON, true),
    ("{ $.eventType = \"*Trail\" }", JSON, true),
    ("{ $.eventType = \"*te*\" }", JSON, true),
    ("{ $.eventType = \"Up*il\" }", JSON, false),
    ("{ $.eventType = \"*\" }", JSON, true),
    ("{ $.eventType = * }", JSON, true),
    ("{ $.missing = * }", JSON, false),
    ("{ $.eventType = %Tr[a-z]+% }", JSON, true),
    ("{ $.sourceIPAddress != 123.123.* }", JSON, true),
    ("{ $.sourceIPAddress = 111.111.* }", JSON, true),
    ("{ $.arrayKey[0] = \"value\" }", JSON, true),
    ("{ $.eventType[0] = \"value\" }", JSON, false),
    ("{ $.objectList[1].id = 2 }", JSON, true),
    ("{ $.objectList[1].id = 1 }", JSON, false),
    ("{ $.objectList[*].id = 2 }", JSON, true),
    ("{ $.objectList[*].id > 2 }", JSON, false),
    ("{ $.SomeObject IS NULL }", JSON, true),
    ("{ $.SomeOtherObject IS NULL }", JSON, false),
    ("{ $.SomeOtherObject NOT EXISTS }", JSON, true),
    ("{ $.SomeObject NOT EXISTS }", JSON, false),
    ("{ $.ThisFlag IS TRUE }", JSON, true),
    ("{ $.ThisFlag IS FALSE }", JSON, false),
    ("{ $.['cluster.name'] = \"c\" }", JSON, true),
    ("{ $['cluster.name'] = \"c\" }", JSON, true),
    ("{ $.latency >= 500 }", JSON, true),
    ("{ $.latency < 10e3 }", JSON, true),
    ("{ $.latency < 10e-3 }", JSON, false),
    ("{ $.latency > +1000 }", JSON, false),
    ("{ $.errorCode = 400 }", JSON, true),
    ("{ $.errorCode != 500 }", JSON, true),
    ("{ $.errorCode = 4* }", JSON, true),
    ("{ $.status = 404 }", JSON, true),
    ("{ $.users = 1 }", JSON, false),
    ("{ $.users != 1 }", JSON, false),
    ("{ $.missing != 1 }", JSON, false),
    ("{ $.eventType = \"UpdateTrail\" }", "no json", false),
    ("{ $.a = 1 }", "{\"a\": 1", false),
    (
        "{ ($.user.id = 1) && ($.users[0].email = \"John.Doe@example.com\") }",
        COMPOUND,
        true,
    ),
    (
        "{ ($.user.id = 2 && $.users[0].email = \"nonmatch\") || $.actions[2] = \"GET\" }",
        COMPOUND,
        false,
    ),
    (
        "{ $.user.email = \"John.Stiles@example.com\" || $.coordinates[0][1] = nonmatch && $.actions[2] = nonmatch }",
        COMPOUND,
        true,
    ),
    (
        "{ ($.user.email = \"John.Stiles@example.com\" || $.coordinates[0][1] = nonmatch) && $.actions[2] = nonmatch }",
        COMPOUND,
        false,
    ),
    ("{$.foo = bar}", "{\"foo\": \"bar\"}", true),
    ("{$.foo=baz||$.foo=bar}", "{\"foo\": \"bar\"}", true),
    ("[w1=ERROR, w2]", "ERROR message", true),
    ("[w1=ERROR, w2]", "ERROR WARN message", false),
    ("[w1=ERROR || w1=WARN, w2]", "WARN message", true),
    ("[w1=!ERROR&&w1=!WARN, w2]", "INFO message", true),
    ("[w1=!ERROR&&w1=!WARN, w2]", "WARN message", false),
    ("[w1!=%ERROR|WARN%, w2]", "WARN message", false),
    (
        "[ip, user, username, timestamp, request, status_code, bytes]",
        ACCESS,
        true,
    ),
    ("[ip, user, username, timestamp, request, status_code]", ACCESS, false),
    (
        "[ip, user, username, timestamp, request, status_code = 404, bytes > 1000]",
        ACCESS,
        true,
    ),
    (
        "[ip, user, username, timestamp, request, status_code = 200, bytes]",
        ACCESS,
        false,
    ),
    (
        "[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]",
        ACCESS,
        true,
    ),
    (
        "[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]",
        ACCESS,
        true,
    ),
    (
        "[ip, user, username, timestamp, request, status_code = 410 || (status_code = 404), bytes]",
        ACCESS,
        true,
    ),
    ("[..., request=*.html*, status_code=4*,]", ACCESS, true),
    ("[..., status_code, bytes > 2000]", ACCESS, false),
    ("[ip, user, ..., status_code, bytes]", ACCESS, true),
    ("[ip=127.0.0.1, ...]", ACCESS, true),
    (
        "[..., timestamp=\"10/Oct*\", request, status_code, bytes]",
        ACCESS,
        true,
    ),
    ("[...]", "", true),
    ("[a, b, ..., c]", "x y", false),
];

#[test]
fn the_documented_examples_match_as_documented() {
    for (pattern, message, expected) in TABLE {
        let parsed = Pattern::parse(pattern).unwrap_or_else(|fault| panic!("{pattern}: {fault}"));
        assert_eq!(parsed.matches(message), *expected, "{pattern} on {message}");
    }
}

#[test]
fn what_is_no_pattern_is_refused() {
    let refused = [
        "foo-bar",
        "\"open",
        "%open",
        "%%",
        "%something!%",
        "%(a)%",
        "%ä%",
        "%a{1,999999}%",
        "ERROR -",
        "{",
        "{}",
        "{ $.n > }",
        "{ $.n }",
        "{ $.n > \"x\" }",
        "{ n = 1 }",
        "{ $ = 1 }",
        "{ $. = 1 }",
        "{ $.a[x] = 1 }",
        "{ ($.a = 1 }",
        "{ $.a = 1 } }",
        "{ $.a IS MAYBE }",
        "{ $.a NOT THERE }",
        "{ $.a[*].b[*] = 1 }",
        "{ $.a = %1% && $.b = %2% && $.c = %3% }",
        "{ $.a[*] = 1 || $.b[*] = 1 || $.c[*] = 1 || $.d[*] = 1 }",
        "[",
        "[a",
        "[a b]",
        "[..., a, ...]",
        "[a = 1 && b = 2]",
        "[a] b",
    ];
    for text in refused {
        assert!(Pattern::parse(text).is_err(), "{text}");
    }
    assert!(Pattern::parse(&format!("{{ {}$.a = 1", "(".repeat(900))).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}", message in "\\PC{0,60}") {
        if let Ok(pattern) = Pattern::parse(&text) {
            pattern.matches(&message);
        }
    }

    #[test]
    fn no_text_like_a_pattern_makes_it_panic(
        parts in proptest::collection::vec(
            proptest::sample::select(vec![
                "{", "}", "[", "]", "(", ")", "$", ".", "a", "*", "'", "\"", "%", "\\", "=", "!", "<", ">", "&&",
                "||", " ", ",", "...", "1", "IS", "NOT", "NULL", "EXISTS", "-", "?", "é", "[0]", "$.a", "= 1",
            ]),
            0..24,
        ),
        message in proptest::sample::select(vec!["", "a", "[", "\"", "{\"a\": 1}", "[é] \"a b", "{\"a\": [1, {}]}"]),
    ) {
        if let Ok(pattern) = Pattern::parse(&parts.concat()) {
            pattern.matches(message);
        }
    }
}
