//! Health checks.
pub mod check;
