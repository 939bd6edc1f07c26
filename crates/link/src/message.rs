//! The messages of the node link.

use crate::network::NetworkEntry;
use crate::task::{TaskReport, TaskSpec};
use neargate_core::{CpuUnits, MiB, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A node introduces itself: first message of a connection, again whenever it changes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Stable id of the machine, 32 hex digits: the last part of its container-instance ARN.
    pub node_id: String,
    pub hostname: String,
    /// Neargate's version on the node.
    pub version: String,
    pub cpu: CpuUnits,
    pub memory: MiB,
    /// `LINUX`.
    pub os_family: String,
    /// `X86_64` or `ARM64`.
    pub cpu_architecture: String,
    /// Container-instance attributes besides the standard `ecs.*` ones.
    pub attributes: BTreeMap<String, String>,
    /// Runs nothing, any image exists.
    pub simulated: bool,
}

/// Control to a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum ToNode {
    /// The node's desired set at `generation`. With `base` none it is whole; otherwise it is `base` with `upsert`
    /// and `remove` applied, and a node that does not hold `base` answers `FromNode::Resync`.
    Desired {
        generation: u64,
        base: Option<u64>,
        upsert: Vec<Arc<TaskSpec>>,
        remove: Vec<String>,
    },
    /// The node's network table. With `whole` it is `upsert` alone; otherwise what the node has, changed. Sent before
    /// the tasks that stand on it; never to simulated nodes.
    Network {
        generation: u64,
        whole: bool,
        upsert: Vec<NetworkEntry>,
        /// Keys as of `NetworkEntry::key`.
        remove: Vec<String>,
    },
    /// Log events of `source` up to `offset` are durable.
    LogsStored { source: String, offset: u64 },
    /// Reports up to `sequence` are durable.
    ReportsStored { sequence: u64 },
    /// Answer to `Ping`.
    Pong,
    /// Answer to `OpenLog`: what the source writes has a place to go, or the AWS error that says why not.
    LogOpened { source: String, refused: Option<String> },
    /// Answer to `Protection` of this number.
    Protection { number: u64, answer: ProtectionAnswer },
}

/// A node to control.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum FromNode {
    Hello(NodeHello),
    /// The desired set at this generation is taken over.
    Applied {
        generation: u64,
    },
    /// The network table of this generation is what packets meet.
    NetworkApplied {
        generation: u64,
    },
    /// Send the whole desired set again.
    Resync,
    /// States of tasks; re-sent after reconnecting until `ReportsStored`.
    Reports {
        sequence: u64,
        tasks: Vec<TaskReport>,
    },
    Logs(LogBatch),
    Ping,
    /// Asked before a container starts, and again on every connection until `LogOpened`.
    OpenLog(LogOpening),
    /// Asked for a task's own program. It may stay without an answer: the node does not wait long.
    Protection(ProtectionRequest),
}

/// A task asks about its protection from scale-in, or changes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionRequest {
    /// The node's own count, by which it knows the answer.
    pub number: u64,
    /// `TaskSpec::id`.
    pub task_id: String,
    /// None asks only.
    pub change: Option<ProtectionChange>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtectionChange {
    pub enabled: bool,
    /// None: ECS's own default.
    pub expires_in_minutes: Option<i32>,
}

/// What ECS says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProtectionAnswer {
    /// None: it is not protected.
    Protection { until: Option<Timestamp> },
    /// The task cannot be protected: ECS's failure.
    Failure { reason: String, detail: Option<String> },
    /// ECS's error.
    Error {
        /// Of HTTP.
        status: u16,
        code: String,
        message: String,
        request_id: String,
    },
}

/// The place that a container's log is about to need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOpening {
    /// As in `LogBatch`.
    pub source: String,
    pub region: String,
    pub group: String,
    pub stream: String,
    /// Create the group when it is missing (`awslogs-create-group`).
    pub create_group: bool,
}

/// Lines that one container wrote, for CloudWatch Logs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogBatch {
    /// Stable name of the log's source (`<task id>/<container>`); `offset` counts in it.
    pub source: String,
    /// Offset before the first event; control ignores what it already stored.
    pub from_offset: u64,
    /// Offset after the last event.
    pub to_offset: u64,
    pub region: String,
    /// Made before by `LogOpening`; a group that was deleted since is not made again.
    pub group: String,
    pub stream: String,
    pub events: Vec<LogEvent>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEvent {
    pub timestamp: Timestamp,
    pub message: String,
}
