//! The engine's order for one container, and for the process that holds a task's containers.
//!
//! Called by the executor. Pure.

use super::envfile::Variable;
use super::mounts::Volumes;
use super::process;
use crate::plan::reason::Failure;
use crate::ports::ImageConfig;
use neargate_core::{CpuUnits, MiB};
use neargate_link::{ContainerSpec, LaunchType, LogSpec, NamespaceMode, NetworkSpec, TaskSpec};
use neargate_runtime as rt;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

/// The kernel's least share; what ECS's agent passes on for a container without `cpu`.
const LEAST_SHARE: CpuUnits = CpuUnits(2);
/// Open files of a Fargate container without `ulimits`, soft and hard.
const FARGATE_NOFILE: (i64, i64) = (65535, 65535);
/// Open files as the ECS-optimized AMI's Docker sets them.
const EC2_NOFILE: (i64, i64) = (32768, 65536);

/// The id by which a container is shown (`runtimeId`): `<task id>-<number>` on Fargate, 64 hex digits otherwise.
pub fn runtime_id(spec: &TaskSpec, index: usize) -> String {
    let digest = Sha256::digest(format!("{}/{}", spec.arn, spec.containers[index].name));
    match spec.launch_type {
        LaunchType::Fargate => {
            let number = u64::from_be_bytes(digest[..8].try_into().expect("eight of 32 bytes"));
            format!("{}-{:010}", spec.id, number % 10_000_000_000)
        }
        LaunchType::Ec2 => hex::encode(digest),
    }
}

/// What the node contributes to a container besides its definition.
pub struct Surroundings<'a> {
    pub hostname: String,
    pub network: rt::Network,
    pub rootfs: rt::RootFs,
    pub volumes: Volumes,
    /// What `configured` says of this container.
    pub configured: &'a [String],
    /// What is said of the containers that it links to.
    pub links: &'a [Variable],
    /// Directory that holds `hosts`, `hostname` and `resolv.conf` for the container.
    pub etc_dir: &'a Path,
    pub log_path: PathBuf,
    pub log_max_bytes: u64,
    pub log_files: u32,
    /// The node's own hard limit of open files, which no container can exceed.
    pub nofile_limit: i64,
}

/// The environment that container `index` is configured with. `metadata`: where it asks about itself; `files`: variables of
/// its environment files, file by file.
pub fn configured(
    spec: &TaskSpec,
    index: usize,
    image: &ImageConfig,
    metadata: Vec<Variable>,
    files: &[Vec<Variable>],
) -> Vec<String> {
    let provided = process::provided(spec.launch_type, &spec.region, metadata);
    process::configured(&spec.containers[index], image, &provided, files)
}

/// The order for container `index`.
///
/// # Errors
/// The container's reason when its definition cannot be carried out, ECS's error name included.
pub fn container(
    spec: &TaskSpec,
    index: usize,
    image: &ImageConfig,
    around: Surroundings<'_>,
) -> Result<rt::ContainerLaunch, String> {
    let c = &spec.containers[index];
    let cannot_create = |why: String| Failure::CannotCreateContainer.because(why);
    let argv = process::arguments(c, image)
        .ok_or_else(|| cannot_create("no command specified: neither the definition nor the image has one".into()))?;
    if c.privileged && spec.launch_type == LaunchType::Fargate {
        return Err(cannot_create("privileged is not supported on Fargate".into()));
    }
    let env = process::environment(c, &around.hostname, around.links, around.configured);
    let no_new_privileges = security_options(c).map_err(cannot_create)?;
    let mut mounts = etc_mounts(spec, c, around.etc_dir);
    mounts.retain(|m| !around.volumes.mounts.iter().any(|v| v.destination == m.destination));
    mounts.extend(around.volumes.mounts);
    let pick = |own: &Option<String>, image: &str| own.clone().unwrap_or_else(|| image.to_owned());
    Ok(rt::ContainerLaunch {
        name: c.name.clone(),
        id: runtime_id(spec, index),
        rootfs: around.rootfs,
        argv,
        env,
        cwd: pick(&c.working_directory, &image.working_dir),
        user: pick(&c.user, &image.user),
        hostname: Some(around.hostname),
        terminal: c.pseudo_terminal,
        interactive: c.interactive,
        init: c.linux.init_process,
        readonly_root: c.readonly_root_filesystem,
        privileged: c.privileged,
        no_new_privileges,
        cap_add: c.linux.capabilities_add.clone(),
        cap_drop: c.linux.capabilities_drop.clone(),
        seccomp: rt::Seccomp::Default,
        mounts,
        shm: if spec.ipc_mode == NamespaceMode::None {
            Some(MiB(0))
        } else {
            c.linux.shared_memory
        },
        sysctls: c.system_controls.clone(),
        ulimits: ulimits(spec.launch_type, c, around.nofile_limit),
        devices: c.linux.devices.iter().map(device).collect(),
        resources: resources(spec, c),
        network: Some(if c.disable_networking {
            rt::Network::Private
        } else {
            around.network
        }),
        log: rt::Log {
            path: around.log_path,
            max_bytes: around.log_max_bytes,
            files: around.log_files,
            mode: match &c.log {
                LogSpec::Awslogs(log) => {
                    log.max_buffer_bytes
                        .map_or(rt::LogMode::Blocking, |max_buffer_bytes| rt::LogMode::NonBlocking {
                            max_buffer_bytes,
                        })
                }
                LogSpec::JsonFile => rt::LogMode::Blocking,
            },
        },
    })
}

/// The order for the process that holds the task's containers. It needs no network: containers bring theirs.
pub fn holder(spec: &TaskSpec, task_dir: &Path, cgroup_base: &str, runtime: &rt::RuntimeKind) -> rt::ShimLaunch {
    let sharing = |mode: NamespaceMode| match mode {
        NamespaceMode::Private | NamespaceMode::None => rt::Sharing::Private,
        NamespaceMode::Task => rt::Sharing::Task,
        NamespaceMode::Host => rt::Sharing::Host,
    };
    rt::ShimLaunch {
        task_dir: task_dir.to_owned(),
        task_id: spec.id.clone(),
        cgroup_base: cgroup_base.to_owned(),
        limits: rt::TaskLimits {
            cpu: spec.cpu,
            share: Some(share(spec)),
            memory: spec.memory,
            ..rt::TaskLimits::default()
        },
        network: rt::Network::Private,
        pid: sharing(spec.pid_mode),
        ipc: sharing(spec.ipc_mode),
        runtime: runtime.clone(),
    }
}

fn resources(spec: &TaskSpec, c: &ContainerSpec) -> rt::Resources {
    // A container without a limit sees the task's as its own, so that programs size themselves by it (the JVM's heap).
    let memory = c.memory.or(spec.memory);
    let swap = match (c.linux.max_swap, spec.launch_type) {
        (Some(most), _) => rt::Swap::UpTo(most),
        (None, LaunchType::Fargate) => rt::Swap::None,
        // As much again as memory is Docker's default, which container instances have.
        (None, LaunchType::Ec2) => memory.map_or(rt::Swap::Unlimited, rt::Swap::UpTo),
    };
    rt::Resources {
        cpu: Some(share_of(c)),
        memory,
        memory_reservation: c.memory_reservation,
        swap,
        // ECS ignores it without `maxSwap`.
        swappiness: c.linux.swappiness.filter(|_| c.linux.max_swap.is_some()),
        pids: None,
    }
}

/// What a container asked for counts when the machine is busy; one that asked for nothing gets what is left.
fn share_of(c: &ContainerSpec) -> CpuUnits {
    c.cpu.map_or(LEAST_SHARE, |cpu| cpu.max(LEAST_SHARE))
}

/// A task's part of a busy machine is what was reserved for it: its own size, or all of what its containers ask for.
fn share(spec: &TaskSpec) -> CpuUnits {
    let of_containers = || CpuUnits(spec.containers.iter().map(|c| share_of(c).0).sum());
    spec.cpu.unwrap_or_else(of_containers)
}

/// The command of a health check as arguments; none when it is neither CMD nor CMD-SHELL.
pub fn health_command(command: &[String]) -> Option<Vec<String>> {
    let (kind, rest) = command.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" if !rest.is_empty() => Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.join(" ")]),
        _ => None,
    }
}

/// The number of a stop signal by name (`SIGQUIT`, `QUIT`) or number; SIGTERM for what is no signal.
pub fn signal_number(name: Option<&str>) -> i32 {
    const NAMES: [(&str, i32); 18] = [
        ("HUP", libc::SIGHUP),
        ("INT", libc::SIGINT),
        ("QUIT", libc::SIGQUIT),
        ("ABRT", libc::SIGABRT),
        ("KILL", libc::SIGKILL),
        ("USR1", libc::SIGUSR1),
        ("USR2", libc::SIGUSR2),
        ("PIPE", libc::SIGPIPE),
        ("ALRM", libc::SIGALRM),
        ("TERM", libc::SIGTERM),
        ("CONT", libc::SIGCONT),
        ("TSTP", libc::SIGTSTP),
        ("TTIN", libc::SIGTTIN),
        ("TTOU", libc::SIGTTOU),
        ("WINCH", libc::SIGWINCH),
        ("PWR", libc::SIGPWR),
        ("SYS", libc::SIGSYS),
        ("IO", libc::SIGIO),
    ];
    let Some(name) = name else { return libc::SIGTERM };
    let name = name.trim().to_ascii_uppercase();
    let short = name.strip_prefix("SIG").unwrap_or(&name);
    if let Ok(number) = short.parse::<i32>() {
        return if (1..=64).contains(&number) {
            number
        } else {
            libc::SIGTERM
        };
    }
    if let Some((_, number)) = NAMES.iter().find(|(n, _)| *n == short) {
        return *number;
    }
    let realtime = short.strip_prefix("RTMIN").and_then(|rest| {
        let offset = if rest.is_empty() {
            0
        } else {
            rest.strip_prefix('+')?.parse::<i32>().ok()?
        };
        Some(34 + offset).filter(|n| *n <= 64)
    });
    realtime.unwrap_or(libc::SIGTERM)
}

fn security_options(c: &ContainerSpec) -> Result<bool, String> {
    let mut no_new_privileges = false;
    for option in &c.docker_security_options {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" => no_new_privileges = true,
            "no-new-privileges:false" => no_new_privileges = false,
            other => return Err(format!("dockerSecurityOptions: {other} is not supported on this node")),
        }
    }
    Ok(no_new_privileges)
}

fn etc_mounts(spec: &TaskSpec, c: &ContainerSpec, etc_dir: &Path) -> Vec<rt::Mount> {
    let with_network = spec.network != NetworkSpec::None && !c.disable_networking;
    let files: &[&str] = if with_network {
        &["hosts", "hostname", "resolv.conf"]
    } else {
        &["hosts", "hostname"]
    };
    let mount = |name: &&str| rt::Mount {
        destination: format!("/etc/{name}"),
        source: rt::MountSource::Bind {
            path: etc_dir.join(name),
            populate: false,
        },
        read_only: c.readonly_root_filesystem,
    };
    files.iter().map(mount).collect()
}

fn ulimits(launch_type: LaunchType, c: &ContainerSpec, nofile_limit: i64) -> Vec<rt::Ulimit> {
    let mut out: Vec<rt::Ulimit> = c
        .ulimits
        .iter()
        .map(|u| rt::Ulimit {
            name: u.name.clone(),
            soft: u.soft,
            hard: u.hard,
        })
        .collect();
    if !out.iter().any(|u| u.name == "nofile") {
        let (soft, hard) = match launch_type {
            LaunchType::Fargate => FARGATE_NOFILE,
            LaunchType::Ec2 => EC2_NOFILE,
        };
        let (soft, hard) = (soft.min(nofile_limit), hard.min(nofile_limit));
        out.push(rt::Ulimit {
            name: "nofile".to_owned(),
            soft,
            hard,
        });
    }
    out
}

fn device(d: &neargate_link::Device) -> rt::Device {
    let has = |p: &str| d.permissions.is_empty() || d.permissions.iter().any(|x| x.eq_ignore_ascii_case(p));
    rt::Device {
        host_path: PathBuf::from(&d.host_path),
        container_path: if d.container_path.is_empty() {
            d.host_path.clone()
        } else {
            d.container_path.clone()
        },
        read: has("read"),
        write: has("write"),
        mknod: has("mknod"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn around<'a>() -> Surroundings<'a> {
        Surroundings {
            hostname: "h".to_owned(),
            network: rt::Network::Host,
            rootfs: rt::RootFs::default(),
            volumes: Volumes::default(),
            configured: &[],
            links: &[],
            etc_dir: Path::new("/etc-of-task"),
            log_path: PathBuf::from("/log"),
            log_max_bytes: 1,
            log_files: 2,
            nofile_limit: 4096,
        }
    }

    fn image() -> ImageConfig {
        ImageConfig {
            cmd: vec!["run".into()],
            user: "app".into(),
            working_dir: "/srv".into(),
            ..Default::default()
        }
    }

    #[test]
    fn image_user_and_directory_hold_unless_the_definition_says_otherwise() {
        let mut spec = testing::task("app");
        let launch = container(&spec, 0, &image(), around()).unwrap();
        assert_eq!((launch.user.as_str(), launch.cwd.as_str()), ("app", "/srv"));
        assert_eq!(launch.resources.cpu, Some(CpuUnits(2)));
        spec.containers[0].user = Some("0".into());
        spec.containers[0].working_directory = Some("/".into());
        let launch = container(&spec, 0, &image(), around()).unwrap();
        assert_eq!((launch.user.as_str(), launch.cwd.as_str()), ("0", "/"));
    }

    #[test]
    fn memory_and_swap_are_the_tasks_or_dockers_where_the_container_says_nothing() {
        let resources = |spec: &TaskSpec| container(spec, 0, &image(), around()).unwrap().resources;
        let mut spec = testing::task("app");
        spec.memory = Some(MiB(512));
        spec.containers[0].linux.swappiness = Some(60);
        let fargate = resources(&spec);
        assert_eq!((fargate.memory, fargate.swap), (Some(MiB(512)), rt::Swap::None));
        assert_eq!(fargate.swappiness, None, "without maxSwap it is ignored");
        spec.launch_type = LaunchType::Ec2;
        spec.containers[0].memory = Some(MiB(64));
        let ec2 = resources(&spec);
        assert_eq!((ec2.memory, ec2.swap), (Some(MiB(64)), rt::Swap::UpTo(MiB(64))));
        spec.containers[0].linux.max_swap = Some(MiB(8));
        let asked = resources(&spec);
        assert_eq!((asked.swap, asked.swappiness), (rt::Swap::UpTo(MiB(8)), Some(60)));
        spec.containers[0].linux.max_swap = None;
        (spec.memory, spec.containers[0].memory) = (None, None);
        assert_eq!(resources(&spec).swap, rt::Swap::Unlimited);
    }

    #[test]
    fn open_files_default_within_the_nodes_own_limit() {
        let spec = testing::task("app");
        let launch = container(&spec, 0, &image(), around()).unwrap();
        assert_eq!(
            launch.ulimits,
            [rt::Ulimit {
                name: "nofile".into(),
                soft: 4096,
                hard: 4096
            }]
        );
    }

    #[test]
    fn what_cannot_be_carried_out_is_refused_by_name() {
        let mut spec = testing::task("app");
        let no_command = container(&spec, 0, &ImageConfig::default(), around()).unwrap_err();
        assert!(
            no_command.starts_with("CannotCreateContainerError: no command"),
            "{no_command}"
        );
        spec.containers[0].docker_security_options = vec!["apparmor:x".into()];
        assert!(
            container(&spec, 0, &image(), around())
                .unwrap_err()
                .contains("apparmor:x")
        );
        spec.containers[0].docker_security_options = vec!["no-new-privileges".into()];
        assert!(container(&spec, 0, &image(), around()).unwrap().no_new_privileges);
        spec.containers[0].privileged = true;
        assert!(container(&spec, 0, &image(), around()).unwrap_err().contains("Fargate"));
    }

    #[test]
    fn networking_can_be_disabled_for_one_container() {
        let mut spec = testing::task("app");
        spec.containers[0].disable_networking = true;
        let launch = container(&spec, 0, &image(), around()).unwrap();
        assert_eq!(launch.network, Some(rt::Network::Private));
        assert!(!launch.mounts.iter().any(|m| m.destination == "/etc/resolv.conf"));
    }

    #[test]
    fn signals_are_read_by_name_and_number() {
        for (name, number) in [
            ("SIGQUIT", 3),
            ("quit", 3),
            ("15", 15),
            ("SIGRTMIN+3", 37),
            ("nonsense", 15),
            ("0", 15),
        ] {
            assert_eq!(signal_number(Some(name)), number, "{name}");
        }
        assert_eq!(signal_number(None), 15);
    }

    #[test]
    fn a_task_weighs_what_it_reserves() {
        let mut spec = testing::task("app side");
        spec.containers[0].cpu = Some(CpuUnits(700));
        let limits = |spec: &TaskSpec| holder(spec, Path::new("/t"), "base", &rt::RuntimeKind::Native).limits;
        assert_eq!((limits(&spec).cpu, limits(&spec).share), (None, Some(CpuUnits(702))));
        spec.cpu = Some(CpuUnits(256));
        assert_eq!((limits(&spec).cpu, limits(&spec).share), (spec.cpu, spec.cpu));
    }

    #[test]
    fn health_commands_run_directly_or_by_the_shell() {
        let strings = |l: &[&str]| l.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(health_command(&strings(&["CMD", "a", "b"])), Some(strings(&["a", "b"])));
        assert_eq!(
            health_command(&strings(&["CMD-SHELL", "a b"])),
            Some(strings(&["/bin/sh", "-c", "a b"]))
        );
        assert_eq!(health_command(&strings(&["NONE"])), None);
    }

    #[test]
    fn runtime_ids_have_their_launch_types_form() {
        let mut spec = testing::task("app");
        let id = runtime_id(&spec, 0);
        assert_eq!(id.len(), 32 + 1 + 10);
        assert!(id.starts_with(&spec.id));
        spec.launch_type = LaunchType::Ec2;
        assert_eq!(runtime_id(&spec, 0).len(), 64);
    }
}
