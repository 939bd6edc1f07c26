//! The program that is launched: it writes one byte to a FIFO the moment it runs, then waits.

use crate::Result;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const SOURCE: &str = r#"
use std::io::Write;
unsafe extern "C" { fn signal(n: i32, h: extern "C" fn(i32)) -> usize; fn _exit(s: i32) -> !; fn pause() -> i32; }
extern "C" fn stop(_: i32) { unsafe { _exit(0) } }
fn main() {
    unsafe { signal(15, stop) };
    if let Some(path) = std::env::args().nth(1) {
        if let Ok(mut fifo) = std::fs::OpenOptions::new().write(true).open(path) { let _ = fifo.write_all(b"x"); }
    }
    loop { unsafe { pause() }; }
}
"#;

/// Compiles the program statically into `dir`.
pub fn build(dir: &Path) -> Result<PathBuf> {
    let source = dir.join("stamp.rs");
    let binary = dir.join("stamp");
    std::fs::write(&source, SOURCE).map_err(|e| e.to_string())?;
    let status = Command::new("rustc")
        .args([
            "--edition",
            "2024",
            "-O",
            "-C",
            "target-feature=+crt-static",
            "-C",
            "panic=abort",
            "-C",
            "strip=symbols",
            "-o",
        ])
        .arg(&binary)
        .arg(&source)
        .status()
        .map_err(|e| e.to_string())?;
    if status.success() {
        Ok(binary)
    } else {
        Err("rustc could not build the stamp program".into())
    }
}

/// The reading end of the FIFO at `dir/fifo`.
pub struct Stamps(File);

impl Stamps {
    pub fn open(dir: &Path) -> Result<Stamps> {
        let path = dir.join("fifo");
        let made = Command::new("mkfifo")
            .args(["-m", "666"])
            .arg(&path)
            .status()
            .map_err(|e| e.to_string())?;
        if !made.success() {
            return Err("mkfifo failed".into());
        }
        // Read and write, so that no end of file comes when the last writer leaves.
        let file = File::options()
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|e| e.to_string())?;
        Ok(Stamps(file))
    }

    /// Waits for `count` programs to run; when the last did.
    pub fn wait(&mut self, count: usize, limit: Duration) -> Result<Instant> {
        let until = Instant::now() + limit;
        let mut got = 0;
        let mut buffer = [0; 1024];
        while got < count {
            let left = until.saturating_duration_since(Instant::now()).as_millis();
            let mut poll = PollFd {
                fd: self.0.as_raw_fd(),
                events: 1,
                revents: 0,
            };
            // SAFETY: one valid pollfd.
            if left == 0 || unsafe { poll_(&mut poll, 1, i32::try_from(left).unwrap_or(i32::MAX)) } == 0 {
                return Err(format!("only {got} of {count} programs ran in time"));
            }
            got += self.0.read(&mut buffer[..count - got]).map_err(|e| e.to_string())?;
        }
        Ok(Instant::now())
    }
}

#[repr(C)]
struct PollFd {
    fd: i32,
    events: i16,
    revents: i16,
}

unsafe extern "C" {
    #[link_name = "poll"]
    fn poll_(fds: *mut PollFd, count: u64, timeout: i32) -> i32;
}
