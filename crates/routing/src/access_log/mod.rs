//! Access log lines and the names of log files, as Elastic Load Balancing writes them to S3.
//!
//! Sources: "Access logs for your Application Load Balancer" and "… Network Load Balancer" of the ELB guide. Entries
//! borrow what they write; a line is written in one pass into a buffer that the caller keeps.

mod alb;
mod key;
mod nlb;

pub use alb::{AlbEntry, AlbKind, RulePriority, TargetTimes};
pub use key::{alb_key, nlb_key, test_key};
pub use nlb::NlbTlsEntry;

use crate::digits;
use neargate_core::Timestamp;
use std::net::SocketAddr;

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

    /// What needs no care: it is our own.
    fn plain(&mut self, value: &str) {
        self.space();
        self.out.extend_from_slice(value.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.space();
        digits::number(number, self.out);
    }

    fn address(&mut self, address: SocketAddr) {
        self.space();
        digits::socket(address, self.out);
    }

    /// `-` for what there is not. What came from outside cannot end the field or the line.
    fn text(&mut self, value: Option<&[u8]>) {
        self.space();
        match value.filter(|value| !value.is_empty()) {
            Some(value) => escape(value, true, self.out),
            None => self.out.push(b'-'),
        }
    }

    fn optional(&mut self, number: Option<u64>) {
        match number {
            Some(number) => self.number(number),
            None => self.plain("-"),
        }
    }

    fn quoted(&mut self, value: Option<&[u8]>) {
        self.quoted_with(|out| match value.filter(|value| !value.is_empty()) {
            Some(value) => escape(value, false, out),
            None => out.push(b'-'),
        });
    }

    /// What needs no care, in quotes.
    fn quoted_plain(&mut self, value: Option<&str>) {
        self.quoted_with(|out| out.extend_from_slice(value.unwrap_or("-").as_bytes()));
    }

    fn quoted_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.space();
        self.out.push(b'"');
        write(self.out);
        self.out.push(b'"');
    }

    fn time(&mut self, at: Timestamp, micros: u32) {
        self.space();
        digits::micros(at, micros, self.out);
    }

    fn end(self) {
        self.out.push(b'\n');
    }
}

/// Writes what a client sent so that it can be read back: quotes and backslashes after a backslash, the rest that is not
/// printable ASCII in hexadecimal, spaces too where they would end the field.
fn escape(value: &[u8], spaces: bool, out: &mut Vec<u8>) {
    let least = if spaces { b'!' } else { b' ' };
    let plain = |byte: &u8| (*byte >= least) & (*byte <= b'~') & (*byte != b'"') & (*byte != b'\\');
    // All of it at once, which takes a fraction of looking for the first that is not: there is none, nearly always.
    if value.iter().fold(true, |all, byte| all & plain(byte)) {
        out.extend_from_slice(value);
        return;
    }
    let mut left = value;
    loop {
        let run = left.iter().position(|byte| !plain(byte)).unwrap_or(left.len());
        out.extend_from_slice(&left[..run]);
        let Some((byte, rest)) = left[run..].split_first() else {
            return;
        };
        left = rest;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            byte => {
                out.extend_from_slice(b"\\x");
                digits::hexadecimal((*byte).into(), 2, out);
            }
        }
    }
}

#[cfg(test)]
mod tests;
