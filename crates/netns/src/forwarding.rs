//! Whether the machine forwards packets, which every task network needs: turned on by the first instance, put back by the
//! last.
//!
//! `network` is the caller. What the machine had before is noted in a file that all instances share. The invariant: no
//! instance that goes turns forwarding off under one that stays.

use crate::firewall;
use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";
/// The value before Neargate, while some instance has changed it.
const NOTE: &str = "/run/neargate.ip_forward";

/// Turns forwarding on and notes what it was. Called once the instance's firewall is loaded, so that others see it.
pub fn turn_on() -> io::Result<()> {
    if fs::read_to_string(FORWARD)?.trim() == "1" && !Path::new(NOTE).exists() {
        return Ok(());
    }
    let mut note = lock()?;
    let before = fs::read_to_string(FORWARD)?;
    if before.trim() == "1" {
        return Ok(());
    }
    note.set_len(0)?;
    note.rewind()?;
    note.write_all(before.trim().as_bytes())?;
    fs::write(FORWARD, "1")
}

/// Puts back what was before, unless another instance is there. Called once the instance's own firewall is gone.
pub fn put_back() -> io::Result<()> {
    if !Path::new(NOTE).exists() {
        return Ok(());
    }
    let mut note = lock()?;
    if firewall::any_is_loaded()? {
        return Ok(());
    }
    let mut before = String::new();
    note.read_to_string(&mut before)?;
    if !before.is_empty() {
        fs::write(FORWARD, before)?;
    }
    fs::remove_file(NOTE)
}

/// The note, held against other instances until dropped.
fn lock() -> io::Result<File> {
    loop {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(NOTE)?;
        flock(&file, FlockOperation::LockExclusive)?;
        // Whoever had it before may have removed it: then another file is the note.
        match fs::metadata(NOTE) {
            Ok(there) if there.ino() == file.metadata()?.ino() => return Ok(file),
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
}
