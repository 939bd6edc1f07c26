//! The network table on disk, so that a node that starts again enforces at once what its predecessor enforced.
//!
//! `enforce` writes each step before the kernel sees it. The file lies beside the namespace handles, on a file system
//! that forgets with the kernel. The invariant: the lines, taken in order, make the table.

use crate::table::{NetworkChange, Step, Table};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes appended after which the file is written anew.
const COMPACT_AFTER: u64 = 8 << 20;

pub struct Journal {
    path: PathBuf,
    file: File,
    appended: u64,
}

impl Journal {
    /// Opens the journal at `path` for `table`, which `replay` made.
    pub fn open(path: &Path, table: &Table) -> io::Result<Journal> {
        let file = write_whole(path, table)?;
        Ok(Journal {
            path: path.to_owned(),
            file,
            appended: 0,
        })
    }

    /// Adds a step, before it is taken.
    pub fn append(&mut self, step: &Step) -> io::Result<()> {
        let mut line = serde_json::to_vec(step)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.appended += line.len() as u64;
        Ok(())
    }

    /// Writes the file anew once it has grown long.
    pub fn compact(&mut self, table: &Table) -> io::Result<()> {
        if self.appended > COMPACT_AFTER {
            self.file = write_whole(&self.path, table)?;
            self.appended = 0;
        }
        Ok(())
    }
}

/// Takes every step of the journal at `path`; a last line that was cut off is none.
///
/// # Errors
/// When there is a file and it cannot be read.
pub fn replay(path: &Path, table: &mut Table) -> io::Result<()> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for line in BufReader::new(file).split(b'\n') {
        match serde_json::from_slice::<Step>(&line?) {
            Ok(step) => drop(table.step(step)),
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the stored network table ends here; control sends it again");
                return Ok(());
            }
        }
    }
    Ok(())
}

fn write_whole(path: &Path, table: &Table) -> io::Result<File> {
    let new = path.with_extension("table-new");
    let mut out = BufWriter::new(File::create(&new)?);
    let whole = Step::Control(NetworkChange {
        whole: true,
        upsert: table.entries().collect(),
        remove: Vec::new(),
    });
    for step in std::iter::once(whole).chain(table.own().cloned().map(Step::Take)) {
        serde_json::to_writer(&mut out, &step)?;
        out.write_all(b"\n")?;
    }
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(&new, path)?;
    Ok(file)
}
