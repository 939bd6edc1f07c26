//! The control process: the AWS endpoint and what it runs.

pub mod front_door;
pub mod gateways;
pub mod nodes;
