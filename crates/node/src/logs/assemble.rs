//! From lines to log events: parts joined, multi-line patterns applied, cut into batches that CloudWatch Logs takes.
//!
//! Called by `follow`. A batch ends where nothing is half read, so that one cut at the same place again has the same
//! content. A pattern that begins events holds the last one back until the next begins, or until `Until::Flush` says
//! that nothing more is waited for. As in the awslogs driver, a pattern sees the lines of both streams in order.

use super::cri::{self, Line, Stream};
use super::tail::{Item, Position, Tail};
use neargate_core::Timestamp;
use neargate_link::LogEvent;
use regex::bytes::Regex;
use std::io;

/// CloudWatch Logs counts so many bytes for an event besides its message.
const EVENT_OVERHEAD: usize = 26;
/// An event's longest message, as the awslogs driver cuts it.
const EVENT_BYTES: usize = 262_144 - EVENT_OVERHEAD;
/// CloudWatch Logs takes 1,048,576 bytes and 10,000 events a batch; an event of each stream may be half read when reading
/// stops, and with a pattern one more.
const BATCH_BYTES: usize = 1_048_576;
const STOP_EVENTS: usize = 10_000 - 3;

const LOST: &str = "[neargate] log lines are missing here: the container wrote more than its rotated log files hold \
                    before they could be sent";

/// Where to stop reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// What is whole now.
    Whole,
    /// All there is, half-read events included.
    Flush,
    /// Exactly the batch that ended at this offset when it was cut the first time.
    Offset(u64),
}

/// A batch's events and where it ends.
#[derive(Debug, Default, PartialEq)]
pub struct Cut {
    pub events: Vec<LogEvent>,
    pub end: Position,
    /// Lines were read that belong to no whole event yet.
    pub held_back: bool,
}

/// Text being put together.
#[derive(Default)]
struct Pending {
    at: Option<Timestamp>,
    text: Vec<u8>,
}

impl Pending {
    fn is_empty(&self) -> bool {
        self.at.is_none()
    }

    fn add(&mut self, at: Timestamp, text: &[u8], separator: &[u8]) {
        if self.at.is_some() {
            self.text.extend_from_slice(separator);
        }
        self.at.get_or_insert(at);
        self.text.extend_from_slice(text);
    }

    fn take(&mut self) -> Option<(Timestamp, Vec<u8>)> {
        Some((self.at.take()?, std::mem::take(&mut self.text)))
    }
}

struct Assembly<'a> {
    pattern: Option<&'a Regex>,
    events: Vec<LogEvent>,
    bytes: usize,
    /// Lines of which only parts were read, by stream.
    parts: [Pending; 2],
    /// The event that a pattern keeps open.
    event: Pending,
}

impl Assembly<'_> {
    /// Takes a line in. True when what was read before it is whole, so that a batch may end before it.
    fn line(&mut self, line: Line<'_>) -> bool {
        let parts = &mut self.parts[usize::from(line.stream == Stream::Stderr)];
        let first = parts.is_empty();
        parts.add(line.at, line.text, b"");
        if line.partial && parts.text.len() < EVENT_BYTES {
            return false;
        }
        if let (true, None, Some(at)) = (line.partial, self.pattern, parts.at) {
            let rest = parts.text.split_off(event_of(&parts.text));
            let full = std::mem::replace(&mut parts.text, rest);
            self.emit(at, &full);
            return false;
        }
        let whole = parts.take();
        let single = first && self.parts.iter().all(Pending::is_empty);
        let Some((at, text)) = whole else { return false };
        let Some(pattern) = self.pattern else {
            self.emit(at, &text);
            return false;
        };
        let begins = pattern.is_match(&text) || self.event.text.len() + text.len() >= EVENT_BYTES;
        let closed = begins && self.close_event();
        self.event.add(at, &text, b"\n");
        closed && single
    }

    fn close_event(&mut self) -> bool {
        let Some((at, text)) = self.event.take() else {
            return false;
        };
        self.emit(at, &text);
        true
    }

    /// Whatever is half read becomes events as it is.
    fn flush(&mut self) {
        self.close_event();
        for index in 0..self.parts.len() {
            if let Some((at, text)) = self.parts[index].take() {
                self.emit(at, &text);
            }
        }
    }

    /// Empty messages are none, as in the awslogs driver.
    fn emit(&mut self, at: Timestamp, mut text: &[u8]) {
        while !text.is_empty() {
            let (event, rest) = text.split_at(event_of(text));
            self.bytes += event.len() + EVENT_OVERHEAD;
            let message = String::from_utf8_lossy(event).into_owned();
            self.events.push(LogEvent { timestamp: at, message });
            text = rest;
        }
    }

    fn lost(&mut self) {
        let at = self
            .event
            .at
            .or(self.parts.iter().find_map(|p| p.at))
            .or(self.events.last().map(|e| e.timestamp));
        self.flush();
        self.emit(at.unwrap_or_default(), LOST.as_bytes());
    }

    fn is_whole(&self) -> bool {
        self.event.is_empty() && self.parts.iter().all(Pending::is_empty)
    }

    fn is_full(&self) -> bool {
        let half_read = self.event.text.len() + self.parts.iter().map(|p| p.text.len()).sum::<usize>();
        let open = if self.pattern.is_some() { 3 } else { 2 };
        let stop = BATCH_BYTES - open * (EVENT_BYTES + EVENT_OVERHEAD);
        self.bytes + half_read >= stop || self.events.len() >= STOP_EVENTS
    }
}

/// How much of `text` one event holds: no character is cut in two.
fn event_of(text: &[u8]) -> usize {
    let continues = |at: &usize| text.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    match text.len() <= EVENT_BYTES {
        true => text.len(),
        // A character has four bytes at most; what is no text is cut where it must be.
        false => (EVENT_BYTES - 3..=EVENT_BYTES)
            .rev()
            .find(|at| !continues(at))
            .unwrap_or(EVENT_BYTES),
    }
}

/// Cuts the next batch from where `tail` stands, and leaves `tail` at its end.
pub fn cut(tail: &mut Tail, pattern: Option<&Regex>, until: Until) -> io::Result<Cut> {
    let mut read = Assembly {
        pattern,
        events: Vec::new(),
        bytes: 0,
        parts: Default::default(),
        event: Pending::default(),
    };
    // Events and position at the last place where nothing was half read.
    let mut whole = (0, tail.position().clone());
    let limit = if let Until::Offset(offset) = until {
        offset
    } else {
        u64::MAX
    };
    while tail.position().offset < limit && (limit != u64::MAX || !read.is_full()) {
        let before = tail.position().clone();
        let Some(item) = tail.next()? else { break };
        match item {
            Item::Lost => read.lost(),
            // What is no line of the format is passed over, as its other readers do.
            Item::Line(line) => {
                if let Some(line) = cri::parse(line)
                    && read.line(line)
                {
                    whole = (read.events.len(), before);
                }
            }
        }
        if read.is_whole() {
            whole = (read.events.len(), tail.position().clone());
        }
    }
    // A full batch without such a place has to end in the middle.
    if until != Until::Whole || (read.is_full() && whole.0 == 0) {
        read.flush();
        whole = (read.events.len(), tail.position().clone());
    }
    let held_back = whole.1.offset < tail.position().offset;
    read.events.truncate(whole.0);
    tail.seek(whole.1.clone());
    Ok(Cut {
        events: read.events,
        end: whole.1,
        held_back,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    struct Log {
        dir: tempfile::TempDir,
    }

    /// Each line of `script` is `o` or `e` for the stream, `+` when more of the line follows, and the text.
    fn log(script: &str) -> Log {
        let dir = tempfile::tempdir().unwrap();
        let mut text = String::new();
        for (n, line) in script.lines().enumerate() {
            let (head, rest) = line.split_once(' ').unwrap_or((line, ""));
            let stream = if head.starts_with('o') { "stdout" } else { "stderr" };
            let flag = if head.ends_with('+') { "P" } else { "F" };
            text.push_str(&format!("2026-11-21T08:40:00.{n:03}000000Z {stream} {flag} {rest}\n"));
        }
        std::fs::write(dir.path().join("0.log"), text).unwrap();
        Log { dir }
    }

    impl Log {
        fn tail(&self) -> Tail {
            Tail::new(&PathBuf::from(self.dir.path()).join("0.log"), 3, Position::default())
        }
    }

    fn messages(cut: &Cut) -> Vec<&str> {
        cut.events.iter().map(|e| e.message.as_str()).collect()
    }

    #[test]
    fn parts_are_joined_by_stream_and_a_half_written_line_is_held_back() {
        let log = log("o+ a\ne x\no b\ne+ half");
        let mut tail = log.tail();
        let first = cut(&mut tail, None, Until::Whole).unwrap();
        assert_eq!(messages(&first), ["x", "ab"]);
        assert!(first.held_back);
        let last = cut(&mut tail, None, Until::Flush).unwrap();
        assert_eq!(messages(&last), ["half"]);
        assert!(!last.held_back);
    }

    #[test]
    fn a_line_longer_than_an_event_goes_on_in_the_next_one() {
        // As the runtime writes it: parts of 16 KiB, characters of two bytes.
        let part = "é".repeat(8192);
        let script = format!("{}o end\no next", format!("o+ x{part}\n").repeat(17));
        let read = cut(&mut log(&script).tail(), None, Until::Whole).unwrap();
        let lengths: Vec<usize> = read.events.iter().map(|e| e.message.len()).collect();
        let all = 17 * (part.len() + 1) + "end".len();
        assert_eq!(lengths[0], EVENT_BYTES);
        assert_eq!(lengths[1..], [all - EVENT_BYTES, "next".len()]);
        assert!(!read.events.iter().any(|e| e.message.contains('\u{fffd}')));
    }

    #[test]
    fn a_pattern_begins_events_and_the_last_waits() {
        let log = log("o INFO one\no   more\no INFO two\ne   trace\no\no INFO three");
        let pattern = Regex::new("^INFO").unwrap();
        let mut tail = log.tail();
        let first = cut(&mut tail, Some(&pattern), Until::Whole).unwrap();
        assert_eq!(messages(&first), ["INFO one\n  more", "INFO two\n  trace\n"]);
        assert!(first.held_back);
        assert_eq!(
            messages(&cut(&mut tail, Some(&pattern), Until::Whole).unwrap()),
            [""; 0]
        );
        assert_eq!(
            messages(&cut(&mut tail, Some(&pattern), Until::Flush).unwrap()),
            ["INFO three"]
        );
    }

    #[test]
    fn a_batch_cut_again_at_its_end_is_the_same() {
        let script: String = (0..300)
            .map(|n| format!("{} {}\n", if n % 3 == 0 { "o" } else { "e" }, n))
            .collect();
        let log = log(&script);
        for pattern in [None, Some(Regex::new("0$").unwrap())] {
            let mut tail = log.tail();
            let mut again = log.tail();
            let first = cut(&mut tail, pattern.as_ref(), Until::Whole).unwrap();
            let repeated = cut(&mut again, pattern.as_ref(), Until::Offset(first.end.offset)).unwrap();
            assert_eq!(first.events, repeated.events);
            assert_eq!(first.end, repeated.end);
        }
    }

    #[test]
    fn batches_stay_within_what_cloudwatch_takes() {
        let line = "x".repeat(10_000);
        let script: String = (0..300).map(|_| format!("o {line}\n")).collect();
        let log = log(&script);
        let mut tail = log.tail();
        let mut events = 0;
        loop {
            let batch = cut(&mut tail, None, Until::Whole).unwrap();
            if batch.events.is_empty() {
                break;
            }
            let bytes: usize = batch.events.iter().map(|e| e.message.len() + EVENT_OVERHEAD).sum();
            assert!(bytes <= 1_048_576, "{bytes}");
            events += batch.events.len();
        }
        assert_eq!(events, 300);
    }

    #[test]
    fn empty_lines_and_noise_send_nothing_but_count() {
        let log = log("o\no");
        let mut tail = log.tail();
        let batch = cut(&mut tail, None, Until::Whole).unwrap();
        assert!(batch.events.is_empty());
        assert!(batch.end.offset > 0);
    }

    #[test]
    fn an_endless_line_is_cut_into_events() {
        let part = "y".repeat(16_000);
        let script: String = (0..40).map(|_| format!("o+ {part}\n")).collect();
        let log = log(&script);
        let mut tail = log.tail();
        let mut sizes = Vec::new();
        loop {
            let batch = cut(&mut tail, None, Until::Flush).unwrap();
            if batch.events.is_empty() {
                break;
            }
            sizes.extend(batch.events.iter().map(|e| e.message.len()));
        }
        assert_eq!(sizes.iter().sum::<usize>(), 40 * 16_000);
        assert!(sizes.iter().all(|s| *s <= EVENT_BYTES), "{sizes:?}");
    }
}
