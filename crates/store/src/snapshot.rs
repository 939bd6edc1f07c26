//! All records at one revision. Cloning is cheap; nothing in a snapshot ever changes.

use crate::record::{AnyRecord, Record};
use crate::txn::{Compare, Condition, Op, full_key};
use crate::{LeaseId, Revision};
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub created: Revision,
    pub modified: Revision,
    /// Place among the changes of the commit that created it: with `created` it names this life of the key.
    pub ordinal: u8,
    pub lease: Option<LeaseId>,
    pub record: Arc<dyn AnyRecord>,
}

/// A record and when it was created and last changed.
#[derive(Debug)]
pub struct Versioned<R> {
    pub created: Revision,
    pub modified: Revision,
    /// The lease whose end deletes it.
    pub lease: Option<LeaseId>,
    pub record: Arc<R>,
}

impl<R> std::ops::Deref for Versioned<R> {
    type Target = R;
    fn deref(&self) -> &R {
        &self.record
    }
}

/// The state at `revision`.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(crate) revision: Revision,
    pub(crate) entries: OrdMap<Arc<str>, Entry>,
    /// `index\0value\0full key`.
    pub(crate) index: OrdSet<Arc<str>>,
    /// Records by the names in `Record::counters`; no entry is zero.
    pub(crate) counts: OrdMap<Arc<str>, u64>,
}

impl Snapshot {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The record of type `R` at `key` (given without prefix).
    pub fn get<R: Record>(&self, key: &str) -> Option<Versioned<R>> {
        self.entries.get(&*full_key::<R>(key)).map(typed)
    }

    pub fn contains<R: Record>(&self, key: &str) -> bool {
        self.entries.contains_key(&*full_key::<R>(key))
    }

    /// Records of type `R` whose key starts with `prefix`, ascending; keys are answered without the type's prefix.
    pub fn range<R: Record>(&self, prefix: &str) -> impl Iterator<Item = (&str, Versioned<R>)> + '_ {
        let from = full_key::<R>(prefix);
        let start = from.clone();
        self.entries
            .range(start..)
            .take_while(move |(k, _)| k.starts_with(&*from))
            .map(|(k, e)| (&k[R::PREFIX.len()..], typed(e)))
    }

    /// The records of `range(prefix)` whose key comes after `after`, found without passing those before it.
    pub fn range_after<R: Record>(&self, prefix: &str, after: &str) -> impl Iterator<Item = (&str, Versioned<R>)> + '_ {
        let from = full_key::<R>(prefix);
        let start = full_key::<R>(after).max(from.clone());
        let passed = full_key::<R>(after);
        self.entries
            .range(start..)
            .take_while(move |(k, _)| k.starts_with(&*from))
            .filter(move |(k, _)| **k > passed)
            .map(|(k, e)| (&k[R::PREFIX.len()..], typed(e)))
    }

    /// Records of type `R` that answered `(index, value)` in `Record::indexes`, ascending by key.
    pub fn indexed<R: Record>(&self, index: &str, value: &str) -> impl Iterator<Item = (&str, Versioned<R>)> + '_ {
        let from: Arc<str> = format!("{index}\0{value}\0{}", R::PREFIX).into();
        let skip = index.len() + value.len() + 2;
        self.index
            .range(from.clone()..)
            .take_while(move |k| k.starts_with(&*from))
            .filter_map(move |k| {
                let key = &k[skip..];
                self.entries.get(key).map(|e| (&key[R::PREFIX.len()..], typed(e)))
            })
    }

    /// How many records of type `R` answered `(index, value)`.
    pub fn count_indexed<R: Record>(&self, index: &str, value: &str) -> usize {
        let from: Arc<str> = format!("{index}\0{value}\0{}", R::PREFIX).into();
        self.index
            .range(from.clone()..)
            .take_while(|k| k.starts_with(&*from))
            .count()
    }

    /// How many records named `counter` in `Record::counters`.
    pub fn count(&self, counter: &str) -> u64 {
        self.counts.get(counter).copied().unwrap_or(0)
    }

    /// Moves a record from the counters of its `old` form to those of its `new` one.
    fn recount(&mut self, old: Vec<String>, new: Vec<String>) {
        if old == new {
            return;
        }
        for name in new {
            let count = self.count(&name) + 1;
            self.counts.insert(name.into(), count);
        }
        for name in old {
            match self.count(&name) {
                0 | 1 => self.counts.remove(name.as_str()),
                count => self.counts.insert(name.into(), count - 1),
            };
        }
    }

    pub(crate) fn holds(&self, compare: &Compare) -> bool {
        let key = &compare.key;
        match compare.condition {
            Condition::Absent => !self.entries.contains_key(key),
            Condition::Exists => self.entries.contains_key(key),
            Condition::ModifiedAt(revision) => self.entries.get(key).is_some_and(|e| e.modified == revision),
            Condition::NoneNewer(revision) => {
                let mut under = self
                    .entries
                    .range(key.clone()..)
                    .take_while(|(k, _)| k.starts_with(&**key));
                under.all(|(_, entry)| entry.modified <= revision)
            }
        }
    }

    /// Makes `op`, the `ordinal`th change of the commit at `revision`; answers the entry that was there before.
    pub(crate) fn apply(&mut self, revision: Revision, ordinal: u8, op: &Op) -> Option<Entry> {
        let key = op.key();
        let old = self.entries.get(key).cloned();
        let (old_names, old_counters) = old.as_ref().map(Entry::names).unwrap_or_default();
        let new = match op {
            Op::Put { record, lease, .. } => {
                let (created, ordinal) = old
                    .as_ref()
                    .map_or((revision, ordinal), |old| (old.created, old.ordinal));
                Some(Entry {
                    created,
                    modified: revision,
                    ordinal,
                    lease: *lease,
                    record: record.clone(),
                })
            }
            Op::Delete { .. } => None,
        };
        let (new_names, new_counters) = new.as_ref().map(Entry::names).unwrap_or_default();
        if old_names != new_names {
            for (index, value) in &old_names {
                self.index.remove(format!("{index}\0{value}\0{key}").as_str());
            }
            for (index, value) in &new_names {
                self.index.insert(format!("{index}\0{value}\0{key}").into());
            }
        }
        self.recount(old_counters, new_counters);
        match new {
            Some(entry) => self.entries.insert(key.clone(), entry),
            None => self.entries.remove(key),
        };
        self.revision = revision;
        old
    }

    /// Takes over an entry as it was stored.
    pub(crate) fn restore(&mut self, key: Arc<str>, entry: Entry) -> Option<Entry> {
        let (names, counters) = entry.names();
        for (index, value) in names {
            self.index.insert(format!("{index}\0{value}\0{key}").into());
        }
        self.recount(Vec::new(), counters);
        self.entries.insert(key, entry)
    }

    /// Full keys attached to `lease` and when each was last changed.
    pub(crate) fn leased(&self, lease: LeaseId) -> impl Iterator<Item = (Arc<str>, Revision)> + '_ {
        let from = format!("{LEASE_INDEX}\0{lease}\0");
        let skip = from.len();
        let start: Arc<str> = from.as_str().into();
        self.index
            .range(start..)
            .take_while(move |k| k.starts_with(&from))
            .filter_map(move |k| {
                let (key, entry) = self.entries.get_key_value(&k[skip..])?;
                Some((key.clone(), entry.modified))
            })
    }
}

/// Name of the index of leased keys, which no record can name by accident.
const LEASE_INDEX: &str = "\u{1}lease";

impl Entry {
    /// Indexes and counters under which it is found.
    fn names(&self) -> (Vec<(&'static str, String)>, Vec<String>) {
        let mut indexes = self.record.index_entries();
        if let Some(lease) = self.lease {
            indexes.push((LEASE_INDEX, lease.to_string()));
        }
        (indexes, self.record.counter_names())
    }
}

fn typed<R: Record>(entry: &Entry) -> Versioned<R> {
    let record = entry
        .record
        .clone()
        .into_any()
        .downcast::<R>()
        .expect("a prefix belongs to one record type");
    Versioned {
        created: entry.created,
        modified: entry.modified,
        lease: entry.lease,
        record,
    }
}
