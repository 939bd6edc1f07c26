//! Elastic Load Balancing v2: load balancers, listeners, rules, target groups and the health of targets.

pub mod api;
