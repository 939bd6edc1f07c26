//! A security group with its rules.

use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: `{region}/{id}`. Its rules are part of it, so that no two are ever the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecurityGroupRecord {
    pub region: String,
    /// `sg-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub name: String,
    pub description: String,
    #[serde(default)]
    pub rules: Vec<GroupRule>,
    pub tags: Tags,
}

/// One rule: one kind of traffic, one peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupRule {
    /// `sgr-` and 17 hex digits.
    pub id: String,
    pub egress: bool,
    /// `-1`, `tcp`, `udp`, `icmp`, `icmpv6`, or a number.
    pub protocol: String,
    /// First port, or ICMP type; none where the protocol has none.
    pub from_port: Option<i32>,
    pub to_port: Option<i32>,
    pub peer: RulePeer,
    pub description: Option<String>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum RulePeer {
    Ipv4(String),
    Ipv6(String),
    /// `pl-…`
    PrefixList(String),
    /// `sg-…`
    Group(String),
}

impl GroupRule {
    /// True when the other admits just the same: descriptions and tags do not tell rules apart.
    pub fn equals(&self, other: &GroupRule) -> bool {
        let what = |r: &GroupRule| (r.egress, r.protocol.clone(), r.from_port, r.to_port, r.peer.clone());
        what(self) == what(other)
    }
}

impl SecurityGroupRecord {
    /// Index: a VPC's group of a name, value `{region}/{vpc id}/{name}`.
    pub const BY_NAME: &'static str = "ec2-group-by-name";
    /// Index: groups whose rules name a prefix list, value `{region}/{prefix list id}`.
    pub const BY_PREFIX_LIST: &'static str = "ec2-group-by-prefix-list";
    /// Index: groups whose rules name another group, value `{region}/{that group's id}`.
    pub const BY_REFERENCE: &'static str = "ec2-group-by-reference";

    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for SecurityGroupRecord {
    const PREFIX: &'static str = "ec2/security-group/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut out = vec![(Self::BY_NAME, format!("{}/{}/{}", self.region, self.vpc_id, self.name))];
        for rule in &self.rules {
            let entry = match &rule.peer {
                RulePeer::PrefixList(id) => (Self::BY_PREFIX_LIST, format!("{}/{id}", self.region)),
                RulePeer::Group(id) if *id != self.id => (Self::BY_REFERENCE, format!("{}/{id}", self.region)),
                _ => continue,
            };
            if !out.contains(&entry) {
                out.push(entry);
            }
        }
        out
    }
}
