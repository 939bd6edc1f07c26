//! What a load balancer decides, without sockets: rules, targets, stickiness, health.
