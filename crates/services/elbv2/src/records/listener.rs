//! A listener with its rules.

use crate::api;
use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Key: `{region}/{load balancer name}/{load balancer id}/{listener id}`. Its rules are part of it, so that no two
/// ever have one priority.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerRecord {
    pub region: String,
    pub arn: String,
    pub load_balancer_arn: String,
    pub port: u16,
    /// `HTTP`, `HTTPS`, `TCP`, `TLS`, `UDP`, `TCP_UDP`.
    pub protocol: String,
    pub ssl_policy: Option<String>,
    /// ARNs: the default one, then the list, which may have the default one too.
    pub certificates: Vec<String>,
    pub alpn_policy: Option<String>,
    /// `MutualAuthentication` as asked; only `off` can be.
    pub mutual_authentication: Option<api::MutualAuthenticationAttributes>,
    /// Every attribute, defaults included.
    pub attributes: BTreeMap<String, String>,
    /// By priority, the default rule last.
    pub rules: Vec<RuleRecord>,
    pub tags: Tags,
}

/// A rule, in the shapes that describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleRecord {
    pub arn: String,
    /// None for the default rule.
    pub priority: Option<u32>,
    pub conditions: Vec<api::RuleCondition>,
    pub actions: Vec<api::Action>,
    pub transforms: Vec<api::RuleTransform>,
    pub tags: Tags,
}

impl RuleRecord {
    /// ARNs of the target groups it forwards to.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.actions.iter().flat_map(|action| {
            let forward = action.forward_config.as_ref().and_then(|f| f.target_groups.as_deref());
            let named = forward
                .unwrap_or_default()
                .iter()
                .filter_map(|g| g.target_group_arn.as_deref());
            named.chain(action.target_group_arn.as_deref())
        })
    }
}

impl ListenerRecord {
    /// Index: listeners that forward to a target group, value its ARN.
    pub const BY_GROUP: &'static str = "elbv2-listener-by-group";
    /// Index: listeners that serve a certificate, value its ARN.
    pub const BY_CERTIFICATE: &'static str = "elbv2-listener-by-certificate";

    /// ARNs of the target groups that its rules forward to.
    pub fn groups(&self) -> BTreeSet<&str> {
        self.rules.iter().flat_map(RuleRecord::groups).collect()
    }

    /// The rule that requests get when no other matches.
    pub fn default_rule(&self) -> Option<&RuleRecord> {
        self.rules.iter().find(|rule| rule.priority.is_none())
    }

    /// Brings the rules into the order in which they are tried.
    pub fn sort_rules(&mut self) {
        self.rules.sort_by_key(|rule| rule.priority.unwrap_or(u32::MAX));
    }
}

impl Record for ListenerRecord {
    const PREFIX: &'static str = "elbv2/listener/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let groups = self.groups().into_iter().map(|arn| (Self::BY_GROUP, arn.to_owned()));
        let certificates: BTreeSet<&String> = self.certificates.iter().collect();
        let certificates = certificates.into_iter().map(|arn| (Self::BY_CERTIFICATE, arn.clone()));
        groups.chain(certificates).collect()
    }
}
