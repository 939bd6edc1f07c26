//! Reads a log file and its rotated predecessors as one stream of lines.
//!
//! Called by `assemble`. The live file is `path`; rotation renames it to `path.1`, that to `path.2` and so on, the oldest
//! is removed. A position names a file by inode and first bytes, so that it is found again under any name; when it is
//! gone, lines were lost, and the reader says so once and goes on with the oldest file there is.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// How much of a file's beginning tells it from another with the same inode: its first line's time.
const FINGERPRINT: usize = 30;
const CHUNK: usize = 64 * 1024;
/// A line is never longer than this, whatever is in the file.
const LONGEST_LINE: usize = 1024 * 1024;

/// A place in the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Bytes of the stream before it; a loss counts as one.
    pub offset: u64,
    /// None before the first file was seen.
    pub file: Option<FileId>,
    /// Bytes of that file before it.
    pub within: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileId {
    inode: u64,
    fingerprint: String,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A line without its newline.
    Line(&'a [u8]),
    /// Files were removed before they were read.
    Lost,
}

/// A reader at a position.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    files: u32,
    position: Position,
    open: Option<File>,
    buffer: Vec<u8>,
    /// Bytes of `buffer` already given.
    taken: usize,
    /// A loss to tell before anything else.
    lost: bool,
}

impl Tail {
    /// A reader of `path` and up to `files - 1` predecessors that goes on at `position`.
    pub fn new(path: &Path, files: u32, position: Position) -> Tail {
        Tail {
            path: path.to_owned(),
            files,
            position,
            open: None,
            buffer: Vec::new(),
            taken: 0,
            lost: false,
        }
    }

    /// After the last item given.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Goes back, or forth.
    pub fn seek(&mut self, position: Position) {
        if self.position.file != position.file {
            self.open = None;
        }
        self.position = position;
        self.buffer.clear();
        self.taken = 0;
        self.lost = false;
    }

    /// Lets go of the buffer; reading goes on where it was.
    pub fn rest(&mut self) {
        self.buffer = Vec::new();
        self.taken = 0;
    }

    /// The next item; none at the end of what has been written. A line without its newline is not written yet.
    pub fn next(&mut self) -> io::Result<Option<Item<'_>>> {
        loop {
            if self.open.is_none() && !self.open_file()? {
                return Ok(None);
            }
            if self.lost {
                self.lost = false;
                self.position.offset += 1;
                return Ok(Some(Item::Lost));
            }
            if let Some(length) = self.buffer[self.taken..].iter().position(|b| *b == b'\n') {
                let start = self.taken;
                self.advance(length + 1);
                return Ok(Some(Item::Line(&self.buffer[start..start + length])));
            }
            if self.buffer.len() - self.taken > LONGEST_LINE {
                let start = self.taken;
                self.advance(LONGEST_LINE);
                return Ok(Some(Item::Line(&self.buffer[start..start + LONGEST_LINE])));
            }
            if self.fill()? {
                continue;
            }
            // At the end of this file. If it is still the live one, more will come; a rotated one is complete.
            if !self.move_on()? {
                return Ok(None);
            }
        }
    }

    fn advance(&mut self, bytes: usize) {
        self.taken += bytes;
        self.position.offset += bytes as u64;
        self.position.within += bytes as u64;
    }

    /// Reads more of the open file; false at its end.
    fn fill(&mut self) -> io::Result<bool> {
        let Some(file) = &self.open else { return Ok(false) };
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let held = self.buffer.len();
        let at = self.position.within + held as u64;
        self.buffer.resize(held + CHUNK, 0);
        let read = file.read_at(&mut self.buffer[held..], at);
        self.buffer.truncate(held + *read.as_ref().unwrap_or(&0));
        Ok(read? > 0)
    }

    /// Opens the file of the position, or the oldest when there is none yet or it is gone.
    fn open_file(&mut self) -> io::Result<bool> {
        let mut there = self.files()?;
        let found = match &self.position.file {
            Some(id) => there.iter().position(|(_, i)| i == id),
            None => None,
        };
        match found {
            Some(at) => self.open = Some(there.swap_remove(at).0),
            None => {
                let Some((file, id)) = there.pop() else {
                    return Ok(false);
                };
                self.lost = self.position.file.is_some();
                self.enter(file, id);
            }
        }
        Ok(true)
    }

    /// From a rotated file to its successor; false when this is the live one.
    fn move_on(&mut self) -> io::Result<bool> {
        let there = self.files()?;
        let at = there.iter().position(|(_, id)| Some(id) == self.position.file.as_ref());
        // Whatever was written between the last read and the rotation is read before the file is left.
        if at != Some(0) && self.fill()? {
            return Ok(true);
        }
        let mut there = there;
        let next = match at {
            Some(0) => return Ok(false),
            Some(at) => there.swap_remove(at - 1),
            None => {
                let Some(oldest) = there.pop() else { return Ok(false) };
                self.lost = true;
                oldest
            }
        };
        self.enter(next.0, next.1);
        Ok(true)
    }

    fn enter(&mut self, file: File, id: FileId) {
        self.open = Some(file);
        // Half a line at the end of a rotated file belongs to no line any more, but it counts.
        self.position.offset += (self.buffer.len() - self.taken) as u64;
        self.position.file = Some(id);
        self.position.within = 0;
        self.buffer.clear();
        self.taken = 0;
    }

    /// The files that have content, the live one first. Opened newest first: a rotation meanwhile shows a file twice and
    /// hides none.
    fn files(&self) -> io::Result<Vec<(File, FileId)>> {
        let mut out: Vec<(File, FileId)> = Vec::new();
        for n in 0..=self.files {
            let path = if n == 0 {
                self.path.clone()
            } else {
                numbered(&self.path, n)
            };
            let file = match File::open(&path) {
                Ok(file) => file,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            if let Some(id) = identify(&file)?
                && !out.iter().any(|(_, seen)| *seen == id)
            {
                out.push((file, id));
            }
        }
        Ok(out)
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Which file this is; none while it has not even the time of its first line.
fn identify(file: &File) -> io::Result<Option<FileId>> {
    let mut start = [0; FINGERPRINT];
    let read = file.read_at(&mut start, 0)?;
    if read < FINGERPRINT {
        return Ok(None);
    }
    Ok(Some(FileId {
        inode: file.metadata()?.ino(),
        fingerprint: String::from_utf8_lossy(&start).into_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    struct Log {
        dir: tempfile::TempDir,
        count: u32,
    }

    impl Log {
        fn new() -> Log {
            Log {
                dir: tempfile::tempdir().unwrap(),
                count: 0,
            }
        }

        fn path(&self) -> PathBuf {
            self.dir.path().join("0.log")
        }

        fn write(&mut self, text: &str) {
            self.count += 1;
            let line = format!("2026-11-21T08:40:00.{:09}Z stdout F {text}\n", self.count);
            File::options()
                .create(true)
                .append(true)
                .open(self.path())
                .unwrap()
                .write_all(line.as_bytes())
                .unwrap();
        }

        /// As the shim does with two files kept besides the live one.
        fn rotate(&self) {
            let _ = fs::rename(numbered(&self.path(), 1), numbered(&self.path(), 2));
            fs::rename(self.path(), numbered(&self.path(), 1)).unwrap();
        }
    }

    fn drain(tail: &mut Tail) -> Vec<String> {
        let mut out = Vec::new();
        while let Some(item) = tail.next().unwrap() {
            out.push(match item {
                Item::Line(line) => String::from_utf8_lossy(line).rsplit(' ').next().unwrap().to_owned(),
                Item::Lost => "LOST".to_owned(),
            });
        }
        out
    }

    #[test]
    fn lines_are_read_once_across_rotations_and_restarts() {
        let mut log = Log::new();
        let mut tail = Tail::new(&log.path(), 3, Position::default());
        assert!(drain(&mut tail).is_empty());
        log.write("a");
        log.write("b");
        assert_eq!(drain(&mut tail), ["a", "b"]);
        log.write("c");
        log.rotate();
        log.write("d");
        log.rotate();
        log.write("e");
        let kept = tail.position().clone();
        assert_eq!(drain(&mut tail), ["c", "d", "e"]);
        let end = tail.position().clone();

        let mut restarted = Tail::new(&log.path(), 3, kept.clone());
        assert_eq!(drain(&mut restarted), ["c", "d", "e"]);
        assert_eq!(restarted.position(), &end, "offsets count the same every time");
        tail.seek(kept);
        assert_eq!(drain(&mut tail), ["c", "d", "e"]);
    }

    #[test]
    fn a_line_without_its_newline_waits() {
        let log = Log::new();
        fs::write(log.path(), "2026-11-21T08:40:00.000000001Z stdout F ha").unwrap();
        let mut tail = Tail::new(&log.path(), 3, Position::default());
        assert!(drain(&mut tail).is_empty());
        File::options()
            .append(true)
            .open(log.path())
            .unwrap()
            .write_all(b"lf\n")
            .unwrap();
        assert_eq!(drain(&mut tail), ["half"]);
    }

    #[test]
    fn removed_files_are_told_as_a_loss_once() {
        let mut log = Log::new();
        log.write("a");
        let mut tail = Tail::new(&log.path(), 3, Position::default());
        assert_eq!(drain(&mut tail), ["a"]);
        let kept = tail.position().clone();
        for text in ["b", "c", "d", "e"] {
            log.rotate();
            log.write(text);
        }
        let mut late = Tail::new(&log.path(), 3, kept);
        assert_eq!(drain(&mut late), ["LOST", "c", "d", "e"]);
        assert!(drain(&mut late).is_empty());
    }
}
