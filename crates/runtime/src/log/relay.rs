//! Non-blocking logs: a bounded buffer before a process that writes the file. Only that process ever waits for the disk, so
//! that neither the container nor the shim does; what the buffer does not hold is dropped and counted. It is a
//! process and not a thread because the shim forks.

use super::file::RotatingFile;
use crate::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub struct Relay {
    /// None once finished.
    pipe: Option<OwnedFd>,
    writer: libc::pid_t,
    buffer: Vec<u8>,
    /// How much of the buffer's front is written.
    written: usize,
    max_bytes: usize,
    finishing: bool,
    dropped_lines: u64,
    dropped_by_writer: Shared,
}

impl Relay {
    pub fn start(file: RotatingFile, max_buffer_bytes: u64) -> io::Result<Relay> {
        let (theirs, ours) = sys::pipe()?;
        sys::set_nonblocking(ours.as_raw_fd())?;
        let dropped = Shared::new()?;
        // SAFETY: the shim has one thread.
        match unsafe { sys::fork_into(0, None)? } {
            None => write_until_end(theirs.as_raw_fd(), file, &dropped),
            Some((writer, _pidfd)) => Ok(Relay {
                pipe: Some(ours),
                writer,
                buffer: Vec::new(),
                written: 0,
                max_bytes: usize::try_from(max_buffer_bytes).unwrap_or(usize::MAX),
                finishing: false,
                dropped_lines: 0,
                dropped_by_writer: dropped,
            }),
        }
    }

    pub fn write(&mut self, lines: &[u8]) {
        for line in lines.split_inclusive(|b| *b == b'\n') {
            if self.buffer.len() - self.written + line.len() > self.max_bytes {
                self.dropped_lines += 1;
            } else {
                self.buffer.extend_from_slice(line);
            }
        }
        self.flush();
    }

    pub fn flush(&mut self) {
        while let Some(pipe) = self.pipe.as_ref().filter(|_| self.written < self.buffer.len()) {
            match sys::write(pipe.as_raw_fd(), &self.buffer[self.written..]) {
                Ok(count) => self.written += count,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // The writer is gone: nobody will take the rest.
                Err(_) => {
                    self.dropped_lines += self.buffer[self.written..].iter().filter(|b| **b == b'\n').count() as u64;
                    self.pipe = None;
                }
            }
        }
        if self.pipe.is_none() || self.written == self.buffer.len() {
            self.buffer.clear();
            self.written = 0;
            if self.finishing {
                self.pipe = None;
            }
        } else if self.written > self.buffer.len() / 2 {
            self.buffer.drain(..self.written);
            self.written = 0;
        }
    }

    pub fn wants_to_write(&self) -> Option<RawFd> {
        self.pipe
            .as_ref()
            .filter(|_| self.written < self.buffer.len())
            .map(AsRawFd::as_raw_fd)
    }

    pub fn dropped_lines(&self) -> u64 {
        self.dropped_lines + self.dropped_by_writer.get().load(Ordering::Relaxed)
    }

    /// Ends the writer once it has taken everything; its pid.
    pub fn finish(&mut self) -> libc::pid_t {
        self.finishing = true;
        self.flush();
        self.writer
    }
}

/// The life of the writing process.
fn write_until_end(pipe: RawFd, mut file: RotatingFile, dropped: &Shared) -> ! {
    // Pipes of other containers' writers must not stay open here, or those would never see their end. Nothing above the three
    // standard descriptors is kept but the pipe, moved to 0, and the file, which is opened anew by the first write.
    // SAFETY: plain numbers.
    unsafe { libc::dup2(pipe, 0) };
    file.forget_file();
    sys::close_from(3);
    let mut held = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match sys::read(0, &mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => held.extend_from_slice(&chunk[..count]),
        }
        if let Some(end) = held.iter().rposition(|b| *b == b'\n') {
            file.write(&held[..=end]);
            held.drain(..=end);
            dropped.get().store(file.dropped_lines(), Ordering::Relaxed);
        }
    }
    // SAFETY: ends the process without running what the shim registered.
    unsafe { libc::_exit(0) }
}

/// A number in memory that both processes see.
#[derive(Debug)]
struct Shared(*mut libc::c_void);

impl Shared {
    fn new() -> io::Result<Shared> {
        // SAFETY: an anonymous mapping, wherever the kernel puts it.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                size_of::<AtomicU64>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if at == libc::MAP_FAILED {
            Err(io::Error::last_os_error())
        } else {
            Ok(Shared(at))
        }
    }

    fn get(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page-aligned, zeroed, large enough and lives as long as self.
        unsafe { &*self.0.cast::<AtomicU64>() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: our own mapping.
        unsafe { libc::munmap(self.0, size_of::<AtomicU64>()) };
    }
}
