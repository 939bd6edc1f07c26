//! Thin wrappers of the system calls used here: they return `io::Result`, own descriptors, and decide nothing.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// `struct mount_attr` flags.
pub const MOUNT_ATTR_RDONLY: u64 = 1;
pub const MOUNT_ATTR_NOSUID: u64 = 2;
pub const MOUNT_ATTR_NODEV: u64 = 4;
pub const MOUNT_ATTR_NOEXEC: u64 = 8;
pub const MOUNT_ATTR_NOATIME: u64 = 0x10;
pub const MOUNT_ATTR_STRICTATIME: u64 = 0x20;
pub const MOUNT_ATTR_NODIRATIME: u64 = 0x80;

pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

pub fn check_long(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn owned(result: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check_long(result)?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// An error in the kernel's words, without Rust's "(os error n)", as the OCI runtimes write it.
pub fn describe(error: &io::Error) -> String {
    let text = error.to_string();
    let plain = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = plain.chars();
    letters
        .next()
        .map_or(String::new(), |first| first.to_lowercase().chain(letters).collect())
}

/// A path for the kernel.
///
/// # Errors
/// When it contains a NUL byte.
pub fn c_path(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// A private clone of the mount at `path`: with everything below it when `recursive`.
pub fn open_tree(dir: RawFd, path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    if path.is_empty() {
        flags |= libc::AT_EMPTY_PATH as libc::c_uint;
    }
    // SAFETY: the path is a valid C string for the whole call.
    owned(unsafe { libc::syscall(libc::SYS_open_tree, dir, path.as_ptr(), flags) })
}

/// A private clone of the mount or of the file or directory that `fd` is, without what is mounted below.
pub fn clone_mount(fd: RawFd) -> io::Result<OwnedFd> {
    open_tree(fd, Path::new(""), false)
}

/// Mounts the detached mount `from` on the file or directory that `to` is.
pub fn move_mount(from: RawFd, to: RawFd) -> io::Result<()> {
    let flags = libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH;
    // SAFETY: two empty C strings.
    check_long(unsafe { libc::syscall(libc::SYS_move_mount, from, c"".as_ptr(), to, c"".as_ptr(), flags) }).map(drop)
}

/// Makes the loopback interface of the calling thread's network namespace work.
pub fn raise_loopback() -> io::Result<()> {
    // SAFETY: plain numbers.
    let socket = owned(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }.into())?;
    // SAFETY: an all-zero ifreq is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(c"lo".to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP as libc::c_short;
    // SAFETY: the request lives through the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) }).map(drop)
}

/// Where the symbolic link `name` in a directory leads; `EINVAL` when it is none.
pub fn read_link(directory: RawFd, name: &str) -> io::Result<String> {
    let name = CString::new(name)?;
    let mut target = vec![0_u8; libc::PATH_MAX as usize];
    // SAFETY: valid C string, and the buffer's length is given.
    let length = unsafe { libc::readlinkat(directory, name.as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    target.truncate(usize::try_from(length).map_err(|_| io::Error::last_os_error())?);
    String::from_utf8(target).map_err(io::Error::other)
}

/// A new, detached file system of type `kind` with `options` (a value of "" sets a flag).
pub fn new_mount(kind: &CStr, options: &[(&str, &str)], attributes: u64) -> io::Result<OwnedFd> {
    const SET_FLAG: libc::c_uint = 0;
    const SET_STRING: libc::c_uint = 1;
    const CREATE: libc::c_uint = 6;
    const CLOEXEC: libc::c_uint = 1;
    let config = |fs: RawFd, command: libc::c_uint, key: Option<&CStr>, value: Option<&CStr>| {
        let (key, value) = (
            key.map_or(std::ptr::null(), CStr::as_ptr),
            value.map_or(std::ptr::null(), CStr::as_ptr),
        );
        // SAFETY: pointers are null or C strings that live through the call.
        check_long(unsafe { libc::syscall(libc::SYS_fsconfig, fs, command, key, value, 0) })
    };
    // SAFETY: valid C string.
    let fs = owned(unsafe { libc::syscall(libc::SYS_fsopen, kind.as_ptr(), CLOEXEC) })?;
    for (key, value) in options {
        let (key, value) = (CString::new(*key)?, CString::new(*value)?);
        if value.is_empty() {
            config(fs.as_raw_fd(), SET_FLAG, Some(&key), None)?;
        } else {
            config(fs.as_raw_fd(), SET_STRING, Some(&key), Some(&value))?;
        }
    }
    config(fs.as_raw_fd(), CREATE, None, None)?;
    // SAFETY: plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_fsmount, fs.as_raw_fd(), CLOEXEC, attributes) })
}

/// Makes the tmpfs that `fd` lies on at least `size` bytes large.
pub fn grow_tmpfs(fd: RawFd, size: u64) -> io::Result<()> {
    // SAFETY: all zero is a valid statfs, written by the kernel.
    let now = unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        check(libc::fstatfs(fd, &raw mut stat))?;
        stat.f_blocks * stat.f_bsize as u64
    };
    if now < size {
        resize_tmpfs(fd, &size.to_string())
    } else {
        Ok(())
    }
}

fn resize_tmpfs(fd: RawFd, size: &str) -> io::Result<()> {
    const PICK_CLOEXEC_EMPTY: libc::c_uint = 1 | 8;
    const SET_STRING: libc::c_uint = 1;
    const RECONFIGURE: libc::c_uint = 7;
    let size = CString::new(size)?;
    // SAFETY: C strings that live through the calls, plain numbers otherwise.
    unsafe {
        let fs = owned(libc::syscall(libc::SYS_fspick, fd, c"".as_ptr(), PICK_CLOEXEC_EMPTY))?;
        let fs_fd = fs.as_raw_fd();
        check_long(libc::syscall(
            libc::SYS_fsconfig,
            fs_fd,
            SET_STRING,
            c"size".as_ptr(),
            size.as_ptr(),
            0,
        ))?;
        let none = std::ptr::null::<libc::c_char>();
        check_long(libc::syscall(libc::SYS_fsconfig, fs_fd, RECONFIGURE, none, none, 0)).map(drop)
    }
}

/// The old way to mount; null pointers for what is empty.
pub fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) -> io::Result<()> {
    // SAFETY: valid C strings.
    check(unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            data.as_ptr().cast(),
        )
    })
    .map(drop)
}

/// Makes the current directory the root, and forgets the old one with all that is mounted there.
pub fn pivot_to_current_directory() -> io::Result<()> {
    // SAFETY: valid C strings.
    unsafe {
        check_long(libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()))?;
        // The old root lies on top of the new one now: this takes it off.
        check(libc::umount2(c".".as_ptr(), libc::MNT_DETACH))?;
        check(libc::chdir(c"/".as_ptr())).map(drop)
    }
}

/// Opens `path` as if `root` were the root directory: symlinks and `..` never leave it, and `/proc`'s magic links are refused.
pub fn open_in_root(root: RawFd, path: &str, flags: libc::c_int, mode: libc::mode_t) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    // SAFETY: an all-zero open_how is a valid one.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = (flags | libc::O_CLOEXEC) as u64;
    how.mode = u64::from(mode);
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    loop {
        // SAFETY: path and how live through the call, and the size of how is given.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_openat2,
                root,
                path.as_ptr(),
                &raw const how,
                size_of::<libc::open_how>(),
            )
        };
        match owned(fd) {
            // The kernel's word for "something was renamed meanwhile".
            Err(e) if e.raw_os_error() == Some(libc::EAGAIN) => continue,
            other => return other,
        }
    }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes attributes of the mount that `fd` is.
pub fn mount_setattr(fd: RawFd, recursive: bool, set: u64, clear: u64) -> io::Result<()> {
    let attr = MountAttr {
        set,
        clear,
        propagation: 0,
        userns_fd: 0,
    };
    let mut flags = libc::AT_EMPTY_PATH;
    if recursive {
        flags |= libc::AT_RECURSIVE;
    }
    // SAFETY: the attribute block lives through the call and its size is given.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            fd,
            c"".as_ptr(),
            flags,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })
    .map(drop)
}

/// Sends from `buffer` without waiting and without SIGPIPE.
pub fn send(fd: RawFd, buffer: &[u8]) -> io::Result<usize> {
    // SAFETY: pointer and length are of one live slice.
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let count = unsafe { libc::send(fd, buffer.as_ptr().cast(), buffer.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Receives into `buffer`.
pub fn recv(fd: RawFd, buffer: &mut [u8], flags: libc::c_int) -> io::Result<usize> {
    // SAFETY: pointer and length are of one live slice.
    let count = unsafe { libc::recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Opens a directory as a handle.
pub fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path)?;
    // SAFETY: valid C string.
    let fd = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    owned(fd.into())
}

/// Opens the file at the absolute `path` as it is seen from the root `root`, which may be of another mount namespace.
pub fn open_from(root: RawFd, path: &Path) -> io::Result<OwnedFd> {
    let path = c_path(path.strip_prefix("/").unwrap_or(path))?;
    // SAFETY: valid C string.
    let fd = unsafe { libc::openat(root, path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    owned(fd.into())
}

/// Connects to the socket `name` in `dir`, whatever the length of the path.
pub fn connect_in(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let dir = open_dir(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()))
}

/// Listens on the socket `name` in `dir`, replacing what was there. Only the owner may connect.
pub fn listen_in(dir: &Path, name: &str) -> io::Result<UnixListener> {
    let dir = open_dir(dir)?;
    let path = format!("/proc/self/fd/{}/{name}", dir.as_raw_fd());
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    // SAFETY: umask cannot fail, and this process has one thread.
    let before = unsafe { libc::umask(0o177) };
    let listener = UnixListener::bind(&path);
    // SAFETY: as above.
    unsafe { libc::umask(before) };
    listener
}

/// A new process as by fork, with namespaces of its own as `flags` ask, born in the cgroup (v2) that `cgroup` is. The child
/// gets `None`; the parent its pid and a pidfd.
///
/// # Safety
/// The process must have one thread: the child goes on with all of its memory.
pub unsafe fn fork_into(flags: libc::c_int, cgroup: Option<RawFd>) -> io::Result<Option<(libc::pid_t, OwnedFd)>> {
    let mut pidfd: libc::c_int = -1;
    // SAFETY: all zero is a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags as u64 | libc::CLONE_PIDFD as u64;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = libc::SIGCHLD as u64;
    if let Some(fd) = cgroup {
        // The flag does not fit the c_int that libc declares it as.
        args.flags |= 0x2_0000_0000;
        args.cgroup = fd as u64;
    }
    // SAFETY: args lives through the call; one thread by the caller's promise.
    let pid = check_long(unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) })?;
    if pid == 0 {
        return Ok(None);
    }
    // SAFETY: the kernel just gave us this descriptor.
    Ok(Some((pid as libc::pid_t, unsafe { OwnedFd::from_raw_fd(pidfd) })))
}

/// A brother: a new process whose parent is the caller's parent. The child gets `None`.
///
/// # Safety
/// As [`fork_into`].
pub unsafe fn fork_brother() -> io::Result<Option<libc::pid_t>> {
    // The old clone: a seccomp profile already in force lets it pass.
    let flags = (libc::CLONE_PARENT | libc::SIGCHLD) as libc::c_ulong;
    let none = 0 as libc::c_ulong;
    // SAFETY: no stack given, so the child goes on with a copy of ours.
    let pid = check_long(unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, none) })?;
    Ok((pid != 0).then_some(pid as libc::pid_t))
}

/// Joins namespaces: those in `kinds` of the process that a pidfd is, or the one that a namespace file is.
pub fn setns(fd: RawFd, kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::setns(fd, kinds) }).map(drop)
}

pub fn unshare(kinds: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::unshare(kinds) }).map(drop)
}

/// A pipe, closed on exec: (read, write).
pub fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    // SAFETY: room for two.
    check(unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) })?;
    Ok((owned(fds[0].into())?, owned(fds[1].into())?))
}

pub fn set_nonblocking(fd: RawFd) -> io::Result<()> {
    // SAFETY: plain numbers.
    unsafe {
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK)).map(drop)
    }
}

/// Reads into `buffer`.
pub fn read(fd: RawFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are of one live slice.
        let count = unsafe { libc::read(fd, buffer.as_mut_ptr().cast(), buffer.len()) };
        match usize::try_from(count).map_err(|_| io::Error::last_os_error()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

/// Writes from `buffer`.
pub fn write(fd: RawFd, buffer: &[u8]) -> io::Result<usize> {
    loop {
        // SAFETY: pointer and length are of one live slice.
        let count = unsafe { libc::write(fd, buffer.as_ptr().cast(), buffer.len()) };
        match usize::try_from(count).map_err(|_| io::Error::last_os_error()) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => return other,
        }
    }
}

/// Sends bytes and perhaps a descriptor as one packet, without SIGPIPE.
pub fn send_packet(socket: RawFd, bytes: &[u8], passed: Option<RawFd>) -> io::Result<()> {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0u64; 4];
    // SAFETY: all zero is a valid msghdr; its pointers live through the call; control is aligned and large enough for one fd.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        if let Some(fd) = passed {
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = libc::CMSG_SPACE(size_of::<RawFd>() as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(size_of::<RawFd>() as u32) as _;
            libc::CMSG_DATA(header).cast::<RawFd>().write_unaligned(fd);
        }
        check_long(libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) as libc::c_long).map(drop)
    }
}

/// Receives one packet and perhaps a descriptor; 0 bytes at the end.
pub fn recv_packet(socket: RawFd, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut control = [0u64; 4];
    // SAFETY: as in send_packet; a descriptor that came is ours alone.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_CMSG_CLOEXEC | libc::MSG_DONTWAIT;
        let count = check_long(libc::recvmsg(socket, &raw mut message, flags) as libc::c_long)?;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        let passed = (!header.is_null() && (*header).cmsg_type == libc::SCM_RIGHTS)
            .then(|| OwnedFd::from_raw_fd(libc::CMSG_DATA(header).cast::<RawFd>().read_unaligned()));
        Ok((count as usize, passed))
    }
}

/// A connected pair that keeps packets apart, closed on exec.
pub fn packet_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: room for two.
    check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds.as_mut_ptr()) })?;
    Ok((owned(fds[0].into())?, owned(fds[1].into())?))
}

/// Waits until one of `fds` is ready; none for ever. An interruption counts as nothing ready.
pub fn poll(fds: &mut [libc::pollfd], timeout_millis: Option<i32>) -> io::Result<usize> {
    // SAFETY: pointer and length are of one live slice.
    let ready = unsafe {
        libc::poll(
            fds.as_mut_ptr(),
            fds.len() as libc::nfds_t,
            timeout_millis.unwrap_or(-1),
        )
    };
    match usize::try_from(ready) {
        Ok(ready) => Ok(ready),
        Err(_) => match io::Error::last_os_error() {
            e if e.kind() == io::ErrorKind::Interrupted => Ok(0),
            e => Err(e),
        },
    }
}

/// Waits until `fd` is readable; false when the time is over first.
pub fn wait_readable(fd: RawFd, timeout_millis: i32) -> io::Result<bool> {
    let mut fds = [libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    }];
    Ok(poll(&mut fds, Some(timeout_millis))? > 0)
}

/// A descriptor that is readable when a child died; SIGCHLD and SIGPIPE disturb no more.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is made by the calls themselves.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()))?;
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
        owned(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK).into())
    }
}

/// Empties what [`child_signals`] gave.
pub fn clear_signals(fd: &OwnedFd) {
    let mut buffer = [0; 4 * size_of::<libc::signalfd_siginfo>()];
    while read(fd.as_raw_fd(), &mut buffer).is_ok() {}
}

/// Takes the next dead child: its pid and wait status.
pub fn reap() -> Option<(libc::pid_t, libc::c_int)> {
    let mut status = 0;
    // SAFETY: status lives through the call.
    let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    (pid > 0).then_some((pid, status))
}

/// A child that is dead and still to be reaped.
pub fn dead_child() -> Option<libc::pid_t> {
    // SAFETY: all zeroes is a valid siginfo_t, which the kernel fills in; it lives through the call.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        let asked = libc::waitid(libc::P_ALL, 0, &raw mut info, how);
        (asked == 0 && info.si_pid() > 0).then(|| info.si_pid())
    }
}

/// Waits for one child.
pub fn wait_for(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    loop {
        // SAFETY: status lives through the call.
        match check(unsafe { libc::waitpid(pid, &raw mut status, 0) }) {
            Ok(_) => return Ok(status),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        }
    }
}

/// Exit code (128 + signal when a signal ended it) and signal of a wait status.
pub fn exit_of(status: libc::c_int) -> (i32, Option<i32>) {
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        (128 + signal, Some(signal))
    } else {
        (libc::WEXITSTATUS(status), None)
    }
}

pub fn kill(pid: libc::pid_t, signal: libc::c_int) -> io::Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::kill(pid, signal) }).map(drop)
}

pub fn pidfd_open(pid: libc::pid_t) -> io::Result<OwnedFd> {
    // SAFETY: plain numbers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

pub fn pidfd_signal(pidfd: RawFd, signal: libc::c_int) -> io::Result<()> {
    let none = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: plain numbers and null.
    check_long(unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal, none, 0) }).map(drop)
}

/// `prctl` with plain numbers.
pub fn prctl(option: libc::c_int, arg: libc::c_ulong) -> io::Result<libc::c_int> {
    let none = 0 as libc::c_ulong;
    // SAFETY: used only with options that take numbers.
    check(unsafe { libc::prctl(option, arg, none, none, none) })
}

/// All descriptors from `first` on are closed at exec.
pub fn close_on_exec_from(first: libc::c_uint) -> io::Result<()> {
    // SAFETY: plain numbers.
    check_long(unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    })
    .map(drop)
}

/// All descriptors from `first` on are closed now. For a process that goes on without any.
pub fn close_from(first: libc::c_uint) {
    // SAFETY: the caller holds no descriptor it still uses.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, 0) };
}

/// All descriptors above the standard ones are closed now but two. For a child in which nothing else that owns one is used or
/// dropped any more.
pub fn close_all_but(mut kept: [RawFd; 2]) {
    kept.sort_unstable();
    let [low, high] = kept.map(|fd| fd as libc::c_uint);
    for (first, last) in [(3, low - 1), (low + 1, high - 1), (high + 1, libc::c_uint::MAX)] {
        if first <= last {
            // SAFETY: by the caller's promise nobody uses them.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    }
}

/// What kind of file system `fd` lies on (`f_type`).
pub fn file_system_of(fd: RawFd) -> io::Result<i64> {
    // SAFETY: all zero is a valid statfs, written by the kernel.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        check(libc::fstatfs(fd, &raw mut stat))?;
        Ok(stat.f_type as i64)
    }
}

pub fn is_dir(fd: RawFd) -> io::Result<bool> {
    Ok(stat(fd)?.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

pub fn stat(fd: RawFd) -> io::Result<libc::stat> {
    // SAFETY: all zero is a valid stat, written by the kernel.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstat(fd, &raw mut stat))?;
        Ok(stat)
    }
}
