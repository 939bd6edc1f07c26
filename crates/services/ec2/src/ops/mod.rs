//! One file per operation, or per kind of resource where its operations share their checks.

pub mod addresses;
pub mod ask;
pub mod describe_availability_zones;
pub mod describe_regions;
pub mod describe_security_groups;
pub mod describe_subnets;
pub mod describe_vpc_attribute;
pub mod describe_vpcs;
pub mod endpoints;
pub mod group_rules;
pub mod interfaces;
pub mod internet_gateways;
pub mod nat_gateways;
pub mod prefix_lists;
pub mod route_tables;
pub mod routes;
pub mod security_groups;
pub mod subnets;
pub mod surroundings;
pub mod tags;
pub mod vpcs;

#[cfg(test)]
mod tests;
