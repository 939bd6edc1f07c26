//! Redirects and transforms.

mod setup;

use neargate_link::gateway::{Action as Asked, Transform};
use neargate_routing::{Action, Rewrite, Routes};
use proptest::prelude::*;
use setup::*;

fn location(parts: [&str; 5], host: &str, path: &str) -> String {
    let [protocol, to, port, new_path, query] = parts.map(str::to_owned);
    let redirect = Asked::Redirect {
        protocol,
        host: to,
        port,
        path: new_path,
        query,
        status: 301,
    };
    let routes = Routes::compile(&table(vec![rule(None, Vec::new(), redirect)], Vec::new()), None);
    let none = List::default();
    let head = head(host, path, &none);
    let Action::Redirect(redirect) = &routes.balancers()[0].listeners[0].route(&head).action else {
        panic!("a redirect");
    };
    assert_eq!(redirect.status(), 301);
    let mut out = Vec::new();
    redirect.location(&head, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn redirects_keep_what_they_do_not_change() {
    let keep = ["#{protocol}", "#{host}", "#{port}", "/#{path}", "#{query}"];
    let with = |place: usize, text: &'static str| {
        let mut parts = keep;
        parts[place] = text;
        parts
    };
    assert_eq!(location(keep, "a.test:8080", "/x/y?z=1"), "http://a.test:80/x/y?z=1");
    let https = ["HTTPS", "#{host}", "443", "/#{path}", "#{query}"];
    assert_eq!(location(https, "a.test", "/"), "https://a.test:443/");
    assert_eq!(
        location(https, "a.test", "/%41%2f?%20"),
        "https://a.test:443/%41%2f?%20"
    );
    assert_eq!(location(with(1, "www.#{host}"), "a.test", "/"), "http://www.a.test:80/");
    assert_eq!(
        location(with(3, "/new/#{path}/#{host}"), "a.test", "/x"),
        "http://a.test:80/new/x/a.test"
    );
    assert_eq!(location(with(3, "#{path}"), "a.test", "/x"), "http://a.test:80/x");
    assert_eq!(
        location(with(4, "#{query}&from=#{port}"), "a.test", "/?q"),
        "http://a.test:80/?q&from=80"
    );
    assert_eq!(location(with(4, ""), "a.test", "/?q"), "http://a.test:80/");
    assert_eq!(
        location(with(3, "/#{nothing}"), "a.test", "/"),
        "http://a.test:80/#{nothing}"
    );
}

fn rewritten(transform: Transform, text: &str) -> (Rewrite, String) {
    let of_host = matches!(transform, Transform::HostHeader { .. });
    let mut one = rule(None, Vec::new(), fixed());
    one.transforms = vec![transform];
    let routes = Routes::compile(&table(vec![one], Vec::new()), None);
    let transforms = &routes.balancers()[0].listeners[0].default_rule().transforms;
    assert!(!transforms.is_empty());
    let mut out = Vec::new();
    let done = if of_host {
        transforms.host(text.as_bytes(), &mut out)
    } else {
        transforms.url(text.as_bytes(), &mut out)
    };
    (done, String::from_utf8_lossy(&out).into_owned())
}

fn url(regex: &str, replace: &str, text: &str) -> (Rewrite, String) {
    let (regex, replace) = (regex.to_owned(), replace.to_owned());
    rewritten(Transform::Url { regex, replace }, text)
}

fn host(regex: &str, replace: &str, text: &str) -> (Rewrite, String) {
    let (regex, replace) = (regex.to_owned(), replace.to_owned());
    rewritten(Transform::HostHeader { regex, replace }, text)
}

#[test]
fn the_first_match_is_replaced() {
    let done = |text: &str| (Rewrite::Rewritten, text.to_owned());
    assert_eq!(url("^/api/(.*)$", "/$1", "/api/v1/x?y=z"), done("/v1/x?y=z"));
    assert_eq!(url("a", "b", "/aaa"), done("/baa"));
    assert_eq!(url("/(a)(b)?", "/$2$1$", "/a"), done("/a$"));
    assert_eq!(url("/(.)", "/$1x", "/ab"), done("/axb"));
    assert_eq!(
        host("(.+)\\.example\\.com", "$1.internal", "API.example.com"),
        done("API.internal")
    );
}

#[test]
fn what_does_not_match_stays_and_what_would_be_broken_is_refused() {
    assert_eq!(url("^/api", "/x", "/other").0, Rewrite::Unchanged);
    assert_eq!(url("(", "/x", "/(").0, Rewrite::Unchanged);
    assert_eq!(url("^/api/?", "", "/api/x").0, Rewrite::Invalid);
    assert_eq!(url(".*", "/%$0", "/a b").0, Rewrite::Invalid);
    assert_eq!(host(".*", "a/b", "a.test").0, Rewrite::Invalid);
    assert_eq!(host(".+", "$1", "a.test").0, Rewrite::Invalid);
}

proptest! {
    /// Nothing that a rewrite makes ends a request line or a header.
    #[test]
    fn a_rewrite_never_splits_a_request(text in proptest::collection::vec(any::<u8>(), 1..60)) {
        let text = String::from_utf8_lossy(&text).into_owned();
        for (done, out) in [url("(?s)^.(.*)$", "/$1", &text), host("(?s)^(.*)$", "$1", &text)] {
            if done == Rewrite::Rewritten {
                prop_assert!(!out.bytes().any(|b| b <= b' ' || b == 0x7f), "{out:?}");
            }
        }
    }
}
