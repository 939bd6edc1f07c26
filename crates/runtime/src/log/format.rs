//! Turns the bytes of one stream into CRI lines.

/// Longest part of a line.
const MAX_LINE: usize = 16 << 10;

/// One stream of a container.
#[derive(Debug)]
pub struct Formatter {
    stream: &'static str,
    /// Terminals end lines with `\r\n`.
    terminal: bool,
    /// The begun line.
    held: Vec<u8>,
}

impl Formatter {
    pub fn new(stream: &'static str, terminal: bool) -> Formatter {
        Formatter {
            stream,
            terminal,
            held: Vec::new(),
        }
    }

    /// Appends the lines that `bytes` complete to `out`. `nanos` is the time since the epoch.
    pub fn push(&mut self, mut bytes: &[u8], nanos: u64, out: &mut Vec<u8>) {
        let time = rfc3339(nanos);
        while !bytes.is_empty() {
            let room = MAX_LINE - self.held.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            match window.iter().position(|b| *b == b'\n') {
                Some(end) => {
                    self.emit(&time, b'F', &bytes[..end], out);
                    bytes = &bytes[end + 1..];
                }
                None if window.len() > room => {
                    self.emit(&time, b'P', &bytes[..room], out);
                    bytes = &bytes[room..];
                }
                None => {
                    self.held.extend_from_slice(bytes);
                    bytes = &[];
                }
            }
        }
    }

    /// The stream ended: a begun line is one.
    pub fn finish(&mut self, nanos: u64, out: &mut Vec<u8>) {
        if !self.held.is_empty() {
            self.emit(&rfc3339(nanos), b'F', &[], out);
        }
        self.held = Vec::new();
    }

    fn emit(&mut self, time: &[u8], tag: u8, rest: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(time);
        out.push(b' ');
        out.extend_from_slice(self.stream.as_bytes());
        out.extend_from_slice(&[b' ', tag, b' ']);
        out.extend_from_slice(&self.held);
        out.extend_from_slice(rest);
        if self.terminal && tag == b'F' && out.last() == Some(&b'\r') {
            out.pop();
        }
        out.push(b'\n');
        self.held.clear();
    }
}

/// `2026-11-21T08:40:00.000000000Z`.
fn rfc3339(nanos: u64) -> Vec<u8> {
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z").into_bytes()
}

/// Year, month and day of a day since 1970-01-01, in the proleptic Gregorian calendar: counted from 1 March of year 0, where
/// leap days end a year and 400 years are one cycle.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (cycle, of_cycle) = (days / 146_097, days % 146_097);
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (cycle * 400 + year + u64::from(month <= 2), month, day)
}
