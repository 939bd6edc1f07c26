//! The last part of becoming a container's process: standard descriptors, terminal, user, limits, capabilities,
//! seccomp, and the execution itself.

use super::mounts::Made;
use super::{Problem, executable, root};
use crate::caps::CapSet;
use crate::plan::{Limit, Plan, variable};
use crate::user::{self, User};
use crate::{init, seccomp, sys};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// A process with nothing left to give up.
pub struct Ready {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
    init: bool,
    terminal: bool,
}

/// Puts the given descriptors in their places. Without stdin it stays the machine's `/dev/null`, which the shim has there: what is
/// called that inside may be anything.
pub fn take_stdio(given: super::Stdio) -> Result<(), Problem> {
    let doing = "standard descriptors";
    if let Some(stdin) = given.stdin {
        place(stdin.as_raw_fd(), 0).map_err(Problem::doing(doing))?;
    }
    if let Some((stdout, stderr)) = given.outputs {
        place(stdout.as_raw_fd(), 1).map_err(Problem::doing(doing))?;
        place(stderr.as_raw_fd(), 2).map_err(Problem::doing(doing))?;
    }
    Ok(())
}

fn place(fd: RawFd, number: RawFd) -> io::Result<()> {
    // The shim's own descriptors 0 to 2 are taken, so fd is above them and the copy is not closed on exec.
    // SAFETY: plain numbers.
    sys::check(unsafe { libc::dup2(fd, number) }).map(drop)
}

/// A pseudo terminal of the container as its standard descriptors and `/dev/console`; the other side of it.
pub fn open_terminal(made: &Made) -> Result<OwnedFd, Problem> {
    let devpts = made
        .devpts
        .as_ref()
        .ok_or_else(|| Problem("a terminal needs /dev/pts".into()))?;
    let flags = libc::O_RDWR | libc::O_NOCTTY;
    let ours = sys::open_in_root(devpts.as_raw_fd(), "/ptmx", flags, 0).map_err(Problem::doing("open ptmx"))?;
    let unlocked: libc::c_int = 0;
    // SAFETY: the ioctls take what they are given here; the new descriptor is ours.
    let theirs = unsafe {
        sys::check(libc::ioctl(ours.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked))
            .and_then(|_| sys::check(libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTPEER, flags)))
            .map(|fd| OwnedFd::from_raw_fd(fd))
    };
    let theirs = theirs.map_err(Problem::doing("open the terminal"))?;
    let mut number: libc::c_uint = 0;
    // SAFETY: the ioctl writes one number.
    sys::check(unsafe { libc::ioctl(ours.as_raw_fd(), libc::TIOCGPTN, &raw mut number) })
        .map_err(Problem::doing("number of the terminal"))?;
    let console = sys::open_in_root(devpts.as_raw_fd(), &format!("/{number}"), libc::O_PATH, 0)
        .and_then(|node| sys::clone_mount(node.as_raw_fd()))
        .map_err(Problem::doing("/dev/console"))?;
    root::attach(made.root.as_raw_fd(), "/dev/console", &console)?;
    for number in 0..3 {
        place(theirs.as_raw_fd(), number).map_err(Problem::doing("standard descriptors"))?;
    }
    Ok(ours)
}

/// Takes the user's identity and limits and gives up everything else. `first` is the container's own first process. From here on
/// paths are looked up that the image or the task's author chose: through `/proc/self/fd` they could lead to whatever this
/// process has open, so by now that is nothing but the container's root, the standard descriptors and a socket.
pub fn give_up_privileges(plan: &Plan, root: RawFd, first: bool) -> Result<Ready, Problem> {
    let user = user::resolve(
        &plan.user,
        &root::read(root, "/etc/passwd")?,
        &root::read(root, "/etc/group")?,
    );
    let user = user.map_err(Problem)?;
    if first {
        // The image's keys end with the container, and it sees none of the machine's.
        let join = 1 as libc::c_long;
        // SAFETY: a null name asks for an anonymous keyring. Kernels without keys have nothing to protect.
        unsafe { libc::syscall(libc::SYS_keyctl, join, std::ptr::null::<libc::c_char>()) };
        if plan.cwd != "/" {
            root::directory(root, &plan.cwd).map_err(Problem::doing(format_args!("mkdir {}", plan.cwd)))?;
        }
    }
    plan.limits.iter().try_for_each(set_limit)?;
    own_stdio(&user);
    if plan.no_new_privileges {
        sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1).map_err(Problem::doing("no_new_privs"))?;
    }
    if plan.seccomp {
        // Still privileged, as the kernel asks; the profile allows all that follows.
        install_filter(plan.caps)?;
    }
    become_user(&user, plan.caps)?;
    enter_directory(root, &plan.cwd).map_err(Problem::doing(format_args!(
        "chdir to cwd (\"{}\") set in config.json failed",
        plan.cwd
    )))?;
    // SAFETY: cannot fail.
    unsafe { libc::umask(0o022) };
    let path = executable::find(&plan.argv[0], variable(&plan.env, "PATH").unwrap_or("")).map_err(cannot_start)?;
    let mut env = plan.env.clone();
    if variable(&env, "HOME").is_none() {
        env.push(format!("HOME={}", user.home));
    }
    Ok(Ready {
        path,
        argv: c_strings(&plan.argv)?,
        env: c_strings(&env)?,
        init: plan.init && first,
        terminal: plan.terminal && first,
    })
}

/// With the user's own permission, and by no magic link of `/proc`.
fn enter_directory(root: RawFd, path: &str) -> io::Result<()> {
    let directory = sys::open_in_root(root, path, libc::O_PATH | libc::O_DIRECTORY, 0)?;
    // SAFETY: plain number.
    sys::check(unsafe { libc::fchdir(directory.as_raw_fd()) }).map(drop)
}

fn cannot_start(why: String) -> Problem {
    Problem(format!("unable to start container process: {why}"))
}

fn c_strings(texts: &[String]) -> Result<Vec<CString>, Problem> {
    texts
        .iter()
        .map(|text| CString::new(text.as_str()).map_err(|e| Problem(e.to_string())))
        .collect()
}

fn set_limit(limit: &Limit) -> Result<(), Problem> {
    let value = libc::rlimit {
        rlim_cur: limit.soft,
        rlim_max: limit.hard,
    };
    // SAFETY: value lives through the call.
    let set = sys::check(unsafe { libc::setrlimit(limit.resource as _, &raw const value) });
    set.map(drop).map_err(|e| {
        let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: now lives through the call.
        unsafe { libc::getrlimit(limit.resource as _, &raw mut now) };
        match e.kind() {
            io::ErrorKind::PermissionDenied => Problem(format!(
                "ulimit {}: hard limit {} is above this machine's {}, and raising it needs CAP_SYS_RESOURCE (and for nofile \
                 no more than fs.nr_open)",
                limit.name, limit.hard, now.rlim_max
            )),
            _ => Problem(format!("ulimit {}: {}", limit.name, sys::describe(&e))),
        }
    })
}

/// Gives the pipes and terminals to the user, so that `/dev/stdout` can be opened by it.
fn own_stdio(user: &User) {
    if user.uid == 0 {
        return;
    }
    for fd in 0..3 {
        let Ok(stat) = sys::stat(fd) else { continue };
        let is_null = stat.st_mode & libc::S_IFMT == libc::S_IFCHR && stat.st_rdev == libc::makedev(1, 3);
        if !is_null {
            // SAFETY: plain numbers. Refused for what is not ours to give; then it stays as it is.
            unsafe { libc::fchown(fd, user.uid, libc::gid_t::MAX) };
        }
    }
}

fn install_filter(caps: CapSet) -> Result<(), Problem> {
    let mut code = seccomp::program(caps);
    let program = libc::sock_fprog {
        len: code.len() as u16,
        filter: code.as_mut_ptr(),
    };
    // SAFETY: the program lives through the call.
    sys::check_long(unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) })
        .map(drop)
        .map_err(Problem::doing("seccomp"))
}

/// Takes the identity, with no more than `caps` now and for ever. A user other than root has none: no ambient ones are given.
pub fn become_user(user: &User, caps: CapSet) -> Result<(), Problem> {
    for cap in 0..64 {
        if caps.0 & (1 << cap) == 0 && sys::prctl(libc::PR_CAPBSET_DROP, cap).is_err() {
            break;
        }
    }
    let groups: Vec<libc::gid_t> = user.groups.clone();
    // SAFETY: pointer and length are of one live slice; plain numbers otherwise.
    unsafe {
        sys::check(libc::setgroups(groups.len(), groups.as_ptr())).map_err(Problem::doing("setgroups"))?;
        sys::check(libc::setresgid(user.gid, user.gid, user.gid)).map_err(Problem::doing("setgid"))?;
        sys::check(libc::setresuid(user.uid, user.uid, user.uid)).map_err(Problem::doing("setuid"))?;
    }
    let kept = if user.uid == 0 { caps } else { CapSet::NONE };
    set_caps(kept).map_err(Problem::doing("capset"))
}

fn set_caps(caps: CapSet) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header: [u32; 2] = [VERSION_3, 0];
    let (low, high) = (caps.0 as u32, (caps.0 >> 32) as u32);
    // Effective, permitted, inheritable; low half first.
    let data: [u32; 6] = [low, low, 0, high, high, 0];
    // SAFETY: both blocks have the layout of version 3 and live through the call.
    sys::check_long(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

impl Ready {
    /// Executes; comes back only when that failed.
    pub fn execute(self) -> Problem {
        if self.init {
            match init::fork() {
                Ok(init::Side::Init(child)) => init::run(child),
                Ok(init::Side::Program) => {
                    // SAFETY: no memory involved.
                    unsafe { libc::setsid() };
                }
                Err(e) => return Problem::doing("fork")(e),
            }
        }
        if self.terminal {
            // SAFETY: plain numbers. Steals nothing: the terminal is new.
            unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) };
        }
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        init::reset_signals();
        if let Err(e) = sys::close_on_exec_from(3) {
            return Problem::doing("close_range")(e);
        }
        // SAFETY: null-ended arrays of valid C strings.
        unsafe { libc::execve(self.path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
        let why = sys::describe(&io::Error::last_os_error());
        cannot_start(format!("exec {}: {why}", self.path.to_string_lossy()))
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

/// The capabilities that this process may give.
pub fn available() -> CapSet {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|l| u64::from_str_radix(l.strip_prefix("CapPrm:")?.trim(), 16).ok());
    CapSet(mask.unwrap_or(0) & CapSet::ALL.0)
}
