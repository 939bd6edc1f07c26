//! What goes wrong in a shim without anybody to tell: `<task dir>/shim.log`, made only when there is something to say.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

static PLACE: OnceLock<PathBuf> = OnceLock::new();

/// Sets where notes go, panics among them.
pub fn to(task_dir: &Path) {
    if PLACE.set(task_dir.join("shim.log")).is_ok() {
        std::panic::set_hook(Box::new(|panic| write(&panic.to_string())));
    }
}

/// Appends a line.
pub fn write(text: &str) {
    let Some(path) = PLACE.get() else { return };
    // A note that cannot be written has no other place to go.
    let _ = File::options()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "{text}"));
}
