//! The node: runs the tasks that control assigns to this machine, and reports what becomes of them.
//!
//! Called by the binary (`neargate node`, `neargate down`). Each task is an actor that folds events into what is known
//! (`plan::observed`), asks the pure `plan` what to do, and does it through `ports`. Invariants: a task is on disk
//! before anything of it starts; a task id that once started never starts again; containers outlive this process, which
//! finds them again by their shims; reports only move forward and are repeated until control has stored them.
//! This crate deliberately knows no store and no AWS service; it knows control only through `link`.

pub mod adapters;
pub mod bundle;
mod config;
mod dirs;
mod inventory;
mod keeper;
pub mod logs;
pub mod metadata;
pub mod plan;
pub mod ports;
mod quota;
mod run;
pub mod simulated;
mod slots;
mod task;
mod teardown;

#[cfg(test)]
mod testing;

pub use config::{Cidr, GcPolicy, ImageOptions, NetworkConfig, NodeConfig, RuntimeKind, instance_of};
pub use run::{NodeError, run, run_with};
pub use teardown::teardown;
