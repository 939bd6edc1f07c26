//! Which target a request or a flow gets.

mod setup;

use neargate_link::gateway::{Action as Asked, GatewayTable, TargetGroup, TargetState};
use neargate_routing::{Action, Ask, Choice, CookieKey, Cookies, Finding, Flow, Forward, Headers, Routes};
use proptest::prelude::*;
use setup::*;
use std::collections::BTreeMap;
use std::time::Duration;

/// A generator for the tests' random numbers: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

fn key() -> CookieKey {
    CookieKey::new(&[1; 32])
}

fn forward_of(routes: &Routes) -> &Forward {
    match &routes.balancers()[0].listeners[0].default_rule().action {
        Action::Forward(forward) => forward,
        other => panic!("{other:?}"),
    }
}

fn tables(action: Asked, groups: Vec<TargetGroup>) -> GatewayTable {
    table(vec![rule(None, Vec::new(), action)], groups)
}

fn one_group(attributes: &[(&str, &str)], targets: &[&str]) -> GatewayTable {
    let targets = targets.iter().map(|id| target(id, 0)).collect();
    tables(forward(&[("g", 1)], None), vec![group("g", attributes, targets)])
}

fn ask<'a>(random: u64, headers: &'a dyn Headers, cookies: &'a CookieKey) -> Ask<'a> {
    Ask {
        now: NOW,
        random,
        headers,
        cookies,
        zone: None,
        cross_zone: true,
    }
}

/// A choice outlives the head that it was made for: the caller may reuse the buffer meanwhile.
fn choose_for<'r>(routes: &'r Routes, random: u64) -> Choice<'r> {
    let (key, none) = (key(), List::default());
    forward_of(routes).choose(&ask(random, &none, &key)).unwrap()
}

fn find(routes: &Routes, id: &str, finding: Finding, at: Duration) {
    let group = routes.group("g").unwrap();
    let target = group.target(id, 80).unwrap();
    group.observe(target, finding, NOW.plus(at));
}

fn all_healthy(routes: &Routes) {
    for group in routes.groups() {
        for target in group.targets() {
            group.observe(target, Finding::Http(200), NOW);
        }
    }
}

/// How often each target was chosen.
fn counts(routes: &Routes, times: u32, now: neargate_core::Timestamp) -> BTreeMap<String, u32> {
    let (key, none, mut random) = (key(), List::default(), Random(1));
    let mut counts = BTreeMap::new();
    for _ in 0..times {
        let asked = Ask {
            now,
            ..ask(random.next(), &none, &key)
        };
        let choice = forward_of(routes).choose(&asked).unwrap();
        *counts.entry(choice.target.spec.id.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn round_robin_takes_turns_and_weighted_random_comes_close() {
    let targets = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
    let routes = Routes::compile(&one_group(&[], &targets), None);
    all_healthy(&routes);
    assert!(counts(&routes, 300, NOW).values().all(|count| *count == 100));
    let random = [("load_balancing.algorithm.type", "weighted_random")];
    let routes = Routes::compile(&one_group(&random, &targets), None);
    all_healthy(&routes);
    let counts = counts(&routes, 3000, NOW);
    assert!(
        counts.len() == 3 && counts.values().all(|count| (880..1120).contains(count)),
        "{counts:?}"
    );
}

#[test]
fn only_healthy_targets_unless_none_is() {
    let routes = Routes::compile(&one_group(&[], &["10.0.0.1", "10.0.0.2"]), None);
    let open = || choose_for(&routes, 0).fail_open;
    assert!(open());
    find(&routes, "10.0.0.1", Finding::Http(200), Duration::ZERO);
    assert!(!open());
    assert_eq!(counts(&routes, 10, NOW), BTreeMap::from([("10.0.0.1".to_owned(), 10)]));
    find(&routes, "10.0.0.1", Finding::Timeout, Duration::from_secs(10));
    find(&routes, "10.0.0.1", Finding::Timeout, Duration::from_secs(20));
    assert!(open());
    assert_eq!(counts(&routes, 10, NOW).len(), 2);
}

#[test]
fn an_empty_group_and_weights_of_zero_give_no_target() {
    let (key, none) = (key(), List::default());
    let routes = Routes::compile(&one_group(&[], &[]), None);
    let refused = forward_of(&routes).choose(&ask(0, &none, &key)).unwrap_err();
    assert_eq!(refused.group.map(|group| &*group.arn), Some("g"));
    let groups = vec![group("g", &[], vec![target("10.0.0.1", 0)])];
    let routes = Routes::compile(&tables(forward(&[("g", 0)], None), groups), None);
    assert!(
        forward_of(&routes)
            .choose(&ask(u64::MAX, &none, &key))
            .unwrap_err()
            .group
            .is_none()
    );
}

#[test]
fn draining_targets_get_nothing_new_and_are_drained_when_nothing_is_left() {
    let mut table = one_group(&[], &["10.0.0.1", "10.0.0.2"]);
    let before = Routes::compile(&table, None);
    all_healthy(&before);
    let running = loop {
        let choice = choose_for(&before, 0);
        if choice.target.spec.id == "10.0.0.1" {
            break choice.target;
        }
    };
    table.target_groups.get_mut("g").unwrap().targets[0].draining_until = Some(NOW.plus(Duration::from_secs(300)));
    let after = Routes::compile(&table, Some(&before));
    assert_eq!(counts(&after, 10, NOW), BTreeMap::from([("10.0.0.2".to_owned(), 10)]));
    let group = after.group("g").unwrap();
    let target = group.target("10.0.0.1", 80).unwrap();
    assert_eq!(target.outstanding(), 1);
    assert_eq!(group.report(target, NOW).state, TargetState::Healthy);
    assert_eq!(
        group.report(target, NOW.plus(Duration::from_secs(300))).state,
        TargetState::Drained
    );
    drop(running);
    assert_eq!(group.report(target, NOW).state, TargetState::Drained);
}

#[test]
fn health_and_counters_outlive_a_table_and_a_new_registration_begins_anew() {
    let mut table = one_group(&[], &["10.0.0.1", "10.0.0.2"]);
    let first = Routes::compile(&table, None);
    all_healthy(&first);
    table.target_groups.get_mut("g").unwrap().targets[1].registered_at = NOW.plus(Duration::from_secs(5));
    let second = Routes::compile(&table, Some(&first));
    let state = |routes: &Routes, id: &str| routes.group("g").unwrap().target(id, 80).unwrap().state();
    assert_eq!(state(&second, "10.0.0.1"), TargetState::Healthy);
    assert_eq!(state(&second, "10.0.0.2"), TargetState::Initial);
    // What a probe finds through the old table is seen in the new one.
    for at in [10, 20] {
        find(&first, "10.0.0.1", Finding::Failed, Duration::from_secs(at));
    }
    assert_eq!(state(&second, "10.0.0.1"), TargetState::Unhealthy);
    assert_eq!(counts(&second, 10, NOW).len(), 2);
    find(&second, "10.0.0.2", Finding::Http(200), Duration::from_secs(20));
    assert_eq!(counts(&second, 10, NOW).len(), 1);
}

#[test]
fn least_outstanding_requests_spreads_what_runs() {
    let attributes = [("load_balancing.algorithm.type", "least_outstanding_requests")];
    let routes = Routes::compile(&one_group(&attributes, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]), None);
    all_healthy(&routes);
    let (key, none, mut random) = (key(), List::default(), Random(3));
    let mut running: Vec<Choice<'_>> = Vec::new();
    for _ in 0..300 {
        running.push(forward_of(&routes).choose(&ask(random.next(), &none, &key)).unwrap());
        let counts = routes
            .group("g")
            .unwrap()
            .targets()
            .iter()
            .map(|target| target.outstanding());
        assert!(counts.clone().max().unwrap() - counts.min().unwrap() <= 1);
    }
}

#[test]
fn weights_share_requests_among_groups() {
    let groups = vec![
        group("a", &[], vec![target("10.0.0.1", 0)]),
        group("b", &[], vec![target("10.0.0.2", 0)]),
        group("c", &[], vec![target("10.0.0.3", 0)]),
    ];
    let routes = Routes::compile(&tables(forward(&[("a", 90), ("b", 10), ("c", 0)], None), groups), None);
    all_healthy(&routes);
    let counts = counts(&routes, 10_000, NOW);
    assert_eq!(counts.len(), 2);
    assert!((850..1150).contains(&counts["10.0.0.2"]), "{counts:?}");
}

#[test]
fn a_starting_target_gets_its_share_and_no_more() {
    let mut table = one_group(&[("slow_start.duration_seconds", "100")], &["10.0.0.1"]);
    let first = Routes::compile(&table, None);
    all_healthy(&first);
    table
        .target_groups
        .get_mut("g")
        .unwrap()
        .targets
        .push(target("10.0.0.2", 5));
    let routes = Routes::compile(&table, Some(&first));
    find(&routes, "10.0.0.2", Finding::Http(200), Duration::ZERO);
    for seconds in [0, 10, 25, 50, 75, 99] {
        let counts = counts(&routes, 10_000, NOW.plus(Duration::from_secs(seconds)));
        let got = f64::from(counts.get("10.0.0.2").copied().unwrap_or(0)) / 10_000.0;
        let share = seconds as f64 / 100.0;
        let fair = share / (1.0 + share);
        assert!((got - fair).abs() < 0.02, "after {seconds} s: {got}, not {fair}");
    }
    assert_eq!(counts(&routes, 100, NOW.plus(Duration::from_secs(100)))["10.0.0.2"], 50);
}

#[test]
fn targets_registered_together_do_not_start_slowly() {
    let first = Routes::compile(&one_group(&[("slow_start.duration_seconds", "100")], &[]), None);
    let table = one_group(&[("slow_start.duration_seconds", "100")], &["10.0.0.1", "10.0.0.2"]);
    let routes = Routes::compile(&table, Some(&first));
    all_healthy(&routes);
    assert_eq!(counts(&routes, 100, NOW)["10.0.0.2"], 50);
}

/// The cookies that a choice sets, as the client sends them back.
fn cookies_of(choice: &Choice<'_>, key: &CookieKey, response: &dyn Headers) -> (Vec<String>, List) {
    let with = Cookies {
        key,
        now: NOW,
        random: 7,
        https: true,
    };
    let mut set = Vec::new();
    choice.set_cookies(&with, response, &mut |value| set.push(value.to_owned()));
    let pairs: Vec<&str> = set.iter().filter_map(|value| value.split(';').next()).collect();
    let sent = List::of(&[("Cookie", &pairs.join("; "))]);
    (set, sent)
}

const LB: [(&str, &str); 3] = [
    ("stickiness.enabled", "true"),
    ("stickiness.type", "lb_cookie"),
    ("stickiness.lb_cookie.duration_seconds", "60"),
];

#[test]
fn a_client_stays_with_its_target_while_its_cookie_and_target_hold() {
    let routes = Routes::compile(&one_group(&LB, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]), None);
    all_healthy(&routes);
    let (key, none) = (key(), List::default());
    let first = forward_of(&routes).choose(&ask(1, &none, &key)).unwrap();
    assert!(first.sets_cookies() && !first.sticky);
    let (set, sent) = cookies_of(&first, &key, &none);
    assert_eq!(set.len(), 2);
    assert!(set[0].starts_with("AWSALB=") && set[1].starts_with("AWSALBCORS=") && set[1].ends_with("Secure"));
    let id = first.target.spec.id.clone();
    for random in 0..20 {
        let again = forward_of(&routes).choose(&ask(random, &sent, &key)).unwrap();
        assert!(again.sticky && again.target.spec.id == id);
    }
    // Another key, an expired cookie, an altered one: as if there was none.
    let other = CookieKey::new(&[2; 32]);
    assert!(!forward_of(&routes).choose(&ask(1, &sent, &other)).unwrap().sticky);
    let late = Ask {
        now: NOW.plus(Duration::from_secs(60)),
        ..ask(1, &sent, &key)
    };
    assert!(!forward_of(&routes).choose(&late).unwrap().sticky);
    let altered = List::of(&[("Cookie", "AWSALB=AAAA")]);
    assert!(!forward_of(&routes).choose(&ask(1, &altered, &key)).unwrap().sticky);
    // A target that is no longer healthy loses its clients.
    for at in [10, 20] {
        find(&routes, &id, Finding::Failed, Duration::from_secs(at));
    }
    let moved = forward_of(&routes).choose(&ask(1, &sent, &key)).unwrap();
    assert!(!moved.sticky && moved.target.spec.id != id);
}

#[test]
fn an_application_cookie_binds_only_with_the_applications_own() {
    let attributes = [
        ("stickiness.enabled", "true"),
        ("stickiness.type", "app_cookie"),
        ("stickiness.app_cookie.cookie_name", "session"),
        ("stickiness.app_cookie.duration_seconds", "60"),
    ];
    let routes = Routes::compile(&one_group(&attributes, &["10.0.0.1", "10.0.0.2"]), None);
    all_healthy(&routes);
    let (key, none) = (key(), List::default());
    let first = forward_of(&routes).choose(&ask(1, &none, &key)).unwrap();
    assert!(cookies_of(&first, &key, &none).0.is_empty());
    let response = List::of(&[("Set-Cookie", "session=abc; Path=/")]);
    let (set, mut sent) = cookies_of(&first, &key, &response);
    assert!(set.len() == 1 && set[0].starts_with("AWSALBAPP-0="));
    let alone = forward_of(&routes).choose(&ask(1, &sent, &key)).unwrap();
    assert!(!alone.sticky);
    assert!(cookies_of(&alone, &key, &none).0[0].starts_with("AWSALBAPP-0=_remove_;"));
    sent.0.push(("Cookie".to_owned(), "session=abc".to_owned()));
    for _ in 0..4 {
        let again = forward_of(&routes).choose(&ask(1, &sent, &key)).unwrap();
        assert!(again.sticky && again.target.spec.id == first.target.spec.id);
    }
}

#[test]
fn a_client_stays_with_its_group() {
    let groups = || {
        vec![
            group("a", &[], vec![target("10.0.0.1", 0)]),
            group("b", &[], vec![target("10.0.0.2", 0)]),
        ]
    };
    let routes = Routes::compile(&tables(forward(&[("a", 1), ("b", 999)], Some(60)), groups()), None);
    let (key, none) = (key(), List::default());
    let first = forward_of(&routes).choose(&ask(0, &none, &key)).unwrap();
    assert_eq!(first.group.arn, "a");
    let (set, sent) = cookies_of(&first, &key, &none);
    assert!(set[0].starts_with("AWSALBTG=") && set[1].starts_with("AWSALBTGCORS="));
    let again = forward_of(&routes).choose(&ask(u64::MAX, &sent, &key)).unwrap();
    assert_eq!(again.group.arn, "a");
    // A group that gets nothing any more keeps nobody.
    let routes = Routes::compile(
        &tables(forward(&[("a", 0), ("b", 1)], Some(60)), groups()),
        Some(&routes),
    );
    assert_eq!(forward_of(&routes).choose(&ask(0, &sent, &key)).unwrap().group.arn, "b");
}

fn flow(source: u32, port: u16) -> Flow {
    Flow {
        protocol: 6,
        source: (std::net::Ipv4Addr::from(source), port).into(),
        destination: "10.0.0.5:80".parse().unwrap(),
    }
}

fn flow_target(routes: &Routes, flow: &Flow) -> String {
    let choice = forward_of(routes).choose_flow(flow, 0, None, true).unwrap();
    choice.target.spec.id.clone()
}

#[test]
fn flows_spread_and_a_leaving_target_moves_only_its_own() {
    let all = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"];
    let routes = Routes::compile(&one_group(&[], &all), None);
    let fewer = Routes::compile(&one_group(&[], &all[..3]), None);
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for port in 1..=4000 {
        let id = flow_target(&routes, &flow(1, port));
        assert_eq!(id, flow_target(&routes, &flow(1, port)));
        if id != "10.0.0.4" {
            assert_eq!(id, flow_target(&fewer, &flow(1, port)));
        }
        *counts.entry(id).or_default() += 1;
    }
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

#[test]
fn source_stickiness_ignores_the_port() {
    let sticky = [("stickiness.enabled", "true"), ("stickiness.type", "source_ip")];
    let routes = Routes::compile(&one_group(&sticky, &["10.0.0.1", "10.0.0.2", "10.0.0.3"]), None);
    let at = |source, port| flow_target(&routes, &flow(source, port));
    assert!((1..100).all(|source| at(source, 1) == at(source, 2)));
    assert!((1..100).any(|source| at(source, 1) != at(source + 1, 1)));
}

#[test]
fn flows_are_spread_over_groups_by_weight_and_a_sticky_client_stays_in_its_own() {
    let groups = || {
        vec![
            group("a", &[], vec![target("10.0.0.1", 0)]),
            group("b", &[], vec![target("10.0.0.2", 0)]),
        ]
    };
    let of = |routes: &Routes, flow: &Flow, draw: u64| {
        let choice = forward_of(routes).choose_flow(flow, draw, None, true).unwrap();
        choice.group.arn.clone()
    };
    let routes = Routes::compile(&tables(forward(&[("a", 3), ("b", 1)], None), groups()), None);
    let draws = (0..4000_u64).map(|n| n * (u64::MAX / 4000));
    let a = draws.filter(|draw| of(&routes, &flow(1, 1), *draw) == "a").count();
    assert!((2950..3050).contains(&a), "{a}");
    let routes = Routes::compile(&tables(forward(&[("a", 3), ("b", 1)], Some(0)), groups()), None);
    let stays = |source| of(&routes, &flow(source, 1), 0) == of(&routes, &flow(source, 2), u64::MAX);
    assert!((1..100).all(stays));
    assert!((1..100).any(|source| of(&routes, &flow(source, 1), 0) == "b"));
}

#[test]
fn without_cross_zone_only_the_zone_counts() {
    let mut table = one_group(&[], &["10.0.0.1", "10.0.0.2"]);
    let targets = &mut table.target_groups.get_mut("g").unwrap().targets;
    targets[0].zone = Some("a".to_owned());
    targets[1].zone = Some("b".to_owned());
    let routes = Routes::compile(&table, None);
    find(&routes, "10.0.0.2", Finding::Http(200), Duration::ZERO);
    let chosen = |zone: &'static str, cross_zone| {
        let choice = forward_of(&routes).choose_flow(&flow(1, 1), 0, Some(zone), cross_zone);
        choice
            .ok()
            .map(|choice| (choice.target.spec.id.clone(), choice.fail_open))
    };
    assert_eq!(chosen("b", false), Some(("10.0.0.2".to_owned(), false)));
    assert_eq!(chosen("a", false), Some(("10.0.0.1".to_owned(), true)));
    assert_eq!(chosen("a", true), Some(("10.0.0.2".to_owned(), false)));
    assert_eq!(chosen("c", false), None);
}

proptest! {
    /// Whatever was found of targets: a healthy one when there is one, and every choice is counted until it ends.
    #[test]
    fn choices_are_healthy_and_counted(
        found in proptest::collection::vec(proptest::option::of(any::<bool>()), 1..12),
        algorithm in prop_oneof!["round_robin", "weighted_random", "least_outstanding_requests"],
        seed: u64,
    ) {
        let ids: Vec<String> = (0..found.len()).map(|n| format!("10.0.1.{n}")).collect();
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let routes = Routes::compile(&one_group(&[("load_balancing.algorithm.type", &algorithm)], &ids), None);
        for (id, passed) in ids.iter().zip(&found) {
            let finding = match passed {
                Some(true) => Finding::Http(200),
                Some(false) => Finding::Http(500),
                None => continue,
            };
            for at in [0, 10] {
                find(&routes, id, finding, Duration::from_secs(at));
            }
        }
        let (key, none, mut random) = (key(), List::default(), Random(seed));
        let healthy = found.contains(&Some(true));
        let mut running = Vec::new();
        for _ in 0..30 {
            let choice = forward_of(&routes).choose(&ask(random.next(), &none, &key)).unwrap();
            prop_assert_eq!(choice.fail_open, !healthy);
            prop_assert_eq!(choice.target.state() == TargetState::Healthy, healthy);
            running.push(choice);
        }
        let outstanding = || routes.group("g").unwrap().targets().iter().map(|t| t.outstanding()).sum::<u32>();
        prop_assert_eq!(outstanding(), 30);
        running.clear();
        prop_assert_eq!(outstanding(), 0);
    }
}
