//! A [`Plan`] as the `config.json` of an OCI runtime (runtime-spec 1.0). Pure: devices were looked at and the user was
//! resolved before.

use crate::caps::CapSet;
use crate::cgroup::devices::{self, Rule};
use crate::launch::{Network, Sharing};
use crate::plan::{MountKind, Plan, PlannedMount, variable};
use crate::seccomp;
use crate::sys::{
    MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_RDONLY, MOUNT_ATTR_STRICTATIME,
};
use crate::user::User;
use serde_json::{Value, json};

/// Where a container has its init: in a file system of its own, so that the image is left as it is.
const INIT: &str = "/dev/init";

/// What a config names beside the plan.
pub struct Places<'a> {
    pub root: &'a str,
    pub cgroup: &'a str,
    /// Namespaces that are joined: kind and path.
    pub shared: &'a [(&'static str, String)],
    /// The task's shared memory, where its containers share one.
    pub shm: Option<&'a str>,
    pub devices: &'a [Node],
    /// The program to put at pid 1 (`initProcessEnabled`).
    pub init: Option<&'a str>,
    /// None allows all.
    pub device_rules: Option<&'a [Rule]>,
}

/// A device node to be made.
#[derive(Clone, Debug)]
pub struct Node {
    pub path: String,
    pub block: bool,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
}

/// The whole config.
pub fn config(plan: &Plan, user: &User, places: &Places<'_>) -> Value {
    let mut process = process(plan, user);
    let mut mounts: Vec<Value> = plan.mounts.iter().filter_map(|m| mount(m, places)).collect();
    if let Some(init) = places.init {
        process["args"] = [INIT].into_iter().chain(plan.argv.iter().map(String::as_str)).collect();
        let options = ["bind", "ro", "nosuid", "nodev"];
        mounts.push(json!({ "destination": INIT, "type": "bind", "source": init, "options": options }));
    }
    json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": { "path": places.root, "readonly": plan.readonly_root },
        "hostname": plan.hostname,
        "mounts": mounts,
        "linux": {
            "cgroupsPath": places.cgroup,
            "namespaces": namespaces(plan, places),
            "maskedPaths": plan.masked,
            "readonlyPaths": plan.readonly,
            "sysctl": plan.sysctls.iter().map(|(k, v)| (k.replace('/', "."), json!(v))).collect::<serde_json::Map<_, _>>(),
            "seccomp": if plan.seccomp { seccomp::oci(plan.caps) } else { Value::Null },
            "devices": places.devices.iter().map(node).collect::<Vec<_>>(),
            "resources": { "devices": device_rules(places.device_rules) },
        },
    })
}

/// The `process` part, which an exec is also given by itself.
pub fn process(plan: &Plan, user: &User) -> Value {
    let mut env = plan.env.clone();
    if variable(&env, "HOME").is_none() {
        env.push(format!("HOME={}", user.home));
    }
    let held = if user.uid == 0 { plan.caps } else { CapSet::NONE };
    let limits = plan.limits.iter().map(|limit| {
        json!({ "type": format!("RLIMIT_{}", limit.name.to_uppercase()), "soft": limit.soft, "hard": limit.hard })
    });
    json!({
        "terminal": plan.terminal,
        "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups, "umask": 0o022 },
        "args": plan.argv,
        "env": env,
        "cwd": plan.cwd,
        "capabilities": { "bounding": plan.caps.names(), "effective": held.names(), "permitted": held.names() },
        "rlimits": limits.collect::<Vec<_>>(),
        "noNewPrivileges": plan.no_new_privileges,
    })
}

fn namespaces(plan: &Plan, places: &Places<'_>) -> Vec<Value> {
    let mut all = vec![
        json!({ "type": "mount" }),
        json!({ "type": "uts" }),
        json!({ "type": "cgroup" }),
    ];
    let mut add = |kind: &str, sharing: Sharing| match sharing {
        Sharing::Private => all.push(json!({ "type": kind })),
        Sharing::Task => {
            let path = places.shared.iter().find(|(k, _)| *k == kind).map(|(_, path)| path);
            all.push(json!({ "type": kind, "path": path }));
        }
        Sharing::Host => {}
    };
    add("pid", plan.pid);
    add("ipc", plan.ipc);
    match &plan.network {
        Network::Private => all.push(json!({ "type": "network" })),
        Network::Path(path) => {
            let open = places.shared.iter().find(|(kind, _)| *kind == "network");
            let path = open.map_or_else(|| json!(path), |(_, open)| json!(open));
            all.push(json!({ "type": "network", "path": path }));
        }
        Network::Host => {}
    }
    all
}

fn mount(mount: &PlannedMount, places: &Places<'_>) -> Option<Value> {
    let quiet = ["nosuid", "noexec", "nodev"];
    let of = |kind: &str, options: &[&str]| (kind.to_owned(), kind.to_owned(), own(options));
    let bound = |source: &str| ("bind".to_owned(), source.to_owned(), own(&["rbind", "rprivate"]));
    let (kind, source, mut options) = match &mount.kind {
        MountKind::Proc => of("proc", &quiet),
        MountKind::Sysfs => of("sysfs", &quiet),
        MountKind::Dev => of("tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        MountKind::Devpts => of(
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        MountKind::Mqueue => of("mqueue", &quiet),
        MountKind::Cgroup => of("cgroup", &quiet),
        MountKind::Shm(size) => {
            let (kind, source, mut options) = of("tmpfs", &quiet);
            options.extend(["mode=1777".to_owned(), format!("size={size}")]);
            (kind, source, options)
        }
        MountKind::TaskShm(_) => bound(places.shm?),
        MountKind::HostShm => bound("/dev/shm"),
        MountKind::Bind { path, .. } => bound(path.to_str()?),
        MountKind::Tmpfs {
            attributes,
            options: data,
        } => {
            let (kind, source, _) = of("tmpfs", &[]);
            let mut options = flags(*attributes);
            options.extend(data.iter().map(|(key, value)| format!("{key}={value}")));
            (kind, source, options)
        }
    };
    if mount.read_only {
        options.push("ro".to_owned());
    }
    Some(json!({ "destination": mount.destination, "type": kind, "source": source, "options": options }))
}

fn own(options: &[&str]) -> Vec<String> {
    options.iter().map(|o| (*o).to_owned()).collect()
}

fn flags(attributes: u64) -> Vec<String> {
    let named = [
        (MOUNT_ATTR_RDONLY, "ro"),
        (MOUNT_ATTR_NOSUID, "nosuid"),
        (MOUNT_ATTR_NODEV, "nodev"),
        (MOUNT_ATTR_NOEXEC, "noexec"),
        (MOUNT_ATTR_NOATIME, "noatime"),
        (MOUNT_ATTR_STRICTATIME, "strictatime"),
        (MOUNT_ATTR_NODIRATIME, "nodiratime"),
    ];
    named
        .iter()
        .filter(|(bit, _)| attributes & bit != 0)
        .map(|(_, name)| (*name).to_owned())
        .collect()
}

fn node(node: &Node) -> Value {
    json!({
        "path": node.path,
        "type": if node.block { "b" } else { "c" },
        "major": node.major,
        "minor": node.minor,
        "fileMode": node.mode & 0o7777,
        "uid": 0,
        "gid": 0,
    })
}

fn device_rules(rules: Option<&[Rule]>) -> Value {
    let Some(rules) = rules else {
        return json!([{ "allow": true, "access": "rwm" }]);
    };
    let allowed = rules.iter().map(|rule| {
        json!({
            "allow": true,
            "type": if rule.block { "b" } else { "c" },
            "major": rule.major,
            "minor": rule.minor.map_or(-1, i64::from),
            "access": devices::access_text(rule.access),
        })
    });
    std::iter::once(json!({ "allow": false, "access": "rwm" }))
        .chain(allowed)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::ContainerLaunch;
    use crate::plan::{self, Surroundings};

    #[test]
    fn a_plan_becomes_a_config() {
        let around = Surroundings {
            network: Network::Path("/run/netns/t".into()),
            pid: Sharing::Task,
            ipc: Sharing::Host,
            available: CapSet::ALL,
        };
        let launch = ContainerLaunch {
            name: "web".into(),
            argv: vec!["/web".into()],
            ..ContainerLaunch::default()
        };
        let plan = plan::decide(&launch, &around).unwrap();
        let shared = [("pid", "/proc/7/ns/pid".to_owned())];
        let places = Places {
            root: "rootfs",
            cgroup: "/base/task/web",
            shared: &shared,
            shm: None,
            devices: &[],
            init: Some("/bundle/init"),
            device_rules: Some(devices::DEFAULT),
        };
        let config = config(
            &plan,
            &User {
                home: "/".into(),
                ..User::default()
            },
            &places,
        );
        let kinds: Vec<_> = config["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| &n["type"])
            .collect();
        assert_eq!(kinds, ["mount", "uts", "cgroup", "pid", "network"]);
        assert_eq!(config["linux"]["namespaces"][3]["path"], "/proc/7/ns/pid");
        assert_eq!(
            config["process"]["capabilities"]["bounding"].as_array().unwrap().len(),
            14
        );
        assert_eq!(config["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
        assert_eq!(config["linux"]["resources"]["devices"][0]["allow"], false);
        assert_eq!(config["mounts"][6]["source"], "/dev/shm");
        assert_eq!(config["process"]["args"], json!(["/dev/init", "/web"]));
        let init = config["mounts"].as_array().unwrap().last().unwrap();
        assert_eq!(
            (&init["destination"], &init["source"]),
            (&json!("/dev/init"), &json!("/bundle/init"))
        );
    }
}
