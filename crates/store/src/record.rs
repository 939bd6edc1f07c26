//! What can be stored: typed records with a key prefix of their own and secondary indexes.

use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

/// A stored type. `PREFIX` ends with `/` and belongs to this type alone.
pub trait Record: Serialize + DeserializeOwned + fmt::Debug + Send + Sync + 'static {
    const PREFIX: &'static str;

    /// `(index name, value)` pairs under which a snapshot finds this record besides its key.
    fn indexes(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Names under which a snapshot counts this record: asking for a count costs no search, however many there are.
    fn counters(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A record without its type, as the snapshot holds it.
pub trait AnyRecord: fmt::Debug + Send + Sync + 'static {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error>;
    fn index_entries(&self) -> Vec<(&'static str, String)>;
    fn counter_names(&self) -> Vec<String>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<R: Record> AnyRecord for R {
    fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    fn index_entries(&self) -> Vec<(&'static str, String)> {
        self.indexes()
    }

    fn counter_names(&self) -> Vec<String> {
        self.counters()
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// How to read records under one prefix back from bytes. Every kind is registered when the store opens.
#[derive(Clone, Copy)]
pub struct Kind {
    pub prefix: &'static str,
    pub decode: Decode,
}

/// Reads a record's JSON.
pub type Decode = fn(&[u8]) -> Result<Arc<dyn AnyRecord>, serde_json::Error>;

impl Kind {
    /// The kind of `R`.
    pub const fn of<R: Record>() -> Kind {
        Kind {
            prefix: R::PREFIX,
            decode: |bytes| Ok(Arc::new(serde_json::from_slice::<R>(bytes)?)),
        }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

/// The kinds a store was opened with, found by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Kinds(BTreeMap<&'static str, Kind>);

/// One prefix is the start of the other, or the same: a key would belong to two types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the record kinds {0} and {1} share keys")]
pub struct KindsOverlap(pub &'static str, pub &'static str);

impl Kinds {
    pub(crate) fn new(kinds: &[Kind]) -> Result<Kinds, KindsOverlap> {
        let mut out: BTreeMap<&'static str, Kind> = BTreeMap::new();
        for kind in kinds {
            if let Some(twin) = out.insert(kind.prefix, *kind) {
                return Err(KindsOverlap(twin.prefix, kind.prefix));
            }
        }
        // A longer prefix sorts right after the one it starts with, or after another that does.
        for (one, next) in out.keys().zip(out.keys().skip(1)) {
            if next.starts_with(one) {
                return Err(KindsOverlap(one, next));
            }
        }
        Ok(Kinds(out))
    }

    pub(crate) fn of(&self, key: &str) -> Option<&Kind> {
        let (prefix, kind) = self
            .0
            .range::<str, _>((Bound::Unbounded, Bound::Included(key)))
            .next_back()?;
        key.starts_with(prefix).then_some(kind)
    }

    /// True for a store that was told no kinds: an in-memory one that takes any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(prefix: &'static str) -> Kind {
        Kind {
            prefix,
            decode: |_| unreachable!("no test decodes"),
        }
    }

    #[test]
    fn a_key_belongs_to_at_most_one_kind() {
        let kinds = Kinds::new(&[kind("ecs/task/"), kind("ecs/task-definition/"), kind("ecs/cluster/")]).unwrap();
        let prefix = |key| kinds.of(key).map(|kind| kind.prefix);
        assert_eq!(prefix("ecs/task/us-east-1/default/0"), Some("ecs/task/"));
        assert_eq!(
            prefix("ecs/task-definition/us-east-1/web/1"),
            Some("ecs/task-definition/")
        );
        assert_eq!(prefix("ecs/service/x"), None);
        assert_eq!(prefix("a"), None);
        assert!(Kinds::new(&[kind("a/"), kind("a/")]).is_err());
        assert_eq!(
            Kinds::new(&[kind("a/b/"), kind("a/"), kind("a0/")]).unwrap_err(),
            KindsOverlap("a/", "a/b/")
        );
    }
}
