//! A route table with its routes and the subnets that use it.

use super::ClientToken;
use neargate_core::Tags;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// Key: `{region}/{id}`. The route to the VPC's own ranges is not stored: every table has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteTableRecord {
    pub region: String,
    /// `rtb-` and 17 hex digits.
    pub id: String,
    pub vpc_id: String,
    /// `rtbassoc-…` of the VPC's main table: subnets without a table of their own use it.
    pub main_association: Option<String>,
    pub associations: Vec<RouteTableAssociation>,
    pub routes: Vec<RouteRecord>,
    #[serde(default)]
    pub made_under: Option<ClientToken>,
    pub tags: Tags,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteTableAssociation {
    /// `rtbassoc-` and 17 hex digits.
    pub id: String,
    pub subnet_id: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRecord {
    pub destination: Destination,
    pub target: RouteTarget,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Destination {
    Range((Ipv4Addr, u8)),
    PrefixList(String),
}

/// Ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RouteTarget {
    InternetGateway(String),
    NatGateway(String),
    Interface(String),
    /// A gateway endpoint; such routes come and go with it.
    Endpoint(String),
}

impl RouteTableRecord {
    pub fn key(region: &str, id: &str) -> String {
        format!("{region}/{id}")
    }

    pub fn own_key(&self) -> String {
        Self::key(&self.region, &self.id)
    }
}

impl Record for RouteTableRecord {
    const PREFIX: &'static str = "ec2/route-table/";
}
