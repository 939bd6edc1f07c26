//! A request's body: whole, bounded, and in time.

use super::connection::Limits;
use bytes::{Bytes, BytesMut};
use flate2::read::GzDecoder;
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use neargate_core::AwsError;
use std::io::Read as _;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

/// Why there is no body.
#[derive(Debug)]
pub enum Unread {
    TooLarge,
    TooSlow,
    /// The client went away or broke the framing.
    Broken(hyper::Error),
}

/// A body beyond this many bytes takes one of the few places for large ones: reading comes before the signature is
/// known, and strangers must not fill the memory.
const SMALL: usize = 256 << 10;
/// Large bodies read at once; more wait.
pub const LARGE_AT_ONCE: usize = 16;

/// Reads the body. One that is too large is read on and thrown away for a moment, so that the client gets to see the
/// refusal instead of a reset connection.
pub async fn read(mut body: Incoming, limits: &Limits, large: &Semaphore) -> Result<Bytes, Unread> {
    let announced = body.size_hint().lower();
    let mut too_large = announced > limits.body as u64;
    let mut first = None;
    let mut rest = BytesMut::new();
    let mut seen = 0_usize;
    let mut place = None;
    let deadline = tokio::time::Instant::now() + limits.body_time;
    loop {
        let frame = match timeout_at(deadline, body.frame()).await {
            Err(_) if too_large => return Err(Unread::TooLarge),
            Err(_) => return Err(Unread::TooSlow),
            Ok(None) if too_large => return Err(Unread::TooLarge),
            Ok(None) => break,
            Ok(Some(Err(e))) => return Err(Unread::Broken(e)),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        seen = seen.saturating_add(data.len());
        if seen > SMALL && place.is_none() {
            // The semaphore is never closed.
            place = timeout_at(deadline, large.acquire())
                .await
                .map_err(|_| Unread::TooSlow)?
                .ok();
        }
        too_large |= seen > limits.body;
        if too_large {
            (first, rest) = (None, BytesMut::new());
            if seen > limits.body.saturating_mul(4) {
                return Err(Unread::TooLarge);
            }
            continue;
        }
        // Nearly every body is one frame and needs no copy.
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(before) => {
                rest.reserve((announced as usize).max(before.len() + data.len()));
                rest.extend_from_slice(&before);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

/// Undoes `Content-Encoding`. The signature covers the body as sent, so this comes after verification.
///
/// # Errors
/// `UnsupportedMediaTypeException` for encodings other than gzip, `SerializationException` for corrupt ones,
/// `RequestEntityTooLargeException` for those that unpack beyond the limit.
pub fn unpacked(encoding: Option<&str>, body: &[u8], limits: &Limits) -> Result<Option<Vec<u8>>, AwsError> {
    match encoding.map(|e| e.trim().to_ascii_lowercase()).as_deref() {
        None | Some("" | "identity") => Ok(None),
        Some("gzip") => {
            let mut out = Vec::new();
            let read = GzDecoder::new(body).take(limits.body as u64 + 1).read_to_end(&mut out);
            match read {
                Ok(n) if n > limits.body => Err(too_large(limits)),
                Ok(_) => Ok(Some(out)),
                Err(_) => Err(AwsError::new(
                    "SerializationException",
                    400,
                    "The request's body is not valid gzip.",
                )),
            }
        }
        Some(other) => {
            let shown: String = other.chars().take(64).collect();
            let text = format!("The content encoding '{shown}' is not supported; use gzip or none.");
            Err(AwsError::new("UnsupportedMediaTypeException", 415, text))
        }
    }
}

/// The refusal of a body beyond the limit.
pub fn too_large(limits: &Limits) -> AwsError {
    let text = format!("Request size exceeded the limit of {} bytes.", limits.body);
    AwsError::new("RequestEntityTooLargeException", 413, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(text: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        writer.write_all(text).unwrap();
        writer.finish().unwrap()
    }

    #[test]
    fn gzip_is_undone_within_the_limit_and_other_encodings_are_refused() {
        let limits = Limits {
            body: 1000,
            ..Limits::default()
        };
        assert_eq!(unpacked(None, b"x", &limits).unwrap(), None);
        assert_eq!(unpacked(Some("GZIP"), &packed(b"{}"), &limits).unwrap().unwrap(), b"{}");
        let bomb = packed(&vec![b' '; 1_000_000]);
        assert_eq!(
            unpacked(Some("gzip"), &bomb, &limits).unwrap_err().code,
            "RequestEntityTooLargeException"
        );
        assert_eq!(
            unpacked(Some("gzip"), b"nonsense", &limits).unwrap_err().code,
            "SerializationException"
        );
        assert_eq!(unpacked(Some("br"), b"x", &limits).unwrap_err().status, 415);
    }
}
