//! Files that a gateway left unfinished when it was killed: whole lines of them are kept, under the final name.
//!
//! Called by the writer as it starts. Invariant: a file that another gateway still writes, which holds a lock on it, is
//! left alone.

use super::PART;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::Path;

/// How much is read at a time.
const PIECE: usize = 64 * 1024;

/// Completes what lies unfinished below `root`.
pub fn complete_all(root: &Path) {
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        // A folder that is gone, or not there yet, has nothing unfinished.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(path),
                Ok(kind) if kind.is_file() && path.extension() == Some(OsStr::new(PART)) => {
                    if let Err(error) = complete(&path) {
                        tracing::error!(%error, file = %path.display(), "cannot complete an access log");
                    }
                }
                _ => {}
            }
        }
    }
}

fn complete(part: &Path) -> io::Result<()> {
    let unfinished = File::open(part)?;
    if unfinished.try_lock().is_err() {
        return Ok(());
    }
    // The unfinished one goes last, so that a recovery that dies too is taken up again.
    let copy = part.with_extension("part.mended");
    let mut encoder = GzEncoder::new(File::create(&copy)?, Compression::fast());
    let mut lines = GzDecoder::new(BufReader::new(unfinished));
    let (mut piece, mut rest) = (vec![0; PIECE], Vec::new());
    // What can be read ends with an error, since the file does not end as it should.
    while let Ok(read @ 1..) = lines.read(&mut piece) {
        rest.extend_from_slice(&piece[..read]);
        let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        encoder.write_all(&rest[..whole])?;
        rest.drain(..whole);
    }
    encoder.finish()?.sync_all()?;
    fs::rename(&copy, part.with_extension(""))?;
    fs::remove_file(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> String {
        let mut text = String::new();
        let file = File::open(path).expect("a finished file");
        GzDecoder::new(file).read_to_string(&mut text).expect("whole");
        text
    }

    #[test]
    fn whole_lines_of_a_file_cut_anywhere_are_kept() {
        let root = tempfile::tempdir().expect("a folder");
        let lines: String = (0..5000)
            .map(|n| format!("http 2026-11-26T00:00:00.{n:06}Z app/web\n"))
            .collect();
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(lines.as_bytes()).expect("in memory");
        encoder.flush().expect("in memory");
        let written = encoder.get_ref().clone();
        let part = root.path().join("a/b/one.log.gz.part");
        let whole = root.path().join("a/b/one.log.gz");
        fs::create_dir_all(root.path().join("a/b")).expect("a folder");
        for length in [0, 5, written.len() / 3, written.len() - 1, written.len()] {
            fs::write(&part, &written[..length]).expect("written");
            complete_all(root.path());
            let kept = read(&whole);
            assert!(
                lines.starts_with(&kept) && (kept.is_empty() || kept.ends_with('\n')),
                "at {length}"
            );
            assert_eq!(kept.is_empty(), length < 100, "at {length}");
            assert_eq!(fs::read_dir(root.path().join("a/b")).expect("a folder").count(), 1);
        }
        assert_eq!(read(&whole), lines, "what was flushed is whole");
    }

    #[test]
    fn what_another_gateway_writes_is_left_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let part = root.path().join("one.log.gz.part");
        let file = File::create(&part).expect("created");
        file.lock().expect("locked");
        complete_all(root.path());
        assert!(part.exists() && !root.path().join("one.log.gz").exists());
        drop(file);
        complete_all(root.path());
        assert!(!part.exists() && root.path().join("one.log.gz").exists());
    }
}
