//! Runs containers. Two faces: [`shim_main`], a small single-threaded process per task that parents its containers, owns
//! their output and remembers how they ended, so that node and control may die and come back; and [`ShimClient`], by which
//! the node starts shims, finds them again and talks to them.
//!
//! Called by the `node` crate and by the binary (`neargate shim`, before anything else runs). It knows nothing of ECS records,
//! images or addresses: it is given directories, a network namespace and limits.
//!
//! Invariant: what a task leaves in the kernel (processes, mounts, cgroups) is gone after its shim's
//! shutdown, or after [`cleanup`] when the shim died.

mod caps;
mod cgroup;
mod client;
mod exe;
mod init;
mod launch;
mod log;
mod native;
mod oci;
mod plan;
mod protocol;
mod seccomp;
mod shim;
mod state;
mod sys;
mod user;

pub use cgroup::{BlockIo, Usage, usage};
pub use client::{ShimClient, ShimError};
pub use exe::ShimExe;
pub use launch::{
    ContainerLaunch, Device, Exec, Log, LogMode, Mount, MountSource, Network, Resources, RootFs, RuntimeKind, Seccomp,
    Sharing, ShimLaunch, Swap, TaskLimits, Ulimit,
};
pub use protocol::{Event, Failure, FailureCode, Message, Reply, Request};
pub use shim::{cleanup, remove_cgroup_base, shim_main};
pub use state::{ContainerState, ExecOutcome, ExecResult, Exit, ProcessId, Status, TaskState, read_state};
