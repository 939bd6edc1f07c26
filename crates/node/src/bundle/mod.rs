//! From a container as ECS defines it to what the engine is told to start.
//!
//! Called by the executor's prepare and start steps. `launch` and its parts are pure; only environment files are read
//! from disk.

pub mod envfile;
pub mod etc;
pub mod launch;
pub mod links;
pub mod mounts;
pub mod process;
