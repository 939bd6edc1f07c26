//! A log file that is replaced by a new one when full.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    /// None while a new one could not be made.
    file: Option<File>,
    size: u64,
    max_bytes: u64,
    files: u32,
    dropped_lines: u64,
}

impl RotatingFile {
    /// Goes on with an existing file.
    pub fn open(path: &Path, max_bytes: u64, files: u32) -> io::Result<RotatingFile> {
        let file = File::options().create(true).append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(RotatingFile {
            path: path.to_owned(),
            file: Some(file),
            size,
            max_bytes: max_bytes.max(1),
            files: files.max(1),
            dropped_lines: 0,
        })
    }

    pub fn dropped_lines(&self) -> u64 {
        self.dropped_lines
    }

    /// Lets go of the open file without closing it (all descriptors are about to be closed at once).
    pub fn forget_file(&mut self) {
        std::mem::forget(self.file.take());
    }

    /// Takes whole lines; each goes into one file whole.
    pub fn write(&mut self, mut lines: &[u8]) {
        while !lines.is_empty() {
            let room = usize::try_from(self.max_bytes.saturating_sub(self.size)).unwrap_or(usize::MAX);
            let fitting = match lines.get(..room) {
                None => lines.len(),
                Some(part) => part.iter().rposition(|b| *b == b'\n').map_or(0, |end| end + 1),
            };
            let now = match fitting {
                0 if self.size == 0 => first_line(lines),
                0 => {
                    self.rotate();
                    continue;
                }
                some => some,
            };
            self.append(&lines[..now]);
            lines = &lines[now..];
        }
    }

    fn append(&mut self, lines: &[u8]) {
        if self.file.is_none() {
            self.file = File::options().create(true).append(true).open(&self.path).ok();
        }
        let Some(file) = &mut self.file else {
            return self.drop(lines);
        };
        match file.write_all(lines) {
            Ok(()) => self.size += lines.len() as u64,
            Err(_) => {
                // Full: what went in is taken out again, so that no torn line stays.
                let _ = file.set_len(self.size);
                self.drop(lines);
            }
        }
    }

    fn drop(&mut self, lines: &[u8]) {
        self.dropped_lines += lines.iter().filter(|b| **b == b'\n').count() as u64;
    }

    fn rotate(&mut self) {
        let name = |n: u32| {
            let mut name = self.path.clone().into_os_string();
            if n > 0 {
                name.push(format!(".{n}"));
            }
            PathBuf::from(name)
        };
        // From the oldest, which is overwritten; a gap in the names is no harm.
        for n in (1..self.files).rev() {
            let _ = fs::rename(name(n - 1), name(n));
        }
        if self.files == 1 {
            let _ = fs::remove_file(&self.path);
        }
        self.file = None;
        self.size = 0;
    }
}

fn first_line(lines: &[u8]) -> usize {
    lines
        .iter()
        .position(|b| *b == b'\n')
        .map_or(lines.len(), |end| end + 1)
}
