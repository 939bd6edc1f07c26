//! AWS IAM, the part that load balancers need: server certificates.

pub mod api;
