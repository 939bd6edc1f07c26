//! What can be stored: typed records with a key prefix of their own and secondary indexes.

use serde::{Serialize, de::DeserializeOwned};
use std::any::Any;
use std::fmt;
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
    pub decode: fn(&[u8]) -> Result<Arc<dyn AnyRecord>, serde_json::Error>,
}

impl Kind {
    /// The kind of `R`.
    pub fn of<R: Record>() -> Kind {
        Kind { prefix: R::PREFIX, decode: |bytes| Ok(Arc::new(serde_json::from_slice::<R>(bytes)?)) }
    }
}
