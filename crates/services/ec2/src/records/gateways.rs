//! Internet and NAT gateways.

use super::ClientToken;
use neargate_core::{Tags, Timestamp};
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::time::Duration;

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InternetGatewayRecord {
    pub region: String,
    /// `igw-` and 17 hex digits.
    pub id: String,
    /// The VPC that it is attached to.
    pub vpc_id: Option<String>,
    pub tags: Tags,
}

impl InternetGatewayRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }
}

impl Record for InternetGatewayRecord {
    const PREFIX: &'static str = "ec2/internet-gateway/";
}

/// Key: `{region}/{id}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NatGatewayRecord {
    pub region: String,
    /// `nat-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    pub subnet_id: String,
    /// None of one that failed, which holds nothing.
    pub interface_id: Option<String>,
    pub private_address: Option<Ipv4Addr>,
    /// Of public ones: the elastic address that was asked for.
    pub allocation_id: Option<String>,
    pub public_address: Option<Ipv4Addr>,
    pub created_at: Timestamp,
    pub deleted_at: Option<Timestamp>,
    /// Why it never became available.
    #[serde(default)]
    pub failure: Option<NatFailure>,
    #[serde(default)]
    pub made_under: Option<ClientToken>,
    pub tags: Tags,
}

impl NatGatewayRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    pub fn state(&self) -> NatState {
        match (self.deleted_at, self.failure) {
            (Some(_), _) => NatState::Deleted,
            (None, Some(_)) => NatState::Failed,
            (None, None) => NatState::Available,
        }
    }

    pub fn is_available(&self) -> bool {
        self.state() == NatState::Available
    }

    /// False once the hour is over for which one that was deleted or failed is described.
    pub fn is_remembered(&self, now: Timestamp) -> bool {
        let ended = self.deleted_at.or(self.failure.map(|_| self.created_at));
        ended.is_none_or(|at| now.since(at) < REMEMBERED)
    }
}

/// "A failed NAT gateway is automatically deleted, usually in about an hour", as deleted ones are; source: "Troubleshoot NAT
/// gateways" of the VPC guide.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatState {
    Available,
    Failed,
    Deleted,
}

/// What AWS finds wrong only after CreateNatGateway has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NatFailure {
    /// The VPC has no internet gateway, which a public one needs.
    NotAttached,
    /// Something else has the elastic address.
    AlreadyAssociated,
    /// The subnet is full.
    NoFreeAddress,
}

impl Record for NatGatewayRecord {
    const PREFIX: &'static str = "ec2/nat-gateway/";
}
