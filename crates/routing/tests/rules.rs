//! Which rule a request meets: conditions one by one, and the index against asking every rule in turn.

mod setup;

use neargate_link::gateway::{Condition, Pattern, Rule};
use neargate_routing::{Headers, Listener, RequestHead, Routes};
use proptest::prelude::*;
use setup::*;
use std::sync::Arc;

fn listener(rules: Vec<Rule>) -> Arc<Listener> {
    Routes::compile(&table(rules, Vec::new()), None).balancers()[0].listeners[0].clone()
}

fn wild(patterns: &[&str]) -> Vec<Pattern> {
    patterns.iter().map(|p| Pattern::Wildcard((*p).to_owned())).collect()
}

fn regex(pattern: &str) -> Vec<Pattern> {
    vec![Pattern::Regex(pattern.to_owned())]
}

/// True when a rule with this condition alone takes the request.
fn takes(condition: Condition, head: &RequestHead<'_>) -> bool {
    let listener = listener(vec![
        rule(Some(1), vec![condition], fixed()),
        rule(None, Vec::new(), fixed()),
    ]);
    listener.route(head).priority.is_some()
}

#[test]
fn hosts_match_in_any_case_without_their_port() {
    let none = List::default();
    let takes = |pattern: &str, host: &str| takes(Condition::Host(wild(&[pattern])), &head(host, "/", &none));
    assert!(takes("Example.com", "eXample.COM:8080"));
    assert!(takes("*.example.com", "a.b.EXAMPLE.com"));
    assert!(!takes("*.example.com", "example.com"));
    assert!(takes("?.example.com", "a.example.com"));
    assert!(!takes("?.example.com", "ab.example.com"));
    assert!(takes("*.example.*", "www.example.org"));
    let by_regex = |host: &str| {
        let listener = listener(vec![
            rule(
                Some(1),
                vec![Condition::Host(regex("^(www|api)\\.example\\.com$"))],
                fixed(),
            ),
            rule(None, Vec::new(), fixed()),
        ]);
        listener.route(&head(host, "/", &none)).priority.is_some()
    };
    assert!(by_regex("API.example.com:80") && !by_regex("x.example.com"));
}

#[test]
fn paths_match_in_their_case_as_sent_without_the_query() {
    let none = List::default();
    let takes = |pattern: &str, path: &str| takes(Condition::Path(wild(&[pattern])), &head("h", path, &none));
    assert!(takes("/img/*", "/img/a/b?c=d"));
    assert!(!takes("/img/*", "/IMG/a"));
    assert!(takes("/a%20b", "/a%20b") && !takes("/a b", "/a%20b"));
    assert!(takes("/x", "/x?y") && !takes("/x*y", "/x?y"));
    let by_regex = Condition::Path(regex("^/v[0-9]+/"));
    assert!(self::takes(by_regex, &head("h", "/v12/x", &none)));
}

#[test]
fn headers_match_by_any_of_their_values() {
    let headers = List::of(&[
        ("User-Agent", "Mozilla/5.0 Chrome/99"),
        ("X-Tier", "gold"),
        ("x-tier", "Silver"),
    ]);
    let takes = |name: &str, pattern: &str| {
        let name = name.to_owned();
        let values = wild(&[pattern]);
        takes(Condition::Header { name, values }, &head("h", "/", &headers))
    };
    assert!(takes("user-agent", "*chrome*"));
    assert!(takes("X-TIER", "silver") && takes("X-Tier", "GOLD") && !takes("X-Tier", "gold, silver"));
    assert!(!takes("X-None", "*"));
}

#[test]
fn methods_match_exactly() {
    let none = List::default();
    let head = head("h", "/", &none);
    assert!(takes(
        Condition::Method(vec!["POST".to_owned(), "GET".to_owned()]),
        &head
    ));
    assert!(!takes(Condition::Method(vec!["get".to_owned()]), &head));
}

#[test]
fn queries_match_by_key_and_value_in_any_case() {
    let none = List::default();
    let takes = |key: Option<&str>, value: &str, path: &str| {
        let pair = (key.map(str::to_owned), value.to_owned());
        takes(Condition::Query(vec![pair]), &head("h", path, &none))
    };
    assert!(takes(Some("version"), "v1", "/?a=b&VERSION=V1"));
    assert!(!takes(Some("version"), "v1", "/?version=v10"));
    assert!(takes(Some("version"), "v*", "/?version=v10"));
    assert!(takes(None, "*example*", "/?x=an-Example-here"));
    assert!(takes(None, "flag", "/?flag") && !takes(None, "flag", "/?flag=1"));
    assert!(!takes(None, "*", "/"));
}

#[test]
fn sources_match_by_peer_and_never_by_header() {
    let headers = List::of(&[("X-Forwarded-For", "10.1.2.3")]);
    let takes = |range: &str, bits: u8, source: &str| {
        let mut head = head("h", "/", &headers);
        head.source = source.parse().unwrap();
        takes(Condition::SourceIp(vec![(range.parse().unwrap(), bits)]), &head)
    };
    assert!(takes("10.0.0.0", 8, "10.255.0.1") && !takes("10.0.0.0", 8, "11.0.0.1"));
    assert!(!takes("10.1.2.3", 32, "203.0.113.9"));
    assert!(takes("0.0.0.0", 0, "203.0.113.9") && !takes("0.0.0.0", 0, "2001:db8::1"));
    assert!(takes("10.0.0.0", 8, "::ffff:10.0.0.1"));
    assert!(takes("2001:db8::", 32, "2001:db8:1::1") && takes("::", 0, "2001:db8::1"));
}

#[test]
fn all_conditions_must_hold_and_the_lowest_priority_number_wins() {
    let none = List::default();
    let host = |host: &str| Condition::Host(wild(&[host]));
    let path = |path: &str| Condition::Path(wild(&[path]));
    let listener = listener(vec![
        rule(None, Vec::new(), fixed()),
        rule(Some(30), vec![path("/a*")], fixed()),
        rule(Some(20), vec![host("x.test"), path("/a")], fixed()),
        rule(Some(10), vec![host("x.test"), path("/b")], fixed()),
    ]);
    let met = |host: &str, path: &str| {
        let head = head(host, path, &none);
        let rule = listener.route(&head);
        (rule.priority, rule.evaluations())
    };
    assert_eq!(met("x.test", "/a"), (Some(20), 2));
    assert_eq!(met("y.test", "/a"), (Some(30), 3));
    assert_eq!(met("x.test", "/b"), (Some(10), 1));
    assert_eq!(met("y.test", "/b"), (None, 3));
}

fn host_text() -> impl Strategy<Value = String> {
    "([aA*?]|b|aa)\\.([ab*]|t)"
}

fn path_text() -> impl Strategy<Value = String> {
    "/([ab?*]{0,3}|api/[ab]\\*?|\\*)"
}

fn pattern(text: impl Strategy<Value = String>) -> impl Strategy<Value = Pattern> {
    text.prop_flat_map(|text| {
        let literal: String = text.chars().filter(|c| c.is_ascii_lowercase()).collect();
        prop_oneof![
            8 => Just(Pattern::Wildcard(text)),
            1 => Just(Pattern::Regex(literal)),
            1 => Just(Pattern::Regex("(".to_owned())),
        ]
    })
}

fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![
        4 => proptest::collection::vec(pattern(host_text()), 1..4).prop_map(Condition::Host),
        4 => proptest::collection::vec(pattern(path_text()), 1..4).prop_map(Condition::Path),
        1 => Just(Condition::Method(vec!["GET".to_owned()])),
        1 => Just(Condition::Method(vec!["POST".to_owned()])),
        1 => "[ab*]{1,2}".prop_map(|value| Condition::Query(vec![(None, value)])),
        1 => "[ab*]{1,2}".prop_map(|value| Condition::Header {
            name: "X-T".to_owned(),
            values: vec![Pattern::Wildcard(value)],
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn the_index_finds_what_asking_every_rule_finds(
        rules in proptest::collection::vec(proptest::collection::vec(condition(), 1..4), 0..30),
        requests in proptest::collection::vec(("[abAB]{1,2}\\.[abt](:80)?", "/([ab]{0,3}|api/[ab]{0,2})", "[ab]{0,2}"), 1..20),
    ) {
        let mut rules: Vec<Rule> = (1..)
            .zip(rules)
            .map(|(priority, conditions)| rule(Some(priority), conditions, fixed()))
            .collect();
        rules.push(rule(None, Vec::new(), fixed()));
        let listener = listener(rules);
        for (host, path, extra) in &requests {
            let headers = List::of(&[("x-t", extra)]);
            let mut head = head(host, path, &headers);
            head.query = Some(extra.as_bytes());
            let asked = listener.rules().iter().find(|rule| rule.holds(&head)).map(|rule| &rule.arn);
            prop_assert_eq!(Some(&listener.route(&head).arn), asked);
        }
    }
}

#[test]
fn a_thousand_rules_cost_few_checks() {
    /// Counts how often a rule asked for the header.
    struct Counting(std::cell::Cell<u32>);
    impl Headers for Counting {
        fn visit(&self, _: &str, each: &mut dyn FnMut(&[u8])) {
            self.0.set(self.0.get() + 1);
            each(b"x");
        }
    }
    let header = || Condition::Header {
        name: "X-T".to_owned(),
        values: wild(&["y"]),
    };
    let mut rules: Vec<Rule> = (1..=1000)
        .map(|n| {
            let literal = match n % 3 {
                0 => Condition::Host(wild(&[&format!("*.s{n}.test")])),
                1 => Condition::Path(wild(&[&format!("/s{n}/*")])),
                _ => Condition::Path(wild(&[&format!("/s{n}")])),
            };
            rule(
                Some(n),
                vec![Condition::Host(wild(&["*.test"])), literal, header()].split_off(usize::from(n % 3 == 0)),
                fixed(),
            )
        })
        .collect();
    rules.push(rule(None, Vec::new(), fixed()));
    let listener = listener(rules);
    let counting = Counting(std::cell::Cell::new(0));
    assert_eq!(
        listener.route(&head("www.s999.test", "/s1000/x", &counting)).priority,
        None
    );
    assert_eq!(counting.0.get(), 2);
}
