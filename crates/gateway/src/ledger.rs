//! What control is still to be told of targets: the latest report of each, until control says it is stored.
//!
//! Called by `session`. Pure. Invariant: a report that changed while an older one was on its way is sent again.

use neargate_core::Timestamp;
use neargate_link::gateway::{GatewayTable, TargetReport};
use std::collections::{BTreeMap, BTreeSet};

type Key = (String, String, u16);

/// The latest report of every target.
#[derive(Debug, Default)]
pub struct Ledger {
    reports: BTreeMap<Key, TargetReport>,
    /// Not on their way.
    unsaid: BTreeSet<Key>,
    /// On their way under this sequence.
    said: Option<(u64, BTreeSet<Key>)>,
    sequence: u64,
}

impl Ledger {
    pub fn note(&mut self, report: TargetReport) {
        let key = (report.target_group.clone(), report.id.clone(), report.port);
        if self.reports.get(&key) != Some(&report) {
            self.reports.insert(key.clone(), report);
            self.unsaid.insert(key);
        }
    }

    /// Another control is there, which may know nothing: everything is to be said.
    pub fn reconnected(&mut self) {
        self.said = None;
        self.unsaid = self.reports.keys().cloned().collect();
    }

    /// Forgets registrations that the table does not have.
    pub fn keep_only(&mut self, table: &GatewayTable) {
        let known: BTreeMap<(&str, &str, u16), Timestamp> = table
            .target_groups
            .values()
            .flat_map(|group| {
                let of = |t: &'_ neargate_link::gateway::TargetSpec| t.registered_at;
                group
                    .targets
                    .iter()
                    .map(move |t| ((&*group.arn, &*t.id, t.port), of(t)))
            })
            .collect();
        self.reports
            .retain(|(group, id, port), report| known.get(&(group, id, *port)) == Some(&report.registered_at));
        self.unsaid.retain(|key| self.reports.contains_key(key));
    }

    /// What to send now: one message at a time is on its way.
    pub fn next(&mut self) -> Option<(u64, Vec<TargetReport>)> {
        if self.said.is_some() || self.unsaid.is_empty() {
            return None;
        }
        let keys = std::mem::take(&mut self.unsaid);
        let reports = keys.iter().filter_map(|key| self.reports.get(key).cloned()).collect();
        self.sequence += 1;
        self.said = Some((self.sequence, keys));
        Some((self.sequence, reports))
    }

    pub fn stored(&mut self, sequence: u64) {
        self.said.take_if(|(said, _)| *said <= sequence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::gateway::TargetState;

    fn report(id: &str, state: TargetState) -> TargetReport {
        TargetReport {
            target_group: "g".to_owned(),
            id: id.to_owned(),
            port: 80,
            registered_at: Timestamp(1),
            state,
            reason: None,
            description: None,
        }
    }

    #[test]
    fn what_changes_on_the_way_is_said_again_and_what_is_stored_is_not() {
        let mut ledger = Ledger::default();
        ledger.note(report("a", TargetState::Initial));
        let (first, _) = ledger.next().unwrap();
        ledger.note(report("a", TargetState::Healthy));
        assert!(ledger.next().is_none(), "one at a time");
        ledger.stored(first);
        let (second, said) = ledger.next().unwrap();
        assert_eq!(said, [report("a", TargetState::Healthy)]);
        ledger.note(report("a", TargetState::Healthy));
        ledger.stored(second);
        assert!(ledger.next().is_none(), "nothing new");
    }

    #[test]
    fn a_new_control_hears_of_all_and_of_no_target_that_is_gone() {
        let mut ledger = Ledger::default();
        ledger.note(report("a", TargetState::Healthy));
        let (first, _) = ledger.next().unwrap();
        ledger.stored(first);
        ledger.reconnected();
        assert_eq!(ledger.next().map(|(_, reports)| reports.len()), Some(1));
        ledger.keep_only(&GatewayTable::default());
        ledger.reconnected();
        assert!(ledger.next().is_none());
    }
}
