//! Units in types, so that a number never loses what it counts.

use serde::{Deserialize, Serialize};

/// CPU units: 1024 are one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CpuUnits(pub u32);

/// Mebibytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MiB(pub u32);

impl MiB {
    pub const fn bytes(self) -> u64 {
        self.0 as u64 * 1024 * 1024
    }
}
