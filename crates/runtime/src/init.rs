//! What runs as pid 1 without being the container's program: the init that `initProcessEnabled` asks for, which forwards signals
//! and reaps; and the signal state every program starts with.

use crate::sys;
use std::io;

/// Which of two processes the caller is.
pub enum Side {
    /// The init, with the program's pid.
    Init(libc::pid_t),
    Program,
}

/// Forks the program off the init. Signals wait until [`run`] takes them.
pub fn fork() -> io::Result<Side> {
    // SAFETY: a full set is made by the call itself; fork in a process of one thread. The plain fork passes any profile.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
        // Where init is not pid 1 (a shared pid namespace) orphans still come to it.
        let _ = sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
        match sys::check(libc::fork())? {
            0 => Ok(Side::Program),
            child => Ok(Side::Init(child)),
        }
    }
}

/// The life of an init: ends as the program does.
pub fn run(program: libc::pid_t) -> ! {
    sys::close_from(0);
    // SAFETY: sets made by the calls themselves; siginfo is written by the kernel before use.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        loop {
            let signal = libc::sigwaitinfo(&raw const all, std::ptr::null_mut());
            if signal == libc::SIGCHLD {
                while let Some((pid, status)) = sys::reap() {
                    if pid == program {
                        libc::_exit(sys::exit_of(status).0);
                    }
                }
            } else if signal > 0 {
                libc::kill(program, signal);
            }
        }
    }
}

/// The state that a program expects: nothing blocked, nothing ignored, nothing handled.
pub fn reset_signals() {
    // SAFETY: an all-zero sigaction is the default action; sets are made by the calls themselves.
    unsafe {
        let default: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            libc::sigaction(signal, &raw const default, std::ptr::null_mut());
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}
