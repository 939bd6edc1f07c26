//! EC2 through its public face: operations by name as the front door calls them, and what nodes are told of it.

mod addresses;
mod deletion;
mod endpoints;
mod groups;
mod nat_gateways;
mod network;
mod routes;
mod subnets;
mod tags;
mod world;
