//! Pure decisions: no clock, no randomness, no store. Time, ids and what was observed are arguments.

pub mod backoff;
pub mod circuit_breaker;
pub mod deployment;
pub mod events;
pub mod expression;
pub mod placement;
pub mod service;
pub mod transition;
