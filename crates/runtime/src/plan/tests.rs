use super::*;
use crate::launch::{Mount, Ulimit};
use neargate_core::MiB;

fn around() -> Surroundings {
    Surroundings {
        network: Network::Path("/run/netns/x".into()),
        pid: Sharing::Private,
        ipc: Sharing::Private,
        available: CapSet::ALL,
    }
}

fn launch() -> ContainerLaunch {
    ContainerLaunch {
        name: "web".into(),
        id: "0123456789abcdef".into(),
        argv: vec!["/web".into()],
        ..Default::default()
    }
}

fn refusal(change: impl FnOnce(&mut ContainerLaunch)) -> String {
    let mut launch = launch();
    change(&mut launch);
    decide(&launch, &around()).unwrap_err().message
}

fn bind(destination: &str) -> Mount {
    let source = MountSource::Bind {
        path: "/srv".into(),
        populate: false,
    };
    Mount {
        destination: destination.into(),
        source,
        read_only: false,
    }
}

#[test]
fn defaults_are_dockers() {
    let plan = decide(&launch(), &around()).unwrap();
    assert_eq!(
        plan.env,
        [format!("PATH={DEFAULT_PATH}"), "HOSTNAME=0123456789ab".into()]
    );
    assert_eq!(plan.cwd, "/");
    assert!(plan.seccomp && !plan.masked.is_empty() && plan.sysctls.is_empty());
    let places: Vec<_> = plan.mounts.iter().map(|m| m.destination.as_str()).collect();
    assert_eq!(
        places,
        [
            "/proc",
            "/dev",
            "/dev/pts",
            "/dev/mqueue",
            "/sys",
            "/sys/fs/cgroup",
            "/dev/shm"
        ]
    );
}

#[test]
fn the_last_value_of_a_variable_wins() {
    let mut launch = launch();
    launch.env = vec!["A=1".into(), "PATH=/bin".into(), "A=2".into()];
    let plan = decide(&launch, &around()).unwrap();
    assert_eq!(plan.env, ["HOSTNAME=0123456789ab", "PATH=/bin", "A=2"]);
}

#[test]
fn privileged_lifts_the_confinement() {
    let mut launch = launch();
    launch.privileged = true;
    let plan = decide(&launch, &around()).unwrap();
    assert!(!plan.seccomp && plan.masked.is_empty() && plan.caps == CapSet::ALL);
}

#[test]
fn mounts_over_kernel_file_systems_and_the_root_are_refused() {
    for destination in [
        "/proc",
        "/proc/sys",
        "//sys//fs",
        "/",
        "relative",
        "/a/../proc",
        "/./proc",
    ] {
        let message = refusal(|l| l.mounts.push(bind(destination)));
        assert!(message.starts_with("invalid mount"), "{destination}: {message}");
    }
}

#[test]
fn parents_are_mounted_before_children_and_replace_defaults() {
    let mut launch = launch();
    launch.mounts = vec![bind("/data/deep"), bind("/data/"), bind("/dev/shm")];
    let plan = decide(&launch, &around()).unwrap();
    let places: Vec<_> = plan.mounts[6..].iter().map(|m| m.destination.as_str()).collect();
    assert_eq!(places, ["/data", "/data/deep", "/dev/shm"]);
}

#[test]
fn only_namespaced_sysctls_pass() {
    let key = |key: &str| refusal(|l| l.sysctls.push((key.into(), "1".into())));
    for bad in [
        "kernel.panic",
        "vm.swappiness",
        "fs.file-max",
        "net",
        "kernel/sem/../panic",
        "net.ipv4/../../kernel/panic",
    ] {
        assert!(key(bad).contains("not in a separate kernel namespace"), "{bad}");
    }
    let mut good = launch();
    good.sysctls = vec![
        ("net.core.somaxconn".into(), "9".into()),
        ("net/ipv4/conf/eth0.1/forwarding".into(), "1".into()),
    ];
    let plan = decide(&good, &around()).unwrap();
    assert_eq!(plan.sysctls[0].0, "net/core/somaxconn");
    assert_eq!(plan.sysctls[1].0, "net/ipv4/conf/eth0.1/forwarding");
    let host = Surroundings {
        network: Network::Host,
        ipc: Sharing::Host,
        ..around()
    };
    assert!(
        decide(&good, &host)
            .unwrap_err()
            .message
            .contains("host network namespace")
    );
}

#[test]
fn a_network_of_its_own_gets_dockers_sysctls_unless_asked_otherwise() {
    let mut own = launch();
    own.network = Some(Network::Private);
    own.sysctls = vec![("net.ipv4.ip_unprivileged_port_start".into(), "1024".into())];
    let plan = decide(&own, &around()).unwrap();
    let start = plan
        .sysctls
        .iter()
        .filter(|(k, _)| k == "net/ipv4/ip_unprivileged_port_start")
        .collect::<Vec<_>>();
    assert_eq!(
        start,
        [&("net/ipv4/ip_unprivileged_port_start".to_string(), "1024".to_string())]
    );
    assert_eq!(plan.sysctls.len(), 2);
}

#[test]
fn limits_are_checked() {
    let ulimit = |name: &str, soft, hard| Ulimit {
        name: name.into(),
        soft,
        hard,
    };
    assert_eq!(
        refusal(|l| l.ulimits.push(ulimit("files", 1, 2))),
        "invalid ulimit type: files"
    );
    assert!(refusal(|l| l.ulimits.push(ulimit("nofile", 3, 2))).contains("soft limit"));
    let mut unlimited = launch();
    unlimited.ulimits = vec![ulimit("core", -1, -1)];
    assert_eq!(
        decide(&unlimited, &around()).unwrap().limits[0].hard,
        libc::RLIM_INFINITY
    );
}

#[test]
fn tmpfs_options_change_the_defaults() {
    use crate::sys::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOSUID};
    let mut launch = launch();
    let source = MountSource::Tmpfs {
        size: MiB(3),
        options: vec!["exec".into(), "mode=1770".into()],
    };
    launch.mounts = vec![Mount {
        destination: "/run".into(),
        source,
        read_only: false,
    }];
    let plan = decide(&launch, &around()).unwrap();
    let MountKind::Tmpfs { attributes, options } = &plan.mounts.last().unwrap().kind else {
        panic!()
    };
    assert_eq!(*attributes, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    assert_eq!(
        options,
        &[("mode".into(), "1770".into()), ("size".into(), "3145728".into())]
    );
    let bad = |l: &mut ContainerLaunch| {
        let source = MountSource::Tmpfs {
            size: MiB(1),
            options: vec!["rshared".into()],
        };
        l.mounts.push(Mount {
            destination: "/x".into(),
            source,
            read_only: false,
        });
    };
    assert_eq!(refusal(bad), "tmpfs option \"rshared\" is not supported");
}

#[test]
fn a_launch_that_makes_no_sense_is_refused() {
    assert_eq!(refusal(|l| l.argv.clear()), "no command specified");
    assert!(refusal(|l| l.name = "../x".into()).contains("invalid container name"));
    assert!(refusal(|l| l.cwd = "here".into()).contains("absolute path"));
    assert!(refusal(|l| l.env.push("A=\0".into())).contains("NUL"));
}
