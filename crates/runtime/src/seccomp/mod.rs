//! The seccomp profile of containers: what Docker's default profile allows, made into a BPF program. Written as the system
//! calls that are closed, and by which capability each opens, over a frozen table of those that exist: one that the kernel gains
//! later answers ENOSYS until it is looked at.
//!
//! Programs for another architecture than the machine's (32-bit x86, x32) get ENOSYS for everything.

mod table;

use crate::caps::CapSet;
use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W, sock_filter};

/// System calls that stay closed without one of the named capabilities; closed always when none is named.
const CLOSED: &[(&[&str], &[&str])] = &[
    (
        &[],
        &[
            // Kernel memory and code of others, keys that are not namespaced, and ways around the other rules.
            "_sysctl",
            "add_key",
            "afs_syscall",
            "getpmsg",
            "io_uring_enter",
            "io_uring_register",
            "io_uring_setup",
            "kexec_file_load",
            "kexec_load",
            "keyctl",
            "migrate_pages",
            "move_pages",
            "nfsservctl",
            "pivot_root",
            "putpmsg",
            "request_key",
            "security",
            "swapoff",
            "swapon",
            "sysfs",
            "tuxcall",
            "uselib",
            "userfaultfd",
            "ustat",
            "vserver",
        ],
    ),
    (
        &["SYS_ADMIN"],
        &[
            "fanotify_init",
            "fsconfig",
            "fsmount",
            "fsopen",
            "fspick",
            "lookup_dcookie",
            "lsm_get_self_attr",
            "lsm_list_modules",
            "lsm_set_self_attr",
            "mount",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "quotactl",
            "quotactl_fd",
            "setdomainname",
            "sethostname",
            "setns",
            "umount2",
            "unshare",
        ],
    ),
    (&["SYS_ADMIN", "BPF"], &["bpf"]),
    (&["SYS_ADMIN", "PERFMON"], &["perf_event_open"]),
    (&["SYS_ADMIN", "SYSLOG"], &["syslog"]),
    (&["SYS_BOOT"], &["reboot"]),
    (&["SYS_CHROOT"], &["chroot"]),
    (&["DAC_READ_SEARCH"], &["open_by_handle_at"]),
    (&["SYS_MODULE"], &["delete_module", "finit_module", "init_module"]),
    (
        &["SYS_NICE"],
        &["get_mempolicy", "mbind", "set_mempolicy", "set_mempolicy_home_node"],
    ),
    (&["SYS_PACCT"], &["acct"]),
    (&["SYS_PTRACE"], &["kcmp", "pidfd_getfd", "process_madvise"]),
    (&["SYS_RAWIO"], &["ioperm", "iopl"]),
    (&["SYS_TIME"], &["clock_settime", "settimeofday"]),
    (&["SYS_TTY_CONFIG"], &["vhangup"]),
];

/// Socket families that a container may not use: the kernel's crypto (38) and the hypervisor's sockets (40) are no part of its
/// network namespace, the others are dead.
const CLOSED_FAMILIES: &[u32] = &[12, 19, 20, 23, 25, 34, 37, 38, 40];
/// The first family number that does not exist.
const FAMILIES_END: u32 = 46;
/// The values of `personality(2)` that change nothing that matters.
const PERSONALITIES: &[u32] = &[0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
/// `clone(2)` flags that make a namespace.
const NAMESPACE_FLAGS: u32 = 0x7e02_0000;

#[cfg(target_arch = "x86_64")]
const AUDIT_ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCH: u32 = 0xc000_00b7;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = RET_ERRNO | libc::EPERM as u32;
const ENOSYS: u32 = RET_ERRNO | libc::ENOSYS as u32;

/// What happens to a system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Return(u32),
    /// By the arguments.
    Clone,
    Personality,
    Socket,
}

fn syscalls() -> impl Iterator<Item = (&'static str, u32)> {
    let all = table::COMMON.iter().chain(table::ARCHITECTURE).chain(table::NEWER);
    all.map(|(name, number)| (*name, *number as u32))
}

fn rule(name: &str, caps: CapSet) -> Rule {
    let admin = caps.has("SYS_ADMIN");
    match name {
        "clone" if !admin => Rule::Clone,
        // Its flags lie in memory, out of a filter's sight; ENOSYS makes the C libraries fall back to clone.
        "clone3" if !admin => Rule::Return(ENOSYS),
        "personality" => Rule::Personality,
        "socket" => Rule::Socket,
        _ => {
            let closed = CLOSED.iter().find(|(_, names)| names.contains(&name));
            let open = closed.is_none_or(|(keys, _)| keys.iter().any(|key| caps.has(key)));
            Rule::Return(if open { RET_ALLOW } else { EPERM })
        }
    }
}

/// Names that a container with `caps` may call without looking at arguments, for an OCI runtime's config.
pub fn allowed_names(caps: CapSet) -> impl Iterator<Item = &'static str> {
    syscalls()
        .filter(move |(name, _)| rule(name, caps) == Rule::Return(RET_ALLOW))
        .map(|(name, _)| name)
}

/// The same profile as an OCI runtime's `linux.seccomp`.
pub fn oci(caps: CapSet) -> serde_json::Value {
    use serde_json::json;
    let when = |op: &str, value: u32| json!([{ "index": 0, "value": value, "op": op }]);
    let mut rules = vec![json!({ "names": allowed_names(caps).collect::<Vec<_>>(), "action": "SCMP_ACT_ALLOW" })];
    for value in PERSONALITIES {
        let args = when("SCMP_CMP_EQ", *value);
        rules.push(json!({ "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args }));
    }
    for family in (0..FAMILIES_END).filter(|f| !CLOSED_FAMILIES.contains(f)) {
        let args = when("SCMP_CMP_EQ", family);
        rules.push(json!({ "names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args }));
    }
    if !caps.has("SYS_ADMIN") {
        let args = json!([{ "index": 0, "value": NAMESPACE_FLAGS, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }]);
        rules.push(json!({ "names": ["clone"], "action": "SCMP_ACT_ALLOW", "args": args }));
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS }));
    }
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::EPERM, "syscalls": rules })
}

/// The program for a container with `caps`.
pub fn program(caps: CapSet) -> Vec<sock_filter> {
    let mut numbered: Vec<(u32, Rule)> = syscalls().map(|(name, number)| (number, rule(name, caps))).collect();
    numbered.sort_unstable_by_key(|(number, _)| *number);
    // Neighbours with the same rule make one range; numbers that no system call has answer ENOSYS.
    let mut ranges: Vec<(u32, Rule)> = vec![(0, Rule::Return(ENOSYS))];
    let mut next = 0;
    for (number, rule) in numbered {
        if number > next {
            push(&mut ranges, next, Rule::Return(ENOSYS));
        }
        push(&mut ranges, number, rule);
        next = number + 1;
    }
    push(&mut ranges, next, Rule::Return(ENOSYS));

    let mut code = vec![
        load(ARCH_OFFSET),
        jump(BPF_JEQ, AUDIT_ARCH, 1, 0),
        stop(ENOSYS),
        load(NUMBER_OFFSET),
    ];
    search(&ranges, &mut code);
    code
}

fn push(ranges: &mut Vec<(u32, Rule)>, from: u32, rule: Rule) {
    match ranges.last_mut() {
        Some((start, last)) if *start == from => *last = rule,
        Some((_, last)) if *last == rule => {}
        _ => ranges.push((from, rule)),
    }
}

/// Offsets in `struct seccomp_data`; the low half of the first argument on our little-endian machines.
const NUMBER_OFFSET: u32 = 0;
const ARCH_OFFSET: u32 = 4;
const ARGUMENT_OFFSET: u32 = 16;

fn load(offset: u32) -> sock_filter {
    sock_filter {
        code: (BPF_LD | BPF_W | BPF_ABS) as u16,
        jt: 0,
        jf: 0,
        k: offset,
    }
}

fn jump(kind: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | kind | BPF_K) as u16,
        jt,
        jf,
        k,
    }
}

fn stop(value: u32) -> sock_filter {
    sock_filter {
        code: (BPF_RET | BPF_K) as u16,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// A binary search over the starts of ranges. The jump over the lower half is an unconditional one, whose reach is not
/// limited to 255 instructions.
fn search(ranges: &[(u32, Rule)], code: &mut Vec<sock_filter>) {
    match ranges {
        [] => {}
        [(_, rule)] => emit(*rule, code),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let mut lower = Vec::new();
            search(low, &mut lower);
            code.push(jump(BPF_JGE, high[0].0, 0, 1));
            code.push(sock_filter {
                code: (BPF_JMP | libc::BPF_JA) as u16,
                jt: 0,
                jf: 0,
                k: lower.len() as u32,
            });
            code.append(&mut lower);
            search(high, code);
        }
    }
}

/// Ends the program by a rule.
fn emit(rule: Rule, code: &mut Vec<sock_filter>) {
    match rule {
        Rule::Return(value) => code.push(stop(value)),
        Rule::Clone => code.extend([
            load(ARGUMENT_OFFSET),
            sock_filter {
                code: (BPF_ALU | BPF_AND | BPF_K) as u16,
                jt: 0,
                jf: 0,
                k: NAMESPACE_FLAGS,
            },
            jump(BPF_JEQ, 0, 0, 1),
            stop(RET_ALLOW),
            stop(EPERM),
        ]),
        Rule::Personality => among(PERSONALITIES, RET_ALLOW, EPERM, code),
        Rule::Socket => {
            code.push(load(ARGUMENT_OFFSET));
            code.push(jump(BPF_JGE, FAMILIES_END, 0, 1));
            code.push(stop(EPERM));
            among(CLOSED_FAMILIES, EPERM, RET_ALLOW, code);
        }
    }
}

/// Returns `hit` when the first argument is one of `values`, `miss` otherwise.
fn among(values: &[u32], hit: u32, miss: u32, code: &mut Vec<sock_filter>) {
    code.push(load(ARGUMENT_OFFSET));
    for value in values {
        code.push(jump(BPF_JEQ, *value, 0, 1));
        code.push(stop(hit));
    }
    code.push(stop(miss));
}

#[cfg(test)]
mod tests;
