//! Access log lines and the names of log files, as Elastic Load Balancing writes them to S3.
//!
//! Sources: "Access logs for your Application Load Balancer" and "… Network Load Balancer" of the ELB guide. Entries
//! borrow what they write; a line is written in one pass into a buffer that the caller keeps.

mod alb;
mod key;
mod nlb;

pub use alb::{AlbEntry, AlbKind, RulePriority, TargetTimes};
pub use key::{alb_key, nlb_key};
pub use nlb::NlbTlsEntry;

use neargate_core::Timestamp;
use std::io::Write as _;

/// A line under way: fields with a space between them.
struct Line<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl<'o> Line<'o> {
    fn new(out: &'o mut Vec<u8>) -> Line<'o> {
        Line { out, first: true }
    }

    fn space(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b' ');
        }
    }

    fn field(&mut self, value: impl std::fmt::Display) {
        self.space();
        // Writing to a vector does not fail.
        let _ = write!(self.out, "{value}");
    }

    /// `-` for what there is not. What came from outside cannot end the field or the line.
    fn text(&mut self, value: Option<&[u8]>) {
        self.space();
        match value.filter(|value| !value.is_empty()) {
            Some(value) => escape(value, true, self.out),
            None => self.out.push(b'-'),
        }
    }

    fn optional(&mut self, value: Option<impl std::fmt::Display>) {
        match value {
            Some(value) => self.field(value),
            None => self.field('-'),
        }
    }

    fn quoted(&mut self, value: Option<&[u8]>) {
        self.quoted_with(|out| match value.filter(|value| !value.is_empty()) {
            Some(value) => escape(value, false, out),
            None => out.push(b'-'),
        });
    }

    fn quoted_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.space();
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn time(&mut self, at: Timestamp, micros: u32) {
        self.space();
        let whole = at.iso8601();
        let seconds = whole.split_once('.').map_or(&*whole, |(seconds, _)| seconds);
        let micros = micros % 1_000_000;
        let _ = write!(self.out, "{seconds}.{micros:06}Z");
    }

    fn end(self) {
        self.out.push(b'\n');
    }
}

/// Writes what a client sent so that it can be read back: quotes and backslashes after a backslash, the rest that is not
/// printable ASCII in hexadecimal, spaces too where they would end the field.
fn escape(value: &[u8], spaces: bool, out: &mut Vec<u8>) {
    for byte in value {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b' ' if !spaces => out.push(b' '),
            0x21..=0x7e => out.push(*byte),
            _ => drop(write!(out, "\\x{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests;
