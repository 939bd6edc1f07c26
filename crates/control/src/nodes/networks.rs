//! The network table on its way to a machine: whole at first, then what changed, never the same twice.
//!
//! Called by the pushers of `assignments`. Fingerprints of what a node was told stand for the entries themselves.

use neargate_link::{NetworkEntry, ToNode};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};

/// What changed since a node was last told.
#[derive(Default)]
pub(super) struct NetworkMarks {
    /// It needs everything: it joined, or changes were missed.
    pub whole: bool,
    /// By key; none for entries that are gone.
    pub changed: BTreeMap<String, Option<NetworkEntry>>,
}

impl NetworkMarks {
    pub fn is_empty(&self) -> bool {
        !self.whole && self.changed.is_empty()
    }
}

/// What one node was told on this connection.
#[derive(Default)]
pub(super) struct NetworkOffer {
    generation: u64,
    told: BTreeMap<String, u64>,
}

impl NetworkOffer {
    /// The next message; none when the node knows all of it.
    pub fn next(&mut self, marks: NetworkMarks, table: impl FnOnce() -> Vec<NetworkEntry>) -> Option<ToNode> {
        let (mut upsert, mut remove) = (Vec::new(), Vec::new());
        if marks.whole {
            upsert = table();
            self.told = upsert.iter().map(|entry| (entry.key(), fingerprint(entry))).collect();
        } else {
            for (key, entry) in marks.changed {
                match entry {
                    Some(entry) => {
                        let new = fingerprint(&entry);
                        if self.told.insert(key, new) != Some(new) {
                            upsert.push(entry);
                        }
                    }
                    None => {
                        if self.told.remove(&key).is_some() {
                            remove.push(key);
                        }
                    }
                }
            }
            if upsert.is_empty() && remove.is_empty() {
                return None;
            }
        }
        self.generation += 1;
        Some(ToNode::Network {
            generation: self.generation,
            whole: marks.whole,
            upsert,
            remove,
        })
    }
}

/// Tells two contents of an entry apart.
fn fingerprint(entry: &NetworkEntry) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&serde_json::to_vec(entry).expect("an entry has only string keys"));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use neargate_link::network::NameEntry;

    fn name(name: &str, last: u8) -> NetworkEntry {
        NetworkEntry::Name(NameEntry {
            name: name.to_owned(),
            vpc_id: None,
            addresses: vec![[10, 0, 0, last].into()],
        })
    }

    fn changed(entries: &[(&NetworkEntry, bool)]) -> NetworkMarks {
        let of = |(entry, there): &(&NetworkEntry, bool)| (entry.key(), there.then(|| (*entry).clone()));
        NetworkMarks {
            whole: false,
            changed: entries.iter().map(of).collect(),
        }
    }

    #[test]
    fn a_node_is_told_what_it_does_not_know_and_nothing_twice() {
        let mut offer = NetworkOffer::default();
        let whole = NetworkMarks {
            whole: true,
            ..NetworkMarks::default()
        };
        let first = offer
            .next(whole, || vec![name("a", 1)])
            .expect("a whole table is always told");
        assert!(matches!(first, ToNode::Network { generation: 1, whole: true, ref upsert, .. } if upsert.len() == 1));
        let none = || unreachable!("a change needs no whole table");
        assert!(offer.next(changed(&[(&name("a", 1), true)]), none).is_none());
        assert!(offer.next(changed(&[(&name("b", 1), false)]), none).is_none());
        let second = offer.next(changed(&[(&name("a", 2), true), (&name("b", 3), true)]), none);
        assert!(matches!(second, Some(ToNode::Network { whole: false, ref upsert, .. }) if upsert.len() == 2));
        let third = offer.next(changed(&[(&name("a", 2), false)]), none);
        assert!(
            matches!(third, Some(ToNode::Network { ref upsert, ref remove, .. }) if upsert.is_empty() && remove.len() == 1)
        );
    }
}
