//! Every constraint that the served operations' models state is one that `validate` can check.

use neargate_wire::Service;
use neargate_wire::schema::{Kind, Shape};
use neargate_wire::validate::pattern;
use std::collections::BTreeSet;

const SERVICES: &[&Service] = &[
    &neargate_sts::api::schema::SERVICE,
    &neargate_ec2::api::schema::SERVICE,
    &neargate_logs::api::schema::SERVICE,
    &neargate_ecs::api::schema::SERVICE,
];

/// Patterns of inputs that no finite automaton expresses and that therefore constrain nothing.
const SKIPPED: &[&str] = &[];

fn patterns(shape: &'static Shape, seen: &mut BTreeSet<&'static str>, found: &mut BTreeSet<&'static str>) {
    let by_name = !matches!(shape.kind, Kind::Structure { .. }) || seen.insert(shape.name);
    if !by_name {
        return;
    }
    match &shape.kind {
        Kind::Structure { members, .. } => members.iter().for_each(|m| patterns(m.shape, seen, found)),
        Kind::List { member, .. } => patterns(member, seen, found),
        Kind::Map { key, value, .. } => {
            patterns(key, seen, found);
            patterns(value, seen, found);
        }
        Kind::String {
            pattern: Some(pattern), ..
        } => {
            found.insert(pattern);
        }
        _ => {}
    }
}

#[test]
fn every_pattern_of_an_input_compiles_or_is_listed() {
    let mut found = BTreeSet::new();
    for service in SERVICES {
        let mut seen = BTreeSet::new();
        for operation in service.operations {
            if let Some(input) = operation.input {
                patterns(input, &mut seen, &mut found);
            }
        }
    }
    assert!(found.len() > 5, "the models have patterns: {found:?}");
    let skipped: Vec<&str> = found.into_iter().filter(|p| pattern::compile(p).is_err()).collect();
    assert_eq!(skipped, SKIPPED);
    assert!(SKIPPED.iter().all(|p| pattern::is_beyond_automata(p)));
}
