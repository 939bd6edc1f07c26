//! The form of the link on a stream: a greeting with the protocol's version, then length-prefixed frames.
//!
//! `u32` length, little endian, then that many bytes of JSON; a length of zero is a heartbeat. The invariant: nobody
//! allocates what a peer only announces — a frame's memory grows with the bytes that came.

use crate::LinkError;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::sync::Arc;

/// Grows when an older peer could no longer understand a newer one. New optional members do not need it.
pub const PROTOCOL: u32 = 1;

/// No frame is longer; a node's whole desired set of some ten thousand tasks fits.
pub const MAX_FRAME: usize = 64 * 1024 * 1024;

/// Length of the greeting.
pub const GREETING: usize = 12;

const MAGIC: &[u8; 8] = b"neargate";

/// A message and the node it is for or from. One connection may carry many nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Framed<M> {
    pub node: Arc<str>,
    pub message: M,
}

/// What a side of a connection says first.
pub fn greeting(protocol: u32) -> [u8; GREETING] {
    let mut out = [0; GREETING];
    out[..8].copy_from_slice(MAGIC);
    out[8..].copy_from_slice(&protocol.to_le_bytes());
    out
}

/// Checks what the other side said first.
///
/// # Errors
/// `NotNeargate`, or `Version` with both numbers.
pub fn check_greeting(theirs: &[u8; GREETING]) -> Result<(), LinkError> {
    let (magic, number) = theirs.split_at(8);
    if magic != MAGIC {
        return Err(LinkError::NotNeargate);
    }
    let theirs = u32::from_le_bytes([number[0], number[1], number[2], number[3]]);
    if theirs == PROTOCOL {
        Ok(())
    } else {
        Err(LinkError::Version { ours: PROTOCOL, theirs })
    }
}

/// One frame, ready to be written.
///
/// # Errors
/// `FrameTooLong`, or `Encode` when the message has no JSON form.
pub fn encode<M: Serialize>(node: &str, message: &M) -> Result<Vec<u8>, LinkError> {
    #[derive(Serialize)]
    struct Out<'a, M> {
        node: &'a str,
        message: &'a M,
    }
    let mut bytes = vec![0; 4];
    serde_json::to_writer(&mut bytes, &Out { node, message }).map_err(LinkError::Encode)?;
    let length = bytes.len() - 4;
    if length > MAX_FRAME {
        return Err(LinkError::FrameTooLong {
            length,
            limit: MAX_FRAME,
        });
    }
    // MAX_FRAME is far below u32::MAX.
    bytes[..4].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(bytes)
}

/// A frame of no content: only a sign of life.
pub const HEARTBEAT: [u8; 4] = [0; 4];

/// Takes frames out of bytes as they come.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` already taken.
    taken: usize,
}

/// What a decoder found.
#[derive(Debug, PartialEq)]
pub enum Decoded<M> {
    Frame(Framed<M>),
    Heartbeat,
    /// The next frame is not whole yet.
    Incomplete,
}

impl Decoder {
    /// Where bytes from the stream are appended.
    pub fn buffer(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        // A rare large frame must not hold its memory for the life of the connection.
        if self.buffer.is_empty() && self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        self.buffer.reserve(READ);
        &mut self.buffer
    }

    /// True when nothing of a frame has come yet.
    pub fn is_empty(&self) -> bool {
        self.taken == self.buffer.len()
    }

    /// The next frame.
    ///
    /// # Errors
    /// `FrameTooLong` as soon as the length is known, `Decode` for content that is not `M`.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Decoded<M>, LinkError> {
        let rest = &self.buffer[self.taken..];
        let Some((head, body)) = rest.split_first_chunk::<4>() else {
            return Ok(Decoded::Incomplete);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME {
            return Err(LinkError::FrameTooLong {
                length,
                limit: MAX_FRAME,
            });
        }
        let Some(body) = body.get(..length) else {
            return Ok(Decoded::Incomplete);
        };
        self.taken += 4 + length;
        if length == 0 {
            return Ok(Decoded::Heartbeat);
        }
        serde_json::from_slice(body)
            .map(Decoded::Frame)
            .map_err(LinkError::Decode)
    }
}

const READ: usize = 16 * 1024;
const KEEP: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn greetings_tell_strangers_and_other_versions_apart() {
        assert!(check_greeting(&greeting(PROTOCOL)).is_ok());
        let error = check_greeting(&greeting(PROTOCOL + 1)).unwrap_err();
        assert!(matches!(error, LinkError::Version { ours: PROTOCOL, theirs } if theirs == PROTOCOL + 1));
        assert!(error.to_string().contains("protocol 2"), "{error}");
        assert!(matches!(check_greeting(b"GET / HTTP/1"), Err(LinkError::NotNeargate)));
    }

    #[test]
    fn a_frame_beyond_the_limit_is_refused_before_its_content_comes() {
        let mut decoder = Decoder::default();
        decoder.buffer().extend_from_slice(&u32::MAX.to_le_bytes());
        let error = decoder.take::<String>().unwrap_err();
        assert!(matches!(error, LinkError::FrameTooLong { .. }));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in_however_the_stream_is_cut(
            messages in proptest::collection::vec(".{0,40}", 0..20),
            cuts in proptest::collection::vec(1_usize..64, 1..40),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.extend(encode("n", message).unwrap());
                stream.extend(HEARTBEAT);
            }
            let (mut decoder, mut seen, mut heartbeats) = (Decoder::default(), Vec::new(), 0);
            let mut cuts = cuts.iter().cycle();
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
                rest = later;
                decoder.buffer().extend_from_slice(now);
                loop {
                    match decoder.take::<String>().unwrap() {
                        Decoded::Frame(frame) => seen.push(frame.message),
                        Decoded::Heartbeat => heartbeats += 1,
                        Decoded::Incomplete => break,
                    }
                }
            }
            prop_assert_eq!(&seen, &messages);
            prop_assert_eq!(heartbeats, messages.len());
            prop_assert!(decoder.is_empty());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::default();
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(decoded) = decoder.take::<crate::FromNode>() {
                if decoded_is_last(&decoded) { break; }
            }
        }
    }

    fn decoded_is_last<M>(decoded: &Decoded<M>) -> bool {
        matches!(decoded, Decoded::Incomplete)
    }
}
