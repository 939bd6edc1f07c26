//! One file per operation.

pub mod get_caller_identity;
