//! The records that the store's tests store.
#![allow(dead_code, reason = "each test file uses its part")]

use neargate_store::{Kind, Record, Store, Txn};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub text: String,
}

impl Record for Note {
    const PREFIX: &'static str = "note/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        // An index value of a whole file would be no index.
        if self.text.len() > 100 {
            Vec::new()
        } else {
            vec![("text", self.text.clone())]
        }
    }

    fn counters(&self) -> Vec<String> {
        vec!["notes".to_owned()]
    }
}

/// A kind that no store of these tests is opened with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stranger {}

impl Record for Stranger {
    const PREFIX: &'static str = "stranger/";
}

pub const KINDS: &[Kind] = &[Kind::of::<Note>()];

pub fn note(text: &str) -> Note {
    Note { text: text.to_owned() }
}

pub fn put(key: &str, text: &str) -> Txn {
    let mut txn = Txn::new();
    txn.put(key, note(text));
    txn
}

/// An embedded store in a directory that goes with the first part.
pub fn fresh() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store"), KINDS).unwrap();
    (directory, store)
}
