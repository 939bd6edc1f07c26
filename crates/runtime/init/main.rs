//! The init of containers that an OCI runtime makes (`initProcessEnabled`): pid 1 in front of the container's program, to
//! which it forwards signals, whose orphans it reaps and as which it ends. `src/init.rs` is the same for containers of our
//! own, which have this process's code at hand; here the image must run it, so it is a program of a few kilobytes that
//! needs no library. `build.rs` compiles it, `shim/cli.rs` mounts it; its arguments are the program's.

#![no_std]
#![no_main]
// Loops must not become calls of a library that is not there.
#![no_builtins]

use core::arch::{asm, global_asm};

#[cfg(target_arch = "x86_64")]
mod call {
    pub const WRITE: usize = 1;
    pub const SIGPROCMASK: usize = 14;
    pub const IOCTL: usize = 16;
    pub const GETPID: usize = 39;
    pub const CLONE: usize = 56;
    pub const EXECVE: usize = 59;
    pub const WAIT4: usize = 61;
    pub const KILL: usize = 62;
    pub const SETPGID: usize = 109;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const PRCTL: usize = 157;
    pub const EXIT_GROUP: usize = 231;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "aarch64")]
mod call {
    pub const IOCTL: usize = 29;
    pub const WRITE: usize = 64;
    pub const EXIT_GROUP: usize = 94;
    pub const KILL: usize = 129;
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const SETPGID: usize = 154;
    pub const PRCTL: usize = 167;
    pub const GETPID: usize = 172;
    pub const CLONE: usize = 220;
    pub const EXECVE: usize = 221;
    pub const WAIT4: usize = 260;
    pub const CLOSE_RANGE: usize = 436;
}

#[cfg(target_arch = "x86_64")]
global_asm!(".globl _start", "_start:", "mov rdi, rsp", "and rsp, -16", "call {}", "ud2", sym begin);
#[cfg(target_arch = "aarch64")]
global_asm!(".globl _start", "_start:", "mov x0, sp", "bl {}", "brk 1", sym begin);

const SIGCHLD: isize = 17;
const SIG_BLOCK: usize = 0;
const SIG_SETMASK: usize = 2;
/// Of the kernel's signal sets.
const SET_BYTES: usize = 8;
const PR_SET_CHILD_SUBREAPER: usize = 36;
const TIOCSPGRP: usize = 0x5410;
const WNOHANG: usize = 1;
const ENOENT: isize = -2;
const LONGEST_PATH: usize = 4096;

/// For the path that is tried; there is one thread.
struct Place([u8; LONGEST_PATH]);
static mut PLACE: Place = Place([0; LONGEST_PATH]);

#[cfg(target_arch = "x86_64")]
unsafe fn syscall(number: usize, a: [usize; 5]) -> isize {
    let answer: isize;
    // SAFETY: the caller's pointers are what the call expects.
    unsafe {
        asm!("syscall", inlateout("rax") number as isize => answer, in("rdi") a[0], in("rsi") a[1], in("rdx") a[2],
             in("r10") a[3], in("r8") a[4], lateout("rcx") _, lateout("r11") _, options(nostack));
    }
    answer
}

#[cfg(target_arch = "aarch64")]
unsafe fn syscall(number: usize, a: [usize; 5]) -> isize {
    let answer: isize;
    // SAFETY: the caller's pointers are what the call expects.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a[0] as isize => answer, in("x1") a[1], in("x2") a[2],
             in("x3") a[3], in("x4") a[4], options(nostack));
    }
    answer
}

/// `stack` is what the kernel leaves a new program: the number of arguments, they and a null, the environment and a null.
unsafe extern "C" fn begin(stack: *const usize) -> ! {
    // SAFETY: the layout of the stack is the kernel's promise; sets and numbers live through the calls.
    unsafe {
        let arguments = stack.add(1).cast::<*const u8>();
        let environment = arguments.add(*stack + 1);
        if *stack < 2 {
            end(127);
        }
        let (all, mut before) = (u64::MAX, 0_u64);
        let (set, old) = (&raw const all as usize, &raw mut before as usize);
        syscall(call::SIGPROCMASK, [SIG_BLOCK, set, old, SET_BYTES, 0]);
        // Where this is not pid 1 (a shared pid namespace) orphans still come to it.
        syscall(call::PRCTL, [PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0]);
        match syscall(call::CLONE, [SIGCHLD as usize, 0, 0, 0, 0]) {
            0 => become_program(arguments.add(1), environment, before),
            program if program > 0 => serve(program, set),
            _ => end(126),
        }
    }
}

/// The life of the init.
unsafe fn serve(program: isize, set: usize) -> ! {
    // SAFETY: plain numbers, and places that live through the calls.
    unsafe {
        syscall(call::CLOSE_RANGE, [0, u32::MAX as usize, 0, 0, 0]);
        loop {
            let signal = syscall(call::SIGTIMEDWAIT, [set, 0, 0, SET_BYTES, 0]);
            if signal == SIGCHLD {
                loop {
                    let mut status = 0_i32;
                    let pid = syscall(call::WAIT4, [usize::MAX, &raw mut status as usize, WNOHANG, 0, 0]);
                    if pid <= 0 {
                        break;
                    }
                    if pid == program {
                        let (signal, code) = (status & 0x7f, status >> 8 & 0xff);
                        end(if signal == 0 { code } else { 128 + signal } as usize);
                    }
                }
            } else if signal > 0 {
                syscall(call::KILL, [program as usize, signal as usize, 0, 0, 0]);
            }
        }
    }
}

/// The other process: in front of the terminal, if there is one, and then the program.
unsafe fn become_program(arguments: *const *const u8, environment: *const *const u8, mask: u64) -> ! {
    // SAFETY: null-ended arrays of null-ended strings; numbers that live through the calls.
    unsafe {
        syscall(call::SETPGID, [0, 0, 0, 0, 0]);
        let group = syscall(call::GETPID, [0; 5]) as i32;
        syscall(call::IOCTL, [0, TIOCSPGRP, &raw const group as usize, 0, 0]);
        syscall(
            call::SIGPROCMASK,
            [SIG_SETMASK, &raw const mask as usize, 0, SET_BYTES, 0],
        );
        let why = execute(arguments, environment);
        for part in [
            c"exec: ".as_ptr().cast(),
            *arguments,
            c": cannot be executed\n".as_ptr().cast(),
        ] {
            syscall(call::WRITE, [2, part as usize, length(part), 0, 0]);
        }
        end(if why == ENOENT { 127 } else { 126 })
    }
}

/// Looks the program up in `PATH` unless its name has a slash; why it could not be executed.
unsafe fn execute(arguments: *const *const u8, environment: *const *const u8) -> isize {
    // SAFETY: as the caller's; writes stay within `PLACE`, which nobody else uses.
    unsafe {
        let name = *arguments;
        let try_to = |path: *const u8| {
            syscall(
                call::EXECVE,
                [path as usize, arguments as usize, environment as usize, 0, 0],
            )
        };
        if (0..length(name)).any(|at| *name.add(at) == b'/') {
            return try_to(name);
        }
        let Some(mut search) = variable(environment, b"PATH=") else {
            return ENOENT;
        };
        let (place, mut why) = (&raw mut PLACE.0 as *mut u8, ENOENT);
        loop {
            let mut at = 0;
            let mut put = |byte: u8| {
                if at < LONGEST_PATH {
                    *place.add(at) = byte;
                }
                at += 1;
            };
            if matches!(*search, 0 | b':') {
                // An empty element is the current directory.
                put(b'.');
            }
            while !matches!(*search, 0 | b':') {
                put(*search);
                search = search.add(1);
            }
            put(b'/');
            (0..=length(name)).for_each(|n| put(*name.add(n)));
            if at <= LONGEST_PATH {
                let answer = try_to(place);
                if answer != ENOENT {
                    why = answer;
                }
            }
            if *search == 0 {
                return why;
            }
            search = search.add(1);
        }
    }
}

/// The value of the variable that begins with `prefix`.
unsafe fn variable(mut environment: *const *const u8, prefix: &[u8]) -> Option<*const u8> {
    // SAFETY: a null-ended array of null-ended strings; a comparison stops at the first difference.
    unsafe {
        while !(*environment).is_null() {
            let text = *environment;
            if prefix.iter().enumerate().all(|(at, byte)| *text.add(at) == *byte) {
                return Some(text.add(prefix.len()));
            }
            environment = environment.add(1);
        }
    }
    None
}

unsafe fn length(text: *const u8) -> usize {
    let mut length = 0;
    // SAFETY: a null-ended string.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    length
}

fn end(code: usize) -> ! {
    loop {
        // SAFETY: a plain number.
        unsafe { syscall(call::EXIT_GROUP, [code, 0, 0, 0, 0]) };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    end(126)
}
