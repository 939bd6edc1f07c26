//! linuxParameters, ulimits and systemControls.

use super::{Check, list, network_mode};
use crate::api;

/// Capabilities that may be added or dropped, besides `ALL`.
const CAPABILITIES: &str = "AUDIT_CONTROL AUDIT_WRITE BLOCK_SUSPEND CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID IPC_LOCK \
    IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE \
    NET_BROADCAST NET_RAW SETFCAP SETGID SETPCAP SETUID SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE \
    SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG SYSLOG WAKE_ALARM";

/// Options of a tmpfs mount; some carry `=value`.
const TMPFS_OPTIONS: &str = "defaults ro rw suid nosuid dev nodev exec noexec sync async dirsync remount mand nomand atime \
    noatime diratime nodiratime bind rbind unbindable runbindable private rprivate shared rshared slave \
    rslave relatime norelatime strictatime nostrictatime mode uid gid nr_inodes nr_blocks mpol";

const ULIMITS: &str = "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack";

/// Kernel parameters of the ipc namespace.
const IPC_CONTROLS: &str = "kernel.msgmax kernel.msgmnb kernel.msgmni kernel.sem kernel.shmall kernel.shmmax kernel.shmmni \
    kernel.shm_rmid_forced";

/// True when `word` is one of the words in `list`.
fn one_of(list: &str, word: &str) -> bool {
    list.split_ascii_whitespace().any(|known| known == word)
}

pub(super) fn check(d: &api::TaskDefinition, c: &api::ContainerDefinition) -> Check {
    if let Some(parameters) = &c.linux_parameters {
        linux_parameters(parameters)?;
    }
    let ulimits = list(&c.ulimits);
    for (at, ulimit) in ulimits.iter().enumerate() {
        let name = ulimit.name.as_deref().unwrap_or_default();
        if !one_of(ULIMITS, name) {
            return Err(format!("'ulimits' have an unknown name: '{name}'."));
        }
        if ulimits[..at].iter().any(|other| other.name == ulimit.name) {
            return Err(format!("'ulimits' have the name '{name}' more than once."));
        }
        let (soft, hard) = (ulimit.soft_limit.unwrap_or(0), ulimit.hard_limit.unwrap_or(0));
        if soft < -1 || hard < -1 || (hard != -1 && (soft == -1 || soft > hard)) {
            return Err(format!(
                "'ulimits' {name}: the soft limit must not be greater than the hard limit."
            ));
        }
    }
    let controls = list(&c.system_controls);
    for (at, control) in controls.iter().enumerate() {
        let name = control.namespace.as_deref().unwrap_or_default();
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-/".contains(&b)) && !name.contains("..");
        let ipc = one_of(IPC_CONTROLS, name) || name.strip_prefix("fs.mqueue.").is_some_and(|rest| !rest.is_empty());
        let net = name.strip_prefix("net.").is_some_and(|rest| !rest.is_empty());
        if !plain || !(ipc || net) {
            return Err(format!(
                "'systemControls' namespace '{name}' is not a namespaced kernel parameter."
            ));
        }
        if ipc && d.ipc_mode.as_deref() == Some("host") {
            return Err(format!(
                "'systemControls' namespace '{name}' is not supported when ipcMode=host."
            ));
        }
        if net && network_mode(d) == "host" {
            return Err(format!(
                "'systemControls' namespace '{name}' is not supported when networkMode=host."
            ));
        }
        if control.value.as_deref().unwrap_or_default().is_empty() {
            return Err(format!("'systemControls' namespace '{name}' has no value."));
        }
        if controls[..at].iter().any(|other| other.namespace == control.namespace) {
            return Err(format!("'systemControls' have the namespace '{name}' more than once."));
        }
    }
    Ok(())
}

fn linux_parameters(p: &api::LinuxParameters) -> Check {
    if let Some(capabilities) = &p.capabilities {
        for name in list(&capabilities.add).iter().chain(list(&capabilities.drop)) {
            if name != "ALL" && !one_of(CAPABILITIES, name) {
                return Err(format!(
                    "'linuxParameters.capabilities' have an unknown capability: '{name}'."
                ));
            }
        }
    }
    for device in list(&p.devices) {
        let host = device.host_path.as_deref().unwrap_or_default();
        let inside = device.container_path.as_deref().unwrap_or(host);
        if !host.starts_with('/') || !(inside.is_empty() || inside.starts_with('/')) {
            return Err(format!("'linuxParameters.devices' must have absolute paths: '{host}'."));
        }
        let known = |p: &String| matches!(p.as_str(), "read" | "write" | "mknod");
        if !list(&device.permissions).iter().all(known) {
            return Err(format!(
                "'linuxParameters.devices' {host}: permissions are read, write and mknod."
            ));
        }
    }
    for tmpfs in list(&p.tmpfs) {
        let path = tmpfs.container_path.as_deref().unwrap_or_default();
        if !path.starts_with('/') {
            return Err(format!(
                "'linuxParameters.tmpfs' must have an absolute containerPath: '{path}'."
            ));
        }
        if tmpfs.size.unwrap_or(0) <= 0 {
            return Err(format!("'linuxParameters.tmpfs' {path}: size must be greater than 0."));
        }
        let known = |option: &&String| {
            let option = option.split_once('=').map_or(option.as_str(), |(option, _)| option);
            one_of(TMPFS_OPTIONS, option)
        };
        if let Some(option) = list(&tmpfs.mount_options).iter().find(|option| !known(option)) {
            return Err(format!(
                "'linuxParameters.tmpfs' {path}: unknown mount option '{option}'."
            ));
        }
    }
    if p.shared_memory_size.is_some_and(|size| size <= 0) {
        return Err("'linuxParameters.sharedMemorySize' must be greater than 0.".to_owned());
    }
    if p.max_swap.is_some_and(|swap| swap < 0) {
        return Err("'linuxParameters.maxSwap' must be 0 or a positive integer.".to_owned());
    }
    if p.swappiness.is_some_and(|value| !(0..=100).contains(&value)) {
        return Err("'linuxParameters.swappiness' must be between 0 and 100.".to_owned());
    }
    Ok(())
}
