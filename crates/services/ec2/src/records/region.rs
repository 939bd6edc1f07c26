//! A region that was used.

use neargate_store::Record;
use serde::{Deserialize, Serialize};

/// Key: the region's name. It was given its default VPC, and is not given another when a person deletes that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionRecord {
    pub name: String,
}

impl Record for RegionRecord {
    const PREFIX: &'static str = "ec2/region/";
}
