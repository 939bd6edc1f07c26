//! Real containers, made as root out of a static busybox. Every test has a task and a cgroup of its own and leaves nothing behind.

mod bed;
mod cli;
mod confinement;
mod limits;
mod logs;
mod running;
mod sharing;
mod survival;
