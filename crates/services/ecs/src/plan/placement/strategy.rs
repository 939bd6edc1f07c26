//! Choosing among the nodes that could take a task: random, spread, binpack, and the order of subnets.

use super::Needs;
use super::fleet::{Fleet, GroupView, Slot};
use std::collections::BTreeMap;

/// The subnets, fewest tasks of the group first; equals stay in the request's order.
pub fn subnets_by_count(needs: &Needs, group: Option<&GroupView>) -> Vec<(String, String)> {
    let mut out = needs.subnets.clone();
    out.sort_by_key(|(id, _)| group.map_or(0, |g| g.in_subnet(id)));
    out
}

/// The node with the fewest tasks of the group, then the least full, then the one with the fewest tasks. Nodes for
/// which `later` holds come after all others. `candidates` is not empty.
pub fn emptiest(
    fleet: &Fleet,
    group: Option<&GroupView>,
    candidates: &[usize],
    later: impl Fn(&Slot) -> bool,
) -> usize {
    let counts = dense(fleet, group);
    candidates
        .iter()
        .copied()
        .min_by_key(|at| {
            let slot = &fleet.slots()[*at];
            (later(slot), counts[*at], slot.fullness, slot.tasks, *at)
        })
        .unwrap_or_default()
}

/// Applies the strategies one after the other, each to what the one before left. `candidates` is not empty.
pub fn choose(fleet: &Fleet, group: Option<&GroupView>, mut candidates: Vec<usize>, needs: &Needs, seed: u64) -> usize {
    if needs.strategy.is_empty() {
        return emptiest(fleet, group, &candidates, |_| false);
    }
    for strategy in &needs.strategy {
        if candidates.len() == 1 {
            break;
        }
        let field = strategy.field.as_deref().unwrap_or_default();
        match (strategy.r#type.as_deref().unwrap_or_default(), field) {
            ("spread", "instanceId" | "host") => {
                let counts = dense(fleet, group);
                keep_least(&mut candidates, |at| u64::from(counts[at]));
            }
            ("spread", field) => {
                let name = field.strip_prefix("attribute:").unwrap_or(field);
                spread(fleet, group, &mut candidates, &needs.region, name);
            }
            ("binpack", field) if field.eq_ignore_ascii_case("cpu") => {
                keep_least(&mut candidates, |at| {
                    u64::try_from(fleet.slots()[at].free_cpu).unwrap_or(0)
                });
            }
            ("binpack", _) => {
                keep_least(&mut candidates, |at| {
                    u64::try_from(fleet.slots()[at].free_memory).unwrap_or(0)
                });
            }
            _ => candidates = vec![pick(&candidates, seed)],
        }
    }
    pick(&candidates, seed)
}

/// Keeps the nodes whose value of the attribute has the fewest tasks of the group. Nodes without it are one value.
fn spread(fleet: &Fleet, group: Option<&GroupView>, candidates: &mut Vec<usize>, region: &str, name: &str) {
    let value = |at: usize| fleet.nodes()[at].attribute(region, name).flatten();
    let mut counts: BTreeMap<Option<String>, u64> = BTreeMap::new();
    for (at, n) in group.into_iter().flat_map(GroupView::nodes) {
        *counts.entry(value(at)).or_default() += u64::from(n);
    }
    keep_least(candidates, |at| counts.get(&value(at)).copied().unwrap_or(0));
}

fn keep_least(candidates: &mut Vec<usize>, measure: impl Fn(usize) -> u64) {
    let measured: Vec<(u64, usize)> = candidates.iter().map(|at| (measure(*at), *at)).collect();
    let least = measured.iter().map(|(m, _)| *m).min().unwrap_or(0);
    *candidates = measured
        .into_iter()
        .filter(|(m, _)| *m == least)
        .map(|(_, at)| at)
        .collect();
}

fn pick(candidates: &[usize], seed: u64) -> usize {
    let at = seed % candidates.len().max(1) as u64;
    candidates
        .get(usize::try_from(at).unwrap_or(0))
        .copied()
        .unwrap_or_default()
}

/// The group's tasks by node, one number a node.
fn dense(fleet: &Fleet, group: Option<&GroupView>) -> Vec<u32> {
    let mut out = vec![0; fleet.nodes().len()];
    for (at, n) in group.into_iter().flat_map(GroupView::nodes) {
        out[at] = n;
    }
    out
}
