//! Which devices a container may open and make: Docker's list, by an eBPF program on the v2 cgroup or by v1's device
//! controller. Stricter than Docker in one point: no node may be made of a device that may not be opened.

use crate::launch::Device;
use crate::sys;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

pub const MKNOD: u8 = 1;
pub const READ: u8 = 2;
pub const WRITE: u8 = 4;

/// An allowed device; what no rule allows is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub block: bool,
    pub major: u32,
    /// None: all of the major's.
    pub minor: Option<u32>,
    pub access: u8,
}

const fn character(major: u32, minor: Option<u32>) -> Rule {
    Rule {
        block: false,
        major,
        minor,
        access: MKNOD | READ | WRITE,
    }
}

/// null, zero, full, random, urandom, tty, console, ptmx and pseudo terminals.
pub const DEFAULT: &[Rule] = &[
    character(1, Some(3)),
    character(1, Some(5)),
    character(1, Some(7)),
    character(1, Some(8)),
    character(1, Some(9)),
    character(5, Some(0)),
    character(5, Some(1)),
    character(5, Some(2)),
    character(136, None),
];

/// The default rules and those of lent devices.
///
/// # Errors
/// Which device is none.
pub fn rules(lent: &[Device]) -> Result<Vec<Rule>, String> {
    let mut rules = DEFAULT.to_vec();
    for device in lent {
        let path = device.host_path.display();
        let meta = fs::metadata(&device.host_path).map_err(|e| format!("device {path}: {}", sys::describe(&e)))?;
        let kind = meta.file_type();
        if !kind.is_block_device() && !kind.is_char_device() {
            return Err(format!("device {path}: not a device node"));
        }
        let access = [(device.read, READ), (device.write, WRITE), (device.mknod, MKNOD)];
        rules.push(Rule {
            block: kind.is_block_device(),
            major: libc::major(meta.rdev()),
            minor: Some(libc::minor(meta.rdev())),
            access: access
                .iter()
                .filter(|(given, _)| *given)
                .fold(0, |all, (_, bit)| all | bit),
        });
    }
    Ok(rules)
}

/// Writes the rules to a v1 device cgroup.
pub fn write_v1(directory: &Path, rules: &[Rule]) -> io::Result<()> {
    fs::write(directory.join("devices.deny"), "a")?;
    rules
        .iter()
        .try_for_each(|rule| fs::write(directory.join("devices.allow"), v1_line(rule)))
}

/// A rule in the words of v1, which are also those of OCI.
fn v1_line(rule: &Rule) -> String {
    let minor = rule.minor.map_or("*".to_owned(), |minor| minor.to_string());
    format!(
        "{} {}:{minor} {}",
        if rule.block { 'b' } else { 'c' },
        rule.major,
        access_text(rule.access)
    )
}

/// Access bits as `rwm`.
pub fn access_text(access: u8) -> String {
    [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')]
        .iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, c)| c)
        .collect()
}

/// Loads the rules as a program and attaches it to a v2 cgroup, where it lives as long as the cgroup.
pub fn attach(directory: &Path, rules: &[Rule]) -> io::Result<()> {
    const PROG_LOAD: libc::c_int = 5;
    const PROG_ATTACH: libc::c_int = 8;
    const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const ATTACH_CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;

    let cgroup = fs::File::open(directory)?;
    let code = program(rules);
    let license = c"Apache-2.0";
    let mut load = Attr::default();
    load.u32(0, PROG_TYPE_CGROUP_DEVICE);
    load.u32(4, code.len() as u32);
    load.u64(8, code.as_ptr() as u64);
    load.u64(16, license.as_ptr() as u64);
    let fd = load.call(PROG_LOAD)?;
    // SAFETY: the kernel just gave us this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut attach = Attr::default();
    attach.u32(0, cgroup.as_raw_fd() as u32);
    attach.u32(4, program.as_raw_fd() as u32);
    attach.u32(8, ATTACH_CGROUP_DEVICE);
    attach.u32(12, ALLOW_MULTI);
    attach.call(PROG_ATTACH).map(drop)
}

/// `union bpf_attr`, by offset.
#[derive(Default)]
#[repr(C, align(8))]
struct Attr([u8; 32], [u8; 32], [u8; 32], [u8; 32]);

impl Attr {
    fn u32(&mut self, offset: usize, value: u32) {
        self.0[offset..offset + 4].copy_from_slice(&value.to_ne_bytes());
    }

    fn u64(&mut self, offset: usize, value: u64) {
        self.0[offset..offset + 8].copy_from_slice(&value.to_ne_bytes());
    }

    fn call(&self, command: libc::c_int) -> io::Result<libc::c_int> {
        // SAFETY: the block and what it points to live through the call, and its size is given.
        sys::check_long(unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *self, size_of::<Attr>()) })
            .map(|fd| fd as libc::c_int)
    }
}

/// One eBPF instruction, encoded.
type Instruction = u64;

const fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    code as u64
        | ((source << 4 | destination) as u64) << 8
        | (offset as u16 as u64) << 16
        | (immediate as u32 as u64) << 32
}

/// The program: context in r1 (access << 16 | type, major, minor), 1 in r0 allows.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb7;
    const AND_NUMBER: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const JUMP_NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    const BLOCK: i32 = 1;
    const CHARACTER: i32 = 2;
    let mut code = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(MOVE, 3, 2, 0, 0),
        instruction(AND_NUMBER, 2, 0, 0, 0xffff),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        // (register, value it must have); r6 holds the wanted access that the rule does not give.
        let mut wanted = vec![
            (2, if rule.block { BLOCK } else { CHARACTER }),
            (6, 0),
            (4, rule.major as i32),
        ];
        wanted.extend(rule.minor.map(|minor| (5, minor as i32)));
        code.push(instruction(MOVE, 6, 3, 0, 0));
        code.push(instruction(AND_NUMBER, 6, 0, 0, i32::from(!rule.access & 7)));
        for (at, (register, value)) in wanted.iter().enumerate() {
            // Over the rest of the comparisons and the two instructions that allow.
            let over = (wanted.len() - at - 1 + 2) as i16;
            code.push(instruction(JUMP_NOT_EQUAL, *register, 0, over, *value));
        }
        code.push(instruction(MOVE_NUMBER, 0, 0, 0, 1));
        code.push(instruction(EXIT, 0, 0, 0, 0));
    }
    code.push(instruction(MOVE_NUMBER, 0, 0, 0, 0));
    code.push(instruction(EXIT, 0, 0, 0, 0));
    code
}
