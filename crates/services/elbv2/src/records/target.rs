//! A target of a group.

use neargate_core::Timestamp;
use neargate_link::gateway::TargetState;
use neargate_store::{Record, Snapshot};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Key: `{region}/{group name}/{group id}/{id}/{port}`; one record a target, so that whoever owns it is woken by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TargetRecord {
    pub region: String,
    pub group_arn: String,
    /// An address or an instance id.
    pub id: String,
    pub port: u16,
    /// Where it is reached: differs from `id` for instances.
    pub address: IpAddr,
    /// Its zone, or `all`.
    pub zone: Option<String>,
    /// ECS service key `{region}/{cluster}/{service}`; none for targets that a person registered.
    pub owner: Option<String>,
    /// Never the same for two registrations of a target.
    pub registered_at: Timestamp,
    /// Deregistered: gets no new requests, running ones end until this.
    pub draining_until: Option<Timestamp>,
    pub health: TargetHealth,
}

/// How a target does, as a gateway last reported it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetHealth {
    pub state: TargetState,
    /// ELB's reason code; none when healthy.
    pub reason: Option<String>,
    pub description: Option<String>,
}

impl TargetHealth {
    /// Just registered.
    pub fn registering() -> TargetHealth {
        TargetHealth {
            state: TargetState::Initial,
            reason: Some("Elb.RegistrationInProgress".to_owned()),
            description: Some("Target registration is in progress".to_owned()),
        }
    }
}

impl TargetRecord {
    /// Index: targets of an ECS service, value its key.
    pub const BY_OWNER: &'static str = "elbv2-target-by-owner";
    /// Index: targets that drain, value empty.
    pub const DRAINING: &'static str = "elbv2-target-draining";

    /// Counter: targets of a group.
    pub fn in_group(group_arn: &str) -> String {
        format!("elbv2-target/{group_arn}")
    }

    /// Start of the keys of a group's targets; none when the text is no target group's ARN.
    pub fn group_prefix(group_arn: &str) -> Option<String> {
        let mut parts = group_arn.splitn(6, ':');
        let region = parts.nth(3)?;
        let resource = parts.nth(1)?.strip_prefix("targetgroup/")?;
        Some(format!("{region}/{resource}/"))
    }

    pub fn key(group_arn: &str, id: &str, port: u16) -> Option<String> {
        Some(format!("{}{id}/{port:05}", Self::group_prefix(group_arn)?))
    }

    /// It gets requests as far as its health goes; health checks that are off speak for it.
    pub fn is_healthy(&self) -> bool {
        self.draining_until.is_none() && matches!(self.health.state, TargetState::Healthy | TargetState::Unavailable)
    }

    /// No listener forwards to its group.
    pub fn is_unused(&self, snapshot: &Snapshot) -> bool {
        !crate::in_use(snapshot, &self.group_arn)
    }
}

impl Record for TargetRecord {
    const PREFIX: &'static str = "elbv2/target/";

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let owner = self.owner.iter().map(|owner| (Self::BY_OWNER, owner.clone()));
        let draining = self.draining_until.iter().map(|_| (Self::DRAINING, String::new()));
        owner.chain(draining).collect()
    }

    fn counters(&self) -> Vec<String> {
        vec![Self::in_group(&self.group_arn)]
    }
}
