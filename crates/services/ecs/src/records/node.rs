//! A machine that runs tasks: it answers as a container instance of every cluster.

use neargate_core::Timestamp;
use neargate_link::NodeHello;
use neargate_store::Record;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Key: the node id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub hello: NodeHello,
    /// 0 is zone `a` of a region, 1 zone `b` …
    pub availability_zone_index: u32,
    pub connected: bool,
    /// When `connected` last changed.
    pub connectivity_at: Timestamp,
    pub registered_at: Timestamp,
    /// Grows with every change that a client can see.
    pub version: i64,
}

impl NodeRecord {
    /// The zone's name in `region`, e.g. `us-east-1a`.
    pub fn availability_zone(&self, region: &str) -> String {
        zone_name(region, self.availability_zone_index)
    }

    /// The machine's id in the form EC2 has, `i-` and 17 hex digits.
    pub fn ec2_instance_id(&self) -> String {
        format!("i-{}", self.hello.node_id.chars().take(17).collect::<String>())
    }

    /// Every attribute of the container instance, the standard `ecs.*` ones included, as `region` shows them.
    pub fn attributes(&self, region: &str) -> BTreeMap<String, Option<String>> {
        let mut out: BTreeMap<String, Option<String>> = self
            .hello
            .attributes
            .iter()
            .map(|(k, v)| (k.clone(), (!v.is_empty()).then(|| v.clone())))
            .collect();
        let architecture = match self.hello.cpu_architecture.as_str() {
            "ARM64" => "arm64",
            _ => "x86_64",
        };
        for (name, value) in [
            ("ecs.availability-zone", self.availability_zone(region)),
            ("ecs.cpu-architecture", architecture.to_owned()),
            ("ecs.instance-type", "neargate".to_owned()),
            ("ecs.os-family", self.hello.os_family.clone()),
            ("ecs.os-type", "linux".to_owned()),
        ] {
            out.insert(name.to_owned(), Some(value));
        }
        for name in CAPABILITIES {
            out.insert((*name).to_owned(), None);
        }
        out
    }
}

/// Name of a region's zone by index.
pub fn zone_name(region: &str, index: u32) -> String {
    let letter = char::from(b'a' + u8::try_from(index % 26).unwrap_or(0));
    format!("{region}{letter}")
}

/// The index of a region's zone by name.
pub fn zone_index(region: &str, zone: &str) -> Option<u32> {
    match zone.strip_prefix(region)?.as_bytes() {
        [letter @ b'a'..=b'z'] => Some(u32::from(letter - b'a')),
        _ => None,
    }
}

/// What every node can do, in the words of the ECS agent.
const CAPABILITIES: &[&str] = &[
    "com.amazonaws.ecs.capability.docker-remote-api.1.17",
    "com.amazonaws.ecs.capability.docker-remote-api.1.18",
    "com.amazonaws.ecs.capability.docker-remote-api.1.19",
    "com.amazonaws.ecs.capability.docker-remote-api.1.21",
    "com.amazonaws.ecs.capability.docker-remote-api.1.22",
    "com.amazonaws.ecs.capability.docker-remote-api.1.24",
    "com.amazonaws.ecs.capability.docker-remote-api.1.25",
    "com.amazonaws.ecs.capability.docker-remote-api.1.29",
    "com.amazonaws.ecs.capability.logging-driver.awslogs",
    "com.amazonaws.ecs.capability.logging-driver.json-file",
    "com.amazonaws.ecs.capability.privileged-container",
    "ecs.capability.container-health-check",
    "ecs.capability.container-ordering",
    "ecs.capability.container-restart-policy",
    "ecs.capability.env-files.s3",
    "ecs.capability.pid-ipc-namespace-sharing",
    "ecs.capability.task-cpu-mem-limit",
    "ecs.capability.task-eni",
];

impl Record for NodeRecord {
    const PREFIX: &'static str = "ecs/node/";
}
