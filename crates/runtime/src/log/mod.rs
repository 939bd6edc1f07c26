//! What containers print, as files in the CRI's format: `<RFC 3339 time> <stdout|stderr> <F|P> <text>`, one a line; P marks
//! a part of a line longer than 16 KiB, ended by an F.
//!
//! # How a reader follows rotation
//! The live file is `path`; a full one is renamed to `path.1` (and that to `path.2` …) and never written again, whole
//! lines only. A reader keeps the file open, identified by its inode, and its offset in it. At the end of the file it compares
//! the inode of `path` with its own: when they differ the file was final *before* it looked, so it reads once more to the end
//! and then goes on with the next newer file (the one before the name that now has its inode). When no name has its
//! inode, more was written than all files hold; what it has missed begins at the oldest file.
//!
//! Disk use is bounded by `files × max_bytes` (and one line). What a full disk does not take is dropped, whole lines, and
//! counted; the container goes on.

mod file;
mod format;
mod relay;

pub use format::Formatter;

use crate::launch::{Log, LogMode};
use file::RotatingFile;
use relay::Relay;
use std::io;
use std::os::fd::RawFd;

/// Where a container's formatted lines go.
#[derive(Debug)]
pub enum Sink {
    /// Written at once; a slow disk slows the shim, the pipe fills and the container waits.
    Direct(RotatingFile),
    /// Through a bounded buffer and a process of its own.
    Relayed(Relay),
}

impl Sink {
    pub fn open(log: &Log) -> io::Result<Sink> {
        let file = RotatingFile::open(&log.path, log.max_bytes, log.files)?;
        match log.mode {
            LogMode::Blocking => Ok(Sink::Direct(file)),
            LogMode::NonBlocking { max_buffer_bytes } => Relay::start(file, max_buffer_bytes).map(Sink::Relayed),
        }
    }

    /// Takes whole lines.
    pub fn write(&mut self, lines: &[u8]) {
        match self {
            Sink::Direct(file) => file.write(lines),
            Sink::Relayed(relay) => relay.write(lines),
        }
    }

    pub fn dropped_lines(&self) -> u64 {
        match self {
            Sink::Direct(file) => file.dropped_lines(),
            Sink::Relayed(relay) => relay.dropped_lines(),
        }
    }

    /// A descriptor to be told of when it is writable, while something waits.
    pub fn wants_to_write(&self) -> Option<RawFd> {
        match self {
            Sink::Direct(_) => None,
            Sink::Relayed(relay) => relay.wants_to_write(),
        }
    }

    /// Goes on with what waits.
    pub fn flush(&mut self) {
        if let Sink::Relayed(relay) = self {
            relay.flush();
        }
    }

    /// Nothing more comes. The sink is done at once, or when the process by this pid has ended.
    pub fn finish(&mut self) -> Option<libc::pid_t> {
        match self {
            Sink::Direct(_) => None,
            Sink::Relayed(relay) => Some(relay.finish()),
        }
    }
}

#[cfg(test)]
mod tests;
