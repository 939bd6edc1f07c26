use super::*;
use crate::caps;

/// What the program answers: an interpreter of the few instructions that we emit.
fn run(code: &[sock_filter], arch: u32, number: u32, argument: u32) -> u32 {
    let (mut at, mut a) = (0, 0);
    loop {
        let i = code[at];
        at += 1;
        match u32::from(i.code) {
            c if c == BPF_LD | BPF_W | BPF_ABS => {
                a = match i.k {
                    NUMBER_OFFSET => number,
                    ARCH_OFFSET => arch,
                    ARGUMENT_OFFSET => argument,
                    other => panic!("offset {other}"),
                }
            }
            c if c == BPF_ALU | BPF_AND | BPF_K => a &= i.k,
            c if c == BPF_JMP | BPF_JEQ | BPF_K => at += usize::from(if a == i.k { i.jt } else { i.jf }),
            c if c == BPF_JMP | BPF_JGE | BPF_K => at += usize::from(if a >= i.k { i.jt } else { i.jf }),
            c if c == BPF_JMP | libc::BPF_JA => at += i.k as usize,
            c if c == BPF_RET | BPF_K => return i.k,
            other => panic!("instruction {other:#x}"),
        }
    }
}

fn number(name: &str) -> u32 {
    syscalls()
        .find(|(n, _)| *n == name)
        .unwrap_or_else(|| panic!("{name}"))
        .1
}

fn docker() -> CapSet {
    caps::decide(&[], &[], false, CapSet::ALL).unwrap()
}

fn answer(caps: CapSet, name: &str, argument: u32) -> u32 {
    run(&program(caps), AUDIT_ARCH, number(name), argument)
}

#[test]
fn ordinary_calls_pass_and_dangerous_ones_do_not() {
    for name in [
        "read",
        "openat",
        "execve",
        "futex",
        "ptrace",
        "statx",
        "landlock_create_ruleset",
        "mseal",
        "chroot",
    ] {
        assert_eq!(answer(docker(), name, 0), RET_ALLOW, "{name}");
    }
    for name in [
        "mount",
        "unshare",
        "setns",
        "keyctl",
        "bpf",
        "io_uring_setup",
        "kexec_load",
        "init_module",
    ] {
        assert_eq!(answer(docker(), name, 0), EPERM, "{name}");
    }
    assert_eq!(answer(docker(), "clone3", 0), ENOSYS);
}

#[test]
fn a_capability_opens_its_calls() {
    let admin = caps::decide(&["SYS_ADMIN".into()], &[], false, CapSet::ALL).unwrap();
    assert_eq!(answer(admin, "mount", 0), RET_ALLOW);
    assert_eq!(answer(admin, "clone3", 0), RET_ALLOW);
    assert_eq!(answer(admin, "clone", NAMESPACE_FLAGS), RET_ALLOW);
    assert_eq!(answer(admin, "keyctl", 0), EPERM);
    assert_eq!(answer(CapSet::NONE, "chroot", 0), EPERM);
}

#[test]
fn arguments_decide_where_they_matter() {
    let new_user_namespace = 0x1000_0000;
    assert_eq!(answer(docker(), "clone", new_user_namespace), EPERM);
    assert_eq!(answer(docker(), "clone", libc::SIGCHLD as u32), RET_ALLOW);
    assert_eq!(answer(docker(), "personality", 0xffff_ffff), RET_ALLOW);
    assert_eq!(answer(docker(), "personality", 0x40_0000), EPERM);
    for (family, expected) in [
        (1, RET_ALLOW),
        (2, RET_ALLOW),
        (10, RET_ALLOW),
        (16, RET_ALLOW),
        (38, EPERM),
        (40, EPERM),
    ] {
        assert_eq!(answer(docker(), "socket", family), expected, "family {family}");
    }
    assert_eq!(answer(docker(), "socket", 46), EPERM);
}

#[test]
fn unknown_numbers_and_foreign_architectures_do_not_exist() {
    let code = program(docker());
    assert_eq!(run(&code, AUDIT_ARCH, 467, 0), ENOSYS);
    assert_eq!(run(&code, AUDIT_ARCH, 400, 0), ENOSYS);
    assert_eq!(run(&code, AUDIT_ARCH, u32::MAX, 0), ENOSYS);
    // x32's bit on a call that is allowed natively.
    assert_eq!(run(&code, AUDIT_ARCH, 0x4000_0000, 0), ENOSYS);
    assert_eq!(run(&code, 0x4000_0003, number("read"), 0), ENOSYS);
}

#[test]
fn every_call_answers_by_its_own_rule() {
    let code = program(docker());
    for (name, number) in syscalls() {
        if let Rule::Return(expected) = rule(name, docker()) {
            assert_eq!(run(&code, AUDIT_ARCH, number, 0), expected, "{name}");
        }
    }
    assert!(code.len() < 4096, "{} instructions", code.len());
}

#[test]
fn every_closed_name_is_a_system_call() {
    for name in CLOSED.iter().flat_map(|(_, names)| *names) {
        let legacy = cfg!(not(target_arch = "x86_64"));
        assert!(legacy || syscalls().any(|(n, _)| n == *name), "{name}");
    }
}
