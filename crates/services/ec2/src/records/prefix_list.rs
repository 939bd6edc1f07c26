//! A managed prefix list.

use super::ClientToken;
use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{id}`. AWS's own lists are not stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrefixListRecord {
    pub region: String,
    /// `pl-` and 17 hex digits.
    pub id: String,
    pub name: String,
    /// `IPv4` or `IPv6`.
    pub address_family: String,
    pub max_entries: i32,
    pub version: i64,
    /// It was changed since it was made: its state tells.
    #[serde(default)]
    pub modified: bool,
    pub entries: Vec<PrefixListEntry>,
    /// Entries of earlier versions, oldest first.
    pub history: Vec<(i64, Vec<PrefixListEntry>)>,
    #[serde(default)]
    pub made_under: Option<ClientToken>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixListEntry {
    pub cidr: String,
    pub description: Option<String>,
}

impl PrefixListRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for PrefixListRecord {
    const PREFIX: &'static str = "ec2/prefix-list/";
}
