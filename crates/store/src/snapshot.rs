//! All records at one revision. Cloning is cheap; nothing in a snapshot ever changes.

use crate::Revision;
use crate::record::{AnyRecord, Record};
use crate::txn::{Compare, Condition, Op, full_key};
use imbl::{OrdMap, OrdSet};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub created: Revision,
    pub modified: Revision,
    pub record: Arc<dyn AnyRecord>,
}

/// A record and when it was created and last changed.
#[derive(Debug)]
pub struct Versioned<R> {
    pub created: Revision,
    pub modified: Revision,
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

    /// Records of type `R` that answered `(index, value)` in `Record::indexes`, ascending by key.
    pub fn indexed<R: Record>(&self, index: &str, value: &str) -> impl Iterator<Item = (&str, Versioned<R>)> + '_ {
        let from: Arc<str> = format!("{index}\0{value}\0{}", R::PREFIX).into();
        let skip = index.len() + value.len() + 2;
        self.index.range(from.clone()..).take_while(move |k| k.starts_with(&*from)).filter_map(move |k| {
            let key = &k[skip..];
            self.entries.get(key).map(|e| (&key[R::PREFIX.len()..], typed(e)))
        })
    }

    /// How many records of type `R` answered `(index, value)`.
    pub fn count_indexed<R: Record>(&self, index: &str, value: &str) -> usize {
        let from: Arc<str> = format!("{index}\0{value}\0{}", R::PREFIX).into();
        self.index.range(from.clone()..).take_while(|k| k.starts_with(&*from)).count()
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
        let entry = self.entries.get(&compare.key);
        match compare.condition {
            Condition::Absent => entry.is_none(),
            Condition::Exists => entry.is_some(),
            Condition::ModifiedAt(revision) => entry.is_some_and(|e| e.modified == revision),
        }
    }

    pub(crate) fn apply(&mut self, revision: Revision, op: &Op) {
        let key = op.key();
        let old = self.entries.get(key).cloned();
        if let Some(old) = &old {
            for (index, value) in old.record.index_entries() {
                self.index.remove(format!("{index}\0{value}\0{key}").as_str());
            }
        }
        let old_counters = old.as_ref().map(|old| old.record.counter_names()).unwrap_or_default();
        match op {
            Op::Put { key, record } => {
                self.recount(old_counters, record.counter_names());
                for (index, value) in record.index_entries() {
                    self.index.insert(format!("{index}\0{value}\0{key}").into());
                }
                let created = old.map_or(revision, |e| e.created);
                self.entries.insert(key.clone(), Entry { created, modified: revision, record: record.clone() });
            }
            Op::Delete { key } => {
                self.recount(old_counters, Vec::new());
                self.entries.remove(key);
            }
        }
        self.revision = revision;
    }
}

fn typed<R: Record>(entry: &Entry) -> Versioned<R> {
    let record = entry.record.clone().into_any().downcast::<R>().expect("a prefix belongs to one record type");
    Versioned { created: entry.created, modified: entry.modified, record }
}
