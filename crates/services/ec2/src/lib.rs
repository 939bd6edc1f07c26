//! Amazon EC2, the part ECS stands on: VPCs, subnets, security groups, network interfaces.

pub mod api;
pub mod interface;
