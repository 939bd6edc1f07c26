//! Capability sets: Docker's default one, changed by what a task definition adds and drops. Pure; applied by `child`.

/// Capability names in the kernel's order: a capability's number is its place.
const NAMES: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What a container has unless told otherwise.
const DOCKER: &[&str] = &[
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SYS_CHROOT",
    "MKNOD",
    "AUDIT_WRITE",
    "SETFCAP",
];

/// A set of capabilities, bit n for capability n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapSet(pub u64);

impl CapSet {
    pub const NONE: CapSet = CapSet(0);
    pub const ALL: CapSet = CapSet((1 << NAMES.len()) - 1);

    /// One capability by name, with or without `CAP_`, in any case.
    pub fn named(name: &str) -> Option<CapSet> {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        NAMES.iter().position(|n| *n == bare).map(|bit| CapSet(1 << bit))
    }

    pub const fn contains(self, other: CapSet) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether it holds one by its bare name.
    pub fn has(self, name: &str) -> bool {
        NAMES
            .iter()
            .position(|n| *n == name)
            .is_some_and(|bit| self.0 & (1 << bit) != 0)
    }

    /// Names as OCI writes them (`CAP_CHOWN`).
    pub fn names(self) -> Vec<String> {
        let present = NAMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        present.map(|(_, name)| format!("CAP_{name}")).collect()
    }
}

/// The capabilities of a container. `available` is what the shim itself may give; `ALL` and `privileged` mean all of that.
///
/// # Errors
/// Why it cannot be: an unknown name, or one added by name that this machine does not give.
pub fn decide(add: &[String], drop: &[String], privileged: bool, available: CapSet) -> Result<CapSet, String> {
    let is_all = |name: &String| name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL");
    let known = |name: &String| CapSet::named(name).ok_or_else(|| format!("invalid capability: \"{name}\""));
    if privileged {
        return Ok(available);
    }
    let mut set = DOCKER
        .iter()
        .filter_map(|n| CapSet::named(n))
        .fold(0, |set, cap| set | cap.0)
        & available.0;
    if drop.iter().any(is_all) {
        set = 0;
    }
    if add.iter().any(is_all) {
        set = available.0;
    }
    for name in drop.iter().filter(|n| !is_all(n)) {
        set &= !known(name)?.0;
    }
    for name in add.iter().filter(|n| !is_all(n)) {
        let cap = known(name)?;
        if !available.contains(cap) {
            return Err(format!("capability \"{name}\" is not available on this machine"));
        }
        set |= cap.0;
    }
    Ok(CapSet(set))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> Result<Vec<String>, String> {
        let own = |names: &[&str]| names.iter().map(|n| n.to_string()).collect::<Vec<_>>();
        decide(&own(add), &own(drop), false, CapSet::ALL).map(CapSet::names)
    }

    #[test]
    fn the_default_set_is_dockers() {
        let default = decide(&[], &[], false, CapSet::ALL).unwrap();
        assert_eq!(default.0, 0xa80425fb);
    }

    #[test]
    fn added_and_dropped_names_change_it() {
        assert_eq!(set(&["NET_ADMIN"], &["ALL"]).unwrap(), ["CAP_NET_ADMIN"]);
        assert!(
            !set(&["ALL"], &["cap_sys_admin"])
                .unwrap()
                .contains(&"CAP_SYS_ADMIN".to_string())
        );
        assert!(set(&["ALL"], &["SYS_ADMIN"]).unwrap().contains(&"CAP_BPF".to_string()));
        assert_eq!(set(&["NOPE"], &[]).unwrap_err(), "invalid capability: \"NOPE\"");
    }

    #[test]
    fn what_the_machine_lacks_is_refused_by_name_but_left_out_of_all() {
        let without = CapSet(CapSet::ALL.0 & !CapSet::named("SYS_RESOURCE").unwrap().0);
        let err = decide(&["SYS_RESOURCE".into()], &[], false, without).unwrap_err();
        assert!(err.contains("SYS_RESOURCE"));
        assert_eq!(decide(&["ALL".into()], &[], false, without).unwrap(), without);
        assert_eq!(decide(&[], &[], true, without).unwrap(), without);
    }
}
