//! Finds the end of a chunked body, refusing every form that two readers could read differently.
//!
//! Called by the HTTP/1.1 engine with whatever has come; bytes are passed on as they are, so chunks keep their sizes,
//! extensions and trailers. Source: RFC 9112 section 7.1.

use super::token::{is_token, is_value, trim};

/// Most bytes of extensions behind a chunk's size.
const EXTENSION_LIMIT: usize = 4096;
/// Most bytes of trailers.
const TRAILER_LIMIT: usize = 16 * 1024;

/// The body is not chunked as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunk: {0}")]
pub struct BadChunk(pub &'static str);

/// What a body's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes of content.
    Data(usize),
    /// So many bytes of sizes and line ends.
    Framing(usize),
    /// So many bytes, the body's last.
    End(usize),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Size {
        digits: u8,
        value: u64,
    },
    Extension {
        seen: usize,
        value: u64,
    },
    SizeLf {
        value: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// A trailer's line, or the empty one.
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// Reads one body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    state: State,
    line: Vec<u8>,
    trailers: usize,
    /// Trailers, where they are wanted.
    kept: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl Default for Chunks {
    fn default() -> Chunks {
        Chunks {
            state: State::Size { digits: 0, value: 0 },
            line: Vec::new(),
            trailers: 0,
            kept: None,
        }
    }
}

impl Chunks {
    /// Of a body whose trailers are asked for at its end.
    pub fn keeping_trailers() -> Chunks {
        Chunks {
            kept: Some(Vec::new()),
            ..Chunks::default()
        }
    }

    /// What comes next is content.
    pub fn is_in_data(&self) -> bool {
        matches!(self.state, State::Data { .. })
    }

    /// There are trailers that nobody took.
    pub fn has_trailers(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| !kept.is_empty())
    }

    /// Names and values of the trailers, once the body is done.
    pub fn take_trailers(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.kept.take().unwrap_or_default()
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// How many of `bytes` belong to the body; `is_done` tells whether it ends there.
    ///
    /// # Errors
    /// [`BadChunk`]
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, BadChunk> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.step(&bytes[taken..])? {
                Step::Data(n) | Step::Framing(n) => taken += n,
                Step::End(n) => return Ok(taken + n),
            }
        }
        Ok(taken)
    }

    /// What the first of `bytes` are, of which there is at least one.
    ///
    /// # Errors
    /// [`BadChunk`]
    pub fn step(&mut self, bytes: &[u8]) -> Result<Step, BadChunk> {
        if let State::Data { left } = &mut self.state {
            let here = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            *left -= here as u64;
            if *left == 0 {
                self.state = State::DataCr;
            }
            return Ok(Step::Data(here));
        }
        for (at, byte) in bytes.iter().enumerate() {
            self.state = self.after(*byte)?;
            match self.state {
                State::Data { .. } => return Ok(Step::Framing(at + 1)),
                State::Done => return Ok(Step::End(at + 1)),
                _ => {}
            }
        }
        Ok(Step::Framing(bytes.len()))
    }

    fn after(&mut self, byte: u8) -> Result<State, BadChunk> {
        Ok(match (&self.state, byte) {
            (State::Size { digits, value }, _) if byte.is_ascii_hexdigit() => {
                // Fifteen digits always fit, and no chunk is longer.
                if *digits == 15 {
                    return Err(BadChunk("its size is too large"));
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                State::Size {
                    digits: digits + 1,
                    value: value * 16 + u64::from(digit),
                }
            }
            (State::Size { digits: 0, .. }, _) => return Err(BadChunk("no size")),
            (State::Size { value, .. }, b'\r') => State::SizeLf { value: *value },
            (State::Size { value, .. }, b';') => State::Extension { seen: 0, value: *value },
            (State::Extension { value, .. }, b'\r') => State::SizeLf { value: *value },
            (State::Extension { seen, value }, _) if is_value(&[byte]) && *seen < EXTENSION_LIMIT => State::Extension {
                seen: seen + 1,
                value: *value,
            },
            (State::SizeLf { value: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { value }, b'\n') => State::Data { left: *value },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { digits: 0, value: 0 },
            (State::Trailer, b'\r') if self.line.is_empty() => State::EndLf,
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, _) if is_value(&[byte]) => {
                self.trailers += 1;
                if self.trailers > TRAILER_LIMIT {
                    return Err(BadChunk("trailers are too long"));
                }
                self.line.push(byte);
                State::Trailer
            }
            (State::TrailerLf, b'\n') => {
                let Some((name, value)) = trailer(&self.line) else {
                    return Err(BadChunk("a trailer"));
                };
                if let Some(kept) = &mut self.kept {
                    kept.push((name.to_vec(), value.to_vec()));
                }
                self.line.clear();
                State::Trailer
            }
            (State::EndLf, b'\n') => State::Done,
            (State::Size { .. } | State::Extension { .. } | State::SizeLf { .. }, _) => {
                return Err(BadChunk("the line of its size"));
            }
            (State::DataCr | State::DataLf, _) => return Err(BadChunk("no line end behind it")),
            _ => return Err(BadChunk("a trailer's line")),
        })
    }
}

/// A trailer's name and value.
fn trailer(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let colon = line.iter().position(|b| *b == b':')?;
    let name = &line[..colon];
    (is_token(name) && may_trail(name)).then(|| (name, trim(&line[colon + 1..])))
}

/// False for fields that steer how a message is read, and for those that the load balancer itself tells targets.
pub fn may_trail(name: &[u8]) -> bool {
    const FORBIDDEN: [&str; 5] = ["transfer-encoding", "content-length", "host", "connection", "upgrade"];
    const OWN: [&str; 2] = ["x-forwarded-", "x-amzn-"];
    let begins = |own: &&str| {
        name.get(..own.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(own.as_bytes()))
    };
    !FORBIDDEN.iter().any(|f| name.eq_ignore_ascii_case(f.as_bytes())) && !OWN.iter().any(begins)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(chunks: &[Vec<u8>], trailer: &str) -> Vec<u8> {
        let mut out = Vec::new();
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            out.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            out.extend(chunk);
            out.extend(b"\r\n");
        }
        out.extend(format!("0\r\n{trailer}\r\n").into_bytes());
        out
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        let cases: &[&[u8]] = &[
            b"\r\n",
            b"0x5\r\n",
            b"+5\r\n",
            b" 5\r\n",
            b"5 \r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhelloX\r\n",
            b"5\r\nhello\n",
            b"fffffffffffffffff\r\n",
            b"5;a\nb\r\nhello",
            b"0\r\nx\r\n\r\n",
            b"0\r\ncontent-length: 5\r\n\r\n",
            b"0\r\na: b\n\r\n",
            b"0\r\n a: b\r\n\r\n",
        ];
        for case in cases {
            let mut chunks = Chunks::default();
            assert!(chunks.take(case).is_err(), "{:?}", String::from_utf8_lossy(case));
        }
    }

    proptest! {
        #[test]
        fn a_body_ends_where_it_ends_however_it_is_split(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..8),
            trailer in prop_oneof![Just(""), Just("a: b\r\n")],
            rest in proptest::collection::vec(any::<u8>(), 0..10),
            split in 1_usize..9,
        ) {
            let body = encode(&chunks, trailer);
            let mut whole = body.clone();
            whole.extend(&rest);
            let (mut decoder, mut at, mut data) = (Chunks::default(), 0, Vec::<u8>::new());
            while !decoder.is_done() {
                let piece = &whole[at..(at + split).min(whole.len())];
                match decoder.step(piece).unwrap() {
                    Step::Data(n) => { data.extend(&piece[..n]); at += n }
                    Step::Framing(n) | Step::End(n) => at += n,
                }
            }
            prop_assert_eq!(at, body.len());
            prop_assert_eq!(data, chunks.concat());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 1..200)) {
            let mut chunks = Chunks::default();
            if let Ok(taken) = chunks.take(&bytes) {
                prop_assert!(taken <= bytes.len());
            }
        }
    }
}
