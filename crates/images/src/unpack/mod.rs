//! From a layer's bytes to a directory that overlayfs can stack.
//!
//! Called by `layers` off the async runtime, once for each layer, into a directory of its own that is only renamed
//! into place when everything was verified. Whatever a layer contains, nothing outside that directory changes.

mod apply;
pub(crate) mod stream;
#[cfg(test)]
mod tests;

use crate::digest::Hashing;
use crate::error::is_full;
use crate::gc::free_bytes;
use crate::store::Options;
use crate::{Digest, ImageError};
use apply::{Applier, Fault};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use stream::TarStream;

/// What a layer's bytes must be.
pub(crate) struct Expected<'a> {
    /// Of the bytes as they are stored or sent, compressed or not. Not checked when none.
    pub blob: Option<(&'a Digest, u64)>,
    /// Of the tar archive.
    pub diff_id: &'a Digest,
}

/// Unpacks `source` into `target/fs`, making `target`. Answers the directories that the archive only implies, parents
/// first, for `adopt_parents`.
///
/// # Errors
/// `Corrupt`, `UnsafeLayer`, `TooLarge`, `DiskFull`, `Unsupported`, `Io`. `target` is for the caller to remove.
pub(crate) fn unpack(
    source: impl Read,
    expected: &Expected<'_>,
    target: &Path,
    options: &Options,
) -> Result<Vec<Vec<u8>>, ImageError> {
    let layer = expected.blob.map_or(expected.diff_id, |(d, _)| d).to_string();
    let fs = target.join("fs");
    let local = |e| ImageError::io("unpacking into", target, e);
    std::fs::create_dir_all(&fs).map_err(local)?;

    let mut compressed = BufReader::with_capacity(128 * 1024, Hashing::new(source));
    let plain = decoder(&mut compressed, &layer).map_err(|e| told(e, &layer, target))?;
    let by_ratio = expected.blob.map_or(u64::MAX, |(_, size)| {
        size.saturating_mul(options.max_layer_ratio).max(1 << 30)
    });
    let limited = Limited {
        inner: plain,
        read: 0,
        checked: 0,
        max: options.max_layer_bytes.min(by_ratio),
        options,
        target,
    };
    let mut tar = TarStream::new(Hashing::new(limited));
    let applier = Applier::new(&fs, target.join("trash")).map_err(local)?;
    let implicit = applier
        .apply(&mut tar, options.max_layer_entries)
        .map_err(|fault| match fault {
            Fault::Refused { entry, why } => ImageError::UnsafeLayer {
                layer: layer.clone(),
                entry,
                why,
            },
            Fault::TooLarge(why) => ImageError::TooLarge {
                layer: layer.clone(),
                why,
            },
            Fault::Io(e) => told(e, &layer, target),
        })?;
    // The digest covers what follows the archive's end, too.
    let mut rest = tar.into_inner();
    io::copy(&mut rest, &mut io::sink()).map_err(|e| told(e, &layer, target))?;
    let (diff_id, unpacked) = (rest.digest(), rest.bytes);
    drop(rest);
    io::copy(&mut compressed, &mut io::sink()).map_err(|e| told(e, &layer, target))?;
    let stored = compressed.into_inner();
    if let Some((digest, size)) = expected.blob {
        if stored.bytes != size {
            return Err(ImageError::corrupt(
                layer,
                format!("it should have {size} bytes and has {}", stored.bytes),
            ));
        }
        let found = stored.digest();
        if found != *digest {
            return Err(ImageError::digest_mismatch(layer, digest, &found));
        }
    }
    if diff_id != *expected.diff_id {
        return Err(ImageError::digest_mismatch(
            format!("layer {layer} unpacked"),
            expected.diff_id,
            &diff_id,
        ));
    }
    tracing::debug!(%layer, bytes = unpacked, "unpacked");
    Ok(implicit)
}

/// Gives directories that a layer only implies the owner, mode and time that they have in the layers below
/// (`below`, nearest first), so that the layer does not change them by accident.
///
/// # Errors
/// `Io`.
pub(crate) fn adopt_parents(target: &Path, implicit: &[Vec<u8>], below: &[PathBuf]) -> Result<(), ImageError> {
    let failed = |e: rustix::io::Errno| ImageError::io("unpacking into", target, e.into());
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let open = |path: &Path| rustix::fs::openat(CWD, path, flags, Mode::empty());
    if implicit.is_empty() {
        return Ok(());
    }
    let root = open(&target.join("fs")).map_err(failed)?;
    for path in implicit {
        for layer in below {
            let lower = open(layer).map_err(failed)?;
            let stat = apply::open_beneath(&lower, path, OFlags::PATH | OFlags::NOFOLLOW)
                .and_then(|fd| rustix::fs::statat(&fd, "", AtFlags::EMPTY_PATH));
            let Ok(stat) = stat else { continue };
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                && let Ok(own) = apply::open_beneath(&root, path, flags)
            {
                let (uid, gid) = (
                    rustix::fs::Uid::from_raw(stat.st_uid),
                    rustix::fs::Gid::from_raw(stat.st_gid),
                );
                rustix::fs::fchown(&own, Some(uid), Some(gid)).map_err(failed)?;
                rustix::fs::fchmod(&own, Mode::from_raw_mode(stat.st_mode & 0o7777)).map_err(failed)?;
            }
            break;
        }
    }
    Ok(())
}

/// Tells the compression by the first bytes: media types are often wrong.
fn decoder<'a>(input: &'a mut impl BufRead, layer: &str) -> io::Result<Box<dyn Read + 'a>> {
    let head = input.fill_buf()?;
    let unsupported = |name: &str| {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("layer {layer} is compressed with {name}"),
        ))
    };
    if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Box::new(flate2::bufread::MultiGzDecoder::new(input)))
    } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
        || (head.len() > 3 && head[0] & 0xf0 == 0x50 && head[1..4] == [0x2a, 0x4d, 0x18])
    {
        Ok(Box::new(zstd::stream::read::Decoder::with_buffer(input)?))
    } else if head.starts_with(b"\xfd7zXZ") {
        unsupported("xz")
    } else if head.starts_with(b"BZh") {
        unsupported("bzip2")
    } else {
        Ok(Box::new(input))
    }
}

/// As `decoder`, for whole archives that hold images.
pub(crate) fn archive_decoder<'a>(input: &'a mut impl BufRead) -> io::Result<Box<dyn Read + 'a>> {
    decoder(input, "of the archive")
}

/// A limit that reading went over; travels inside an `io::Error`.
#[derive(Debug)]
struct Over(String);

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Over {}

/// Stops archives that unpack without end, before the disk is full.
struct Limited<'a, R> {
    inner: R,
    read: u64,
    /// Bytes read when the disk was last looked at.
    checked: u64,
    max: u64,
    options: &'a Options,
    target: &'a Path,
}

impl<R: Read> Read for Limited<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        const EVERY: u64 = 16 << 20;
        let n = self.inner.read(buf)?;
        self.read += n as u64;
        if self.read > self.max {
            return Err(io::Error::other(Over(format!(
                "it unpacks to more than {} bytes, the most that is allowed for its size",
                self.max
            ))));
        }
        if self.read - self.checked >= EVERY {
            self.checked = self.read;
            if free_bytes(self.target).is_ok_and(|free| free < self.options.keep_free_bytes) {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(n)
    }
}

/// What an I/O failure inside a layer means.
fn told(error: io::Error, layer: &str, target: &Path) -> ImageError {
    if is_full(&error) {
        return ImageError::io("unpacking", target, error);
    }
    if let Some(over) = error.get_ref().and_then(|e| e.downcast_ref::<Over>()) {
        return ImageError::TooLarge {
            layer: layer.to_owned(),
            why: over.0.clone(),
        };
    }
    match error.kind() {
        io::ErrorKind::Unsupported => ImageError::Unsupported {
            what: error.to_string(),
            why: "use gzip, zstd or no compression".to_owned(),
        },
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            ImageError::corrupt(format!("layer {layer}"), error.to_string())
        }
        // The decoders' own errors have no kind; those of the machine have a code.
        _ if error.raw_os_error().is_none() => ImageError::corrupt(format!("layer {layer}"), error.to_string()),
        _ => ImageError::io("unpacking into", target, error),
    }
}
